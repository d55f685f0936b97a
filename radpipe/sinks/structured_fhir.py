"""A structured report as a FHIR R4 Bundle (collection): DiagnosticReport, one Observation a finding, the Device.

    DiagnosticReport   the text itself (presentedForm, base64), the structured report as narrative; as extensions what
           |           FHIR has no place for: sections, recommendations, communications, discrepancies
           '--result--> Observation   code, present / absent / indeterminate (value and interpretation), bodySite,
                            |         components for laterality, severity, change, sizes, sites, devices and the quote;
                            |         every mention as an extension
                            '--device--> Device (radpipe, and the lexicon that read the text)

Extensions have the URL EXTENSION:NAME, and inside them the field names of the JSON record (docs/structured-forms.md).
Strings are escaped as in `structured_escape`; the presented form is the text as it is. A text says neither patient nor
study nor time, so the bundle has none, unless the study is given: then Patient and ImagingStudy are in it. Nothing is
concluded: `conclusion` is the text's own impression, if it has one. The bundle is checked against the R4B models in the
tests, not whenever it is made: that would take six times as long.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from radpipe import __version__
from radpipe.codes import SIDES, Code
from radpipe.errors import StructureError
from radpipe.observation import Assertion, Device, Location, Observation, Part, Size, StructuredReport
from radpipe.sinks import structured_terms as t
from radpipe.sinks import structured_text
from radpipe.sinks.fhir_resources import (
    SYSTEMS,
    UCUM,
    Resource,
    entry,
    hl7_concept,
    patient_resource,
    refer,
    study_resource,
    subject,
    xhtml,
)
from radpipe.sinks.identifiers import stable_uuid
from radpipe.sinks.structured_escape import escape
from radpipe.sinks.structured_fhir_parse import parse
from radpipe.sinks.structured_json import (
    code_record,
    communication_record,
    discrepancy_record,
    mention_record,
    recommendation_record,
    section_record,
)
from radpipe.sinks.terms import CHANGE_SINCE_PRIOR, CHANGES, LATERALITY
from radpipe.study import Study

__all__ = ["parse", "render", "suffix"]

suffix = ".fhir.json"

STATUSES = {"preliminary": "preliminary", "final": "final", "amended": "amended", "unknown": "unknown"}
"""Status of the DiagnosticReport -> that of its Observations."""

LONGEST = 1024 * 1024
"""Characters of a FHIR string."""

_CODE = re.compile(r"[^\s\\]+( [^\s\\]+)*")
_INTERPRETATIONS = {
    Assertion.PRESENT: ("POS", "Positive"),
    Assertion.ABSENT: ("NEG", "Negative"),
    Assertion.UNCERTAIN: ("IND", "Indeterminate"),
}
_DERIVED = ("location", "size_mm")


def render(report: StructuredReport, *, status: str = "preliminary", study: Study | None = None) -> bytes:
    """The bundle as JSON, ASCII. Raises StructureError for a status other than STATUSES."""
    bundle = document(report, status=status, study=study)
    return (json.dumps(bundle, allow_nan=False, separators=(",", ":")) + "\n").encode("ascii")


def document(report: StructuredReport, *, status: str = "preliminary", study: Study | None = None) -> Resource:
    """The bundle before it is written. `study`: the one that the report is about, if it is known."""
    if status not in STATUSES:
        raise StructureError(f"a structured report cannot be {status!r}; it is one of {', '.join(STATUSES)}")
    digest = hashlib.sha256(report.text.encode("utf-8", "surrogatepass")).hexdigest()
    # of the study too: the same words under the same id, of two patients, must not be one resource
    key = (escape(report.report_id), digest, *((study.study_instance_uid,) if study else ()))
    device = _device(report.lexicon)
    observations = []
    for number, observation in enumerate(report.observations, start=1):
        resource_id = str(stable_uuid("structured-fhir", "Observation", *key, number, escape(observation.finding)))
        observations.append(_observation(observation, resource_id, STATUSES[status], device))
    diagnostic = _diagnostic_report(report, str(stable_uuid("structured-fhir", "DiagnosticReport", *key)), status)
    if observations:
        diagnostic["result"] = [refer(observation) for observation in observations]
    resources = [diagnostic, *observations, device]
    if study:
        imaging = study_resource(study)
        diagnostic["imagingStudy"] = [refer(imaging)]
        for resource in (diagnostic, *observations):
            resource["subject"] = subject(study)
            if study.study_date:
                resource["effectiveDateTime"] = study.study_date.isoformat()
        resources += [patient_resource(study), imaging]
    return {
        "resourceType": "Bundle",
        "id": str(stable_uuid("structured-fhir", "Bundle", *key, escape(report.lexicon))),
        "type": "collection",
        "entry": [entry(resource) for resource in resources],
    }


def _coding(code: Code) -> Resource:
    """A code as FHIR's Coding; with the code as an extension where a Coding would not give it back."""
    coding: Resource = {"display": escape(code.meaning)}
    system = SYSTEMS.get(code.scheme)
    if system:
        coding = {"system": system, **coding}
    legal = bool(_CODE.fullmatch(code.value)) and escape(code.value) == code.value
    if legal:
        coding["code"] = code.value
    if not (system and legal):
        coding["extension"] = [_extension(f"{t.EXTENSION}:code", code_record(code), plain=True)]
    return coding


