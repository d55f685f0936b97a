"""Reports that came from elsewhere: their free text, of studies that are here or not; and which reports of earlier studies
there are for a comparison, our own signed ones among them.

A report belongs to a study by its UID, or by accession number and patient. Whose it is was settled when it came in; where
its study is here too, both must agree at every use: a wrong prior is worse than none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, or_, select, update

from radpipe.errors import UnknownKey, UsageError
from radpipe.reading import Reading, SignedReport
from radpipe.report import Report, Status
from radpipe.reported import OutsideReport, ReportOrigin
from radpipe.store import audit, codec
from radpipe.store.studies import patient_key, same_patient
from radpipe.store.tables import reported, reports, runs, studies
from radpipe.study import Patient, Study, study_key

EarlierReport = OutsideReport | SignedReport


def add(connection: Connection, report: OutsideReport, *, by: str, at: datetime) -> bool:
    """Keep a report. The same words of the same study are one: what was not known of it is added; what was taken back stays
    so. Whose it is follows a newer document; what a person imports moves to another patient only once it was taken back.
    False if nothing changed. Raises UsageError where it would move."""
    row = _row(connection, report.reported_key)
    if row is None:
        _record(connection, "reported.added", report, by=by, at=at, is_new=True)
        return True
    known = codec.decode(OutsideReport, row.document)
    if report.origin is ReportOrigin.IMPORTED and not known.withdrawn and _is_anothers(known.patient, report.patient):
        key = report.reported_key
        raise UsageError(
            f"the report {key} is kept for another patient: if that was wrong, `radpipe report withdraw {key}`, import it "
            f"again, then `radpipe report withdraw {key} --undo`"
        )
    whole = replace(
        known,
        accession_number=known.accession_number or report.accession_number,
        study_date=report.study_date or known.study_date,
        patient=_whose(known.patient, report.patient),
        sop_instance_uid=known.sop_instance_uid or report.sop_instance_uid,
        written=known.written or report.written,
    )
    if whole == known:
        return False
    _record(connection, "reported.changed", whole, by=by, at=at, is_new=False)
    return True


def _is_anothers(known: Patient | None, given: Patient | None) -> bool:
    """Do two say of the same report that it is of different people? An issuer that one does not give is none of another."""
    if known is None or given is None or not known.patient_id.strip() or not given.patient_id.strip():
        return False
    issuers = {known.issuer_of_patient_id.strip(), given.issuer_of_patient_id.strip()} - {""}
    return known.patient_id.strip() != given.patient_id.strip() or len(issuers) > 1


def _whose(known: Patient | None, given: Patient | None) -> Patient | None:
    """The newer, unless it says less: the same ID without the issuer."""
    if known is None or given is None:
        return given or known
    says_less = known.issuer_of_patient_id.strip() and not given.issuer_of_patient_id.strip()
    return known if says_less and not _is_anothers(known, given) else given


def withdraw(connection: Connection, key: str, *, back: bool, by: str, at: datetime) -> bool:
    """Take a report back: it stays, and is not used (`back`: is used again). False if nothing changed. Raises UnknownKey."""
    row = _row(connection, key)
    if row is None:
        raise UnknownKey(f"no report from elsewhere has the key {key}; `radpipe run --json` names it under prior_report")
    known = codec.decode(OutsideReport, row.document)
    if known.withdrawn is not back:
        return False
    action = "reported.restored" if back else "reported.withdrawn"
    _record(connection, action, replace(known, withdrawn=not back), by=by, at=at, is_new=False)
    return True


def get(connection: Connection, key: str) -> OutsideReport | None:
    """The report of this key, or None."""
    row = _row(connection, key)
    return None if row is None else codec.decode(OutsideReport, row.document)


def earlier(connection: Connection, before: Study, studies_before: Sequence[Study]) -> tuple[EarlierReport, ...]:
    """The reports of a patient's studies before this one, the latest study first, one a study: ours if it is signed, else
    the one that was written or came in last. `studies_before`: the earlier studies as `studies.of_patient` gives them. A
    report of a study that is not here counts if it names this patient and an earlier day."""
    key = patient_key(before.patient)
    if key is None or before.study_date is None:
        return ()
    here = {study.study_key: study for study in studies_before}
    found: dict[str, tuple[tuple[str, int], OutsideReport]] = {}
    query = select(reported).where(or_(reported.c.patient_key == key, reported.c.study_key.in_(here)))
    for row in connection.execute(query):
        report = _of_an_earlier_study(connection, codec.decode(OutsideReport, row.document), before, here)
        if report is not None:
            name = report.study_instance_uid or f"accession {report.accession_number}"
            rank = (report.written or f"{row.saved_at:%Y%m%d%H%M%S}", row.sequence)
            if name not in found or found[name][0] < rank:
                found[name] = rank, report
    outside = {name: report for name, (_, report) in found.items()}
    signed = {one.reading.study.study_instance_uid: one for one in _signed(connection, list(here))}
    together: dict[str, EarlierReport] = {**outside, **signed}
    times = {study.study_instance_uid: study.study_time for study in studies_before}

    def when(name: str) -> tuple[str, str, str]:
        one = together[name]
        day = one.study_date if isinstance(one, OutsideReport) else one.reading.study.study_date
        return str(day), str(times.get(name) or ""), name

    return tuple(together[name] for name in sorted(together, key=when, reverse=True))


def _of_an_earlier_study(
    connection: Connection, report: OutsideReport, before: Study, here: dict[str, Study]
) -> OutsideReport | None:
    """The report as its study has it (UID, date), if it surely is this patient's and of an earlier study; else None."""
    if report.withdrawn or (report.patient is not None and not same_patient(report.patient, before.patient)):
        return None
    if report.study_instance_uid:
        study = here.get(study_key(report.study_instance_uid))
    else:
        of_number = [one for one in here.values() if one.accession_number == report.accession_number]
        study = of_number[0] if len(of_number) == 1 else None
    if study is not None:
        return replace(report, study_instance_uid=study.study_instance_uid, study_date=study.study_date)
    if report.patient is None or report.study_date is None or before.study_date is None:
        return None
    if report.study_date >= before.study_date or report.accession_number == before.accession_number != "":
        return None
    is_here = select(studies.c.study_key).where(studies.c.study_key == study_key(report.study_instance_uid))
    if report.study_instance_uid and connection.execute(is_here).first():
        return None  # its study is here, and is not known to be an earlier one of this patient
    return report


