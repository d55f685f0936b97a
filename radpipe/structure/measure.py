"""Measurements and stretches of time in a sentence: "1.2 x 0.9 cm", "4-6 mm", "3 cm above the carina", "in 3 to 6 months".

Words and units are data (lexicon/common/measures.toml). Lengths become mm, rounded to 0.1; times become days (a month is
30 days, a year 365). What cannot be the length of anything in a body (over 2,000 mm) is dropped. One pass over the words.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from math import ceil, floor
from pathlib import Path

from radpipe.observation import Size

MEASURES_PATH = Path(__file__).parent / "lexicon" / "common" / "measures.toml"

LARGEST_MM = 2000.0
LONGEST_DAYS = 36500
_DIMENSIONS = 3
_LOOK_BACK = 6
_LISTED = 4

_NUMBER = re.compile(r"\d{0,9}(?:\.\d{1,9})?")
_DECIMAL_COMMA = re.compile(r"(?:0,\d{1,3}|\d{1,9},\d{1,2})")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3}){1,2}(?:\.\d{1,9})?")


class Kind(StrEnum):
    """What a length is the length of."""

    SIZE = "size"
    DISTANCE = "distance"  # from a landmark, or by which a device is to be moved
    EARLIER = "earlier"  # a size on an earlier image


@dataclass(frozen=True, slots=True)
class Measurement:
    """One length at `words[first:end]`."""

    first: int
    end: int
    size: Size
    kind: Kind


@dataclass(frozen=True, slots=True)
class Duration:
    """A stretch of time at `words[first:end]`, in days; None where it has no bound on that side."""

    first: int
    end: int
    least_days: int | None
    most_days: int | None


def sizes(words: Sequence[str], first: int = 0, last: int | None = None) -> list[tuple[int, int, Size]]:
    """(first word, word after the last, size) of today's sizes in `words[first:last]`; mm, rounded to 0.1."""
    found = measurements(words, first, last)
    return [(one.first, one.end, one.size) for one in found if one.kind is Kind.SIZE]


def distances(words: Sequence[str], first: int = 0, last: int | None = None) -> list[tuple[int, int, Size]]:
    """(first word, word after the last, distance): "4 cm above the carina", "retracted by 2 cm"; mm, rounded to 0.1."""
    found = measurements(words, first, last)
    return [(one.first, one.end, one.size) for one in found if one.kind is Kind.DISTANCE]


def measurements(words: Sequence[str], first: int = 0, last: int | None = None) -> list[Measurement]:
    """All lengths in `words[first:last]`, each with what it is the length of."""
    table = _table()
    if table.mm.keys().isdisjoint(words):
        return []
    found: list[Measurement] = []
    last = len(words) if last is None else last
    at = first
    while at < last:
        read = _length(words, at, last, table) if words[at] in table.numbers or words[at][-1:].isdigit() else None
        if read is None:
            at += 1
            continue
        end, size = read
        if size is not None and not _is_no_length(words, at, end, last, first, table):
            found.append(_measurement(words, at, end, first, last, size, table))
        at = end
    return found


def durations(words: Sequence[str], first: int = 0, last: int | None = None) -> list[Duration]:
    """Times to come in `words[first:last]`: "in 4 to 6 weeks", "within 24 hours"; not "2 years ago", "for 3 months"."""
    table = _table()
    if table.days.keys().isdisjoint(words):
        return []
    found: list[Duration] = []
    last = len(words) if last is None else last
    at = first
    while at < last:
        read = _time(words, at, last, table) if words[at] in table.numbers or words[at][-1:].isdigit() else None
        if read is None:
            at += 1
            continue
        begin, (end, least, most) = at, read
        while begin > first and at - begin < 3 and words[begin - 1] in table["leads"]:
            begin -= 1
        before, after = set(words[begin:at]), words[end : min(end + 2, last)]
        at = end
        if (begin > first and words[begin - 1] in table["not_before"]) or not table["not_after"].isdisjoint(after):
            continue
        days_least, days_most = floor(least + 0.01), ceil(most - 0.01)
        if days_most > LONGEST_DAYS:
            continue
        if before & table["within"]:
            found.append(Duration(begin, end, 0, days_most))
        else:
            found.append(Duration(begin, end, days_least, None if before & table["at_least"] else days_most))
    return found


def number(word: str) -> float | None:
    """ "8", "1.5", ".5", "1,5" (decimal comma), "1,200" (thousands); None for what is no single number."""
    if len(word) > 24:
        return None
    if _THOUSANDS.fullmatch(word) and not word.startswith("0"):
        return float(word.replace(",", ""))
    if _DECIMAL_COMMA.fullmatch(word):
        return float(word.replace(",", "."))
    return float(word) if word and _NUMBER.fullmatch(word) else None


class _Table:
    """measures.toml: units, numbers, and sets of words by name."""

    __slots__ = ("_sets", "days", "mm", "numbers")

    def __init__(self, text: str) -> None:
        table = tomllib.loads(text)
        self.mm: dict[str, float] = table["units_mm"]
        self.days: dict[str, float] = table["units_days"]
        self.numbers: dict[str, int] = table["numbers"]
        lists = {**table, **table["time"]}
        self._sets = {name: frozenset[str](found) for name, found in lists.items() if isinstance(found, list)}

    def __getitem__(self, name: str) -> frozenset[str]:
        return self._sets[name]


@cache
def _table() -> _Table:
    return _Table(MEASURES_PATH.read_text(encoding="utf-8"))


def _value(words: Sequence[str], at: int, last: int, table: _Table) -> float | None:
    if at >= last:
        return None
    word = words[at]
    return float(table.numbers[word]) if word in table.numbers else number(word)


