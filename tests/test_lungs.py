"""The lung segmenter: one card, two backends that agree, lungs where they are drawn, opaque ones completed; how it
learns."""

from __future__ import annotations

import logging
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from radpipe.errors import BackendUnavailable, WeightsError
from radpipe.models.lungs import LungModel, open_lungs, read_lung_card
from tests.drawn_chest import drawn_chest

Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def directory(root: Path) -> Path:
    return root / "weights" / "chest-lungs"


@pytest.fixture(scope="module")
def model(directory: Path) -> LungModel:
    pytest.importorskip("onnxruntime")
    return open_lungs(directory, threads=1)


@pytest.fixture(scope="module")
def radiographs(shared: Path) -> list[tuple[Floats, npt.NDArray[np.bool_]]]:
    """Grey (256, 256) and drawn lungs (256, 256) of every twentieth image of OpenIST."""
    folder = shared / "data" / "cxr" / "lungs"
    if not folder.is_dir():
        pytest.skip("../shared/data/cxr/lungs is absent: drawn lung masks may not be redistributed")
    pairs = []
    for path in sorted(folder.glob("*.jpg"))[::20]:
        grey, mask = (
            np.asarray(Image.open(name).convert("L").resize((256, 256)), np.float32) / 255
            for name in (path, path.with_name(f"{path.stem}_mask.png"))
        )
        pairs.append((grey, mask > 0.5))
    return pairs


def dice(found: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]) -> float:
    return 2 * float((found & known).sum()) / float(found.sum() + known.sum())


def test_the_card_says_what_the_model_is(directory: Path) -> None:
    card = read_lung_card(directory / "card.toml")
    assert card.name == "chest-lungs"
    assert card.identity == f"chest-lungs {card.version} {card.sha256[:12]}"
    assert card.figures["dice_both"].n > 200
    assert card.figures["dice_both"].ci is not None
    assert card.limits
    assert sum((directory / name).stat().st_size for name, _ in card.files) < 5_000_000


def test_its_figures_reach_what_was_wanted(directory: Path) -> None:
    figures = read_lung_card(directory / "card.toml").figures
    assert figures["dice_both"].value >= 0.94
    assert min(figures["dice_right"].value, figures["dice_left"].value) >= 0.92


def test_it_says_what_runs_it(model: LungModel) -> None:
    assert model.backend == "onnx"
    assert model.provider == "CPUExecutionProvider"
    assert model.identity == model.card.identity


@pytest.mark.parametrize("size", [(256, 256), (224, 224), (400, 400), (300, 280)])
def test_the_fields_have_the_frame_of_the_image(model: LungModel, size: tuple[int, int]) -> None:
    fields = model.fields(np.random.default_rng(0).random((2, 1, *size), np.float32))
    assert fields.shape == (2, 2, *size)
    assert fields.dtype == np.float32
    assert 0 <= fields.min() <= fields.max() <= 1
    assert not fields.flags.writeable


def test_an_empty_batch_has_an_empty_answer(model: LungModel) -> None:
    assert model.fields(np.zeros((0, 1, 64, 64), np.float32)).shape == (0, 2, 64, 64)


def test_a_batch_of_another_shape_is_refused(model: LungModel) -> None:
    with pytest.raises(ValueError, match=r"\(B, 1, H, W\)"):
        model.fields(np.zeros((1, 3, 64, 64), np.float32))


def test_a_black_image_and_one_of_nothing_have_no_lungs(model: LungModel) -> None:
    nothing = np.stack([np.zeros((1, 128, 128), np.float32), np.full((1, 128, 128), np.nan, np.float32)])
    assert (model.fields(nothing) > 0.5).mean() < 0.02


def test_the_lungs_of_real_radiographs_are_found(model: LungModel, radiographs: list[Any]) -> None:
    scores = [dice((model.fields(grey[None, None])[0] > 0.5).any(0), mask) for grey, mask in radiographs]
    assert np.mean(scores) > 0.93
    assert min(scores) > 0.80


