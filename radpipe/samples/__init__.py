"""Synthetic chest radiographs for the demo and the tests: phantoms drawn by formula, and marked as such.

`write_samples(folder)` is the way in. Nothing here is used when real studies are read, and nothing in the product knows
a phantom from a patient. numpy, OpenCV and pydicom are imported only when samples are written.
"""

from __future__ import annotations

from pathlib import Path


def write_samples(folder: Path) -> tuple[Path, ...]:
    """Write the sample studies, `expected.json` and `README.md` into `folder`; the same bytes every time on one machine.

    Returns the paths of the DICOM files, in the order of the studies. See `studies.write_samples`.
    """
    from radpipe.samples import studies

    return studies.write_samples(folder)
