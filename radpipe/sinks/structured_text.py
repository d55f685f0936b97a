"""A structured report as plain text, in radpipe's own order of sections: what a radiologist reads beside the prose.

Indication, technique and comparison stand as written. Each finding has one line, grouped by what the report says of it, in
the order of a systematic reading, with the words that it rests on and their place in the text; devices stand with their
position. The impression says again what is present and uncertain. For reading only: long quotes are cut in the middle,
blanks and line ends become one blank, control characters a replacement sign; the exact words are in the other forms.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

from radpipe.codes import FINDINGS, Laterality, finding_words
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
    Recommendation,
    Severity,
    Size,
    Span,
    StructuredReport,
)
from radpipe.sinks.text import printable

suffix = ".txt"

ORDER = (
    "lung_opacity", "consolidation", "pneumonia", "atelectasis", "nodule_mass", "mass", "nodule", "granuloma", "edema",
    "hyperinflation", "scarring", "pleural_effusion", "pneumothorax", "pleural_thickening", "cardiomegaly",
    "mediastinal_widening", "hilar_enlargement", "aortic_disease", "hiatal_hernia", "elevated_diaphragm",
    "pneumoperitoneum", "fracture", "degenerative_spine",
)  # fmt: skip
"""`codes.REPORT_ORDER` with what a text speaks of besides: lungs, pleura, heart and mediastinum, diaphragm and abdomen,
bones. Findings of other lexicons follow in the order of the text."""

BANNER = "STRUCTURED BY MACHINE FROM THE TEXT AS WRITTEN, NOT VERIFIED BY A RADIOLOGIST."

_RANK = {finding: rank for rank, finding in enumerate(ORDER)}
_WIDTH = 96
_SHOWN = 160  # characters of a quote; more are cut in the middle
_LONG_WORD = re.compile(rf"\S{{{_WIDTH - 10}}}(?=\S)")
_ACTIONS = {
    "follow_up": "follow-up",
    "further_imaging": "further imaging",
    "comparison": "comparison with earlier images",
    "other": "recommended",
}
_GROUPS = {Assertion.PRESENT: "Present", Assertion.UNCERTAIN: "Uncertain", Assertion.ABSENT: "Absent"}
_DEGREES = {Severity.SMALL: "mild", Severity.LARGE: "marked"}
_BY_DEGREE = frozenset({
    "cardiomegaly", "mediastinal_widening", "hilar_enlargement", "aortic_disease", "edema", "atelectasis", "scarring",
    "hyperinflation", "pleural_thickening", "elevated_diaphragm", "degenerative_spine", "midline_shift", "mass_effect",
    "hydrocephalus",
})  # fmt: skip
"""Findings of which one says mild and marked where of the others one says small and large."""


def render(report: StructuredReport) -> bytes:
    """The whole report, UTF-8."""
    return (printable(narrative(report)) + "\n").encode()


def narrative(report: StructuredReport) -> str:
    """The report's lines, not yet cleared of control characters."""
    chapters = [
        "\n".join(_wrapped(f"STRUCTURED REPORT {report.report_id}") + _wrapped(f"*** {BANNER} ***")),
        *(_chapter(part.value, _as_written(report, part)) for part in (Part.INDICATION, Part.TECHNIQUE, Part.COMPARISON)),
        _chapter("findings", _findings(report)),
        _chapter("impression", _impression(report)),
        _chapter("addendum", _as_written(report, Part.ADDENDUM)),
        _chapter("recommendations", _numbered(map(_recommendation, report.recommendations))),
        _chapter("communication", _numbered(map(_communication, report.communications))),
        _chapter("discrepancies", _numbered(map(_discrepancy, report.discrepancies))),
        "\n".join(
            _wrapped(f"Read by radpipe with the lexicon {report.lexicon}.")
            + _wrapped("Numbers in brackets: where the words stand in the report's text, in characters from 0.")
            + ["radpipe is not a medical device."]
        ),
    ]
    return "\n\n".join(chapter for chapter in chapters if chapter)


