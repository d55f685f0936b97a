"""Proof that the store is whole: the trail's chain, and every document against the digest that the trail has of it."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from radpipe.errors import AuditBroken, StoreError
from radpipe.report import Report
from radpipe.store import audit, codec
from radpipe.store.reports import is_new_sign_off, new_corrections
from radpipe.store.studies import content_digest
from radpipe.store.tables import corrections, outbox, people, reported, reports, runs, sign_offs, studies


def verify(connection: Connection, expected: audit.AuditHead | None = None) -> int:
    """How many entries the trail has, all proven. Raises AuditBroken naming the first broken entry.

    Proves studies, readings, report versions with status, corrections and sign-offs, reports from elsewhere, people and
    queued deliveries.
    Not proven: what merely repeats them (findings, instances) or is no record (where files are, delivery attempts).
    """
    latest: dict[str, tuple[int, str]] = {}
    count = 0
    for entry in audit.verify_chain(connection, expected):
        count = entry.sequence
        said = audit.recorded(entry)
        if said is not None:
            latest[said.subject] = (entry.sequence, said.sha256)
    broken: list[tuple[int, str]] = []
    for subject, digest in _documents(connection):
        sequence, recorded = latest.pop(subject, (0, ""))
        if not recorded:
            broken.append((count + 1, f"the {subject} is in the store, but no entry of the audit trail records it"))
        elif recorded != digest:
            broken.append((sequence, f"the {subject} is not what entry {sequence} of the audit trail recorded"))
    broken += [
        (sequence, f"the {subject} that entry {sequence} recorded is gone") for subject, (sequence, _) in latest.items()
    ]
    if broken:
        more = f" ({len(broken) - 1} more)" if len(broken) > 1 else ""
        raise AuditBroken(min(broken)[1] + more)
    _verify_sign_off_tables(connection)
    return count


def _documents(connection: Connection) -> Iterator[tuple[str, str]]:
    """Every document that the trail should know, by the name it has there, and its digest now."""
    stream = connection.execution_options(yield_per=500)
    for key, document in stream.execute(select(studies.c.study_key, studies.c.document)):
        yield audit.subject("study", key), content_digest(document)
    for key, document in stream.execute(select(runs.c.run_key, runs.c.document)):
        yield audit.subject("reading", key), codec.sha256(document)
    versions = select(reports.c.report_key, reports.c.version, reports.c.document)
    for key, version, document in stream.execute(versions):
        yield audit.subject("report", key, {"version": version}), codec.sha256(document)
    for user, document in stream.execute(select(people.c.user, people.c.document)):
        yield audit.subject("person", user), codec.sha256(document)
    for key, document in stream.execute(select(reported.c.reported_key, reported.c.document)):
        yield audit.subject("reported", key), codec.sha256(document)
    for row in stream.execute(select(outbox)):
        keys = {"version": row.version, "destination": row.destination, "kind": row.kind}
        yield audit.subject("delivery", row.report_key, keys), codec.sha256(bytes(row.content))


def _verify_sign_off_tables(connection: Connection) -> None:
    """The status columns, corrections and sign-offs are what the (proven) report documents say."""
    kept = {(row.report_key, row.version, row.ordinal): row.document for row in connection.execute(select(corrections))}
    signed = {(row.report_key, row.version): (row.by_user, row.signed_at) for row in connection.execute(select(sign_offs))}
    # only what is not a plain first draft can have any; of 10,000 studies that saves 10,000 documents
    reviewed = select(reports.c.report_key).group_by(reports.c.report_key).having(func.max(reports.c.version) > 1)
    drafts = select(reports.c.report_key).where(reports.c.version == 1, reports.c.status != "draft")
    query = (
        select(reports)
        .where(reports.c.report_key.in_(reviewed) | reports.c.report_key.in_(drafts))
        .order_by(reports.c.report_key, reports.c.version)
    )
    before: Report | None = None
    for row in connection.execution_options(yield_per=500).execute(query):
        where = f"of the report {row.report_key} version={row.version} do not match its document"
        try:
            report = codec.decode(Report, row.document)
        except StoreError as error:
            raise AuditBroken(f"the report {row.report_key} version={row.version}: {error}") from error
        if before is not None and before.report_key != report.report_key:
            before = None
        if row.status != report.status.value:
            raise AuditBroken(f"the status columns {where}")
        found = [kept.pop((row.report_key, row.version, n), "") for n, _ in enumerate(new_corrections(before, report))]
        if found != [codec.encode(item) for item in new_corrections(before, report)]:
            raise AuditBroken(f"the corrections {where}")
        sign_off = signed.pop((row.report_key, row.version), None)
        expected = None
        if is_new_sign_off(before, report) and report.signed_by and report.signed_at:
            expected = (report.signed_by.user, report.signed_at)
        if sign_off != expected:
            raise AuditBroken(f"the sign-offs {where}")
        before = report
    for key, version in [*[(key, version) for key, version, _ in kept], *signed]:
        raise AuditBroken(f"the corrections or sign-offs of the report {key} version={version} are in no document")
