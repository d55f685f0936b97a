"""A MONAI bundle run on a volume: its transforms, its sliding window, its mask brought back to the scanner's own slices.

MONAI makes the network's input (Orientation, Spacing, intensities) and lays the windows. The way back is done here, a few
slices at a time: each voxel of the original slices looks up its place in the network's grid by the two affines. So the
memory is that of the network's grid, not of all channels at the scanner's resolution, and any chain of spatial transforms
that keeps its affine can be undone. It gives what MONAI's Invertd gives (tests/test_bundle.py).
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from monai.inferers.utils import sliding_window_inference

from radpipe.errors import BackendUnavailable, ModelError, WeightsError
from radpipe.models.bundle_parts import make_network, make_transforms
from radpipe.models.tensors import read_tensors
from radpipe.segmenter import Plan, Segmentation, SegmenterCard, Step, Volume

_SLAB_VOXELS = 1 << 23
"""Voxels of the original slices, times channels, that are brought back at once: 32 MiB in float32."""

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

Predictor = Callable[[torch.Tensor], torch.Tensor]


class BundleModel:
    """A segmenter's weights in its network, on one device."""

    def __init__(self, card: SegmenterCard, *, backend: str = "auto", device: str = "auto", threads: int = 0) -> None:
        """`backend` is "torch", "onnx" or "auto": torch on a GPU, else onnx if the card has one, else torch.

        Raises BackendUnavailable if what is asked for is not here; WeightsError if the weights do not fit.
        """
        self._card = card
        has_onnx = any(name == "model.onnx" for name, _ in card.files)
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailable("torch finds no CUDA device; use --device cpu, or see `radpipe doctor`")
        self._device = torch.device("cuda:0" if device != "cpu" and torch.cuda.is_available() else "cpu")
        if backend == "auto":
            backend = "onnx" if has_onnx and self._device.type == "cpu" else "torch"
        if threads:
            torch.set_num_threads(threads)
        self._transforms = make_transforms(card.plan.preprocessing)
        self._backend = backend
        if backend == "onnx":
            if not has_onnx:
                raise BackendUnavailable(f"{card.name} has no ONNX form; use --backend torch")
            self._predict, self._provider = _onnx_predictor(card.directory / "model.onnx", self._device, threads)
        else:
            network = load_network(card.plan, card.directory / "model.safetensors", card.name).to(self._device)
            self._predict = lambda windows: first_output(network(windows))
            self._provider = str(next(iter(network.state_dict().values())).device)

    @property
    def card(self) -> SegmenterCard:
        """Of the model that is loaded."""
        return self._card

    @property
    def backend(self) -> str:
        """ "torch" or "onnx"."""
        return self._backend

    @property
    def provider(self) -> str:
        """What really runs it, read back: "cpu", "cuda:0", "CPUExecutionProvider"."""
        return self._provider

    def segment(self, volume: Volume) -> Segmentation:
        """The network's mask on the volume's own voxels. Raises ModelError if the machine's memory is too small for it."""
        plan, started = self._card.plan, time.perf_counter()
        with torch.inference_mode(), _quiet():
            image = self._prepared(volume)
            self._check_memory(image)
            prepared = time.perf_counter()
            scores = self._scores(image)
            inferred = time.perf_counter()
            labels = _restored(scores, np.asarray(image.affine, np.float64), volume, plan, self._channel_indices())
        labels.setflags(write=False)
        finished = time.perf_counter()
        return Segmentation(
            labels=labels,
            channels=self._card.channels,
            overlapping=plan.decision == "threshold",
            model=self._card.identity,
            backend=self._backend,
            provider=self._provider,
            seconds=(
                ("prepare", round(prepared - started, 3)),
                ("infer", round(inferred - prepared, 3)),
                ("restore", round(finished - inferred, 3)),
            ),
        )

    def _channel_indices(self) -> tuple[int, ...]:
        return tuple(channel.index for channel in self._card.channels)

    def _prepared(self, volume: Volume) -> MetaTensor:
        """The network's input, (1, x, y, z) float32 with its affine (RAS), as MONAI's LoadImaged would have begun it."""
        array = torch.from_numpy(np.array(volume.hounsfield.transpose(2, 1, 0), order="K"))
        data: dict[str, Any] = {"image": MetaTensor(array[None], affine=torch.from_numpy(_TO_RAS @ volume.affine_lps))}
        for transform, step in zip(self._transforms, self._card.plan.preprocessing, strict=True):
            if step.target != "Orientationd" and data["image"].dtype != torch.float32:
                data["image"] = data["image"].float()  # not before: turning halves of the size takes half the memory
            data = transform(data)
        data["image"] = data["image"].float()
        image: MetaTensor = data["image"]
        if image.shape[0] != self._card.plan.in_channels:
            raise ModelError(
                f"{self._card.name} wants {self._card.plan.in_channels} channels and its transforms give {image.shape[0]}"
            )
        return image

    def _check_memory(self, image: MetaTensor) -> None:
        voxels = int(np.prod(image.shape[1:]))
        needed = voxels * 4 * (2 * self._card.plan.out_channels + 3)
        if needed > 0.8 * memory_bytes():
            raise ModelError(
                f"{self._card.name} needs about {needed / 2**30:.0f} GiB of memory for this volume ({voxels / 1e6:.0f} "
                f"million voxels, {self._card.plan.out_channels} channels), more than this machine has; use a larger one"
            )

    def _scores(self, image: MetaTensor) -> torch.Tensor:
        """(channels, x, y, z) float32 on the CPU: probabilities, or the network's output where the bundle has no
        activation."""
        plan = self._card.plan
        batch = image.as_tensor()[None].float()
        logits = infer(batch, self._predict, plan.inferer, self._device)[0].float().cpu()
        if logits.shape[0] != plan.out_channels:
            raise WeightsError(f"{self._card.name} gives {logits.shape[0]} channels, its card says {plan.out_channels}")
        if plan.activation == "softmax":
            return torch.softmax(logits, dim=0)
        return logits.sigmoid_() if plan.activation == "sigmoid" else logits


