from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from radpipe import volume
from radpipe.codes import Code
from radpipe.dicom.parse import parse
from radpipe.errors import InputError
from radpipe.finding import Decision
from radpipe.segmenter import Channel, Kind, Segmentation, Volume
from radpipe.volume.components import connected_runs
from radpipe.volume.measure import largest_distance
from tests.ct_series import ENHANCED_CT, ct_series, enhanced_ct, sphere

NODULE = Channel(1, "nodule", "nodule", Code("427359005", "SCT", "Solitary nodule of lung"), Kind.FINDING, smallest_ml=0.05)


def chosen(files: dict[str, bytes], **options: Any) -> volume.SeriesChoice:
    return volume.choose_series(volume.survey((name, parse(content).dataset) for name, content in files.items()), **options)


def built(files: dict[str, bytes]) -> Volume:
    return volume.read_volume(chosen(files), files.__getitem__)


def plain_volume(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Volume:
    affine = np.diag([spacing[2], spacing[1], spacing[0], 1.0])
    uids = tuple(f"1.2.{number}" for number in range(shape[0]))
    return Volume(np.zeros(shape, np.int16), affine, uids, (None,) * shape[0], "1", "2", "3", "a test")


def test_slices_are_sorted_along_their_normal_and_rescaled_to_hounsfield_units():
    block = np.arange(10 * 16 * 20, dtype=np.int16).reshape(10, 16, 20) - 1000
    files = ct_series(block, spacing=(2.5, 0.8, 0.7), origin=(-10.0, -20.0, 30.0), shuffled=True)
    found = built(files)
    np.testing.assert_array_equal(found.hounsfield, block)
    assert found.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    np.testing.assert_allclose(found.affine_lps @ [0, 0, 0, 1], [-10, -20, 30, 1])
    np.testing.assert_allclose(found.affine_lps @ [19, 15, 9, 1], [-10 + 19 * 0.7, -20 + 15 * 0.8, 30 + 9 * 2.5, 1])
    assert found.voxel_ml == pytest.approx(2.5 * 0.8 * 0.7 / 1000)
    assert not found.hounsfield.flags.writeable
    assert "10 axial slices, 2.5 mm apart" in found.why


def test_padding_is_air_and_values_below_air_are_raised_to_it():
    block = np.full((8, 16, 16), 40, np.int16)
    block[:, 0, 0] = -2000
    block[:, 1, 1] = -1500
    found = built(ct_series(block, PixelPaddingValue=-2000 + 1024)).hounsfield
    assert set(np.unique(found)) == {-1024, 40}


def test_sagittal_slices_get_an_affine_of_their_own():
    block = np.zeros((9, 12, 14), np.int16)
    files = ct_series(block, spacing=(3.0, 1.0, 1.0), orientation=(0, 1, 0, 0, 0, -1))
    found = built(files)
    np.testing.assert_allclose(found.affine_lps[:3, 0], [0, 1, 0])
    np.testing.assert_allclose(found.affine_lps[:3, 1], [0, 0, -1])
    np.testing.assert_allclose(found.affine_lps[:3, 2], [-3, 0, 0], atol=1e-9)
    assert "non-axial" in found.why


def test_an_enhanced_multi_frame_image_is_a_volume_too():
    block = np.arange(9 * 8 * 8, dtype=np.int16).reshape(9, 8, 8)
    found = built({"one.dcm": enhanced_ct(block, spacing=(2.0, 0.5, 0.5))})
    np.testing.assert_array_equal(found.hounsfield, block)
    assert found.frames == tuple(range(1, 10))
    assert len(set(found.sop_instance_uids)) == 1
    assert chosen({"one.dcm": enhanced_ct(block)}).series.sop_class_uid == ENHANCED_CT


BLOCK = np.zeros((12, 16, 16), np.int16)


def without(files: dict[str, bytes], *numbers: int) -> dict[str, bytes]:
    names = sorted(files)
    return {name: files[name] for position, name in enumerate(names) if position not in numbers}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            lambda: without(ct_series(BLOCK), 5, 6),
            "about 2 slices are missing, between slice 5 (z 4.0 mm) and the next (z 7.0 mm)",
        ),
        (lambda: without(ct_series(BLOCK), *range(7, 12)), "only 7 slices: a volume needs 8"),
        (lambda: ct_series(BLOCK, positions=[0, 1, 2, 3, 4, 5.3, 6, 7, 8, 9, 10, 11]), "unevenly spaced (0.7 to 1.3 mm"),
        (lambda: ct_series(BLOCK, positions=[*range(6), *range(6, 18, 2)]), "unevenly spaced"),
        (lambda: ct_series(BLOCK, shear=0.3), "the gantry was tilted by 17 degrees"),
        (
            lambda: ct_series(BLOCK) | ct_series(BLOCK, prefix="b", uid="7", orientation=(1, 0, 0, 0, 0, -1)),
            "slices in different orientations (12 of 24 differ)",
        ),
        (
            lambda: ct_series(BLOCK) | ct_series(BLOCK[:, :8], prefix="b", uid="7"),
            "images of different sizes (16 x 16, 16 x 8)",
        ),
        (
            lambda: ct_series(BLOCK) | ct_series(BLOCK, prefix="b", uid="7", spacing=(1.0, 0.5, 0.5)),
            "images of different pixel spacing (0.5 to 1 mm)",
        ),
        (lambda: ct_series(BLOCK) | ct_series(BLOCK, prefix="b", uid="7"), "12 images lie at the place of another"),
        (lambda: ct_series(BLOCK, ImageType=["DERIVED", "SECONDARY", "MPR"]), "made from another series (Image Type MPR)"),
        (lambda: ct_series(BLOCK, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "a localiser"),
        (lambda: ct_series(BLOCK, Modality="MR"), "modality MR: this model reads CT"),
        (lambda: ct_series(BLOCK, ImagePositionPatient=None), "do not say where in the patient they lie"),
        (lambda: ct_series(BLOCK, SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "not a CT image object"),
        (dict, "no image found"),
    ],
)  # fmt: skip
def test_what_is_no_whole_even_straight_stack_is_refused_in_words(files, words):
    choice = chosen(files())
    assert choice.stack is None
    assert choice.reason.startswith("no CT series that can be read as a volume: ")
    assert words in choice.reason


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"RescaleIntercept": None, "RescaleSlope": None}, "does not say how its values become Hounsfield units"),
        ({"RescaleType": "ED"}, "its values are ED, not Hounsfield units"),
    ],
)
def test_a_series_whose_values_are_not_hounsfield_units_is_refused(attributes, words):
    files = ct_series(BLOCK, **attributes)
    with pytest.raises(InputError, match=words):
        built(files)


