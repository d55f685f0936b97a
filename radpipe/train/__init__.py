"""The workbench: trains the weights that ship. Never imported by the product's path."""
