"""The weights that ship: whole, small, described honestly, and sane on images that they never saw."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radpipe.card import ModelCard, read_card
from radpipe.codes import FINDINGS
from radpipe.models import open_model, verify
from radpipe.ports import ImageModel
from radpipe.preprocess import model_input


@pytest.fixture(scope="module")
def card(root: Path) -> ModelCard:
    return read_card(root / "weights" / "chest-dinov2s" / "card.toml")


@pytest.fixture(scope="module")
def model(card: ModelCard) -> ImageModel:
    pytest.importorskip("onnxruntime")
    return open_model(card, "onnx", "cpu", threads=1)


@pytest.fixture(scope="module")
def figures(card: ModelCard) -> dict[str, dict[str, dict[str, object]]]:
    found: dict[str, dict[str, dict[str, object]]] = json.loads((card.directory / "record" / "figures.json").read_text())
    return found


def _distance(model: ImageModel, image: np.ndarray) -> float:
    prepared, _ = model_input(np.ascontiguousarray(image, np.float32), model.card.input)
    return float(model.predict(prepared[None]).distance[0])


def _pydicom(name: str) -> np.ndarray:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.data import get_testdata_file

    path = get_testdata_file(name)
    if path is None:
        pytest.skip(f"{name} is absent: install pydicom-data")
    dataset = pydicom.dcmread(path)
    pixels = np.asarray(dataset.pixel_array, np.float32)
    grey = pixels.mean(axis=2) if pixels.ndim == 3 else pixels
    return grey.max() - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey


def test_every_file_has_the_sha256_of_the_card(card: ModelCard) -> None:
    assert verify(card) == []
    lungs = {f"../{card.lungs}/{name}" for name in ("model.onnx", "model.safetensors")} if card.lungs else set()
    assert {name for name, _ in card.files} == {"model.onnx", "model.safetensors"} | lungs


def test_the_weights_are_small_enough_to_commit(card: ModelCard) -> None:
    assert sum(path.stat().st_size for path in card.directory.parent.rglob("*") if path.is_file()) < 80e6


def test_the_labels_are_those_of_the_contract_in_order(card: ModelCard) -> None:
    assert [label.finding for label in card.labels] == [
        "atelectasis", "cardiomegaly", "pleural_effusion", "lung_opacity", "mass", "nodule", "pneumonia", "pneumothorax",
        "consolidation", "edema", "hyperinflation", "scarring", "pleural_thickening", "hiatal_hernia", "abnormal",
    ]  # fmt: skip
    assert all(label.code == FINDINGS[label.finding] for label in card.labels)
    assert card.view_labels == ("PA", "AP", "LATERAL")


def test_the_cards_figures_are_those_of_the_record(
    card: ModelCard, figures: dict[str, dict[str, dict[str, object]]]
) -> None:
    for label in card.labels:
        found = figures["labels"][label.finding]
        point = found["at_threshold"]
        assert isinstance(point, dict)
        assert label.auc == pytest.approx(found["auc"], abs=1e-4)
        assert list(label.auc_ci) == pytest.approx(found["auc_ci"], abs=1e-4)
        assert (label.positives, label.n, label.assessed) == (found["positives"], found["n"], found["assessed"])
        assert label.threshold == pytest.approx(point["threshold"], abs=1e-6)
        assert label.sensitivity == pytest.approx(point["sensitivity"], abs=1e-4)
        assert label.specificity == pytest.approx(point["specificity"], abs=1e-4)
    mean = figures["means"]["same_source"]
    assert f"{mean:.2f}" in card.strength


def test_a_weak_or_rare_finding_is_not_assessed(card: ModelCard) -> None:
    for label in card.labels:
        assert label.assessed == (label.auc_ci[0] > 0.5 and label.positives >= 20)
        assert 0 < label.rule_out < label.threshold < 1
        assert label.repeatability_logit > 0


def test_operating_points_keep_the_error_bounds_that_the_card_states(
    card: ModelCard, figures: dict[str, dict[str, dict[str, object]]]
) -> None:
    for label in card.labels:
        assert label.miss_bound is not None
        assert label.false_alarm_bound is not None
        assert label.specificity == pytest.approx(1 - label.false_alarm_bound, abs=0.01)
        quiet = figures["labels"][label.finding]["at_rule_out"]
        assert isinstance(quiet, dict)
        sampling = 2 * (label.miss_bound * (1 - label.miss_bound) / label.positives) ** 0.5
        assert quiet["sensitivity"] >= 1 - label.miss_bound - sampling


def test_the_record_names_every_image_and_keeps_patients_apart(card: ModelCard, shared: Path) -> None:
    with (card.directory / "record" / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (shared / "data" / "cxr" / "nih.csv").open(newline="") as stream:
        patients = {row["file"]: row["patient"] for row in csv.DictReader(stream)}
    fold = {row["file"]: row["fold"] for row in rows if row["use"] == "labels"}
    assert fold.keys() == patients.keys()
    for patient in set(patients.values()):
        assert len({fold[file] for file, whose in patients.items() if whose == patient}) == 1


def test_a_real_chest_is_near_and_seen_from_behind(model: ImageModel) -> None:
    prepared, _ = model_input(_pydicom("RG1_UNCI.dcm"), model.card.input)
    answer = model.predict(prepared[None])
    assert answer.distance[0] < model.card.distance_limit
    assert model.card.view_labels[int(answer.views[0].argmax())] == "PA"


@pytest.mark.parametrize("name", ["RG3_UNCI.dcm", "MR2_UNCI.dcm", "693_UNCI.dcm", "US1_UNCI.dcm", "CT_small.dcm"])
def test_what_is_no_chest_radiograph_is_far(model: ImageModel, name: str) -> None:
    assert _distance(model, _pydicom(name)) > model.card.distance_limit


def test_a_turned_or_inverted_chest_is_far(model: ImageModel) -> None:
    chest = _pydicom("RG1_UNCI.dcm")
    assert _distance(model, chest.max() - chest) > model.card.distance_limit
    for turns in (1, 2, 3):
        assert _distance(model, np.rot90(chest, turns)) > model.card.distance_limit


def test_nothing_at_all_is_far(model: ImageModel) -> None:
    noise = np.random.default_rng(0).random((256, 256), np.float32)
    for image in (np.zeros((300, 300), np.float32), noise, np.add.outer(np.arange(99.0), np.arange(99.0))):
        assert _distance(model, image) > model.card.distance_limit


def test_chests_of_other_hospitals_are_mostly_near(model: ImageModel, shared: Path) -> None:
    folder = shared / "data" / "cxr"
    files = sorted((folder / "serial").glob("*.jpg"))[::20] + sorted((folder / "lungs").glob("??1.jpg"))[::6]
    distances = []
    for file in files:
        with Image.open(file) as image:
            distances.append(_distance(model, np.asarray(image.convert("L"), np.float32)))
    assert len(files) >= 8
    assert np.mean(np.array(distances) > model.card.distance_limit) <= 0.2


def test_slices_of_ct_and_mr_are_far(model: ImageModel, shared: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    for folder in ("ct_chest", "ct_head", "mr_brain"):
        path = sorted((shared / "dicom" / folder).glob("*"))[12]
        assert _distance(model, pydicom.dcmread(path, force=True).pixel_array) > model.card.distance_limit