def test_a_damaged_slice_is_named_by_its_file():
    files = ct_series(BLOCK)
    choice = chosen(files)
    files["a003.dcm"] = files["a003.dcm"][:-300]
    with pytest.raises(InputError, match=r"slice 4 of the series cannot be used \(a003\.dcm\)"):
        volume.read_volume(choice, files.__getitem__)


def test_of_several_series_the_original_axial_thin_soft_one_is_read_and_the_others_say_why():
    long = np.zeros((40, 16, 16), np.int16)
    files = (
        ct_series(BLOCK[:8], prefix="scout", series="9.1", number=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        | ct_series(long[:20], prefix="thick", series="9.2", number=2, spacing=(5.0, 1.0, 1.0))
        | ct_series(long, prefix="lung", series="9.3", number=3, spacing=(2.5, 1.0, 1.0), SeriesDescription="Lung 2.5 B70f")
        | ct_series(
            long, prefix="soft", series="9.4", number=4, spacing=(2.5, 1.0, 1.0), SeriesDescription="Thorax 2.5 B30f"
        )
        | ct_series(long[:10], prefix="short", series="9.5", number=5, spacing=(1.0, 1.0, 1.0))
    )
    choice = chosen(files)
    assert choice.why == (
        "series 4 (Thorax 2.5 B30f): 40 axial slices, 2.5 mm apart, 16 x 16 pixels of 1 mm; the best of 4 CT series"
    )
    whys = {series.series_number: why for series, why in choice.others}
    assert whys[1] == "a localiser, which is for planning and not for reading"
    assert whys[2].endswith("its slices are thinner")
    assert whys[3].endswith("its kernel is soft")
    assert whys[5].endswith("it shows more of the body")
    lines = choice.image_choices()
    assert [line.chosen for line in lines] == [True] * 40 + [False] * (8 + 20 + 40 + 10)


def test_two_phases_in_one_series_are_told_apart_and_the_note_says_which():
    first = ct_series(np.full((12, 8, 8), 10, np.int16), AcquisitionNumber=1)
    second = ct_series(np.full((12, 8, 8), 90, np.int16), prefix="b", uid="7", AcquisitionNumber=2)
    found = built(first | second)
    assert set(np.unique(found.hounsfield)) == {10}
    assert found.notes[0].startswith("the series holds several images at a place, told apart by AcquisitionNumber")


def test_overlapping_slices_are_read_and_gaps_between_thin_ones_are_said():
    assert built(ct_series(BLOCK, SliceThickness=2)).notes == ("slices overlap: 2 mm thick, 1 mm apart",)
    assert "slices do not touch: 1 mm thick, 10 mm apart" in built(ct_series(BLOCK, spacing=(10.0, 1.0, 1.0))).notes[0]


def test_a_body_part_that_the_model_does_not_read_is_refused():
    choice = chosen(ct_series(BLOCK, BodyPartExamined="HEAD"), body_part="CHEST")
    assert "shows the HEAD: this model reads the CHEST" in choice.reason
    assert chosen(ct_series(BLOCK, BodyPartExamined="CHESTABDOMEN"), body_part="CHEST").stack is not None


def test_connected_parts_are_those_of_26_neighbours():
    mask = np.zeros((4, 5, 6), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 2] = True  # one part, over corners
    mask[0, 0, 5] = mask[0, 4, 0] = True  # each alone; the end of a row does not touch the next row's beginning
    mask[3, 0, 5] = True
    mask[2, 2, 4] = True
    runs = connected_runs(mask)
    assert runs.parts == 5
    assert sorted(np.bincount(runs.part, weights=runs.lengths)) == [1, 1, 1, 1, 3]
    assert connected_runs(np.zeros((2, 3, 4), bool)).parts == 0


def test_connected_parts_agree_with_scipy_on_noise():
    ndimage = pytest.importorskip("scipy.ndimage")
    random = np.random.default_rng(4)
    for share in (0.02, 0.08, 0.3):
        mask = random.random((20, 33, 41)) < share
        labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
        runs = connected_runs(mask)
        assert runs.parts == count
        found = sorted(np.bincount(runs.part, weights=runs.lengths).astype(int))
        assert found == sorted(np.bincount(labels.ravel())[1:])


def test_a_sphere_is_measured_within_two_percent():
    spacing = (1.25, 0.7, 0.8)
    made = sphere((60, 90, 80), spacing, radius_mm=20.0)
    total, found, stated, left = volume.regions(made, plain_volume(made.shape, spacing))
    assert (stated, left) == (1, 0)
    true_ml = 4 / 3 * np.pi * 20.0**3 / 1000
    assert total == pytest.approx(true_ml, rel=0.02)
    assert found[0].diameter_mm == pytest.approx(40.0, abs=1.0)
    assert found[0].axial_diameter_mm == pytest.approx(40.0, abs=1.0)
    centre = [(size - 1) / 2 * step for size, step in zip((80, 90, 60), (0.8, 0.7, 1.25), strict=True)]
    assert found[0].centroid_mm == pytest.approx(centre, abs=0.05)
    assert found[0].first_slice + found[0].last_slice == 59


def test_small_parts_are_left_out_and_counted():
    mask = np.zeros((10, 20, 20), bool)
    mask[2:6, 2:6, 2:6] = True  # 64 voxels of 1 mm3: 0.064 mL
    mask[8, 18, 18] = True
    total, found, stated, left = volume.regions(mask, plain_volume(mask.shape), smallest_ml=0.05)
    assert (total, stated, left) == (pytest.approx(0.064), 1, 1)
    assert found[0].box_px == (2, 2, 6, 6)
    assert (found[0].first_slice, found[0].last_slice) == (2, 5)


def test_the_largest_distance_of_many_points_is_that_of_all_pairs():
    random = np.random.default_rng(0)
    points = random.normal(size=(3000, 3)) * [3.0, 1.0, 2.0]
    apart = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1).max())
    assert largest_distance(points) == pytest.approx(apart, rel=1e-3)


