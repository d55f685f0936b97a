"""Described instances to studies."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from radpipe import dicom
from radpipe.study import SetAside
from tests.dicom_instances import described


def test_studies_come_by_date_and_images_by_number_whatever_the_order() -> None:
    instances = [
        described("1", SOPInstanceUID="1.1", InstanceNumber=2, SeriesNumber=1),
        described("2", SOPInstanceUID="1.2", InstanceNumber=1, SeriesNumber=1),
        described("3", SOPInstanceUID="1.3", SeriesInstanceUID="1.2.3.0", SeriesNumber=0),
        described("4", SOPInstanceUID="1.4", StudyInstanceUID="1.2.0", StudyDate="20250101"),
        described("5", SOPInstanceUID="1.5", StudyInstanceUID="1.2.1", StudyDate=None),
    ]
    studies, apart = dicom.group(instances, [])
    assert [study.study_instance_uid for study in studies] == ["1.2.0", "1.2.3", "1.2.1"]
    assert [image.sop_instance_uid for image in studies[1].images] == ["1.3", "1.2", "1.1"]
    assert apart == ()
    assert dicom.group(reversed(instances), []) == (studies, apart)


def test_the_same_instance_twice_is_one() -> None:
    studies, apart = dicom.group([described("b"), described("a")], [])
    assert [image.file.name for image in studies[0].images] == ["a"]
    assert studies[0].set_aside == apart == ()


def test_different_bytes_under_one_uid_are_reported() -> None:
    studies, _ = dicom.group([described("b", SeriesDescription="other"), described("a")], [])
    assert [image.file.name for image in studies[0].images] == ["a"]
    assert studies[0].set_aside == (
        SetAside(
            "b",
            "the same SOP Instance UID as a but different bytes: that one is used; "
            "have the sender give each instance its own UID",
            "1.2.3",
            "1.2.3.4",
        ),
    )


@pytest.mark.parametrize(
    ("attributes", "what"),
    [({"PatientID": "P2"}, "patient ID"), ({"PatientBirthDate": "19700101"}, "birth date"), ({"PatientSex": "M"}, "sex")],
)
def test_another_patient_s_instance_is_set_aside_without_naming_anybody(attributes: dict[str, str], what: str) -> None:
    instances = [
        described("a", SOPInstanceUID="1.0", **attributes),
        described("b", SOPInstanceUID="1.1"),
        described("c", SOPInstanceUID="1.2"),
    ]
    studies, _ = dicom.group(instances, [])
    assert [image.sop_instance_uid for image in studies[0].images] == ["1.1", "1.2"]
    assert studies[0].patient.patient_id == "P1"
    assert studies[0].set_aside == (
        SetAside(
            "a", f"it belongs to another {what} than the rest of its study: check the merge at the PACS", "1.2.3", "1.0"
        ),
    )


def test_what_one_instance_leaves_out_another_states() -> None:
    instances = [
        described("a", SOPInstanceUID="1.0", PatientID=None, AccessionNumber=None, StudyDate=None),
        described("b", SOPInstanceUID="1.1", AccessionNumber="A7"),
    ]
    study = dicom.group(instances, [])[0][0]
    assert (study.patient.patient_id, study.accession_number, study.study_date) == ("P1", "A7", date(2026, 1, 2))
    assert len(study.images) == 2


def test_set_aside_files_go_to_their_study() -> None:
    known, unknown = SetAside("x", "cut", "1.2.3"), SetAside("y", "text")
    elsewhere = SetAside("z", "cut", "9.9")
    studies, apart = dicom.group([described()], [unknown, known, elsewhere])
    assert studies[0].set_aside == (known,)
    assert apart == (unknown, elsewhere)


def test_a_rejected_image_is_marked() -> None:
    note = replace(
        described("note", SOPInstanceUID="1.9"), image=None, rejects=(("1.2.3.4", "rejected for quality reasons"),)
    )
    study = dicom.group([described("a"), note], [])[0][0]
    assert [image.rejected for image in study.images] == ["rejected for quality reasons"]
    assert study.other_instances == (("1.2.840.10008.5.1.4.1.1.1", "1.9"),)
