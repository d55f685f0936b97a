"""Where files come from: each module is one edge."""
