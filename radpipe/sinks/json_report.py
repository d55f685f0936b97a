"""A report as JSON, UTF-8: every sentence with all its evidence, the findings as the model said and as the report states
them, the corrections, the signature. Keys stand in a fixed order; nothing is left out of the values.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from radpipe.reading import Reading
from radpipe.report import Report
from radpipe.sinks.stated import banner, is_preliminary, stated_findings

suffix = ".json"

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def render(reading: Reading, report: Report) -> bytes:
    """One JSON object, indented, with a newline at its end."""
    return (json.dumps(document(reading, report), ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def document(reading: Reading, report: Report) -> dict[str, Json]:
    """The object before it is written: plain dicts, lists, strings and numbers."""
    study = reading.study
    stated = {item.finding.finding: item.finding.decision.value for item in stated_findings(reading, report)}
    return {
        "report_key": report.report_key,
        "version": report.version,
        "status": report.status.value,
        "preliminary": is_preliminary(report),
        "banner": banner(report) or None,
        "run_key": report.run_key,
        "study": {
            "study_key": study.study_key,
            "study_instance_uid": study.study_instance_uid,
            "accession_number": study.accession_number,
            "study_date": plain(study.study_date),
            "study_description": study.study_description,
            "modality": plain(study.modalities),
            "body_part": study.body_part,
            "patient": plain(study.patient),
        },
        "sections": plain(report.sections),
        "findings": [
            {**_object(plain(finding)), "stated": stated.get(finding.finding)} for finding in reading.findings
        ],
        "prior": plain(reading.prior),
        "why_no_prior": reading.why_no_prior,
        "prior_report": plain(reading.prior_report),
        "changes": plain(reading.changes),
        "priority": plain(reading.priority),
        "not_read_reason": reading.not_read_reason,
        "images": plain(reading.choices),
        "set_aside": plain(study.set_aside),
        "corrections": plain(report.corrections),
        "signed_by": plain(report.signed_by),
        "signed_at": plain(report.signed_at),
        "model": plain(reading.model),
        "read_at": plain(reading.read_at),
    }  # fmt: skip


def plain(value: object) -> Json:
    """Any of our values as JSON: a dataclass as an object in the order of its fields, dates in ISO 8601."""
    match value:
        case None | bool() | int() | float():
            return value
        case Enum():
            return str(value.value)
        case str():
            return value
        case Path():
            return value.as_posix()
        case datetime() | date() | time():
            return value.isoformat()
        case tuple() | list():
            return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form here; add one to json_report.plain")


def _object(value: Json) -> dict[str, Json]:
    assert isinstance(value, dict)  # a dataclass always gives an object
    return value
