"""The GPU backend: PyTorch, on CUDA where there is one; also on a CPU, to check the other backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from radpipe.card import ModelCard
from radpipe.errors import BackendUnavailable, WeightsError
from radpipe.models.answers import OUTPUTS, prediction
from radpipe.models.networks import network_of
from radpipe.models.tensors import read_tensors
from radpipe.ports import Prediction


class TorchModel:
    """`model.safetensors` in the network that its header names. See ports.ImageModel.

    In float32, unless `bf16` is asked for: then the matrix products run in bfloat16 (autocast), on CUDA with channels last.
    Decisions are made in float32 until the parity of bfloat16 was measured on the card that runs it.
    """

    def __init__(self, card: ModelCard, *, device: str = "auto", threads: int = 0, bf16: bool = False) -> None:
        """Raises BackendUnavailable if CUDA is asked for and not there; WeightsError if the weights do not fit."""
        self._card = card
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailable("torch finds no CUDA device; use --device cpu, or see `radpipe doctor`")
        self._device = torch.device("cuda:0" if device != "cpu" and torch.cuda.is_available() else "cpu")
        self._bf16 = bf16
        if threads:
            torch.set_num_threads(threads)
        arrays, metadata = read_tensors(card.directory / "model.safetensors")
        # Halves are widened once: the arithmetic is float32 on both backends, so that they agree.
        state: dict[str, Any] = {
            name: torch.from_numpy(array.astype(np.int64 if array.dtype == np.int64 else np.float32))
            for name, array in arrays.items()
        }
        try:
            network = network_of(metadata | ({"network": card.network} if card.network else {}))
            network.load_state_dict(state)
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise WeightsError(f"model.safetensors of {card.name} does not fit the network: {error}") from error
        self._network = network.eval().requires_grad_(False).to(self._device)
        if bf16 and self._device.type == "cuda":
            self._network = self._network.to(memory_format=torch.channels_last)
        self._outputs: tuple[str, ...] = getattr(network, "outputs", OUTPUTS)
        self._takes_measures = bool(card.measures)

    @property
    def card(self) -> ModelCard:
        """Of the model that is loaded."""
        return self._card

    @property
    def backend(self) -> str:
        """Always "torch"."""
        return "torch"

    @property
    def network(self) -> torch.nn.Module:
        """Itself, for benchmarks and exports."""
        return self._network

    @property
    def provider(self) -> str:
        """Where the weights lie, read back from them: "cpu", "cuda:0"; with "bf16" where that was asked for."""
        place = str(next(self._network.parameters()).device)
        return f"{place} bf16" if self._bf16 else place

    def predict(self, batch: npt.NDArray[np.float32], measures: npt.NDArray[np.float32] | None = None) -> Prediction:
        """(B, C, H, W) float32, preprocessed. B may be 0."""
        if len(batch) == 0:
            return prediction({}, 0, self._card)
        images = torch.from_numpy(np.array(batch, np.float32)).to(self._device)
        inputs = [images]
        if self._takes_measures and measures is not None:
            inputs.append(torch.from_numpy(np.array(measures, np.float32)).to(self._device))
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            answers = self._network(*inputs)
        found = {name: answer.float().cpu().numpy() for name, answer in zip(self._outputs, answers, strict=True)}
        return prediction(found, len(batch), self._card)
