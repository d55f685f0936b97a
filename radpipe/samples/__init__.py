"""Synthetic chest radiographs for the demo and the tests: phantoms drawn by formula, and marked as such.

`studies.write_samples(folder)` is the way in. Nothing here is used when real studies are read, and nothing in the
product knows a phantom from a patient. numpy, OpenCV and pydicom are imported by the modules, not by this package.
"""
