from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts
from pydicom.uid import UID

from radpipe.codes import REPORT_ORDER, Code, Laterality
from radpipe.errors import StructureError
from radpipe.observation import Assertion, Location, Part, PartSpan, Severity, StructuredReport
from radpipe.sinks import (
    dicom_sr,
    fhir,
    fhir_resources,
    sr_document,
    structured_fhir,
    structured_json,
    structured_sr,
    structured_terms,
    structured_text,
)
from radpipe.sinks.structured_escape import escape, unescape
from tests.sample_reading import FRONTAL, STUDY, sample_reading, sample_report, source_headers
from tests.structured_reports import EMPTY, LEXICON, SAMPLE, TEXT, WORDS, reports

NASTY_TEXT = (
    "FINDINGS:\r\n\x00\x1b[31m effusion\x7f\x85 \u202eright\u200f \ud800 \ufffe tab\there \\ back\\slash \\x41 😀 影 "
    + "0123456789 " * 1000
    + "\f \u00a0"
)
NASTY = replace(
    SAMPLE,
    report_id="\\e\x00 ",
    text=NASTY_TEXT,
    parts=(PartSpan(Part.FINDINGS, "FINDINGS\x00", 9, len(NASTY_TEXT)), PartSpan(Part.IMPRESSION, "", 5, 5)),
    observations=tuple(
        replace(
            observation,
            code=Code("a code of more than sixteen \\ characters", "A SCHEME LONGER THAN SIXTEEN", "m\n" * 50),
            span=(span := replace(SAMPLE.observations[0].span, start=11, end=22, quote=NASTY_TEXT[11:22])),
            mentions=tuple(
                replace(
                    mention, span=span, locations=(Location(""), Location(" a\\b ", Code("", "", ""))), rules=("", "\x01")
                )
                for mention in observation.mentions
            ),
        )
        for observation in SAMPLE.observations
    ),
    recommendations=(),
    communications=(),
    discrepancies=(),
)


# JSON


def test_the_record_has_the_fields_of_the_contract():
    record = structured_json.to_record(SAMPLE)
    assert list(record) == [
        "id", "observations", "sections", "recommendations", "communications", "discrepancies", "lexicon",
    ]  # fmt: skip
    nodule = next(item for item in record["observations"] if item["finding"] == "nodule_mass")
    mentions = nodule.pop("mentions")
    assert nodule == {
        "finding": "nodule_mass", "status": "present", "laterality": "left", "severity": None, "change": None,
        "location": "upper lobe", "size_mm": [9.0, 7.0],
        "quote": "There is a 9 x 7 mm nodule in the left upper lobe.", "start": 269, "end": 319, "section": "findings",
        "code": {"value": "427359005", "scheme": "SCT", "meaning": "Solitary nodule of lung"}, "origin": "rules",
        "locations": [{
            "name": "upper lobe", "laterality": "left",
            "code": {"value": "45653009", "scheme": "SCT", "meaning": "Structure of upper lobe of lung"},
        }],
        "sizes": [{"mm": [9.0, 7.0], "least_mm": None}, {"mm": [6.0], "least_mm": 4.0}],
        "devices": [],
    }  # fmt: skip
    assert len(mentions) == 2
    assert set(mentions[0]) == set(nodule) - {"code"} | {"rules"}
    assert record["sections"][3] == {"section": "findings", "heading": "FINDINGS", "start": 117, "end": 374}
    assert record["recommendations"][0] == {
        "action": "follow_up", "modality": "CT", "least_days": 90, "most_days": 180, "interval": "in 3 to 6 months",
        "condition": "if the nodule persists", "quote": "CT in 3 to 6 months if the nodule persists.", "start": 465,
        "end": 508, "section": "impression",
    }  # fmt: skip
    absent = next(item for item in record["observations"] if item["finding"] == "pneumothorax")
    assert (absent["location"], absent["size_mm"], absent["laterality"]) == (None, None, None)


