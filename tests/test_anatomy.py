"""Anatomy: what is measured on a drawn chest is what was drawn, and nothing is measured that cannot be seen."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from radpipe.anatomy import NAMES, anatomy, frame, lines, place, place_of_patches
from radpipe.codes import Laterality
from radpipe.evaluate.metrics import auc
from tests.drawn_chest import SIDE, WALLS, drawn_chest


@pytest.mark.parametrize(("right", "left"), [(22.0, 50.0), (30.0, 70.0), (16.0, 36.0)])
def test_the_ratio_of_a_drawn_heart_is_what_was_drawn(right: float, left: float) -> None:
    chest = anatomy(*drawn_chest(right, left))
    assert chest.ratio is not None
    assert chest.ratio.ratio == pytest.approx((right + left) / (WALLS[1] - WALLS[0]), abs=0.025)


def test_the_ratio_brings_its_evidence_in_fractions_of_the_frame() -> None:
    chest = anatomy(*drawn_chest())
    assert chest.ratio is not None
    assert chest.measurement is not None
    assert chest.ratio.thorax == pytest.approx((WALLS[0] / SIDE, WALLS[1] / SIDE), abs=0.01)
    assert 0 < chest.ratio.thorax[0] < chest.ratio.heart[0] < chest.ratio.heart[1] < chest.ratio.thorax[1] < 1
    assert chest.measurement.unit == "1"
    assert "limits of agreement" in chest.measurement.basis


def test_what_is_drawn_lies_where_it_was_measured() -> None:
    chest = anatomy(*drawn_chest())
    assert chest.ratio is not None
    drawn = lines(chest)
    assert [line.name for line in drawn] == ["right lung", "left lung", "heart", "heart", "thorax"]
    across = sum(abs(line.points[1][0] - line.points[0][0]) for line in drawn if line.name == "heart")
    (thorax,) = (line.points for line in drawn if line.name == "thorax")
    assert across / (thorax[1][0] - thorax[0][0]) == pytest.approx(chest.ratio.ratio, abs=1e-6)
    for name, field in zip(("right lung", "left lung"), chest.fields, strict=True):
        (outline,) = (line.points for line in drawn if line.name == name)
        assert all(field[int(y * SIDE), int(x * SIDE)] for x, y in outline)


def test_a_white_lung_gives_no_ratio_and_says_why() -> None:
    masks, grey = drawn_chest()
    grey[masks[1] > 0] = 0.75
    chest = anatomy(masks, grey)
    assert chest.ratio is None
    assert chest.measurement is None
    assert "left border cannot be seen" in chest.no_ratio


def test_a_missing_lung_is_said_and_nothing_is_measured() -> None:
    masks, grey = drawn_chest()
    masks[0] = 0
    chest = anatomy(masks, grey)
    assert not chest.complete
    assert chest.why == "no right lung found"
    assert chest.ratio is None
    assert all(np.isnan(value) for value in chest.measures.values())
    assert tuple(chest.measures) == NAMES


def test_half_a_lung_is_not_a_whole_chest() -> None:
    masks, grey = drawn_chest()
    masks[1, 90:] = 0
    chest = anatomy(masks, grey)
    assert not chest.complete
    assert chest.why.startswith("the left lung is much smaller")
    assert chest.ratio is None


def test_a_cut_off_chest_is_said() -> None:
    masks, grey = drawn_chest()
    chest = anatomy(np.roll(masks, -100, axis=1) * (np.arange(SIDE) < 156)[None, :, None], np.roll(grey, -100, axis=0))
    note = next(note for note in chest.notes if note.name == "cut_off")
    assert note.fault
    assert "top" in note.words
    assert not chest.complete


def test_the_measures_have_their_names_and_do_not_hang_on_size_or_exposure() -> None:
    masks, grey = drawn_chest()
    here = anatomy(masks, grey).measures
    assert tuple(here) == NAMES
    assert len(set(NAMES)) == len(NAMES)
    exposed = anatomy(masks, 40 + 1000 * grey).measures
    larger = anatomy(*drawn_chest(side=512)).measures
    for name in NAMES:
        assert exposed[name] == pytest.approx(here[name], abs=1e-3, nan_ok=True), name
        if not name.startswith(("fine", "middle", "coarse", "steep", "apex")):
            assert larger[name] == pytest.approx(here[name], abs=0.1, nan_ok=True), name


def test_a_chest_and_its_mirror_image_have_mirrored_measures() -> None:
    masks, grey = drawn_chest(40.0, 40.0)
    here = anatomy(masks, grey).measures
    there = anatomy(masks[::-1, :, ::-1].copy(), grey[:, ::-1].copy()).measures
    for name in ("lung_area", "lung_slimness", "grey", "costophrenic_angle", "rim_grey", "wall_contrast"):
        assert there[f"{name}_left"] == pytest.approx(here[f"{name}_right"], abs=0.03)
    assert there["lung_area_ratio"] == pytest.approx(-here["lung_area_ratio"], abs=0.02)


def test_fluid_over_the_left_base_is_seen_in_the_measures() -> None:
    masks, grey = drawn_chest()
    dry = anatomy(masks, grey).measures
    grey[150:][masks[1, 150:] > 0] = 0.72
    wet = anatomy(masks, grey).measures
    assert wet["grey_lower_left"] > dry["grey_lower_left"] + 0.3
    assert wet["grey_lower_apart"] > 0.3
    assert wet["diaphragm_contrast_left"] < dry["diaphragm_contrast_left"] - 0.3
    assert wet["grey_lower_right"] == pytest.approx(dry["grey_lower_right"], abs=0.05)


@pytest.mark.parametrize(
    ("box", "side", "zone"),
    [
        ((0.20, 0.25, 0.30, 0.38), Laterality.RIGHT, "upper"),
        ((0.42, 0.20, 0.50, 0.35), Laterality.RIGHT, "middle"),
        ((0.62, 0.70, 0.72, 0.80), Laterality.LEFT, "lower"),
        ((0.60, 0.20, 0.72, 0.80), Laterality.BILATERAL, "lower"),
        ((0.20, 0.70, 0.72, 0.80), Laterality.LEFT, None),
        ((0.25, 0.49, 0.35, 0.51), None, "upper"),  # between the lungs
        ((0.95, 0.01, 0.99, 0.05), None, None),
    ],
)
def test_a_box_has_a_side_and_a_zone(
    box: tuple[float, float, float, float], side: Laterality | None, zone: str | None
) -> None:
    assert place(box, anatomy(*drawn_chest())) == (side, zone)


def test_a_map_of_patches_has_a_side_and_a_zone() -> None:
    strength = np.zeros((16, 16), np.float32)
    strength[10:12, 12:13] = 2.0
    chest = anatomy(*drawn_chest())
    assert place_of_patches(strength, chest) == (Laterality.LEFT, "lower")
    assert place_of_patches(np.zeros((16, 16), np.float32), chest) == (None, None)


def test_without_lungs_there_is_no_place_and_the_frame_is_the_whole_picture() -> None:
    chest = anatomy(np.zeros((2, 64, 64), np.float32), np.zeros((64, 64), np.float32))
    assert chest.why == "no lungs found"
    assert place((0.2, 0.2, 0.4, 0.4), chest) == (None, None)
    assert frame(chest) == (0.0, 0.0, 1.0, 1.0)


def test_the_frame_holds_both_lungs_with_a_margin() -> None:
    top, left, bottom, right = frame(anatomy(*drawn_chest()))
    assert 0 < top < 40 / SIDE
    assert 0 < left < WALLS[0] / SIDE
    assert WALLS[1] / SIDE < right < 1
    assert 190 / SIDE < bottom < 1


def test_what_is_found_cannot_be_changed() -> None:
    chest = anatomy(*drawn_chest())
    with pytest.raises(ValueError, match="read-only"):
        chest.fields[0, 0, 0] = True
    with pytest.raises(TypeError):
        chest.measures["ctr"] = 0.0  # type: ignore[index]


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8), (3, 8, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two lungs"):
        anatomy(np.zeros(shape, np.float32), np.zeros((8, 8), np.float32))


@settings(max_examples=60, deadline=None)
@given(
    boxes=st.lists(st.tuples(*[st.integers(0, 63)] * 4), min_size=2, max_size=2),
    seed=st.integers(0, 1000),
    flat=st.booleans(),
)
def test_no_pair_of_regions_makes_it_raise(boxes: list[tuple[int, int, int, int]], seed: int, flat: bool) -> None:
    masks = np.zeros((2, 64, 64), np.float32)
    for field, (a, b, c, d) in zip(masks, boxes, strict=True):
        field[min(a, b) : max(a, b) + 1, min(c, d) : max(c, d) + 1] = 1
    grey = np.zeros((64, 64)) if flat else np.random.default_rng(seed).random((64, 64))
    chest = anatomy(masks, grey.astype(np.float32))
    assert tuple(chest.measures) == NAMES
    assert (chest.ratio is None) == bool(chest.no_ratio)
    assert chest.why


def test_large_hearts_have_a_larger_ratio_in_real_radiographs(shared: Path, root: Path) -> None:
    from radpipe.models.lungs import open_lungs

    folder = shared / "data" / "cxr"
    if not (folder / "nih.csv").exists():
        pytest.skip("../shared/data/cxr is absent")
    with (folder / "nih.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if "talo" not in row["source"] and row["view"] == "PA"]
    ill = [row for row in rows if row["cardiomegaly"] == "1" and row["reader_normal"] != "1"]
    well = [row for row in rows if row["cardiomegaly"] != "1"][::4]
    model = open_lungs(root / "weights" / "chest-lungs", threads=1)
    ratios, truth = [], []
    for row in ill + well:
        with Image.open(folder / row["file"]) as image:
            grey = np.asarray(image.convert("L").resize((256, 256)), np.float32) / 255
        chest = anatomy(model.fields(grey[None, None])[0], grey)
        if chest.ratio is not None:
            ratios.append(chest.ratio.ratio)
            truth.append(row in ill)
    assert len(ratios) > 0.9 * (len(ill) + len(well))
    assert auc(ratios, truth) > 0.75
