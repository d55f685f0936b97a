"""Which images a chest model may read, and the words for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from radpipe import dicom
from radpipe.card import InputSpec
from radpipe.study import FileRef, Study
from tests.dicom_instances import SECONDARY_CAPTURE, bundled, described

CHEST = InputSpec(("CR", "DX"), "CHEST", ("PA", "AP"), 224, 224, 3, (0.5,), (0.2,), (1.0, 99.0), (18, 100))


def study(*attributes: dict[str, Any]) -> Study:
    instances = [described(str(n), **({"SOPInstanceUID": f"1.{n}"} | one)) for n, one in enumerate(attributes)]
    return dicom.group(instances, [])[0][0]


def chosen(found: Study) -> list[str]:
    return [choice.sop_instance_uid for choice in dicom.choose(found, CHEST) if choice.chosen]


def derivation(code: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", meaning
    return Sequence([item])


def test_the_real_chest_film_is_read_though_it_is_derived() -> None:
    for name in ("RG1_UNCI.dcm", "RG1_J2KI.dcm", "RG1_J2KR.dcm"):
        found = dicom.group([dicom.describe(bundled(name), FileRef(Path(name)))], [])[0][0]
        (choice,) = dicom.choose(found, CHEST)
        assert (choice.chosen, choice.why) == (True, "CR, chest, PA by its tags")


def test_frontal_before_unknown_and_pa_before_ap() -> None:
    found = study({"ViewPosition": "AP"}, {"ViewPosition": None}, {"ViewPosition": "PA"}, {"ViewPosition": "LL"})
    choices = dicom.choose(found, CHEST)
    assert [(choice.sop_instance_uid, choice.chosen) for choice in choices] == [
        ("1.2", True), ("1.0", True), ("1.1", True), ("1.3", False),
    ]  # fmt: skip
    assert choices[2].why == "CR, chest, view to be told from the image"
    assert choices[3].why == "a lateral view: this model reads PA, AP"


def test_the_better_of_two_exposures() -> None:
    larger = {"SOPInstanceUID": "1.8", "AcquisitionDate": "20260102", "AcquisitionTime": "101500"}
    first = {"AcquisitionDate": "20260102", "AcquisitionTime": "101000"}
    found = study(first, larger)
    assert chosen(found) == ["1.8"]
    assert dicom.choose(found, CHEST)[1].why == "a second exposure of the same PA view: the other is later (1.8)"
    overexposed = study(first, larger | {"DeviationIndex": "4.2"})
    assert chosen(overexposed) == ["1.0"]
    assert dicom.choose(overexposed, CHEST)[1].why.endswith("the other is better exposed (1.0)")
    next_day = study(first, larger | {"AcquisitionDate": "20260103"})
    assert chosen(next_day) == ["1.8", "1.0"]
    breathing = study(first | {"SeriesDescription": "inspiration"}, larger | {"SeriesDescription": "expiration"})
    assert chosen(breathing) == ["1.8", "1.0"]


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"Modality": "CT"}, "modality CT: this model reads CR, DX"),
        ({"BodyPartExamined": "HAND"}, "shows the HAND: this model reads the CHEST"),
        ({"SOPClassUID": SECONDARY_CAPTURE}, "a secondary capture or scanned document: send the original CR or DX object"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localiser, which is for planning and not for reading"),
        ({"ImageType": ["DERIVED", "SECONDARY"]},
         "made from another image after the examination (DERIVED, SECONDARY): send the original"),
        ({"SeriesDescription": "Chest PA bone suppressed"},
         'not the film itself but made from it ("bone suppressed" in its series description)'),
        ({"ImageType": ["DERIVED", "PRIMARY"], "DerivationCodeSequence": derivation("113062", "Pixel by pixel subtraction")},
         "derived by pixel by pixel subtraction: send the original"),
        ({"PresentationIntentType": "FOR PROCESSING"},
         "raw data of the detector (FOR PROCESSING): send the image FOR PRESENTATION"),
        ({"ViewPosition": "LLD"}, "a decubitus view: this model reads PA, AP"),
        ({"QualityControlImage": "YES"}, "a quality control image"),
        ({"SeriesDescription": "CHEST REJECTED"}, "marked as rejected by its sender"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "in colour (PALETTE COLOR): the model reads greyscale radiographs"),
    ],
)  # fmt: skip
def test_what_is_not_read_says_why(attributes: dict[str, Any], why: str) -> None:
    (choice,) = dicom.choose(study(attributes), CHEST)
    assert (choice.chosen, choice.why) == (False, why)


@pytest.mark.parametrize(
    "attributes",
    [
        {"BodyPartExamined": None},
        {"BodyPartExamined": "THORAX"},
        {"ImageType": ["DERIVED", "PRIMARY"]},
        {"ImageType": ["DERIVED", "PRIMARY"], "DerivationCodeSequence": derivation("113040", "Lossy Compression")},
        {"ImageType": ["DERIVED", "PRIMARY"], "DerivationDescription": "edge enhanced, gamma 1.2"},
    ],
)
def test_ordinary_films_are_read(attributes: dict[str, Any]) -> None:
    assert chosen(study(attributes)) == ["1.0"]


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"Modality": "CT"}, "no model for CT (this model reads CR, DX of the CHEST)"),
        ({"BodyPartExamined": "HAND"}, "no model for CR of the HAND (this model reads CR, DX of the CHEST)"),
        ({"ViewPosition": "LL"}, "no frontal chest image: only a lateral view"),
        ({"ViewPosition": "RLO"}, "no frontal chest image: only an oblique view"),
        ({"SOPClassUID": SECONDARY_CAPTURE},
         "no readable chest image: a secondary capture or scanned document: send the original CR or DX object"),
    ],
)  # fmt: skip
def test_a_study_that_is_not_read_says_so_in_one_sentence(attributes: dict[str, Any], sentence: str) -> None:
    found = study(attributes)
    assert dicom.why_not_read(found, dicom.choose(found, CHEST), CHEST) == sentence


def test_a_read_study_needs_no_reason() -> None:
    found = study({})
    assert dicom.why_not_read(found, dicom.choose(found, CHEST), CHEST) == ""