def test_the_text_may_travel_in_the_record_or_beside_it():
    assert "text" not in structured_json.to_record(SAMPLE)
    assert structured_json.from_record(structured_json.to_record(SAMPLE), TEXT) == SAMPLE
    assert structured_json.from_record(structured_json.to_record(SAMPLE, text=True)) == SAMPLE
    assert structured_json.parse(structured_json.render(SAMPLE)) == SAMPLE


def test_without_explain_only_the_rules_are_missing():
    plain = structured_json.from_record(structured_json.to_record(SAMPLE, explain=False), TEXT)
    silent = tuple(
        replace(item, mentions=tuple(replace(mention, rules=()) for mention in item.mentions))
        for item in SAMPLE.observations
    )
    assert plain == replace(SAMPLE, observations=silent)


def edited(path: str, value: Any) -> dict[str, Any]:
    """The sample's record with one field set, or removed if the value is `...`."""
    record = deepcopy(structured_json.to_record(SAMPLE, text=True))
    *way, last = path.split(".")
    place: Any = record
    for step in way:
        place = place[int(step)] if step.isdigit() else place[step]
    if value is ...:
        del place[last]
    else:
        place[int(last) if last.isdigit() else last] = value
    return record


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("text", ..., "the record holds no text"),
        ("id", 7, "id is not text"),
        ("observations", ..., "observations is missing"),
        ("observations", {}, "observations is not a list"),
        ("observations.0", "effusion", r"observations\[0\] is not an object"),
        ("observations.0.status", "maybe", r"observations\[0\].status is none of present, absent, uncertain"),
        ("observations.0.status", ["present"], r"observations\[0\].status is none of"),
        ("observations.0.code", None, r"observations\[0\].code is not an object"),
        ("observations.0.mentions", [], "rests on no mention"),
        ("observations.0.mentions.1.start", 3.0, r"observations\[0\].mentions\[1\].start is not a whole number"),
        ("observations.0.mentions.1.end", True, r"mentions\[1\].end is not a whole number"),
        ("observations.0.quote", "Large right effusion, unchanged.", "the text at 389 to 421 is not the quote"),
        ("observations.0.start", -1, "is not the quote"),
        ("observations.3.mentions.0.sizes.0.mm", [], r"sizes\[0\].mm is empty"),
        ("observations.3.mentions.0.sizes.0.mm.1", "7", r"mm\[1\] is not a number"),
        ("observations.3.mentions.0.sizes.0.mm.1", float("nan"), r"mm\[1\] is not a finite number"),
        ("observations.2.mentions.0.devices", [{"kind": "a"}, {"kind": "b"}], "names 2 devices; a mention has one"),
        ("sections.0.end", 10**6, r"sections\[0\] lies at 11 to 1000000 of a text of"),
        ("recommendations.0.least_days", "90", r"recommendations\[0\].least_days is not a whole number"),
        ("discrepancies.0.spans.0.quote", None, r"discrepancies\[0\].spans\[0\].quote is not text"),
    ],
)  # fmt: skip
def test_a_bad_record_is_refused_by_field_and_never_quotes_the_report(path, value, message):
    with pytest.raises(StructureError, match=message) as raised:
        structured_json.from_record(edited(path, value))
    assert "right effusion" not in str(raised.value)


def test_a_record_read_with_another_text_is_refused():
    with pytest.raises(StructureError, match="is it of another text"):
        structured_json.from_record(structured_json.to_record(SAMPLE), TEXT.replace("Small", "A small"))


@pytest.mark.parametrize("content", [b"", b"[]", b"7", b"{", b"\xff\xfe", b"[" * 100_000, b"{}"])
def test_what_is_no_record_is_refused(content):
    with pytest.raises(StructureError):
        structured_json.parse(content)


# Escapes


@given(st.text(st.characters(exclude_categories=())) | WORDS)
def test_any_text_escapes_to_what_dicom_and_fhir_take_and_comes_back(text):
    written = escape(text)
    assert unescape(written) == text
    assert written
    assert written == written.strip()
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]", written)
    assert written.encode()


def test_ordinary_text_is_not_touched():
    words = "Ordinary text, with\r\nline ends; 9 x 7 mm, 影, 😀, right-to-left \u202emarks\u202c."
    assert escape(words) == words


