"""A report as plain text, UTF-8: what a person reads in a terminal, and the narrative inside FHIR.

Patient and study in two lines, the banner until it is signed, then the sections with a sentence a line.
"""

from __future__ import annotations

import textwrap
from datetime import datetime

from radpipe.reading import Reading
from radpipe.report import Report, Status
from radpipe.sinks.identifiers import plain_name
from radpipe.sinks.stated import banner

suffix = ".txt"

_WIDTH = 96


def render(reading: Reading, report: Report) -> bytes:
    """The whole report."""
    study, patient = reading.study, reading.study.patient
    lines = ["CHEST RADIOGRAPH REPORT" if study.body_part == "CHEST" else "IMAGING REPORT"]
    if warning := banner(report):
        lines += [*textwrap.wrap(f"*** {warning} ***", _WIDTH)]
    birth = patient.patient_birth_date.isoformat() if patient.patient_birth_date else "birth date unknown"
    lines += ["", f"Patient: {plain_name(patient.patient_name) or 'name unknown'}, ID {patient.patient_id or 'unknown'}, "
              f"{birth}, {patient.patient_sex or 'sex unknown'}"]  # fmt: skip
    when = study.study_date.isoformat() if study.study_date else "date unknown"
    lines += [
        f"Study:   {study.study_description or 'no description'}, {when}, accession {study.accession_number or 'none'}"
    ]
    lines += [f"Report:  {report.report_key}, version {report.version}, {report.status.value}"]
    lines += ["", narrative(report), ""]
    lines += textwrap.wrap(signature(report), _WIDTH)
    if reading.model:
        model = reading.model
        lines += textwrap.wrap(
            f"Drafted by {model.name} {model.version} (sha256 {model.sha256[:12]}, {model.provider}).", _WIDTH
        )
    lines += ["radpipe is not a medical device."]
    return (printable("\n".join(lines)) + "\n").encode()


def printable(text: str) -> str:
    """Without control characters other than line ends: a name or an indication must not steer a terminal or break XML."""
    return "".join(letter if letter == "\n" or letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def narrative(report: Report) -> str:
    """The sections alone: headings in capitals, a sentence a paragraph."""
    parts = []
    for section in report.sections:
        sentences = "\n".join(
            textwrap.fill(sentence.text, _WIDTH, initial_indent="  ", subsequent_indent="    ")
            for sentence in section.sentences
        )
        parts.append(f"{section.name.value.upper()}\n{sentences}")
    return "\n\n".join(parts)


def moment(at: datetime) -> str:
    """A time as a reader expects it: "2026-01-31 08:41 UTC", with the offset of other zones."""
    zone = {"+0000": " UTC", "": ""}.get(at.strftime("%z"), f" {at.strftime('%z')}")
    return f"{at.strftime('%Y-%m-%d %H:%M')}{zone}"


def signature(report: Report) -> str:
    """Who signed and when, or that nobody has."""
    if report.status is Status.DRAFT or report.signed_by is None:
        return "Not signed."
    at = f", {moment(report.signed_at)}" if report.signed_at else ""
    organisation = f", {report.signed_by.organisation}" if report.signed_by.organisation else ""
    verb = "Addendum signed" if report.status is Status.AMENDED else "Signed"
    return f"{verb} by {plain_name(report.signed_by.name)}{organisation}{at}."
