"""Guests: torchxrayvision's checkpoints, what is refused, and that nothing of a file is run."""

from __future__ import annotations

import json
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from radpipe.card import ModelCard, read_card
from radpipe.cli import main
from radpipe.detect import findings
from radpipe.errors import BackendUnavailable, UsageError, WeightsError
from radpipe.finding import Decision
from radpipe.models import list_cards, open_model, other_cards, verify
from radpipe.preprocess import place

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from radpipe.guests import Asked, import_guest, kind_of  # noqa: E402
from radpipe.guests.checkpoint import read_checkpoint  # noqa: E402
from radpipe.guests.labels import meanings  # noqa: E402
from tests import guest_files  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guests")


@pytest.fixture(scope="module")
def network(folder: Path) -> guest_files.DenseNet:
    return guest_files.write_xrv(folder / "module.pt")


@pytest.fixture(scope="module")
def card(folder: Path, network: guest_files.DenseNet) -> ModelCard:
    made = import_guest(str(folder / "module.pt"), folder / "models", "xrv-small", "auto", Asked(population="nobody"))
    assert made.report is not None
    assert made.report.onnx
    return read_card(made.directory / "card.toml")


def _images(card: ModelCard, count: int = 3) -> np.ndarray:
    spec = card.input
    rng = np.random.default_rng(1)
    return ((rng.random((count, spec.channels, spec.rows, spec.columns), np.float32) - 0.5) * 2048).astype(np.float32)


def test_a_whole_pickled_module_answers_as_it_did_where_it_came_from(card: ModelCard, network: guest_files.DenseNet) -> None:
    batch = _images(card)
    with torch.no_grad():
        wanted = network(torch.from_numpy(batch)).numpy()[:, [0, 2, 3, 4, 5, 6]]
    for backend in ("torch", "onnx"):
        answer = open_model(card, backend, "cpu", 1).predict(batch)
        np.testing.assert_allclose(answer.probabilities, wanted, atol=1e-4)
        assert answer.maps.shape[:2] == (3, 6)
        assert answer.views.shape == (3, 0)
        np.testing.assert_array_equal(answer.distance, 0)
        np.testing.assert_allclose(np.linalg.norm(answer.embedding, axis=1), 1, atol=1e-5)


def test_its_card_says_what_its_labels_mean_and_what_nobody_has_set(card: ModelCard) -> None:
    assert [label.finding for label in card.labels] == [
        "atelectasis", "pleural_effusion", "infiltration", "lung_opacity", "lung_lesion", "hiatal_hernia",
    ]  # fmt: skip
    lesion = card.label("lung_lesion")
    assert not lesion.threshold_set
    assert not lesion.assessed
    assert lesion.code.scheme == "99RADPIPE"
    effusion = card.label("pleural_effusion")
    assert (effusion.threshold, effusion.rule_out, effusion.assessed) == (0.5, 0.5, True)
    assert "0.05" in effusion.source
    assert card.input.fit == "crop"
    assert (card.input.mean, card.input.std, card.input.percentiles) == ((0.5,), (1 / 2048,), (0.0, 100.0))
    assert (card.distance_limit, card.view_labels, card.sees) == (None, (), False)
    assert card.population == "nobody"
    assert {name for name, _ in card.files} == {"model.onnx", "model.safetensors"}
    assert verify(card) == []


def test_a_label_without_an_operating_point_is_never_decided(card: ModelCard) -> None:
    batch = np.concatenate([_images(card), np.zeros((1, 1, 64, 64), np.float32)])
    answer = open_model(card, "onnx", "cpu", 1).predict(batch)
    for index in range(len(batch)):
        found = findings(answer, index, card, "1.2.3", place(900, 700, card.input))
        assert {f.decision for f in found if f.finding == "lung_lesion"} == {Decision.UNSURE}


