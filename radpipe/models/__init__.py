"""Models on their backends. `open_model` is the one door; it imports onnxruntime or torch only when it opens one.

Two backends read the same bytes: `model.safetensors` holds the weights, and the initializers of `model.onnx` point into
it. So a difference between the backends can only come from the arithmetic; `parity` measures it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from radpipe.card import READER, CardHead, ModelCard, head_of, read_card, read_table
from radpipe.errors import BackendUnavailable, WeightsError
from radpipe.ports import ImageModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PARITY_LIMIT = 1e-3
"""Largest difference of a probability between the backends that is let pass."""

PARITY_BATCH = 8
"""Images compared at a time: memory stays small however many there are."""


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


@dataclass(frozen=True, slots=True)
class OtherCard(CardHead):
    """The head of a card that is no reader's: a segmenter's, the lungs', the text tower's."""

    role: str


def open_model(
    card: ModelCard, backend: str = "auto", device: str = "auto", threads: int = 0, precision: str = "fp32"
) -> ImageModel:
    """Load the card's weights on a backend, after checking every file against the card.

    `backend` is "onnx", "torch" or "auto": torch where it is installed and has CUDA, else onnx; where it has one only,
    that. `device` is "cpu", "cuda" or "auto": for torch CUDA where there is one, for onnx the CPU. `threads` of 0 means all
    cores. `precision` is "fp32"; "int8" (onnx, if the model has such a graph) and "bf16" (torch) are quicker and move
    decisions near a threshold. Raises BackendUnavailable if what was asked for is not installed or does not load, never
    falls back to another; WeightsError if a file is damaged.
    """
    if backend not in ("auto", "onnx", "torch"):
        raise BackendUnavailable(f"there is no backend {backend!r}; choose auto, onnx or torch")
    if device not in ("auto", "cpu", "cuda"):
        raise BackendUnavailable(f"there is no device {device!r}; choose auto, cpu or cuda")
    if precision not in ("fp32", "int8", "bf16"):
        raise BackendUnavailable(f"there is no precision {precision!r}; choose fp32, int8 (onnx) or bf16 (torch)")
    backend = _chosen(card, backend, device, precision)
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

        return TorchModel(card, device=device, threads=threads, bf16=precision == "bf16")
    from radpipe.models.onnx_model import INTEGER_GRAPH, OnnxModel

    graph = INTEGER_GRAPH if precision == "int8" else "model.onnx"
    return OnnxModel(card, device=device, threads=threads, graph=graph)


def _chosen(card: ModelCard, backend: str, device: str, precision: str) -> str:
    """The backend that is meant. Raises BackendUnavailable for one that the model or the precision does not have."""
    names = {name for name, _ in card.files}
    has = {kind for kind, file in (("onnx", "model.onnx"), ("torch", "model.safetensors")) if file in names or not names}
    wanted = {"int8": {"onnx"}, "bf16": {"torch"}}.get(precision, {"onnx", "torch"})
    if backend == "auto":
        both = has & wanted
        if len(both) == 1:
            return both.pop()
        return "torch" if device != "cpu" and _has_cuda_torch() else "onnx"
    if backend not in has:
        other = "torch" if backend == "onnx" else "onnx"
        file = {"onnx": "model.onnx", "torch": "model.safetensors"}[backend]
        raise BackendUnavailable(f"{card.name} has no {file}; use --backend {other}")
    if backend not in wanted:
        raise BackendUnavailable(f"{precision} is not a precision of the backend {backend}")
    if precision == "int8" and "model.int8.onnx" not in names:
        raise BackendUnavailable(f"{card.name} has no model.int8.onnx; use fp32")
    return backend


def list_cards(weights_dir: Path) -> tuple[ModelCard, ...]:
    """The cards of all readers under `weights_dir`, by name. Raises WeightsError for none or a bad one."""
    paths = sorted(weights_dir.glob("*/card.toml"))
    if not paths and (weights_dir / "card.toml").exists():
        raise WeightsError(f"{weights_dir} is one model; name the folder above it, {weights_dir.resolve().parent}")
    if not paths:
        raise WeightsError(
            f"no model in {weights_dir}: a folder of models holds one folder a model, each with card.toml, model.onnx and "
            "model.safetensors; give it with --weights, or leave that out for the models that ship"
        )
    return tuple(read_card(path) for path in paths if read_table(path).get("role", READER) == READER)


def other_cards(weights_dir: Path) -> tuple[OtherCard, ...]:
    """What else is under `weights_dir`: models that do not read images by themselves. Raises WeightsError for a bad card."""
    found = []
    for path in sorted(weights_dir.glob("*/card.toml")):
        table = read_table(path)
        if table.get("role", READER) == READER:
            continue
        try:
            texts = dict.fromkeys(("version", "summary", "strength", "licence"), "")  # a head may say less
            found.append(OtherCard(**head_of(texts | table, path.parent), role=str(table["role"])))
        except (KeyError, AttributeError) as error:
            raise WeightsError(f"{path} lacks or misstates {error}; see docs/model-card.md") from error
    return tuple(found)


def verify(card: CardHead) -> list[str]:
    """What is wrong with the card's files, one line each; empty if every file is there and has the card's sha256."""
    return [
        f"{name}{f' of {card.name}' if missing else ''} {wrong}; restore it from the repository"
        for name, wrong, missing in _damages(card)
    ]


def must_be_whole(card: CardHead, remedy: str) -> None:
    """Raises WeightsError, with the remedy, for the first file that is missing or not the one that the card names."""
    for name, wrong, _ in _damages(card):
        raise WeightsError(f"{name} of {card.name} {wrong}; {remedy}")


def _damages(card: CardHead) -> Iterator[tuple[str, str, bool]]:
    """Name of a file, what is wrong with it, and whether it is missing."""
    for name, want in card.files:
        try:
            with (card.directory / name).open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError:
            yield name, "is missing", True
            continue
        if found != want:
            yield name, f"has sha256 {found[:8]}, its card says {want[:8]}", False


def parity(card: ModelCard, batch: npt.NDArray[np.float32]) -> Parity:
    """Read `batch` (B, C, H, W), preprocessed, on both backends' CPU and compare. Raises BackendUnavailable."""
    return compare(open_model(card, "onnx", "cpu"), open_model(card, "torch", "cpu"), batch)


def compare(one: ImageModel, other: ImageModel, batch: npt.NDArray[np.float32]) -> Parity:
    """Read `batch` (B, C, H, W), preprocessed, with two openings of one model and compare, a few images at a time."""
    import numpy as np

    card = one.card
    edges = np.array([[label.rule_out, label.threshold] for label in card.labels], np.float32)
    difference = distance = 0.0
    flipped = 0
    for first in range(0, len(batch), PARITY_BATCH):
        left, right = (model.predict(batch[first : first + PARITY_BATCH]) for model in (one, other))
        difference = max(difference, float(np.abs(left.probabilities - right.probabilities).max(initial=0.0)))
        distance = max(distance, float(np.abs(left.distance - right.distance).max(initial=0.0)))
        decided = [(answer.probabilities[:, :, None] >= edges).sum(axis=2) for answer in (left, right)]
        flipped += int((decided[0] != decided[1]).sum())
    return Parity(
        images=len(batch),
        largest_difference=difference,
        largest_distance_difference=distance / card.distance_limit if card.distance_limit else 0.0,
        flipped=flipped,
    )


def usable_threads(threads: int) -> int:
    """`threads`, or for 0 the cores that this process may use: a container's share, not the whole machine."""
    return threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else threads or os.cpu_count() or 1


def _has_cuda_torch() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
