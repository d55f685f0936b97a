from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from radpipe import volume
from radpipe.codes import Code, Laterality
from radpipe.dicom.parse import parse
from radpipe.errors import DraftError
from radpipe.segmenter import Channel, Kind, Plan, Segmentation, SegmenterCard, Step, Volume
from radpipe.sinks import dicom_seg
from tests.ct_series import ct_series, enhanced_ct

NODULE = Channel(1, "nodule", "nodule", Code("427359005", "SCT", "Solitary nodule of lung"), Kind.FINDING)
KIDNEY = Channel(2, "kidney_left", "kidney_left", Code("64033007", "SCT", "Kidney"), Kind.ANATOMY, Laterality.LEFT)
LOCAL = Channel(3, "thing", "thing", Code("THING", "99RADPIPE", "thing"), Kind.ANATOMY)

SHAPE = (10, 24, 32)


def card() -> SegmenterCard:
    plan = Plan(Step("UNet", ()), 3, 1, 4, (), Step("SimpleInferer", ()), "softmax", "argmax", 0.5, True)
    return SegmenterCard(
        name="spleen",
        version="0.5.3",
        summary="",
        strength="",
        licence="",
        files=(("a", "b" * 64),),
        directory=Path("."),
        training_data="",
        population="",
        limits=(),
        modality="CT",
        body_part="",
        channels=(NODULE, KIDNEY, LOCAL),
        plan=plan,
    )


def read(files: dict[str, bytes]) -> tuple[Volume, dict[str, Dataset]]:
    headers = {name: parse(content).dataset for name, content in files.items()}
    block = volume.read_volume(volume.choose_series(volume.survey(headers.items())), files.__getitem__)
    return block, {str(header.SOPInstanceUID): header for header in headers.values()}


def phantom(**attributes: object) -> tuple[Volume, dict[str, Dataset]]:
    return read(ct_series(np.zeros(SHAPE, np.int16), spacing=(2.0, 0.8, 0.7), shuffled=True, **attributes))


def drawn() -> Segmentation:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:6, 4:9, 5:12] = 1
    labels[1:3, 12:20, 14:30] = 2
    labels[8, 1, 1] = 3
    return Segmentation(labels, (NODULE, KIDNEY, LOCAL), False, card().identity, "torch", "cpu")


def rendered(segmentation: Segmentation, block: Volume, headers: dict[str, Dataset]) -> Dataset:
    return dcmread(BytesIO(dicom_seg.render(segmentation, block, card(), headers, datetime(2026, 1, 2, 3, 4, tzinfo=UTC))))


def test_every_segment_lies_on_the_slices_that_it_was_drawn_on():
    block, headers = phantom()
    document = rendered(drawn(), block, headers)
    assert (document.SegmentationType, document.Modality) == ("BINARY", "SEG")
    found = np.zeros((4, *SHAPE), bool)
    place = {uid: index for index, uid in enumerate(block.sop_instance_uids)}
    for frame, pixels in zip(document.PerFrameFunctionalGroupsSequence, document.pixel_array, strict=True):
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[number, place[source]] = pixels
        assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == list(headers[source].ImagePositionPatient)
    for number in (1, 2, 3):
        np.testing.assert_array_equal(found[number], drawn().labels == number)
    assert int(document.NumberOfFrames) == 4 + 2 + 1  # empty frames are not written


def test_segments_are_coded_and_name_the_algorithm_with_version_and_hash():
    document = rendered(drawn(), *phantom())
    nodule, kidney, thing = document.SegmentSequence
    assert nodule.SegmentedPropertyTypeCodeSequence[0].CodeValue == "427359005"
    assert nodule.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Morphologically Altered Structure"
    assert kidney.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
    assert kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    assert kidney.SegmentLabel == "Kidney, left"
    assert thing.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99RADPIPE"
    assert "99RADPIPE" in {item.CodingSchemeDesignator for item in document.CodingSchemeIdentificationSequence}
    algorithm = nodule.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("spleen", "0.5.3")
    assert card().sha256 in algorithm.AlgorithmParameters
    assert nodule.SegmentAlgorithmType == "AUTOMATIC"


