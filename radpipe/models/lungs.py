"""The lung-field segmenter: where the two lungs lie in a frontal chest radiograph, opaque parts completed.

Like the readers it has a card (`role = "anatomy"`), and both backends read the same `model.safetensors`. torch and
onnxruntime are imported only when they are asked for.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from radpipe.errors import BackendUnavailable, WeightsError
from radpipe.models import usable_threads
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
class LungCard:
    """The card of a lung segmenter. `directory` holds the files that `files` names with their sha256."""

    name: str
    version: str
    summary: str
    strength: str
    licence: str
    training_data: str
    population: str
    limits: tuple[str, ...]
    rows: int
    columns: int
    percentiles: tuple[float, float]  # grey values clipped and stretched to 0..1 between these
    figures: Mapping[str, Figure]
    files: tuple[tuple[str, str], ...]
    directory: Path

    @property
    def sha256(self) -> str:
        """One hash for the model: of the names and hashes of its files."""
        return hashlib.sha256("".join(f"{name}:{digest}\n" for name, digest in self.files).encode()).hexdigest()

    @property
    def identity(self) -> str:
        """ "name version sha256[:12]": what evidence cites."""
        return f"{self.name} {self.version} {self.sha256[:12]}"


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
    for name, want in card.files:
        _check(directory / name, want)
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
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"no card of a lung segmenter at {path}; name a folder that has a card.toml") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WeightsError(f"{path} is not valid TOML ({error}); restore it from the repository") from error
    if table.get("role") != ROLE:
        raise WeightsError(f"{path} is the card of a {table.get('role', 'reader')}, not of a lung segmenter")
    try:
        return _card(table, path.parent)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} lacks or misstates {error}; see docs/anatomy.md for the format") from error


class _OnnxLungs:
    """`model.onnx` in an ONNX Runtime session."""

    def __init__(self, path: Path, card: LungCard, device: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_threads(threads)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        onnxruntime.set_default_logger_severity(4)
        wanted = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
        if wanted not in onnxruntime.get_available_providers():
            raise BackendUnavailable(f"ONNX Runtime has no {wanted} here; use --device cpu")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=list(dict.fromkeys([wanted, "CPUExecutionProvider"]))
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise WeightsError(f"model.onnx of {card.name} does not load ({error}); run `radpipe weights verify`") from error
        if self.provider != wanted:
            raise BackendUnavailable(f"ONNX Runtime loaded {self.provider} instead of {wanted}; use --device cpu")

    @property
    def provider(self) -> str:
        return str(self._session.get_providers()[0])

    def run(self, batch: Floats) -> Floats:
        return np.asarray(self._session.run(["fields"], {"batch": batch})[0], np.float32)


def _card(table: dict[str, Any], directory: Path) -> LungCard:
    spec = table["input"]
    low, high = spec["percentiles"]
    return LungCard(
        name=table["name"],
        version=table["version"],
        summary=table["summary"],
        strength=table["strength"],
        licence=table["licence"],
        training_data=table["training_data"],
        population=table["population"],
        limits=tuple(table["limits"]),
        rows=int(spec["rows"]),
        columns=int(spec["columns"]),
        percentiles=(float(low), float(high)),
        figures={name: _figure(entry) for name, entry in table["figures"].items()},
        files=tuple((name, digest) for name, digest in table["files"].items()),
        directory=directory,
    )


def _figure(entry: dict[str, Any]) -> Figure:
    low_high = entry.get("ci")
    ci = (float(low_high[0]), float(low_high[1])) if low_high else None
    return Figure(float(entry["value"]), ci, int(entry["n"]), entry["what"])


def _check(path: Path, want: str) -> None:
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path.name} of the lung segmenter is missing; restore it from the repository") from error
    if found != want:
        raise WeightsError(f"{path.name} has sha256 {found[:8]}, its card says {want[:8]}; see `radpipe weights verify`")


def _resized(image: Floats, rows: int, columns: int) -> Floats:
    if image.shape == (rows, columns):
        return image
    source = Image.fromarray(np.ascontiguousarray(image, np.float32))
    return np.asarray(source.resize((columns, rows), Image.Resampling.BILINEAR), np.float32)
