"""Is all of the pixel data there, and can anything here decode it? Asked before decoding, of the header alone."""

from __future__ import annotations

from math import ceil

from radpipe.dicom import text
from radpipe.dicom.parse import NATIVE, Parsed, fragments_are_whole, syntax_name
from radpipe.errors import InputError

MAX_PIXELS = 1 << 28
"""Largest picture, rows x columns: 16384 x 16384. A radiograph has at most about 5000 x 5000."""

DECODABLE = {
    "1.2.840.10008.1.2.4.50": "JPEG Baseline (Process 1)",
    "1.2.840.10008.1.2.4.51": "JPEG Extended (Process 2 and 4)",
    "1.2.840.10008.1.2.4.53": "JPEG Spectral Selection (Process 6 and 8), retired",
    "1.2.840.10008.1.2.4.55": "JPEG Full Progression (Process 10 and 12), retired",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless (Process 14)",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless (Process 14, Selection Value 1)",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-Lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K Lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K Lossless RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.5": "RLE Lossless",
}
"""Compressed transfer syntaxes (PS3.5 section 10, PS3.6 Annex A) that the shipped libraries decode."""

_VIDEO = ("MPEG", "HEVC", "SMPTE")


def undecodable(transfer_syntax_uid: str) -> str:
    """Why pixel data in this transfer syntax cannot be read, and what to do; "" if it can."""
    if transfer_syntax_uid in NATIVE or transfer_syntax_uid in DECODABLE:
        return ""
    name = syntax_name(transfer_syntax_uid)
    if any(word in name for word in _VIDEO):
        return f"its picture is a video, {name}: radpipe reads still images; view it in the PACS"
    return (
        f"its pixels are compressed as {name}, which is not supported: have the sender use an uncompressed transfer "
        "syntax, JPEG (baseline, extended, lossless), JPEG-LS, JPEG 2000, HTJ2K or RLE"
    )


def expected_bytes(parsed: Parsed) -> int | None:
    """How long native pixel data must be (PS3.5 section 8.1.1), without padding; None if the header does not say."""
    dataset = parsed.dataset
    rows, columns = text.integer(dataset, "Rows"), text.integer(dataset, "Columns")
    samples = text.integer(dataset, "SamplesPerPixel") or 1
    keyword = parsed.pixels.keyword if parsed.pixels else "PixelData"
    allocated = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(keyword) or text.integer(dataset, "BitsAllocated")
    frames = max(1, text.integer(dataset, "NumberOfFrames") or 1)
    if not rows or not columns or not allocated or min(rows, columns, samples, allocated) < 1:
        return None
    bits = rows * columns * samples * frames * allocated
    if text.first(dataset, "PhotometricInterpretation").upper() == "YBR_FULL_422" and samples == 3:
        bits = bits * 2 // 3
    return ceil(bits / 8)


def check_extent(parsed: Parsed) -> None:
    """Raises InputError if part of the pixel data is missing."""
    pixels = parsed.pixels
    if pixels is None:
        raise InputError("it has no pixel data: export it again with its pixels")
    if parsed.transfer_syntax_uid not in NATIVE:
        if pixels.length is None and not fragments_are_whole(parsed):
            raise InputError("truncated: its compressed pixel data ends early; copy or send it again")
        if not parsed.available:
            raise InputError("its pixel data is empty: export it again with its pixels")
        return
    need, have = expected_bytes(parsed), parsed.available
    if need is None:
        raise InputError("it does not say how its pixels are stored (Bits Allocated): send it again from the PACS")
    if pixels.length is not None and pixels.length > have and have < need:
        raise InputError(f"truncated: {have} of {need} bytes of its pixel data are there; copy or send it again")
    if have < need:
        raise InputError(f"its pixel data has {have} bytes where its header asks for {need}: send it again from the PACS")