def test_a_backslash_that_is_no_sign_of_ours_stays():
    assert unescape(r"C:\temp \q \x4 \u12") == r"C:\temp \q \x4 \u12"


# Round trips


@settings(max_examples=60, deadline=None)
@given(reports())
def test_json_to_fhir_to_json_loses_nothing(report: StructuredReport):
    record = structured_json.to_record(report, text=True)
    content = structured_fhir.render(structured_json.from_record(record))
    assert structured_json.to_record(structured_fhir.parse(content), text=True) == record
    assert structured_fhir.parse(content) == report
    document = json.loads(content)
    Bundle.model_validate(document)
    for written in strings(document):
        assert written
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", written)
        assert written.encode()


@settings(max_examples=40, deadline=None)
@given(reports())
def test_json_to_sr_to_json_loses_nothing(report: StructuredReport):
    record = structured_json.to_record(report, text=True)
    content = structured_sr.render(structured_json.from_record(record))
    assert structured_json.to_record(structured_sr.parse(content), text=True) == record
    assert structured_sr.parse(content) == report


@given(reports())
def test_any_report_has_a_plain_text_without_control_characters(report: StructuredReport):
    written = structured_text.render(report).decode()
    assert all(letter == "\n" or letter.isprintable() for letter in written)
    assert max(map(len, written.splitlines())) <= 96


@pytest.mark.parametrize("report", [SAMPLE, EMPTY, NASTY], ids=["sample", "empty", "nasty"])
@pytest.mark.parametrize("form", [structured_json, structured_fhir, structured_sr])
def test_every_form_gives_the_report_back_and_the_same_bytes_again(form, report):
    content = form.render(report)
    assert form.parse(content) == report
    assert form.render(report) == content


# FHIR


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [found for item in value.values() for found in strings(item)]
    if isinstance(value, list):
        return [found for item in value for found in strings(item)]
    return [value] if isinstance(value, str) else []


def resources(kind: str, report: StructuredReport = SAMPLE, **options: Any) -> list[dict[str, Any]]:
    document = json.loads(structured_fhir.render(report, **options))
    Bundle.model_validate(document)
    assert len({entry["fullUrl"] for entry in document["entry"]}) == len(document["entry"])
    found = {entry["fullUrl"] for entry in document["entry"]}
    assert {text for text in strings(document) if text.startswith("urn:uuid:") and len(text) == 45} - {
        fhir_resources.SYSTEMS["99RADPIPE"]
    } == found
    return [entry["resource"] for entry in document["entry"] if entry["resource"]["resourceType"] == kind]


def fhir_observation(finding: str) -> dict[str, Any]:
    place = [item.finding for item in SAMPLE.observations].index(finding)
    return resources("Observation")[place]


def components(resource: dict[str, Any], display: str) -> list[dict[str, Any]]:
    return [item for item in resource["component"] if item["code"]["text"] == display]


def test_the_diagnostic_report_holds_the_text_and_concludes_nothing_of_its_own():
    (diagnostic,) = resources("DiagnosticReport")
    assert base64.b64decode(diagnostic["presentedForm"][0]["data"]).decode() == TEXT
    assert diagnostic["status"] == "preliminary"
    assert diagnostic["code"]["coding"][0]["code"] == "18748-4"
    assert diagnostic["conclusion"] == TEXT[TEXT.index("1. Small") :].strip()
    assert len(diagnostic["result"]) == len(SAMPLE.observations)
    assert "Small right pleural effusion, costophrenic angle, unchanged." in diagnostic["text"]["div"]
    assert "conclusion" not in resources("DiagnosticReport", replace(SAMPLE, parts=()))[0]


def test_the_status_is_what_it_is_told_to_be():
    assert resources("DiagnosticReport", status="final")[0]["status"] == "final"
    assert {item["status"] for item in resources("Observation", status="final")} == {"final"}
    with pytest.raises(StructureError, match="it is one of preliminary"):
        structured_fhir.render(SAMPLE, status="signed")


