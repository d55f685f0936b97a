"""One module a revision, numbered; `tables.HEAD` names the last."""
