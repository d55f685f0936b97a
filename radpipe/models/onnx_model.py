"""The CPU backend: ONNX Runtime. Imports no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime

from radpipe.card import ModelCard
from radpipe.errors import BackendUnavailable, WeightsError
from radpipe.models import usable_threads
from radpipe.ports import Prediction

OUTPUTS = ("probabilities", "maps", "embedding", "views", "distance")


class OnnxModel:
    """`model.onnx` in an ONNX Runtime session. See ports.ImageModel."""

    def __init__(self, card: ModelCard, *, device: str = "auto", threads: int = 0) -> None:
        """Raises BackendUnavailable if CUDA is asked for and the session does not run on it; WeightsError if it cannot be
        loaded."""
        self._card = card
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_threads(threads)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # what it would log of a provider that does not load, we say in one line of our own
        onnxruntime.set_default_logger_severity(4)
        # Batches differ in size: a memory pattern per size would only grow.
        options.enable_mem_pattern = False
        wanted = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
        if wanted not in onnxruntime.get_available_providers():
            raise BackendUnavailable(
                f"ONNX Runtime has no {wanted} here; use --device cpu, or install 'radpipe[gpu]' in an environment of its "
                "own, on a machine with CUDA"
            )
        try:
            self._session = onnxruntime.InferenceSession(
                str(card.directory / "model.onnx"), options, providers=list(dict.fromkeys([wanted, "CPUExecutionProvider"]))
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise WeightsError(f"model.onnx of {card.name} does not load ({error}); run `radpipe weights verify`") from error
        self._provider: str = self._session.get_providers()[0]
        if self._provider != wanted:
            raise BackendUnavailable(
                f"ONNX Runtime loaded {self._provider} instead of {wanted}; use --device cpu, or see `radpipe doctor`"
            )
        self._input: str = self._session.get_inputs()[0].name

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
        """The execution provider that the session loaded."""
        return self._provider

    def predict(self, batch: npt.NDArray[np.float32]) -> Prediction:
        """(B, C, H, W) float32, preprocessed. B may be 0."""
        if len(batch) == 0:  # ONNX Runtime's reductions fail on an empty axis
            answers = [np.zeros((0, *output.shape[1:]), np.float32) for output in self._session.get_outputs()]
        else:
            answers = self._session.run(list(OUTPUTS), {self._input: np.ascontiguousarray(batch, np.float32)})
        for answer in answers:
            answer.setflags(write=False)
        return Prediction(*answers)
