"""Both backends: the same answer from the same bytes, what is refused, and what is imported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpipe.card import ModelCard, read_card
from radpipe.errors import BackendUnavailable, WeightsError
from radpipe.models import list_cards, open_model, parity, verify
from radpipe.models.answers import OUTPUTS
from radpipe.models.fake import FakeModel, fake_card
from radpipe.models.tensors import read_tensors, tensor_offsets, write_tensors
from radpipe.ports import ImageModel
from radpipe.preprocess import model_input


@pytest.fixture(scope="module")
def card(root: Path) -> ModelCard:
    return read_card(root / "weights" / "chest-dinov2s" / "card.toml")


@pytest.fixture(scope="module")
def model(card: ModelCard) -> ImageModel:
    pytest.importorskip("onnxruntime")
    return open_model(card, "onnx", "cpu", threads=1)


def _radiograph(name: str = "RG1_UNCI.dcm") -> np.ndarray:
    """(rows, columns), bright = dense: both files are MONOCHROME1."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.data import get_testdata_file

    path = get_testdata_file(name)
    if path is None:
        pytest.skip(f"{name} is absent: install pydicom-data")
    pixels = pydicom.dcmread(path).pixel_array.astype(np.float32)
    return pixels.max() - pixels


@pytest.fixture(scope="module")
def batch(card: ModelCard) -> np.ndarray:
    """Eight images: a chest whole, cropped, darkened, an extremity, noise and nothing."""
    chest, tibia = _radiograph(), _radiograph("RG3_UNCI.dcm")
    noise = np.random.default_rng(0).random((300, 300), np.float32)
    images = [
        chest,
        chest[200:-200, 100:-100],
        chest**2,
        tibia,
        noise,
        np.zeros((9, 9), np.float32),
        chest[:, ::-1],
        chest.T,
    ]
    return np.stack([model_input(np.ascontiguousarray(image), card.input)[0] for image in images])