def segmentation(labels: np.ndarray, *channels: Channel) -> Segmentation:
    return Segmentation(labels.astype(np.uint8), channels, False, "test 1 0123456789ab", "torch", "cpu")


def test_a_drawn_finding_is_present_with_volume_box_and_slice_as_evidence():
    labels = np.zeros((10, 20, 20), np.uint8)
    labels[2:6, 3:9, 4:8] = 1
    labels[7:10, 12:16, 12:17] = 1
    block = plain_volume(labels.shape)
    (finding,) = volume.findings_of_mask(
        volume.measured_channels(segmentation(labels, NODULE), block), block, "test 1 0123456789ab"
    )
    assert finding.decision is Decision.PRESENT
    assert finding.code.value == "427359005"
    total, first, diameter, *_ = finding.evidence
    assert (total.measurement.name, total.measurement.value) == ("total volume", pytest.approx(0.156))
    assert (first.measurement.name, first.measurement.value, first.measurement.unit) == (
        "volume",
        pytest.approx(0.096),
        "mL",
    )
    assert first.box_px == (3, 4, 9, 8)
    assert first.sop_instance_uid in {"1.2.2", "1.2.3", "1.2.4", "1.2.5"}
    assert "part 1 of 2, slices 3 to 6" in first.source
    assert diameter.measurement.unit == "mm"
    assert diameter.measurement.value == pytest.approx(np.hypot(5, 3), abs=0.05)
    assert {item.model for item in finding.evidence} == {"test 1 0123456789ab"}


