"""The CPU backend: ONNX Runtime. Imports no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.card import ModelCard
from radpipe.errors import WeightsError
from radpipe.models.answers import OUTPUTS, prediction
from radpipe.models.session import open_session
from radpipe.ports import Prediction

__all__ = ["OUTPUTS", "OnnxModel"]

INTEGER_GRAPH = "model.int8.onnx"
"""The same weights, rounded to 8 bits in the graph: see docs/model-card.md."""


class OnnxModel:
    """`model.onnx` in an ONNX Runtime session. See ports.ImageModel."""

    def __init__(self, card: ModelCard, *, device: str = "auto", threads: int = 0, graph: str = "model.onnx") -> None:
        """Raises BackendUnavailable if CUDA is asked for and the session does not run on it; WeightsError if it cannot be
        loaded."""
        self._card = card
        self._session = open_session(card.directory / graph, card.name, device, threads)
        loaded: str = self._session.get_providers()[0]
        self._provider = f"{loaded} int8" if graph == INTEGER_GRAPH else loaded
        inputs = {value.name: value.shape for value in self._session.get_inputs()}
        self._measures: int | None = int(inputs.pop("measures")[1]) if "measures" in inputs else None
        self._input, shape = next(iter(inputs.items()))
        # a graph made for so many images at once, as other people's often are, gets that many
        self._fixed: int | None = shape[0] if isinstance(shape[0], int) else None
        self._outputs = [value.name for value in self._session.get_outputs() if value.name in OUTPUTS]
        if "probabilities" not in self._outputs:
            raise WeightsError(f"{graph} of {card.name} has no output `probabilities`; see docs/model-card.md")

    @property
    def card(self) -> ModelCard:
        """Of the model that is loaded."""
        return self._card

    @property
    def backend(self) -> str:
        """Always "onnx"."""
        return "onnx"

    @property
    def provider(self) -> str:
        """The execution provider that the session loaded; with "int8" where the graph is the rounded one."""
        return self._provider

    def predict(self, batch: npt.NDArray[np.float32], measures: npt.NDArray[np.float32] | None = None) -> Prediction:
        """(B, C, H, W) float32, preprocessed. B may be 0."""
        if len(batch) == 0:  # ONNX Runtime's reductions fail on an empty axis
            return prediction({}, 0, self._card)
        step = self._fixed or len(batch)
        parts = [self._run(batch[at : at + step], None if measures is None else measures[at : at + step])
                 for at in range(0, len(batch), step)]  # fmt: skip
        answers = dict(zip(self._outputs, map(np.concatenate, zip(*parts, strict=True)), strict=True))
        return prediction(answers, len(batch), self._card)

    def _run(self, batch: npt.NDArray[np.float32], measures: npt.NDArray[np.float32] | None) -> list[Any]:
        """One call of the session; a short batch is filled up where the graph wants a certain number."""
        count, wanted = len(batch), self._fixed or len(batch)
        feed = {self._input: _filled(batch, wanted)}
        if self._measures is not None:
            if measures is None:
                measures = np.full((count, self._measures), np.nan, np.float32)
            feed["measures"] = _filled(measures, wanted)
        return [np.asarray(answer)[:count] for answer in self._session.run(self._outputs, feed)]


def _filled(values: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    missing = count - len(values)
    padded = np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) if missing > 0 else values
    return np.ascontiguousarray(padded, np.float32)
