"""Studies arrive once, grow, never mix patients; earlier studies are found only where they surely are the patient's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, time
from pathlib import Path

import pytest

from radpipe.errors import UnknownKey
from radpipe.store import SqlStore, open_store
from radpipe.study import FileRef, Patient, SetAside, Study
from tests.store_cases import digest, sqlite_url, study, ticking


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with open_store(sqlite_url(tmp_path), clock=ticking()) as opened:
        yield opened


def actions(store: SqlStore) -> list[str]:
    return [entry.action for entry in store.audit()]


def test_a_study_entered_twice_is_one_and_the_second_time_leaves_no_trace(store: SqlStore) -> None:
    assert store.add_study(study()) is True
    assert store.add_study(study()) is False
    assert store.study(study().study_key) == study()
    assert actions(store) == ["study.added"]


def test_an_unknown_study_is_said_to_be_unknown(store: SqlStore) -> None:
    with pytest.raises(UnknownKey, match="no study has the key 00ff"):
        store.study("00ff")


def test_a_study_split_over_two_associations_becomes_whole(store: SqlStore) -> None:
    whole = study()
    first, second = (replace(whole, images=(image,)) for image in whole.images)
    assert store.add_study(first)
    assert store.add_study(second)
    assert store.study(whole.study_key) == whole
    assert store.add_study(first) is False
    assert store.add_study(second) is False
    assert store.add_study(whole) is False
    assert actions(store) == ["study.added", "study.updated"]


def test_what_a_later_part_does_not_say_is_not_forgotten(store: SqlStore) -> None:
    whole = study()
    store.add_study(whole)
    nameless = replace(whole.patient, patient_birth_date=None, patient_sex="")
    assert store.add_study(replace(whole, study_description="", patient=nameless, images=whole.images[1:])) is False
    assert store.study(whole.study_key) == whole


def test_a_study_whose_files_moved_is_the_same_and_its_new_place_is_known(store: SqlStore) -> None:
    before = study()
    store.add_study(before)
    images = tuple(replace(image, file=FileRef(Path("/elsewhere") / image.file.path.name)) for image in before.images)
    assert store.add_study(replace(before, images=images)) is False
    assert store.study(before.study_key).images == images
    assert actions(store) == ["study.added"]
    assert store.verify() == 1


def test_other_bytes_under_the_same_uid_are_an_update_and_both_are_on_record(store: SqlStore) -> None:
    before = study()
    store.add_study(before)
    changed = replace(before.images[0], sha256=digest("other bytes"))
    assert store.add_study(replace(before, images=(changed, *before.images[1:])))
    assert store.study(before.study_key).images[0] == changed
    with store._database.read() as connection:
        kept = connection.exec_driver_sql("SELECT count(*) FROM instances").scalar()
    assert kept == 3


def test_two_patients_under_one_study_uid_are_never_mixed(store: SqlStore) -> None:
    mine, theirs = study(1, patient_id="A"), study(1, patient_id="B")
    store.add_study(replace(mine, images=mine.images[:1]))
    assert store.add_study(replace(theirs, images=theirs.images[1:]))
    found = store.study(mine.study_key)
    assert found.patient.patient_id == "B"
    assert found.images == theirs.images[1:]
    assert actions(store) == ["study.added", "study.patient_changed"]


def test_a_file_that_is_read_after_all_is_no_longer_set_aside(store: SqlStore) -> None:
    whole = study()
    damaged = whole.images[1]
    aside = SetAside(damaged.file.name, "damaged", whole.study_instance_uid, damaged.sop_instance_uid)
    store.add_study(replace(whole, images=whole.images[:1], set_aside=(aside,)))
    assert store.set_aside() == (aside,)
    store.add_study(whole)
    assert store.study(whole.study_key).set_aside == ()


def test_files_of_no_study_are_kept_once(store: SqlStore) -> None:
    items = [SetAside("in/notes.txt", "not DICOM"), SetAside("in/x.dcm", "damaged", "2.25.9")]
    assert store.save_set_aside(items) == 2
    assert store.save_set_aside([*items, SetAside("in/y.dcm", "damaged")]) == 1
    assert store.save_set_aside([]) == 0
    assert [item.file for item in store.set_aside()] == ["in/notes.txt", "in/x.dcm", "in/y.dcm"]
    assert [entry.detail for entry in store.audit()] == ["files=2", "files=1"]


def test_many_files_set_aside_at_once_are_kept_once(store: SqlStore) -> None:
    items = [SetAside(f"in/{number}.txt", "not DICOM") for number in range(1200)]
    assert store.save_set_aside(items) == 1200
    assert store.save_set_aside(items) == 0


def test_a_file_name_that_is_not_utf8_is_kept(store: SqlStore) -> None:
    whole = study()
    odd = Path(b"in/R\xf6ntgen.dcm".decode("utf-8", "surrogateescape"))
    images = tuple(replace(image, file=FileRef(odd)) for image in whole.images)
    store.add_study(replace(whole, images=images, set_aside=(SetAside(str(odd), "damaged"),)))
    assert store.study(whole.study_key).images == images
    assert store.verify() == 1


# -- earlier studies of the same patient


NOW = replace(study(100, day=date(2026, 1, 31), patient_id="P1"), study_time=time(9, 0))


def earlier(number: int, **changes: object) -> Study:
    return replace(study(number, day=date(2025, 6, 1), patient_id="P1"), **changes)  # type: ignore[arg-type]


def found(store: SqlStore, *, before: Study = NOW) -> list[str]:
    return [s.study_instance_uid for s in store.patient_studies(before.patient, before=before)]


def test_earlier_studies_come_latest_first(store: SqlStore) -> None:
    for number, day in ((1, date(2024, 1, 1)), (2, date(2026, 1, 30)), (3, date(2025, 5, 5))):
        store.add_study(earlier(number, study_date=day))
    store.add_study(NOW)
    assert found(store) == ["2.25.2", "2.25.3", "2.25.1"]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"study_date": date(2026, 2, 1)}, id="later"),
        pytest.param({"study_date": None}, id="of no known date"),
        pytest.param({"study_date": NOW.study_date, "study_time": time(9, 0)}, id="at the same moment"),
        pytest.param({"study_date": NOW.study_date, "study_time": time(9, 1)}, id="later on the same day"),
        pytest.param({"study_date": NOW.study_date, "study_time": None}, id="same day at no known time"),
        pytest.param({"patient": replace(NOW.patient, patient_id="P2")}, id="another ID"),
        pytest.param({"patient": replace(NOW.patient, patient_id="p1")}, id="an ID in other case"),
        pytest.param({"patient": replace(NOW.patient, issuer_of_patient_id="Other")}, id="the same ID of another issuer"),
        pytest.param({"patient": replace(NOW.patient, issuer_of_patient_id="")}, id="the same ID of no known issuer"),
        pytest.param({"patient": replace(NOW.patient, patient_birth_date=date(1957, 9, 3))}, id="another birth date"),
        pytest.param({"patient": replace(NOW.patient, patient_sex="M")}, id="another sex"),
    ],
)
def test_a_study_that_is_not_surely_the_patients_and_earlier_is_left_out(
    store: SqlStore, changes: dict[str, object]
) -> None:
    store.add_study(earlier(1, **changes))
    assert found(store) == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"patient": replace(NOW.patient, patient_birth_date=None, patient_sex="")}, id="says less"),
        pytest.param({"patient": replace(NOW.patient, patient_id=" P1 ")}, id="ID padded with spaces"),
        pytest.param({"patient": replace(NOW.patient, patient_name="Testperson^A^^Dr")}, id="name spelt otherwise"),
        pytest.param({"study_date": NOW.study_date, "study_time": time(8, 59)}, id="earlier on the same day"),
    ],
)
def test_a_study_that_does_not_contradict_is_found(store: SqlStore, changes: dict[str, object]) -> None:
    store.add_study(earlier(1, **changes))
    assert found(store) == ["2.25.1"]


@pytest.mark.parametrize("patient_id", ["", "  "])
def test_an_empty_patient_id_matches_nobody(store: SqlStore, patient_id: str) -> None:
    store.add_study(study(1, day=date(2025, 1, 1), patient_id=patient_id))
    assert found(store, before=study(2, patient_id=patient_id)) == []
    assert store.patient_studies(Patient(""), before=NOW) == ()


def test_nothing_is_earlier_than_a_study_of_no_known_date(store: SqlStore) -> None:
    store.add_study(earlier(1))
    assert found(store, before=replace(NOW, study_date=None)) == []
