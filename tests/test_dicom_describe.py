"""What a file's bytes say of it, and why a file cannot be used."""

from __future__ import annotations

import logging
import warnings
import zlib
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from radpipe import dicom
from radpipe.codes import Laterality
from radpipe.errors import InputError
from radpipe.study import Basis, FileRef, SetAside, View
from tests.dicom_instances import CR, bundled, dataset, described, film, written

REF = FileRef(Path("a.dcm"))


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def why(content: bytes) -> str:
    with pytest.raises(InputError) as caught:
        dicom.describe(content, REF)
    return str(caught.value)


def test_the_real_chest_film_is_described() -> None:
    found = dicom.describe(bundled("RG1_UNCI.dcm"), REF)
    image = found.image
    assert image is not None
    assert (image.modality, image.rows, image.columns, image.number_of_frames) == ("CR", 1955, 1841, 1)
    assert (image.body_part, image.body_part_basis, image.view, image.view_basis) == (
        "CHEST", Basis.TAGS, View.PA, Basis.TAGS,
    )  # fmt: skip
    assert image.photometric_interpretation == "MONOCHROME1"
    assert image.image_type == ("DERIVED", "PRIMARY")
    assert image.derivations == (("113040", "Lossy Compression"), ("", "JPEG 2000 irreversible (lossy) 10:1"))
    assert image.patient_orientation == ("L", "F")
    assert image.spacing_mm is None
    assert len(image.sha256) == 64


def test_study_attributes_are_read() -> None:
    study = described(AccessionNumber="A1", StudyDescription="XR CHEST", PatientAge="066Y", InstitutionName="H").study
    assert study.study_date == date(2026, 1, 2)
    assert study.study_time == time(10, 11, 12)
    assert study.patient.patient_birth_date == date(1960, 1, 1)
    assert (study.patient.patient_id, study.patient.patient_name, study.patient.patient_sex) == ("P1", "Doe^Jane", "F")
    assert (study.accession_number, study.study_description, study.patient_age) == ("A1", "XR CHEST", "066Y")
    assert study.modalities == ("CR",)