def test_the_weights_are_kept_once(card: ModelCard) -> None:
    sizes = {name: (card.directory / name).stat().st_size for name in ("model.onnx", "model.safetensors")}
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(card.directory / "model.onnx", load_external_data=False).graph
    inside = sum(len(tensor.raw_data) for tensor in graph.initializer)
    assert inside < 0.5 * sizes["model.safetensors"]
    assert not list(card.directory.glob("*.pt"))


def test_no_code_of_torchxrayvision_is_needed_to_read_it(card: ModelCard) -> None:
    record = json.loads((card.directory / "record" / "import.json").read_text())
    assert record["read_by"] == "inert"
    assert "no label" in " ".join(record["notes"])


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_every_way_in_which_torch_saves_gives_the_same_weights(tmp_path: Path, legacy: bool, whole: bool) -> None:
    path = tmp_path / "some.pt"
    network = guest_files.write_xrv(path, legacy=legacy, whole=whole)
    found = read_checkpoint(path, modules=True)
    assert found.route == ("inert" if whole else "weights_only")
    wanted = network.state_dict()
    assert found.tensors.keys() == wanted.keys()
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(found.tensors[name].numpy(), tensor.numpy())


class _Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.system, (f"touch {self.path}",)


class _Evaluated:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return eval, (f"__import__('pathlib').Path({str(self.path)!r}).touch()",)


@pytest.mark.parametrize("kind", [_Payload, _Evaluated])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("modules", [False, True])
def test_a_pickle_that_wants_to_run_something_is_refused_and_does_not(
    tmp_path: Path, kind: type, legacy: bool, modules: bool
) -> None:
    path, mark = tmp_path / "evil.pt", tmp_path / "it ran".replace(" ", "_")
    network = guest_files.DenseNet()
    network.extra = kind(mark)
    guest_files.save_as_xrv(network, path, legacy=legacy)
    with pytest.raises(WeightsError, match=r"evil.pt is refused.*would have to run.*torch\.save\(model\.state_dict") as told:
        read_checkpoint(path, modules=modules)
    if modules:
        assert "system" in str(told.value) or "eval" in str(told.value)
    assert "\n" not in str(told.value)
    assert not mark.exists()


def test_a_pickle_that_reaches_into_allowed_modules_gets_no_function_of_them(tmp_path: Path) -> None:
    for module, name in (("torch.nn.modules.module", "sys"), ("torchvision.models._api", "load_url"), ("torch", "load"),
                         ("torch.storage", "_load_from_bytes"), ("builtins", "getattr"), ("numpy", "load")):  # fmt: skip
        program = b"\x80\x02c" + module.encode() + b"\n" + name.encode() + b"\n."
        path = tmp_path / "some.pt"
        path.write_bytes(program)
        with pytest.raises(WeightsError):
            read_checkpoint(path, modules=True)