def infer(batch: torch.Tensor, predict: Predictor, inferer: Step, device: torch.device) -> torch.Tensor:
    """(1, C, x, y, z) through the windows that the bundle's inferer asks for, one window at a time on a CPU."""
    arguments = dict(inferer.arguments)
    if inferer.target == "SimpleInferer":
        return predict(batch.to(device))
    roi = [int(size) for size in arguments["roi_size"]]
    answer = sliding_window_inference(
        batch,
        roi_size=roi,
        sw_batch_size=1 if device.type == "cpu" else int(arguments.get("sw_batch_size", 1)),
        predictor=predict,
        overlap=arguments.get("overlap", 0.25),
        mode=str(arguments.get("mode", "constant")),
        sigma_scale=arguments.get("sigma_scale", 0.125),
        padding_mode=str(arguments.get("padding_mode", "constant")),
        cval=float(arguments.get("cval", 0.0)),
        sw_device=device,
        device=torch.device("cpu"),
        progress=False,
    )
    assert isinstance(answer, torch.Tensor)
    return answer


def load_network(plan: Plan, weights: Path, name: str) -> torch.nn.Module:
    """The plan's network with the weights of a safetensors file. Raises WeightsError if they do not fit."""
    arrays, _ = read_tensors(weights)
    network = make_network(plan.network)
    try:
        network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in arrays.items()})
    except RuntimeError as error:
        raise WeightsError(f"model.safetensors of {name} does not fit its network: {error}") from error
    return network


def first_output(answer: Any) -> torch.Tensor:
    """The main output of a network that also gives others (deep supervision, attention, a reconstruction)."""
    while isinstance(answer, (list, tuple)):
        answer = answer[0]
    assert isinstance(answer, torch.Tensor)
    return answer


