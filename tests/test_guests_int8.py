"""The graph in 8-bit whole numbers: no weights of its own, near the one in float32, and only where it is asked for."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from radpipe.card import ModelCard, read_card
from radpipe.errors import BackendUnavailable
from radpipe.models import compare, open_model

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from radpipe.guests.guest_card import sha256_of
from radpipe.guests.int8 import save_integer_graph
from radpipe.guests.trial import trial_batch
from radpipe.models.onnx_model import INTEGER_GRAPH


@pytest.fixture(scope="module")
def card(root: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    """The shipped reader with such a graph beside it."""
    shipped = read_card(root / "weights" / "chest-dinov2s" / "card.toml")
    copy = tmp_path_factory.mktemp("weights") / shipped.name
    shutil.copytree(shipped.directory, copy, ignore=shutil.ignore_patterns("record"))
    assert save_integer_graph(copy) == 48
    own = [(name, digest) for name, digest in shipped.files if not name.startswith("..")]
    files = tuple(dict([*own, (INTEGER_GRAPH, sha256_of(copy / INTEGER_GRAPH))]).items())
    return dataclasses.replace(shipped, directory=copy, files=files)


def test_it_holds_no_weights_of_its_own(card: ModelCard) -> None:
    assert (card.directory / INTEGER_GRAPH).stat().st_size < 250_000


def test_it_answers_nearly_as_the_graph_in_float32_and_says_what_it_is(card: ModelCard) -> None:
    exact, rounded = open_model(card, "onnx", "cpu", 1), open_model(card, "onnx", "cpu", 1, "int8")
    assert (exact.provider, rounded.provider) == ("CPUExecutionProvider", "CPUExecutionProvider int8")
    found = compare(exact, rounded, trial_batch(card.input))
    assert 0 < found.largest_difference < 0.1
    batch = trial_batch(card.input)[:2]
    one, other = exact.predict(batch), rounded.predict(batch)
    np.testing.assert_allclose(one.distance, other.distance, rtol=0.1)
    assert (one.views.argmax(1) == other.views.argmax(1)).all()


def test_nobody_gets_it_without_asking_and_none_is_made_up(card: ModelCard) -> None:
    assert open_model(card, "auto", "cpu", 1).provider == "CPUExecutionProvider"
    without = dataclasses.replace(card, files=tuple(entry for entry in card.files if entry[0] != INTEGER_GRAPH))
    with pytest.raises(BackendUnavailable, match=r"has no model.int8.onnx"):
        open_model(without, "onnx", "cpu", 1, "int8")
    with pytest.raises(BackendUnavailable, match="not a precision of the backend torch"):
        open_model(card, "torch", "cpu", 1, "int8")
    with pytest.raises(BackendUnavailable, match="choose fp32, int8"):
        open_model(card, "onnx", "cpu", 1, "int4")
