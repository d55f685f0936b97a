"""The words of SR documents: a person's report becomes text under headings; a machine's, a draft's or our own does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from radpipe import dicom
from radpipe.reported import OutsideReport, ReportOrigin
from radpipe.sinks import dicom_sr
from radpipe.study import FileRef
from tests.dicom_instances import bundled, described
from tests.sample_reading import sample_reading, sample_report, signed, source_headers
from tests.sr_documents import (
    BASIC_TEXT,
    COMPREHENSIVE,
    CONCLUSION,
    ENHANCED,
    FINDING,
    FINDINGS,
    IMPRESSION,
    document,
    item,
    section,
    usual,
)

DEVICE = item("CODE", ("121005", "Observer Type"), ("121007", "Device"), "HAS OBS CONTEXT")


def report_in(content: bytes) -> OutsideReport | None:
    return dicom.describe(content, FileRef(Path("report.dcm"))).report


def words(content: list[Dataset]) -> str:
    found = report_in(document(content))
    return found.text if found else ""


@pytest.mark.parametrize("sop_class", [BASIC_TEXT, ENHANCED, COMPREHENSIVE])
def test_sections_become_headings_and_sentences_lines(sop_class: str) -> None:
    found = report_in(document(SOPClassUID=sop_class))
    assert found is not None
    assert found.text == (
        "HISTORY:\nQuestion of pneumonia.\n\nFINDINGS:\nNo pleural effusion.\nHeart size is normal.\n\n"
        "IMPRESSION:\n8 mm nodule in the left upper lobe."
    )
    assert (found.origin, found.study_instance_uid, found.sop_instance_uid) == (ReportOrigin.DICOM_SR, "1.2.3", "1.2.3.99")
    assert found.written == "20260102113000"
    assert found.patient is not None
    assert found.patient.patient_id == "P1"


def test_it_stays_an_instance_without_a_picture_of_its_study() -> None:
    found = dicom.describe(document(), FileRef(Path("report.dcm")))
    assert found.image is None
    assert "holds no picture" in found.why_no_image
    (study,), _ = dicom.group([described("a.dcm"), found], [])
    assert study.other_instances == ((BASIC_TEXT, "1.2.3.99"),)


def test_a_section_may_be_named_by_its_text_alone() -> None:
    flat = [item("TEXT", FINDINGS, "No pneumothorax."), item("TEXT", IMPRESSION, "Cardiomegaly.")]
    assert words(flat) == "FINDINGS:\nNo pneumothorax.\n\nIMPRESSION:\nCardiomegaly."


def test_a_container_within_a_section_belongs_to_it_and_one_beside_it_does_not() -> None:
    lungs = item("CONTAINER", ("L", "Lungs"), [item("TEXT", FINDING, "Clear.")])
    content = [
        item("CONTAINER", FINDINGS, [lungs, item("TEXT", FINDING, "No effusion.")]),
        item("CONTAINER", ("D", "Dictated by"), [item("TEXT", ("N", "Name"), "Nobody")]),
    ]
    assert words(content) == "FINDINGS:\nClear.\nNo effusion.\n\nDICTATED BY:\nNobody"


def test_what_earlier_images_showed_goes_under_comparison() -> None:
    content = [section(("121068", "Previous Findings"), ("121069", "Previous Finding"), "Effusion on the left."),
               section(IMPRESSION, CONCLUSION, "No effusion.")]  # fmt: skip
    assert words(content) == "COMPARISON:\nEffusion on the left.\n\nIMPRESSION:\nNo effusion."


def test_letters_beyond_latin_stay_as_they_are() -> None:
    assert words([section(FINDINGS, FINDING, "Плевральный выпот, größer als früher")]).endswith("größer als früher")


@pytest.mark.parametrize(
    "attributes",
    [
        {"CompletionFlag": "PARTIAL"},
        {"CompletionFlag": None},
        {"PreliminaryFlag": "PRELIMINARY"},
        {"Manufacturer": "radpipe"},
        {"ManufacturerModelName": "radpipe"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.65"},  # chest CAD
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67"},  # dose
    ],
)
def test_what_no_person_stands_for_is_no_report(attributes: dict[str, Any]) -> None:
    assert report_in(document(**attributes)) is None


def test_an_unverified_report_counts_unless_a_device_wrote_it() -> None:
    assert report_in(document(VerificationFlag="UNVERIFIED")) is not None
    by_device = [DEVICE, *usual()[2:]]
    assert report_in(document(by_device, VerificationFlag="UNVERIFIED")) is None
    assert report_in(document(by_device, VerificationFlag="VERIFIED")) is not None


@pytest.mark.parametrize("report", [sample_report(), signed(sample_report())], ids=["draft", "signed"])
def test_our_own_documents_are_never_read_back(report: Any) -> None:
    assert report_in(dicom_sr.render(sample_reading(), report, source_headers())) is None


def test_a_document_without_words_is_no_report() -> None:
    assert report_in(document([])) is None
    assert report_in(document(usual()[:2])) is None


def test_when_it_was_verified_comes_before_when_it_was_written() -> None:
    observer = Dataset()
    observer.VerificationDateTime = "20260103080910.5+0100"
    found = report_in(document(VerifyingObserverSequence=[observer]))
    assert found is not None
    assert found.written == "20260103080910"


def test_documents_of_others_are_read_or_left_without_an_error() -> None:
    assert report_in(bundled("reportsi.dcm")) is None  # partial
    found = report_in(bundled("test-SR.dcm"))
    assert found is not None
    assert "Sample Text" in found.text


def test_a_tree_that_never_ends_is_cut() -> None:
    deep = section(FINDINGS, FINDING, "At the bottom.")
    for _ in range(60):
        deep = item("CONTAINER", FINDINGS, [deep])
    assert words([section(IMPRESSION, CONCLUSION, "At the top."), deep]) == "IMPRESSION:\nAt the top."


@given(st.data())
def test_damage_never_raises_anything_but_an_input_error(data: st.DataObject) -> None:
    content = bytearray(document())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    dicom.look(bytes(content), FileRef(Path("report.dcm")))
