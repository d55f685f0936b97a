"""The SR of a structured report read back: its content items into the record's fields, and these into values.

Items are known by their concept names (code value and scheme) alone; meanings, order among different concepts and items
that we do not know are of no account.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from radpipe.codes import SIDES, Code
from radpipe.errors import StructureError
from radpipe.observation import StructuredReport
from radpipe.sinks import structured_terms as t
from radpipe.sinks.structured_escape import unescape
from radpipe.sinks.structured_read import report_of
from radpipe.sinks.terms import CHANGE_SINCE_PRIOR, CHANGES, LATERALITY, PRESENCE_OF_PROPERTY

Record = dict[str, Any]
_DAMAGED = (
    ValueError, TypeError, AttributeError, LookupError, ArithmeticError, EOFError, NotImplementedError, RecursionError,
    AssertionError, MemoryError, OSError, struct.error, zlib.error, InvalidDicomError, BytesLengthException,
)  # fmt: skip
"""What pydicom raises on damaged files, whenever an element is first looked at."""

_Key = tuple[str, str]  # code value, coding scheme designator


def parse(content: bytes) -> StructuredReport:
    """The report that `structured_sr.render` wrote. Raises StructureError if this is no such document."""
    try:
        root = _Item(dcmread(BytesIO(content)))
        if root.first(t.REPORT_ID) is None:
            raise StructureError("this DICOM file is not an SR of radpipe structure: it has no report identifier of ours")
        return report_of(_record(root), None)
    except _DAMAGED as error:
        # the messages may hold values of the file, so only the kind of damage is said
        raise StructureError(f"this is not a readable SR of radpipe structure ({type(error).__name__})") from None


class _Item:
    """A content item and those below it, by concept."""

    __slots__ = ("below", "dataset")

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.below: dict[_Key, list[_Item]] = {}
        for child in dataset.get("ContentSequence") or ():
            named = child.get("ConceptNameCodeSequence")
            if named:
                self.below.setdefault(_key(named[0]), []).append(_Item(child))

    def each(self, name: Code) -> list[_Item]:
        return self.below.get((name.value, name.scheme), [])

    def first(self, name: Code) -> _Item | None:
        return next(iter(self.each(name)), None)

    @property
    def words(self) -> str:
        return unescape(self.dataset.TextValue)

    @property
    def number(self) -> float:
        value = self.dataset.MeasuredValueSequence[0]
        return float(value.FloatingPointValue) if "FloatingPointValue" in value else int(value.NumericValue)

    @property
    def code(self) -> Record:
        value = self.dataset.ConceptCodeSequence[0]
        if _key(value) == (t.NOT_CODED.value, t.NOT_CODED.scheme):
            return {"value": self.said(t.VALUE), "scheme": self.said(t.SCHEME), "meaning": self.said(t.MEANING)}
        return {"value": _key(value)[0], "scheme": _key(value)[1], "meaning": str(value.CodeMeaning)}

    def said(self, name: Code) -> str | None:
        """The words of the first item of that name."""
        found = self.first(name)
        return found.words if found else None

    def measured(self, name: Code) -> float | None:
        found = self.first(name)
        return found.number if found else None

    def term(self, name: Code, codes_of: Mapping[Any, Code]) -> str | None:
        """The value of the enumeration that the first item of that name stands for."""
        found = self.first(name)
        return _term(found, codes_of) if found else None


def _key(code: Dataset) -> _Key:
    for keyword in ("CodeValue", "LongCodeValue", "URNCodeValue"):
        if keyword in code:
            return str(code[keyword].value), str(code.get("CodingSchemeDesignator", ""))
    return "", ""


def _term(item: _Item, codes_of: Mapping[Any, Code]) -> str | None:
    key = _key(item.dataset.ConceptCodeSequence[0])
    found = next((value for value, code in codes_of.items() if (code.value, code.scheme) == key), None)
    return found.value if isinstance(found, StrEnum) else key[0]  # what we do not know is refused by its field's reader


def _kept(fields: Record) -> Record:
    """Without what is not said: the reader knows each field's default."""
    return {name: value for name, value in fields.items() if value is not None}


