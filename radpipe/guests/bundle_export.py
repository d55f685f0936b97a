"""A bundle's network as ONNX, and how far it is from torch on the same patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radpipe.errors import WeightsError
from radpipe.guests.export import OPSET, quiet
from radpipe.models import PARITY_LIMIT
from radpipe.models.bundle import first_output
from radpipe.segmenter import Plan


@dataclass(frozen=True, slots=True)
class Exported:
    """Whether there is a `model.onnx`, or why not; and the parity with torch."""

    made: bool
    why: str = ""
    shape: tuple[int, ...] = ()
    largest_difference: float | None = None  # of a probability
    largest_logit_difference: float | None = None
    flipped: float | None = None  # share of voxels (or images) that are decided otherwise

    def to_json(self) -> dict[str, Any]:
        """As record/parity.json."""
        return {
            "onnx": self.made,
            "why_not": self.why or None,
            "opset": OPSET if self.made else None,
            "patch": list(self.shape),
            "limit": PARITY_LIMIT,
            "largest_difference": self.largest_difference,
            "largest_logit_difference": self.largest_logit_difference,
            "decided_otherwise": self.flipped,
        }


class _MainOutput(torch.nn.Module):
    """The network with its main output alone."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return first_output(self.network(image))


def export_onnx(network: torch.nn.Module, shape: Sequence[int], path: Path, plan: Plan) -> Exported:
    """Write `path` for inputs of `shape` and compare. What cannot be exported, or differs, leaves no file and says why."""
    patch = torch.from_numpy(np.random.default_rng(0).uniform(0.0, 1.0, tuple(shape)).astype(np.float32))
    try:
        with quiet():
            torch.onnx.export(
                _MainOutput(network).eval(), (patch,), str(path), dynamo=True, opset_version=OPSET, verbose=False,
                external_data=False, input_names=["image"], output_names=["scores"], optimize=True,
            )  # fmt: skip
    except (
        torch.onnx.errors.OnnxExporterError,
        RuntimeError,
        ValueError,
        TypeError,
        ImportError,
        NotImplementedError,
    ) as error:
        path.unlink(missing_ok=True)
        return Exported(False, f"torch does not export it ({_first_line(error)})", tuple(shape))
    try:
        from radpipe.models.session import FAILURES, open_session
    except ImportError as error:
        path.unlink(missing_ok=True)
        return Exported(False, f"ONNX Runtime does not run it ({_first_line(error)})", tuple(shape))
    failures: tuple[type[Exception], ...] = (*FAILURES, WeightsError)
    try:
        session = open_session(path, path.parent.name, threads=torch.get_num_threads())
        there = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: patch.numpy()})[0])
    except failures as error:
        path.unlink(missing_ok=True)
        return Exported(False, f"ONNX Runtime does not run it ({_first_line(error)})", tuple(shape))
    with torch.inference_mode():
        here = first_output(network(patch))
    difference = float((_probabilities(here, plan) - _probabilities(there, plan)).abs().max())
    result = Exported(
        True,
        "",
        tuple(shape),
        difference,
        float((here - there).abs().max()),
        float((_decided(here, plan) != _decided(there, plan)).float().mean()),
    )
    if difference > PARITY_LIMIT:
        path.unlink()
        why = f"its probabilities differ from torch's by up to {difference:.2g}, more than {PARITY_LIMIT:g}"
        return Exported(False, why, result.shape, difference, result.largest_logit_difference, result.flipped)
    return result


def _probabilities(scores: torch.Tensor, plan: Plan) -> torch.Tensor:
    if plan.activation == "softmax":
        return torch.softmax(scores, dim=1)
    return torch.sigmoid(scores) if plan.activation == "sigmoid" else scores


def _decided(scores: torch.Tensor, plan: Plan) -> torch.Tensor:
    probabilities = _probabilities(scores, plan)
    return probabilities >= plan.threshold if plan.decision == "threshold" else probabilities.argmax(dim=1)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
