"""A record (the JSON of one structured report) read into values: the one gate that every form comes back through.

FHIR and SR are first brought into this record's fields (see `structured_json`) and then read here, so that all forms are
checked alike: every field by its kind, every quote against the text. Messages name fields, never what stands in them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, TypeVar

from radpipe.codes import Code, Laterality
from radpipe.errors import StructureError
from radpipe.finding import ChangeKind
from radpipe.observation import (
    Assertion,
    Communication,
    Device,
    Discrepancy,
    Location,
    Mention,
    Observation,
    Origin,
    Part,
    PartSpan,
    Recommendation,
    Severity,
    Size,
    Span,
    StructuredReport,
)

Term = TypeVar("Term", bound=StrEnum)
Value = TypeVar("Value")

_MISSING = object()


def report_of(record: object, text: str | None) -> StructuredReport:
    """See `structured_json.from_record`."""
    fields = _Fields(record, "the record", "")
    if text is None:
        if "text" not in fields.held:
            raise StructureError("the record holds no text; pass the text that it was made of")
        text = fields.words("text")
    fields.text = text
    return StructuredReport(
        report_id=fields.words("id"),
        text=text,
        lexicon=fields.words("lexicon"),
        parts=fields.each("sections", _section),
        observations=fields.each("observations", _observation, needed=True),
        recommendations=fields.each("recommendations", _recommendation),
        communications=fields.each("communications", _communication),
        discrepancies=fields.each("discrepancies", _discrepancy),
    )


class _Fields:
    """One object of the record, where it stands, and the text that it speaks of."""

    __slots__ = ("held", "text", "where")

    def __init__(self, held: object, where: str, text: str) -> None:
        if not isinstance(held, dict):
            raise StructureError(f"{where} is not an object with fields")
        self.held: dict[str, Any] = held
        self.where = where
        self.text = text

    def at(self, name: str) -> str:
        return name if self.where == "the record" else f"{self.where}.{name}"

    def get(self, name: str, default: object = _MISSING) -> Any:
        found = self.held.get(name, default)
        if found is _MISSING:
            raise StructureError(f"{self.at(name)} is missing")
        return found

    def words(self, name: str, default: object = _MISSING) -> str:
        found = self.get(name, default)
        if not isinstance(found, str):
            raise StructureError(f"{self.at(name)} is not text")
        return found

    def term(self, name: str, kind: type[Term]) -> Term:
        try:
            return kind(self.get(name))
        except ValueError:
            raise StructureError(f"{self.at(name)} is none of {', '.join(kind)}") from None

    def maybe_term(self, name: str, kind: type[Term]) -> Term | None:
        return None if self.get(name, None) is None else self.term(name, kind)

    def whole(self, name: str) -> int:
        found = self.get(name)
        if not isinstance(found, int) or isinstance(found, bool):
            raise StructureError(f"{self.at(name)} is not a whole number")
        return found

    def maybe_whole(self, name: str) -> int | None:
        return None if self.get(name, None) is None else self.whole(name)

    def maybe(self, name: str, read: Callable[[_Fields], Value]) -> Value | None:
        found = self.get(name, None)
        return None if found is None else read(_Fields(found, self.at(name), self.text))

    def listed(self, name: str, *, needed: bool = False) -> Iterator[tuple[str, Any]]:
        """(where, item) of each item; a list that is not `needed` may be missing."""
        found = self.get(name, _MISSING if needed else [])
        if not isinstance(found, list | tuple):
            raise StructureError(f"{self.at(name)} is not a list")
        for index, item in enumerate(found):
            yield f"{self.at(name)}[{index}]", item

    def each(self, name: str, read: Callable[[_Fields], Value], *, needed: bool = False) -> tuple[Value, ...]:
        return tuple(read(_Fields(item, where, self.text)) for where, item in self.listed(name, needed=needed))

    def span(self) -> Span:
        start, end, quote = self.whole("start"), self.whole("end"), self.words("quote")
        if start < 0 or self.text[start:end] != quote:
            raise StructureError(f"{self.where}: the text at {start} to {end} is not the quote; is it of another text?")
        return Span(start, end, quote)


def _section(fields: _Fields) -> PartSpan:
    start, end = fields.whole("start"), fields.whole("end")
    if not 0 <= start <= end <= len(fields.text):
        raise StructureError(f"{fields.where} lies at {start} to {end} of a text of {len(fields.text)} characters")
    return PartSpan(fields.term("section", Part), fields.words("heading", ""), start, end)


def _observation(fields: _Fields) -> Observation:
    return Observation(
        finding=fields.words("finding"),
        code=_code(_Fields(fields.get("code"), fields.at("code"), fields.text)),
        status=fields.term("status", Assertion),
        span=fields.span(),
        part=fields.term("section", Part),
        laterality=fields.maybe_term("laterality", Laterality),
        severity=fields.maybe_term("severity", Severity),
        change=fields.maybe_term("change", ChangeKind),
        mentions=fields.each("mentions", _mention, needed=True),
    )


def _mention(fields: _Fields) -> Mention:
    devices = fields.each("devices", _device)
    if len(devices) > 1:
        raise StructureError(f"{fields.at('devices')} names {len(devices)} devices; a mention has one")
    return Mention(
        finding=fields.words("finding"),
        status=fields.term("status", Assertion),
        span=fields.span(),
        part=fields.term("section", Part),
        laterality=fields.maybe_term("laterality", Laterality),
        severity=fields.maybe_term("severity", Severity),
        change=fields.maybe_term("change", ChangeKind),
        locations=fields.each("locations", _location),
        sizes=fields.each("sizes", _size),
        device=devices[0] if devices else None,
        rules=tuple(_words(where, item) for where, item in fields.listed("rules")),
        origin=fields.maybe_term("origin", Origin) or Origin.RULES,
    )


def _recommendation(fields: _Fields) -> Recommendation:
    return Recommendation(
        action=fields.words("action"),
        span=fields.span(),
        part=fields.term("section", Part),
        modality=None if fields.get("modality", None) is None else fields.words("modality"),
        least_days=fields.maybe_whole("least_days"),
        most_days=fields.maybe_whole("most_days"),
        interval=fields.words("interval", ""),
        condition=fields.words("condition", ""),
    )


def _communication(fields: _Fields) -> Communication:
    return Communication(
        span=fields.span(),
        part=fields.term("section", Part),
        to_whom=fields.words("to_whom", ""),
        when=fields.words("when", ""),
        how=fields.words("how", ""),
    )


def _discrepancy(fields: _Fields) -> Discrepancy:
    return Discrepancy(fields.words("kind"), fields.words("message"), fields.each("spans", _Fields.span))


def _code(fields: _Fields) -> Code:
    return Code(fields.words("value"), fields.words("scheme"), fields.words("meaning"))


def _location(fields: _Fields) -> Location:
    return Location(fields.words("name"), fields.maybe("code", _code), fields.maybe_term("laterality", Laterality))


def _device(fields: _Fields) -> Device:
    return Device(fields.words("kind"), fields.maybe("code", _code), fields.words("position", ""))


def _size(fields: _Fields) -> Size:
    mm = tuple(_millimetres(where, item) for where, item in fields.listed("mm", needed=True))
    if not mm:
        raise StructureError(f"{fields.at('mm')} is empty; a size has a dimension")
    least = fields.get("least_mm", None)
    return Size(mm, None if least is None else _millimetres(fields.at("least_mm"), least))


def _words(where: str, found: object) -> str:
    if not isinstance(found, str):
        raise StructureError(f"{where} is not text")
    return found


def _millimetres(where: str, found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise StructureError(f"{where} is not a number")
    try:
        number = float(found)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise StructureError(f"{where} is not a finite number")
    return number