@pytest.mark.parametrize(
    ("finding", "value", "interpretation"),
    [("pleural_effusion", "52101004", "POS"), ("pneumothorax", "2667000", "NEG"), ("pneumonia", "82334004", "IND")],
)
def test_an_observation_says_present_absent_or_indeterminate(finding, value, interpretation):
    observation = fhir_observation(finding)
    assert observation["valueCodeableConcept"]["coding"][0]["code"] == value
    assert observation["interpretation"][0]["coding"][0]["code"] == interpretation
    assert observation["status"] == "preliminary"


def test_an_observation_has_side_severity_change_site_sizes_device_and_quote():
    effusion = fhir_observation("pleural_effusion")
    assert components(effusion, "Laterality")[0]["valueCodeableConcept"]["coding"][0]["code"] == "24028007"
    assert components(effusion, "Severity")[0]["valueCodeableConcept"]["coding"][0]["code"] == "255507004"
    assert components(effusion, "Change since prior study")[0]["valueCodeableConcept"]["coding"][0]["code"] == "260388006"
    assert effusion["bodySite"]["coding"][0]["code"] == "RID1332"
    assert effusion["bodySite"]["text"] == "costophrenic angle (right)"
    assert components(effusion, "Quote")[0]["valueString"] == "Small right effusion, unchanged."
    first, second, span = components(fhir_observation("nodule_mass"), "Length")
    assert first["valueQuantity"] == {"value": 9.0, "unit": "mm", "system": "http://unitsofmeasure.org", "code": "mm"}
    assert second["valueQuantity"]["value"] == 7.0
    assert (span["valueRange"]["low"]["value"], span["valueRange"]["high"]["value"]) == (4.0, 6.0)
    device = components(fhir_observation("support_device"), "Device")[0]["valueCodeableConcept"]
    assert device["text"] == "central venous catheter: tip in the right atrium"
    assert fhir_observation("pneumonia")["bodySite"] == {"text": "lung base (left)"}


def test_a_study_brings_its_patient_and_identifiers_with_it_and_nothing_else_changes():
    study = sample_reading().study
    (patient,) = resources("Patient", study=study)
    (imaging,) = resources("ImagingStudy", study=study)
    assert patient["identifier"][0]["value"] == study.patient.patient_id
    assert imaging["identifier"][0]["value"] == f"urn:oid:{study.study_instance_uid}"
    (diagnostic,) = resources("DiagnosticReport", study=study)
    assert diagnostic["imagingStudy"] == [{"reference": f"urn:uuid:{imaging['id']}"}]
    for resource in (diagnostic, *resources("Observation", study=study)):
        assert resource["subject"] == {"reference": f"urn:uuid:{patient['id']}"}
        assert resource["effectiveDateTime"] == study.study_date.isoformat()
    content = structured_fhir.render(SAMPLE, study=study)
    assert structured_fhir.parse(content) == SAMPLE
    assert structured_fhir.render(SAMPLE, study=study) == content
    assert not resources("Patient")
    assert "subject" not in resources("DiagnosticReport")[0]


def test_a_study_has_the_same_patient_and_study_in_both_our_bundles():
    reading = sample_reading()
    entries = json.loads(fhir.render(reading, sample_report()))["entry"]
    for kind in ("Patient", "ImagingStudy"):
        ids = [entry["resource"]["id"] for entry in entries if entry["resource"]["resourceType"] == kind]
        assert resources(kind, study=reading.study)[0]["id"] in ids


def test_the_same_words_under_the_same_id_of_two_studies_share_no_report():
    one = sample_reading().study
    nameless = replace(one.patient, patient_id="")
    studies = [replace(one, patient=nameless), replace(one, patient=nameless, study_instance_uid="1.2.3.4")]
    for kind in ("DiagnosticReport", "Observation", "Patient", "ImagingStudy"):
        first, second = ({item["id"] for item in resources(kind, study=study)} for study in studies)
        assert not first & second


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"entry": []}', b"\xff", fhir.render(sample_reading(), sample_report())]
)
def test_what_is_no_bundle_of_ours_is_refused(content):
    with pytest.raises(StructureError):
        structured_fhir.parse(content)