def _concept(code: Code, words: str = "") -> Resource:
    return {"coding": [_coding(code)], "text": escape(words or code.meaning)}


def _extension(url: str, value: Any, *, plain: bool = False) -> Resource:
    """A field of the record as an extension. An object's fields are extensions below it, a list's items one each; what is
    None or an empty list is left out, and a field called code is a Coding (unless `plain`)."""
    match value:
        case str():
            return {"url": url, "valueString": escape(value)}
        case int():
            return {"url": url, "valueInteger": value}
        case float():
            return {"url": url, "valueDecimal": value}
    below: list[Resource] = []
    for name, held in value.items():
        if name == "code" and held and not plain:
            below.append({"url": name, "valueCoding": _coding(Code(**held))})
        elif isinstance(held, list):
            below += [_extension(name, item) for item in held]
        elif held is not None:
            below.append(_extension(name, held))
    return {"url": url, "extension": below}


def _extensions(name: str, records: Iterable[Resource]) -> list[Resource]:
    return [_extension(f"{t.EXTENSION}:{name}", record) for record in records]


def _diagnostic_report(report: StructuredReport, resource_id: str, status: str) -> Resource:
    text = report.text.encode("utf-8", "replace")
    extensions = [
        *_extensions("section", map(section_record, report.parts)),
        *_extensions("recommendation", map(recommendation_record, report.recommendations)),
        *_extensions("communication", map(communication_record, report.communications)),
        *_extensions("discrepancy", map(discrepancy_record, report.discrepancies)),
    ]
    if text.decode() != report.text:
        extensions.append(_extension(f"{t.EXTENSION}:text", report.text))
    resource: Resource = {
        "resourceType": "DiagnosticReport",
        "id": resource_id,
        "text": {"status": "generated", "div": xhtml(structured_text.render(report).decode())},
        "extension": extensions,
        "identifier": [{"type": {"text": "Report identifier"}, "value": escape(report.report_id)}],
        "status": status,
        "category": [hl7_concept("v2-0074", "RAD", "Radiology")],
        "code": _concept(Code("18748-4", "LN", "Diagnostic imaging study")),
        "presentedForm": [{
            "contentType": "text/plain; charset=utf-8", "language": "en", "title": "Report as written",
            **({"data": base64.b64encode(text).decode("ascii")} if text else {}),
        }],
    }  # fmt: skip
    impressions = [report.text[part.start : part.end].strip() for part in report.parts if part.part is Part.IMPRESSION]
    conclusion = "\n".join(impression for impression in impressions if impression)
    if conclusion and len(escape(conclusion)) <= LONGEST:
        resource["conclusion"] = escape(conclusion)
    if not extensions:
        del resource["extension"]
    return resource


