"""One frame's stored values out of a file's bytes, whatever the transfer syntax. PS3.5 section 8 and Annex A.

Native greyscale is a view on the file's bytes, without a copy. Compressed pixels are decoded by pydicom 3 with the plugins
in `PLUGINS`, all under permissive licences; the GPL plugin pylibjpeg-libjpeg is neither needed nor used. What pydicom leaves
out (JPEG with 12-bit samples, and the two retired JPEG processes) goes to GDCM directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from radpipe.dicom import text
from radpipe.dicom.codestream import check_codestream
from radpipe.dicom.extent import check_extent, undecodable
from radpipe.dicom.layout import Layout, read_layout
from radpipe.dicom.parse import EXPLICIT_BIG, NATIVE, PYDICOM_ERRORS, Parsed, syntax_name
from radpipe.errors import ImageError, InputError

_JPEG_1, _JPEG_2_4, _JPEG_6_8, _JPEG_10_12 = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55))

PLUGINS = {
    _JPEG_1: "gdcm", _JPEG_2_4: "gdcm",
    "1.2.840.10008.1.2.4.57": "gdcm", "1.2.840.10008.1.2.4.70": "gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls", "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg", "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg", "1.2.840.10008.1.2.4.202": "pylibjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg",
    "1.2.840.10008.1.2.5": "pylibjpeg",
}  # fmt: skip
"""Which of pydicom's decoding plugins decodes each compressed transfer syntax."""

_INSTALL = {
    "gdcm": "python-gdcm", "pyjpegls": "pyjpegls", "pylibjpeg": "pylibjpeg pylibjpeg-openjpeg pylibjpeg-rle",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """A frame as stored: (rows, columns) or (rows, columns, 3), RGB.

    Samples of 8 or 16 bits are unsigned `cells`, and `meaning[cell]` is the value that a cell stands for: that unpacks sign,
    high bit and unused bits (PS3.5 8.1.1) for all pixels at once. Otherwise `meaning` is None and cells are the values.
    """

    cells: npt.NDArray[Any]
    meaning: npt.NDArray[np.float64] | None
    layout: Layout


def stored_frame(parsed: Parsed, frame: int) -> Stored:
    """The stored values of frame `frame`, counted from 1. Raises ImageError. Call within `quiet()`."""
    try:
        layout = read_layout(parsed)
        if not 1 <= frame <= layout.frames:
            raise ImageError(f"it has no frame {frame}: it has {layout.frames}")
        if why := undecodable(parsed.transfer_syntax_uid):
            raise ImageError(why)
        check_extent(parsed)
        if parsed.transfer_syntax_uid in NATIVE:
            return _native(parsed, layout, frame - 1)
        return _compressed(parsed, layout, frame - 1)
    except ImageError:
        raise
    except InputError as error:
        raise ImageError(str(error)) from error
    except (*PYDICOM_ERRORS, RuntimeError) as error:
        how = syntax_name(parsed.transfer_syntax_uid)
        raise ImageError(f"its pixels ({how}) do not decode: they are damaged; send it again") from error


def _native(parsed: Parsed, layout: Layout, index: int) -> Stored:
    """A view on the bytes where the form allows it; big-endian words of 8-bit samples, bits and colour go by pydicom."""
    assert parsed.pixels is not None
    big = parsed.transfer_syntax_uid == EXPLICIT_BIG
    swapped_bytes = big and layout.allocated == 8 and parsed.pixels.vr != "OB"
    if layout.is_colour or layout.allocated == 1 or swapped_bytes:
        end = parsed.pixels.start + parsed.available
        value = parsed.content[parsed.pixels.start : end]
        syntax = parsed.transfer_syntax_uid if big else "1.2.840.10008.1.2.1"
        array = _by_pydicom(value, layout, syntax, index, "", pixel_vr=parsed.pixels.vr or "OW")
        return _of_array(array, layout)
    kind = "f" if layout.keyword != "PixelData" else "u" if layout.allocated <= 16 or not layout.signed else "i"
    dtype = np.dtype(f"{'>' if big else '<'}{kind}{layout.allocated // 8}")
    count = layout.rows * layout.columns
    start = parsed.pixels.start + index * count * dtype.itemsize
    cells = np.frombuffer(parsed.content, dtype, count, start).reshape(layout.rows, layout.columns)
    if layout.allocated > 16:
        return Stored(cells, None, layout)
    return Stored(cells, _meaning(layout), layout)


def _meaning(layout: Layout) -> npt.NDArray[np.float64]:
    """What each possible cell of 8 or 16 bits stands for: its `stored` bits below `high_bit`, with their sign."""
    cells = np.arange(1 << layout.allocated, dtype=np.int64)
    values = (cells >> (layout.high_bit + 1 - layout.stored)) & ((1 << layout.stored) - 1)
    if layout.signed:
        values -= (values >> (layout.stored - 1)) << layout.stored
    return values.astype(np.float64)


def _compressed(parsed: Parsed, layout: Layout, index: int) -> Stored:
    codestream = _codestream(parsed, layout, index)
    check_codestream(codestream, parsed.transfer_syntax_uid, layout)
    syntax = parsed.transfer_syntax_uid
    if syntax in (_JPEG_6_8, _JPEG_10_12) or (syntax == _JPEG_2_4 and layout.stored > 8):
        return _of_array(_by_gdcm(codestream, layout, syntax), layout)
    decoder = get_decoder(syntax)
    plugin = PLUGINS[syntax]
    if plugin not in decoder.available_plugins:
        raise ImageError(f"its pixels ({syntax_name(syntax)}) need a decoder: pip install {_INSTALL[plugin]}")
    return _of_array(_by_pydicom(encapsulate([codestream]), layout, syntax, 0, plugin, frames=1), layout)


def _codestream(parsed: Parsed, layout: Layout, index: int) -> bytes:
    """The compressed bytes of one frame, its fragments joined (PS3.5 A.4)."""
    assert parsed.pixels is not None
    if parsed.pixels.length is not None:
        raise ImageError(f"its pixels are not packed as {syntax_name(parsed.transfer_syntax_uid)} asks: send it again")
    offsets = text.value(parsed.dataset, "ExtendedOffsetTable"), text.value(parsed.dataset, "ExtendedOffsetTableLengths")
    extended = offsets if all(isinstance(table, bytes) for table in offsets) else None
    value = parsed.content[parsed.pixels.start :]
    return get_frame(value, index, number_of_frames=layout.frames, extended_offsets=extended)


def _by_pydicom(
    value: bytes, layout: Layout, syntax: str, index: int, plugin: str, *, frames: int | None = None, pixel_vr: str = "OB"
) -> npt.NDArray[Any]:
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "number_of_frames": frames or layout.frames,
        "photometric_interpretation": layout.photometric,
        "planar_configuration": layout.planar,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "pixel_keyword": layout.keyword,
        "pixel_vr": pixel_vr,
        "transfer_syntax_uid": UID(syntax),
    }
    array: npt.NDArray[Any]
    with _PanicsAsErrors():
        array, _ = get_decoder(syntax).as_array(value, index=index, decoding_plugin=plugin, **options)
    return array


