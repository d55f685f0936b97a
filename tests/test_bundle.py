from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from monai.networks.nets import SegResNet, UNet

from radpipe import volume
from radpipe.dicom.parse import parse
from radpipe.errors import BackendUnavailable, UsageError, WeightsError
from radpipe.guests.bundle import import_bundle
from radpipe.guests.bundle_config import BundleConfig
from radpipe.guests.bundle_weights import read_state
from radpipe.models.bundle import BundleModel
from radpipe.models.bundle_parts import make_transforms
from radpipe.models.segmenters import list_segmenters, open_segmenter
from radpipe.segmenter import Kind, SegmenterCard, Step, Volume, read_segmenter_card
from tests.bundles import (
    SMALL_UNET,
    THRESHOLDING,
    inference,
    metadata,
    preprocessing,
    thresholding,
    write_bundle,
    zipped,
)
from tests.ct_series import ct_series, sphere

torch.set_num_threads(1)

CHANNELS = ["background", "nodule"]


def small_state(seed: int = 0) -> dict[str, Any]:
    torch.manual_seed(seed)
    return UNet(**{key: value for key, value in SMALL_UNET.items() if key != "_target_"}).eval().state_dict()


def phantom(shape: tuple[int, int, int] = (40, 64, 64), spacing: tuple[float, float, float] = (2.0, 1.0, 1.0)) -> Volume:
    """A ball of 15 mm radius and 60 HU in lung of -800 HU."""
    block = np.where(sphere(shape, spacing, 15.0), 60, -800).astype(np.int16)
    files = ct_series(block, spacing=spacing, origin=(-32.0, -30.0, 100.0))
    choice = volume.choose_series(volume.survey((name, parse(content).dataset) for name, content in files.items()))
    return volume.read_volume(choice, files.__getitem__)


def imported(
    tmp_path: Path, config: dict[str, Any], state: object, *, channels: list[str] = CHANNELS, **options: Any
) -> SegmenterCard:
    bundle = write_bundle(tmp_path / "bundle", config, metadata(channels), state)
    made = import_bundle(bundle, tmp_path / "weights", "test", **options)
    return read_segmenter_card(made.directory / "card.toml")


def ball_ml() -> float:
    return 4 / 3 * np.pi * 15.0**3 / 1000


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_bundle_measures_a_ball_of_known_volume_within_two_percent(tmp_path, backend):
    card = imported(tmp_path, inference(THRESHOLDING), thresholding(-370, above=True), onnx=backend == "onnx")
    block = phantom()
    reading = open_segmenter(card, backend, "cpu", 1).segment(block)
    assert (reading.backend, reading.provider) == (backend, {"torch": "cpu", "onnx": "CPUExecutionProvider"}[backend])
    np.testing.assert_array_equal(reading.labels == 1, block.hounsfield > -370)
    (measured,) = volume.measured_channels(reading, block)
    assert measured.volume_ml == pytest.approx(ball_ml(), rel=0.02)
    (finding,) = volume.findings_of_mask((measured,), block, card.identity)
    assert (finding.finding, finding.decision.value) == ("nodule", "present")


def test_resampled_to_another_grid_and_back_the_volume_stays_within_two_percent(tmp_path):
    config = inference(THRESHOLDING, preprocessing=preprocessing(spacing=[1.5, 1.5, 1.2]))
    card = imported(tmp_path, config, thresholding(-370, above=True), onnx=False)
    block = phantom()
    (measured,) = volume.measured_channels(open_segmenter(card, "torch", "cpu", 1).segment(block), block)
    assert measured.volume_ml == pytest.approx(ball_ml(), rel=0.02)
    assert measured.stated == 1


