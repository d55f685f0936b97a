"""Models on their backends. `open_model` is the one door; it imports onnxruntime or torch only when it opens one.

Two backends read the same bytes: `model.safetensors` holds the weights, and the initializers of `model.onnx` point into
it. So a difference between the backends can only come from the arithmetic; `parity` measures it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from radpipe.card import ModelCard, read_card
from radpipe.errors import BackendUnavailable, WeightsError
from radpipe.ports import ImageModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PARITY_LIMIT = 1e-3
"""Largest difference of a probability between the backends that is let pass."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the two backends are apart on a batch."""

    images: int
    largest_difference: float  # of a probability
    largest_distance_difference: float  # of the distance from the training images, as a fraction of the card's limit
    flipped: int  # decisions (present, unsure, absent) that differ

    @property
    def holds(self) -> bool:
        """Whether the backends may stand in for each other."""
        return self.largest_difference <= PARITY_LIMIT and self.flipped == 0


def open_model(card: ModelCard, backend: str = "auto", device: str = "auto", threads: int = 0) -> ImageModel:
    """Load the card's weights on a backend, after checking every file against the card.

    `backend` is "onnx", "torch" or "auto": torch where it is installed and has CUDA, else onnx. `device` is "cpu", "cuda" or
    "auto": for torch CUDA where there is one, for onnx the CPU. `threads` of 0 means all cores. Raises BackendUnavailable if
    what was asked for is not installed or does not load, never falls back to another; WeightsError if a file is damaged.
    """
    if backend not in ("auto", "onnx", "torch"):
        raise BackendUnavailable(f"there is no backend {backend!r}; choose auto, onnx or torch")
    if device not in ("auto", "cpu", "cuda"):
        raise BackendUnavailable(f"there is no device {device!r}; choose auto, cpu or cuda")
    if backend == "auto":
        backend = "torch" if device != "cpu" and _has_cuda_torch() else "onnx"
    needed = {"onnx": "onnxruntime", "torch": "torch"}[backend]
    if importlib.util.find_spec(needed) is None:
        extra = "gpu" if backend == "torch" else "cpu"
        raise BackendUnavailable(
            f"the backend {backend} needs {needed}, which is not installed; install 'radpipe[{extra}]' in an environment of "
            "its own"
        )
    if problems := verify(card):
        raise WeightsError(f"{problems[0]}; see `radpipe weights verify`")
    if backend == "torch":
        from radpipe.models.torch_model import TorchModel

        return TorchModel(card, device=device, threads=threads)
    from radpipe.models.onnx_model import OnnxModel

    return OnnxModel(card, device=device, threads=threads)


def list_cards(weights_dir: Path) -> tuple[ModelCard, ...]:
    """The cards of all folders under `weights_dir` that have one, by name. Raises WeightsError for none or a bad one."""
    paths = sorted(weights_dir.glob("*/card.toml"))
    if not paths and (weights_dir / "card.toml").exists():
        raise WeightsError(f"{weights_dir} is one model; name the folder above it, {weights_dir.resolve().parent}")
    if not paths:
        raise WeightsError(
            f"no model in {weights_dir}: a folder of models holds one folder a model, each with card.toml, model.onnx and "
            "model.safetensors; give it with --weights, or leave that out for the models that ship"
        )
    return tuple(map(read_card, paths))


def verify(card: ModelCard) -> list[str]:
    """What is wrong with the card's files, one line each; empty if every file is there and has the card's sha256."""
    problems = []
    for name, want in card.files:
        try:
            with (card.directory / name).open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError:
            problems.append(f"{name} of {card.name} is missing; restore it from the repository")
            continue
        if found != want:
            problems.append(f"{name} has sha256 {found[:8]}, its card says {want[:8]}; restore it from the repository")
    return problems


def parity(card: ModelCard, batch: npt.NDArray[np.float32]) -> Parity:
    """Read `batch` (B, C, H, W), preprocessed, on both backends' CPU and compare. Raises BackendUnavailable."""
    import numpy as np

    onnx = open_model(card, "onnx", "cpu").predict(batch)
    torch = open_model(card, "torch", "cpu").predict(batch)
    edges = np.array([[label.rule_out, label.threshold] for label in card.labels], np.float32)
    decisions = [(p.probabilities[:, :, None] >= edges).sum(axis=2) for p in (onnx, torch)]
    return Parity(
        images=len(batch),
        largest_difference=float(np.abs(onnx.probabilities - torch.probabilities).max(initial=0.0)),
        largest_distance_difference=float(np.abs(onnx.distance - torch.distance).max(initial=0.0)) / card.distance_limit,
        flipped=int((decisions[0] != decisions[1]).sum()),
    )


def usable_threads(threads: int) -> int:
    """`threads`, or for 0 the cores that this process may use: a container's share, not the whole machine."""
    return threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else threads or os.cpu_count() or 1


def _has_cuda_torch() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
