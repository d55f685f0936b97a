"""The content tree of a structured report's SR, after TID 2000 Basic Diagnostic Imaging Report (PS3.16, extensible).

    CONTAINER Diagnostic Imaging Report
      language, observer: radpipe as a device                          TID 1204, 1001, 1004
      TEXT Report identifier; TEXT Lexicon and rules
      CONTAINER Report as written
        TEXT, one per section and per stretch between them: joined in order they are the whole text
      CONTAINER Sections: CODE Section > heading, first and last character
      CONTAINER Findings
        CONTAINER What the report says of a finding, one per finding
          TEXT Tracking Identifier (the finding's name), CODE Finding, Presence, Laterality, Severity, Change,
          TEXT Quote > first and last character, section
          CODE Finding Site > Laterality; NUM Length (mm); CODE Device > position
          CONTAINER Place where the report speaks of it, one per mention: the same items, and TEXT Rule that fired
      CONTAINER Recommendations, Communication of Critical Results, Discrepancies

All text is escaped as in `structured_escape`. A location or device without a code is TEXT instead of CODE; a code that a
Code Sequence cannot carry (longer or stranger than SH and LO allow) is NOT_CODED with its parts as TEXT below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import TypeVar

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    DeviceObserverIdentifyingAttributes,
    LanguageOfContentItemAndDescendants,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from radpipe.codes import SIDES, Code
from radpipe.observation import (
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
    Size,
    Span,
    StructuredReport,
)
from radpipe.sinks import structured_terms as t
from radpipe.sinks.identifiers import stable_uid
from radpipe.sinks.structured_escape import escape
from radpipe.sinks.terms import CHANGE_SINCE_PRIOR, CHANGES, LATERALITY, PRESENCE_OF_PROPERTY

Term = TypeVar("Term", bound=StrEnum)

_SHORT = re.compile(r"[^\s\\](?:[^\r\n\\]{0,14}[^\s\\])?")
_LONG = re.compile(r"[^\s\\](?:[^\r\n\\]{0,62}[^\s\\])?")


def root() -> ContainerContentItem:
    """The root item, empty: its content is added once the document stands (highdicom copies what it is given)."""
    item = ContainerContentItem(_concept(t.REPORT), template_id="2000")
    item.ContentSequence = Sequence()
    return item


def content(report: StructuredReport) -> list[Dataset]:
    """The items under the root."""
    language = LanguageOfContentItemAndDescendants(CodedConcept("en", "RFC5646", "English"))
    observer = ObserverContext(
        codes.DCM.Device,
        DeviceObserverIdentifyingAttributes(uid=stable_uid("device", "radpipe"), name="radpipe", model_name="radpipe"),
    )
    items: list[Dataset] = [*language, *ObservationContext(observer_device_context=observer)]
    items += _related("CONTAINS", [_text(t.REPORT_ID, report.report_id), _text(t.LEXICON, report.lexicon)])
    chapters: tuple[tuple[Code, list[Dataset]], ...] = (
        (t.AS_WRITTEN, _as_written(report)),
        (t.SECTIONS, [_section(part) for part in report.parts]),
        (t.FINDINGS, [_observation(observation) for observation in report.observations]),
        (t.RECOMMENDATIONS, [_recommendation(item) for item in report.recommendations]),
        (t.COMMUNICATIONS, [_communication(item) for item in report.communications]),
        (t.DISCREPANCIES, [_discrepancy(item) for item in report.discrepancies]),
    )
    items += [_container(name, children) for name, children in chapters if children]
    return items


@cache
def _concept(code: Code) -> CodedConcept:
    """Our own concepts only: their number is small."""
    return CodedConcept(code.value, code.scheme, code.meaning)


def _under(item: ContentItem, children: Iterable[Dataset]) -> ContentItem:
    """The item with its children. By PS3.3 A.35.3.3.1.2 a container contains, all else has properties."""
    below = _related("CONTAINS" if item.ValueType == "CONTAINER" else "HAS PROPERTIES", children)
    if below:
        item.ContentSequence = Sequence(below)
    return item


def _related(relation: str, children: Iterable[Dataset]) -> list[Dataset]:
    below = list(children)
    for child in below:
        if "RelationshipType" not in child:
            child.RelationshipType = relation
    return below


def _container(name: Code, children: Iterable[Dataset]) -> ContentItem:
    return _under(ContainerContentItem(_concept(name), relationship_type="CONTAINS"), children)


def _text(name: Code, words: str, children: Iterable[Dataset] = ()) -> ContentItem:
    return _under(TextContentItem(_concept(name), escape(words)), children)


def _said(name: Code, words: str) -> list[Dataset]:
    return [_text(name, words)] if words else []


def _number(name: Code, value: float, unit: Code, children: Iterable[Dataset] = ()) -> ContentItem:
    """A whole number as DS without a point; any other also exactly, as Floating Point Value."""
    item = NumContentItem(_concept(name), value, _concept(unit))
    if isinstance(value, int):
        item.MeasuredValueSequence[0].NumericValue = str(value)
    return _under(item, children)


def _term(name: Code, code: Code, children: Iterable[Dataset] = ()) -> ContentItem:
    return _under(CodeContentItem(_concept(name), _concept(code)), children)


def _optional(name: Code, codes_of: Mapping[Term, Code], value: Term | None) -> list[Dataset]:
    return [] if value is None else [_term(name, codes_of[value])]


def _coded(name: Code, code: Code, children: Iterable[Dataset] = ()) -> ContentItem:
    """A code of the lexicon's: whatever it holds comes back."""
    if _carried(code):
        value = CodedConcept(code.value, code.scheme, code.meaning)
        return _under(CodeContentItem(_concept(name), value), children)
    parts = [_text(t.VALUE, code.value), _text(t.SCHEME, code.scheme), _text(t.MEANING, code.meaning)]
    return _under(CodeContentItem(_concept(name), _concept(t.NOT_CODED)), [*parts, *children])


