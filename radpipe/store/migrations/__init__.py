"""Schema revisions, run by `database` when a store is older than radpipe."""
