"""A report as a FHIR R4 Bundle (collection): DiagnosticReport, one Observation a finding, and all that they refer to.

    DiagnosticReport --result--> Observation --derivedFrom--> ImagingStudy (and the prior's, where a change is stated)
           |                          '--device--> Device (the model)
           '--imagingStudy, resultsInterpreter--> ImagingStudy, Practitioner (once signed)
    Provenance: which model assembled the draft from which study, who verified it, when

Every reference is a urn:uuid of the same bundle; the UUIDs are derived from the report's key, so that a later version names
the same resources. Status: draft -> preliminary, final -> final, addendum -> amended. The elements used are the same in R4
and R4B; the bundle is checked against the R4B models before it leaves (they check structure, not value sets).
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

from fhir.resources.R4B.bundle import Bundle

from radpipe import __version__
from radpipe import codes as terms
from radpipe.codes import Code
from radpipe.finding import Change, Decision, Evidence
from radpipe.reading import Reading
from radpipe.report import Person, Report, SectionName, Status
from radpipe.sinks import text
from radpipe.sinks.fhir_resources import (
    DICOM_UID,
    SYSTEMS,
    UCUM,
    Resource,
    entry,
    hl7_concept,
    human_name,
    patient_resource,
    refer,
    reference,
    resource_id,
    study_resource,
    subject,
    xhtml,
)
from radpipe.sinks.identifiers import stable_uuid
from radpipe.sinks.stated import Stated, as_of, banner, is_preliminary, stated_changes, stated_findings
from radpipe.sinks.terms import CHANGE_SINCE_PRIOR, CHANGES, IMAGE_REGION, LATERALITY, PRESENCE, PROBABILITY, THRESHOLD

suffix = ".fhir.json"

STATUS = {Status.DRAFT: "preliminary", Status.FINAL: "final", Status.AMENDED: "amended"}
_PROCEDURE = Code("18748-4", "LN", "Diagnostic imaging study")


def render(reading: Reading, report: Report) -> bytes:
    """The bundle as JSON, UTF-8. Raises pydantic's ValidationError if it is no valid R4B bundle: that would be a defect."""
    bundle = document(reading, report)
    Bundle.model_validate(bundle)
    return (json.dumps(bundle, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def document(reading: Reading, report: Report) -> Resource:
    """The bundle before it is written."""
    key = report.report_key
    changes = {change.finding: change for change in stated_changes(reading, report)}
    patient = patient_resource(reading.study)
    study = study_resource(reading.study)
    device = _device(reading)
    prior = _prior_study(reading) if changes else None
    practitioner = _practitioner(report.signed_by) if report.signed_by and not is_preliminary(report) else None
    observations = [
        _observation(stated, changes.get(stated.finding.finding), reading, report)
        for stated in stated_findings(reading, report)
    ]
    diagnostic = _diagnostic_report(reading, report, observations)
    if practitioner:
        diagnostic["resultsInterpreter"] = [refer(practitioner)]
        for observation in observations:
            observation["performer"] = [refer(practitioner)]
    provenance = _provenance(reading, report, [diagnostic, *observations], practitioner)
    resources = [diagnostic, *observations, patient, study, prior, device, practitioner, provenance]
    at = as_of(reading, report)
    return {
        "resourceType": "Bundle",
        "id": str(stable_uuid("fhir", "Bundle", key, report.version)),
        "identifier": {
            "system": "urn:ietf:rfc:3986",
            "value": f"urn:uuid:{stable_uuid('fhir', 'Bundle', key, report.version)}",
        },
        "type": "collection",
        **({"timestamp": _instant(at)} if at else {}),
        "entry": [entry(resource) for resource in resources if resource],
    }


def _model_key(reading: Reading) -> str:
    return reading.model.sha256 if reading.model else "radpipe"


def _instant(at: datetime) -> str:
    """FHIR's instant needs an offset: a time without one is taken as UTC."""
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat(timespec="seconds")


def _coding(code: Code) -> Resource:
    coding = {"system": SYSTEMS[code.scheme]} if code.scheme in SYSTEMS else {}
    return {**coding, "code": code.value, "display": code.meaning}


def _concept(code: Code, words: str = "") -> Resource:
    return {"coding": [_coding(code)], "text": words or code.meaning}


def _prior_study(reading: Reading) -> Resource | None:
    if reading.prior is None:
        return None
    uid = reading.prior.study_instance_uid
    resource = {
        "resourceType": "ImagingStudy",
        "id": resource_id("ImagingStudy", uid),
        "identifier": [{"system": DICOM_UID, "value": f"urn:oid:{uid}"}],
        "status": "available",
        "subject": subject(reading.study),
    }
    if reading.prior.study_date:
        resource["started"] = reading.prior.study_date.isoformat()
    return resource


def _device(reading: Reading) -> Resource:
    model = reading.model
    resource: Resource = {
        "resourceType": "Device",
        "id": resource_id("Device", _model_key(reading)),
        "status": "active",
        "deviceName": [{"name": model.name if model else "radpipe", "type": "model-name"}],
        "type": {"text": "Software that drafts radiology reports; not a medical device"},
        "version": [{"type": {"text": "radpipe"}, "value": __version__}],
    }
    if model:
        resource["identifier"] = [{"type": {"text": "SHA-256 of the model's files"}, "value": model.sha256}]
        resource["version"].append({"type": {"text": "model"}, "value": model.version})
        resource["property"] = [
            {"type": {"text": name}, "valueCode": [{"text": value}]}
            for name, value in (("backend", model.backend), ("provider", model.provider))
        ]
    return resource


def _practitioner(person: Person) -> Resource:
    resource: Resource = {
        "resourceType": "Practitioner",
        "id": resource_id("Practitioner", person.organisation, person.user),
        "name": [human_name(person.name) if "^" in person.name else {"text": person.name}],
    }
    assigner = {"assigner": {"display": person.organisation}} if person.organisation else {}
    resource["identifier"] = [{"value": person.user, **assigner}]
    return resource


def _observation(stated: Stated, change: Change | None, reading: Reading, report: Report) -> Resource:
    finding, evidence = stated.finding, stated.finding.evidence[0]
    study_uid = reading.study.study_instance_uid
    image = f"SOP Instance UID {evidence.sop_instance_uid}" + (f", frame {evidence.frame}" if evidence.frame else "")
    sources = [reference("ImagingStudy", study_uid, display=image)]
    resource: Resource = {
        "resourceType": "Observation",
        "id": resource_id("Observation", report.report_key, finding.finding),
        "status": "preliminary" if is_preliminary(report) else "final",
        "category": [hl7_concept("observation-category", "imaging", "Imaging")],
        "code": _concept(finding.code),
        "subject": subject(reading.study),
        "device": reference("Device", _model_key(reading)),
        "valueCodeableConcept": _concept(PRESENCE[finding.decision]),
    }
    if reading.study.study_date:
        resource["effectiveDateTime"] = reading.study.study_date.isoformat()
    if reading.study.body_part == "CHEST":
        side = f", {finding.laterality.value}" if finding.laterality else ""
        resource["bodySite"] = _concept(terms.CHEST, f"{terms.CHEST.meaning}{side}")
    components = [_number(PROBABILITY, finding.probability, "1"), _number(THRESHOLD, finding.threshold, "1")]
    if finding.laterality:
        components.append({"code": _concept(LATERALITY), "valueCodeableConcept": _concept(terms.SIDES[finding.laterality])})
    components += [component for item in finding.evidence for component in _located(item)]
    if change:
        components.append({"code": _concept(CHANGE_SINCE_PRIOR), "valueCodeableConcept": _concept(CHANGES[change.change])})
        if reading.prior:
            prior_image = f"SOP Instance UID {change.prior_sop_instance_uid}"
            sources.append(reference("ImagingStudy", reading.prior.study_instance_uid, display=prior_image))
    resource |= {"derivedFrom": sources, "component": components}
    if finding.decision is Decision.UNSURE:
        resource["note"] = [{"text": "Uncertain: between the model's rule-out and its threshold."}]
    return resource


def _number(code: Code, value: float, unit: str) -> Resource:
    quantity = {"value": round(value, 6), "unit": unit, "system": UCUM, "code": unit}
    return {"code": _concept(code), "valueQuantity": quantity}


def _located(evidence: Evidence) -> list[Resource]:
    components = []
    if evidence.box_px:
        top, left, bottom, right = evidence.box_px
        where = f"rows {top} to {bottom}, columns {left} to {right} of SOP Instance UID {evidence.sop_instance_uid}"
        components.append({"code": _concept(IMAGE_REGION), "valueString": where})
    if evidence.measurement:
        measured = evidence.measurement
        components.append({**_number(PROBABILITY, measured.value, measured.unit), "code": {"text": measured.name}})
    return components


def _diagnostic_report(reading: Reading, report: Report, observations: list[Resource]) -> Resource:
    narrative = text.render(reading, report)
    at = as_of(reading, report)
    impression = report.section(SectionName.IMPRESSION)
    addendum = report.section(SectionName.ADDENDUM)
    conclusion = [
        banner(report),
        *(sentence.text for section in (impression, addendum) if section for sentence in section.sentences),
    ]
    resource: Resource = {
        "resourceType": "DiagnosticReport",
        "id": resource_id("DiagnosticReport", report.report_key),
        "text": {"status": "generated", "div": xhtml(narrative.decode())},
        "identifier": [{"type": {"text": "radpipe report key"}, "value": report.report_key}],
        "status": STATUS[report.status],
        "category": [hl7_concept("v2-0074", "RAD", "Radiology")],
        "code": _concept(_PROCEDURE),
        "subject": subject(reading.study),
        "imagingStudy": [reference("ImagingStudy", reading.study.study_instance_uid)],
        "conclusion": " ".join(part for part in conclusion if part) or "No impression was given.",
        "presentedForm": [{
            "contentType": "text/plain; charset=utf-8", "language": "en", "title": "Report",
            "data": base64.b64encode(narrative).decode("ascii"),
        }],
    }  # fmt: skip
    if observations:
        resource["result"] = [refer(observation) for observation in observations]
    if reading.study.study_date:
        resource["effectiveDateTime"] = reading.study.study_date.isoformat()
    if at:
        resource["issued"] = _instant(at)
    return resource


def _provenance(reading: Reading, report: Report, targets: list[Resource], practitioner: Resource | None) -> Resource:
    kind = "provenance-participant-type"
    agents = [{"type": hl7_concept(kind, "assembler", "Assembler"), "who": reference("Device", _model_key(reading))}]
    if practitioner:
        agent: Resource = {"type": hl7_concept(kind, "verifier", "Verifier"), "who": refer(practitioner)}
        if report.signed_by and report.signed_by.organisation:
            agent["onBehalfOf"] = {"display": report.signed_by.organisation}
        agents.append(agent)
    resource: Resource = {
        "resourceType": "Provenance",
        "id": resource_id("Provenance", report.report_key, str(report.version)),
        "target": [refer(target) for target in targets],
        "recorded": _instant(as_of(reading, report) or datetime(1970, 1, 1, tzinfo=UTC)),
        "agent": agents,
        "entity": [{"role": "source", "what": reference("ImagingStudy", reading.study.study_instance_uid)}],
    }
    if reading.read_at:
        resource["occurredDateTime"] = _instant(reading.read_at)
    return resource
