"""Bytes to a pydicom data set, without decoding or copying pixels. Every way to fail is an InputError with advice.

The pixel data element (PS3.5 section 8) is located, not read: where it begins, how long it says it is, and whether all of
it is there. Deflated data sets (PS3.5 A.5) are inflated up to a limit.
"""

from __future__ import annotations

import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, ClassVar

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_partial
from pydicom.uid import UID

from radpipe.dicom.sniff import appearance, looks_like_data_set, what_to_do
from radpipe.errors import InputError

MAX_INFLATED_BYTES = 1 << 30
"""A deflated data set may grow to 1 GiB; a larger one is refused as a likely bomb."""

IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
NATIVE = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)
"""Transfer syntaxes whose pixel data is not compressed (as pixel data)."""

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"

PYDICOM_ERRORS = (
    ValueError, TypeError, AttributeError, LookupError, ArithmeticError, EOFError, NotImplementedError, RecursionError,
    AssertionError, MemoryError, OSError, struct.error, zlib.error, InvalidDicomError, BytesLengthException,
)  # fmt: skip
"""All that pydicom was seen to raise on damaged elements (by fuzzing): parsing is lazy, so any access may raise them."""


class InstanceError(InputError):
    """An instance that says which study it belongs to but cannot be used."""

    def __init__(self, message: str, study_instance_uid: str | None = None, sop_instance_uid: str | None = None) -> None:
        super().__init__(message)
        self.study_instance_uid = study_instance_uid
        self.sop_instance_uid = sop_instance_uid


@dataclass(frozen=True, slots=True)
class PixelElement:
    """The pixel data element in `Parsed.content`: `length` is None when undefined (encapsulated, PS3.5 A.4)."""

    keyword: str  # PixelData, FloatPixelData, DoubleFloatPixelData
    vr: str
    start: int
    length: int | None


@dataclass(frozen=True, slots=True)
class Parsed:
    """A data set without its pixels, and where they are."""

    dataset: Dataset
    transfer_syntax_uid: str
    content: bytes  # what `pixels` points into: the file's bytes, or the inflated data set
    pixels: PixelElement | None
    cut: bool  # the bytes end within an element

    @property
    def available(self) -> int:
        """How many bytes there are from the beginning of the pixel data's value to its end, or to the end of all."""
        if self.pixels is None:
            return 0
        rest = len(self.content) - self.pixels.start
        return rest if self.pixels.length is None else min(rest, self.pixels.length)


_quiet_lock = threading.Lock()
_quiet: dict[str, Any] = {"depth": 0, "filters": None, "level": 0}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's warnings and logging within the block: both quote values, which may name a patient.

    Safe when threads overlap, as warnings.catch_warnings is not: the first to enter saves, the last to leave restores.
    """
    logger = logging.getLogger("pydicom")
    with _quiet_lock:
        if _quiet["depth"] == 0:
            _quiet["filters"] = warnings.catch_warnings()
            _quiet["filters"].__enter__()
            warnings.simplefilter("ignore")
            _quiet["level"] = logger.level
            logger.setLevel(logging.CRITICAL + 1)
        _quiet["depth"] += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet["depth"] -= 1
            if _quiet["depth"] == 0:
                _quiet["filters"].__exit__(None, None, None)
                logger.setLevel(_quiet["level"])


class _Reader(BytesIO):
    """Remembers whether a read came back short in the middle of something: then the bytes were cut."""

    short = False

    def read(self, size: int | None = -1, /) -> bytes:
        value = super().read(size)
        # pydicom looks for delimiters in blocks of 8 KiB, which end short by design
        if size is not None and size != 8192 and 1 < size != len(value) and value:
            self.short = True
        return value


def parse(content: bytes) -> Parsed:
    """Parse a file's bytes up to its pixels. Call within `quiet()`. Raises InputError."""
    if not content:
        raise InputError("the file is empty: copy or send it again")
    has_preamble = content[128:132] == b"DICM"
    if not has_preamble and not looks_like_data_set(content):
        words = appearance(content)
        if words:
            raise InputError(f"not DICOM, it looks like {words}: {what_to_do(words)}")
        if len(content) < 132:
            raise InputError(f"not DICOM, only {len(content)} bytes: copy or send it again")
        raise InputError("not DICOM: if it should be an image, export it as DICOM")
    try:
        return _inflated(content) if has_preamble and _is_deflated(content) else _parsed(content)
    except InputError:
        raise
    except PYDICOM_ERRORS as error:
        raise InputError(f"damaged: not readable as DICOM ({type(error).__name__}); copy or send it again") from error


