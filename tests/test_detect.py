"""Findings: the card decides, the map gives box and side."""

from __future__ import annotations

import numpy as np
import pytest

from radpipe import detect
from radpipe.codes import Laterality
from radpipe.finding import Decision
from radpipe.models.fake import fake_card
from radpipe.ports import Prediction
from radpipe.preprocess import place

CARD = fake_card({"pleural_effusion": (0.6, 0.3), "cardiomegaly": (0.5, 0.2)})
PLACEMENT = place(320, 320, CARD.input)  # ten source pixels a model pixel; eight patches of 40 source pixels a side


def prediction(probabilities: list[float], spots: list[tuple[int, int]]) -> Prediction:
    maps = np.zeros((1, len(probabilities), 8, 8), np.float32)
    for number in range(len(probabilities)):
        for rank, (row, column) in enumerate(spots):
            maps[0, number, row, column] = 4.0 if rank else 4.5  # the first is the peak
    return Prediction(
        probabilities=np.array([probabilities], np.float32),
        maps=maps,
        embedding=np.ones((1, 4), np.float32) / 2,
        views=np.array([[1, 0, 0]], np.float32),
        distance=np.zeros(1, np.float32),
    )


@pytest.mark.parametrize(
    ("probability", "decision"),
    [(0.6, Decision.PRESENT), (0.59, Decision.UNSURE), (0.3, Decision.UNSURE), (0.29, Decision.ABSENT)],
)
def test_the_card_decides_and_between_rule_out_and_threshold_it_is_unsure(probability: float, decision: Decision) -> None:
    assert detect.decide(probability, CARD.label("pleural_effusion")) is decision


def test_a_box_bounds_the_connected_patches_in_source_pixels() -> None:
    found = detect.findings(prediction([0.9, 0.1], [(6, 6), (7, 6), (7, 7), (0, 0)]), 0, CARD, "1.2.3", PLACEMENT)
    assert found[0].evidence[0].box_px == (240, 240, 320, 320)
    assert found[0].evidence[0].model == CARD.identity


def test_the_patients_left_is_at_the_pictures_right() -> None:
    left = detect.findings(prediction([0.9, 0.1], [(6, 6)]), 0, CARD, "1.2.3", PLACEMENT)
    right = detect.findings(prediction([0.9, 0.1], [(6, 1)]), 0, CARD, "1.2.3", PLACEMENT)
    both = detect.findings(prediction([0.9, 0.1], [(6, 1), (6, 6)]), 0, CARD, "1.2.3", PLACEMENT)
    sides = [found[0].laterality for found in (left, right, both)]
    assert sides == [Laterality.LEFT, Laterality.RIGHT, Laterality.BILATERAL]


def test_no_side_is_said_of_the_heart() -> None:
    found = detect.findings(prediction([0.1, 0.9], [(5, 5)]), 0, CARD, "1.2.3", PLACEMENT)
    assert found[1].decision is Decision.PRESENT
    assert found[1].laterality is None


def test_an_absent_finding_cites_the_image_and_has_no_box() -> None:
    found = detect.findings(prediction([0.1, 0.1], [(5, 5)]), 0, CARD, "1.2.3", PLACEMENT)
    assert [item.evidence[0].sop_instance_uid for item in found] == ["1.2.3", "1.2.3"]
    assert all(item.evidence[0].box_px is None and item.laterality is None for item in found)


def test_a_flat_map_gives_no_box_rather_than_a_wrong_one() -> None:
    found = detect.findings(prediction([0.9, 0.9], []), 0, CARD, "1.2.3", PLACEMENT)
    assert found[0].evidence[0].box_px is None
    assert found[0].laterality is None


def test_patches_in_the_padding_are_never_boxed() -> None:
    tall = place(640, 160, CARD.input)  # padded left and right
    maps = np.zeros((8, 8), np.float32)
    maps[4, 0] = 9.0  # padding
    maps[4, 4] = 1.0
    box = detect.patch_box(maps, tall)
    assert box is not None
    assert 0 <= box[1] < box[3] <= 160


def test_an_answer_that_does_not_fit_the_card_is_refused() -> None:
    with pytest.raises(ValueError, match="1 probabilities for 2 labels"):
        detect.findings(prediction([0.9], []), 0, CARD, "1.2.3", PLACEMENT)
