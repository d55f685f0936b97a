"""Readings and reports: what was said of a study, and every version of its way to the signature.

The newest run of a study is its reading; the draft of the run before is superseded and can no longer be changed. What
is signed is never touched: it stays final, is amended by addendum only, and the newer reading brings a new report.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from radpipe.errors import AlreadySigned, StoreError, UnknownKey
from radpipe.finding import Level
from radpipe.reading import Reading
from radpipe.report import Correction, Person, Report, SectionName, Status
from radpipe.store import audit, codec, studies
from radpipe.store.tables import corrections, findings, reports, runs, sign_offs
from radpipe.store.tables import studies as study_rows
from radpipe.study import study_key


@dataclass(frozen=True, slots=True)
class WorklistRow:
    """What ordering a worklist needs of a study's newest reading, without its documents."""

    study_key: str
    run_key: str
    arrived_at: datetime
    level: Level
    score: float
    cap_s: int
    is_read: bool
    report_key: str | None
    report_version: int | None
    report_status: Status | None


def reading(connection: Connection, run_key: str) -> Reading | None:
    """The reading of this run, or None."""
    document = connection.execute(select(runs.c.document).where(runs.c.run_key == run_key)).scalar_one_or_none()
    return None if document is None else codec.decode(Reading, document)


def newest_readings(connection: Connection) -> list[tuple[str, datetime]]:
    """The newest reading's document of every study and when the study arrived, in order of arrival: one query."""
    query = (
        select(runs.c.document, study_rows.c.arrived_at)
        .join(study_rows, study_rows.c.newest_run_key == runs.c.run_key)
        .order_by(study_rows.c.arrival)
    )
    return [(row.document, row.arrived_at) for row in connection.execute(query)]


def worklist_rows(connection: Connection) -> tuple[WorklistRow, ...]:
    """One row a study, in order of arrival: one query, no documents."""
    newest = (
        select(reports.c.report_key, func.max(reports.c.version).label("version")).group_by(reports.c.report_key).subquery()
    )
    query = (
        select(
            runs.c.study_key,
            runs.c.run_key,
            study_rows.c.arrived_at,
            runs.c.level,
            runs.c.score,
            runs.c.cap_s,
            runs.c.is_read,
            reports.c.report_key,
            reports.c.version,
            reports.c.status,
        )
        .join(study_rows, study_rows.c.newest_run_key == runs.c.run_key)
        .outerjoin(newest, newest.c.report_key == runs.c.report_key)
        .outerjoin(reports, (reports.c.report_key == newest.c.report_key) & (reports.c.version == newest.c.version))
        .order_by(study_rows.c.arrival)
    )
    return tuple(
        WorklistRow(
            row.study_key,
            row.run_key,
            row.arrived_at,
            Level(row.level),
            row.score,
            row.cap_s,
            row.is_read,
            row.report_key,
            row.version,
            Status(row.status) if row.status else None,
        )
        for row in connection.execute(query)
    )


def newest_reading(connection: Connection, key: str) -> Reading | None:
    """The reading of the study's newest run, or None."""
    query = (
        select(runs.c.document)
        .join(study_rows, study_rows.c.newest_run_key == runs.c.run_key)
        .where(study_rows.c.study_key == key)
    )
    document = connection.execute(query).scalar_one_or_none()
    return None if document is None else codec.decode(Reading, document)


def find(connection: Connection, key: str) -> str:
    """The report key that `key` means: a report key or a study key (its newest report), whole or the beginning.

    Raises UnknownKey if it means none or several.
    """
    of_study = select(study_rows.c.study_key, runs.c.report_key).join(runs, runs.c.run_key == study_rows.c.newest_run_key)
    for report_match, study_match in (
        (reports.c.report_key == key, study_rows.c.study_key == key),
        (
            reports.c.report_key.startswith(key, autoescape=True),
            study_rows.c.study_key.startswith(key, autoescape=True),
        ),
    ):
        found = set(connection.execute(select(reports.c.report_key).where(report_match).limit(2)).scalars())
        of_studies = connection.execute(of_study.where(study_match).limit(2)).all()
        found |= {row.report_key for row in of_studies if row.report_key}
        if len(found) == 1:
            return str(found.pop())
        if found:
            raise UnknownKey(f"{key!r} is the beginning of several keys; write more of it")
        if of_studies:
            raise UnknownKey(f"the study {of_studies[0].study_key} was not read, so it has no report")
    raise UnknownKey(f"no report or study has the key {key!r}; `radpipe report list` shows the keys there are")


