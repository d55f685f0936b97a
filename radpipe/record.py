"""Readings as the JSON that users rely on: one object a study, fields as docs/contract.md names them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radpipe.codes import Code
from radpipe.finding import Change, Evidence, Finding, Prior, Priority, Registration
from radpipe.reading import Reading
from radpipe.report import Status
from radpipe.reported import PriorReport
from radpipe.study import SetAside


def run_record(
    reading: Reading, assessed: Mapping[str, bool], *, report_key: str | None = None, status: Status = Status.DRAFT
) -> dict[str, Any]:
    """What `radpipe run --json` prints of one study. `assessed`: which labels the card lets a report state; the others
    stand apart, with their probability only."""
    study = reading.study
    stated = [finding for finding in reading.findings if assessed.get(finding.finding, True)]
    unstated = [finding for finding in reading.findings if not assessed.get(finding.finding, True)]
    draft = reading.report
    return {
        "study_key": study.study_key,
        "study_instance_uid": study.study_instance_uid,
        "accession_number": study.accession_number,
        "study_date": study.study_date.isoformat() if study.study_date else None,
        "modality": list(study.modalities),
        "body_part": study.body_part,
        "instances": study.instances,
        "status": "read" if reading.is_read else "not_read",
        "not_read_reason": reading.not_read_reason,
        "priority": priority_record(reading.priority),
        "findings": [finding_record(finding) for finding in stated],
        "not_assessed": [{"finding": f.finding, "probability": _rounded(f.probability)} for f in unstated],
        "prior": prior_record(reading.prior),
        "why_no_prior": reading.why_no_prior,
        "prior_report": prior_report_record(reading.prior_report),
        "changes": [change_record(change) for change in reading.changes],
        "report_key": report_key or (draft.report_key if draft else None),
        "report_status": status.value if draft else None,
        "model": None
        if reading.model is None
        else {
            "name": reading.model.name,
            "version": reading.model.version,
            "sha256": reading.model.sha256,
            "backend": reading.model.backend,
            "provider": reading.model.provider,
        },
        "images": [
            {"sop_instance_uid": choice.sop_instance_uid, "chosen": choice.chosen, "why": choice.why}
            for choice in reading.choices
        ],
        "set_aside": [set_aside_record(item) for item in study.set_aside],
        "seconds": dict(reading.seconds),
        "preliminary": True if draft is None else status is Status.DRAFT,
    }


def finding_record(finding: Finding) -> dict[str, Any]:
    """One finding with its evidence."""
    return {
        "finding": finding.finding,
        "code": code_record(finding.code),
        "decision": finding.decision.value,
        "probability": _rounded(finding.probability),
        "threshold": _rounded(finding.threshold),
        "rule_out": _rounded(finding.rule_out),
        "laterality": finding.laterality.value if finding.laterality else None,
        "zone": finding.zone,
        "evidence": [evidence_record(item) for item in finding.evidence],
    }


def evidence_record(item: Evidence) -> dict[str, Any]:
    """What a finding rests on."""
    measurement = item.measurement
    return {
        "sop_instance_uid": item.sop_instance_uid,
        "frame": item.frame,
        "box_px": list(item.box_px) if item.box_px else None,
        "measurement": None
        if measurement is None
        else {
            "name": measurement.name,
            "value": measurement.value,
            "unit": measurement.unit,
            "basis": measurement.basis,
        },
    }


def change_record(change: Change) -> dict[str, Any]:
    """One change against the prior."""
    return {
        "finding": change.finding,
        "change": change.change.value,
        "score": _rounded(change.score),
        "current_sop_instance_uid": change.current_sop_instance_uid,
        "prior_sop_instance_uid": change.prior_sop_instance_uid,
        "current_probability": _maybe_rounded(change.current_probability),
        "prior_probability": _maybe_rounded(change.prior_probability),
        "why": change.why,
    }


def prior_record(prior: Prior | None) -> dict[str, Any] | None:
    """The study compared with, and why."""
    if prior is None:
        return None
    return {
        "study_instance_uid": prior.study_instance_uid,
        "study_date": prior.study_date.isoformat() if prior.study_date else None,
        "sop_instance_uid": prior.sop_instance_uid,
        "why": prior.why,
        "registration": registration_record(prior.registration),
    }


def prior_report_record(prior_report: PriorReport | None) -> dict[str, Any] | None:
    """The report of an earlier study, and what it says of each finding, verbatim."""
    if prior_report is None:
        return None
    return {
        "study_instance_uid": prior_report.study_instance_uid or None,
        "study_date": prior_report.study_date.isoformat(),
        "report_key": prior_report.report_key,
        "source": prior_report.source,
        "findings": [
            {
                "finding": said.finding,
                "status": said.status.value,
                "laterality": said.laterality.value if said.laterality else None,
                "quote": said.quote,
                "section": said.section,
                "start": said.start,
                "end": said.end,
            }
            for said in prior_report.statements
        ],
    }


def registration_record(registration: Registration | None) -> dict[str, Any] | None:
    """How well the prior lies on the current image."""
    if registration is None:
        return None
    return {
        "comparable": registration.comparable,
        "correlation": _rounded(registration.correlation),
        "why": registration.why,
        "transform": [_rounded(value) for value in registration.transform],
    }


def priority_record(priority: Priority) -> dict[str, Any]:
    """Level, score and reasons."""
    return {"level": priority.level.value, "score": _rounded(priority.score), "reasons": list(priority.reasons)}


def set_aside_record(item: SetAside) -> dict[str, Any]:
    """A file and why it was not used."""
    return {"file": item.file, "reason": item.reason}


def code_record(code: Code) -> dict[str, str]:
    """A coded concept."""
    return {"value": code.value, "scheme": code.scheme, "meaning": code.meaning}


def _rounded(value: float) -> float:
    """Four places: more is noise between machines."""
    return round(value, 4)


def _maybe_rounded(value: float | None) -> float | None:
    return None if value is None else _rounded(value)
