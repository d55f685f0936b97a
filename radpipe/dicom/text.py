"""Attribute values out of a pydicom data set that may be wrong in any way: text, numbers, dates, codes.

Nothing here raises: what cannot be read is "", None or (). Character sets as PS3.3 C.12.1.1.2 and PS3.5 section 6.1; a
wrong or missing Specific Character Set falls back to UTF-8 where the bytes are that, else to Latin-1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import date, time
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.valuerep import PersonName

from radpipe.dicom.parse import PYDICOM_ERRORS

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def value(dataset: Dataset, keyword: str) -> Any:
    """The value of an attribute as pydicom gives it, or None if it is absent, empty or damaged."""
    try:
        found = dataset.get(keyword)
        return None if found is None or found == "" else found
    except PYDICOM_ERRORS:
        return None


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All values of an attribute as text, stripped; empty ones stay, so that positions keep their meaning."""
    found = value(dataset, keyword)
    if found is None or isinstance(found, (Sequence, Dataset)):
        return ()
    try:
        values = list(found) if isinstance(found, (MultiValue, list, tuple)) else [found]
        texts_found = tuple(_clean(_as_text(one, dataset)) for one in values)
    except PYDICOM_ERRORS:
        return ()
    return texts_found if any(texts_found) else ()


def text(dataset: Dataset, keyword: str) -> str:
    """An attribute's value as text; several values are joined as they stood, with a backslash."""
    return "\\".join(texts(dataset, keyword))


def first(dataset: Dataset, keyword: str) -> str:
    """An attribute's first value as text, or ""."""
    found = texts(dataset, keyword)
    return found[0] if found else ""


def integer(dataset: Dataset, keyword: str) -> int | None:
    """An attribute's first value as a whole number."""
    match = re.fullmatch(r"([+-]?\d{1,18})(?:\.0*)?", first(dataset, keyword))
    return int(match[1]) if match else None


def decimals(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """All values as finite numbers; () if one of them is not."""
    numbers: list[float] = []
    for found in texts(dataset, keyword):
        try:
            number = float(found.replace(",", "."))
        except ValueError:
            return ()
        if not math.isfinite(number):
            return ()
        numbers.append(number)
    return tuple(numbers)


def decimal(dataset: Dataset, keyword: str) -> float | None:
    """An attribute's first value as a finite number."""
    numbers = decimals(dataset, keyword)
    return numbers[0] if numbers else None


def items(dataset: Dataset, keyword: str) -> Iterator[Dataset]:
    """The items of a sequence; none if it is not one."""
    found = value(dataset, keyword)
    if not isinstance(found, Sequence):
        return
    try:
        yield from list(found)
    except PYDICOM_ERRORS:
        return


def code_meanings(dataset: Dataset, keyword: str) -> tuple[tuple[str, str], ...]:
    """(code value, code meaning) of each item of a code sequence (PS3.3 section 8)."""
    return tuple(
        (first(item, "CodeValue") or first(item, "LongCodeValue"), text(item, "CodeMeaning"))
        for item in items(dataset, keyword)
    )


def day(dataset: Dataset, keyword: str) -> date | None:
    """A DA: YYYYMMDD, also with the separators that ACR-NEMA and careless senders use."""
    match = re.match(r"(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})", first(dataset, keyword))
    try:
        return date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:
        return None


def clock(dataset: Dataset, keyword: str) -> time | None:
    """A TM: HH[MM[SS[.FFFFFF]]], also with colons. A leap second is the second before it."""
    match = re.match(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?", first(dataset, keyword))
    if not match:
        return None
    try:
        return time(int(match[1]), int(match[2] or 0), min(int(match[3] or 0), 59), int((match[4] or "0").ljust(6, "0")))
    except ValueError:
        return None


def _as_text(one: Any, dataset: Dataset) -> str:
    if isinstance(one, bytes):
        return _decoded(one)
    if isinstance(one, PersonName):
        return _recoded(str(one), dataset)
    if isinstance(one, str):
        return _recoded(one, dataset)
    return "" if one is None else str(one)


def _recoded(found: str, dataset: Dataset) -> str:
    """Text that was read as Latin-1 for want of a usable character set, read as UTF-8 if it is that."""
    if found.isascii() or texts_of_charset(dataset):
        return found
    try:
        return found.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return found


def texts_of_charset(dataset: Dataset) -> bool:
    """True if the data set names a character set beyond ASCII that pydicom knows."""
    from pydicom.charset import python_encoding

    try:
        names = dataset.get("SpecificCharacterSet") or ""
    except PYDICOM_ERRORS:
        return False
    named = [names] if isinstance(names, str) else list(names)
    return any(str(name) in python_encoding and str(name) not in ("", "ISO_IR 6", "ISO 2022 IR 6") for name in named)


def _decoded(found: bytes) -> str:
    try:
        return found.decode("utf-8")
    except UnicodeDecodeError:
        return found.decode("latin-1")


def _clean(found: str) -> str:
    return _CONTROL.sub("", found.rstrip("\0")).strip()