def test_an_empty_mask_is_absent_over_all_slices_and_anatomy_is_measured_but_not_stated():
    spleen = Channel(2, "spleen", "spleen", Code("78961009", "SCT", "Spleen"), Kind.ANATOMY)
    labels = np.zeros((10, 20, 20), np.uint8)
    labels[4:9, 4:9, 4:9] = 2
    block = plain_volume(labels.shape)
    measured = volume.measured_channels(segmentation(labels, NODULE, spleen), block)
    assert [round(one.volume_ml, 3) for one in measured] == [0.0, 0.125]
    (finding,) = volume.findings_of_mask(measured, block, "m")
    assert finding.decision is Decision.ABSENT
    assert [item.sop_instance_uid for item in finding.evidence] == ["1.2.0", "1.2.9"]
    assert "empty over all 10 slices" in finding.evidence[0].source


def test_channels_that_overlap_are_bits():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[0] = 0b11
    labels[1] = 0b10
    other = Channel(5, "b", "b", Code("B", "99RADPIPE", "b"), Kind.ANATOMY)
    found = Segmentation(labels, (NODULE, other), True, "m", "torch", "cpu")
    assert found.mask(NODULE).sum() == 64
    assert found.mask(other).sum() == 128


def test_the_survey_never_raises_on_odd_data_sets():
    odd = Dataset()
    odd.Rows = 4
    odd.PerFrameFunctionalGroupsSequence = Sequence([Dataset()])
    (series,) = volume.survey([("odd", odd), ("empty", Dataset())])
    assert (series.unplaced, series.places) == (1, ())


def test_the_lungs_of_a_real_chest_hold_a_plausible_volume_of_air(shared: Path):
    files = {path.name: path for path in (shared / "dicom" / "ct_chest").glob("*")}
    choice = volume.choose_series(volume.survey((name, parse(path.read_bytes()).dataset) for name, path in files.items()))
    found = volume.read_volume(choice, lambda name: files[name].read_bytes())
    assert found.hounsfield.shape == (275, 512, 512)
    assert "275 frames of reference" in found.notes[0]
    _, parts, _, _ = volume.regions(found.hounsfield < -500, found, smallest_ml=1.0)
    rows, columns = found.hounsfield.shape[1:]
    inside = [p for p in parts if p.box_px[0] > 0 and p.box_px[1] > 0 and p.box_px[2] < rows and p.box_px[3] < columns]
    assert 2000 < sum(part.volume_ml for part in inside) < 8000


def test_real_series_that_are_no_volume_are_refused_in_words(shared: Path):
    for folder, words in (("ct_head", "unevenly spaced"), ("mr_brain", "modality MR")):
        headers = [(path.name, parse(path.read_bytes()).dataset) for path in (shared / "dicom" / folder).glob("*")]
        assert words in volume.choose_series(volume.survey(headers)).reason
