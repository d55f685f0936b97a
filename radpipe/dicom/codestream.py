"""A look at a compressed frame before a decoder sees it: C libraries trust their input, and GDCM ends the process where a
JPEG contradicts the header. So the frame header must agree with the DICOM header first."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from radpipe.dicom.layout import Layout
from radpipe.errors import ImageError

_SOF_OF = {
    "1.2.840.10008.1.2.4.50": (0xC0, 0xC1),
    "1.2.840.10008.1.2.4.51": (0xC0, 0xC1),
    "1.2.840.10008.1.2.4.53": (0xC2,),
    "1.2.840.10008.1.2.4.55": (0xC2,),
    "1.2.840.10008.1.2.4.57": (0xC3,),
    "1.2.840.10008.1.2.4.70": (0xC3,),
    "1.2.840.10008.1.2.4.80": (0xF7,),
    "1.2.840.10008.1.2.4.81": (0xF7,),
}
"""Which start-of-frame marker each JPEG transfer syntax has (ITU-T T.81 table B.1; T.87 for JPEG-LS)."""

_RLE = "1.2.840.10008.1.2.5"

_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""What ends a scan: 0xFF that is neither stuffed (0xFF00) nor a restart marker nor fill (ITU-T T.81 B.1.1.5)."""

_NEXT_MARKER_LS = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
"""The same for JPEG-LS, which stuffs a bit after 0xFF (ITU-T T.87 A.1)."""


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What a codestream says of itself."""

    rows: int
    columns: int
    components: int
    precision: int


def check_codestream(codestream: bytes, transfer_syntax_uid: str, layout: Layout) -> None:
    """Raises ImageError if a compressed frame cannot be what the DICOM header says it is."""
    if transfer_syntax_uid == _RLE:
        return
    markers = _SOF_OF.get(transfer_syntax_uid)
    header = _jpeg_header(codestream, markers) if markers else _jpeg_2000_header(codestream)
    if header is None:
        raise ImageError(
            "its compressed picture has no frame header of the kind that its transfer syntax asks: send it again"
        )
    if (header.rows, header.columns) != (layout.rows, layout.columns):
        raise ImageError(
            f"its compressed picture is {header.rows} x {header.columns}, its header says {layout.rows} x {layout.columns}: "
            "send it again from the PACS"
        )
    if header.components != layout.samples or not 1 <= header.precision <= layout.allocated:
        raise ImageError(
            f"its compressed picture has {header.components} samples of {header.precision} bits, its header says "
            f"{layout.samples} of {layout.allocated}: send it again from the PACS"
        )


def _jpeg_header(codestream: bytes, sof: tuple[int, ...]) -> FrameHeader | None:
    """From the one start-of-frame marker (ITU-T T.81 B.2.2). Raises ImageError if the marker structure is broken."""
    segments = list(_segments(codestream))
    if any(_is_odd_application_data(marker, segment) for marker, segment in segments):
        return None
    headers = [segment for marker, segment in segments if marker in sof]
    if len(headers) != 1 or len(headers[0]) < 6:
        return None
    precision, rows, columns, components = struct.unpack_from(">BHHB", headers[0])
    return FrameHeader(rows, columns, components, precision) if len(headers[0]) == 6 + 3 * components else None


def _is_odd_application_data(marker: int, segment: bytes) -> bool:
    """JFIF of another version, or an unknown Adobe colour transform: libjpeg warns of these in the header, and GDCM ends
    the process on a warning there."""
    if marker == 0xE0 and segment.startswith(b"JFIF\0"):
        return len(segment) < 14 or segment[5] != 1 or segment[7] > 2
    return marker == 0xEE and segment.startswith(b"Adobe") and len(segment) >= 12 and segment[11] > 1


def _segments(codestream: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, parameters) of all segments, from start to end of image (ITU-T T.81 B.1.1); what scans hold is skipped.

    Raises ImageError if one does not follow on the other, or the end is missing.
    """
    is_ls = False
    position = 2 if codestream[:2] == b"\xff\xd8" else len(codestream)
    while position + 2 <= len(codestream):
        marker = codestream[position + 1]
        if codestream[position] != 0xFF or marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            break
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0xD9:
            return
        if position + 4 > len(codestream):
            break
        length = int(struct.unpack_from(">H", codestream, position + 2)[0])
        segment = codestream[position + 4 : position + 2 + length]
        if length < 2 or len(segment) != length - 2:
            break
        is_ls = is_ls or marker == 0xF7
        yield marker, segment
        position += 2 + length
        if marker == 0xDA:
            match = (_NEXT_MARKER_LS if is_ls else _NEXT_MARKER).search(codestream, position)
            position = match.start() if match else len(codestream)
    raise ImageError("its compressed picture is damaged or ends early: send it again")


def _jpeg_2000_header(codestream: bytes) -> FrameHeader | None:
    """From the SIZ marker, which is the first (ITU-T T.800 A.5.1); the largest precision of all components."""
    start = codestream.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0 or len(codestream) < start + 42:
        return None
    columns, rows, left, top = struct.unpack_from(">LLLL", codestream, start + 8)
    (components,) = struct.unpack_from(">H", codestream, start + 40)
    depths = codestream[start + 42 : start + 42 + 3 * components : 3]
    if not components or len(depths) != components:
        return None
    return FrameHeader(rows - top, columns - left, components, max(depth & 0x7F for depth in depths) + 1)