def _unit(words: Sequence[str], at: int, last: int, units: dict[str, float], table: _Table) -> tuple[int, float] | None:
    """The unit at `at`, or behind a hyphen there: (word after it, factor)."""
    if at + 1 < last and words[at] in table["hyphens"]:
        at += 1
    return (at + 1, units[words[at]]) if at < last and words[at] in units else None


@dataclass(frozen=True, slots=True)
class _Quantity:
    """A number or range, and the factor of its unit if it has one."""

    end: int
    least: float | None
    most: float
    factor: float | None


def _quantity(words: Sequence[str], at: int, last: int, units: dict[str, float], table: _Table) -> _Quantity | None:
    """ "8 mm", "4-6 mm", "4 mm to 6 mm", "8" (no unit) at `at`; None when no number stands there."""
    low = _value(words, at, last, table)
    if low is None:
        return None
    unit = _unit(words, at + 1, last, units, table)
    here, factor = unit or (at + 1, None)
    plain = _Quantity(here, None, low, factor)
    before = words[at - 1] if at > 0 else ""
    joined = here < last and (words[here] in table["to"] or (words[here] == "and" and before == "between"))
    most = _value(words, here + 1, last, table) if joined else None
    if most is None or before in table["not_range_after"]:
        return plain
    if before == "from" and not (at > 1 and words[at - 2] in table["ranging"]):
        return plain  # "increased from 5 mm to 8 mm": two sizes
    unit = _unit(words, here + 2, last, units, table)
    if unit is None:
        return plain if factor else _Quantity(here + 2, low, most, None)
    least = low * (factor or unit[1]) / unit[1]
    return _Quantity(unit[0], least, most, unit[1]) if least < most else plain


def _length(words: Sequence[str], at: int, last: int, table: _Table) -> tuple[int, Size | None] | None:
    """Dimensions from `at`, to their last unit: (word after it, size; None if silly). None when no unit follows."""
    if (at > 0 and words[at - 1] == "/") or words[at] in table["articles"]:
        return None  # the end of a fraction or a date; "a cm"
    found: list[_Quantity] = []
    here = at
    while len(found) < _DIMENSIONS:
        read = _quantity(words, here, last, table.mm, table)
        if read is None:
            break
        found.append(read)
        if not (read.end < last and words[read.end] in table["times"]):
            break
        here = read.end + 1
    while found and found[-1].factor is None:
        found.pop()
    return (found[-1].end, _size(found)) if found else None


def _size(found: Sequence[_Quantity]) -> Size | None:
    """In mm; a dimension without a unit has that of the next one that has. None when it is 0 or longer than any body."""
    factor = 1.0
    mm: list[float] = []
    least: float | None = None
    for quantity in reversed(found):
        factor = quantity.factor or factor
        mm.append(round(quantity.most * factor, 1))
        least = None if quantity.least is None else round(quantity.least * factor, 1)
    return Size(tuple(reversed(mm)), least) if all(0.0 < one <= LARGEST_MM for one in mm) else None


def _is_no_length(words: Sequence[str], at: int, end: int, last: int, first: int, table: _Table) -> bool:
    following = words[end] if end < last else ""
    if following == "/":
        return not (end + 1 < last and words[end + 1][:1].isdigit())  # a rate
    before = words[max(first, at - 3) : at]
    return following in table["not_length_after"] or not table["not_length_before"].isdisjoint(before)


def _measurement(words: Sequence[str], at: int, end: int, first: int, last: int, size: Size, table: _Table) -> Measurement:
    begin = at
    if at - 1 >= first and words[at - 1] in table["less"]:
        begin = at - 1
    elif at - 2 >= first and words[at - 1] == "than" and words[at - 2] in table["less_than"]:
        begin = at - 2
    if begin < at and len(size.mm) == 1 and size.least_mm is None:
        size = Size(size.mm, 0.0)
    return Measurement(begin, end, size, _kind(words, begin, end, first, last, table))


def _kind(words: Sequence[str], at: int, end: int, first: int, last: int, table: _Table) -> Kind:
    back = at - 1
    skipped: set[str] = set()
    while back >= first and at - back <= _LOOK_BACK and words[back] in table["about"]:
        skipped.add(words[back])
        back -= 1
    before = words[back] if back >= first and at - back <= _LOOK_BACK else ""
    if before in table["earlier_before"] and not (before == "from" and back > first and words[back - 1] in table["ranging"]):
        return Kind.EARLIER
    after = end
    while after < last and after - end < 3 and words[after] in table["earlier_skip"]:
        after += 1
    if after < last and words[after] in table["earlier_after"] and "now" not in words[max(first, at - 3) : at]:
        return Kind.EARLIER
    if before in table["moved"]:
        return Kind.DISTANCE
    away = end < last and (
        words[end] in table["away"] or (words[end] in table["away_to"] and end + 1 < last and words[end + 1] in {"to", "of"})
    )
    return Kind.DISTANCE if away and not (skipped | {before}) & table["measured"] else Kind.SIZE


def _time(words: Sequence[str], at: int, last: int, table: _Table) -> tuple[int, float, float] | None:
    """A time from `at`, "3, 6 and 12 months" too: (word after its unit, least, most) in days. None when no unit follows."""
    if at > 0 and words[at - 1] == "/":
        return None
    found: list[_Quantity] = []
    here = at
    while len(found) < _LISTED:
        read = _quantity(words, here, last, table.days, table)
        if read is None:
            return None
        found.append(read)
        if read.factor is not None:
            ends = [end for one in found for end in (one.least, one.most) if end is not None]
            return read.end, min(ends) * read.factor, max(ends) * read.factor
        here = read.end
        while here < last and here - read.end < 2 and words[here] in {",", "and", "/"}:
            here += 1
        if here == read.end:
            return None
    return None
