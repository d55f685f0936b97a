"""A structured report as JSON: the record that `radpipe structure` prints, one line a report, and its whole inverse.

What an observation says over all its mentions (`location`, `size_mm`, `locations`, `sizes`, `devices`, `origin`) is written
for the reader's sake; reading takes it from the mentions again, so that the two can never disagree. A mention has the same
fields as an observation, without a code of its own. Field by field: docs/structured-forms.md.
"""

from __future__ import annotations

import json
from typing import Any

from radpipe.codes import Code
from radpipe.errors import StructureError
from radpipe.observation import (
    Communication,
    Device,
    Discrepancy,
    Location,
    Mention,
    Observation,
    PartSpan,
    Recommendation,
    Size,
    Span,
    StructuredReport,
)
from radpipe.sinks.structured_read import report_of

suffix = ".json"

Record = dict[str, Any]


def render(report: StructuredReport, *, explain: bool = True, text: bool = True) -> bytes:
    """The record on one line, ASCII. With the text by default, so that `parse` needs nothing else."""
    record = to_record(report, explain=explain, text=text)
    return (json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n").encode("ascii")


def parse(content: bytes, text: str | None = None) -> StructuredReport:
    """The report that `render` wrote. Raises StructureError if these bytes hold none."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        raise StructureError("this is not JSON; give one record of `radpipe structure`") from None
    return from_record(record, text)


def to_record(report: StructuredReport, *, explain: bool = True, text: bool = False) -> Record:
    """The record. `explain` adds which rules fired at each mention, `text` the text itself."""
    record: Record = {
        "id": report.report_id,
        "observations": [_observation(observation, explain) for observation in report.observations],
        "sections": [section_record(part) for part in report.parts],
        "recommendations": [recommendation_record(item) for item in report.recommendations],
        "communications": [communication_record(item) for item in report.communications],
        "discrepancies": [discrepancy_record(item) for item in report.discrepancies],
        "lexicon": report.lexicon,
    }
    if text:
        record["text"] = report.text
    return record


def from_record(record: Record, text: str | None = None) -> StructuredReport:
    """The report that `to_record` was given; of a record without `explain` the rules are missing.

    `text` stands in for the record's own. Raises StructureError, naming the field, if the record lacks one, holds something
    else than that field takes, or quotes what does not stand in the text.
    """
    return report_of(record, text)


def _observation(observation: Observation, explain: bool) -> Record:
    return {
        **_said(observation, observation.devices),
        "code": code_record(observation.code),
        "mentions": [mention_record(mention, explain=explain) for mention in observation.mentions],
    }


def mention_record(mention: Mention, *, explain: bool = True) -> Record:
    """One mention, in the fields of an observation."""
    record = _said(mention, (mention.device,) if mention.device else ())
    if explain:
        record["rules"] = list(mention.rules)
    return record


def _said(item: Observation | Mention, devices: tuple[Device, ...]) -> Record:
    """What an observation and each of its mentions say alike."""
    locations, sizes = item.locations, item.sizes
    return {
        "finding": item.finding,
        "status": item.status.value,
        "laterality": item.laterality.value if item.laterality else None,
        "severity": item.severity.value if item.severity else None,
        "change": item.change.value if item.change else None,
        "location": ", ".join([location.name for location in locations]) if locations else None,
        "size_mm": list(sizes[0].mm) if sizes else None,
        "quote": item.span.quote,
        "start": item.span.start,
        "end": item.span.end,
        "section": item.part.value,
        "origin": item.origin.value,
        "locations": [_location(location) for location in locations],
        "sizes": [_size(size) for size in sizes],
        "devices": [_device(device) for device in devices],
    }


def code_record(code: Code) -> Record:
    """A code as in every output of radpipe."""
    return {"value": code.value, "scheme": code.scheme, "meaning": code.meaning}


def section_record(part: PartSpan) -> Record:
    """Where a section's body lies, and its heading as written."""
    return {"section": part.part.value, "heading": part.heading, "start": part.start, "end": part.end}


def recommendation_record(item: Recommendation) -> Record:
    """What is to be done, and the words that say so."""
    return {
        "action": item.action,
        "modality": item.modality,
        "least_days": item.least_days,
        "most_days": item.most_days,
        "interval": item.interval,
        "condition": item.condition,
        **_span(item.span),
        "section": item.part.value,
    }


def communication_record(item: Communication) -> Record:
    """Who was told, when and how, as written."""
    return {
        "to_whom": item.to_whom,
        "when": item.when,
        "how": item.how,
        **_span(item.span),
        "section": item.part.value,
    }


def discrepancy_record(item: Discrepancy) -> Record:
    """What does not fit, and the places that say it."""
    return {"kind": item.kind, "message": item.message, "spans": [_span(span) for span in item.spans]}


def _span(span: Span) -> Record:
    return {"quote": span.quote, "start": span.start, "end": span.end}


def _location(location: Location) -> Record:
    return {
        "name": location.name,
        "code": code_record(location.code) if location.code else None,
        "laterality": location.laterality.value if location.laterality else None,
    }


def _size(size: Size) -> Record:
    return {"mm": list(size.mm), "least_mm": size.least_mm}


def _device(device: Device) -> Record:
    return {
        "kind": device.kind,
        "code": code_record(device.code) if device.code else None,
        "position": device.position,
    }