def _carried(code: Code) -> bool:
    """True if the code's three parts keep to SH or UC, SH and LO, and come back as they are."""
    long = len(code.value) > 16
    return bool(
        (_LONG if long else _SHORT).fullmatch(code.value)
        and _SHORT.fullmatch(code.scheme)
        and _LONG.fullmatch(code.meaning)
        and not (long and (code.value.startswith("urn") or "://" in code.value))
        and all(escape(part) == part for part in (code.value, code.scheme, code.meaning))
    )


def _as_written(report: StructuredReport) -> list[Dataset]:
    """The text in pieces. A section's body stands without the blanks around it, so that it reads well; they go to the
    pieces before and after. Sections that overlap are cut at each other's ends."""
    text = report.text
    bodies: dict[int, Code] = {}  # first character of a section's words -> its concept
    edges = {0, len(text)}
    for part in report.parts:
        body = text[part.start : part.end]
        start, end = part.start + len(body) - len(body.lstrip()), part.start + len(body.rstrip())
        if start < end:
            bodies[start] = t.PARTS[part.part]
            edges |= {start, end}
    return [_text(bodies.get(start, t.BETWEEN), text[start:end]) for start, end in pairwise(sorted(edges))]


def _section(part: PartSpan) -> Dataset:
    offsets = [_number(t.START, part.start, t.CHARACTERS), _number(t.END, part.end, t.CHARACTERS)]
    return _term(t.SECTION, t.PARTS[part.part], [*_said(t.HEADING, part.heading), *offsets])


def _place(span: Span, part: Part | None = None) -> list[Dataset]:
    """Where a quote stands."""
    offsets: list[Dataset] = [_number(t.START, span.start, t.CHARACTERS), _number(t.END, span.end, t.CHARACTERS)]
    return [*offsets, *_optional(t.SECTION, t.PARTS, part)]