def save_reading(connection: Connection, reading: Reading, at: datetime) -> bool:
    """Keep a run, its findings and its draft. False if that changed nothing.

    It becomes the study's reading, also again when an older run's input came back; unless a person has corrected or signed
    the report of the reading that stands: that one stays, and the new one is held beside it.
    """
    key = reading.study.study_key
    if connection.execute(select(runs.c.run_key).where(runs.c.run_key == reading.run_key)).first():
        return _stand_again(connection, key, reading.run_key, at)
    if connection.execute(select(study_rows.c.study_key).where(study_rows.c.study_key == key)).first() is None:
        studies.add(connection, reading.study, at)
    document = codec.encode(reading)
    sequence = audit.append(
        connection,
        at=at,
        actor=audit.MACHINE,
        action="reading.saved",
        object_key=reading.run_key,
        detail=audit.detail_of("reading", codec.sha256(document), f"study={key} level={reading.priority.level.value}"),
    )
    connection.execute(insert(runs).values(**_run_columns(reading), sequence=sequence, document=document, saved_at=at))
    rows = [
        {
            "run_key": reading.run_key,
            "ordinal": ordinal,
            "finding": finding.finding,
            "decision": finding.decision.value,
            "probability": float(finding.probability),
            "threshold": float(finding.threshold),
            "rule_out": float(finding.rule_out),
            "laterality": finding.laterality.value if finding.laterality else None,
        }
        for ordinal, finding in enumerate(reading.findings)
    ]
    if rows:
        connection.execute(insert(findings), rows)
    standing = standing_report(connection, key)
    if standing is not None:
        _hold(connection, key, reading.run_key, standing, at)
    else:
        _supersede(connection, key, reading.run_key, at)
    if reading.report is not None:
        _first_version(connection, reading, reading.report, at)
    return True


def standing_report(connection: Connection, key: str) -> str | None:
    """The report of the study's reading, if a person has corrected or signed it: nothing automatic replaces it."""
    query = (
        select(runs.c.report_key)
        .join(study_rows, study_rows.c.newest_run_key == runs.c.run_key)
        .where(study_rows.c.study_key == key)
    )
    report_key = connection.execute(query).scalar_one_or_none()
    return report_key if report_key and report_row(connection, report_key).version > 1 else None


def _stand_again(connection: Connection, key: str, run_key: str, at: datetime) -> bool:
    """Make a run that was superseded the study's reading once more. False if it is, or if a person's report stands."""
    newest = connection.execute(select(study_rows.c.newest_run_key).where(study_rows.c.study_key == key)).scalar()
    if newest == run_key or standing_report(connection, key) is not None:
        return False
    connection.execute(update(runs).where(runs.c.run_key == run_key).values(superseded_by=None))
    _supersede(connection, key, run_key, at)
    audit.append(connection, at=at, actor=audit.MACHINE, action="reading.again", object_key=run_key, detail=f"study={key}")
    return True


def _hold(connection: Connection, key: str, run_key: str, standing: str, at: datetime) -> None:
    """Keep a new run beside the reading on which a person has worked."""
    newest = connection.execute(select(study_rows.c.newest_run_key).where(study_rows.c.study_key == key)).scalar()
    connection.execute(update(runs).where(runs.c.run_key == run_key).values(superseded_by=newest))
    audit.append(
        connection,
        at=at,
        actor=audit.MACHINE,
        action="reading.held",
        object_key=run_key,
        detail=f"study={key} report={standing}",
    )


