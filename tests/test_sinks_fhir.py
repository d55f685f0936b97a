from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle

from radpipe.report import PRELIMINARY
from radpipe.sinks import fhir, text
from radpipe.study import Patient
from tests.sample_reading import (
    FRONTAL,
    MODEL,
    PRIOR_STUDY,
    STUDY,
    amended,
    not_read,
    not_read_report,
    sample_reading,
    sample_report,
    signed,
)

CASES = {
    "draft": (sample_reading(), sample_report()),
    "final": (sample_reading(), signed(sample_report())),
    "amended": (sample_reading(), amended(signed(sample_report()))),
    "not read": (not_read(), not_read_report()),
}


def bundle(reading=None, report=None) -> dict[str, Any]:
    return json.loads(fhir.render(reading or sample_reading(), report or sample_report()))


def resources(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in document["entry"] if entry["resource"]["resourceType"] == kind]


def observation(document: dict[str, Any], code: str) -> dict[str, Any]:
    return next(item for item in resources(document, "Observation") if item["code"]["coding"][0]["code"] == code)


def component(resource: dict[str, Any], code: str) -> dict[str, Any]:
    return next(item for item in resource["component"] if item["code"].get("coding", [{}])[0].get("code") == code)


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["reference"]] if isinstance(value.get("reference"), str) else []
        return own + [found for item in value.values() for found in references(item)]
    return [found for item in value for found in references(item)] if isinstance(value, list) else []


@pytest.mark.parametrize("case", CASES)
def test_the_bundle_is_valid_and_every_reference_resolves_inside_it(case):
    document = bundle(*CASES[case])
    Bundle.model_validate(document)
    urls = [entry["fullUrl"] for entry in document["entry"]]
    assert len(urls) == len(set(urls))
    assert all(url.startswith("urn:uuid:") for url in urls)
    assert set(references(document)) <= set(urls)
    assert document["type"] == "collection"


@pytest.mark.parametrize(
    ("case", "report_status", "observation_status"),
    [("draft", "preliminary", "preliminary"), ("final", "final", "final"), ("amended", "amended", "final")],
)
def test_statuses_follow_the_report(case, report_status, observation_status):
    document = bundle(*CASES[case])
    assert resources(document, "DiagnosticReport")[0]["status"] == report_status
    assert {item["status"] for item in resources(document, "Observation")} == {observation_status}


def test_a_draft_says_what_it_is_and_has_no_practitioner():
    document = bundle()
    report = resources(document, "DiagnosticReport")[0]
    assert report["conclusion"].startswith(PRELIMINARY)
    assert PRELIMINARY in report["text"]["div"]
    assert resources(document, "Practitioner") == []
    assert [agent["type"]["coding"][0]["code"] for agent in resources(document, "Provenance")[0]["agent"]] == ["assembler"]


def test_a_signed_report_names_its_signer_as_interpreter_and_verifier():
    document = bundle(*CASES["final"])
    practitioner = resources(document, "Practitioner")[0]
    assert practitioner["name"][0] == {"text": "Maja Lindqvist", "family": "Lindqvist", "given": ["Maja"]}
    url = f"urn:uuid:{practitioner['id']}"
    report = resources(document, "DiagnosticReport")[0]
    assert report["resultsInterpreter"] == [{"reference": url}]
    assert PRELIMINARY not in json.dumps(document)
    agents = {agent["type"]["coding"][0]["code"]: agent for agent in resources(document, "Provenance")[0]["agent"]}
    assert agents["verifier"]["who"]["reference"] == url
    assert resources(document, "Provenance")[0]["recorded"] == "2026-01-31T08:41:30+00:00"


