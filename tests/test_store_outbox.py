"""What a signature sends is queued with it and delivered once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from radpipe import review
from radpipe.errors import StoreError, UnknownKey, UsageError
from radpipe.report import Report
from radpipe.store import Delivery, SqlStore, open_store
from radpipe.store.outbox import STALE_PART_S
from tests.store_cases import RADIOLOGIST, reading, sqlite_url, ticking

AT = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)
SR, FHIR = Delivery("folder", "sr", "1.sr.dcm", b"\0SR\xff" * 100), Delivery("folder", "fhir", "1.json", b"{}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with open_store(sqlite_url(tmp_path), clock=ticking()) as opened:
        opened.save_reading(reading())
        yield opened


def sign(store: SqlStore, *deliveries: Delivery) -> Report:
    draft = reading().report
    assert draft is not None
    signed = review.sign(draft, RADIOLOGIST, AT)
    store.save_report(signed, action="sign", by=RADIOLOGIST, deliveries=deliveries)
    return signed


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_signature_queues_what_it_sends(store: SqlStore) -> None:
    signed = sign(store, SR, FHIR)
    waiting = store.pending()
    assert [(q.report_key, q.version, q.kind, q.name) for q in waiting] == [
        (signed.report_key, 2, "sr", "1.sr.dcm"),
        (signed.report_key, 2, "fhir", "1.json"),
    ]
    assert store.content(waiting[0].delivery_id) == SR.content
    assert waiting[0].queued_at.tzinfo is UTC


def test_a_delivery_that_cannot_be_queued_undoes_the_signature(store: SqlStore) -> None:
    clash = Delivery("folder", "fhir", SR.name, b"{}")
    with pytest.raises(StoreError, match="is the name of another delivery"):
        sign(store, SR, clash)
    draft = reading().report
    assert draft is not None
    assert store.report(draft.report_key) == draft
    assert store.pending() == ()


def test_signing_again_queues_nothing_twice(store: SqlStore) -> None:
    sign(store, SR)
    sign(store, SR)
    assert len(store.pending()) == 1


def test_the_first_content_queued_is_the_one_that_is_sent(store: SqlStore) -> None:
    signed = sign(store)
    assert store.enqueue(signed.report_key, 2, "pacs", "sr", b"first", "a.dcm") is True
    assert store.enqueue(signed.report_key, 2, "pacs", "sr", b"second", "b.dcm") is False
    (waiting,) = store.pending("pacs")
    assert store.content(waiting.delivery_id) == b"first"


def test_nothing_is_queued_of_a_version_that_is_not_there(store: SqlStore) -> None:
    with pytest.raises(UnknownKey, match="in version 7"):
        store.enqueue(sign(store).report_key, 7, "folder", "sr", b"", "a.dcm")


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".hidden", "a b", "Test^Person", "x" * 201, "a\n"])
def test_a_name_that_is_no_plain_file_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="plain file name"):
        Delivery("folder", "sr", name, b"")


def test_deliveries_appear_in_the_folder_once(store: SqlStore, tmp_path: Path) -> None:
    sign(store, SR, FHIR)
    folder = tmp_path / "new" / "outbox"
    assert store.deliver_to_folder(folder) == 2
    assert files(folder) == {SR.name: SR.content, FHIR.name: FHIR.content}
    assert store.pending() == ()
    trail = list(store.audit())
    assert [entry.action for entry in trail[-2:]] == ["delivery.delivered"] * 2
    assert store.deliver_to_folder(folder) == 0
    assert list(store.audit()) == trail
    delivered = store.deliveries(reading().report.report_key)  # type: ignore[union-attr]
    assert all(item.delivered_at is not None and item.attempts == 1 for item in delivered)
    assert store.verify() == len(trail)


def test_the_same_bytes_already_there_count_as_delivered(store: SqlStore, tmp_path: Path) -> None:
    sign(store, SR)
    (tmp_path / SR.name).write_bytes(SR.content)
    before = (tmp_path / SR.name).stat()
    assert store.deliver_to_folder(tmp_path) == 1
    after = (tmp_path / SR.name).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_file_of_the_name_is_not_overwritten_and_the_others_go_on(store: SqlStore, tmp_path: Path) -> None:
    sign(store, SR, FHIR)
    (tmp_path / SR.name).write_bytes(b"someone's")
    assert store.deliver_to_folder(tmp_path) == 1
    assert (tmp_path / SR.name).read_bytes() == b"someone's"
    (waiting,) = store.pending()
    assert (waiting.kind, waiting.attempts) == ("sr", 1)
    assert "is there with other content; move it away" in waiting.last_error
    (tmp_path / SR.name).unlink()
    assert store.deliver_to_folder(tmp_path) == 1
    assert store.pending() == ()


def test_a_folder_that_cannot_be_made_is_an_error(store: SqlStore, tmp_path: Path) -> None:
    sign(store, SR)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="outbox folder"):
        store.deliver_to_folder(tmp_path / "file" / "outbox")
    assert len(store.pending()) == 1


def test_parts_of_the_dead_are_cleared_and_those_of_the_living_left(store: SqlStore, tmp_path: Path) -> None:
    old, young, foreign = tmp_path / ".a.dcm.1-x.part", tmp_path / ".b.dcm.2-y.part", tmp_path / "c.part"
    for path in (old, young, foreign):
        path.write_bytes(b"half")
    long_ago = old.stat().st_mtime - STALE_PART_S - 60
    os.utime(old, (long_ago, long_ago))
    os.utime(foreign, (long_ago, long_ago))
    store.deliver_to_folder(tmp_path)
    assert (old.exists(), young.exists(), foreign.exists()) == (False, True, True)


def test_content_that_was_changed_in_the_outbox_is_not_sent_and_the_others_go_on(store: SqlStore, tmp_path: Path) -> None:
    sign(store, SR, FHIR)
    with store._database.write() as connection:
        connection.exec_driver_sql("UPDATE outbox SET content = CAST('other' AS BLOB) WHERE kind = 'sr'")
    assert store.deliver_to_folder(tmp_path / "outbox") == 1
    assert files(tmp_path / "outbox") == {FHIR.name: FHIR.content}
    (waiting,) = store.pending()
    assert "was changed in the outbox" in waiting.last_error


def test_a_sender_of_its_own_marks_what_it_sent_or_could_not(store: SqlStore) -> None:
    signed = sign(store)
    store.enqueue(signed.report_key, 2, "pacs:MAIN", "sr", b"SR", "a.dcm")
    (waiting,) = store.pending("pacs:MAIN")
    store.mark_failed(waiting.delivery_id, "association refused")
    (waiting,) = store.pending("pacs:MAIN")
    assert (waiting.attempts, waiting.last_error) == (1, "association refused")
    assert store.mark_delivered(waiting.delivery_id, "status 0000") is True
    assert store.mark_delivered(waiting.delivery_id, "status 0000") is False
    store.mark_failed(waiting.delivery_id, "too late")
    (done,) = store.deliveries(signed.report_key)
    assert (done.attempts, done.last_error) == (2, "")
    assert list(store.audit())[-1].detail.endswith("; status 0000")
    with pytest.raises(UnknownKey, match="no delivery 99"):
        store.content(99)


def test_two_processes_that_deliver_at_once_deliver_each_thing_once(store: SqlStore, tmp_path: Path) -> None:
    signed = sign(store)
    for number in range(40):
        store.enqueue(signed.report_key, 2, "folder", f"k{number}", b"x" * number, f"{number}.dcm")
    code = (
        "import sys, pathlib; from radpipe.store import open_store\n"
        "with open_store(sys.argv[1]) as store: print(store.deliver_to_folder(pathlib.Path(sys.argv[2])))"
    )
    root = str(Path(__file__).resolve().parent.parent)
    command = [sys.executable, "-W", "error", "-c", code, sqlite_url(tmp_path), str(tmp_path / "outbox")]
    processes = [
        subprocess.Popen(command, env=os.environ | {"PYTHONPATH": root}, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    counts = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert sum(counts) == 40
    assert files(tmp_path / "outbox") == {f"{number}.dcm": b"x" * number for number in range(40)}
    delivered = [entry for entry in store.audit() if entry.action == "delivery.delivered"]
    assert len(delivered) == 40