@pytest.mark.parametrize(
    ("name", "patient_name"),
    [
        ("chrArab.dcm", "قباني^لنزار"),
        ("chrFren.dcm", "Buc^Jérôme"),
        ("chrFrenMulti.dcm", "Buc^Jérôme"),
        ("chrGerm.dcm", "Äneas^Rüdiger"),
        ("chrGreek.dcm", "Διονυσιος"),
        ("chrH31.dcm", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("chrH32.dcm", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("chrHbrw.dcm", "שרון^דבורה"),
        ("chrI2.dcm", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("chrJapMulti.dcm", "やまだ^たろう"),
        ("chrJapMultiExplicitIR6.dcm", "やまだ^たろう"),
        ("chrKoreanMulti.dcm", "김희중"),
        ("chrRuss.dcm", "Люкceмбypг"),
        ("chrX1.dcm", "Wang^XiaoDong=王^小東"),
        ("chrX2.dcm", "Wang^XiaoDong=王^小东"),
    ],
)
def test_names_are_read_in_their_character_set(name: str, patient_name: str) -> None:
    assert dicom.describe(bundled(name), REF).study.patient.patient_name == patient_name


@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        (b"", "Müller".encode(), "Müller"),
        (b"", "Müller".encode("latin-1"), "Müller"),
        (b"NONSENSE", "Müller".encode(), "Müller"),
        (b"ISO_IR 100", "Müller".encode("latin-1"), "Müller"),
    ],
)
def test_a_wrong_or_missing_character_set_falls_back(charset: bytes, raw: bytes, text: str) -> None:
    content = film(SpecificCharacterSet="ISO_IR 100", InstitutionName="Q" * 8)
    content = content.replace(b"ISO_IR 100", charset.ljust(10)).replace(b"Q" * 8, raw.ljust(8))
    assert dicom.describe(content, REF).study.institution_name == text


@pytest.mark.parametrize(
    ("attributes", "spacing", "source"),
    [
        ({}, None, ""),
        ({"PixelSpacing": [0.1, 0.2], "PixelSpacingCalibrationType": "FIDUCIAL"}, (0.1, 0.2),
         "PixelSpacing, calibrated (FIDUCIAL)"),
        ({"PixelSpacing": [0.1, 0.1], "ImagerPixelSpacing": [0.14, 0.14]}, (0.1, 0.1),
         "PixelSpacing, calibrated by unstated means"),
        ({"PixelSpacing": [0.14, 0.14], "ImagerPixelSpacing": [0.14, 0.14]}, (0.14, 0.14),
         "ImagerPixelSpacing, at the detector"),
        ({"ImagerPixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": "1.25"}, (0.16, 0.16),
         "ImagerPixelSpacing, divided by the estimated magnification 1.25"),
        ({"PixelSpacing": [0.14, 0.14]}, (0.14, 0.14), "PixelSpacing, calibration not stated"),
        ({"NominalScannedPixelSpacing": [0.17, 0.17]}, (0.17, 0.17),
         "NominalScannedPixelSpacing, at the film or paper that was scanned"),
        ({"PixelSpacing": [0, 0]}, None, ""),
        ({"PixelSpacing": [500, 500]}, None, ""),
        ({"PixelSpacing": [0.1, 40]}, None, ""),
    ],
)  # fmt: skip
def test_spacing_says_where_it_comes_from(
    attributes: dict[str, Any], spacing: tuple[float, float] | None, source: str
) -> None:
    image = described(**attributes).image
    assert image is not None
    assert image.spacing_source == source
    assert image.spacing_mm == (pytest.approx(spacing) if spacing else None)


@pytest.mark.parametrize(
    ("attributes", "view", "basis", "other"),
    [
        ({"ViewPosition": "AP"}, View.AP, Basis.TAGS, ""),
        ({"ViewPosition": "LL"}, View.LATERAL, Basis.TAGS, ""),
        ({"ViewPosition": "LLD"}, None, Basis.TAGS, "decubitus"),
        ({"ViewPosition": None, "SeriesDescription": "Chest AP portable"}, View.AP, Basis.DESCRIPTION, ""),
        ({"ViewPosition": None, "SeriesDescription": "CHEST PORTABLE"}, View.AP, Basis.DESCRIPTION, ""),
        ({"ViewPosition": None, "SeriesDescription": "Thorax p.a."}, View.PA, Basis.DESCRIPTION, ""),
        ({"ViewPosition": None, "SeriesDescription": "Röntgen Thorax seitlich"}, View.LATERAL, Basis.DESCRIPTION, ""),
        ({"ViewPosition": None, "SeriesDescription": "thorax de profil"}, View.LATERAL, Basis.DESCRIPTION, ""),
        ({"ViewPosition": None, "SeriesDescription": "Torace LL"}, View.LATERAL, Basis.DESCRIPTION, ""),
        ({"ViewPosition": None, "SeriesDescription": "Rx tórax posteroanterior"}, View.PA, Basis.DESCRIPTION, ""),
        ({"ViewPosition": None, "StudyDescription": "XR CHEST PA AND LATERAL"}, None, None, ""),
        ({"ViewPosition": None, "SeriesDescription": "AP LORDOTIC"}, None, Basis.DESCRIPTION, "lordotic"),
        ({"ViewPosition": None, "PatientOrientation": ["A", "F"]}, View.LATERAL, Basis.TAGS, ""),
        ({"ViewPosition": None}, None, None, ""),
    ],
)
def test_the_view_is_known_from_tags_then_words(
    attributes: dict[str, Any], view: View | None, basis: Basis | None, other: str
) -> None:
    image = described(SpecificCharacterSet="ISO_IR 192", **attributes).image
    assert image is not None
    assert (image.view, image.view_basis, image.other_projection) == (view, basis, other)


@pytest.mark.parametrize(
    ("attributes", "part", "basis"),
    [
        ({"BodyPartExamined": "THORAX"}, "CHEST", Basis.TAGS),
        ({"BodyPartExamined": "RIB"}, "CHEST", Basis.TAGS),
        ({"BodyPartExamined": "TSPINE"}, "TSPINE", Basis.TAGS),
        ({"BodyPartExamined": "WHOLEBODY"}, "WHOLEBODY", Basis.TAGS),
        ({"BodyPartExamined": None, "StudyDescription": "Röntgen-Thorax in 2 Ebenen"}, "CHEST", Basis.DESCRIPTION),
        ({"BodyPartExamined": None, "StudyDescription": "Radiographie pulmonaire, poumons"}, "CHEST", Basis.DESCRIPTION),
        ({"BodyPartExamined": None, "StudyDescription": "Rx tórax"}, "CHEST", Basis.DESCRIPTION),
        ({"BodyPartExamined": None, "StudyDescription": "RX TORACE"}, "CHEST", Basis.DESCRIPTION),
        ({"BodyPartExamined": None, "StudyDescription": "thoracic spine ap"}, "TSPINE", Basis.DESCRIPTION),
        ({"BodyPartExamined": None, "StudyDescription": "Linke Hand, rechtes Knie"}, "", None),
        ({"BodyPartExamined": None}, "", None),
    ],
)
def test_the_body_part_is_known_from_tags_then_words(attributes: dict[str, Any], part: str, basis: Basis | None) -> None:
    image = described(SpecificCharacterSet="ISO_IR 192", **attributes).image
    assert image is not None
    assert (image.body_part, image.body_part_basis) == (part, basis)


def test_codes_tell_region_view_and_side() -> None:
    image = described(
        BodyPartExamined=None,
        ViewPosition=None,
        ImageLaterality="R",
        AnatomicRegionSequence=Sequence([item(CodeValue="51185008", CodingSchemeDesignator="SCT", CodeMeaning="x")]),
        ViewCodeSequence=Sequence([item(CodeValue="272479007", CodingSchemeDesignator="SCT", CodeMeaning="y")]),
    ).image
    assert image is not None
    assert (image.body_part, image.view, image.image_laterality) == ("CHEST", View.PA, Laterality.RIGHT)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"ReasonForTheRequestedProcedure": "fever"}, "fever"),
        ({"RequestAttributesSequence": Sequence([item(ReasonForTheRequestedProcedure="cough")])}, "cough"),
        ({"ReasonForRequestedProcedureCodeSequence": Sequence([item(CodeValue="1", CodeMeaning="Dyspnea")])}, "Dyspnea"),
        ({"ReasonForStudy": "fall", "AdmittingDiagnosesDescription": "x"}, "fall"),
        ({"AdmittingDiagnosesDescription": ["COPD", "CHF"]}, "COPD; CHF"),
    ],
)
def test_the_reason_for_the_study_is_found(attributes: dict[str, Any], reason: str) -> None:
    assert described(**attributes).study.reason_for_study == reason


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty: copy or send it again"),
        (b"hello world, a report\n" * 9,
         "not DICOM, it looks like text: if it should be an image, export it as DICOM; a report in plain text: "
         "`radpipe report import`"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 200, "not DICOM, it looks like a PNG picture: export the image as DICOM"),
        (b"%PDF-1.7" + b"\0" * 200,
         "not DICOM, it looks like a PDF document: a document is not read; export the images of the study as DICOM"),
        (b"\x1f\x8b" + b"\0" * 200, "not DICOM, it looks like a gzip file: unpack it, or give a .zip file"),
        (bytes(range(7, 207)), "not DICOM: if it should be an image, export it as DICOM"),
    ],
)  # fmt: skip
def test_what_is_not_dicom_is_named(content: bytes, words: str) -> None:
    assert why(content) == words


