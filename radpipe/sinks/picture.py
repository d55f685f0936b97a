"""A shown image as a PNG for a page."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from radpipe.errors import ImageError


def png(shown: npt.NDArray[np.uint8], max_side_px: int = 1200) -> bytes:
    """`shown`: (rows, columns) grey or (rows, columns, 3) RGB, uint8, as it is to be seen. The longer side is brought down
    to `max_side_px` where it is longer; never enlarged. Raises ImageError for another shape or type."""
    if shown.dtype != np.uint8 or shown.ndim not in (2, 3) or (shown.ndim == 3 and shown.shape[2] != 3) or 0 in shown.shape:
        raise ImageError(
            f"a picture is (rows, columns[, 3]) uint8, not {shown.shape} {shown.dtype}; apply the VOI LUT first"
        )
    picture = Image.fromarray(np.ascontiguousarray(shown))
    if max(picture.size) > max_side_px:
        picture.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
    file = BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def png_size(picture: bytes) -> tuple[int, int]:
    """(columns, rows) of a PNG, from its IHDR chunk. Raises ImageError if it is not a PNG."""
    if len(picture) < 24 or picture[:8] != b"\x89PNG\r\n\x1a\n":
        raise ImageError("a picture for a page is a PNG; this is not one")
    return int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")
