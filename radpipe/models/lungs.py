"""The lung-field segmenter: where the two lungs lie in a frontal chest radiograph, opaque parts completed.

Like the readers it has a card (`role = "anatomy"`), and both backends read the same `model.safetensors`. torch and
onnxruntime are imported only when they are asked for.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from radpipe.card import CardHead, head_of, read_card_as
from radpipe.errors import BackendUnavailable, WeightsError
from radpipe.models import verify
from radpipe.models.tensors import read_tensors

Floats = npt.NDArray[np.float32]

ROLE = "anatomy"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number of the card."""

    value: float
    ci: tuple[float, float] | None  # 95 %
    n: int
    what: str


@dataclass(frozen=True, slots=True)
class LungCard(CardHead):
    """The card of a lung segmenter."""

    training_data: str
    population: str
    limits: tuple[str, ...]
    rows: int
    columns: int
    percentiles: tuple[float, float]  # grey values clipped and stretched to 0..1 between these
    figures: Mapping[str, Figure]


class _Engine(Protocol):
    @property
    def provider(self) -> str: ...

    def run(self, batch: Floats) -> Floats:
        """(B, 1, H, W) -> (B, 2, H, W)."""
        ...


class LungModel:
    """A loaded lung segmenter. Get one from `open_lungs`."""

    def __init__(self, card: LungCard, backend: str, engine: _Engine) -> None:
        self._card, self._backend, self._engine = card, backend, engine

    @property
    def card(self) -> LungCard:
        """Of the model that is loaded."""
        return self._card

    @property
    def identity(self) -> str:
        """ "name version sha256[:12]"."""
        return self._card.identity

    @property
    def backend(self) -> str:
        """ "onnx" or "torch"."""
        return self._backend

    @property
    def provider(self) -> str:
        """What really runs it, read back after loading."""
        return self._engine.provider

    def fields(self, batch: Floats) -> Floats:
        """Probability of lung, (B, 2, H, W) read-only, of (B, 1, H, W) float32 grey, 0..1, upright, bright = dense, in the
        square frame of `preprocess` (any size). Channel 0 is the patient's right lung, at the picture's left; channel 1 the
        left.

        Exposure does not matter: each image is stretched between its own percentiles first. B may be 0.
        """
        if batch.ndim != 4 or batch.shape[1] != 1:
            raise ValueError(f"a batch for the lungs is (B, 1, H, W); this one is {batch.shape}")
        rows, columns = batch.shape[2:]
        answers = np.zeros((len(batch), 2, rows, columns), np.float32)
        if len(batch):
            shown = np.stack([self._shown(image[0]) for image in batch])[:, None]
            for index, fields in enumerate(self._engine.run(np.ascontiguousarray(shown))):
                for channel, field in enumerate(fields):
                    answers[index, channel] = np.clip(_resized(field, rows, columns), 0.0, 1.0)
        answers.setflags(write=False)
        return answers

    def _shown(self, grey: Floats) -> Floats:
        """One image as the network wants to see it: (rows, columns) of the card, 0..1."""
        small = _resized(np.nan_to_num(np.asarray(grey, np.float32)), self._card.rows, self._card.columns)
        low, high = np.percentile(small, self._card.percentiles)
        if not high > low:
            return np.zeros_like(small)
        return np.asarray(np.clip((small - low) / np.float32(high - low), 0, 1), np.float32)


def open_lungs(directory: Path, backend: str = "auto", device: str = "auto", threads: int = 0) -> LungModel:
    """Load the segmenter in `directory` after checking its files against its card.

    `backend` is "onnx", "torch" or "auto" (onnx: the network is so small that the CPU is never what is waited for).
    `device` is "cpu", "cuda" or "auto". Raises BackendUnavailable if what was asked for is not installed or does not load;
    WeightsError for a bad card or a damaged file."""
    if backend not in ("auto", "onnx", "torch"):
        raise BackendUnavailable(f"there is no backend {backend!r}; choose auto, onnx or torch")
    if device not in ("auto", "cpu", "cuda"):
        raise BackendUnavailable(f"there is no device {device!r}; choose auto, cpu or cuda")
    card = read_lung_card(directory / "card.toml")
    if problems := verify(card):
        raise WeightsError(f"{problems[0]}; see `radpipe weights verify`")
    backend = "onnx" if backend == "auto" else backend
    for needed in {"onnx": ("onnxruntime",), "torch": ("torch", "monai")}[backend]:
        if importlib.util.find_spec(needed) is None:
            extra = "gpu" if backend == "torch" else "cpu"
            raise BackendUnavailable(
                f"the backend {backend} needs {needed}, which is not installed; install 'radpipe[{extra}]'"
            )
    if backend == "torch":
        from radpipe.models.lungs_torch import TorchLungs

        return LungModel(card, backend, TorchLungs(*read_tensors(directory / "model.safetensors"), device, threads))
    return LungModel(card, backend, _OnnxLungs(directory / "model.onnx", card, device, threads))


def read_lung_card(path: Path) -> LungCard:
    """Read `card.toml`. Raises WeightsError if it is missing, not TOML, of another role, or lacks a field."""
    missing = f"no card of a lung segmenter at {path}; name a folder that has a card.toml"
    return read_card_as(path, ROLE, "a lung segmenter", _card, "anatomy.md", missing)


class _OnnxLungs:
    """`model.onnx` in an ONNX Runtime session."""

    def __init__(self, path: Path, card: LungCard, device: str, threads: int) -> None:
        from radpipe.models.session import open_session

        self._session = open_session(path, card.name, device, threads)

    @property
    def provider(self) -> str:
        return str(self._session.get_providers()[0])

    def run(self, batch: Floats) -> Floats:
        return np.asarray(self._session.run(["fields"], {"batch": batch})[0], np.float32)


def _card(table: dict[str, Any], directory: Path) -> LungCard:
    spec = table["input"]
    low, high = spec["percentiles"]
    return LungCard(
        **head_of(table, directory),
        training_data=table["training_data"],
        population=table["population"],
        limits=tuple(table["limits"]),
        rows=int(spec["rows"]),
        columns=int(spec["columns"]),
        percentiles=(float(low), float(high)),
        figures={name: _figure(entry) for name, entry in table["figures"].items()},
    )


def _figure(entry: dict[str, Any]) -> Figure:
    low_high = entry.get("ci")
    ci = (float(low_high[0]), float(low_high[1])) if low_high else None
    return Figure(float(entry["value"]), ci, int(entry["n"]), entry["what"])


def _resized(image: Floats, rows: int, columns: int) -> Floats:
    if image.shape == (rows, columns):
        return image
    source = Image.fromarray(np.ascontiguousarray(image, np.float32))
    return np.asarray(source.resize((columns, rows), Image.Resampling.BILINEAR), np.float32)
