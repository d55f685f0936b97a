"""The figures of evaluation, against hand-made and independent answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from radpipe.errors import ImageError, UsageError
from radpipe.evaluate.images import evaluate_images, read_manifest
from radpipe.evaluate.metrics import (
    auc,
    auc_interval,
    average_precision,
    brier,
    calibration_error,
    operating_point,
    patient_weights,
    stratified_auc,
    threshold_at_specificity,
    wilson,
)
from radpipe.models.fake import FakeModel, fake_card

SCORES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40)


def test_auc_of_a_hand_made_case_counts_ties_half() -> None:
    assert auc([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1]) == pytest.approx(0.875)
    assert np.isnan(auc([0.1, 0.2], [1, 1]))


@given(SCORES)
def test_auc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    positive = [score for score, truth in pairs if truth]
    negative = [score for score, truth in pairs if not truth]
    found = auc([score for score, _ in pairs], [truth for _, truth in pairs])
    if positive and negative:
        won = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
        assert found == pytest.approx(won / (len(positive) * len(negative)))
    else:
        assert np.isnan(found)


@given(SCORES, st.integers(0, 1000))
def test_a_weight_counts_an_image_so_many_times(pairs: list[tuple[int, bool]], seed: int) -> None:
    weights = np.random.default_rng(seed).integers(0, 4, len(pairs))
    repeated = [pair for pair, weight in zip(pairs, weights, strict=True) for _ in range(weight)]
    left = auc([s for s, _ in pairs], [t for _, t in pairs], weights)
    right = auc([s for s, _ in repeated], [t for _, t in repeated]) if repeated else float("nan")
    assert left == pytest.approx(right, nan_ok=True)


def test_stratified_auc_does_not_reward_telling_the_sources_apart() -> None:
    random = np.random.default_rng(0)
    source = np.arange(2000) % 2
    truth = random.random(2000) < np.where(source, 0.8, 0.1)
    scores = source + 0.01 * random.random(2000)  # knows the source and nothing else
    assert auc(scores, truth) > 0.8
    assert stratified_auc(scores, truth, source) == pytest.approx(0.5, abs=0.04)


def test_patients_are_drawn_whole() -> None:
    weights = patient_weights(["a", "a", "b", "c", "c", "c"], 200, seed=1)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert ((weights[:, 0] + weights[:, 2] + weights[:, 3]) == 3).all()


def test_the_interval_covers_the_true_auc_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    covered = 0
    for trial in range(60):
        truth = random.random(150) < 0.4
        scores = random.normal(size=150) + truth  # true AUC: Phi(1 / sqrt 2) = 0.7602
        low, high = auc_interval(scores, truth, patient_weights(np.arange(150), 200, seed=trial))
        covered += low <= 0.7602 <= high
    assert covered >= 51


def test_calibration_and_precision_of_hand_made_cases() -> None:
    assert brier([1.0, 0.0, 0.5], [1, 0, 1]) == pytest.approx(0.25 / 3)
    assert calibration_error(np.full(100, 0.3), np.arange(100) < 30, bins=1) == pytest.approx(0.0, abs=1e-9)
    assert calibration_error(np.full(100, 0.9), np.zeros(100), bins=5) == pytest.approx(0.9)
    assert average_precision([0.9, 0.8, 0.7], [1, 0, 1]) == pytest.approx((1 + 2 / 3) / 2)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_a_threshold_reaches_its_specificity(scores: list[float], specificity: float) -> None:
    truth = np.zeros(len(scores), bool)
    point = operating_point(scores, truth, threshold_at_specificity(scores, truth, specificity))
    assert point.specificity >= specificity - 1e-9


def test_wilsons_interval_of_a_known_case() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10)[0] == pytest.approx(0.0, abs=1e-12)


def _manifest(folder: Path, lines: list[str]) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _read(path: Path) -> np.ndarray:
    if not path.exists():
        raise ImageError("it is not there")
    with Image.open(path) as image:
        return np.asarray(image, np.float32)


def test_a_manifest_is_evaluated_and_an_unreadable_image_is_set_aside(tmp_path: Path) -> None:
    for number in range(20):
        grey = np.zeros((40, 40), np.uint8)
        grey[:, : 2 + number] = 200
        Image.fromarray(grey).save(tmp_path / f"{number}.png")
    rows = [f"{n}.png,{n // 2},{int(n >= 10)},{'' if n == 3 else int(n % 2)}" for n in range(20)]
    manifest = read_manifest(_manifest(tmp_path, ["file,patient,Effusion,nodule", *rows, "gone.png,99,1,0"]))
    assert manifest.findings == ("pleural_effusion", "nodule")

    card = fake_card({"pleural_effusion": (0.5, 0.2), "nodule": (0.5, 0.2), "mass": (0.5, 0.2)})
    model = FakeModel(card, lambda batch: np.repeat(((batch[:, 0] > 0).mean((1, 2)))[:, None], 3, axis=1))
    result = evaluate_images(model, manifest, _read, samples=50)

    effusion, nodule = result.findings
    assert (result.images, result.patients) == (20, 10)
    assert result.set_aside == (("gone.png", "it is not there"),)
    assert effusion.auc == 1.0
    assert (effusion.n, effusion.positives, nodule.n) == (20, 10, 19)
    assert result.to_json()["findings"][0]["at_threshold"]["positives"] == 10


@pytest.mark.parametrize(
    ("lines", "what"),
    [(["path,mass", "a.png,1"], "no column `file`"), (["file,colour", "a.png,1"], "no column of a finding"),
     (["file,mass", "a.png,maybe"], "write 0, 1 or nothing")],
)  # fmt: skip
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path: Path, lines: list[str], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        read_manifest(_manifest(tmp_path, lines))


def test_no_readable_image_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    manifest = read_manifest(_manifest(tmp_path, ["file,mass", "gone.png,1"]))
    with pytest.raises(UsageError, match="it is not there"):
        evaluate_images(
            FakeModel(fake_card({"mass": (0.5, 0.2)}), lambda b: np.zeros((len(b), 1), np.float32)), manifest, _read
        )