@pytest.mark.parametrize("nearest", [True, False])
def test_the_way_back_from_another_spacing_is_that_of_monais_invertd(tmp_path, nearest):
    from monai.data import MetaTensor
    from monai.transforms import Compose, Invertd, Spacingd

    block = phantom((20, 32, 32))
    card = imported(tmp_path, _inverting(nearest=nearest), thresholding(-370, above=True), onnx=False)
    found = open_segmenter(card, "torch", "cpu", 1).segment(block)
    before = Compose([Spacingd(keys="image", pixdim=(1.3, 1.7, 1.1), mode="bilinear", dtype=torch.float32)])
    array = torch.from_numpy(block.hounsfield.transpose(2, 1, 0).astype(np.float32))[None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = before({"image": MetaTensor(array, affine=torch.from_numpy(np.diag([-1.0, -1, 1, 1]) @ block.affine_lps))})
        score = data["image"] + 370
        probability = torch.softmax(torch.cat([torch.zeros_like(score), score]), dim=0)
        data["pred"] = probability.argmax(0, keepdim=True).float() if nearest else probability
        data["pred"] = MetaTensor(data["pred"], meta=data["image"].meta, applied_operations=data["image"].applied_operations)
        back = Invertd(keys="pred", transform=before, orig_keys="image", nearest_interp=nearest, to_tensor=True)(data)[
            "pred"
        ]
    labels = (back[0].round() if nearest else back.argmax(0)).numpy().astype(np.uint8).transpose(2, 1, 0)
    assert np.mean(labels != found.labels) < 2e-4  # voxels that lie on the very edge


def _inverting(*, nearest: bool) -> dict[str, Any]:
    config = inference(THRESHOLDING)
    spacing = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.3, 1.7, 1.1], "mode": "bilinear"}
    config["preprocessing"]["transforms"] = [spacing]
    activate, invert, decide, save = config["postprocessing"]["transforms"]
    invert["nearest_interp"] = nearest
    config["postprocessing"]["transforms"] = (
        [activate, decide, invert, save] if nearest else [activate, invert, decide, save]
    )
    return config


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SAR", "PIL"])
def test_orientation_turns_the_axes_and_keeps_every_voxel_in_its_place(axcodes):
    from monai.data import MetaTensor

    random = np.random.default_rng(0)
    array = torch.from_numpy(random.normal(size=(1, 5, 6, 7)).astype(np.float32))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0.1, -3], [-0.7, 0, 0.1], [0, 0.9, 0.2]])
    affine[:3, 3] = [4, 5, 6]
    (turn,) = make_transforms((Step("Orientationd", (("axcodes", axcodes),)),))
    found = turn({"image": MetaTensor(array, affine=torch.from_numpy(affine))})["image"]
    for axis, letter in enumerate(axcodes):
        column = np.asarray(found.affine)[:3, axis]
        assert "RAS"[int(np.abs(column).argmax())] == {"L": "R", "P": "A", "I": "S"}.get(letter, letter)
        assert (column[np.abs(column).argmax()] > 0) == (letter in "RAS")
    index = np.array([1, 2, 3, 1])
    there = np.rint(np.linalg.inv(np.asarray(found.affine)) @ affine @ index).astype(int)
    assert found[0, there[0], there[1], there[2]] == array[0, 1, 2, 3]


def test_a_zoo_bundle_becomes_a_card_with_plan_weights_onnx_parity_and_record(tmp_path):
    window = {
        "_target_": "ScaleIntensityRanged",
        "keys": "@image_key",
        "a_min": -57,
        "a_max": 164,
        "b_min": 0,
        "b_max": 1,
        "clip": True,
    }
    config = inference(SMALL_UNET, image_key="image", preprocessing=preprocessing(window, spacing=[1.5, 1.5, 2.0]))
    bundle = write_bundle(tmp_path / "spleen", config, metadata(["background", "spleen"]), {"model": small_state()})
    made = import_bundle(zipped(bundle), tmp_path / "weights", "spleen")
    assert made.role == "segmenter"
    assert made.onnx.made
    parity = json.loads((made.directory / "record" / "parity.json").read_text())
    assert parity["largest_difference"] <= 1e-3
    assert parity["decided_otherwise"] == 0.0
    record = json.loads((made.directory / "record" / "import.json").read_text())
    assert record["not_run"] == ["imports", "initialize", "run", "handlers", "evaluator", "datalist"]
    assert sorted(path.name for path in (made.directory / "record").iterdir()) == [
        "LICENSE", "import.json", "inference.json", "metadata.json", "parity.json",
    ]  # fmt: skip
    (card,) = list_segmenters(tmp_path / "weights")
    assert [name for name, _ in card.files] == ["bundle.json", "model.onnx", "model.safetensors"]
    assert card.licence == "Apache License 2.0"
    assert card.strength.startswith("Not validated here. Its makers state mean_dice 0.9")
    (channel,) = card.channels
    assert (channel.finding, channel.kind, channel.code.scheme, channel.code.value) == (
        "spleen", Kind.ANATOMY, "SCT", "78961009",
    )  # fmt: skip
    assert [step.target for step in card.plan.preprocessing] == ["Orientationd", "Spacingd", "ScaleIntensityRanged"]
    assert dict(card.plan.preprocessing[2].arguments)["a_min"] == -57
    assert card.plan.interpolate


