"""Weights out of other people's files, without running anything that is in them.

Three ways in, tried in this order:

    safetensors      numbers only
    weights_only     torch's own restricted reader of a pickled state dictionary
    inert            for whole pickled modules (as torchxrayvision publishes them): `Holder`, which keeps attributes and does
                     nothing, stands in for the classes of torch.nn, torchvision.models and torchxrayvision.models that the
                     file names; tensors are rebuilt by torch's own functions. Every other global is refused

A pickle is a program for a small machine; what it can do is what the names do that it may look up. Neither way looks up a
name outside its list.
"""

from __future__ import annotations

import importlib
import io
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radpipe.errors import WeightsError
from radpipe.models.tensors import read_tensors

SAVE_WORDS = "torch.save(model.state_dict(), 'weights.pt'), or safetensors.torch.save_file(model.state_dict(), ...)"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and what else the file said in plain words and numbers."""

    tensors: dict[str, Tensor]
    route: str  # safetensors, weights_only or inert
    attributes: Mapping[str, Any] = field(default_factory=dict)  # of the module, where the file holds a whole one


def read_checkpoint(path: Path, *, modules: bool = False) -> Checkpoint:
    """The weights of a `.safetensors`, `.pt`, `.pth` or `.bin` file. `modules`: whole pickled modules are read inertly.

    Raises WeightsError, one line, if the file is none of these, or a pickle that wants more than tensors.
    """
    if path.suffix == ".safetensors":
        arrays = _safetensors(path)
        return Checkpoint(arrays, "safetensors")
    if _is_torchscript(path):
        raise WeightsError(
            f"{path.name} is a TorchScript program, and radpipe runs no program of a weights file; in Python: {SAVE_WORDS}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols that it may not know: it then says so by an error
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not modules:
            raise refusal(path, _wanted(error)) from error
        return _inert(path)
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, OSError) as error:
        raise WeightsError(f"{path.name} is no checkpoint that torch can read ({_first_words(error)})") from error
    return Checkpoint(_state_of(found, path), "weights_only")


def refusal(path: Path, wanted: str) -> WeightsError:
    """The one line for a pickle that wants more."""
    return WeightsError(
        f"{path.name} is refused: to read it, Python would have to run {wanted}, which may be any program; ask for "
        f"weights alone, or make one where the file is trusted: {SAVE_WORDS}"
    )


def _safetensors(path: Path) -> dict[str, Tensor]:
    """By our reader, or by the library where a type is in it that ours does not know (bfloat16)."""
    try:
        return {name: torch.from_numpy(np.array(array)) for name, array in read_tensors(path)[0].items()}
    except WeightsError:
        import safetensors
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise WeightsError(f"{path.name} is no whole safetensors file ({_first_words(error)})") from error


def _state_of(found: Any, path: Path) -> dict[str, Tensor]:
    """A state dictionary, or the one inside a training checkpoint. Buffers and parameters only."""
    for key in ("state_dict", "model_state_dict", "model", "net", "network"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path.name} holds no state dictionary but a {type(found).__name__}; {SAVE_WORDS}")
    tensors = {str(name): value.detach() for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path.name} holds no tensors by name; {SAVE_WORDS}")
    if all(name.startswith("module.") for name in tensors):  # trained on several GPUs
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


class Holder:
    """Stands in for every class of a pickled module. It keeps what it is given and does nothing."""

    dump_patches = False  # torch looks at it when it compares sources, which it cannot here

    def __init__(self, *_: Any, **__: Any) -> None:
        return None

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, Mapping):
            self.__dict__.update({str(key): value for key, value in state.items()})


_MODULES = re.compile(r"(torch\.nn\.modules|torchvision\.models|torchxrayvision\.models)(\.\w+)*")


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _nothing(*_: Any) -> None:
    return None


def _allowed() -> dict[tuple[str, str], Any]:
    names: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("builtins", "set"): set,
        ("__builtin__", "set"): set,
        ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch.nn.parameter", "Parameter"): _parameter,
        ("torch.nn.backends.thnn", "_get_thnn_function_backend"): _nothing,  # of modules saved before torch 1.2
        ("torch", "Size"): torch.Size,
        ("torch.serialization", "_get_layout"): _nothing,
        ("numpy", "dtype"): np.dtype,
        ("numpy", "ndarray"): np.ndarray,
    }
    arrays: Any = importlib.import_module("numpy._core.multiarray")
    for package in ("numpy.core.multiarray", "numpy._core.multiarray"):
        names[package, "_reconstruct"], names[package, "scalar"] = arrays._reconstruct, arrays.scalar
    for kind in ("float16", "float32", "float64", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"):
        names["torch", kind] = getattr(torch, kind)
    for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"):
        names["torch", f"{kind}Storage"] = getattr(torch, f"{kind}Storage")
    return names


class _Refused(pickle.UnpicklingError):
    """Carries the name that was asked for."""


class _InertUnpickler(pickle.Unpickler):
    """Looks up nothing that is not in the list. torch makes a subclass of it that reads its storages."""

    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module, name))
        if found is not None:
            return found
        if _MODULES.fullmatch(module) and name.isidentifier() and name[:1] in "ABCDEFGHIJKLMNOPQRSTUVWXYZ_":
            return Holder
        raise _Refused(f"{module}.{name}")


_ALLOWED = _allowed()


def _load(stream: Any, **options: Any) -> Any:
    return _InertUnpickler(stream, **options).load()


_PICKLE = SimpleNamespace(
    Unpickler=_InertUnpickler,
    load=_load,
    loads=lambda content, **options: _load(io.BytesIO(content), **options),
    UnpicklingError=pickle.UnpicklingError,
    __name__="radpipe.guests.checkpoint",
)
"""What torch takes in the place of the module `pickle`: its own code for storages, our list of names."""


def _inert(path: Path) -> Checkpoint:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch misses the source of classes that are not there
            # weights_only=False is torch's word for "with the unpickler that I am given": ours, which looks up nothing else
            found = torch.load(path, map_location="cpu", pickle_module=_PICKLE, weights_only=False)
    except _Refused as error:
        raise refusal(path, str(error)) from error
    except (
        pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError, OSError,
    ) as error:  # fmt: skip
        raise WeightsError(f"{path.name} cannot be read as data ({_first_words(error)}); {SAVE_WORDS}") from error
    if not isinstance(found, Holder):
        return Checkpoint(_state_of(found, path), "inert")
    tensors: dict[str, Tensor] = {}
    _collect(found, "", tensors, 0)
    if not tensors:
        raise WeightsError(f"{path.name} holds a module without tensors; {SAVE_WORDS}")
    plain = {key: value for key, value in vars(found).items() if _is_plain(value)}
    return Checkpoint(tensors, "inert", plain)


def _collect(module: Holder, prefix: str, tensors: dict[str, Tensor], depth: int) -> None:
    """Parameters and buffers by the names that state_dict() would give them."""
    if depth > 40:
        raise WeightsError("its modules are nested more than 40 deep")
    for table in ("_parameters", "_buffers"):
        for name, value in (vars(module).get(table) or {}).items():
            if isinstance(value, Tensor):
                tensors[prefix + name] = value.detach()
    for name, child in (vars(module).get("_modules") or {}).items():
        if isinstance(child, Holder):
            _collect(child, f"{prefix}{name}.", tensors, depth + 1)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return isinstance(value, str | int | float | bool | Tensor | np.ndarray | np.generic)


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _wanted(error: pickle.UnpicklingError) -> str:
    """Which name torch's reader refused."""
    words = " ".join(str(error).split())
    found = re.search(r"(?:GLOBAL|global:?) ([\w.]+)", words, re.IGNORECASE)
    return found[1] if found else "code of its own"


def _first_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