def _signed(connection: Connection, keys: Sequence[str]) -> list[SignedReport]:
    """The signed reports that stand for these studies."""
    # one report's newest version by its key: grouping all reports would cost a look at every one of them, for each study
    every = reports.alias()
    version = select(func.max(every.c.version)).where(every.c.report_key == runs.c.report_key).scalar_subquery()
    query = (
        select(runs.c.document.label("reading"), reports.c.document.label("report"))
        .join(studies, studies.c.newest_run_key == runs.c.run_key)
        .join(reports, (reports.c.report_key == runs.c.report_key) & (reports.c.version == version))
        .where(studies.c.study_key.in_(keys), reports.c.status != Status.DRAFT.value)
    )
    rows = connection.execute(query).all() if keys else []
    return [SignedReport(codec.decode(Reading, row.reading), codec.decode(Report, row.report)) for row in rows]


def _row(connection: Connection, key: str) -> Row[Any] | None:
    return connection.execute(select(reported).where(reported.c.reported_key == key)).one_or_none()


def _record(connection: Connection, action: str, report: OutsideReport, *, by: str, at: datetime, is_new: bool) -> None:
    key, document = report.reported_key, codec.encode(report)
    study = study_key(report.study_instance_uid) if report.study_instance_uid else None
    sequence = audit.append(
        connection,
        at=at,
        actor=by,
        action=action,
        object_key=key,
        detail=audit.detail_of("reported", codec.sha256(document), f"study={study or '-'} origin={report.origin.value}"),
    )
    values = {
        "study_key": study,
        "patient_key": patient_key(report.patient) if report.patient else None,
        "document": document,
        "sequence": sequence,
        "saved_at": at,
    }
    if is_new:
        connection.execute(insert(reported).values(reported_key=key, **values))
    else:
        connection.execute(update(reported).where(reported.c.reported_key == key).values(**values))