class _PanicsAsErrors:
    """pylibjpeg-rle is written in Rust: its panics arrive as an exception beside Exception that has no public name."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is not None and kind.__name__ == "PanicException":
            raise ValueError("the decoder panicked") from error


def _by_gdcm(codestream: bytes, layout: Layout, syntax: str) -> npt.NDArray[Any]:
    """JPEG with samples of up to 16 bits, which pydicom's own GDCM plugin declines."""
    try:
        import gdcm
    except ImportError as error:
        raise ImageError(f"its pixels ({syntax_name(syntax)}) need a decoder: pip install {_INSTALL['gdcm']}") from error
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(codestream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(layout.photometric)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    form = (layout.samples, layout.allocated, layout.stored, layout.stored - 1, int(layout.signed))
    image.SetPixelFormat(gdcm.PixelFormat(*form))
    decoded = image.GetBuffer().encode("utf-8", "surrogateescape")  # GDCM hands bytes over as str
    dtype = np.dtype(f"<{'i' if layout.signed else 'u'}{layout.allocated // 8}")
    shape = (layout.rows, layout.columns) if layout.samples == 1 else (layout.rows, layout.columns, layout.samples)
    return np.frombuffer(decoded, dtype).reshape(shape)


def _of_array(array: npt.NDArray[Any], layout: Layout) -> Stored:
    """Decoded values: those of 8 and 16 bits become cells, by looking at the same bits as unsigned."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize > 2:
        return Stored(array, None, layout)
    cells = array.view(f"u{array.dtype.itemsize}")
    every = np.arange(1 << (8 * array.dtype.itemsize), dtype=cells.dtype)
    return Stored(cells, every.view(array.dtype).astype(np.float64), layout)
