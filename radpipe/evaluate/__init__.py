"""How well a model reads: figures with their uncertainty. Part of the workbench, and of `radpipe evaluate`."""