def _device(lexicon: str) -> Resource:
    return {
        "resourceType": "Device",
        "id": str(stable_uuid("structured-fhir", "Device", __version__, escape(lexicon))),
        "status": "active",
        "deviceName": [{"name": "radpipe structure", "type": "model-name"}],
        "type": {"text": "Software that structures the text of radiology reports; not a medical device"},
        "version": [
            {"type": {"text": "radpipe"}, "value": __version__},
            {"type": {"text": t.LEXICON.value}, "value": escape(lexicon)},
        ],
    }


def _observation(observation: Observation, resource_id: str, status: str, device: Resource) -> Resource:
    presence = t.STATUSES[observation.status]
    mentions = [
        {name: held for name, held in mention_record(mention).items() if name not in _DERIVED}
        for mention in observation.mentions
    ]
    resource: Resource = {
        "resourceType": "Observation",
        "id": resource_id,
        "extension": [
            _extension(f"{t.EXTENSION}:finding", observation.finding),
            *_extensions("mention", mentions),
        ],
        "status": status,
        "category": [hl7_concept("observation-category", "imaging", "Imaging")],
        "code": _concept(observation.code),
        "device": refer(device),
        "valueCodeableConcept": _concept(presence),
        "interpretation": [hl7_concept("v3-ObservationInterpretation", *_INTERPRETATIONS[observation.status])],
        "method": {"text": "Structured from the report's text by radpipe"},
        "component": _components(observation),
    }
    if site := _body_site(observation):
        resource["bodySite"] = site
    return resource


def _body_site(observation: Observation) -> Resource:
    """Where, in words with the side; coded if it is one coded place."""
    side = observation.laterality.value if observation.laterality else ""
    names = ", ".join(location.name for location in observation.locations)
    site: Resource = {}
    if len(observation.locations) == 1 and (code := observation.locations[0].code):
        site["coding"] = [_coding(code)]
    words = f"{names} ({side})" if names and side else names or side
    if words:
        site["text"] = escape(words)
    return site


def _components(observation: Observation) -> list[Resource]:
    quote = {"start": observation.span.start, "end": observation.span.end, "section": observation.part.value}
    components = [{
        "extension": [_extension(f"{t.EXTENSION}:place", quote)],
        "code": _concept(t.QUOTE),
        "valueString": escape(observation.span.quote),
    }]  # fmt: skip
    for name, stated in (
        (LATERALITY, SIDES[observation.laterality] if observation.laterality else None),
        (t.SEVERITY, t.SEVERITIES[observation.severity] if observation.severity else None),
        (CHANGE_SINCE_PRIOR, CHANGES[observation.change] if observation.change else None),
    ):
        if stated:
            components.append({"code": _concept(name), "valueCodeableConcept": _concept(stated)})
    components += [_site(location) for location in observation.locations]
    components += [component for size in observation.sizes for component in _lengths(size)]
    components += [_device_seen(device) for device in observation.devices]
    return components


def _site(location: Location) -> Resource:
    side = f" ({location.laterality.value})" if location.laterality else ""
    value: Resource = {"text": escape(f"{location.name}{side}")}
    if location.code:
        value = {"coding": [_coding(location.code)], **value}
    return {"code": _concept(t.FINDING_SITE), "valueCodeableConcept": value}


def _lengths(size: Size) -> list[Resource]:
    """One component a dimension; a range for a range."""
    if size.least_mm is not None and len(size.mm) == 1:
        limits = {"low": _millimetres(size.least_mm), "high": _millimetres(size.mm[0])}
        return [{"code": _concept(t.LENGTH), "valueRange": limits}]
    return [{"code": _concept(t.LENGTH), "valueQuantity": _millimetres(mm)} for mm in size.mm]


def _millimetres(mm: float) -> Resource:
    return {"value": mm, "unit": "mm", "system": UCUM, "code": "mm"}


def _device_seen(device: Device) -> Resource:
    value: Resource = {"text": escape(f"{device.kind}: {device.position}" if device.position else device.kind)}
    if device.code:
        value = {"coding": [_coding(device.code)], **value}
    return {"code": _concept(t.DEVICE), "valueCodeableConcept": value}
