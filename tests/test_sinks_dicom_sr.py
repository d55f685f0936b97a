from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import UID

from radpipe.errors import DraftError
from radpipe.report import PRELIMINARY
from radpipe.sinks import dicom_sr
from tests.sample_reading import (
    COLUMNS,
    FRONTAL,
    LATERAL,
    PRIOR_FRONTAL,
    PRIOR_STUDY,
    RADIOLOGIST,
    STUDY,
    amended,
    not_read,
    not_read_report,
    sample_reading,
    sample_report,
    signed,
    source_headers,
)


def rendered(report=None, *, reading=None, headers=None) -> Dataset:
    content = dicom_sr.render(reading or sample_reading(), report or sample_report(), headers or source_headers())
    return dcmread(BytesIO(content))


def items(dataset: Dataset, value_type: str = "", name: str = "") -> list[Dataset]:
    """All content items below `dataset`, in order."""
    found = []
    for item in dataset.get("ContentSequence", ()):
        meaning = item.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in item else ""
        if value_type in ("", item.ValueType) and name in ("", meaning):
            found.append(item)
        found += items(item, value_type, name)
    return found


def group(dataset: Dataset, tracking: str) -> Dataset:
    return next(
        g
        for g in items(dataset, "CONTAINER", "Measurement Group")
        if items(g, "TEXT", "Tracking Identifier")[0].TextValue == tracking
    )


def coded(item: Dataset) -> tuple[str, str]:
    code = item.ConceptCodeSequence[0]
    return code.CodingSchemeDesignator, code.CodeValue


def test_a_draft_is_partial_unverified_and_preliminary_and_says_so():
    document = rendered()
    assert (document.CompletionFlag, document.VerificationFlag, document.PreliminaryFlag) == (
        "PARTIAL",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert "VerifyingObserverSequence" not in document
    assert "PredecessorDocumentsSequence" not in document
    assert [item.TextValue for item in items(document, "TEXT", "Comment")] == [PRELIMINARY]


def test_a_signed_report_is_complete_verified_final_and_names_who_signed_when():
    document = rendered(signed(sample_report()))
    assert (document.CompletionFlag, document.VerificationFlag, document.PreliminaryFlag) == (
        "COMPLETE",
        "VERIFIED",
        "FINAL",
    )
    observer = document.VerifyingObserverSequence[0]
    assert observer.VerifyingObserverName == "Lindqvist^Maja"
    assert observer.VerifyingOrganization == "Example Hospital"
    assert str(observer.VerificationDateTime) == "20260131084130+0000"
    assert items(document, "PNAME", "Person Observer Name")[0].PersonName == "Lindqvist^Maja"
    assert items(document, "TEXT", "Comment") == []


def test_a_plain_name_becomes_a_person_name_and_a_missing_organisation_is_said_to_be_missing():
    reading = sample_reading()
    reading = replace(reading, study=replace(reading.study, institution_name=""))
    document = rendered(
        signed(sample_report(), by=replace(RADIOLOGIST, name="Maja Lindqvist", organisation="")), reading=reading
    )
    assert document.VerifyingObserverSequence[0].VerifyingObserverName == "Lindqvist^Maja"
    assert document.VerifyingObserverSequence[0].VerifyingOrganization == "not stated"


def test_the_same_version_renders_to_the_same_bytes_and_the_next_to_another_instance_of_the_same_series():
    final = signed(sample_report())
    assert dicom_sr.render(sample_reading(), final, source_headers()) == dicom_sr.render(
        sample_reading(), final, source_headers()
    )
    first, second = rendered(final), rendered(amended(final))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert UID(first.SOPInstanceUID).is_valid
    assert "PredecessorDocumentsSequence" not in first  # the drafts before it were never sent
    predecessor = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_the_document_joins_the_images_study_in_a_series_of_its_own():
    document = rendered()
    assert document.StudyInstanceUID == STUDY
    assert document.SeriesInstanceUID not in {header.SeriesInstanceUID for header in source_headers().values()}
    assert document.Modality == "SR"
    evidence = document.CurrentRequestedProcedureEvidenceSequence[0]
    current = {
        sop.ReferencedSOPInstanceUID for series in evidence.ReferencedSeriesSequence for sop in series.ReferencedSOPSequence
    }
    assert current == {FRONTAL, LATERAL}
    assert document.PertinentOtherEvidenceSequence[0].StudyInstanceUID == PRIOR_STUDY


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Buc^Jérôme"),
        ("ISO_IR 126", "Διονυσιος"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("", "PLAIN NAME WITHOUT COMPONENTS"),
    ],
)
def test_the_patient_is_copied_exactly_with_the_character_set(charset, name):
    headers = source_headers()
    for header in headers.values():
        header.SpecificCharacterSet = charset
        header.PatientName = name
        header.PatientComments = "kept"
        del header.AccessionNumber
    document = rendered(headers=headers)
    file = BytesIO()
    dcmwrite(file, headers[FRONTAL], implicit_vr=False, little_endian=True)
    original = dcmread(BytesIO(file.getvalue()), force=True)
    for keyword in (
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientSex",
        "PatientAge",
        "PatientComments",
    ):
        assert document.get_item(keyword).value == original.get_item(keyword).value, keyword
    assert document.get("SpecificCharacterSet", "") == charset
    assert document.PatientName == name
    assert document.AccessionNumber == ""