def test_a_cut_film_is_set_aside_in_its_study() -> None:
    whole = film()
    aside = dicom.look(whole[:-100], REF)
    assert aside == SetAside(
        "a.dcm", "truncated: 412 of 512 bytes of its pixel data are there; copy or send it again", "1.2.3", "1.2.3.4"
    )
    assert dicom.look(bundled("MR_truncated.dcm"), REF) == SetAside(
        "a.dcm",
        "truncated: 8130 of 8192 bytes of its pixel data are there; copy or send it again",
        "1.3.6.1.4.1.5962.1.2.4.20040826185059.5457",
        "1.3.6.1.4.1.5962.1.1.4.1.1.20040826185059.5457",
    )


def test_reasons_that_name_the_cure() -> None:
    assert why(film(SOPInstanceUID=None)) == "it has no SOPInstanceUID: send it again from the PACS, which adds them"
    assert why(film(StudyInstanceUID=None)).startswith("it has no StudyInstanceUID")
    assert why(film(Rows=None)).startswith("it does not say how large its picture is (Rows, Columns)")
    assert "1.2.840.10008.5.1.4.1.1.104.1" not in why(film(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1"))
    assert why(film(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1")).startswith("a scanned document (encapsulated PDF)")
    assert why(bundled("dicomdirtests/DICOMDIR")).startswith("a DICOMDIR, which is only an index")
    video = written(dataset(), "1.2.840.10008.1.2.4.102", b"\0" * 64)
    assert why(video).startswith("its picture is a video, MPEG-4 AVC/H.264 High Profile")
    part_2 = written(dataset(), "1.2.840.10008.1.2.4.92", b"\0" * 64)
    assert "is not supported: have the sender use an uncompressed transfer syntax" in why(part_2)


def test_a_broken_deflated_file_is_refused() -> None:
    whole = bundled("image_dfl.dcm")
    assert dicom.describe(whole, REF).image is not None
    assert why(whole[:-500]) == "truncated: its deflated part ends early; copy or send it again"
    broken = whole[:400] + b"\xff" * 40 + whole[440:]
    assert why(broken) == "damaged: its deflated part does not inflate; copy or send it again"


def test_a_deflate_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bundled("image_dfl.dcm")
    start = len(whole) - len(whole[132:].split(b"1.2.840.10008.1.2.1.99", 1)[1])
    monkeypatch.setattr("radpipe.dicom.parse.MAX_INFLATED_BYTES", 1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(b"\0" * (1 << 24)) + packer.flush()
    assert start > 132
    import radpipe.dicom.parse as parse

    assert "grows beyond 1 MiB" in why(whole[: parse._end_of_meta(whole)] + bomb)


def test_instances_without_a_picture_say_why() -> None:
    report = dicom.describe(bundled("test-SR.dcm"), REF)
    assert report.image is None
    assert report.why_no_image == "Comprehensive SR Storage, which holds no picture"
    assert dicom.describe(bundled("liver_1frame.dcm"), REF).why_no_image == "a segmentation, not a picture"
    assert dicom.describe(bundled("rtdose.dcm"), REF).why_no_image == "a radiotherapy dose, not a picture"
    header = dicom.describe(bundled("chrJapMulti.dcm"), REF).why_no_image
    assert header == "Computed Radiography Image Storage without its pixel data: export it again with its pixels"


def test_a_rejection_note_names_what_it_withdraws() -> None:
    reference = item(ReferencedSOPClassUID=CR, ReferencedSOPInstanceUID="1.2.3.9")
    evidence = item(
        StudyInstanceUID="1.2.3",
        ReferencedSeriesSequence=Sequence([item(SeriesInstanceUID="1.2", ReferencedSOPSequence=Sequence([reference]))]),
    )
    note = dataset(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.59",
        Modality="KO",
        ConceptNameCodeSequence=Sequence([item(CodeValue="113001", CodingSchemeDesignator="DCM", CodeMeaning="Rejected")]),
        CurrentRequestedProcedureEvidenceSequence=Sequence([evidence]),
    )
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(note, keyword)
    found = dicom.describe(written(note), REF)
    assert found.image is None
    assert found.rejects == (("1.2.3.9", "rejected for quality reasons"),)


def test_describing_neither_warns_nor_logs_a_value(caplog: pytest.LogCaptureFixture) -> None:
    content = film(PatientID="SECRET").replace(b"20260102", b"2026SECR").replace(b"101112", b"10SECR")
    before = list(warnings.filters)
    with caplog.at_level(logging.DEBUG):
        found = dicom.describe(content, REF)
    assert found.study.study_date is None
    assert "SECR" not in caplog.text
    assert list(warnings.filters) == before
    assert logging.getLogger("pydicom").level != logging.CRITICAL + 1


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=600))
def test_random_bytes_raise_input_error_alone(noise: bytes) -> None:
    for content in (noise, b"\0" * 128 + b"DICM" + noise):
        assert isinstance(dicom.look(content, REF), SetAside | dicom.Described)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_film_with_any_bytes_changed_raises_input_error_alone(data: st.DataObject) -> None:
    content = bytearray(film(WindowCenter=2000, WindowWidth=1000, SpecificCharacterSet="ISO_IR 192"))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    for one in (bytes(content), cut):
        dicom.look(one, REF)
        try:
            dicom.presentation(one)
        except InputError:
            continue
