"""The weights of a bundle, as tensors, without executing anything that it brings.

`model.pt` is a pickle: torch reads it with `weights_only`, which refuses whatever is not tensors and plain containers.
`model.ts` is TorchScript, a program: loading it the ordinary way runs its code. Here only the table of its attributes is
read, by an unpickler that knows tensors and stands in for every module by an empty box; the program is never loaded. The
network is then made by MONAI from the configuration, and every weight must find its place in it.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from radpipe.errors import WeightsError

LARGEST_BYTES = 8 << 30

_STORAGES = {
    "FloatStorage": torch.float32, "HalfStorage": torch.float16, "DoubleStorage": torch.float64,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


def read_state(content: bytes, name: str) -> dict[str, torch.Tensor]:
    """The state dictionary in `model.pt` or `model.ts`. Raises WeightsError with the reason for what is refused."""
    return _of_torchscript(content, name) if name.endswith(".ts") else _of_checkpoint(content, name)


def to_arrays(state: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[Any]]:
    """As the safetensors file holds them: halves and float32 as they are, other floats as float32, whole numbers as
    int64."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, tensor in state.items():
        kind = (
            torch.float16 if tensor.dtype == torch.float16 else torch.float32 if tensor.is_floating_point() else torch.int64
        )
        arrays[name] = np.ascontiguousarray(tensor.detach().to(kind).numpy()).reshape(tuple(tensor.shape))
    return arrays


def fit(network: torch.nn.Module, state: dict[str, torch.Tensor], name: str, *, exact: bool) -> dict[str, torch.Tensor]:
    """The part of `state` that the network takes, all of it, after loading it. With `exact` nothing may be left over.

    Raises WeightsError that names what is missing, left over or of another shape.
    """
    wanted = network.state_dict()
    state = _without_prefix(state, set(wanted))
    missing = [key for key in wanted if key not in state]
    left_over = [key for key in state if key not in wanted]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or wrong or (exact and left_over):
        what = [
            f"{len(names)} {words} (such as {names[0]})"
            for names, words in (
                (missing, "missing"),
                (wrong, "of another shape"),
                (left_over if exact else [], "left over"),
            )
            if names
        ]
        raise WeightsError(f"the weights in {name} do not fit the network of the configuration: {', '.join(what)}")
    taken = {key: state[key] for key in wanted}
    network.load_state_dict(taken)
    return taken


def _without_prefix(state: dict[str, torch.Tensor], wanted: set[str]) -> dict[str, torch.Tensor]:
    """Training on several GPUs puts "module." before every name."""
    if wanted & set(state) or not all(key.startswith("module.") for key in state):
        return state
    return {key.removeprefix("module."): value for key, value in state.items()}


def _of_checkpoint(content: bytes, name: str) -> dict[str, torch.Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an unusual pickle protocol: it is read, or refused below
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{name} is refused: it is a pickle that wants more than tensors ({_first_sentence(error)}); loading it would "
            "run its code. Save the state dictionary alone, or as safetensors"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{name} is not a checkpoint that torch can read ({_first_sentence(error)})") from error
    for key in ("model", "state_dict", "network", "net", "network_weights"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
            break
    if not isinstance(found, dict) or not found or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise WeightsError(f"{name} holds no state dictionary: names of weights with their tensors")
    return {str(key): value for key, value in found.items()}


def _first_sentence(error: Exception) -> str:
    words = " ".join(str(error).split())
    for mark in ("Unsupported global: ", "Unsupported operand ", "Unsupported class "):
        if mark in words:
            return mark.lower() + words.split(mark, 1)[1].split(" was not ")[0].split(". ")[0][:120]
    return words[:120] or type(error).__name__


class _Box:
    """Stands in for any class of a TorchScript program: keeps its attributes, does nothing."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("a module's attributes are no table")
        self.__dict__.update({str(key): value for key, value in state.items()})


class _Attributes(pickle.Unpickler):
    """Reads data.pkl of a TorchScript archive. The few names it knows make tensors and lists; all program classes are
    boxes; everything else is refused."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive, self._root = archive, root
        self._read: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Box
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch.jit._pickle" and name.startswith("build_") and name.endswith("list"):
            return list
        if module == "torch" and name in _STORAGES:
            return name
        raise pickle.UnpicklingError(f"unsupported global: {module}.{name}")

    def persistent_load(self, pid: Any) -> torch.Tensor:
        kind, storage, key, _, _ = pid
        if kind != "storage" or storage not in _STORAGES:
            raise pickle.UnpicklingError("a storage of an unknown kind")
        if key not in self._read:
            content = self._archive.read(f"{self._root}/data/{key}")
            dtype = _STORAGES[storage]
            self._read[key] = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.zeros(0, dtype=dtype)
        return self._read[key]


def _tensor(storage: torch.Tensor, offset: int, size: list[int], stride: list[int], *_: Any) -> torch.Tensor:
    """A tensor in a storage; torch checks that it lies within it."""
    return torch.as_strided(storage, tuple(size), tuple(stride), int(offset)).clone()


def _of_torchscript(content: bytes, name: str) -> dict[str, torch.Tensor]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST_BYTES:
                raise WeightsError(f"{name} unpacks to more than {LARGEST_BYTES >> 30} GiB")
            roots = [entry[: -len("/data.pkl")] for entry in archive.namelist() if entry.endswith("/data.pkl")]
            if len(roots) != 1:
                raise WeightsError(f"{name} is no TorchScript archive")
            root = _Attributes(archive, roots[0]).load()
    except (
        pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, KeyError, ValueError, TypeError, EOFError, IndexError,
        AttributeError,
    ) as error:  # fmt: skip
        raise WeightsError(f"the weights in {name} cannot be read as data ({_first_sentence(error)})") from error
    state: dict[str, torch.Tensor] = {}
    _collect(root, "", state, 0)
    if not state:
        raise WeightsError(f"{name} holds no tensors")
    return state


def _collect(box: Any, prefix: str, state: dict[str, torch.Tensor], depth: int) -> None:
    if not isinstance(box, _Box) or depth > 60:
        return
    for key, value in vars(box).items():
        if isinstance(value, torch.Tensor):
            state[prefix + key] = value
        else:
            _collect(value, f"{prefix}{key}.", state, depth + 1)