def test_an_observation_says_presence_probability_side_place_and_change():
    document = bundle()
    effusion = observation(document, "60046008")
    assert effusion["code"]["coding"][0]["system"] == "http://snomed.info/sct"
    assert effusion["valueCodeableConcept"]["coding"][0]["code"] == "52101004"
    quantity = component(effusion, "122157")["valueQuantity"]
    assert (quantity["value"], quantity["system"], quantity["code"]) == (0.91, "http://unitsofmeasure.org", "1")
    assert component(effusion, "272741003")["valueCodeableConcept"]["coding"][0]["code"] == "7771000"
    assert "rows 1480 to 1900, columns 930 to 1560" in component(effusion, "111030")["valueString"]
    assert component(effusion, "change-prior")["valueCodeableConcept"]["coding"][0]["code"] == "35105006"
    assert FRONTAL in effusion["derivedFrom"][0]["display"]
    assert len(effusion["derivedFrom"]) == 2
    assert observation(document, "233604007")["valueCodeableConcept"]["text"] == "Indeterminate"
    assert observation(document, "36118008")["valueCodeableConcept"]["text"] == "Absent"


def test_the_model_is_the_device_of_every_observation():
    document = bundle()
    device = resources(document, "Device")[0]
    assert device["identifier"][0]["value"] == MODEL.sha256
    assert {item["device"]["reference"] for item in resources(document, "Observation")} == {f"urn:uuid:{device['id']}"}
    shown = {item["type"]["text"]: item["valueCode"][0]["text"] for item in device["property"]}
    assert shown == {"backend": "onnx", "provider": "CPUExecutionProvider"}


def test_the_studies_carry_their_uids_and_the_patient_its_issuer():
    document = bundle()
    studies = {item["identifier"][0]["value"]: item for item in resources(document, "ImagingStudy")}
    assert set(studies) == {f"urn:oid:{STUDY}", f"urn:oid:{PRIOR_STUDY}"}
    assert studies[f"urn:oid:{STUDY}"]["identifier"][0]["system"] == "urn:dicom:uid"
    series = studies[f"urn:oid:{STUDY}"]["series"]
    assert [instance["uid"] for instance in series[0]["instance"]] == [
        image.sop_instance_uid for image in sample_reading().study.images
    ]
    patient = resources(document, "Patient")[0]
    assert patient["identifier"][0]["assigner"] == {"display": "Example Hospital"}
    assert patient["gender"] == "female"
    assert patient["birthDate"] == "1957-03-09"


def test_an_issuer_that_is_an_oid_is_the_identifiers_system():
    reading = sample_reading()
    patient = replace(reading.study.patient, issuer_of_patient_id="1.2.752.24.1")
    reading = replace(reading, study=replace(reading.study, patient=patient))
    assert resources(bundle(reading), "Patient")[0]["identifier"][0]["system"] == "urn:oid:1.2.752.24.1"


def test_a_patient_of_whom_nothing_is_known_still_gives_a_valid_bundle():
    reading = sample_reading()
    study = replace(
        reading.study,
        patient=Patient(""),
        study_date=None,
        study_time=None,
        accession_number="",
        study_description="",
        modalities=(),
    )
    document = bundle(replace(reading, study=study, read_at=None))
    assert set(resources(document, "Patient")[0]) == {"resourceType", "id"}


def test_the_narrative_is_the_text_report():
    report = resources(bundle(), "DiagnosticReport")[0]
    assert base64.b64decode(report["presentedForm"][0]["data"]) == text.render(sample_reading(), sample_report())


def test_hostile_text_stays_text():
    reading = sample_reading(patient_name='<script>alert("x")</script>^& Co\x1b[2J')
    document = bundle(reading)
    assert "<script>" not in resources(document, "DiagnosticReport")[0]["text"]["div"]
    assert "\x1b" not in base64.b64decode(resources(document, "DiagnosticReport")[0]["presentedForm"][0]["data"]).decode()


def test_a_rejected_finding_is_not_a_result():
    codes = {item["code"]["coding"][0]["code"] for item in resources(bundle(*CASES["final"]), "Observation")}
    assert "233604007" not in codes
    assert "60046008" in codes


def test_versions_of_one_report_name_the_same_resources():
    draft, final = bundle(), bundle(*CASES["final"])
    assert resources(draft, "DiagnosticReport")[0]["id"] == resources(final, "DiagnosticReport")[0]["id"]
    assert observation(draft, "60046008")["id"] == observation(final, "60046008")["id"]
    assert draft["id"] != final["id"]
    assert fhir.render(sample_reading(), sample_report()) == fhir.render(sample_reading(), sample_report())
