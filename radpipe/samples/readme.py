"""The text of `sample_dicoms/README.md`, from the studies themselves, so that it cannot drift from them."""

from __future__ import annotations

from collections.abc import Iterable

_HEAD = """# Sample studies

Synthetic chest radiographs, written by `radpipe samples FOLDER` (`make demo` does it; the DICOM files are not
in git). **They are phantoms, drawn by formula: no patient, no patient data, nothing copied from a real image.**
Every file says so: in PatientName, PatientComments, ImageComments, Manufacturer (`radpipe phantom generator`)
and in letters in the picture, outside the anatomy. BurnedInAnnotation is NO because those letters identify no
patient and no date (PS3.3 C.7.6.1).

Licence: CC0-1.0 for the images and for `expected.json`; Apache-2.0, like radpipe, for the code that makes them.

They show what radpipe does with priors, views, formats and damaged input. They say **nothing about how well a
model reads patients**: a phantom's lesion is simpler than a real one, and a model trained on patients may miss
it or see more than there is. Nothing in radpipe recognises a phantom.

| study | date | views | as | shows |
|---|---|---|---|---|
"""

_TAIL = """
`expected.json` says for each study what is painted (finding, side, size in mm, box in pixels), which study is
its prior, how each finding changed, and what must be set aside. Sizes are true in the plane of the lesion;
PixelSpacing is calibrated to the middle plane of the body (PixelSpacingCalibrationType GEOMETRY), so that a 27
mm nodule measures 27 mm within a few per cent.

How they are made: path lengths of tissue, bone and air along each ray (a point source, PA at 1.83 m, AP at 1.05
m with the magnification that follows), Beer-Lambert attenuation, scatter, quantum noise and detector blur, then
logarithm, compression of large structures, unsharp masking and a sigmoid curve, 12 bits in 16. The same version
on the same machine writes the same bytes.

Names: two patients have names beyond ASCII (Cyrillic in UTF-8; Japanese in ISO 2022 IR 87), one has an
apostrophe.
"""


def readme(rows: Iterable[tuple[str, str, str, str, str]]) -> str:
    """The whole text; rows of study, date, views, form, what it shows."""
    return _HEAD + "".join("| " + " | ".join(row) + " |\n" for row in rows) + _TAIL