def test_text_that_the_character_set_lacks_makes_the_document_utf_8():
    final = signed(sample_report(), by=replace(RADIOLOGIST, name="Noguchi^英世", organisation="Ōsaka"))
    document = rendered(final)
    assert document.SpecificCharacterSet == "ISO_IR 192"
    assert document.PatientName == "Testperson^Åsa"
    assert document.VerifyingObserverSequence[0].VerifyingObserverName == "Noguchi^英世"


def test_a_value_that_breaks_its_rules_is_copied_without_a_word():
    header = source_headers()[FRONTAL]
    file = BytesIO()
    dcmwrite(file, header, implicit_vr=False, little_endian=True)
    broken = dcmread(BytesIO(file.getvalue().replace(b"19570309", b"1957/3/9")), force=True)
    document = dcmread(
        BytesIO(dicom_sr.render(sample_reading(), sample_report(), source_headers() | {FRONTAL: broken})),
    )
    assert document.get_item("PatientBirthDate").value == b"1957/3/9"


def test_times_are_in_the_zone_that_the_source_declares():
    headers = source_headers()
    headers[FRONTAL].TimezoneOffsetFromUTC = "-0330"
    document = rendered(signed(sample_report()), headers=headers)
    assert (document.ContentDate, document.ContentTime) == ("20260131", "051130")
    assert document.TimezoneOffsetFromUTC == "-0330"


def test_every_finding_has_a_group_with_presence_probability_site_and_model():
    document = rendered()
    groups = items(document, "CONTAINER", "Measurement Group")
    assert len(groups) == len(sample_reading().findings)
    effusion = group(document, "pleural_effusion")
    assert coded(items(effusion, "CODE", "Finding")[0]) == ("SCT", "60046008")
    assert coded(items(effusion, "CODE", "Presence of property")[0]) == ("SCT", "52101004")
    assert coded(items(effusion, "CODE", "Laterality")[0]) == ("SCT", "7771000")
    probability = items(effusion, "NUM", "Probability")[0].MeasuredValueSequence[0]
    assert probability.NumericValue == pytest.approx(0.91)
    assert probability.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert items(effusion, "TEXT", "Algorithm Name")[0].TextValue == "chest-dinov2s"
    assert items(effusion, "TEXT", "Algorithm Version")[0].TextValue == "1.0.0"
    assert coded(items(group(document, "pneumonia"), "CODE", "Presence of property")[0]) == ("SCT", "82334004")
    assert coded(items(group(document, "pneumothorax"), "CODE", "Presence of property")[0]) == ("SCT", "2667000")