def test_it_joins_the_study_in_a_series_of_its_own_with_the_patient_as_sent():
    block, headers = phantom(PatientName="Buc^Jérôme", SpecificCharacterSet="ISO_IR 100")
    document = rendered(drawn(), block, headers)
    assert document.StudyInstanceUID == block.study_instance_uid
    assert document.SeriesInstanceUID != block.series_instance_uid
    assert document.FrameOfReferenceUID == block.frame_of_reference_uid
    assert (document.PatientName, document.PatientID, document.AccessionNumber) == ("Buc^Jérôme", "P1", "A1")
    assert (document.ContentDate, document.ContentTime) == ("20260102", "030400")
    referenced = document.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == block.series_instance_uid
    assert "preliminary" in document.SeriesDescription


def test_the_same_mask_is_the_same_object_and_another_mask_another():
    block, headers = phantom()
    first = dicom_seg.render(drawn(), block, card(), headers)
    assert first == dicom_seg.render(drawn(), block, card(), headers)
    changed = drawn().labels.copy()
    changed[5, 5, 5] = 0
    other = dcmread(BytesIO(dicom_seg.render(replace(drawn(), labels=changed), block, card(), headers)))
    assert other.SOPInstanceUID != dcmread(BytesIO(first)).SOPInstanceUID
    assert UID(other.SOPInstanceUID).is_valid


def test_overlapping_channels_keep_both():
    block, headers = phantom()
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:5, 2:9, 2:9] = 0b11
    labels[3:5, 9:12, 2:9] = 0b10
    both = Segmentation(labels, (NODULE, KIDNEY), True, card().identity, "torch", "cpu")
    document = rendered(both, block, headers)
    counts: dict[int, int] = {}
    for frame, pixels in zip(document.PerFrameFunctionalGroupsSequence, document.pixel_array, strict=True):
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        counts[number] = counts.get(number, 0) + int(pixels.sum())
    assert counts == {1: int(both.mask(NODULE).sum()), 2: int(both.mask(KIDNEY).sum())}


def test_frames_of_an_enhanced_image_are_referenced_by_number():
    block, headers = read({"one": enhanced_ct(np.zeros(SHAPE, np.int16))})
    document = rendered(drawn(), block, headers)
    source = document.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert source.ReferencedFrameNumber in range(1, 11)
    assert int(document.NumberOfFrames) == 7


def test_an_empty_mask_a_missing_header_and_a_missing_frame_of_reference_are_refused_in_words():
    block, headers = phantom()
    empty = replace(drawn(), labels=np.zeros(SHAPE, np.uint8))
    with pytest.raises(DraftError, match="the mask is empty"):
        dicom_seg.render(empty, block, card(), headers)
    with pytest.raises(DraftError, match="the header of 9 of the volume's images is missing"):
        dicom_seg.render(drawn(), block, card(), dict([next(iter(headers.items()))]))
    with pytest.raises(DraftError, match="no Frame of Reference UID"):
        dicom_seg.render(drawn(), replace(block, frame_of_reference_uid=""), card(), headers)


@pytest.mark.parametrize("kind", ["slices", "enhanced", "one frame of reference a slice"])
def test_dciodvfy_finds_no_error(kind, tmp_path):
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    block, headers = phantom() if kind != "enhanced" else read({"one": enhanced_ct(np.zeros(SHAPE, np.int16))})
    if kind.startswith("one"):
        for number, header in enumerate(headers.values()):
            header.FrameOfReferenceUID = f"2.25.{400 + number}"
    path = tmp_path / "seg.dcm"
    path.write_bytes(dicom_seg.render(drawn(), block, card(), headers))
    run = subprocess.run([tool, str(path)], capture_output=True, timeout=60, check=False)
    lines = (run.stdout + run.stderr).decode(errors="replace").splitlines()
    assert "Segmentation" in lines
    assert [line for line in lines if line.startswith(("Error", "Abort"))] == []
    assert [line for line in lines if line.startswith("Warning") and "99RADPIPE" not in line] == []