def test_an_answer_has_the_shapes_and_ranges_that_the_port_says(
    model: ImageModel, card: ModelCard, batch: np.ndarray
) -> None:
    answer = model.predict(batch)
    count = len(card.labels)
    assert answer.probabilities.shape == (8, count)
    assert answer.maps.shape == (8, count, 16, 16)
    assert answer.embedding.shape[0] == 8
    assert answer.views.shape == (8, 3)
    assert answer.distance.shape == (8,)
    assert answer.orientation is not None
    assert answer.orientation.shape == (8, len(card.orientation_labels))
    for name in OUTPUTS:  # what the network says; the rest is the examiner's
        array = getattr(answer, name)
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
        assert not array.flags.writeable
    assert ((answer.probabilities >= 0) & (answer.probabilities <= 1)).all()
    np.testing.assert_allclose(np.linalg.norm(answer.embedding, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(answer.views.sum(axis=1), 1, atol=1e-5)


def test_a_labels_logit_is_the_mean_of_its_map_unless_its_lesions_were_painted(
    model: ImageModel, card: ModelCard, batch: np.ndarray
) -> None:
    _, metadata = read_tensors(card.directory / "model.safetensors")
    painted = json.loads(metadata["shape"]).get("painted", [])
    own = [number for number in range(len(card.labels)) if number not in painted]
    assert own
    answer = model.predict(batch[:2])
    by_map = 1 / (1 + np.exp(-answer.maps.mean(axis=(2, 3))))
    np.testing.assert_allclose(by_map[:, own], answer.probabilities[:, own], atol=1e-5)


def test_a_batch_of_one_gives_what_a_batch_of_eight_gives(model: ImageModel, batch: np.ndarray) -> None:
    together = model.predict(batch)
    for number in range(8):
        alone = model.predict(batch[number : number + 1])
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[number], atol=1e-5)
        np.testing.assert_allclose(alone.maps[0], together.maps[number], atol=1e-4)
        np.testing.assert_allclose(alone.distance[0], together.distance[number], rtol=1e-4)


def test_an_empty_batch_gives_empty_answers(model: ImageModel, card: ModelCard) -> None:
    answer = model.predict(np.zeros((0, card.input.channels, card.input.rows, card.input.columns), np.float32))
    assert answer.probabilities.shape == (0, len(card.labels))


def test_the_backends_agree_and_no_decision_flips(card: ModelCard, batch: np.ndarray) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    result = parity(card, batch)
    assert result.holds
    assert result.images == 8
    assert result.largest_difference <= 1e-4
    assert result.largest_distance_difference <= 1e-3


def test_what_runs_it_is_read_back(model: ImageModel) -> None:
    assert (model.backend, model.provider) == ("onnx", "CPUExecutionProvider")


def test_cuda_that_is_not_there_is_refused_and_never_replaced(card: ModelCard) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    for backend in ("onnx", "torch"):
        with pytest.raises(BackendUnavailable, match="--device cpu"):
            open_model(card, backend, "cuda")


@pytest.mark.parametrize(("backend", "device"), [("tensorflow", "auto"), ("onnx", "tpu")])
def test_an_unknown_backend_or_device_is_refused(card: ModelCard, backend: str, device: str) -> None:
    with pytest.raises(BackendUnavailable, match="choose auto"):
        open_model(card, backend, device)


def test_a_backend_that_is_not_installed_says_what_to_install(root: Path) -> None:
    code = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'torch' else real(name, *a)\n"
        "from pathlib import Path; from radpipe.card import read_card; from radpipe.models import open_model\n"
        "from radpipe.errors import BackendUnavailable\n"
        "card = read_card(Path('weights/chest-dinov2s/card.toml'))\n"
        "try: open_model(card, 'torch')\n"
        "except BackendUnavailable as error: print(error)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert "install 'radpipe[gpu]'" in shown


def test_the_onnx_path_imports_no_torch(root: Path) -> None:
    pytest.importorskip("onnxruntime")
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from radpipe.card import read_card; from radpipe.models import open_model\n"
        "from radpipe.preprocess import model_input\n"
        "card = read_card(Path('weights/chest-dinov2s/card.toml'))\n"
        "image = model_input(np.eye(64, dtype=np.float32), card.input)[0]\n"
        "open_model(card, 'onnx', 'cpu', 1).predict(image[None])\n"
        "heavy = {'torch', 'monai', 'cv2', 'scipy', 'pydicom', 'onnx', 'safetensors'} & set(sys.modules)\n"
        "print(sorted(heavy))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


@pytest.fixture
def copied(card: ModelCard, tmp_path: Path) -> ModelCard:
    shutil.copytree(card.directory, tmp_path / "weights" / "copied", ignore=shutil.ignore_patterns("record"))
    if card.lungs:
        shutil.copytree(card.directory.parent / card.lungs, tmp_path / "weights" / card.lungs)
    return read_card(tmp_path / "weights" / "copied" / "card.toml")


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx"])
def test_a_damaged_file_is_refused(copied: ModelCard, name: str) -> None:
    path = copied.directory / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert len(verify(copied)) == 1
    with pytest.raises(WeightsError, match=f"{name} has sha256 .* `radpipe weights verify`"):
        open_model(copied, "onnx", "cpu")


def test_a_missing_file_is_named(copied: ModelCard) -> None:
    (copied.directory / "model.safetensors").unlink()
    assert "model.safetensors of chest-dinov2s is missing" in verify(copied)[0]
    with pytest.raises(WeightsError, match="is missing"):
        open_model(copied, "onnx", "cpu")


def test_cards_are_listed_by_folder(copied: ModelCard) -> None:
    assert [card.name for card in list_cards(copied.directory.parent)] == ["chest-dinov2s"]
    with pytest.raises(WeightsError, match="no model in"):
        list_cards(copied.directory / "nowhere")


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), min_size=1, max_size=5), st.booleans())
def test_tensors_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, int]], half: bool
) -> None:
    path = tmp_path_factory.mktemp("tensors") / "some.safetensors"
    kind = np.float16 if half else np.float32
    tensors = {f"t{n}": np.random.default_rng(n).random(shape).astype(kind) for n, shape in enumerate(shapes)}
    write_tensors(path, tensors, {"network": "test"})
    found, metadata = read_tensors(path)
    assert metadata == {"network": "test"}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)
        offset, length = tensor_offsets(path)[name]
        assert path.read_bytes()[offset : offset + length] == tensor.tobytes()


def test_our_file_is_read_by_the_safetensors_library(card: ModelCard) -> None:
    library = pytest.importorskip("safetensors.numpy")
    theirs = library.load_file(card.directory / "model.safetensors")
    ours, _ = read_tensors(card.directory / "model.safetensors")
    assert theirs.keys() == ours.keys()
    for name, tensor in ours.items():
        np.testing.assert_array_equal(theirs[name], tensor)


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0{}"[:9]])
def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        read_tensors(path)


def test_the_fake_answers_with_its_function() -> None:
    card = fake_card({"pneumothorax": (0.5, 0.2), "mass": (0.4, 0.1)})
    model = FakeModel(card, lambda batch: np.array([[0.91, 0.02]], np.float32))
    answer = model.predict(np.random.default_rng(0).random((3, 1, 32, 32), np.float32))
    np.testing.assert_allclose(answer.probabilities, [[0.91, 0.02]] * 3, rtol=1e-6)
    assert answer.maps.shape == (3, 2, 4, 4)
    np.testing.assert_allclose(np.linalg.norm(answer.embedding, axis=1), 1, atol=1e-5)
    assert model.predict(np.zeros((1, 1, 32, 32), np.float32)).distance.tolist() == [0.0]
