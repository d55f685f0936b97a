"""The GPU backend: PyTorch, on CUDA where there is one; also on a CPU, to check the other backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from radpipe.card import ModelCard
from radpipe.errors import BackendUnavailable, WeightsError
from radpipe.models.dinov2 import Reader
from radpipe.models.tensors import read_tensors
from radpipe.ports import Prediction


class TorchModel:
    """`model.safetensors` in `dinov2.Reader`, in float32. See ports.ImageModel."""

    def __init__(self, card: ModelCard, *, device: str = "auto", threads: int = 0) -> None:
        """Raises BackendUnavailable if CUDA is asked for and not there; WeightsError if the weights do not fit."""
        self._card = card
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailable("torch finds no CUDA device; use --device cpu, or see `radpipe doctor`")
        self._device = torch.device("cuda:0" if device != "cpu" and torch.cuda.is_available() else "cpu")
        if threads:
            torch.set_num_threads(threads)
        arrays, metadata = read_tensors(card.directory / "model.safetensors")
        # Halves are widened once: the arithmetic is float32 on both backends, so that they agree.
        state: dict[str, Any] = {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
        try:
            reader = Reader.from_metadata(metadata)
            reader.load_state_dict(state)
        except (RuntimeError, KeyError, ValueError) as error:
            raise WeightsError(f"model.safetensors of {card.name} does not fit the network: {error}") from error
        self._reader = reader.eval().requires_grad_(False).to(self._device)

    @property
    def card(self) -> ModelCard:
        """Of the model that is loaded."""
        return self._card

    @property
    def backend(self) -> str:
        """Always "torch"."""
        return "torch"

    @property
    def provider(self) -> str:
        """Where the weights lie, read back from them: "cpu", "cuda:0"."""
        return str(next(self._reader.parameters()).device)

    def predict(self, batch: npt.NDArray[np.float32]) -> Prediction:
        """(B, C, H, W) float32, preprocessed. B may be 0."""
        with torch.inference_mode():
            images = torch.from_numpy(np.array(batch, np.float32)).to(self._device)
            answers = [answer.cpu().numpy() for answer in self._reader(images)]
        for answer in answers:
            answer.setflags(write=False)
        return Prediction(*answers)
