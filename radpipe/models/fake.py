"""A model for tests: no weights, its answer is a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from radpipe.card import InputSpec, Label, ModelCard
from radpipe.codes import FINDINGS
from radpipe.ports import Prediction

Floats = npt.NDArray[np.float32]


def fake_card(findings: Mapping[str, tuple[float, float]], *, distance_limit: float = 1.0) -> ModelCard:
    """A card for `FakeModel`: finding -> (threshold, rule_out). 32 x 32 pixels, one channel."""
    return ModelCard(
        name="fake",
        version="0",
        summary="A function, for tests",
        strength="It knows nothing.",
        licence="Apache-2.0",
        training_data="none",
        population="none",
        limits=("not a model",),
        not_covered=("everything",),
        input=InputSpec(("CR", "DX"), "CHEST", ("PA", "AP"), 32, 32, 1, (0.5,), (0.25,), (0.5, 99.5), (18, 120)),
        labels=tuple(
            Label(finding, FINDINGS[finding], threshold, rule_out, True, "none", 0.5, (0.4, 0.6), 0, 0, 0.5, 0.5, 0.5)
            for finding, (threshold, rule_out) in findings.items()
        ),
        view_labels=("PA", "AP", "LATERAL"),
        distance_limit=distance_limit,
        files=(),
        directory=Path(),
    )


class FakeModel:
    """Answers with `function(batch)`: either (B, L) probabilities, or a whole Prediction.

    Where only probabilities are given, the maps are flat, the view is the card's first, the distance is 0 and the
    embedding is the batch's coarse picture.
    """

    def __init__(self, card: ModelCard, function: Callable[[Floats], Floats | Prediction]) -> None:
        self._card = card
        self._function = function

    @property
    def card(self) -> ModelCard:
        """As given."""
        return self._card

    @property
    def backend(self) -> str:
        """Always "fake"."""
        return "fake"

    @property
    def provider(self) -> str:
        """Always "function"."""
        return "function"

    def predict(self, batch: Floats, measures: Floats | None = None) -> Prediction:
        """(B, C, H, W) float32. What was measured is not looked at."""
        answer = self._function(batch)
        if isinstance(answer, Prediction):
            return answer
        probabilities = np.broadcast_to(np.asarray(answer, np.float32), (len(batch), len(self._card.labels)))
        clipped = np.clip(probabilities, 1e-6, 1 - 1e-6)
        logits = np.log(clipped / (1 - clipped))
        rows, columns = batch.shape[2] // 8, batch.shape[3] // 8
        coarse = (
            batch[:, 0, : rows * 8, : columns * 8]
            .reshape(len(batch), rows, 8, columns, 8)
            .mean((2, 4))
            .reshape(len(batch), rows * columns)
        )
        embedding = coarse - coarse.mean(axis=1, keepdims=True) + 1e-6
        views = np.zeros((len(batch), len(self._card.view_labels)), np.float32)
        views[:, :1] = 1.0
        arrays = (
            np.array(probabilities, np.float32),
            np.array(np.broadcast_to(logits[:, :, None, None], (*logits.shape, rows, columns)), np.float32),
            np.array(embedding / np.linalg.norm(embedding, axis=1, keepdims=True), np.float32),
            views,
            np.zeros(len(batch), np.float32),
        )
        for array in arrays:
            array.setflags(write=False)
        return Prediction(*arrays)
