"""Whoever changes the trail, or what it records, is found out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from radpipe import review
from radpipe.errors import AuditBroken, UsageError
from radpipe.store import AuditHead, Delivery, SqlStore, open_store
from radpipe.store.audit import START, digest_of
from tests.store_cases import RADIOLOGIST, RESIDENT, key, reading, sqlite_url, study, ticking

AT = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)
ENTRIES = 12


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    """Two people, three studies, two of them read, one report corrected, signed, queued and delivered."""
    with open_store(sqlite_url(tmp_path), clock=ticking()) as opened:
        opened.add_person(RADIOLOGIST)
        opened.add_person(RESIDENT, by=RADIOLOGIST)
        for number in (1, 2, 3):
            opened.add_study(study(number))
        opened.save_reading(reading(1))
        opened.save_reading(reading(2))
        draft = reading(1).report
        assert draft is not None
        corrected = review.accept(draft, "pleural_effusion", RESIDENT, AT)
        opened.save_report(corrected, action="accept", by=RESIDENT, detail="pleural_effusion")
        signed = review.sign(corrected, RADIOLOGIST, AT)
        deliveries = [Delivery("folder", "sr", "1.sr.dcm", b"an SR")]
        opened.save_report(signed, action="sign", by=RADIOLOGIST, deliveries=deliveries)
        yield opened


def tamper(tmp_path: Path, *statements: str) -> None:
    connection = sqlite3.connect(tmp_path / "radpipe.db")
    with connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement
    connection.close()


def test_an_untouched_trail_is_whole(store: SqlStore) -> None:
    assert store.verify() == ENTRIES
    entries = list(store.audit())
    assert [entry.sequence for entry in entries] == list(range(1, ENTRIES + 1))
    assert entries[0].previous_digest == START
    assert all(entry.digest == digest_of(entry) and entry.at.tzinfo is UTC for entry in entries)
    assert store.head() == AuditHead(ENTRIES, entries[-1].digest)


def test_an_empty_trail_is_whole(tmp_path: Path) -> None:
    with open_store(sqlite_url(tmp_path)) as store:
        assert store.verify() == 0
        assert store.verify(AuditHead(0, START)) == 0
        assert list(store.audit()) == []


def test_the_trail_is_read_over_its_pages(tmp_path: Path) -> None:
    with open_store(sqlite_url(tmp_path), clock=ticking()) as store:
        with store._database.write() as connection:
            from radpipe.store import audit

            for number in range(2300):
                audit.append(connection, at=AT, actor="x", action="y", object_key=str(number), detail="")
        assert [entry.object_key for entry in store.audit()] == [str(number) for number in range(2300)]
        assert store.verify() == 2300


def test_the_trail_says_who_did_what_and_nothing_of_the_patient(store: SqlStore) -> None:
    entries = list(store.audit())
    said = [(entry.actor, entry.action) for entry in entries]
    assert said[:3] == [("radpipe", "person.added"), ("mlindqvist", "person.added"), ("radpipe", "study.added")]
    assert said[-3:] == [("jsilva", "accept"), ("mlindqvist", "sign"), ("mlindqvist", "delivery.queued")]
    assert entries[2].object_key == key(1)
    words = " ".join(f"{entry.actor} {entry.action} {entry.object_key} {entry.detail}" for entry in entries)
    patient = study(1).patient
    for secret in (patient.patient_id, "Testperson", "1957", "A2026", "Dyspnoea", "2.25.1"):
        assert secret not in words


@pytest.mark.parametrize("number", [1, 5, ENTRIES])
@pytest.mark.parametrize(
    "change",
    [
        "actor = 'nobody'",
        "action = 'reject'",
        "object_key = 'another'",
        "detail = detail || ' '",
        "at = '2026-01-31 07:59:59.000000'",
        "digest = previous_digest",
    ],
)
def test_a_changed_entry_is_named(store: SqlStore, tmp_path: Path, number: int, change: str) -> None:
    tamper(tmp_path, f"UPDATE audit SET {change} WHERE sequence = {number}")
    with pytest.raises(AuditBroken, match=rf"at entry {number}: it was changed"):
        store.verify()


@pytest.mark.parametrize("number", [1, 5, ENTRIES])
def test_a_deleted_entry_is_named(store: SqlStore, tmp_path: Path, number: int) -> None:
    tamper(tmp_path, f"DELETE FROM audit WHERE sequence = {number}")
    with pytest.raises(AuditBroken, match=rf"at entry {number}: .*gone"):
        store.verify()


def test_a_cut_off_end_is_found(store: SqlStore, tmp_path: Path) -> None:
    tamper(tmp_path, "DELETE FROM audit WHERE sequence > 4")
    with pytest.raises(AuditBroken, match=rf"at entry 5: it and all after it, to {ENTRIES}, are gone"):
        store.verify()


def test_an_emptied_trail_is_found(store: SqlStore, tmp_path: Path) -> None:
    tamper(tmp_path, "DELETE FROM audit")
    with pytest.raises(AuditBroken, match=r"at entry 1: it and all after it"):
        store.verify()


def test_exchanged_entries_are_found(store: SqlStore, tmp_path: Path) -> None:
    tamper(
        tmp_path,
        "UPDATE audit SET sequence = 99 WHERE sequence = 4",
        "UPDATE audit SET sequence = 4 WHERE sequence = 5",
        "UPDATE audit SET sequence = 5 WHERE sequence = 99",
    )
    with pytest.raises(AuditBroken, match="at entry 4: it does not follow"):
        store.verify()


INSERT = "INSERT INTO audit SELECT {0}, at, actor, action, object_key, detail, previous_digest, digest FROM audit "


@pytest.mark.parametrize("number", [0, -7])
def test_an_entry_before_the_first_is_found(store: SqlStore, tmp_path: Path, number: int) -> None:
    tamper(tmp_path, INSERT.format(number) + "WHERE sequence = 1")
    with pytest.raises(AuditBroken, match=rf"at entry {number}: it was inserted"):
        store.verify()


def test_an_entry_inserted_between_is_found(store: SqlStore, tmp_path: Path) -> None:
    tamper(
        tmp_path,
        "UPDATE audit SET sequence = -sequence - 1 WHERE sequence >= 5",
        "UPDATE audit SET sequence = -sequence WHERE sequence < 0",
        INSERT.format(5) + "WHERE sequence = 4",
    )
    with pytest.raises(AuditBroken, match="at entry 5: it does not follow"):
        store.verify()


def forge(tmp_path: Path, sequence: int, detail: str) -> str:
    """Append an entry with a right digest, as one who knows how would."""
    from radpipe.report import AuditEntry

    connection = sqlite3.connect(tmp_path / "radpipe.db")
    (previous,) = connection.execute("SELECT digest FROM audit WHERE sequence = ?", (sequence - 1,)).fetchone()
    digest = digest_of(AuditEntry(sequence, AT, "x", "y", "z", detail, previous, ""))
    values = (sequence, "2026-01-31 09:00:00.000000", "x", "y", "z", detail, previous, digest)
    with connection:
        connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    connection.close()
    return digest


def test_an_entry_appended_past_the_head_is_found(store: SqlStore, tmp_path: Path) -> None:
    forge(tmp_path, ENTRIES + 1, "")
    with pytest.raises(AuditBroken, match=rf"at entry {ENTRIES + 1}: it is not the one that the kept head names"):
        store.verify()


def test_who_rewrites_end_and_head_is_found_by_the_head_that_was_written_down(store: SqlStore, tmp_path: Path) -> None:
    written = AuditHead.parse(str(store.head()))
    tamper(tmp_path, f"DELETE FROM audit WHERE sequence = {ENTRIES}", "DELETE FROM outbox")
    digest = forge(tmp_path, ENTRIES, "")
    tamper(tmp_path, f"UPDATE meta SET value = '{ENTRIES}:{digest}' WHERE name = 'audit_head'")
    assert store.verify() == ENTRIES
    with pytest.raises(AuditBroken, match=rf"at or before entry {ENTRIES}: it is not the one written down"):
        store.verify(written)


def test_who_cuts_off_end_and_head_is_found_by_the_head_that_was_written_down(store: SqlStore, tmp_path: Path) -> None:
    written = store.head()
    digest = list(store.audit())[-2].digest
    tamper(
        tmp_path,
        f"DELETE FROM audit WHERE sequence = {ENTRIES}",
        "DELETE FROM outbox",
        f"UPDATE meta SET value = '{ENTRIES - 1}:{digest}' WHERE name = 'audit_head'",
    )
    assert store.verify() == ENTRIES - 1
    with pytest.raises(AuditBroken, match=rf"entry {ENTRIES}: it is gone \({ENTRIES - 1} entries are left\)"):
        store.verify(written)


def test_a_head_written_down_long_ago_still_proves(store: SqlStore) -> None:
    written = store.head()
    store.add_study(study(9))
    assert store.verify(written) == ENTRIES + 1


def test_a_lost_head_is_said(store: SqlStore, tmp_path: Path) -> None:
    tamper(tmp_path, "DELETE FROM meta WHERE name = 'audit_head'")
    with pytest.raises(AuditBroken, match="head is gone"):
        store.verify()
    with pytest.raises(AuditBroken, match="head is gone"):
        store.add_study(study(9))


@pytest.mark.parametrize("text", ["", "12", "12:", "x:" + START, "12:abc"])
def test_a_head_that_cannot_be_read_is_a_wrong_use(text: str) -> None:
    with pytest.raises(UsageError, match="COUNT:DIGEST"):
        AuditHead.parse(text)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE reports SET document = replace(document, 'pleural', 'plural') WHERE version = 2", "report .* version=2"),
        ("UPDATE reports SET document = replace(document, 'radiologist', 'viewer') WHERE version = 3", "version=3"),
        ("UPDATE reports SET status = 'final' WHERE version = 2", "status columns"),
        ("UPDATE reports SET status = 'draft' WHERE version = 3", "status columns"),
        ("UPDATE reports SET status = 'final' WHERE version = 1", "status columns"),
        ("UPDATE runs SET document = replace(document, '0.91', '0.19')", r"reading .*\(1 more\)"),
        ("UPDATE studies SET document = replace(document, 'PHANTOM-1', 'PHANTOM-2')", "study .* is not what entry 3"),
        ("UPDATE people SET document = replace(document, 'resident', 'radiologist')", "person jsilva"),
        ("UPDATE outbox SET content = CAST('another SR' AS BLOB)", "delivery .* destination=folder kind=sr"),
        ("DELETE FROM outbox", "delivery .* recorded is gone"),
        ("DELETE FROM people WHERE user = 'jsilva'", "person jsilva that entry 2 recorded is gone"),
        ("DELETE FROM studies WHERE study_key = (SELECT study_key FROM studies ORDER BY arrival DESC LIMIT 1)", "entry 5"),
        ("INSERT INTO people SELECT 'mallory', role, document, saved_at FROM people LIMIT 1", "person mallory .* no entry"),
        ("UPDATE corrections SET document = replace(document, 'accepted', 'rejected')", "the corrections of"),
        ("DELETE FROM corrections", "the corrections of"),
        ("UPDATE sign_offs SET by_user = 'jsilva'", "the sign-offs of"),
        ("DELETE FROM sign_offs", "the sign-offs of"),
        ("INSERT INTO sign_offs SELECT report_key, 1, by_user, signed_at FROM sign_offs", "in no document|sign-offs of"),
    ],
)
def test_a_changed_document_is_found(store: SqlStore, tmp_path: Path, statement: str, message: str) -> None:
    tamper(tmp_path, statement)
    with pytest.raises(AuditBroken, match=message):
        store.verify()


def test_a_slipped_in_report_version_is_found(store: SqlStore, tmp_path: Path) -> None:
    tamper(
        tmp_path,
        "INSERT INTO reports SELECT report_key, 4, study_key, run_key, status, action, saved_by, saved_at, document "
        "FROM reports WHERE version = 3",
    )
    with pytest.raises(AuditBroken, match="version=4 is in the store, but no entry"):
        store.verify()


def test_a_caller_cannot_make_an_entry_that_records_another_document(store: SqlStore) -> None:
    draft = reading(2).report
    assert draft is not None
    lie = f"report version=1 sha256={'0' * 64}"
    store.save_report(review.accept(draft, "pleural_effusion", RESIDENT, AT), action="accept", by=RESIDENT, detail=lie)
    assert store.verify() == ENTRIES + 1
