"""One way to open a graph in ONNX Runtime, for every model that has one."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as capi

from radpipe.errors import BackendUnavailable, WeightsError
from radpipe.models import usable_threads

FAILURES: tuple[type[Exception], ...] = (
    RuntimeError, ValueError, OSError, capi.Fail, capi.InvalidArgument, capi.InvalidGraph, capi.InvalidProtobuf,
    capi.NoModel, capi.NoSuchFile, capi.NotImplemented, capi.RuntimeException,
)  # fmt: skip
"""What a session raises that cannot be made or run; ONNX Runtime's own are plain Exceptions."""


def open_session(
    path: Path, owner: str, device: str = "cpu", threads: int = 0, remedy: str = "run `radpipe weights verify`"
) -> onnxruntime.InferenceSession:
    """The graph at `path`, of the model `owner`, on CUDA where `device` is "cuda", else on the CPU. `threads` 0: all.

    Raises BackendUnavailable if the session does not run where it was asked to; WeightsError if it cannot be made.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_threads(threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # what it would log of a provider that does not load, we say in one line of our own
    onnxruntime.set_default_logger_severity(4)
    # Batches differ in size: a memory pattern per size would only grow.
    options.enable_mem_pattern = False
    wanted = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    if wanted not in onnxruntime.get_available_providers():
        raise BackendUnavailable(
            f"ONNX Runtime has no {wanted} here; use --device cpu, or install 'radpipe[gpu]' in an environment of its "
            "own, on a machine with CUDA"
        )
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=list(dict.fromkeys([wanted, "CPUExecutionProvider"]))
        )
    except FAILURES as error:
        raise WeightsError(f"{path.name} of {owner} does not load ({error}); {remedy}") from error
    loaded = session.get_providers()[0]
    if loaded != wanted:
        raise BackendUnavailable(
            f"ONNX Runtime loaded {loaded} instead of {wanted}; use --device cpu, or see `radpipe doctor`"
        )
    return session