def test_torchscript_is_refused_because_it_is_a_program(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("script/constants.pkl", pickle.dumps(()))
        archive.writestr("script/data.pkl", pickle.dumps({}))
    with pytest.raises(WeightsError, match="TorchScript program"):
        read_checkpoint(path, modules=True)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"PK\x03\x04 no zip", pickle.dumps([1, 2])])
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    for name in ("some.pt", "some.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError) as told:
            read_checkpoint(tmp_path / name, modules=True)
        assert "\n" not in str(told.value)


def test_a_refused_import_leaves_nothing_behind(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"neither the layout of DenseNet nor of ResNet"):
        import_guest(str(tmp_path / "other.pt"), tmp_path / "models", "other", "xrv")
    assert list((tmp_path / "models").iterdir()) == []
    with pytest.raises(UsageError, match="cannot tell what"):
        kind_of(str(tmp_path / "other.pt"))


def test_labels_that_are_not_known_must_be_named(tmp_path: Path) -> None:
    guest_files.write_xrv(tmp_path / "state.pt", whole=False)
    with pytest.raises(UsageError, match="7 outputs and no labels are known; name all with --labels"):
        import_guest(str(tmp_path / "state.pt"), tmp_path / "models", "guest")
    asked = Asked(labels=guest_files.LABELS, size=64, onnx=False)
    made = import_guest(str(tmp_path / "state.pt"), tmp_path / "models", "guest", asked=asked)
    assert read_card(made.directory / "card.toml").label("pleural_effusion").threshold == 0.5
    with pytest.raises(UsageError, match="is there already"):
        import_guest(str(tmp_path / "state.pt"), tmp_path / "models", "guest", asked=asked)


def test_without_operating_points_nothing_is_assessed(tmp_path: Path) -> None:
    network = guest_files.warmed(guest_files.DenseNet(labels=18))
    torch.save(network.state_dict(), tmp_path / "plain.pt")
    made = import_guest(str(tmp_path / "plain.pt"), tmp_path / "models", "plain", asked=Asked(size=64, onnx=False))
    card = read_card(made.directory / "card.toml")
    assert len(made.unset) == len(card.labels) == 18  # the library's eighteen, in its order
    assert not any(label.assessed for label in card.labels)
    assert [label.finding for label in card.labels][7] == "pleural_effusion"


def test_a_published_file_is_known_by_its_name(tmp_path: Path) -> None:
    name = "kaggle-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"
    network = guest_files.warmed(guest_files.DenseNet(labels=18))
    guest_files.save_as_xrv(network, tmp_path / name)
    made = import_guest(str(tmp_path / name), tmp_path / "models", "rsna", asked=Asked(onnx=False))
    card = read_card(made.directory / "card.toml")
    assert [label.finding for label in card.labels] == ["pneumonia", "lung_opacity"]
    assert all(label.threshold_set for label in card.labels)
    assert "RSNA" in card.training_data
    assert "densenet121-res224-rsna" in card.summary
    assert made.to_fill == ("population",)


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_resnet_of_torchvisions_layout_answers_as_torchvision(tmp_path: Path, bottleneck: bool) -> None:
    torchvision = pytest.importorskip("torchvision")
    from torchvision.models.resnet import BasicBlock, Bottleneck

    torch.manual_seed(0)
    theirs = torchvision.models.ResNet(Bottleneck if bottleneck else BasicBlock, [1, 1, 1, 1], num_classes=18)
    theirs.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    guest_files.warmed(theirs)
    prefix = "model." if bottleneck else ""
    torch.save({prefix + name: tensor for name, tensor in theirs.state_dict().items()}, tmp_path / "resnet.pt")
    made = import_guest(str(tmp_path / "resnet.pt"), tmp_path / "models", "resnet", asked=Asked(size=64))
    card = read_card(made.directory / "card.toml")
    batch = _images(card)
    with torch.no_grad():
        wanted = torch.sigmoid(theirs(torch.from_numpy(batch))).numpy()
    for backend in ("torch", "onnx"):
        np.testing.assert_allclose(open_model(card, backend, "cpu", 1).predict(batch).probabilities, wanted, atol=1e-4)


def test_the_better_name_has_the_finding_and_no_output_is_lost() -> None:
    kept, notes = meanings(["Infiltration", "Lung Opacity", "No Finding", "", "Support Devices"])
    assert [(one.index, one.finding) for one in kept] == [(0, "infiltration"), (1, "lung_opacity"), (4, "support_device")]
    assert len(notes) == 3
    assert [one.finding for one in meanings(["Infiltration", "Mass"])[0]] == ["lung_opacity", "mass"]
    assert all(len(one.code.value) <= 16 for one in meanings(["An Unheard-of Disease of the Lungs"])[0])


def test_the_command_imports_lists_and_predicts(
    folder: Path, card: ModelCard, capsys: pytest.CaptureFixture[str], process_as_it_was: None
) -> None:
    arguments = ["weights", "import", str(folder / "module.pt"), "--name", "second", "--weights", str(folder / "models")]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "differ by at most" in told
    assert "fill in   population" in told
    assert "not set   thresholds of lung_lesion" in told
    assert f"--model second --weights {folder / 'models'}" in told
    assert main(["weights", "list", "--weights", str(folder / "models")]) == 0
    told = capsys.readouterr().out
    assert "not set lung_lesion" in told
    assert "needs   another reader" in told
    assert main(["weights", "list", "--json", "--weights", str(folder / "models")]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[0])
    assert record["not_set"] == ["lung_lesion"]
    assert record["parity"]["onnx"] is True
    assert record["labels"]["lung_lesion"]["threshold"] is None
    assert main(["weights", "parity", "--json", "--model", "second", "--weights", str(folder / "models")]) == 0
    assert json.loads(capsys.readouterr().out)["flipped"] == 0


def test_a_bad_import_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], process_as_it_was: None) -> None:
    assert main(["weights", "import", str(tmp_path / "nothing"), "--name", "x", "--weights", str(tmp_path)]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_readers_and_other_models_are_listed_apart(folder: Path, card: ModelCard, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(card.directory, tmp_path / "guest")
    (tmp_path / "lungs").mkdir()
    (tmp_path / "lungs" / "card.toml").write_text('name = "lungs"\nrole = "anatomy"\nversion = "1"\n[files]\n')
    assert [one.name for one in list_cards(tmp_path)] == ["xrv-small"]
    assert [(one.name, one.role) for one in other_cards(tmp_path)] == [("lungs", "anatomy")]
    with pytest.raises(WeightsError, match="role 'anatomy'"):
        read_card(tmp_path / "lungs" / "card.toml")


def test_a_model_without_a_graph_is_opened_on_torch_or_refused(card: ModelCard, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(card.directory, tmp_path / "guest")
    text = (tmp_path / "guest" / "card.toml").read_text()
    (tmp_path / "guest" / "card.toml").write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith('"model.onnx"'))
    )
    alone = read_card(tmp_path / "guest" / "card.toml")
    assert open_model(alone, "auto", "cpu", 1).backend == "torch"
    with pytest.raises(BackendUnavailable, match=r"has no model.onnx; use --backend torch"):
        open_model(alone, "onnx", "cpu", 1)


def test_the_published_table_is_whole() -> None:
    import tomllib

    from radpipe.guests.xrv import PUBLISHED

    table = tomllib.loads(PUBLISHED.read_text())
    order = table.pop("order")
    assert len(table) == 8
    for entry in table.values():
        labels = entry.get("labels", order)
        assert len(labels) == len(entry["op_threshs"]) == 18
        assert all(math.isnan(point) for label, point in zip(labels, entry["op_threshs"], strict=True) if not label)


def test_the_librarys_own_densenet_gives_the_same_numbers(tmp_path: Path) -> None:
    """Where RADPIPE's tests have torchxrayvision's code at hand: the wheel's models.py, with its weights made up."""
    wheel = os.environ.get("OPENI_TEXTS", "")
    if not wheel.endswith(".whl") or not Path(wheel).is_file():
        pytest.skip("OPENI_TEXTS does not name the wheel of torchxrayvision")
    models = guest_files.library_models(Path(wheel), tmp_path)
    torch.manual_seed(0)
    theirs = guest_files.warmed(models.DenseNet(growth_rate=4, block_config=(2, 3), num_init_features=8, num_classes=18))
    with torch.no_grad():
        torch.save(theirs, tmp_path / "theirs.pt")
    entry = models.model_urls["densenet121-res224-all"]
    made = import_guest(
        str(tmp_path / "theirs.pt"), tmp_path / "models", "theirs", asked=Asked(variant="densenet121-res224-all")
    )
    card = read_card(made.directory / "card.toml")
    theirs.op_threshs = torch.tensor(entry["op_threshs"])
    batch = _images(card)
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(open_model(card, "onnx", "cpu", 1).predict(batch).probabilities, wanted, atol=1e-4)
