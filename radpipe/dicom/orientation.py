"""Turning a picture so that the patient's head is up and the right side is at the left, and boxes back again.

By Patient Orientation (0020,0020, PS3.3 C.7.6.1.1.1): the direction of the rows (to the right of the picture) and of the
columns (downwards). ("L", "F") is upright for a frontal view. One of the eight symmetries of a rectangle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.study import Image

Box = tuple[int, int, int, int]


def upright(array: npt.NDArray[Any], image: Image) -> npt.NDArray[Any]:
    """The picture (rows, columns[, channels]) upright: a read-only view where no copy is needed. Unchanged where the
    orientation is not stated or makes no sense."""
    transposed, flipped_rows, flipped_columns = _turn(image)
    turned = array.swapaxes(0, 1) if transposed else array
    if flipped_rows:
        turned = turned[::-1]
    if flipped_columns:
        turned = turned[:, ::-1]
    turned = np.ascontiguousarray(turned) if turned is not array else turned.view()
    turned.setflags(write=False)
    return turned


def source_box(box: Box, image: Image) -> Box:
    """A box (top, left, bottom, right; end-exclusive) of the upright picture, in the pixels of the file."""
    transposed, flipped_rows, flipped_columns = _turn(image)
    rows, columns = (image.columns, image.rows) if transposed else (image.rows, image.columns)
    top, left, bottom, right = box
    if flipped_columns:
        left, right = columns - right, columns - left
    if flipped_rows:
        top, bottom = rows - bottom, rows - top
    return (left, top, right, bottom) if transposed else (top, left, bottom, right)


def upright_box(box: Box, image: Image) -> Box:
    """The way back of `source_box`: a box in the pixels of the file, in the upright picture."""
    transposed, flipped_rows, flipped_columns = _turn(image)
    rows, columns = (image.columns, image.rows) if transposed else (image.rows, image.columns)
    top, left, bottom, right = (box[1], box[0], box[3], box[2]) if transposed else box
    if flipped_rows:
        top, bottom = rows - bottom, rows - top
    if flipped_columns:
        left, right = columns - right, columns - left
    return top, left, bottom, right


def _turn(image: Image) -> tuple[bool, bool, bool]:
    """(transpose, then flip rows, then flip columns) that make the picture upright; all False where it is not known."""
    directions = tuple(direction[:1] for direction in image.patient_orientation)
    if len(directions) != 2:
        return False, False, False
    along_rows, along_columns = directions
    transposed = along_rows in "HF"
    if transposed:
        along_rows, along_columns = along_columns, along_rows
    if along_columns not in ("H", "F") or along_rows not in ("L", "R", "A", "P"):
        return False, False, False
    mirrored = along_rows == "R" if along_rows in "LR" else False
    return transposed, along_columns == "H", mirrored