def test_the_wholebody_bundle_of_the_zoo_is_understood_with_its_choices(tmp_path):
    """Its pixdim and its weights' name are expressions; another resolution is chosen by an override."""
    network = {"_target_": "SegResNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "init_filters": 8,
               "blocks_down": [1, 1], "blocks_up": [1], "dropout_prob": 0.2}  # fmt: skip
    config = inference(
        network,
        displayable_configs={"highres": True, "sw_overlap": 0.25, "sw_batch_size": 1},
        image_key="image",
        pixdim="$[1.5, 1.5, 1.5] if @displayable_configs#highres else [3.0, 3.0, 3.0]",
        modelname="$'model.pt' if @displayable_configs#highres else 'model_lowres.pt'",
        handlers=[],
        checkpointloader={"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/' + @modelname",
                          "load_dict": {"model": "@network"}},
        inferer={"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16],
                 "sw_batch_size": "@displayable_configs#sw_batch_size", "overlap": "@displayable_configs#sw_overlap",
                 "padding_mode": "replicate", "mode": "gaussian",
                 "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"},
    )  # fmt: skip
    config["preprocessing"] = preprocessing(
        {"_target_": "NormalizeIntensityd", "keys": "@image_key", "nonzero": True},
        {"_target_": "ScaleIntensityd", "keys": "@image_key", "minv": -1.0, "maxv": 1.0},
    )
    config["preprocessing"]["transforms"].insert(
        3, {"_target_": "Spacingd", "keys": "@image_key", "pixdim": "@pixdim", "mode": "bilinear"}
    )
    torch.manual_seed(1)
    state = SegResNet(**{key: value for key, value in network.items() if key != "_target_"}).state_dict()
    names = ["background", "kidney_right", "vertebrae_L5"]
    bundle = write_bundle(tmp_path / "whole", config, metadata(names, shape=(16, 16, 16)), state)
    torch.save(state, bundle / "models" / "model_lowres.pt")
    made = import_bundle(bundle, tmp_path / "weights", "high", onnx=False)
    card = read_segmenter_card(made.directory / "card.toml")
    assert dict(card.plan.preprocessing[1].arguments)["pixdim"] == [1.5, 1.5, 1.5]
    assert dict(card.plan.inferer.arguments)["mode"] == "gaussian"
    kidney, vertebra = card.channels
    assert (kidney.code.value, kidney.laterality.value) == ("64033007", "right")
    assert vertebra.code.meaning == "L5 vertebra"
    low = import_bundle(bundle, tmp_path / "weights", "low", overrides={"displayable_configs#highres": False}, onnx=False)
    assert json.loads((low.directory / "record" / "import.json").read_text())["weights"] == "models/model_lowres.pt"
    reading = BundleModel(card, backend="torch", device="cpu", threads=1).segment(phantom((12, 24, 24)))
    assert reading.labels.shape == (12, 24, 24)
    with pytest.raises(BackendUnavailable, match="has no ONNX form"):
        BundleModel(card, backend="onnx", device="cpu")


def test_a_yaml_configuration_is_read_by_the_safe_loader(tmp_path):
    bundle = write_bundle(tmp_path / "bundle", inference(THRESHOLDING), metadata(CHANNELS), thresholding(0, above=True))
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    (bundle / "configs" / "inference.json").unlink()
    yaml = pytest.importorskip("yaml")
    (bundle / "configs" / "inference.yaml").write_text(yaml.safe_dump(config))
    assert import_bundle(bundle, tmp_path / "weights", "y", onnx=False).role == "segmenter"
    marker = tmp_path / "ran"
    (bundle / "configs" / "inference.yaml").write_text(f"a: !!python/object/apply:pathlib.Path.touch [{marker}]\n")
    with pytest.raises(WeightsError, match=r"inference\.yaml of the bundle is not readable"):
        import_bundle(bundle, tmp_path / "weights", "z")
    assert not marker.exists()


