"""Prefect flows: thin. They decide when and where work runs; what the work is stands in `radpipe.pipeline`."""
