"""Bytes to a picture: decoded, windowed as the modality asks, bright where the patient is dense.

Pixels of 8 and 16 bits are looked up in a table of at most 65536 entries into which the whole greyscale pipeline is folded
(in float64, so each is exact), block by block, so that a picture costs its result and little more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.dicom.decode import Stored, stored_frame
from radpipe.dicom.greyscale import Shown, shown
from radpipe.dicom.palette import palette
from radpipe.dicom.parse import EXPLICIT_BIG, Parsed, parse, quiet
from radpipe.errors import ImageError, InputError

_BLOCK_PIXELS = 1 << 17
"""Pixels handled at once: the temporary arrays stay in the cache."""

_LUMINANCE = (0.299, 0.587, 0.114)
"""Y of RGB, ITU-R BT.601, as PS3.3 C.7.6.3.1.2 has it for YBR_FULL."""


def presentation(content: bytes, frame: int = 1) -> npt.NDArray[np.float32]:
    """The picture of one frame (counted from 1): (rows, columns) float32 0..1, read-only; bright is dense.

    Padding is 0. Colour becomes luminance. Raises ImageError. See PS3.3 C.11.1, C.11.2, C.11.6.
    """
    with quiet():
        parsed = _parse(content)
        stored = stored_frame(parsed, frame)
        if stored.layout.is_colour:
            return _luminance(stored)
        if stored.layout.photometric == "PALETTE COLOR":
            colours = _palette(parsed, stored) @ np.array(_LUMINANCE)
            return _read_only(_looked_up(stored.cells, colours.astype(np.float32)))
        return _read_only(_grey(parsed, stored, frame, np.dtype(np.float32)))


def picture(content: bytes, frame: int = 1) -> npt.NDArray[np.uint8]:
    """The picture of one frame for a screen: uint8, (rows, columns), or (rows, columns, 3) RGB where it is in colour.

    Raises ImageError.
    """
    with quiet():
        parsed = _parse(content)
        stored = stored_frame(parsed, frame)
        if stored.layout.is_colour:
            colour = stored.cells
            scaled = colour if colour.dtype == np.uint8 else np.rint(colour * (255.0 / _full(stored))).astype(np.uint8)
            return _read_only(np.ascontiguousarray(scaled))
        if stored.layout.photometric == "PALETTE COLOR":
            return _read_only(_of_type(_palette(parsed, stored), np.dtype(np.uint8))[stored.cells])
        return _read_only(_grey(parsed, stored, frame, np.dtype(np.uint8)))


def _parse(content: bytes) -> Parsed:
    try:
        return parse(content)
    except InputError as error:
        raise ImageError(str(error)) from error


def _grey(parsed: Parsed, stored: Stored, frame: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    layout = stored.layout
    how = shown(parsed.dataset, layout.photometric, frame, signed=layout.signed)
    if stored.meaning is None:
        return _grey_directly(stored.cells, how, dtype)
    present = _present(stored.cells, len(stored.meaning))
    padding = how.is_padding(stored.meaning)
    if padding is not None and (present & ~padding).any():
        present &= ~padding
    else:
        padding = None
    values = how.modality(stored.meaning)
    inside = values[present]
    table = how.grey(values, float(inside.min()), float(inside.max()))
    if padding is not None:
        table[padding] = 0.0
    return _looked_up(stored.cells, _of_type(table, dtype))


def _grey_directly(cells: npt.NDArray[Any], how: Shown, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """For pixels of 32 or 64 bits, integer or float: too many values for a table."""
    low, high = np.inf, -np.inf
    for block in _blocks(cells):
        values, padding = _modality_block(cells[block], how)
        usable = np.isfinite(values) if padding is None else np.isfinite(values) & ~padding
        if usable.any():
            low, high = min(low, float(values[usable].min())), max(high, float(values[usable].max()))
    if low > high:
        raise ImageError("none of its pixels has a value: send it again from the modality")
    result = np.empty(cells.shape, dtype)
    for block in _blocks(cells):
        values, padding = _modality_block(cells[block], how)
        grey = how.grey(np.nan_to_num(values, nan=low, posinf=high, neginf=low), low, high)
        if padding is not None:
            grey[padding] = 0.0
        result[block] = _of_type(grey, dtype)
    return result


def _modality_block(cells: npt.NDArray[Any], how: Shown) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_] | None]:
    stored = cells.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return how.modality(stored), how.is_padding(stored)


def _palette(parsed: Parsed, stored: Stored) -> npt.NDArray[np.float64]:
    """The colour (cells, 3) of every possible cell."""
    if stored.meaning is None:
        raise ImageError("its palette pixels have more than 16 bits, which DICOM does not allow: send it again")
    return palette(parsed.dataset, stored.meaning, little=parsed.transfer_syntax_uid != EXPLICIT_BIG)


def _luminance(stored: Stored) -> npt.NDArray[np.float32]:
    colour = stored.cells
    result = np.empty(colour.shape[:2], np.float32)
    scale = 1.0 / _full(stored)
    for block in _blocks(result):
        part = colour[block].astype(np.float32)
        grey = sum(part[..., channel] * np.float32(weight * scale) for channel, weight in enumerate(_LUMINANCE))
        np.clip(grey, 0.0, 1.0, out=result[block])
    return _read_only(result)


def _full(stored: Stored) -> float:
    """The value that stands for full colour: all stored bits set, or what is larger in the picture."""
    return float(max((1 << stored.layout.stored) - 1, stored.cells.max()))


def _present(cells: npt.NDArray[Any], count: int) -> npt.NDArray[np.bool_]:
    """Which of the `count` possible cells occur."""
    seen = np.zeros(count, np.bool_)
    for block in _blocks(cells):
        seen[cells[block]] = True
    return seen


def _looked_up(cells: npt.NDArray[Any], table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    result = np.empty(cells.shape, table.dtype)
    for block in _blocks(cells):
        np.take(table, cells[block], out=result[block], mode="clip")  # clip: no buffering; no cell is beyond the table
    return result


def _of_type(grey: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.rint(grey * 255.0).astype(np.uint8) if dtype == np.uint8 else grey.astype(dtype)


def _blocks(array: npt.NDArray[Any]) -> list[slice]:
    rows, columns = array.shape[:2]
    step = max(1, _BLOCK_PIXELS // columns)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array