def test_a_sigmoid_bundle_gives_channels_that_may_overlap(tmp_path):
    config = inference(THRESHOLDING)
    config["postprocessing"]["transforms"] = [
        {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
        {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
    ]
    state = thresholding(-370, above=True)
    state["model.2.conv.weight"][0, 0] = 1.0
    state["model.2.conv.bias"][0] = 2000.0  # the other channel is everywhere
    card = imported(tmp_path, config, state, channels=["body", "nodule"], findings={"nodule": "mass"}, onnx=False)
    block = phantom((12, 32, 32))
    reading = open_segmenter(card, "torch", "cpu", 1).segment(block)
    body, mass = card.channels
    assert reading.overlapping
    assert reading.mask(body).all()
    np.testing.assert_array_equal(reading.mask(mass), block.hounsfield > -370)
    assert (mass.finding, mass.kind) == ("mass", Kind.FINDING)


EVIL = "$__import__('os').system('touch {marker}')"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c, m: c["network_def"].update(out_channels=EVIL.format(marker=m)), "network_def#out_channels .* is Python"),
        (lambda c, m: c["network_def"].update(_target_="os.system"), "network_def is 'os.system'"),
        (lambda c, m: c["network_def"].update(_target_="scripts.net.Evil"), "the bundle's own Python code"),
        (lambda c, m: c["network_def"].update(_target_="subprocess.UNet"), "network_def is 'subprocess.UNet'"),
        (lambda c, m: c["network_def"].update(_target_=EVIL.format(marker=m)), "network_def#_target_ .* is Python code"),
        (lambda c, m: c["network_def"].update(act={"_target_": "os.system", "command": f"touch {m}"}), "no literal"),
        (
            lambda c, m: c["preprocessing"]["transforms"].append({"_target_": "os.system", "command": f"touch {m}"}),
            "preprocessing#transforms#4 is 'os.system'",
        ),
        (
            lambda c, m: c["preprocessing"]["transforms"].append(
                {"_target_": "Lambdad", "keys": "image", "func": f"$lambda x: open('{m}', 'w')"}
            ),
            "preprocessing#transforms#4#func .* is Python code",
        ),
        (
            lambda c, m: c["preprocessing"]["transforms"].append({"_target_": "RandAffined", "keys": "image"}),
            "preprocessing#transforms#4 is 'RandAffined', which radpipe does not support",
        ),
        (
            lambda c, m: c["preprocessing"]["transforms"][2].update(axcodes=f"$open('{m}', 'w').name"),
            "preprocessing#transforms#2#axcodes .* is Python code",
        ),
        (lambda c, m: c["inferer"].update(_target_="scripts.inferer.Mine"), "inferer is 'scripts.inferer.Mine'"),
        (lambda c, m: c["inferer"].update(roi_size=f"$[__import__('os').mkdir('{m}')]"), "inferer#roi_size .* is Python"),
        (
            lambda c, m: c["postprocessing"]["transforms"].insert(2, {"_target_": "FillHolesd", "keys": "pred"}),
            "changes the mask and is not supported",
        ),
        (lambda c, m: c["postprocessing"]["transforms"][0].update(other=f"$open('{m}', 'w')"), "is Python code"),
        (lambda c, m: c.update(network_def="@network_def"), "refers to itself|has no _target_|does not have"),
        (lambda c, m: c["network_def"].update(norm="%other.json::norm"), "takes text from another file"),
        (lambda c, m: c["network_def"].update(up_kernel="$().__class__.__bases__[0].__subclasses__()"), "is Python code"),
        (lambda c, m: c["network_def"].update(dropout="$'a' * 10**10"), "is Python code"),
        (lambda c, m: c["network_def"].update(in_channels="$2 ** 99999999"), "is Python code"),
        (lambda c, m: c["network_def"].update(colour="red"), "an argument 'colour', which MONAI's UNet does not have"),
        (lambda c, m: c.pop("network_def"), "refers to|has no network_def|_target_"),
    ],
)  # fmt: skip
def test_a_configuration_that_would_run_code_is_refused_by_name_and_did_not_run(tmp_path, change, words):
    marker = tmp_path / "ran"
    config = inference(THRESHOLDING)
    config = json.loads(json.dumps(config))
    change(config, marker)
    bundle = write_bundle(tmp_path / "bundle", config, metadata(CHANNELS), thresholding(0, above=True))
    with pytest.raises(WeightsError, match=words):
        import_bundle(bundle, tmp_path / "weights", "evil", onnx=False)
    assert not marker.exists()
    assert not list((tmp_path / "weights").glob("*")) if (tmp_path / "weights").exists() else True


