"""Safetensors files, read and written with numpy alone: a JSON header, then the bytes of the tensors.

Format: https://huggingface.co/docs/safetensors. It holds numbers only; nothing in it can be executed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.errors import WeightsError

_DTYPES: dict[str, type[np.generic]] = {"F16": np.float16, "F32": np.float32, "I64": np.int64}
_NAMES = {np.dtype(kind): name for name, kind in _DTYPES.items()}

ALIGNMENT = 64
"""Tensors begin at multiples of this many bytes, so that they can be mapped into memory."""


def read_tensors(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """All tensors by name, mapped from the file and read-only, and its metadata. Raises WeightsError for a damaged file."""
    try:
        entries, metadata, start = _header(path)
        content = np.memmap(path, np.uint8, "r")
        tensors = {}
        for name, entry in entries.items():
            first, last = entry["data_offsets"]
            tensors[name] = content[start + first : start + last].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (OSError, KeyError, ValueError, TypeError, struct.error) as error:
        raise WeightsError(f"{path.name} is no whole safetensors file ({error}); run `radpipe weights verify`") from error
    return tensors, metadata


def tensor_offsets(path: Path) -> dict[str, tuple[int, int]]:
    """Where each tensor lies in the file: its first byte and its length in bytes."""
    entries, _, start = _header(path)
    return {
        name: (start + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0])
        for name, entry in entries.items()
    }


def write_tensors(path: Path, tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write float16, float32 or int64 tensors, the widest type first and each aligned where sizes allow it."""
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    position = 0
    for name in names:
        tensor = tensors[name]
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, position + tensor.nbytes],
        }
        position += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            stream.write(np.ascontiguousarray(tensors[name]).tobytes())


def _header(path: Path) -> tuple[dict[str, Any], dict[str, str], int]:
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        entries = json.loads(stream.read(length))
    metadata = entries.pop("__metadata__", {})
    return entries, metadata, 8 + length
