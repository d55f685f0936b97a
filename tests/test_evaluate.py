"""The figures of evaluation, against hand-made and independent answers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from radpipe.errors import ImageError, UsageError
from radpipe.evaluate.images import Answers, Evaluation, evaluate, evaluate_images, plain, read_answers
from radpipe.evaluate.images_page import render
from radpipe.evaluate.manifest import Manifest, age_band, read_manifest
from radpipe.evaluate.metrics import (
    Ranking,
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


@settings(deadline=None)  # a busy machine is no fault
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


@settings(deadline=None)  # a busy machine is no fault
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


@settings(deadline=None)  # a busy machine is no fault
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


# -- the whole of it, on a model whose answer is how bright the left half is

HEADER = "file,patient,sex,age,view,source,reader_normal,no_finding,Effusion,nodule"
MANY = 60


def _folder(tmp_path: Path, header: str = HEADER) -> Path:
    """Sixty pictures of forty patients; effusion is what makes them bright, with some labels wrong."""
    random = np.random.default_rng(0)
    lines = [header]
    for number in range(MANY):
        bright = number >= MANY // 2
        grey = np.zeros((48, 40), np.uint8)
        grey[:, : 4 + 30 * bright + int(random.integers(0, 6))] = 200
        Image.fromarray(grey).save(tmp_path / f"{number}.png")
        truth = int(bright != (number % 10 == 0))
        sex, age, view = "MF"[number % 2], f"{20 + number}", ("PA", "AP")[number % 3 == 0]
        lines.append(
            f"{number}.png,p{number % 40},{sex},{age},{view},{'ab'[number % 2]},{int(number == 7)},{1 - truth},{truth},"
        )
    lines.append("gone.png,p99,M,30,PA,a,0,0,1,")
    return _manifest(tmp_path, lines)


def _model(distance_limit: float = 1.0) -> FakeModel:
    card = fake_card(
        {"pleural_effusion": (0.5, 0.2), "abnormal": (0.5, 0.2), "mass": (0.5, 0.2)}, distance_limit=distance_limit
    )

    def bright(batch: np.ndarray) -> np.ndarray:
        return np.repeat((batch[:, 0] > 0).mean((1, 2))[:, None], 3, axis=1)

    return FakeModel(card, bright)


def _evaluated(tmp_path: Path) -> tuple[Evaluation, Answers, Manifest, FakeModel]:
    manifest = read_manifest(_folder(tmp_path))
    model = _model()
    answers = read_answers(model, manifest, _read)
    bounds = {"pleural_effusion": (0.2, 0.05)}
    return evaluate(answers, manifest, bounds=bounds, samples=50), answers, manifest, model


def test_nih_columns_are_understood_and_no_finding_is_the_opposite_of_abnormal(tmp_path: Path) -> None:
    manifest = read_manifest(_folder(tmp_path))
    assert manifest.findings == ("abnormal", "pleural_effusion", "nodule")
    assert (manifest.truth[:, 0] == manifest.truth[:, 1])[:MANY].all()
    assert np.isnan(manifest.truth[:, 2]).all()
    assert [name for name, _ in manifest.attributes] == ["sex", "age", "view", "source"]
    assert manifest.attributes[1][1][30] == "40 to 64 years"


def test_readers_are_believed_only_when_asked(tmp_path: Path) -> None:
    path = _manifest(tmp_path, ["file,reader_normal,mass,nodule", "a.png,1,1,", "b.png,0,1,0"])
    as_written, believed = read_manifest(path), read_manifest(path, believe_readers=True)
    assert as_written.truth[0, 0] == 1
    assert believed.truth[0].tolist() == [0, 0]
    assert believed.truth[1].tolist() == [1, 0]
    assert (as_written.reader_normal, as_written.has_patients) == (1, False)


@pytest.mark.parametrize(
    ("text", "band"),
    [("17", "under 18 years"), ("018Y", "18 to 39 years"), ("64.9", "40 to 64 years"), ("006M", "under 18 years"),
     ("65", "65 years and over"), ("old", "")],
)  # fmt: skip
def test_ages_are_read_as_years_or_as_dicom_writes_them(text: str, band: str) -> None:
    assert age_band(text) == band


@pytest.mark.parametrize(
    ("lines", "by", "what"),
    [(["file,mass", "a.png,1", "a.png,0"], [], "a.png twice"), (["file,mass,Mass", "a.png,1,1"], [], "two columns of mass"),
     (["file,mass", "a.png,1"], ["ward"], "no column 'ward'"), (["file,mass"], [], "no row"),
     (["file,mass,key", *(f"{n}.png,1,{n}" for n in range(30))], ["key"], "30 values")],
)  # fmt: skip
def test_what_would_make_wrong_figures_is_refused(tmp_path: Path, lines: list[str], by: list[str], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        read_manifest(_manifest(tmp_path, lines), by=by)


def test_decisions_rates_and_operating_points_agree_with_counting(tmp_path: Path) -> None:
    result, answers, manifest, _ = _evaluated(tmp_path)
    effusion = next(found for found in result.findings if found.finding == "pleural_effusion")
    score, truth = answers.probabilities[:, 0], manifest.truth[answers.rows, 1] == 1
    assert effusion.with_finding.present == ((score >= 0.5) & truth).sum()
    assert effusion.with_finding.absent == ((score < 0.2) & truth).sum()
    assert effusion.without_finding.unsure == ((score >= 0.2) & (score < 0.5) & ~truth).sum()
    assert sum([effusion.with_finding.present, effusion.with_finding.unsure, effusion.with_finding.absent]) == truth.sum()
    patients = manifest.patients[answers.rows]
    shares = [((score < 0.2) & truth)[patients == p].sum() / truth[patients == p].sum() for p in np.unique(patients[truth])]
    assert effusion.miss.value == pytest.approx(np.mean(shares))
    assert (effusion.miss_bound, effusion.false_alarm_bound) == (0.2, 0.05)
    assert [one.specificity for one in effusion.at_specificity] == [0.8, 0.9, 0.95]
    assert effusion.average_precision_ci[0] <= effusion.average_precision <= effusion.average_precision_ci[1] + 0.05
    assert {found.finding for found in result.findings} == {"pleural_effusion", "abnormal"}
    assert result.not_compared == ("nodule",)


def test_subgroups_are_of_sex_age_view_and_source_and_add_up(tmp_path: Path) -> None:
    result, *_ = _evaluated(tmp_path)
    columns: dict[str, int] = {}
    for group in result.subgroups:
        columns[group.column] = columns.get(group.column, 0) + group.n
    assert columns == {"sex": MANY, "age": MANY, "view": MANY, "source": MANY}
    men = next(group for group in result.subgroups if (group.column, group.value) == ("sex", "M"))
    assert men.mean_auc_ci[0] <= men.mean_auc <= men.mean_auc_ci[1]
    assert len(men.aucs) == 2


def test_images_that_the_product_would_not_read_are_counted_and_named(tmp_path: Path) -> None:
    manifest = read_manifest(_folder(tmp_path))
    result = evaluate(read_answers(_model(distance_limit=-1.0), manifest, _read), manifest, samples=10)
    assert result.out_of_distribution == result.images == MANY
    assert result.unlike[0][0] == "0.png"
    assert "unlike those that the model learnt from" in result.unlike[0][1]


def test_the_json_has_no_number_that_json_does_not_know(tmp_path: Path) -> None:
    result, *_ = _evaluated(tmp_path)
    record = json.loads(json.dumps(plain(result.to_json()), allow_nan=False))
    assert record["findings"][0]["bounds_hold"] in {True, False, None}
    assert record["set_aside"] == [["gone.png", "it is not there"]]


def test_a_thousand_images_more_cost_a_few_hundred_bytes_each(tmp_path: Path) -> None:
    result, answers, *_ = _evaluated(tmp_path)
    held = answers.probabilities.nbytes + answers.rows.nbytes + answers.views.nbytes
    assert held / result.images < 200  # scores; no pixels, no maps


class _Page(HTMLParser):
    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    result, answers, manifest, model = _evaluated(tmp_path)
    page = render(result, answers, manifest, model, _read, errors=3)
    tags = _Page(page).tags
    links = [value for _, attributes in tags for name, value in attributes.items() if name in {"src", "href", "xlink:href"}]
    assert links
    assert all(value and value.startswith(("data:image/", "#")) for value in links)
    assert not re.search(rb"url\(|@import|http-equiv=.refresh", page)
    policy = next(str(a["content"]) for tag, a in tags if tag == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert b"must not leave the site" in page


def test_the_page_shows_the_worst_errors_and_their_counts(tmp_path: Path) -> None:
    result, answers, manifest, model = _evaluated(tmp_path)
    page = render(result, answers, manifest, model, _read, errors=2).decode()
    effusion = next(found for found in result.findings if found.finding == "pleural_effusion")
    assert f"labelled without it: {effusion.without_finding.present}" in page
    wrong = (answers.probabilities[:, 0] >= 0.5) & (manifest.truth[answers.rows, 1] == 0)
    worst = manifest.files[answers.rows[np.flatnonzero(wrong)[answers.probabilities[wrong, 0].argmax()]]]
    assert f'<span class="file">{worst}</span>' in page
    assert page.count('<figure class="wrong">') == 2 * 2 * 2
    assert (
        len({attributes["id"] for tag, attributes in _Page(page.encode()).tags if tag == "image" and "id" in attributes})
        <= 8
    )


def test_a_file_name_cannot_write_into_the_page(tmp_path: Path) -> None:
    result, answers, manifest, model = _evaluated(tmp_path)
    hostile = "<script>alert(1)</script>\"'.png"
    spoilt = replace(result, set_aside=((hostile, hostile),), unlike=((hostile, hostile),), notes=(hostile,))
    page = render(spoilt, answers, replace(manifest, files=tuple(hostile for _ in manifest.files)), model, _gone, errors=1)
    assert b"<script>alert" not in page


def _gone(path: Path) -> np.ndarray:
    raise ImageError("it is not there")


@settings(deadline=None)  # a busy machine is no fault
@given(SCORES)
def test_average_precision_agrees_with_an_independent_one(pairs: list[tuple[int, bool]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, truth = [s for s, _ in pairs], [t for _, t in pairs]
    found = Ranking.of(scores, truth)
    if any(truth):
        assert found.average_precision() == pytest.approx(metrics.average_precision_score(truth, scores))
    if any(truth) and not all(truth):
        wrong, right = found.roc()
        assert float(((wrong[1:] - wrong[:-1]) * (right[1:] + right[:-1]) / 2).sum()) == pytest.approx(auc(scores, truth))