def _chapter(heading: str, lines: Iterable[str]) -> str:
    """A heading in capitals and its lines; nothing without lines."""
    body = "\n".join(lines)
    return f"{heading.upper()}\n{body}" if body else ""


def _wrapped(text: str, first: str = "", then: str = "") -> list[str]:
    """Text as lines of the page's width; words longer than a line are broken beforehand (textwrap takes quadratic time)."""
    plain = _LONG_WORD.sub(r"\g<0> ", " ".join(text.split()))
    return textwrap.wrap(plain, _WIDTH, initial_indent=first, subsequent_indent=then, break_on_hyphens=False)


def _numbered(sentences: Iterable[str]) -> Iterator[str]:
    for number, sentence in enumerate(sentences, start=1):
        yield from _wrapped(sentence, f"  {number}. ", "     ")


def _as_written(report: StructuredReport, part: Part) -> Iterator[str]:
    """All sections of that name, line by line."""
    for section in report.parts:
        if section.part is part:
            for line in report.text[section.start : section.end].splitlines():
                yield from _wrapped(line, "  ", "  ")


def _ordered(report: StructuredReport) -> list[Observation]:
    return sorted(report.observations, key=lambda item: (_RANK.get(item.finding, len(ORDER)), item.span.start))


def _findings(report: StructuredReport) -> Iterator[str]:
    if not report.observations:
        yield "  The text says nothing of any finding that the lexicon knows."
    observations = _ordered(report)
    for status, heading in _GROUPS.items():
        group = [item for item in observations if item.status is status and not _is_device(item)]
        if group:
            yield f" {heading}"
        for observation in group:
            yield from _wrapped(_line(observation), "  ", "      ")
    devices = [line for item in observations if _is_device(item) for line in _device_lines(item)]
    if devices:
        yield " Devices"
    for line in devices:
        yield from _wrapped(line, "  ", "      ")


def _is_device(observation: Observation) -> bool:
    """True for devices that are there, or may be."""
    named = observation.finding == "support_device" or bool(observation.devices)
    return named and observation.status is not Assertion.ABSENT


def _line(observation: Observation) -> str:
    """Pleural effusion: present, small, right, unchanged; costophrenic angle. "Small right pleural effusion." [412-440]"""
    stated = [observation.status.value, *_attributes(observation)]
    said = "; ".join([", ".join(stated), *_where(observation), *_measured(observation.sizes)])
    return f"{_capital(_name(observation))}: {said}. {_quoted(observation.span)}{_origin(observation.origin)}"


def _device_lines(observation: Observation) -> Iterator[str]:
    """One line a device, with the words that name it."""
    seen: set[tuple[Device, Assertion]] = set()
    for mention in observation.mentions:
        if mention.device and (mention.device, mention.status) not in seen:
            seen.add((mention.device, mention.status))
            stated = ", ".join([mention.status.value, *_attributes(mention)])
            said = "; ".join(words for words in (stated, mention.device.position) if words)
            yield f"{_capital(mention.device.kind)}: {said}. {_quoted(mention.span)}{_origin(mention.origin)}"
    if not seen:
        yield _line(observation)


def _attributes(item: Observation | Mention) -> list[str]:
    """Severity, side and change in words, those that are stated."""
    severity = _severity(item.finding, item.severity) if item.severity else ""
    side = item.laterality.value if item.laterality else ""
    change = item.change.value.replace("_", " ") if item.change else ""
    return [word for word in (severity, side, change) if word]


def _severity(finding: str, severity: Severity) -> str:
    return _DEGREES.get(severity, severity.value) if finding in _BY_DEGREE else severity.value


def _where(observation: Observation) -> list[str]:
    """The places in one phrase, each with its side where that is not the finding's."""
    places = [_place(location, observation.laterality) for location in observation.locations]
    return [", ".join(places)] if places else []


