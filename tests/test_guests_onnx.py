"""Guests: any ONNX graph with a card."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from radpipe.card import read_card
from radpipe.cli import main
from radpipe.errors import BackendUnavailable, UsageError, WeightsError
from radpipe.models import open_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from radpipe.guests import Asked, import_guest  # noqa: E402

CARD = """
licence = "of somebody"
[input]
rows = 16
columns = 12
mean = [0.5]
std = [0.5]
fit = "pad"
[outputs]
logits = "scores"
[labels.pneumonia]
output = 2
threshold = 0.4
rule_out = 0.2
source = "made up"
[labels.pleural_effusion]
output = 0
"""


def _graph(path: Path, *, batch: int | str = "N", domain: str = "", output: str = "scores") -> np.ndarray:
    """Three numbers of the mean and two corners of an image. Returns the weights."""
    weights = np.random.default_rng(0).normal(size=(16 * 12, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["picture"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["sums"]),
        helper.make_node("Own" if domain else "Identity", ["sums"], [output], domain=domain),
    ]
    graph = helper.make_graph(
        nodes,
        "some",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [batch, 1, 16, 12])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return weights


def _import(tmp_path: Path, card: str = CARD, name: str = "some") -> Path:
    asked = Asked(card=tomllib.loads(card))
    return import_guest(str(tmp_path / "some.onnx"), tmp_path / "models", name, asked=asked).directory


@pytest.mark.parametrize(("batch", "output"), [("N", "scores"), (1, "scores"), (2, "probabilities")])
def test_a_graph_answers_under_our_names_whatever_its_own_are(tmp_path: Path, batch: int | str, output: str) -> None:
    weights = _graph(tmp_path / "some.onnx", batch=batch, output=output)
    card = read_card(_import(tmp_path, CARD.replace('"scores"', f'"{output}"')) / "card.toml")
    images = np.random.default_rng(1).normal(size=(5, 1, 16, 12)).astype(np.float32)
    answer = open_model(card, "onnx", "cpu", 1).predict(images)
    wanted = 1 / (1 + np.exp(-(images.reshape(5, -1) @ weights)))[:, [2, 0]]
    np.testing.assert_allclose(answer.probabilities, wanted, atol=1e-5)
    pneumonia, effusion = card.labels
    assert (pneumonia.threshold, pneumonia.rule_out, pneumonia.assessed) == (0.4, 0.2, True)
    assert (effusion.threshold_set, effusion.assessed) == (False, False)
    assert (card.input.fit, card.licence) == ("pad", "of somebody")
    with pytest.raises(BackendUnavailable, match="use --backend onnx"):
        open_model(card, "torch", "cpu")


def test_softmax_can_be_asked_for(tmp_path: Path) -> None:
    weights = _graph(tmp_path / "some.onnx")
    card = read_card(
        _import(tmp_path, CARD.replace('logits = "scores"', 'logits = "scores"\nactivation = "softmax"')) / "card.toml"
    )
    images = np.random.default_rng(1).normal(size=(2, 1, 16, 12)).astype(np.float32)
    scores = np.exp((images.reshape(2, -1) @ weights).astype(np.float64))
    wanted = (scores / scores.sum(1, keepdims=True))[:, [2, 0]]
    np.testing.assert_allclose(open_model(card, "onnx", "cpu", 1).predict(images).probabilities, wanted, atol=1e-5)


def test_custom_operators_are_refused(tmp_path: Path) -> None:
    _graph(tmp_path / "some.onnx", domain="their.own")
    with pytest.raises(WeightsError, match=r"uses their\.own\.Own, custom operators"):
        _import(tmp_path)
    assert list((tmp_path / "models").iterdir()) == []


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    _graph(tmp_path / "some.onnx")
    model = onnx.load(tmp_path / "some.onnx")
    onnx.save(model, tmp_path / "some.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(WeightsError, match="1 of its weights lie in other files"):
        _import(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('logits = "scores"', 'logits = "score"'), "there is no output 'score'"),
        (('logits = "scores"', 'probabilities = "scores"'), "not within 0 and 1"),
        (("rows = 16", "rows = 17"), "does not run it on"),
        (("output = 2", "output = 9"), "does not run it"),
        (('source = "made up"', ""), "threshold without a `source`"),
        (("std = [0.5]", ""), "std"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_with_what_is_wrong(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    _graph(tmp_path / "some.onnx")
    with pytest.raises((UsageError, WeightsError), match=told):
        _import(tmp_path, CARD.replace(*change))
    assert not (tmp_path / "models" / "some").exists()


@pytest.mark.parametrize("content", [b"", b"\x08\x01garbage", b"not onnx at all"])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some.onnx").write_bytes(content)
    with pytest.raises((UsageError, WeightsError)):
        _import(tmp_path)


def test_a_graph_without_a_card_asks_for_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], process_as_it_was: None
) -> None:
    _graph(tmp_path / "some.onnx")
    arguments = ["weights", "import", str(tmp_path / "some.onnx"), "--name", "some", "--weights", str(tmp_path / "models")]
    assert main(arguments) == 2
    assert "say with --card FILE.toml" in capsys.readouterr().err
    (tmp_path / "card.toml").write_text(CARD)
    assert main([*arguments, "--card", str(tmp_path / "card.toml")]) == 0
    assert "fill in   population, training_data" in capsys.readouterr().out