def test_right_and_left_are_apart_and_change_places_in_the_mirror(model: LungModel, radiographs: list[Any]) -> None:
    for grey, _ in radiographs[:4]:
        right, left = model.fields(grey[None, None])[0] > 0.5
        assert not (right & left).any()
        assert np.argwhere(right)[:, 1].mean() < np.argwhere(left)[:, 1].mean()
        mirrored = model.fields(grey[None, None, :, ::-1].copy())[0] > 0.5
        assert dice(mirrored[0], left[:, ::-1]) > 0.9
        assert dice(mirrored[1], right[:, ::-1]) > 0.9


def test_exposure_changes_little(model: LungModel, radiographs: list[Any]) -> None:
    for grey, _ in radiographs[:4]:
        here = (model.fields(grey[None, None])[0] > 0.5).any(0)
        for other in (0.3 + 0.4 * grey, grey**1.6, grey**0.7):
            assert dice((model.fields(other.astype(np.float32)[None, None])[0] > 0.5).any(0), here) > 0.96


def test_a_lung_under_paint_is_completed(model: LungModel, radiographs: list[Any]) -> None:
    cv2 = pytest.importorskip("cv2")
    scores = []
    for grey, mask in radiographs:
        count, labels, stats, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        large = [k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] > 2000]
        left = labels == max(large, key=lambda k: centres[k][0])
        cover = cv2.GaussianBlur(cv2.dilate(left.astype(np.float32), np.ones((9, 9))), (0, 0), 4)
        white = (grey * (1 - cover) + cover * np.percentile(grey, 75)).astype(np.float32)
        scores.append(dice(model.fields(white[None, None])[0, 1] > 0.5, left))
    assert np.mean(scores) > 0.75


def test_both_backends_agree(directory: Path, model: LungModel) -> None:
    pytest.importorskip("monai")
    batch = np.stack([drawn_chest()[1], np.random.default_rng(1).random((256, 256), np.float32)])[:, None]
    there = open_lungs(directory, "torch", "cpu", 1)
    assert there.provider == "cpu"
    assert there.identity == model.identity
    assert np.abs(there.fields(batch) - model.fields(batch)).max() <= 1e-3


def test_a_damaged_file_is_refused(directory: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(directory, tmp_path / "lungs", ignore=shutil.ignore_patterns("record"))
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.safetensors has sha256"):
        open_lungs(copy)
    weights.unlink()
    with pytest.raises(WeightsError, match="missing"):
        open_lungs(copy)


def test_the_card_of_another_role_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not of a lung segmenter"):
        open_lungs(root / "weights" / "chest-dinov2s")
    with pytest.raises(WeightsError, match="no card"):
        open_lungs(tmp_path)
    (tmp_path / "card.toml").write_text('role = "anatomy"\nname = "x"\n', encoding="utf-8")
    with pytest.raises(WeightsError, match="lacks or misstates"):
        open_lungs(tmp_path)


def test_a_backend_that_does_not_exist_is_said(directory: Path) -> None:
    with pytest.raises(BackendUnavailable, match="no backend"):
        open_lungs(directory, "tflite")
    with pytest.raises(BackendUnavailable, match="no device"):
        open_lungs(directory, device="tpu")


def test_an_outline_that_lies_outside_is_brought_to_the_edge() -> None:
    cv2 = pytest.importorskip("cv2")
    from radpipe.train.lungs_outline import INSET, outlined

    masks, grey = drawn_chest()
    wide = cv2.dilate(masks.max(0), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(INSET) + 1,) * 2))
    apart = (masks[0] > 0) | (masks[1] > 0)
    fields = outlined(grey, cv2.GaussianBlur(wide, (0, 0), 2))
    assert dice(wide > 0.5, apart) < 0.90
    assert dice(fields.any(0), apart) > 0.96
    assert dice(fields[0], masks[0] > 0) > 0.95