def test_a_box_is_a_closed_polyline_on_its_image_and_an_absent_finding_cites_the_image():
    document = rendered()
    region = items(group(document, "pleural_effusion"), "SCOORD")[0]
    assert region.GraphicType == "POLYLINE"
    points = np.array(region.GraphicData).reshape(-1, 2)
    assert points.tolist() == [[930, 1480], [1560, 1480], [1560, 1900], [930, 1900], [930, 1480]]
    assert points.max() <= COLUMNS + 140
    assert region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == FRONTAL
    absent = group(document, "pneumothorax")
    assert items(absent, "SCOORD") == []
    assert items(absent, "IMAGE")[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == FRONTAL


def test_every_further_box_has_a_group_of_its_own():
    reading = sample_reading()
    effusion = next(finding for finding in reading.findings if finding.finding == "pleural_effusion")
    second = replace(effusion.evidence[0], box_px=(1500, 200, 1800, 500), score=0.77, frame=None)
    findings = tuple(replace(f, evidence=(*f.evidence, second)) if f is effusion else f for f in reading.findings)
    document = rendered(reading=replace(reading, findings=findings))
    assert items(group(document, "pleural_effusion 2"), "NUM", "Probability")[0].MeasuredValueSequence[
        0
    ].NumericValue == pytest.approx(0.77)
    assert items(group(document, "pleural_effusion 2"), "CODE", "Change since prior study") == []


def test_a_change_is_coded_and_names_the_prior_image():
    change = items(group(rendered(), "pleural_effusion"), "CODE", "Change since prior study")[0]
    assert coded(change) == ("SCT", "35105006")
    assert change.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == PRIOR_FRONTAL
    assert change.ContentSequence[0].RelationshipType == "INFERRED FROM"


def test_every_sentence_is_text_inferred_from_its_images():
    report = sample_report()
    container = items(rendered(), "CONTAINER", "Qualitative Evaluations")[0]
    texts = [item for item in container.ContentSequence if item.ConceptNameCodeSequence[0].CodeMeaning != "Comment"]
    assert [item.TextValue for item in texts] == [sentence.text for sentence in report.sentences]
    for item, sentence in zip(texts, report.sentences, strict=True):
        uids = {image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for image in item.ContentSequence}
        assert uids == {uid for e in sentence.evidence for uid in (e.sop_instance_uid, e.prior_sop_instance_uid) if uid}


def test_a_rejected_finding_has_no_group_in_the_signed_document():
    names = {item.TextValue for item in items(rendered(signed(sample_report())), "TEXT", "Tracking Identifier")}
    assert "pneumonia" not in names
    assert "pleural_effusion" in names


def test_highdicom_reads_the_measurements_back():
    document = hd.sr.ComprehensiveSR.from_dataset(rendered())
    regions = document.content.get_planar_roi_measurement_groups(graphic_type=hd.sr.GraphicTypeValues.POLYLINE)
    assert {region.tracking_identifier for region in regions} == {"lung_opacity", "pneumonia", "pleural_effusion"}
    effusion = next(region for region in regions if region.tracking_identifier == "pleural_effusion")
    assert effusion.finding_type == hd.sr.CodedConcept("60046008", "SCT", "Pleural effusion")
    assert {measurement.name.meaning for measurement in effusion.get_measurements()} == {"Probability", "height"}
    assert len(document.content.get_image_measurement_groups()) == 7


def test_a_study_that_was_not_read_gives_a_document_without_measurements():
    document = rendered(not_read_report(), reading=not_read())
    assert items(document, "CONTAINER", "Measurement Group") == []
    assert items(document, "TEXT", "Finding")[0].TextValue.startswith("Not read")


def test_a_missing_header_is_refused_with_the_images_uid():
    headers = source_headers()
    del headers[PRIOR_FRONTAL]
    with pytest.raises(DraftError, match=PRIOR_FRONTAL):
        dicom_sr.render(sample_reading(), sample_report(), headers)


def test_a_report_without_an_image_of_its_own_study_is_refused():
    with pytest.raises(DraftError, match="no image of its own study"):
        dicom_sr.render(sample_reading(), replace(sample_report(), study_instance_uid="1.2.3"), source_headers())


def test_the_sink_renders_with_the_headers_it_was_given():
    sink = dicom_sr.SrSink(source_headers())
    assert sink.suffix == ".dcm"
    assert sink.render(sample_reading(), sample_report()) == dicom_sr.render(
        sample_reading(), sample_report(), source_headers()
    )
