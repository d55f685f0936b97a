"""Reports from elsewhere: kept once, found only where they surely are this patient's and of an earlier study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

import radpipe.store.database
from radpipe import review
from radpipe.errors import AuditBroken, UnknownKey, UsageError
from radpipe.reading import SignedReport
from radpipe.reported import OutsideReport, ReportOrigin
from radpipe.store import SqlStore, open_store
from radpipe.study import Patient, Study
from tests.store_cases import RADIOLOGIST, reading, sqlite_url, study, ticking

WORDS = "FINDINGS: No pleural effusion."
NOW = study(2, patient_id="PHANTOM-1")
THEN = study(1, patient_id="PHANTOM-1", day=date(2025, 11, 2))
WHOSE = Patient("PHANTOM-1", "Example Hospital")
AT = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with open_store(sqlite_url(tmp_path), clock=ticking()) as opened:
        yield opened


def outside(words: str = WORDS, **changed: object) -> OutsideReport:
    base = OutsideReport(words, ReportOrigin.IMPORTED, THEN.study_instance_uid, patient=THEN.patient)
    return replace(base, **changed)  # type: ignore[arg-type]


def found(store: SqlStore, now: Study = NOW) -> list[OutsideReport | SignedReport]:
    return list(store.earlier_reports(now, store.patient_studies(now.patient, before=now)))


def texts(store: SqlStore, now: Study = NOW) -> list[str]:
    return [one.text for one in found(store, now) if isinstance(one, OutsideReport)]


def actions(store: SqlStore) -> list[str]:
    return [entry.action for entry in store.audit() if entry.action.startswith("reported")]


def test_the_same_report_twice_is_one_and_leaves_no_trace(store: SqlStore) -> None:
    assert store.save_reported(outside()) is True
    assert store.save_reported(outside()) is False
    assert actions(store) == ["reported.added"]
    assert store.reported(outside().reported_key) == outside()


def test_what_becomes_known_later_is_added(store: SqlStore) -> None:
    store.save_reported(outside(patient=None))
    assert store.save_reported(outside(study_date=date(2025, 11, 2)), by=RADIOLOGIST) is True
    kept = store.reported(outside().reported_key)
    assert kept == outside(study_date=date(2025, 11, 2))
    assert actions(store) == ["reported.added", "reported.changed"]
    assert [entry.actor for entry in store.audit()] == ["radpipe", RADIOLOGIST.user]


def test_what_a_person_imports_again_does_not_move_to_another_patient(store: SqlStore) -> None:
    whose, other = Patient("PHANTOM-1", ""), Patient("PHANTOM-9", "")
    store.save_reported(outside(patient=whose))
    for patient in (other, Patient("PHANTOM-9", "Example Hospital")):
        with pytest.raises(UsageError, match=r"another patient.*radpipe report withdraw [0-9a-f]{16}") as caught:
            store.save_reported(outside(patient=patient))
        assert "PHANTOM" not in str(caught.value)
    key = outside().reported_key
    assert store.reported(key) == outside(patient=whose)
    assert store.save_reported(outside(patient=WHOSE)) is True  # the issuer becomes known
    with pytest.raises(UsageError, match="another patient"):
        store.save_reported(outside(patient=replace(WHOSE, issuer_of_patient_id="Elsewhere")))
    assert store.save_reported(outside(patient=whose)) is False  # and stays
    store.withdraw_reported(key)
    assert store.save_reported(outside(patient=other)) is True
    store.withdraw_reported(key, back=True)
    assert store.reported(key) == outside(patient=other)


def test_a_document_whose_study_went_to_another_patient_goes_with_it(store: SqlStore) -> None:
    store.save_reported(outside(origin=ReportOrigin.DICOM_SR))
    moved = outside(origin=ReportOrigin.DICOM_SR, patient=Patient("PHANTOM-9"))
    assert store.save_reported(moved) is True
    assert store.reported(moved.reported_key) == moved


def test_a_report_of_an_earlier_study_has_its_date_and_uid(store: SqlStore) -> None:
    store.add_study(THEN)
    store.save_reported(outside(patient=None))
    (one,) = found(store)
    assert isinstance(one, OutsideReport)
    assert (one.study_instance_uid, one.study_date) == (THEN.study_instance_uid, date(2025, 11, 2))


def test_the_study_need_not_be_here(store: SqlStore) -> None:
    store.save_reported(outside(study_date=date(2025, 11, 2), patient=WHOSE))
    assert texts(store) == [WORDS]


@pytest.mark.parametrize(
    "changed",
    [
        {"study_date": None},
        {"study_date": date(2026, 1, 31)},  # the same day: which came first is not known
        {"study_date": date(2026, 2, 28)},
        {"patient": None},
        {"patient": Patient("PHANTOM-1")},  # another issuer
        {"patient": Patient("PHANTOM-2", "Example Hospital")},
        {"patient": replace(THEN.patient, patient_birth_date=date(1950, 1, 1))},
        {"patient": replace(THEN.patient, patient_sex="M")},
        {"study_instance_uid": NOW.study_instance_uid},
    ],
    ids=["no date", "same day", "later", "whose", "issuer", "patient", "born", "sex", "this study itself"],
)
def test_what_is_not_surely_earlier_or_this_patients_is_left_out(store: SqlStore, changed: dict[str, object]) -> None:
    store.add_study(NOW)
    store.save_reported(outside(**{"study_date": date(2025, 11, 2), "patient": WHOSE, **changed}))
    assert found(store) == []


def test_a_report_whose_study_is_another_patients_here_is_left_out(store: SqlStore) -> None:
    store.add_study(replace(THEN, patient=replace(THEN.patient, patient_id="PHANTOM-9")))
    store.save_reported(outside(study_date=date(2025, 11, 2)))
    assert found(store) == []
    other = replace(NOW, patient=replace(NOW.patient, patient_id="PHANTOM-9"))
    assert found(store, other) == []


def test_a_report_whose_study_is_here_but_later_is_left_out(store: SqlStore) -> None:
    store.add_study(replace(THEN, study_date=date(2026, 3, 1)))
    store.save_reported(outside(study_date=date(2025, 11, 2)))
    assert found(store) == []


def test_an_accession_number_finds_the_patients_own_study(store: SqlStore) -> None:
    store.add_study(replace(THEN, accession_number="A1"))
    number = OutsideReport(WORDS, ReportOrigin.IMPORTED, accession_number="A1", patient=THEN.patient)
    store.save_reported(number)
    (one,) = found(store)
    assert isinstance(one, OutsideReport)
    assert one.study_instance_uid == THEN.study_instance_uid
    assert store.studies_by_accession_number() == {"A1": (THEN.study_instance_uid,)}
    other = study(5, patient_id="PHANTOM-5")
    assert found(store, other) == []


def test_the_report_of_this_very_accession_number_is_not_a_prior(store: SqlStore) -> None:
    store.save_reported(
        OutsideReport(WORDS, ReportOrigin.IMPORTED, accession_number="A2", study_date=date(2025, 1, 1), patient=WHOSE)
    )
    assert texts(store, replace(NOW, accession_number="A2")) == []
    assert texts(store, replace(NOW, accession_number="A3")) == [WORDS]


def test_a_report_must_name_a_study_or_a_number_with_a_patient() -> None:
    with pytest.raises(UsageError, match="UID of its study"):
        OutsideReport(WORDS, ReportOrigin.IMPORTED, accession_number="A1")
    with pytest.raises(UsageError, match="no words"):
        OutsideReport(" \n", ReportOrigin.IMPORTED, "1.2.3")


def test_of_two_reports_of_a_study_the_last_written_counts(store: SqlStore) -> None:
    store.add_study(THEN)
    store.save_reported(outside("second", written="20251103120000"))
    store.save_reported(outside("first", written="20251102120000"))
    assert texts(store) == ["second"]
    store.save_reported(outside("by hand, today"))
    assert texts(store) == ["by hand, today"]


def test_reports_come_with_the_latest_study_first(store: SqlStore) -> None:
    for number, day in ((3, date(2024, 5, 1)), (4, date(2025, 12, 1)), (5, date(2025, 6, 1))):
        store.save_reported(outside(str(number), study_instance_uid=f"2.25.{number}", study_date=day, patient=WHOSE))
    store.add_study(THEN)
    store.save_reported(outside("1"))
    assert texts(store) == ["4", "1", "5", "3"]


def test_a_withdrawn_report_is_kept_and_not_used_even_if_it_comes_again(store: SqlStore) -> None:
    store.add_study(THEN)
    key = outside().reported_key
    store.save_reported(outside())
    assert store.withdraw_reported(key, by=RADIOLOGIST) is True
    assert store.withdraw_reported(key) is False
    assert store.save_reported(outside()) is False
    assert found(store) == []
    assert store.withdraw_reported(key, back=True) is True
    assert texts(store) == [WORDS]
    assert actions(store) == ["reported.added", "reported.withdrawn", "reported.restored"]
    with pytest.raises(UnknownKey, match="no report from elsewhere"):
        store.withdraw_reported("0" * 16)


def test_our_own_report_counts_once_it_is_signed_and_before_what_came_from_elsewhere(store: SqlStore) -> None:
    first = reading(1, of=THEN)
    assert first.report is not None
    store.save_reading(first)
    store.save_reported(outside())
    assert texts(store) == [WORDS]
    final = review.sign(first.report, RADIOLOGIST, AT)
    store.save_report(final, action="sign", by=RADIOLOGIST)
    assert found(store) == [SignedReport(first, final)]
    amended = review.addendum(final, "No effusion either.", RADIOLOGIST, AT)
    store.save_report(amended, action="addendum", by=RADIOLOGIST)
    assert found(store) == [SignedReport(first, amended)]


def test_a_corrected_draft_is_not_signed_and_does_not_count(store: SqlStore) -> None:
    first = reading(1, of=THEN)
    assert first.report is not None
    store.save_reading(first)
    store.save_report(review.accept(first.report, "pleural_effusion", RADIOLOGIST, AT), action="accept", by=RADIOLOGIST)
    assert found(store) == []


def test_a_patient_without_an_id_has_no_earlier_reports(store: SqlStore) -> None:
    nobody = replace(NOW, patient=replace(NOW.patient, patient_id=""))
    store.save_reported(outside(study_date=date(2025, 11, 2), patient=None))
    assert found(store, nobody) == []


def test_the_trail_proves_the_words_and_holds_none_of_them(store: SqlStore) -> None:
    store.save_reported(outside())
    assert store.verify() == 1
    (entry,) = store.audit()
    assert entry.object_key == outside().reported_key
    assert not any(word in entry.detail for word in ("effusion", "PHANTOM", "Testperson"))
    with store._database.write() as connection:
        connection.execute(text("UPDATE reported SET document = replace(document, 'No pleural', 'Large pleural')"))
    with pytest.raises(AuditBroken, match=r"the reported .* is not what entry 1"):
        store.verify()


def test_words_that_no_database_takes_are_kept_as_they_are(store: SqlStore) -> None:
    odd = outside("FINDINGS:\x00 nul, \udcff surrogate, \u202e right to left, 終")
    store.save_reported(odd)
    assert store.reported(odd.reported_key) == odd


def test_the_table_comes_and_goes_with_its_migration(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    with open_store(url) as store:
        store.add_study(THEN)
    config = Config()
    config.set_main_option("script_location", str(Path(radpipe.store.database.__file__).parent / "migrations"))
    with open_store(url) as store, store._database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        tables = {row[0] for row in connection.execute(text("SELECT name FROM sqlite_master"))}
        assert "reported" not in tables
        assert "studies" in tables
    with open_store(url) as store:  # brought up to date again
        assert store.save_reported(outside())
        assert store.verify() == 2