def _record(root: _Item) -> Record:
    return _kept({
        "id": root.said(t.REPORT_ID),
        "lexicon": root.said(t.LEXICON),
        "text": "".join(unescape(piece.TextValue) for piece in _pieces(root)),
        "sections": [_section(item) for item in _chapter(root, t.SECTIONS, t.SECTION)],
        "observations": [_observation(item) for item in _chapter(root, t.FINDINGS, t.OBSERVATION)],
        "recommendations": [_recommendation(item) for item in _chapter(root, t.RECOMMENDATIONS, t.RECOMMENDATION)],
        "communications": [_communication(item) for item in _chapter(root, t.COMMUNICATIONS, t.COMMUNICATED)],
        "discrepancies": [_discrepancy(item) for item in _chapter(root, t.DISCREPANCIES, t.DISCREPANCY)],
    })  # fmt: skip


def _chapter(root: _Item, chapter: Code, name: Code) -> list[_Item]:
    found = root.first(chapter)
    return found.each(name) if found else []


def _pieces(root: _Item) -> Iterator[Dataset]:
    """The text's pieces in order, whatever their names."""
    found = root.first(t.AS_WRITTEN)
    if found:
        yield from found.dataset.get("ContentSequence") or ()


def _section(item: _Item) -> Record:
    return _kept({"section": _term(item, t.PARTS), "heading": item.said(t.HEADING), **_offsets(item)})


def _offsets(item: _Item) -> Record:
    return {"start": item.measured(t.START), "end": item.measured(t.END)}


def _place(item: _Item) -> Record:
    """The quote that this item is, and where it stands."""
    return {"quote": item.words, **_offsets(item), "section": item.term(t.SECTION, t.PARTS)}


def _observation(item: _Item) -> Record:
    finding = item.said(t.TRACKING_IDENTIFIER)
    code = item.first(t.FINDING)
    return _kept({
        "finding": finding,
        "code": code.code if code else None,
        **_stated(item),
        "mentions": [_mention(mention, finding) for mention in item.each(t.MENTION)],
    })  # fmt: skip


def _stated(item: _Item) -> Record:
    quote = item.first(t.QUOTE)
    return {
        "status": item.term(PRESENCE_OF_PROPERTY, t.STATUSES),
        "laterality": item.term(LATERALITY, SIDES),
        "severity": item.term(t.SEVERITY, t.SEVERITIES),
        "change": item.term(CHANGE_SINCE_PRIOR, CHANGES),
        **(_place(quote) if quote else {}),
    }


def _mention(item: _Item, finding: str | None) -> Record:
    own = item.said(t.FINDING_NAME)
    return _kept({
        "finding": finding if own is None else own,
        **_stated(item),
        "locations": [
            {**_named(site, "name"), "laterality": site.term(LATERALITY, SIDES)} for site in item.each(t.FINDING_SITE)
        ],
        "sizes": [
            {"mm": [size.number, *(other.number for other in size.each(t.LENGTH))], "least_mm": size.measured(t.LEAST)}
            for size in item.each(t.LENGTH)
        ],
        "devices": [{**_named(device, "kind"), "position": device.said(t.POSITION) or ""} for device in item.each(t.DEVICE)],
        "rules": [rule.words for rule in item.each(t.RULE)],
        "origin": item.term(t.ORIGIN, t.ORIGINS),
    })  # fmt: skip


def _named(item: _Item, field: str) -> Record:
    if item.dataset.ValueType == "TEXT":
        return {field: item.words}
    name = item.said(t.NAME)
    return {field: item.code["meaning"] if name is None else name, "code": item.code}


def _recommendation(item: _Item) -> Record:
    modality = item.first(t.MODALITY)
    return _kept({
        **_place(item),
        "action": item.said(t.ACTION),
        "modality": None if modality is None else modality.words if "TextValue" in modality.dataset
        else modality.code["value"],
        "least_days": item.measured(t.LEAST_DAYS),
        "most_days": item.measured(t.MOST_DAYS),
        "interval": item.said(t.INTERVAL),
        "condition": item.said(t.CONDITION),
    })  # fmt: skip


def _communication(item: _Item) -> Record:
    return _kept({**_place(item), "to_whom": item.said(t.TO_WHOM), "when": item.said(t.WHEN), "how": item.said(t.HOW)})


def _discrepancy(item: _Item) -> Record:
    return _kept({
        "kind": item.said(t.KIND),
        "message": item.words,
        "spans": [{"quote": quote.words, **_offsets(quote)} for quote in item.each(t.QUOTE)],
    })  # fmt: skip
