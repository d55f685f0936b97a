"""Small pictures of what was read, kept in the store: for registering a later study against this one, and for the page
when the original file is gone. Pure: arrays in, bytes out.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

LONGEST_SIDE_PX = 512


def thumbnail(pixels: npt.NDArray[np.float32]) -> bytes:
    """JPEG of a presentation image (rows, columns) in 0..1, as stored, no side longer than LONGEST_SIDE_PX."""
    step = max(1, max(pixels.shape) // LONGEST_SIDE_PX)
    whole = Image.fromarray(np.ascontiguousarray(pixels, np.float32))
    small = np.asarray(whole.reduce((min(step, pixels.shape[1]), min(step, pixels.shape[0]))), np.float32)
    picture = Image.fromarray(np.clip(small * 255.0 + 0.5, 0, 255).astype(np.uint8))
    picture.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def pixels_of(picture: bytes) -> npt.NDArray[np.float32]:
    """The thumbnail's pixels: (rows, columns) float32 in 0..1, read-only."""
    pixels: npt.NDArray[np.float32] = np.asarray(Image.open(io.BytesIO(picture)).convert("L"), np.float32) / np.float32(255)
    pixels.setflags(write=False)
    return pixels