def test_painting_and_exposure_leave_the_mask_alone() -> None:
    pytest.importorskip("cv2")
    from radpipe.train.lungs_augment import exposed, painted, varied

    masks, grey = drawn_chest()
    for what in ("white_lung", "white_base", "pleural_effusion", "consolidation"):
        white = painted(grey, masks, {what: 1.0}, np.random.default_rng(3))
        assert white.shape == grey.shape
        assert np.abs(white - grey)[masks.any(0)].max() > 0.1
    assert exposed(grey, np.random.default_rng(0)).min() >= 0
    picture, target = (255 * grey).astype(np.uint8), (255 * masks).astype(np.uint8)
    for seed in range(12):
        shown, fields = varied(picture, target, 256, {"white_lung": 0.5}, np.random.default_rng(seed))
        again, _ = varied(picture, target, 256, {"white_lung": 0.5}, np.random.default_rng(seed))
        assert np.array_equal(shown, again)
        assert fields.shape == (2, 256, 256)
        assert shown.dtype == np.float32
        columns = [np.argwhere(field > 0.5)[:, 1].mean() for field in fields]
        assert columns[0] < columns[1]


def test_an_export_answers_as_the_network_that_was_trained(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("monai")
    from radpipe.train.lungs_card import write_card
    from radpipe.train.lungs_export import save_network
    from radpipe.train.lungs_record import parity
    from radpipe.train.lungs_segmenter import fresh

    recipe = {
        "name": "small", "version": "0", "seed": 1, "network": {"channels": [4, 8, 8], "strides": [2, 2], "units": 2},
        "input": {"rows": 64, "columns": 64, "percentiles": [0.0, 100.0]},
    }  # fmt: skip
    network = fresh(recipe)
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 1, 64, 64))
    network.eval()
    save_network(network, recipe, tmp_path)
    write_card(tmp_path, recipe, {})
    batch = np.random.default_rng(0).random((2, 1, 64, 64), np.float32)
    batch[:, 0, 0, :2] = 0, 1  # so that stretching changes nothing
    with torch.inference_mode():
        wanted = torch.sigmoid(network(torch.from_numpy(batch) * 4 - 2)).numpy()
    assert np.abs(open_lungs(tmp_path, "onnx", "cpu", 1).fields(batch) - wanted).max() < 3e-3
    assert parity(tmp_path, batch)["largest_difference"] <= 1e-3


def test_a_training_that_was_broken_off_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("monai")
    from radpipe.train.lungs_segmenter import fresh, run_stage

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    masks, grey = drawn_chest()
    pictures, targets = (255 * grey[None]).astype(np.uint8), (255 * masks[None]).astype(np.uint8)
    recipe: dict[str, Any] = {
        "seed": 1, "network": {"channels": [4, 8], "strides": [2], "units": 1}, "painting": {},
        "training": {"batch": 2, "weight_decay": 0.0, "warm_up": 2, "averaging": 0.9, "save_every": 2},
        "stages": {"first": {"steps": 4, "rate": 1e-3}},
    }  # fmt: skip

    def weights(cache: Path) -> npt.NDArray[np.float32]:
        network = fresh(recipe)
        run_stage(network, pictures, targets, "first", recipe, cache)
        return np.concatenate([part.detach().numpy().ravel() for part in network.parameters()])

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "step 2 " in record.getMessage():
                raise KeyboardInterrupt

    whole = weights(tmp_path / "whole")
    log, broken = logging.getLogger("radpipe.train.lungs"), Broken()
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(broken)
    try:
        with pytest.raises(KeyboardInterrupt):
            weights(tmp_path / "broken")
    finally:
        log.removeHandler(broken)
        log.setLevel(level)
    assert np.array_equal(weights(tmp_path / "broken"), whole)
    assert np.array_equal(weights(tmp_path / "broken"), whole)  # finished: nothing more is learnt
    torch.set_num_threads(threads)


class _Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("/nonexistent/harm", "w"))


def test_nothing_in_the_teachers_file_is_executed() -> None:
    pytest.importorskip("torch")
    from radpipe.train.lungs_teacher import module_tensors

    content = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    content += pickle.dumps(_Harm(), 2) + pickle.dumps([], 2) + struct.pack("<q", 0)
    assert module_tensors(content) == {}  # `open` of a folder that is not there would have raised


def test_a_file_that_is_not_the_teacher_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from radpipe.train.lungs_teacher import open_teacher

    path = tmp_path / "other.pt"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(WeightsError, match="cannot be read as the network"):
        open_teacher(path)