def test_what_a_bundle_would_run_elsewhere_is_not_run_and_not_in_the_way(tmp_path):
    marker = tmp_path / "ran"
    touch = f"$__import__('pathlib').Path('{marker}').touch()"
    config = inference(THRESHOLDING, imports=[touch], initialize=[touch], run=[touch], device=touch, datalist=touch)
    config["postprocessing"]["transforms"][3]["output_dir"] = touch
    bundle = write_bundle(tmp_path / "bundle", config, metadata(CHANNELS), thresholding(0, above=True))
    import_bundle(bundle, tmp_path / "weights", "t", onnx=False)
    assert not marker.exists()


class Evil:
    """Its pickle opens a file for writing when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.marker,)


def test_a_pickle_that_wants_more_than_tensors_is_refused_and_did_not_run(tmp_path):
    marker = tmp_path / "ran"
    state = dict(thresholding(0, above=True), extra=Evil(marker))
    bundle = write_bundle(tmp_path / "bundle", inference(THRESHOLDING), metadata(CHANNELS), state)
    with pytest.raises(WeightsError, match=r"models/model\.pt is refused: it is a pickle that wants more than tensors"):
        import_bundle(bundle, tmp_path / "weights", "evil")
    (bundle / "models" / "model.pt").write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(WeightsError, match=r"models/model\.pt"):
        import_bundle(bundle, tmp_path / "weights", "evil")
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_torchscript_gives_its_weights_as_data_and_is_never_run(tmp_path):
    config = inference(SMALL_UNET)
    bundle = write_bundle(tmp_path / "bundle", config, metadata(CHANNELS), small_state())
    network = UNet(**{key: value for key, value in SMALL_UNET.items() if key != "_target_"}).eval()
    network.load_state_dict(small_state())
    (bundle / "models" / "model.pt").unlink()
    torch.jit.script(network).save(str(bundle / "models" / "model.ts"))
    state = read_state((bundle / "models" / "model.ts").read_bytes(), "model.ts")
    for name, value in small_state().items():
        assert torch.equal(state[name], value), name
    made = import_bundle(bundle, tmp_path / "weights", "ts", onnx=False)
    assert json.loads((made.directory / "record" / "import.json").read_text())["weights"] == "models/model.ts"


def test_a_torchscript_whose_table_names_a_function_is_refused_and_did_not_run(tmp_path):
    import zipfile

    marker = tmp_path / "ran"
    path = tmp_path / "model.ts"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil(marker)))
    with pytest.raises(WeightsError, match="cannot be read as data"):
        read_state(path.read_bytes(), "model.ts")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (lambda: {}, "holds no state dictionary"),
        (lambda: {"a": torch.zeros(1)}, "do not fit the network of the configuration: 6 missing .* 1 left over"),
        (lambda: dict(thresholding(0, above=True), **{"model.0.conv.bias": torch.zeros(5)}), "1 of another shape"),
    ],
)
def test_weights_that_do_not_fit_say_what_is_wrong(tmp_path, state, words):
    bundle = write_bundle(tmp_path / "bundle", inference(THRESHOLDING), metadata(CHANNELS), state())
    with pytest.raises(WeightsError, match=words):
        import_bundle(bundle, tmp_path / "weights", "x")
    assert not list((tmp_path / "weights").glob("*"))  # nothing is left behind


def test_weights_saved_on_several_gpus_lose_their_prefix(tmp_path):
    state = {f"module.{key}": value for key, value in thresholding(0, above=True).items()}
    assert imported(tmp_path, inference(THRESHOLDING), {"state_dict": state}, onnx=False).name == "test"


@pytest.mark.parametrize(
    ("described", "words"),
    [
        (lambda: metadata(CHANNELS, modality="MR"), "the bundle reads MR; radpipe makes volumes of CT series only"),
        (lambda: metadata(CHANNELS, network_data_format=None), "has no network_data_format"),
        (
            lambda: metadata(CHANNELS, network_data_format={"inputs": {"t1": {}, "t2": {}}, "outputs": {"pred": {}}}),
            r"takes 2 inputs \(t1, t2\)",
        ),
    ],
)
def test_a_bundle_that_reads_something_else_is_refused(tmp_path, described, words):
    bundle = write_bundle(tmp_path / "bundle", inference(THRESHOLDING), described(), thresholding(0, above=True))
    with pytest.raises(WeightsError, match=words):
        import_bundle(bundle, tmp_path / "weights", "x")


def test_names_and_channels_that_cannot_be_are_usage_errors(tmp_path):
    bundle = write_bundle(tmp_path / "bundle", inference(THRESHOLDING), metadata(CHANNELS), thresholding(0, above=True))
    for name in ("../up", "", "a b"):
        with pytest.raises(UsageError, match="no name for a model"):
            import_bundle(bundle, tmp_path / "weights", name)
    with pytest.raises(UsageError, match="has no channel 'liver'; it has 1 = nodule"):
        import_bundle(bundle, tmp_path / "weights", "x", findings={"liver": "mass"})
    import_bundle(bundle, tmp_path / "weights", "x", finding="mass", smallest_ml=0.2, onnx=False)
    (channel,) = read_segmenter_card(tmp_path / "weights" / "x" / "card.toml").channels
    assert (channel.finding, channel.code.value, channel.smallest_ml) == ("mass", "309529002", 0.2)
    with pytest.raises(UsageError, match="is there already"):
        import_bundle(bundle, tmp_path / "weights", "x", onnx=False)
    import_bundle(bundle, tmp_path / "weights", "x", onnx=False, replace=True)


def test_a_bundle_without_weights_says_where_the_zoo_keeps_them(tmp_path):
    bundle = write_bundle(tmp_path / "bundle", inference(THRESHOLDING), metadata(CHANNELS), {})
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(WeightsError, match=r"has no weights .* large_files\.yml"):
        import_bundle(bundle, tmp_path / "weights", "x")
    with pytest.raises(WeightsError, match="is no MONAI bundle"):
        import_bundle(tmp_path, tmp_path / "weights", "x")


def test_a_file_that_is_not_the_one_its_card_names_is_not_loaded(tmp_path):
    card = imported(tmp_path, inference(THRESHOLDING), thresholding(0, above=True), onnx=False)
    weights = card.directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(WeightsError, match=r"model\.safetensors of test has sha256"):
        open_segmenter(card)
    plan = card.directory / "bundle.json"
    plan.write_text(plan.read_text().replace("-370", "-371") + " ")
    with pytest.raises(WeightsError, match=r"bundle\.json of test is not the one its card names"):
        read_segmenter_card(card.directory / "card.toml")


def test_expressions_of_literals_are_computed_and_nothing_else():
    config = BundleConfig.parse(
        json.dumps({
            "size": 96, "half": "$@size // 2", "roi": "$[@size, @half, -1 * -@half]", "high": False,
            "pix": "$[1.5] * 1 if @high else [3.0]", "name": "$'model' + '.pt'",
            "where": "$os.path.join(@bundle_root, 'eval')",
            "kind": "$torch.float32", "key": "$monai.utils.CommonKeys.IMAGE", "loop": "@other", "other": "@loop",
            "deep": {"list": ["@size", {"x": "@half"}]},
        }).encode(), "inference.json", {"deep#more": 1},
    )  # fmt: skip
    assert config.get("roi") == [96, 48, 48]
    assert config.get("pix") == [3.0]
    assert config.get("name") == "model.pt"
    assert config.get("where") == "./eval"
    assert (config.get("kind"), config.get("key")) == ("float32", "image")
    assert config.get("deep") == {"list": [96, {"x": 48}], "more": 1}
    assert config.parts("deep#list") == ("deep#list#0", "deep#list#1")
    with pytest.raises(WeightsError, match="refers to itself"):
        config.get("loop")
    for code in (
        "$glob.glob('/*')",
        "$(lambda: 1)()",
        "$@size.bit_length()",
        "$[x for x in [1]]",
        "$open",
        "$f'{1}'",
        "$...",
    ):
        bad = BundleConfig({"size": 1, "x": code})
        with pytest.raises(WeightsError, match="is Python code"):
            bad.get("x")


def test_a_configuration_that_grows_without_end_is_refused():
    entries: dict[str, Any] = {"a0": ["x"] * 10}
    for number in range(1, 12):
        entries[f"a{number}"] = [f"@a{number - 1}"] * 10
    with pytest.raises(WeightsError, match="grows without end"):
        BundleConfig(entries).get("a11")


def radpipe_volume(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    from radpipe.cli import main

    status = main(["volume", *arguments])
    output = capsys.readouterr()
    return status, output.out, output.err


def ct_folder(tmp_path: Path) -> Path:
    spacing = (2.0, 1.0, 1.0)
    block = np.where(sphere((40, 64, 64), spacing, 15.0), 60, -800).astype(np.int16)
    folder = tmp_path / "ct"
    folder.mkdir()
    for name, content in ct_series(block, spacing=spacing).items():
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("not DICOM")
    return folder


def test_the_command_reads_a_folder_prints_the_volume_and_writes_the_segmentation(tmp_path, capsys, process_as_it_was):
    imported(tmp_path, inference(THRESHOLDING), thresholding(-370, above=True), onnx=False)
    weights, seg = ("--weights", str(tmp_path / "weights")), tmp_path / "out.dcm"
    status, out, err = radpipe_volume(
        capsys, str(ct_folder(tmp_path)), *weights, "--model", "test", "--seg", str(seg), "--json"
    )
    assert status == 3
    assert "set aside" in err
    assert "notes.txt" in err
    record = json.loads(out)
    assert record["status"] == "read"
    assert record["findings"][0]["finding"] == "nodule"
    assert record["measured"][0]["volume_ml"] == pytest.approx(ball_ml(), rel=0.02)
    assert record["measured"][0]["regions"][0]["diameter_mm"] == pytest.approx(30, abs=1.5)
    assert record["series"]["slices"] == 40
    assert record["model"]["name"] == "test"
    assert record["segmentation"] == str(seg)
    document = pydicom.dcmread(seg)
    assert document.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "427359005"
    voxels = int(document.pixel_array.sum())
    assert voxels * 0.002 == pytest.approx(record["measured"][0]["volume_ml"], abs=1e-3)


def test_the_command_says_in_words_what_it_read_and_why_it_did_not(tmp_path, capsys, process_as_it_was):
    imported(tmp_path, inference(THRESHOLDING), thresholding(-370, above=True), onnx=False)
    folder, weights = ct_folder(tmp_path), ("--weights", str(tmp_path / "weights"))
    (folder / "notes.txt").unlink()
    status, out, _ = radpipe_volume(capsys, str(folder), *weights)  # the only segmenter there is
    assert status == 0
    assert "nodule: 14.05 mL, one part" in out
    assert "40 axial slices, 2 mm apart" in out
    (folder / "a020.dcm").unlink()
    status, out, _ = radpipe_volume(capsys, str(folder), *weights, "--seg", str(tmp_path / "none.dcm"))
    assert status == 0
    assert "not read: no CT series that can be read as a volume" in out
    assert "about 1 slice is missing" in out
    assert not (tmp_path / "none.dcm").exists()
    status, _, err = radpipe_volume(capsys, str(folder), "--weights", str(tmp_path))
    assert status == 2
    assert "say with --model which segmenter is to read" in err


def test_a_real_chest_resampled_and_back_holds_a_plausible_volume_of_air(tmp_path, shared):
    """275 slices through orientation, spacing, sliding windows and back on the scanner's own slices."""
    spaced = inference(THRESHOLDING, preprocessing=preprocessing(spacing=[3.0, 3.0, 3.0]))
    spaced["inferer"] = {"_target_": "SlidingWindowInferer", "roi_size": [96, 96, 96], "sw_batch_size": 4, "overlap": 0.0}
    card = imported(tmp_path, spaced, thresholding(-500, above=False), channels=["background", "air"], onnx=False)
    files = {path.name: path for path in (shared / "dicom" / "ct_chest").glob("*")}
    choice = volume.choose_series(volume.survey((name, parse(path.read_bytes()).dataset) for name, path in files.items()))
    model = open_segmenter(card, "torch", "cpu", 1)
    reading = volume.read_with(choice, lambda name: files[name].read_bytes(), model.segment)
    (air,) = reading.measured
    inside = [part for part in air.regions if min(part.box_px[:2]) > 0 and max(part.box_px[2:]) < 512]
    assert 2000 < sum(part.volume_ml for part in inside) < 8000
    assert dict(reading.seconds)["total"] > 0