# SR


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: dicom3tools, dcmtk)")
    return found


@pytest.mark.parametrize("report", [SAMPLE, EMPTY, NASTY], ids=["sample", "empty", "nasty"])
@pytest.mark.parametrize("with_header", [False, True])
def test_dciodvfy_finds_no_error(report, with_header, tmp_path: Path):
    path = tmp_path / "report.dcm"
    path.write_bytes(structured_sr.render(report, header=source_headers()[FRONTAL] if with_header else None))
    run = subprocess.run([tool("dciodvfy"), str(path)], capture_output=True, timeout=60, check=False)
    lines = (run.stdout + run.stderr).decode(errors="replace").splitlines()
    assert "ComprehensiveSR" in lines
    assert [line for line in lines if line.startswith(("Error", "Abort"))] == []
    unexpected = [line for line in lines if line.startswith("Warning") and "99RADPIPE" not in line]
    if not with_header:  # nothing is known of the patient
        unexpected = [line for line in unexpected if "DICOMDIR" not in line]
    if report is NASTY:
        unexpected = [line for line in unexpected if "Coding Scheme Designator" not in line]
    assert unexpected == []


def test_dsrdump_reads_the_whole_tree(tmp_path: Path):
    path = tmp_path / "report.dcm"
    path.write_bytes(structured_sr.render(SAMPLE))
    run = subprocess.run([tool("dsrdump"), "+Pl", str(path)], capture_output=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr.decode(errors="replace")
    assert run.stderr == b""
    shown = run.stdout.decode()
    assert shown.count('"What the report says of a finding"') == len(SAMPLE.observations)
    assert 'NUM:(,,"Length")="9.0" (mm,UCUM,"mm")' in shown
    assert 'NUM:(,,"First character, counted from 0")="269" ({characters},UCUM,"characters")' in shown


def test_highdicom_takes_the_document_and_it_is_an_unverified_draft():
    document = hd.sr.ComprehensiveSR.from_dataset(dcmread(BytesIO(structured_sr.render(SAMPLE))))
    flags = (document.CompletionFlag, document.VerificationFlag, document.PreliminaryFlag)
    assert flags == ("PARTIAL", "UNVERIFIED", "PRELIMINARY")
    assert document.ContentTemplateSequence[0].TemplateIdentifier == "2000"


def read(content: bytes) -> Dataset:
    return dcmread(BytesIO(content))


def test_without_a_study_all_uids_come_from_the_report_and_no_time_is_invented():
    first, again = read(structured_sr.render(SAMPLE)), read(structured_sr.render(SAMPLE))
    other_lexicon = read(structured_sr.render(replace(SAMPLE, lexicon="chest 2.0 ba9876543210")))
    other_text = read(structured_sr.render(replace(SAMPLE, text=TEXT + "x")))
    assert UID(first.SOPInstanceUID).is_valid
    assert first.SOPInstanceUID == again.SOPInstanceUID
    assert first.StudyInstanceUID == other_lexicon.StudyInstanceUID
    assert first.SOPInstanceUID != other_lexicon.SOPInstanceUID
    assert first.StudyInstanceUID != other_text.StudyInstanceUID
    assert (first.ContentDate, first.ContentTime) == (sr_document.NO_DATE, "000000")
    assert (first.PatientName, first.PatientID, first.StudyDate) == ("", "", "")
    assert "CurrentRequestedProcedureEvidenceSequence" not in first
    at = read(structured_sr.render(SAMPLE, at=datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)))
    assert (at.ContentDate, at.ContentTime) == ("20261123", "040506")
    assert at.SOPInstanceUID != first.SOPInstanceUID


def test_a_header_fills_patient_and_study():
    header = source_headers()[FRONTAL]
    content = structured_sr.render(SAMPLE, header=header)
    document = read(content)
    assert structured_sr.parse(content) == SAMPLE
    assert document.StudyInstanceUID == STUDY
    assert document.SeriesInstanceUID != header.SeriesInstanceUID
    assert (document.PatientName, document.PatientID) == (header.PatientName, header.PatientID)
    assert (document.ContentDate, document.AccessionNumber) == (header.StudyDate, header.AccessionNumber)