def report_row(connection: Connection, report_key: str) -> Row[Any]:
    """The newest version's row. Raises UnknownKey."""
    query = select(reports).where(reports.c.report_key == report_key).order_by(reports.c.version.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UnknownKey(f"no report has the key {report_key}; `radpipe report list` shows the keys there are")
    return row


def save_report(connection: Connection, report: Report, *, action: str, by: Person, detail: str, at: datetime) -> bool:
    """A new version. False if just this version is there already. Raises StoreError, UnknownKey, AlreadySigned."""
    row = report_row(connection, report.report_key)
    document = codec.encode(report)
    if report.version == row.version and document == row.document:
        return False
    if report.version != row.version + 1:
        raise StoreError(
            f"someone changed the report {report.report_key} "
            f"(it is at version {row.version}, not {report.version - 1}); look again"
        )
    before = codec.decode(Report, row.document)
    _refuse_what_may_not_be(connection, before, report)
    _insert_version(connection, report, document, before, action=action, by=by.user, detail=detail, at=at)
    return True


def new_corrections(before: Report | None, report: Report) -> tuple[Correction, ...]:
    """What this version adds to the corrections of the version before."""
    known = before.corrections if before else ()
    return tuple(item for item in report.corrections if item not in known)


def is_new_sign_off(before: Report | None, report: Report) -> bool:
    """True if this version was signed, anew or for the first time."""
    if report.signed_by is None:
        return False
    return before is None or (before.signed_by, before.signed_at) != (report.signed_by, report.signed_at)


def states(connection: Connection) -> list[tuple[str, int, str, str | None]]:
    """Of every report: key, newest version, its status, and the run that superseded it (None for current ones)."""
    newest = (
        select(reports.c.report_key, func.max(reports.c.version).label("version")).group_by(reports.c.report_key).subquery()
    )
    query = (
        select(reports.c.report_key, reports.c.version, reports.c.status, runs.c.superseded_by)
        .join(newest, (newest.c.report_key == reports.c.report_key) & (newest.c.version == reports.c.version))
        .join(runs, runs.c.run_key == reports.c.run_key)
        .order_by(runs.c.sequence)
    )
    return [(row.report_key, row.version, row.status, row.superseded_by) for row in connection.execute(query)]


def _run_columns(reading: Reading) -> dict[str, Any]:
    model, prior = reading.model, reading.prior
    return {
        "run_key": reading.run_key,
        "study_key": reading.study.study_key,
        "level": reading.priority.level.value,
        "score": float(reading.priority.score),
        "cap_s": reading.priority.cap_s,
        "is_read": reading.is_read,
        "prior_study_key": study_key(prior.study_instance_uid) if prior else None,
        "model_name": model.name if model else None,
        "model_version": model.version if model else None,
        "model_sha256": model.sha256 if model else None,
        "report_key": reading.report.report_key if reading.report else None,
        "superseded_by": None,
    }


def _supersede(connection: Connection, key: str, run_key: str, at: datetime) -> None:
    """Make this run the study's reading; say in the trail which unsigned draft it takes the place of."""
    older = (runs.c.study_key == key) & (runs.c.run_key != run_key) & runs.c.superseded_by.is_(None)
    for row in connection.execute(select(runs.c.run_key, runs.c.report_key).where(older)).all():
        connection.execute(update(runs).where(runs.c.run_key == row.run_key).values(superseded_by=run_key))
        if row.report_key and report_row(connection, row.report_key).status == Status.DRAFT.value:
            audit.append(
                connection,
                at=at,
                actor=audit.MACHINE,
                action="report.superseded",
                object_key=row.report_key,
                detail=f"run={run_key}",
            )
    connection.execute(update(study_rows).where(study_rows.c.study_key == key).values(newest_run_key=run_key))


def _first_version(connection: Connection, reading: Reading, report: Report, at: datetime) -> None:
    if report.run_key != reading.run_key or report.study_instance_uid != reading.study.study_instance_uid:
        raise StoreError(f"the draft {report.report_key} belongs to another run than {reading.run_key}")
    if report.version != 1 or report.status is not Status.DRAFT:
        raise StoreError(f"the report {report.report_key} of a new reading must be a draft in version 1")
    if connection.execute(select(reports.c.version).where(reports.c.report_key == report.report_key)).first():
        raise StoreError(f"the report key {report.report_key} belongs to an earlier run; a new run needs a new one")
    _insert_version(
        connection,
        report,
        codec.encode(report),
        None,
        action="report.drafted",
        by=audit.MACHINE,
        detail=f"study={reading.study.study_key}",
        at=at,
    )


def _refuse_what_may_not_be(connection: Connection, before: Report, report: Report) -> None:
    """The last line of defence behind `radpipe.review`."""
    key = report.report_key
    if (report.study_instance_uid, report.run_key) != (before.study_instance_uid, before.run_key):
        raise StoreError(f"the report {key} belongs to another study or run; a report never moves")
    if before.status is not Status.DRAFT:
        if report.status is not Status.AMENDED or _signed_part(before) != _signed_part(report):
            raise AlreadySigned(f"the report {key} is {before.status.value}; write an addendum instead")
        return
    superseded_by = connection.execute(select(runs.c.superseded_by).where(runs.c.run_key == before.run_key)).scalar()
    if superseded_by:
        raise StoreError(f"the draft {key} was superseded by a newer reading of its study; look at that one")


def _signed_part(report: Report) -> object:
    sections = tuple(section for section in report.sections if section.name is not SectionName.ADDENDUM)
    return sections, report.corrections


def _insert_version(
    connection: Connection,
    report: Report,
    document: str,
    before: Report | None,
    *,
    action: str,
    by: str,
    detail: str,
    at: datetime,
) -> None:
    key, version = report.report_key, report.version
    audit.append(
        connection,
        at=at,
        actor=by,
        action=action,
        object_key=key,
        detail=audit.detail_of("report", codec.sha256(document), detail, parts={"version": version}),
    )
    connection.execute(
        insert(reports).values(
            report_key=key,
            version=version,
            study_key=study_key(report.study_instance_uid),
            run_key=report.run_key,
            status=report.status.value,
            action=action,
            saved_by=by,
            saved_at=at,
            document=document,
        )
    )
    rows = [
        {
            "report_key": key,
            "version": version,
            "ordinal": ordinal,
            "document": codec.encode(item),
            "finding": item.finding,
            "verdict": item.verdict.value,
            "by_user": item.by.user,
            "at": item.at,
        }
        for ordinal, item in enumerate(new_corrections(before, report))
    ]
    if rows:
        connection.execute(insert(corrections), rows)
    if is_new_sign_off(before, report) and report.signed_by and report.signed_at:
        connection.execute(
            insert(sign_offs).values(
                report_key=key, version=version, by_user=report.signed_by.user, signed_at=report.signed_at
            )
        )
