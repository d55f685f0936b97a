"""A guest's network as files: `model.safetensors`, `model.onnx` whose weights point into it, and the parity of the two."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from radpipe.card import InputSpec
from radpipe.guests.record import Report
from radpipe.guests.trial import trial_batch
from radpipe.models import PARITY_LIMIT
from radpipe.models.tensors import tensor_offsets, write_tensors

Floats = npt.NDArray[np.float32]

OPSET = 18
"""The oldest that torch's exporter writes without converting down; ONNX Runtime 1.14 and later read it."""


def save_network(network: torch.nn.Module, metadata: Mapping[str, str], directory: Path) -> None:
    """Write `model.safetensors`: float32 as the network computes, halves where they came as halves."""
    arrays = {}
    for name, tensor in network.state_dict().items():
        kind = torch.float32 if tensor.is_floating_point() and tensor.dtype != torch.float16 else tensor.dtype
        kind = kind if kind in (torch.float32, torch.float16) else torch.int64
        arrays[name] = tensor.detach().to(kind).contiguous().cpu().numpy()
    write_tensors(directory / "model.safetensors", arrays, metadata)


def save_onnx(network: torch.nn.Module, spec: InputSpec, directory: Path, thresholds: Floats) -> Report:
    """Write `model.onnx` if torch can export the network and both then agree; `thresholds` (L, 2) decide."""
    path = directory / "model.onnx"
    batch = trial_batch(spec)
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError:
        return Report(False, "onnx and onnxscript are not installed; install 'radpipe[gpu,train]' and import again")
    names: list[str] = [str(name) for name in getattr(network, "outputs", ())]
    try:
        with quiet():
            torch.onnx.export(
                network, (torch.from_numpy(batch[:2]),), str(path), dynamo=True, opset_version=OPSET, verbose=False,
                input_names=["batch"], output_names=names, dynamic_shapes=({0: torch.export.Dim("B", min=1, max=4096)},),
                external_data=False, optimize=False,  # ONNX Runtime folds when it loads; the weights keep their names
            )  # fmt: skip
        model = onnx.load(str(path))
        _point_into(model, directory)
        path.write_bytes(model.SerializeToString(deterministic=True))
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        path.unlink(missing_ok=True)
        return Report(False, f"torch does not export it ({type(error).__name__}: {' '.join(str(error).split())[:200]})")
    report = _compare(network, names, batch, path, thresholds)
    if not report.onnx:
        path.unlink(missing_ok=True)
    return report


def decisions(probabilities: Floats, thresholds: Floats) -> npt.NDArray[np.int64]:
    """(B, L): 0 absent, 1 unsure, 2 present. `thresholds` (L, 2): rule-out, threshold."""
    counted: npt.NDArray[np.int64] = (probabilities[:, :, None] >= thresholds).sum(axis=2)
    return counted


def _compare(network: torch.nn.Module, names: list[str], batch: Floats, path: Path, thresholds: Floats) -> Report:
    try:
        import onnxruntime
    except ImportError:
        return Report(False, "onnxruntime is not installed")
    from radpipe.models.session import FAILURES

    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        there = dict(zip(names, session.run(names, {"batch": batch}), strict=True))
    except FAILURES as error:
        return Report(False, f"ONNX Runtime does not run it ({type(error).__name__}: {' '.join(str(error).split())[:200]})")
    with torch.inference_mode():
        here = dict(zip(names, (answer.numpy() for answer in network(torch.from_numpy(batch))), strict=True))
    difference = float(np.abs(here["probabilities"] - there["probabilities"]).max())
    flipped = int((decisions(here["probabilities"], thresholds) != decisions(there["probabilities"], thresholds)).sum())
    if difference > PARITY_LIMIT or flipped:
        why = f"its probabilities differ from torch's by up to {difference:.2g} and {flipped} decisions flip"
        return Report(False, why, len(batch), difference, flipped)
    return Report(True, "", len(batch), difference, flipped)


def _point_into(model: Any, directory: Path) -> None:
    """Weights that `model.safetensors` holds, byte for byte, are read from there: the file is the only place of them."""
    from onnx import TensorProto, numpy_helper

    weights = directory / "model.safetensors"
    content = np.memmap(weights, np.uint8, "r")
    by_bytes: dict[bytes, list[tuple[int, int]]] = {}
    for first, length in tensor_offsets(weights).values():
        by_bytes.setdefault(bytes(content[first : first + min(length, 64)]), []).append((first, length))
    for tensor in model.graph.initializer:
        if tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
            continue
        raw = numpy_helper.to_array(tensor).tobytes()
        for first, length in by_bytes.get(raw[:64], ()):
            if length == len(raw) >= 1024 and bytes(content[first : first + length]) == raw:
                tensor.ClearField("raw_data")
                tensor.ClearField("float_data")
                tensor.data_location = TensorProto.EXTERNAL
                for key, value in (("location", weights.name), ("offset", str(first)), ("length", str(length))):
                    entry = tensor.external_data.add()
                    entry.key, entry.value = key, value
                break


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch's exporter talks on stdout and warns of its own inside."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
