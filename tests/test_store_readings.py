"""Readings and reports: kept once, superseded by newer ones, never changed after the signature."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from radpipe import review
from radpipe.errors import AlreadySigned, StoreError, UnknownKey
from radpipe.reading import Reading
from radpipe.report import Report, Status
from radpipe.store import SqlStore, open_store
from tests.sample_reading import not_read
from tests.store_cases import RADIOLOGIST, RESIDENT, key, reading, sqlite_url, study, ticking

AT = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with open_store(sqlite_url(tmp_path), clock=ticking()) as opened:
        yield opened


def draft(of: Reading) -> Report:
    assert of.report is not None
    return of.report


def sign(store: SqlStore, of: Reading) -> Report:
    signed = review.sign(store.report(draft(of).report_key), RADIOLOGIST, AT)
    store.save_report(signed, action="sign", by=RADIOLOGIST)
    return signed


def test_a_reading_and_its_draft_come_back_equal(store: SqlStore) -> None:
    first = reading()
    store.add_study(first.study)
    store.save_reading(first)
    assert store.reading(first.run_key) == first
    assert store.study_reading(first.study.study_instance_uid) == first
    assert store.report(draft(first).report_key) == draft(first)


def test_what_is_not_there_is_none_or_unknown(store: SqlStore) -> None:
    assert store.reading("0") is None
    assert store.study_reading("2.25.404") is None
    with pytest.raises(UnknownKey, match="no report has the key 0"):
        store.report("0")


def test_a_reading_saved_twice_changes_nothing(store: SqlStore) -> None:
    first = reading()
    store.save_reading(first)
    trail = list(store.audit())
    store.save_reading(first)
    store.save_reading(replace(first, seconds=(("total", 9.9),), read_at=AT))
    assert list(store.audit()) == trail
    assert store.reading(first.run_key) == first


def test_a_reading_enters_its_study_if_nobody_has(store: SqlStore) -> None:
    store.save_reading(reading())
    assert store.study(key()) == study()


def test_a_newer_run_takes_the_place_of_the_draft(store: SqlStore) -> None:
    old, new = reading(run="a"), reading(run="b")
    store.save_reading(old)
    store.save_reading(new)
    assert [r.run_key for r, _ in store.worklist()] == [new.run_key]
    assert list(store.report_states()) == [draft(new).report_key]
    assert set(store.report_states(superseded=True)) == {draft(old).report_key, draft(new).report_key}
    with pytest.raises(StoreError, match="superseded by a newer reading"):
        sign(store, old)
    assert "report.superseded" in [entry.action for entry in store.audit()]
    sign(store, new)


def test_a_signed_report_stays_final_when_the_study_is_read_again(store: SqlStore) -> None:
    old, new = reading(run="a"), reading(run="b")
    store.save_reading(old)
    signed = sign(store, old)
    store.save_reading(new)
    assert store.report(signed.report_key) == signed
    assert store.report_states() == {signed.report_key: (2, Status.FINAL)}
    assert [r.run_key for r, _ in store.worklist()] == [old.run_key]  # the new one is held beside it
    assert store.reading(new.run_key) == new
    assert "reading.held" in [entry.action for entry in store.audit()]
    with pytest.raises(StoreError, match="superseded"):
        sign(store, new)  # never two finals of one study
    amended = review.addendum(signed, "Compared with the newer reading.", RADIOLOGIST, AT)
    store.save_report(amended, action="addendum", by=RADIOLOGIST)
    assert store.report(signed.report_key).status is Status.AMENDED


def test_a_draft_that_a_person_has_corrected_is_not_replaced(store: SqlStore) -> None:
    old, new = reading(run="a"), reading(run="b")
    store.save_reading(old)
    corrected = review.accept(draft(old), "pleural_effusion", RESIDENT, AT)
    store.save_report(corrected, action="accept", by=RESIDENT)
    store.save_reading(new)
    assert store.report(draft(old).report_key) == corrected
    assert [r.run_key for r, _ in store.worklist()] == [old.run_key]
    sign(store, replace(old, report=corrected))


def test_an_input_that_comes_back_makes_its_old_run_stand_again(store: SqlStore) -> None:
    first, second = reading(run="a"), reading(run="b")
    for run in (first, second, first):
        store.save_reading(run)
    assert [r.run_key for r, _ in store.worklist()] == [first.run_key]
    assert list(store.report_states()) == [draft(first).report_key]
    sign(store, first)
    store.verify()


def test_a_study_that_was_not_read_has_a_reading_and_no_report(store: SqlStore) -> None:
    unread = not_read()
    store.save_reading(unread)
    assert store.reading(unread.run_key) == unread
    assert store.report_states() == {}
    (row,) = store.worklist_rows()
    assert (row.is_read, row.report_key, row.report_status) == (False, None, None)


def test_a_report_key_belongs_to_one_run(store: SqlStore) -> None:
    old, new = reading(run="a"), reading(run="b")
    store.save_reading(old)
    with pytest.raises(StoreError, match="belongs to an earlier run"):
        store.save_reading(replace(new, report=replace(draft(new), report_key=draft(old).report_key)))
    assert store.reading(new.run_key) is None


def test_a_draft_of_another_run_or_already_signed_is_refused(store: SqlStore) -> None:
    first = reading()
    with pytest.raises(StoreError, match="belongs to another run"):
        store.save_reading(replace(first, report=replace(draft(first), run_key="x")))
    with pytest.raises(StoreError, match="must be a draft in version 1"):
        store.save_reading(replace(first, report=review.sign(draft(first), RADIOLOGIST, AT)))


def test_every_version_of_a_report_is_kept(store: SqlStore) -> None:
    first = reading()
    store.save_reading(first)
    second = review.accept(draft(first), "pleural_effusion", RESIDENT, AT)
    third = review.reject(second, "pneumonia", RADIOLOGIST, AT, reason="no consolidation")
    store.save_report(second, action="accept", by=RESIDENT, detail="pleural_effusion")
    store.save_report(third, action="reject", by=RADIOLOGIST, detail="pneumonia")
    assert store.report_versions(draft(first).report_key) == (draft(first), second, third)
    assert [correction for _, correction in store.corrections()] == list(third.corrections)
    last = list(store.audit())[-1]
    assert (last.actor, last.action) == ("mlindqvist", "reject")
    assert last.detail.endswith("; pneumonia")


def test_of_two_who_change_the_same_version_the_second_is_told_to_look_again(store: SqlStore) -> None:
    first = reading()
    store.save_reading(first)
    mine = review.accept(draft(first), "pleural_effusion", RESIDENT, AT)
    theirs = review.reject(draft(first), "pleural_effusion", RADIOLOGIST, AT)
    store.save_report(mine, action="accept", by=RESIDENT)
    with pytest.raises(StoreError, match=r"someone changed the report .* look again"):
        store.save_report(theirs, action="reject", by=RADIOLOGIST)
    assert store.report(mine.report_key) == mine


def test_of_many_threads_one_signs(store: SqlStore) -> None:
    first = reading()
    store.save_reading(first)
    outcomes: list[str] = []

    def sign_at(second: int) -> None:
        signed = review.sign(draft(first), RADIOLOGIST, AT.replace(second=second))
        try:
            store.save_report(signed, action="sign", by=RADIOLOGIST)
            outcomes.append("signed")
        except StoreError:
            outcomes.append("refused")

    threads = [threading.Thread(target=sign_at, args=(second,)) for second in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 7 + ["signed"]
    assert store.verify() == 4


def test_saving_the_same_version_again_changes_nothing(store: SqlStore) -> None:
    first = reading()
    store.save_reading(first)
    signed = sign(store, first)
    trail = list(store.audit())
    store.save_report(signed, action="sign", by=RADIOLOGIST)
    assert list(store.audit()) == trail


def test_a_version_cannot_be_left_out(store: SqlStore) -> None:
    first = reading()
    store.save_reading(first)
    with pytest.raises(StoreError, match="look again"):
        store.save_report(replace(draft(first), version=3), action="edit", by=RESIDENT)


def test_a_report_that_no_reading_brought_is_unknown(store: SqlStore) -> None:
    with pytest.raises(UnknownKey):
        store.save_report(replace(draft(reading()), version=2), action="edit", by=RESIDENT)


def test_a_report_never_moves_to_another_study(store: SqlStore) -> None:
    first = reading()
    store.save_reading(first)
    with pytest.raises(StoreError, match="a report never moves"):
        store.save_report(replace(draft(first), version=2, study_instance_uid="2.25.2"), action="edit", by=RADIOLOGIST)


def test_what_is_signed_can_only_be_added_to(store: SqlStore) -> None:
    first = reading()
    store.save_reading(first)
    signed = sign(store, first)
    back = replace(signed, status=Status.DRAFT, signed_by=None, signed_at=None, version=3)
    fewer = replace(signed, status=Status.AMENDED, sections=signed.sections[1:], version=3)
    again = replace(signed, version=3)
    for wrong in (back, fewer, again):
        with pytest.raises(AlreadySigned, match="write an addendum instead"):
            store.save_report(wrong, action="edit", by=RADIOLOGIST)
    assert store.report(signed.report_key) == signed


def test_a_key_is_found_by_its_beginning_or_its_study(store: SqlStore) -> None:
    for number in range(1, 40):
        store.save_reading(reading(number))
    wanted = draft(reading(7)).report_key
    assert store.report_key(wanted) == wanted
    assert store.report_key(wanted[:8]) == wanted
    assert store.report_key(key(7)) == wanted
    assert store.report_key(key(7)[:8]) == wanted
    with pytest.raises(UnknownKey, match="the beginning of several keys"):
        store.report_key("")
    for nothing in ("zz", "%", "_"):
        with pytest.raises(UnknownKey, match="no report or study has the key"):
            store.report_key(nothing)


def test_a_studys_key_means_the_report_that_stands(store: SqlStore) -> None:
    old, new, newer = reading(run="a"), reading(run="b"), reading(run="c")
    store.save_reading(old)
    store.save_reading(new)
    assert store.report_key(key()) == draft(new).report_key
    sign(store, new)
    store.save_reading(newer)
    assert store.report_key(key()) == draft(new).report_key


def test_the_key_of_a_study_that_was_not_read_says_so(store: SqlStore) -> None:
    unread = not_read()
    store.save_reading(unread)
    with pytest.raises(UnknownKey, match="was not read, so it has no report"):
        store.report_key(unread.study.study_key)


def test_the_worklist_is_in_order_of_arrival_and_keeps_the_first_arrival(store: SqlStore) -> None:
    for number in (3, 1, 2):
        store.add_study(study(number))
    for number in (1, 2, 3):
        store.save_reading(reading(number))
    store.save_reading(reading(3, run="b"))
    worklist = store.worklist()
    assert [r.study.study_instance_uid for r, _ in worklist] == ["2.25.3", "2.25.1", "2.25.2"]
    arrivals = [arrived_at for _, arrived_at in worklist]
    assert arrivals == sorted(arrivals)
    assert all(arrived_at.tzinfo is UTC for arrived_at in arrivals)
    rows = store.worklist_rows()
    assert [(row.run_key, row.arrived_at) for row in rows] == [(r.run_key, at) for r, at in worklist]
    assert [(row.level, row.score, row.cap_s) for row in rows] == [
        (r.priority.level, r.priority.score, r.priority.cap_s) for r, _ in worklist
    ]


def test_a_study_without_a_reading_is_not_on_the_worklist(store: SqlStore) -> None:
    store.add_study(study())
    assert store.worklist() == ()
    assert store.worklist_rows() == ()


def test_findings_can_be_queried(store: SqlStore) -> None:
    first = reading()
    store.save_reading(first)
    with store._database.read() as connection:
        rows = connection.exec_driver_sql("SELECT finding, decision FROM findings ORDER BY ordinal").all()
    assert [tuple(row) for row in rows] == [(f.finding, f.decision.value) for f in first.findings]