def _place(location: Location, side: Laterality | None) -> str:
    own = location.laterality
    return f"{own.value} {location.name}" if own and own is not side and not _names_side(location) else location.name


def _names_side(location: Location) -> bool:
    """True if the place's own name says the side: "right upper lobe"."""
    return location.laterality is not None and location.laterality.value in location.name.split()


def _measured(sizes: Iterable[Size]) -> list[str]:
    return [f"{_range(size)}{' x '.join(f'{mm:g}' for mm in size.mm)} mm" for size in sizes]


def _range(size: Size) -> str:
    return "" if size.least_mm is None else f"{size.least_mm:g} to "


def _name(observation: Observation) -> str:
    """The finding in words. A lexicon may use a name for something else than ours ("mass" in the head): its code says so."""
    known = FINDINGS.get(observation.finding)
    ours = known is None or (known.value, known.scheme) == (observation.code.value, observation.code.scheme)
    return finding_words(observation.finding) if ours else observation.code.meaning.lower()


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _quoted(span: Span) -> str:
    words = " ".join(span.quote.split())
    if len(words) > _SHOWN:
        words = f"{words[: _SHOWN * 2 // 3]} [...] {words[-_SHOWN // 3 :]}"
    return f'"{words}" [{span.start}-{span.end}]'


def _origin(origin: Origin) -> str:
    return " (proposed by a language model)" if origin is Origin.PROPOSED else ""


def _impression(report: StructuredReport) -> Iterator[str]:
    """What is present, then what is uncertain."""
    observations = _ordered(report)
    sentences = [
        sentence
        for status in (Assertion.PRESENT, Assertion.UNCERTAIN)
        for observation in observations
        if observation.status is status
        for sentence in _summary(observation)
    ]
    if report.observations and not sentences:
        yield "  Nothing is said to be present or uncertain."
    yield from _numbered(sentences)


def _summary(observation: Observation) -> Iterator[str]:
    """Small right pleural effusion, costophrenic angle, unchanged."""
    hedge = "Uncertain: " if observation.status is Assertion.UNCERTAIN else ""
    if observation.devices and _is_device(observation):
        kinds = ", ".join(dict.fromkeys(device.kind for device in observation.devices))
        yield f"{hedge}{kinds if hedge else _capital(kinds)}."  # side and change differ between devices: see their lines
        return
    severity = _severity(observation.finding, observation.severity) if observation.severity else ""
    sided = any(_names_side(x) and x.laterality is observation.laterality for x in observation.locations)
    side = observation.laterality.value if observation.laterality and not sided else ""
    words = " ".join(word for word in (severity, side, _name(observation)) if word)
    change = [observation.change.value.replace("_", " ")] if observation.change else []
    said = ", ".join([words, *_where(observation), *_measured(observation.sizes), *change])
    yield f"{hedge}{said if hedge else _capital(said)}."


def _recommendation(item: Recommendation) -> str:
    """Follow-up: CT, in 6 months; if symptoms persist. "..." [...]"""
    what = _capital(_ACTIONS.get(item.action) or item.action.replace("_", " "))
    details = [word for word in (item.modality, item.interval or _days(item)) if word]
    said = "; ".join(part for part in (", ".join(details), item.condition) if part)
    return f"{what}{': ' if said else ''}{said}. {_quoted(item.span)}"


def _days(item: Recommendation) -> str:
    ends = [str(days) for days in dict.fromkeys((item.least_days, item.most_days)) if days is not None]
    return f"in {' to '.join(ends)} days" if ends else ""


def _communication(item: Communication) -> str:
    said = ", ".join(part for part in (item.to_whom and f"to {item.to_whom}", item.when, item.how) if part)
    return f"Told{' ' if said else ''}{said}. {_quoted(item.span)}"


def _discrepancy(item: Discrepancy) -> str:
    quotes = "; ".join(_quoted(span) for span in item.spans)
    return f"{item.message} {quotes}".strip()
