"""The kept header is the file up to its pixels, byte for byte, and reads back the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from radpipe import dicom


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "MR_small_implicit.dcm", "image_dfl.dcm", "RG1_UNCI.dcm"],
)
def test_a_header_reads_back_as_the_file_without_pixels(name: str) -> None:
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str)
    content = Path(found).read_bytes()
    with dicom.quiet():
        expected = dcmread(found, stop_before_pixels=True)
    kept = dicom.header(content)
    assert len(kept) < len(content)
    read = dicom.read_header(kept)
    assert "PixelData" not in read
    assert read == expected
