"""A file without its pixels: what is kept of an image so that reports about it can be written when the file is gone."""

from __future__ import annotations

import io

from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian

from radpipe.dicom.parse import DEFLATED, parse, quiet

LONG_FORM = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN", "SQ", "UC", "UR", "UT", "SV", "UV"})
"""VRs whose explicit form has a 4-byte length after two reserved bytes (PS3.5 7.1.2)."""


def header(content: bytes) -> bytes:
    """The file's bytes up to its pixel data, unchanged; a deflated file is rewritten as Explicit VR Little Endian.

    Raises InputError if `content` is not DICOM.
    """
    with quiet():
        parsed = parse(content)
        if parsed.transfer_syntax_uid == DEFLATED:
            buffer = io.BytesIO()
            meta = dcmread(io.BytesIO(content), stop_before_pixels=True, force=True).file_meta
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            parsed.dataset.file_meta = meta
            parsed.dataset.save_as(buffer, enforce_file_format=True)
            return buffer.getvalue()
    if parsed.pixels is None:
        return content
    return content[: parsed.pixels.start - (12 if parsed.pixels.vr in LONG_FORM else 8)]


def read_header(content: bytes) -> Dataset:
    """The data set of what `header` gave."""
    with quiet():
        return dcmread(io.BytesIO(content), force=True)