def densenet_bundle(tmp_path: Path, channels: list[str], *, sigmoid: bool = True) -> tuple[Path, Any]:
    from monai.networks.nets import DenseNet121

    network = {"_target_": "DenseNet121", "spatial_dims": 2, "in_channels": 1, "out_channels": len(channels),
               "init_features": 8, "growth_rate": 4, "block_config": [2, 2], "pretrained": True}  # fmt: skip
    activation = {"sigmoid": True} if sigmoid else {"softmax": True}
    config = inference(
        network,
        preprocessing={"_target_": "Compose", "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Resized", "keys": "image", "spatial_size": [48, 64]},
            {"_target_": "ScaleIntensityd", "keys": "image", "minv": -1.0, "maxv": 1.0},
        ]},
        inferer={"_target_": "SimpleInferer"},
        postprocessing={"_target_": "Compose", "transforms": [
            {"_target_": "Activationsd", "keys": "pred", **activation},
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
        ]},
    )  # fmt: skip
    torch.manual_seed(3)
    made = DenseNet121(**{key: value for key, value in network.items() if key not in ("_target_", "pretrained")}).eval()
    described = metadata(channels, modality="CXR", shape=(48, 64))
    return write_bundle(tmp_path / "classes", config, described, made.state_dict()), made


def test_a_2d_classification_bundle_becomes_a_reader_that_both_backends_know(tmp_path):
    from radpipe.card import read_card
    from radpipe.models import open_model
    from radpipe.models.bundle_reader import BundleReader
    from radpipe.models.tensors import read_tensors

    bundle, network = densenet_bundle(tmp_path, ["normal", "Effusion", "Pneumothorax"])
    made = import_bundle(bundle, tmp_path / "weights", "classes", body_part="chest")
    assert made.role == "reader"
    assert made.onnx.made, made.onnx.why
    assert made.onnx.largest_difference <= 1e-3
    card = read_card(made.directory / "card.toml")
    assert [label.finding for label in card.labels] == ["pleural_effusion", "pneumothorax"]
    assert not any(label.assessed for label in card.labels)  # no operating point was published: nothing is decided
    assert (card.input.rows, card.input.columns, card.input.channels) == (64, 48, 1)
    pictures = np.random.default_rng(0).random((3, 1, 64, 48), np.float32)
    answer = open_model(card, "onnx", "cpu", 1).predict(pictures)
    flat = pictures.reshape(3, -1)
    low, high = flat.min(1)[:, None, None, None], flat.max(1)[:, None, None, None]
    seen = torch.from_numpy((pictures - low) / (high - low) * 2 - 1).transpose(2, 3)  # as MONAI loads: columns first
    with torch.inference_mode():
        want = torch.sigmoid(network(seen))[:, 1:].numpy()
    np.testing.assert_allclose(answer.probabilities, want, atol=1e-4)
    assert answer.maps.shape[:2] == (3, 2)
    assert answer.maps.shape[2] > answer.maps.shape[3]  # in the picture's frame: rows, columns
    arrays, header = read_tensors(made.directory / "model.safetensors")
    again = BundleReader.from_metadata(header)
    again.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in arrays.items()})
    with torch.inference_mode():
        np.testing.assert_allclose(again.eval()(torch.from_numpy(pictures))[0].numpy(), want, atol=1e-5)


def test_a_2d_bundle_with_an_unsupported_step_or_modality_is_refused(tmp_path):
    bundle, _ = densenet_bundle(tmp_path, ["normal", "abnormal"], sigmoid=False)
    with pytest.raises(UsageError, match="has no output 'mass'; it has normal, abnormal"):
        import_bundle(bundle, tmp_path / "weights", "x", findings={"mass": "mass"})
    described = json.loads((bundle / "configs" / "metadata.json").read_text())
    described["network_data_format"]["inputs"]["image"]["modality"] = "endoscopy"
    (bundle / "configs" / "metadata.json").write_text(json.dumps(described))
    with pytest.raises(WeightsError, match="the bundle reads endoscopy"):
        import_bundle(bundle, tmp_path / "weights", "x")
