"""Probabilities, bounded decisions and a site's calibration, against independent answers and simulated truth."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpipe.calibration import (
    NEVER_ABSENT,
    NEVER_PRESENT,
    CalibratedModel,
    LabelCalibration,
    Platt,
    SiteCalibration,
    apply,
    calibrated_card,
    conformal_check,
    cross_fitted,
    fit_isotonic,
    fit_platt,
    folds_by_patient,
    logit,
    miscalibration,
    patients_needed,
    rate,
    read_calibration,
    reliability,
    sigmoid,
    spread,
    three_way,
    wilson,
    write_calibration,
)
from radpipe.detect import decide
from radpipe.errors import WeightsError
from radpipe.finding import Decision
from radpipe.models.fake import FakeModel, fake_card

CASES = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=60)
Doubles = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


def clustered(patients: int, random: np.random.Generator) -> tuple[Doubles, Booleans, npt.NDArray[np.int64]]:
    """Scores, truth and patients: one in ten has ten images, and is easy to tell."""
    size = random.choice([1, 2, 10], patients, p=[0.6, 0.3, 0.1])
    group = np.repeat(np.arange(patients), size)
    truth = np.repeat(random.random(patients) < 0.3, size)
    shift = (random.normal(size=patients) + np.where(size == 10, 1.5, 0.0))[group]
    return truth * 2.0 + 0.8 * shift + 0.6 * random.normal(size=len(group)), truth, group


# -- probabilities


def test_platt_finds_the_sigmoid_that_made_the_labels() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=20_000)
    truth = random.random(20_000) < sigmoid(1.7 * scores - 1.2)
    found = fit_platt(scores, truth)
    assert (found.slope, found.offset) == pytest.approx((1.7, -1.2), abs=0.08)


def test_platt_agrees_with_an_independent_logistic_regression() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    random = np.random.default_rng(1)
    scores = 40 + 5 * random.normal(size=3000)
    truth = random.random(3000) < sigmoid(0.3 * (scores - 43))
    other = linear_model.LogisticRegression(C=1e9, tol=1e-8).fit(scores[:, None], truth)
    found = fit_platt(scores, truth)
    assert found(scores) == pytest.approx(other.predict_proba(scores[:, None])[:, 1], abs=2e-3)


@settings(deadline=None)  # a busy machine is no fault
@given(CASES)
def test_calibration_never_turns_the_order_round(cases: list[tuple[int, bool]]) -> None:
    scores, truth = np.array([float(s) for s, _ in cases]), np.array([t for _, t in cases])
    for fit in (fit_platt, fit_isotonic):
        probabilities = fit(scores, truth)(np.linspace(-6, 6, 50))
        assert (np.diff(probabilities) >= -1e-12).all()
        assert ((probabilities > 0) & (probabilities < 1)).all()


def test_a_score_that_falls_with_the_finding_is_flattened_not_turned() -> None:
    scores = np.array([3.0, 2.0, 1.0, 0.0] * 10)
    truth = scores < 1.5
    assert fit_platt(scores, truth) == Platt(0.0, pytest.approx(0.0))


def test_isotonic_agrees_with_an_independent_one_inside() -> None:
    isotonic = pytest.importorskip("sklearn.isotonic")
    random = np.random.default_rng(2)
    scores = random.normal(size=4000)
    truth = random.random(4000) < sigmoid(scores)
    other = isotonic.IsotonicRegression().fit_transform(scores, truth)
    inside = np.abs(scores) < 1.5
    assert np.abs(fit_isotonic(scores, truth)(scores) - other)[inside].max() < 0.01


def test_a_cross_fitted_probability_does_not_know_its_own_fold() -> None:
    random = np.random.default_rng(3)
    scores, folds = random.normal(size=200), np.arange(200) % 4
    truth = random.random(200) < 0.4
    changed = truth ^ (folds == 2)
    held_out = folds == 2
    assert (cross_fitted(scores, truth, folds)[held_out] == cross_fitted(scores, changed, folds)[held_out]).all()


def test_no_patient_is_in_two_folds_and_each_fold_has_its_share() -> None:
    _, truth, group = clustered(300, np.random.default_rng(4))
    folds = folds_by_patient(truth, group, 5, seed=1)
    assert all(len(set(folds[group == patient])) == 1 for patient in np.unique(group))
    affected = [len(np.unique(group[truth & (folds == fold)])) for fold in range(5)]
    assert max(affected) - min(affected) <= 1


def test_scores_that_are_not_numbers_are_refused() -> None:
    for wrong in (lambda: fit_platt(np.array([1.0, math.nan]), np.array([True, False])),
                  lambda: three_way([1.0, math.inf], [1, 0], ["a", "b"])):  # fmt: skip
        with pytest.raises(ValueError, match="finite"):
            wrong()
    with pytest.raises(ValueError, match="equal length"):
        fit_platt(np.zeros(3), np.zeros(2, bool))


# -- calibration error


def test_reliability_never_parts_equal_probabilities() -> None:
    values = np.repeat([0.1, 0.4, 0.9], [50, 3, 20])
    bins = reliability(values, np.arange(73) % 2 == 0)
    assert sum(one.n for one in bins) == 73
    assert [one.mean for one in bins] == sorted({one.mean for one in bins})
    assert any(one.n == 50 for one in bins)


@settings(deadline=None)  # a busy machine is no fault
@given(st.permutations(range(24)))
def test_the_order_of_the_images_changes_no_calibration_error(order: list[int]) -> None:
    values = np.repeat([0.1, 0.1, 0.3, 0.7], 6)
    truth = np.arange(24) % 3 == 0
    whole = miscalibration(values, truth, samples=0)
    again = miscalibration(values[order], truth[order], samples=0)
    assert again.ece == pytest.approx(whole.ece)


def test_a_known_miscalibration_is_found_and_the_excess_of_chance_taken_off() -> None:
    random = np.random.default_rng(5)
    plain, debiased = [], []
    for trial in range(60):
        logits = 1.2 * random.normal(size=300) - 2
        truth = random.random(300) < sigmoid(logits)
        found = miscalibration(sigmoid(logits), truth, samples=0, seed=trial)
        plain.append(found.ece)
        debiased.append(found.debiased)
    assert np.mean(plain) == pytest.approx(found.floor, rel=0.15)  # perfectly calibrated: all of it is chance
    assert np.mean(debiased) < 0.7 * np.mean(plain)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_interval_of_the_calibration_error_covers_it(shift: float) -> None:
    random = np.random.default_rng(6)
    covered = 0
    for trial in range(60):
        logits = 1.2 * random.normal(size=500) - 2
        truth = random.random(500) < sigmoid(logits)
        stated = sigmoid(logits + shift)
        low, high = miscalibration(stated, truth, samples=150, seed=trial).ci
        covered += low <= float(np.abs(stated - sigmoid(logits)).mean()) + 1e-12 <= high
    assert covered >= 52


def test_wilson_stays_within_nought_and_one() -> None:
    assert wilson(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert math.isnan(wilson(0, 0)[0])


# -- bounded decisions


def test_with_one_image_a_patient_the_cut_is_the_published_order_statistic() -> None:
    scores = np.concatenate([np.arange(1.0, 20.0), -np.arange(1.0, 40.0)])  # 19 with, 39 without
    truth = np.arange(58) < 19
    cuts = three_way(scores, truth, np.arange(58), miss_bound=0.2, false_alarm_bound=0.05)
    # floor(0.2 * 20) = 4th lowest positive: 1, 2, 3 lie below; floor(0.05 * 40) = 2nd highest negative
    assert 3.0 < cuts.rule_out <= 4.0 or cuts.crossed
    assert (scores[truth] < 4.0).sum() == 3
    assert cuts.crossed  # the classes do not overlap: one cut
    assert -2.0 < cuts.threshold <= -1.0


@pytest.mark.parametrize(("bound", "needed"), [(0.2, 4), (0.1, 9), (0.05, 19), (0.01, 99)])
def test_too_few_patients_for_the_bound_are_never_called_absent(bound: float, needed: int) -> None:
    assert patients_needed(bound) == needed
    for count, never in ((needed - 1, True), (needed, False)):
        scores = np.concatenate([np.arange(count) + 0.5, np.arange(200.0)])
        truth = np.arange(count + 200) < count
        cuts = three_way(scores, truth, np.arange(count + 200), miss_bound=bound)
        assert cuts.never_absent is never
        assert (f"never called absent: {count} patients" in cuts.why) is never
        if never:
            assert cuts.rule_out == -math.inf
            on_p = cuts.on_probabilities(Platt(1.0, 0.0))
            assert on_p.rule_out == NEVER_ABSENT
            assert not (np.float32(0.0) < on_p.rule_out)


def test_ten_images_of_one_patient_do_not_make_ten_patients() -> None:
    scores = np.concatenate([np.linspace(1, 2, 10), np.linspace(-1, 0, 50)])
    truth = np.arange(60) < 10
    one = np.concatenate([np.zeros(10), np.arange(1, 51)])
    assert three_way(scores, truth, one).never_absent
    assert not three_way(scores, truth, np.arange(60)).never_absent


def test_where_both_bounds_leave_room_there_is_one_cut_and_it_keeps_both() -> None:
    random = np.random.default_rng(7)
    truth = np.arange(400) < 100
    scores = truth * 6.0 + random.normal(size=400)
    cuts = three_way(scores, truth, np.arange(400))
    assert cuts.crossed
    assert cuts.rule_out == cuts.threshold
    assert "never unsure" in cuts.why
    assert (scores[truth] < cuts.rule_out).mean() <= 0.2
    assert (scores[~truth] >= cuts.threshold).mean() <= 0.05


@settings(deadline=None)  # a busy machine is no fault
@given(CASES, st.sampled_from([0.05, 0.2, 0.5]), st.sampled_from([0.05, 0.2, 0.5]), st.integers(1, 4))
def test_on_its_own_images_no_bound_is_passed(cases: list[tuple[int, bool]], miss: float, alarm: float, images: int) -> None:
    scores, truth = np.array([float(s) for s, _ in cases]), np.array([t for _, t in cases])
    group = np.arange(len(cases)) // images
    cuts = three_way(scores, truth, group, miss_bound=miss, false_alarm_bound=alarm)
    assert cuts.rule_out <= cuts.threshold
    if truth.any():
        assert rate((scores < cuts.rule_out)[truth], group[truth]).value <= miss + 1e-9
    if (~truth).any():
        assert rate((scores >= cuts.threshold)[~truth], group[~truth]).value <= alarm + 1e-9


def test_the_bounds_hold_for_new_patients_where_counting_images_would_break_them() -> None:
    random = np.random.default_rng(8)
    missed, alarms, naive = [], [], []
    new, new_truth, new_group = clustered(4000, random)
    for _ in range(300):
        scores, truth, group = clustered(60, random)
        cuts = three_way(scores, truth, group, miss_bound=0.2, false_alarm_bound=0.1)
        missed.append(rate((new < cuts.rule_out)[new_truth], new_group[new_truth]).value)
        alarms.append(rate((new >= cuts.threshold)[~new_truth], new_group[~new_truth]).value)
        image = three_way(scores, truth, np.arange(len(scores)), miss_bound=0.2, false_alarm_bound=0.1)
        naive.append(rate((new < image.rule_out)[new_truth], new_group[new_truth]).value)
    assert np.mean(missed) <= 0.2
    assert np.mean(alarms) <= 0.1
    assert np.mean(naive) > 0.23


def test_the_spread_says_where_single_calibrations_lie() -> None:
    random = np.random.default_rng(9)
    low, high = spread(0.2, 35)
    true_rates = []
    for _ in range(400):
        scores = random.random(70)  # uniform: the share below a cut is the cut itself
        truth = np.arange(70) < 35
        true_rates.append(three_way(scores, truth, np.arange(70), miss_bound=0.2, false_alarm_bound=0.5).rule_out)
    assert np.mean([low <= value <= high for value in true_rates]) == pytest.approx(0.95, abs=0.04)
    assert spread(0.05, 10) == (0.0, 0.0)


def test_the_check_on_held_out_folds_finds_a_broken_promise() -> None:
    random = np.random.default_rng(10)
    truth = np.arange(600) % 3 == 0
    scores = truth * 1.5 + random.normal(size=600)
    folds = folds_by_patient(truth, np.arange(600))
    fair = conformal_check(scores, truth, np.arange(600), folds)
    assert fair.holds
    assert fair.miss.value == pytest.approx(0.2, abs=0.05)
    assert 0 < fair.unsure_with < 1
    shifted = np.where(truth & (folds == 0), scores - 8.0, scores)  # one fold is unlike the others
    broken = conformal_check(shifted, truth, np.arange(600), np.where(folds == 0, 0, 1))
    assert not broken.holds
    assert broken.miss_by_fold[0] == 1.0


def test_a_flat_calibration_decides_nothing() -> None:
    cuts = three_way([3.0, 2.0, 1.0, 0.0] * 30, [0, 0, 1, 1] * 30, np.arange(120))
    flat = cuts.on_probabilities(Platt(0.0, 0.3))
    assert (flat.rule_out, flat.threshold) == (NEVER_ABSENT, NEVER_PRESENT)
    assert "do not rise" in flat.why


def test_the_decisions_are_the_same_on_scores_and_on_probabilities() -> None:
    random = np.random.default_rng(11)
    truth = np.arange(300) % 4 == 0
    scores = truth + random.normal(size=300)
    line = fit_platt(scores, truth)
    raw, calibrated = (
        three_way(scores, truth, np.arange(300)),
        three_way(scores, truth, np.arange(300)).on_probabilities(line),
    )
    probabilities = line(scores)
    assert ((probabilities >= calibrated.threshold) == (scores >= raw.threshold)).all()
    assert ((probabilities < calibrated.rule_out) == (scores < raw.rule_out)).all()


@pytest.mark.parametrize("bound", [0.0, 1.0, -0.1, math.nan])
def test_a_bound_that_is_none_is_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="miss_bound"):
        three_way([0.0, 1.0], [0, 1], [0, 1], miss_bound=bound)


# -- a site's calibration

CARD = replace(
    fake_card({"pleural_effusion": (0.5, 0.2), "mass": (0.5, 0.2), "nodule": (0.6, 0.3)}), files=(("model.onnx", "ab" * 32),)
)


def label(finding: str, **changes: object) -> LabelCalibration:
    kept = LabelCalibration(
        finding=finding, refitted=False, decided=False, slope=1.0, offset=0.0, threshold=0.5, rule_out=0.2,
        miss_bound=math.nan, false_alarm_bound=math.nan, n=0, positives=0, patients_with=0, patients_without=0,
        auc=math.nan, auc_ci=(math.nan, math.nan), ece_before=math.nan, ece_after=math.nan, sensitivity=math.nan,
        specificity=math.nan, miss=math.nan, false_alarm=math.nan, unsure=math.nan, why="kept",
    )  # fmt: skip
    return replace(kept, **changes)  # type: ignore[arg-type]


def site(**changes: object) -> SiteCalibration:
    effusion = label(
        "pleural_effusion", refitted=True, decided=True, slope=0.5, offset=-1.0, threshold=0.41, rule_out=0.123456789012345,
        miss_bound=0.2, false_alarm_bound=0.05, n=300, positives=60, patients_with=50, patients_without=200, auc=0.81,
        auc_ci=(0.75, 0.86), ece_before=0.11, ece_after=0.02, sensitivity=0.4, specificity=0.95, miss=0.18,
        false_alarm=0.05, unsure=0.4, why="",
    )  # fmt: skip
    mass = label("mass", decided=True, threshold=NEVER_PRESENT, rule_out=NEVER_ABSENT, miss_bound=0.2,
                 false_alarm_bound=0.05, why='never called "absent"')  # fmt: skip
    made = SiteCalibration(
        "fake", "0", CARD.sha256, "2026-11-23", "cd" * 32, 300, 250, "", (effusion, mass, label("nodule"))
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_calibration_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "calibration.toml"
    write_calibration(site(), path)
    again = read_calibration(path)
    assert repr(again) == repr(site())  # nan is not equal to itself
    assert again.sha256 == site().sha256 != site(images=301).sha256
    assert [item.name for item in tmp_path.iterdir()] == ["calibration.toml"]


def test_the_card_takes_over_thresholds_repeatability_and_shows_which_calibration() -> None:
    card = calibrated_card(CARD, site(weak="69 images"))
    effusion, mass, nodule = card.labels
    assert (effusion.threshold, effusion.rule_out, effusion.auc, effusion.n) == (0.41, 0.123456789012345, 0.81, 300)
    assert effusion.repeatability_logit == pytest.approx(0.5 * CARD.labels[0].repeatability_logit)
    assert (effusion.miss_bound, effusion.false_alarm_bound, effusion.calibration_error) == (0.2, 0.05, 0.02)
    assert "at most 20% of those with it called absent" in effusion.source
    assert nodule == CARD.labels[2]
    assert card.version == f"0+site.{site(weak='69 images').sha256[:12]}"
    assert card.sha256 == CARD.sha256
    assert card.identity != CARD.identity
    assert any("weak: 69 images" in limit for limit in card.limits)
    assert decide(0.0, mass) is Decision.UNSURE
    assert decide(1.0, mass) is Decision.UNSURE


def test_a_guests_finding_without_thresholds_is_stated_once_the_site_has_set_them() -> None:
    unset = tuple(
        replace(label, assessed=False, threshold_set=False, threshold=1.01, rule_out=-0.01) for label in CARD.labels
    )
    effusion, mass, nodule = calibrated_card(replace(CARD, labels=unset), site()).labels
    assert (effusion.assessed, effusion.threshold_set) == (True, True)
    assert not mass.assessed  # its AUC here is not known to be better than chance
    assert (nodule.assessed, nodule.threshold_set) == (False, False)


def test_a_calibration_of_another_model_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"was made for fake 0 \(000000000000\), the model here is fake 0"):
        calibrated_card(CARD, site(model_sha256="0" * 64))
    with pytest.raises(WeightsError, match="other labels"):
        calibrated_card(CARD, site(labels=site().labels[:2]))
    with pytest.raises(WeightsError, match="calibrated already"):
        calibrated_card(calibrated_card(CARD, site()), site())


def test_a_calibrated_model_moves_probabilities_and_maps_alike() -> None:
    model = CalibratedModel(FakeModel(CARD, lambda batch: np.array([[0.9, 0.3, 0.3]], np.float32)), site())
    found = model.predict(np.zeros((2, 1, 32, 32), np.float32))
    assert found.probabilities[0] == pytest.approx([float(sigmoid(0.5 * logit(0.9) - 1)), 0.3, 0.3], abs=1e-6)
    assert logit(found.probabilities) == pytest.approx(found.maps.mean(axis=(2, 3)), abs=1e-5)
    assert not found.probabilities.flags.writeable
    assert (model.backend, model.provider) == ("fake", "function")
    assert model.card.labels[0].threshold == 0.41


def test_a_model_opened_with_its_calibrated_card_is_moved_once() -> None:
    card = calibrated_card(CARD, site())
    model = CalibratedModel(FakeModel(card, lambda batch: np.array([[0.9, 0.3, 0.3]], np.float32)), site())
    assert model.card == card
    found = model.predict(np.zeros((1, 1, 32, 32), np.float32))
    assert found.probabilities[0, 0] == pytest.approx(float(sigmoid(0.5 * logit(0.9) - 1)), abs=1e-6)


def test_probabilities_of_another_number_of_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="2 labels"):
        apply(np.zeros((4, 2), np.float32), site())


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("format = 1", "format = 2", "format"),
        ("slope = 0.5", "slope = -0.5", "labels.pleural_effusion.slope"),
        ("slope = 0.5", 'slope = "steep"', "labels.pleural_effusion.slope"),
        ("slope = 0.5\n", "", "labels.pleural_effusion.slope"),
        ("slope = 0.5", "slope = 0.5\ntilt = 1", "labels.pleural_effusion.tilt"),
        ("rule_out = 0.123456789012345", "rule_out = 0.5", "threshold"),
        ("images = 300", "images = -1", "images"),
        ("[labels.mass]", "[labels.mass", "not TOML"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused(tmp_path: Path, old: str, new: str, what: str) -> None:
    path = tmp_path / "calibration.toml"
    text = site().to_toml()
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(WeightsError, match=what):
        read_calibration(path)


def test_no_file_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="radpipe calibrate"):
        read_calibration(tmp_path / "none.toml")