def test_text_beyond_the_headers_character_set_makes_the_document_utf_8():
    header = source_headers()[FRONTAL]
    header.SpecificCharacterSet = "ISO_IR 100"
    content = structured_sr.render(replace(SAMPLE, report_id="報告-1"), header=header)
    assert read(content).SpecificCharacterSet == "ISO_IR 192"
    assert read(content).PatientName == header.PatientName
    assert structured_sr.parse(content).report_id == "報告-1"
    assert "SpecificCharacterSet" not in read(structured_sr.render(SAMPLE))


def test_the_sections_of_the_text_read_well_in_a_viewer():
    root = read(structured_sr.render(SAMPLE))
    written = next(
        item
        for item in root.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == structured_terms.AS_WRITTEN.value
    )
    shown = {item.ConceptNameCodeSequence[0].CodeMeaning: item.TextValue for item in written.ContentSequence}
    assert shown["Indications for Procedure"] == "61-year-old man, cough."
    assert shown["Impressions"].splitlines()[0] == "1. Small right effusion, unchanged."
    assert "".join(unescape(item.TextValue) for item in written.ContentSequence) == TEXT


@pytest.mark.parametrize("content", [b"", b"DICM", bytes(200), structured_sr.render(SAMPLE)[:3000]])
def test_a_file_that_is_damaged_or_no_dicom_is_refused(content):
    with pytest.raises(StructureError):
        structured_sr.parse(content)


def test_an_sr_of_images_is_refused_as_not_ours():
    content = dicom_sr.render(sample_reading(), sample_report(), source_headers())
    with pytest.raises(StructureError, match="it has no report identifier of ours"):
        structured_sr.parse(content)


def test_our_codes_are_short_enough_and_the_standard_ones_are_in_the_standard():
    known = {(scheme, value) for scheme, names in concepts.items() for codes in names.values() for value in codes}
    tables = [held for held in vars(structured_terms).values() if isinstance(held, dict)]
    found = [held for held in vars(structured_terms).values() if isinstance(held, Code)]
    found += [code for table in tables for code in table.values() if isinstance(code, Code)]
    ours = [code for code in found if code.scheme == "99RADPIPE"]
    assert all(len(code.value) <= 16 and len(code.meaning) <= 64 for code in found)
    assert len({code.value for code in ours}) == len(set(ours))
    unknown = {(code.scheme, code.value) for code in found if code.scheme != "99RADPIPE"} - known
    assert unknown == {("SCT", "2667000"), ("UCUM", "{characters}")}  # Absent: in SNOMED CT; an annotation: UCUM's own


# Plain text

PLAIN = """\
STRUCTURED REPORT CXR-1
*** STRUCTURED BY MACHINE FROM THE TEXT AS WRITTEN, NOT VERIFIED BY A RADIOLOGIST. ***

INDICATION
  61-year-old man, cough.

TECHNIQUE
  PA and lateral chest.

COMPARISON
  Radiographs of last week.

FINDINGS
 Present
  Nodule or mass: present, left; upper lobe; 9 x 7 mm; 4 to 6 mm. "There is a 9 x 7 mm nodule in
      the left upper lobe." [269-319]
  Pleural effusion: present, small, right, unchanged; costophrenic angle. "Small right effusion,
      unchanged." [389-421]
 Uncertain
  Pneumonia: uncertain, left; lung base. "Possible pneumonia at the left base." [425-461]
      (proposed by a language model)
 Absent
  Pneumothorax: absent. "No pneumothorax." [356-372]
  Cardiomegaly: absent. "The heart is normal in size." [191-219]
 Devices
  Central venous catheter: present, right; tip in the right atrium. "Right jugular catheter, tip
      in the right atrium." [220-268]

IMPRESSION
  1. Left nodule or mass, upper lobe, 9 x 7 mm, 4 to 6 mm.
  2. Small right pleural effusion, costophrenic angle, unchanged.
  3. Central venous catheter.
  4. Uncertain: left pneumonia, lung base.

RECOMMENDATIONS
  1. Follow-up: CT, in 3 to 6 months; if the nodule persists. "CT in 3 to 6 months if the nodule
     persists." [465-508]

COMMUNICATION
  1. Told to Dr. Example, at 10:30, by telephone. "Told to Dr. Example by telephone at 10:30."
     [509-551]

DISCREPANCIES
  1. An example of something for a human to look at. "Right jugular catheter" [220-242]; "No
     pneumothorax." [356-372]

Read by radpipe with the lexicon chest 1.0 0123456789ab.
Numbers in brackets: where the words stand in the report's text, in characters from 0.
radpipe is not a medical device.
"""