def memory_bytes() -> int:
    """The memory of this machine, or of the container that we run in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return total


def _onnx_predictor(path: Path, device: torch.device, threads: int) -> tuple[Predictor, str]:
    from radpipe.models.session import open_session

    session = open_session(path, path.parent.name, device.type, threads, remedy="import the bundle again")
    provider = str(session.get_providers()[0])
    name = session.get_inputs()[0].name

    def predict(windows: torch.Tensor) -> torch.Tensor:
        answers = [session.run(None, {name: window[None].cpu().numpy()})[0] for window in windows]
        return torch.from_numpy(np.concatenate(answers)).to(windows.device)

    return predict, provider


def _restored(
    scores: torch.Tensor, affine_ras: npt.NDArray[np.float64], volume: Volume, plan: Plan, channels: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    """Scores (C, x, y, z) on the grid of `affine_ras`, decided and brought to the volume's voxels: (slices, rows, columns).

    Outside the network's grid everything is background.
    """
    slices, rows, columns = volume.hounsfield.shape
    to_grid = np.linalg.inv(affine_ras) @ _TO_RAS @ volume.affine_lps
    field = scores if plan.interpolate else _decided(scores, plan, channels).float()[None]
    labels = np.empty((slices, rows, columns), np.uint8)
    step = max(1, _SLAB_VOXELS // (rows * columns * len(field)))
    for start in range(0, slices, step):
        stop = min(start + step, slices)
        grid, inside = _sampling_grid(to_grid, (start, stop), (rows, columns), tuple(scores.shape[1:]))
        mode = "bilinear" if plan.interpolate else "nearest"
        sampled = torch.nn.functional.grid_sample(field[None], grid, mode=mode, padding_mode="border", align_corners=True)[0]
        slab = _decided(sampled, plan, channels) if plan.interpolate else sampled[0].round().to(torch.uint8)
        labels[start:stop] = np.where(inside, slab.numpy(), 0)
    return labels


def _decided(scores: torch.Tensor, plan: Plan, channels: tuple[int, ...]) -> torch.Tensor:
    """(C, ...) -> (...) uint8: the label where one channel wins, else a bit for each channel at its threshold."""
    if plan.decision == "argmax":
        return scores.argmax(dim=0).to(torch.uint8)
    bits = torch.zeros(scores.shape[1:], dtype=torch.uint8)
    for bit, index in enumerate(channels):
        bits |= (scores[index] >= plan.threshold).to(torch.uint8) << bit
    return bits


def _sampling_grid(
    to_grid: npt.NDArray[np.float64], span: tuple[int, int], plane: tuple[int, int], size: tuple[int, ...]
) -> tuple[torch.Tensor, npt.NDArray[np.bool_]]:
    """Where slices `span` of the volume lie in the network's grid: normalised for grid_sample, and which are inside it.

    An affine map is a sum of a term for each axis, so the grid is three vectors added up, never a matrix product.
    """
    rows, columns = plane
    along = [np.arange(columns), np.arange(rows), np.arange(*span)]
    parts, inside = [], np.ones((span[1] - span[0], rows, columns), bool)
    for axis in (2, 1, 0):  # grid_sample wants the last axis of the field first
        terms = [to_grid[axis, number] * along[number] for number in range(3)]
        where = terms[2][:, None, None] + terms[1][None, :, None] + (terms[0] + to_grid[axis, 3])[None, None, :]
        inside &= (where > -0.5 - 1e-3) & (where < size[axis] - 0.5 + 1e-3)
        parts.append(torch.from_numpy((where * (2.0 / max(size[axis] - 1, 1)) - 1.0).astype(np.float32)))
    return torch.stack(parts, dim=-1)[None], inside


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MONAI warns of its own deprecations and of non-tuple indexing on every call; a user can do nothing about them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"monai\..*")
        warnings.filterwarnings("ignore", module=r"torch\..*")
        yield
