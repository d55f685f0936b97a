"""PALETTE COLOR: the colour that each stored value stands for. PS3.3 C.7.6.3.1.5, C.7.6.3.1.6, C.7.9.2 (segmented)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from radpipe.dicom import text
from radpipe.dicom.parse import PYDICOM_ERRORS
from radpipe.errors import ImageError

_CHANNELS = ("Red", "Green", "Blue")


def palette(dataset: Dataset, values: npt.NDArray[np.float64], *, little: bool) -> npt.NDArray[np.float64]:
    """The colours (len(values), 3) of stored values, each channel 0..1. Raises ImageError.

    Entries of 8 bits kept in 16-bit words count as 8 bits, whichever the descriptor says.
    """
    descriptor = [int(number) for number in text.decimals(dataset, "RedPaletteColorLookupTableDescriptor")]
    if len(descriptor) != 3:
        raise ImageError("its colour palette is missing: send it again from the PACS")
    count, first = descriptor[0] % 65536 or 65536, descriptor[1]
    first = first - 65536 if first >= 32768 and values.min() < 0 else first
    tables = [_entries(dataset, channel, count, little=little) for channel in _CHANNELS]
    largest = max(float(table.max()) for table in tables)
    white = 255.0 if largest <= 255 else 65535.0
    index = np.clip(values - first, 0, count - 1).astype(np.intp)
    return np.stack([table[np.minimum(index, len(table) - 1)] for table in tables], axis=-1) / white


def _entries(dataset: Dataset, channel: str, count: int, *, little: bool) -> npt.NDArray[np.float64]:
    data = text.value(dataset, f"{channel}PaletteColorLookupTableData")
    if isinstance(data, bytes) and len(data) >= count:
        if len(data) >= 2 * count:
            return np.frombuffer(data, "<u2" if little else ">u2", count).astype(np.float64)
        return np.frombuffer(data, np.uint8, count).astype(np.float64)
    if isinstance(text.value(dataset, f"Segmented{channel}PaletteColorLookupTableData"), bytes):
        return _segmented(dataset, channel, count)
    raise ImageError("its colour palette is missing or too short: send it again from the PACS")


def _segmented(dataset: Dataset, channel: str, count: int) -> npt.NDArray[np.float64]:
    try:
        every = np.arange(count, dtype=np.int64) + int(text.decimals(dataset, "RedPaletteColorLookupTableDescriptor")[1])
        coloured: npt.NDArray[Any] = apply_color_lut(every.reshape(1, -1), dataset)
    except PYDICOM_ERRORS as error:
        raise ImageError("its segmented colour palette is damaged: send it again from the PACS") from error
    return coloured[0, :, _CHANNELS.index(channel)].astype(np.float64)