def _observation(observation: Observation) -> Dataset:
    items: list[Dataset] = [_text(t.TRACKING_IDENTIFIER, observation.finding), _coded(t.FINDING, observation.code)]
    items += _stated(observation)
    items += [_location(location) for location in observation.locations]
    items += [_size(size) for size in observation.sizes]
    items += [_device(device) for device in observation.devices]
    items += [_mention(mention, observation) for mention in observation.mentions]
    return _container(t.OBSERVATION, items)


def _stated(item: Observation | Mention) -> list[Dataset]:
    return [
        _term(PRESENCE_OF_PROPERTY, t.STATUSES[item.status]),
        *_optional(LATERALITY, SIDES, item.laterality),
        *_optional(t.SEVERITY, t.SEVERITIES, item.severity),
        *_optional(CHANGE_SINCE_PRIOR, CHANGES, item.change),
        _text(t.QUOTE, item.span.quote, _place(item.span, item.part)),
    ]


def _mention(mention: Mention, observation: Observation) -> Dataset:
    items = _stated(mention)
    if mention.finding != observation.finding:
        items.append(_text(t.FINDING_NAME, mention.finding))
    items += [_location(location) for location in mention.locations]
    items += [_size(size) for size in mention.sizes]
    if mention.device:
        items.append(_device(mention.device))
    items += [_text(t.RULE, rule) for rule in mention.rules]
    if mention.origin is not Origin.RULES:
        items.append(_term(t.ORIGIN, t.ORIGINS[mention.origin]))
    return _container(t.MENTION, items)


def _named(concept: Code, name: str, code: Code | None, children: list[Dataset]) -> Dataset:
    """A thing with a name and perhaps a code; the name is said where it is not the code's meaning."""
    if code is None:
        return _text(concept, name, children)
    return _coded(concept, code, [*([_text(t.NAME, name)] if name != code.meaning else []), *children])


def _location(location: Location) -> Dataset:
    sides = _optional(LATERALITY, SIDES, location.laterality)
    for side in sides:
        side.RelationshipType = "HAS CONCEPT MOD"
    return _named(t.FINDING_SITE, location.name, location.code, sides)


def _size(size: Size) -> Dataset:
    first, *others = size.mm
    children: list[Dataset] = [_number(t.LENGTH, mm, t.MILLIMETRE) for mm in others]
    if size.least_mm is not None:
        children.append(_number(t.LEAST, size.least_mm, t.MILLIMETRE))
    return _number(t.LENGTH, first, t.MILLIMETRE, children)


def _device(device: Device) -> Dataset:
    return _named(t.DEVICE, device.kind, device.code, _said(t.POSITION, device.position))


def _recommendation(item: Recommendation) -> Dataset:
    below = [*_place(item.span, item.part), _text(t.ACTION, item.action)]
    if item.modality is not None:
        known = t.MODALITIES.get(item.modality)
        below.append(_term(t.MODALITY, known) if known else _text(t.MODALITY, item.modality))
    if item.least_days is not None:
        below.append(_number(t.LEAST_DAYS, item.least_days, t.DAYS))
    if item.most_days is not None:
        below.append(_number(t.MOST_DAYS, item.most_days, t.DAYS))
    below += [*_said(t.INTERVAL, item.interval), *_said(t.CONDITION, item.condition)]
    return _text(t.RECOMMENDATION, item.span.quote, below)


def _communication(item: Communication) -> Dataset:
    said = [*_said(t.TO_WHOM, item.to_whom), *_said(t.WHEN, item.when), *_said(t.HOW, item.how)]
    return _text(t.COMMUNICATED, item.span.quote, [*_place(item.span, item.part), *said])


def _discrepancy(item: Discrepancy) -> Dataset:
    quotes = [_text(t.QUOTE, span.quote, _place(span)) for span in item.spans]
    return _text(t.DISCREPANCY, item.message, [_text(t.KIND, item.kind), *quotes])