def _parsed(content: bytes) -> Parsed:
    reader = _Reader(content)
    stop = _StopAtPixels()
    dataset = read_partial(reader, stop, force=True)
    implicit, little = dataset.original_encoding
    stated = str(getattr(dataset.file_meta, "TransferSyntaxUID", "") or "").strip("\0 ")
    syntax = stated or {(True, True): IMPLICIT_LITTLE, (False, False): EXPLICIT_BIG}.get(
        (bool(implicit), bool(little)), EXPLICIT_LITTLE
    )
    pixels = stop.element(content, reader.tell(), little=bool(little))
    return Parsed(dataset, syntax, content, pixels, cut=reader.short)


def _inflated(content: bytes) -> Parsed:
    start = _end_of_meta(content)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(content[start:], MAX_INFLATED_BYTES)
    except zlib.error as error:
        raise InputError("damaged: its deflated part does not inflate; copy or send it again") from error
    if not inflater.eof:
        if len(inflated) >= MAX_INFLATED_BYTES:
            raise InputError(f"its deflated part grows beyond {MAX_INFLATED_BYTES >> 20} MiB: send it uncompressed")
        raise InputError("truncated: its deflated part ends early; copy or send it again")
    reader = _Reader(inflated)
    stop = _StopAtPixels()
    dataset = read_dataset(reader, False, True, stop_when=stop)
    return Parsed(dataset, DEFLATED, inflated, stop.element(inflated, reader.tell(), little=True), cut=reader.short)


class _StopAtPixels:
    """pydicom's `stop_when`: remembers the element at which reading stopped."""

    KEYWORDS: ClassVar[dict[int, str]] = {
        0x7FE00008: "FloatPixelData",
        0x7FE00009: "DoubleFloatPixelData",
        0x7FE00010: "PixelData",
    }

    def __init__(self) -> None:
        self.found: tuple[str, str, int] | None = None

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        if tag not in self.KEYWORDS:
            return False
        self.found = (self.KEYWORDS[tag], vr or "", length)
        return True

    def element(self, content: bytes, position: int, *, little: bool) -> PixelElement | None:
        """The element that begins at `position`, if reading stopped at one."""
        if self.found is None:
            return None
        keyword, vr, length = self.found
        order = "<" if little else ">"
        long_form = vr in ("OB", "OW", "OF", "OD", "OL", "OV", "UN", "SQ", "UC", "UR", "UT", "SV", "UV")
        start = position + (12 if long_form else 8)
        if long_form and start <= len(content):
            (length,) = struct.unpack_from(f"{order}L", content, position + 8)
        return PixelElement(keyword, vr, min(start, len(content)), None if length == 0xFFFFFFFF else length)


def _is_deflated(content: bytes) -> bool:
    return DEFLATED.encode() in content[132 : _end_of_meta(content)]


def _end_of_meta(content: bytes) -> int:
    """Where the file meta information (group 0002, always Explicit VR Little Endian, PS3.10 7.1) ends."""
    position = 132
    while position + 8 <= len(content) and content[position : position + 2] == b"\x02\x00":
        if content[position + 4 : position + 6] in (b"OB", b"OW", b"UN", b"SQ", b"UT"):
            if position + 12 > len(content):
                break
            position += 12 + int(struct.unpack_from("<L", content, position + 8)[0])
        else:
            position += 8 + int(struct.unpack_from("<H", content, position + 6)[0])
    return min(position, len(content))


def fragments_are_whole(parsed: Parsed) -> bool:
    """True if every fragment of encapsulated pixel data (PS3.5 A.4) is there; a missing last delimiter is forgiven."""
    if parsed.pixels is None:
        return False
    content, position = parsed.content, parsed.pixels.start
    items = 0
    while position + 8 <= len(content):
        group, element, length = struct.unpack_from("<HHL", content, position)
        if (group, element) == (0xFFFE, 0xE0DD):
            return items > 1
        if (group, element) != (0xFFFE, 0xE000):
            return False
        position += 8 + length
        items += 1
    return items > 1 and position == len(content)


def syntax_name(uid: str) -> str:
    """The name of a transfer syntax or SOP class, with its UID; the bare UID if the standard has none such."""
    name = UID(uid).name
    return f"{name} ({uid})" if name and name != uid else uid