def test_the_plain_report_reads_like_a_report():
    assert structured_text.render(SAMPLE).decode() == PLAIN


def test_a_report_without_findings_says_so():
    written = structured_text.render(replace(EMPTY, report_id="CXR-2", lexicon=LEXICON)).decode()
    assert "The text says nothing of any finding that the lexicon knows." in written
    assert "IMPRESSION" not in written
    absent = replace(SAMPLE, observations=tuple(x for x in SAMPLE.observations if x.status is Assertion.ABSENT))
    assert "Nothing is said to be present or uncertain." in structured_text.render(absent).decode()


def test_severity_is_said_as_one_says_it_of_that_finding():
    large = replace(SAMPLE.observations[1], status=Assertion.PRESENT, severity=Severity.LARGE)
    written = structured_text.render(replace(SAMPLE, observations=(large,))).decode()
    assert "Cardiomegaly: present, marked." in written
    assert "  1. Marked cardiomegaly." in written


def test_a_name_that_another_lexicon_uses_for_something_else_is_said_as_its_code_says():
    mass = replace(SAMPLE.observations[0], finding="mass", code=Code("INTRACRANIALMASS", "99RADPIPE", "Intracranial mass"))
    written = structured_text.render(replace(SAMPLE, observations=(mass,))).decode()
    assert "Intracranial mass: present" in written
    assert "Small right intracranial mass" in written
    assert "ulmonary" not in written


def test_a_place_that_names_its_side_is_not_given_it_twice():
    nodule = SAMPLE.observations[3]
    places = (Location("right upper lobe", laterality=Laterality.RIGHT), Location("lung base", laterality=Laterality.LEFT))
    mentions = (replace(nodule.mentions[0], locations=places),)
    both = replace(nodule, laterality=Laterality.RIGHT, mentions=mentions)
    written = structured_text.render(replace(SAMPLE, observations=(both,))).decode()
    assert "Nodule or mass: present, right; right upper lobe, left lung base; 9 x 7 mm." in written
    assert "  1. Nodule or mass, right upper lobe, left lung base, 9 x 7 mm." in written


def test_findings_stand_in_the_order_of_our_reports():
    shared = [finding for finding in REPORT_ORDER if finding in structured_text.ORDER]
    ours = [finding for finding in structured_text.ORDER if finding in REPORT_ORDER]
    assert ours == shared
    assert set(REPORT_ORDER) - set(ours) == {"abnormal"}


def test_a_long_quote_is_cut_in_the_middle_and_says_where_it_stands():
    text = "Effusion " * 100
    span = replace(SAMPLE.observations[0].span, start=0, end=len(text), quote=text)
    report = replace(SAMPLE, text=text, parts=(), observations=(replace(SAMPLE.observations[0], span=span),))
    written = " ".join(structured_text.render(report).decode().split())
    assert re.search(r'"Effusion [Efusion ]{0,120}\[\.\.\.\] [Efusion ]{0,80}" \[0-900\]', written)


def test_the_record_the_bundle_and_the_plain_report_need_nothing_heavy():
    code = (
        "import sys, radpipe.sinks.structured_json, radpipe.sinks.structured_text, radpipe.sinks.structured_fhir\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(re.findall(r"'(\w+)'", done.stdout)) & {"numpy", "pydicom", "highdicom", "fhir", "pydantic"}
