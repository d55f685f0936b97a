"""A report as an HL7 v2.5.1 message ORU^R01^ORU_R01, UTF-8, segments ended by CR (HL7 v2.5.1 chapters 2 and 7).

MSH  message; MSH-18 declares UNICODE UTF-8
PID  patient;  PV1 nothing known but that it must stand
OBR  the study; OBR-25 P preliminary, F final, C corrected (amended)
OBX  1     the study's UID (HD, as IHE Results Distribution RAD-128 sends it)
OBX  ...   one TX a sentence, under its section's LOINC code; OBX-4 groups section and sentence
OBX  ...   one CWE a finding: Present, Absent or Indeterminate, its probability in OBX-9, the model in OBX-17 and
           -18; another for its side, under the same OBX-4
NTE        the banner, after OBR, until it is signed
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from radpipe import codes as terms
from radpipe.codes import Code
from radpipe.finding import Decision
from radpipe.reading import Reading
from radpipe.report import Report, Status
from radpipe.sinks.identifiers import name_parts, person_name, stable_uuid, timestamp
from radpipe.sinks.stated import Stated, as_of, banner, stated_findings
from radpipe.sinks.terms import HEADINGS, LATERALITY, PRESENCE

suffix = ".hl7"

STATUS = {Status.DRAFT: "P", Status.FINAL: "F", Status.AMENDED: "C"}
"""OBR-25 and OBX-11 (tables 0123 and 0085)."""

_PROCEDURE = Code("18748-4", "LN", "Diagnostic imaging study")
_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def escape(text: str) -> str:
    """A value with HL7's delimiters escaped (chapter 2.7) and line ends as .br; other control characters are dropped."""
    escaped = "".join(_ESCAPES.get(letter, letter) for letter in re.sub(r"\r\n|\r", "\n", text))
    return re.sub(r"[\x00-\x1f\x7f]", "", escaped.replace("\n", "\\.br\\"))


def render(reading: Reading, report: Report) -> bytes:
    """The message, without the MLLP frame."""
    study, status = reading.study, STATUS[report.status]
    at = as_of(reading, report) or _EPOCH
    observed = study.study_date.strftime("%Y%m%d") if study.study_date else ""
    if observed and study.study_time:
        observed += study.study_time.strftime("%H%M%S")
    filler = study.accession_number or report.report_key
    signer = _xcn(report) if report.signed_by and report.status is not Status.DRAFT else ""
    birth = study.patient.patient_birth_date
    segments = [
        _segment("MSH", {2: "^~\\&", 3: "RADPIPE", 4: escape(study.institution_name), 7: timestamp(at), 9: "ORU^R01^ORU_R01",
                         10: _control_id(report), 11: "P", 12: "2.5.1", 18: "UNICODE UTF-8"}),
        _segment("PID", {1: "1", 3: _patient_id(reading), 5: _pn(study.patient.patient_name),
                         7: birth.strftime("%Y%m%d") if birth else "",
                         8: escape(study.patient.patient_sex)}),
        _segment("PV1", {1: "1", 2: "N"}),
        _segment("OBR", {1: "1", 3: escape(filler), 4: _cwe(_PROCEDURE), 7: observed,
                         16: _pn_person(study.referring_physician_name),
                         18: escape(study.accession_number), 22: timestamp(at), 24: "RAD", 25: status,
                         31: f"^{escape(study.reason_for_study)}" if study.reason_for_study else "",
                 32: signer.replace("^", "&")}),  # NDL: its first component is the name, in subcomponents
    ]  # fmt: skip
    if warning := banner(report):
        segments.append(_segment("NTE", {1: "1", 2: "L", 3: escape(warning)}))
    observations = [{2: "HD", 3: "113014^DICOM Study^DCM", 5: escape(study.study_instance_uid)}]
    for group, section in enumerate(report.sections, start=1):
        for number, sentence in enumerate(section.sentences, start=1):
            observations.append({2: "TX", 3: _cwe(HEADINGS[section.name]), 4: f"{group}.{number}", 5: escape(sentence.text)})
    for stated in stated_findings(reading, report):
        observations += _finding(stated, reading)
    for set_id, observation in enumerate(observations, start=1):
        segments.append(_segment("OBX", {**observation, 1: str(set_id), 11: status, 14: observed, 16: signer}))
    return "".join(f"{segment}\r" for segment in segments).encode()


def _finding(stated: Stated, reading: Reading) -> list[dict[int, str]]:
    """Presence and, where it is known, the side; one OBX-4 holds the two together."""
    finding = stated.finding
    group = f"F.{finding.finding}"[:20]
    fields = {
        2: "CWE",
        3: _cwe(finding.code),
        4: group,
        5: _cwe(PRESENCE[finding.decision]),
        8: {Decision.PRESENT: "A", Decision.ABSENT: "N"}.get(finding.decision, ""),
        9: f"{finding.probability:.4f}",
    }
    if reading.model:
        fields[17] = _cwe(Code("model", "99RADPIPE", f"{reading.model.name} {reading.model.version}"))
        fields[18] = f"{reading.model.sha256[:12]}^{escape(reading.model.name)}"
        fields[19] = timestamp(reading.read_at) if reading.read_at else ""
    if finding.laterality is None:
        return [fields]
    return [fields, {2: "CWE", 3: _cwe(LATERALITY), 4: group, 5: _cwe(terms.SIDES[finding.laterality])}]


def _segment(name: str, fields: dict[int, str]) -> str:
    """Fields by their number, none empty at the end; MSH-1 is the delimiter itself, so MSH's are written from 2 on."""
    first = 2 if name == "MSH" else 1
    return "|".join([name, *(fields.get(number, "") for number in range(first, max(fields) + 1))]).rstrip("|")


def _cwe(code: Code) -> str:
    return f"{escape(code.value)}^{escape(code.meaning)}^{escape(code.scheme)}"


def _patient_id(reading: Reading) -> str:
    patient = reading.study.patient
    return f"{escape(patient.patient_id)}^^^{escape(patient.issuer_of_patient_id)}^PI" if patient.patient_id else ""


def _pn(name: str) -> str:
    """A DICOM PN as XPN: the components' order differs (DICOM prefix, suffix; HL7 suffix, prefix)."""
    family, given, middle, prefix, suffix = (escape(part) for part in name_parts(name))
    return "^".join((family, given, middle, suffix, prefix)).rstrip("^")


def _pn_person(name: str) -> str:
    return f"^{_pn(name)}" if name else ""


def _xcn(report: Report) -> str:
    assert report.signed_by is not None
    return f"{escape(report.signed_by.user)}^{_pn(person_name(report.signed_by.name))}"


def _control_id(report: Report) -> str:
    """MSH-10, at most 20 characters: the same version of a report has the same, so that a receiver sees a repetition."""
    return stable_uuid("hl7", report.report_key, report.version).hex[:20]
