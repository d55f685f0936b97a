"""A 2D MONAI bundle as a reader: the picture turned and scaled as the bundle's transforms do, its network, probabilities.

MONAI loads pictures with the column as the first axis, so its networks saw them transposed; and what its intensity
transforms do to each picture (least and largest value to 0..1, mean 0 and deviation 1) is no fixed window. Both are done
here, inside the network: so both backends and `preprocess` stay as they are for every reader.

Axes: B images, C channels, L labels that are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from radpipe.errors import WeightsError
from radpipe.models.bundle import first_output
from radpipe.models.bundle_parts import make_network
from radpipe.models.heads import by_map
from radpipe.segmenter import Plan, Step

KIND = "monai bundle"
"""As `models.networks` knows it."""

FULL_RANGE = 255.0
"""What white is to a transform that names grey values: pictures of 8 bits, as 2D bundles are trained on."""

INTENSITIES = frozenset({"ScaleIntensityd", "ScaleIntensityRanged", "NormalizeIntensityd"})
TURNS = frozenset({"Transposed", "Flipd", "Rotate90d"})


class BundleReader(nn.Module):
    """Takes pictures of 0..1, (B, C, rows, columns); gives probabilities (B, L), and for a DenseNet maps (B, L, h, w) in the
    picture's frame and an embedding."""

    def __init__(self, plan: Plan, kept: Sequence[int], *, transposed: bool) -> None:
        """`kept`: outputs that have a label. Raises WeightsError for a step that cannot be done here."""
        super().__init__()
        for step in plan.preprocessing:
            if step.target not in INTENSITIES | TURNS:
                raise WeightsError(f"{step.target} is not supported for 2D bundles")
        self.plan, self.kept, self.transposed = plan, tuple(kept), transposed
        self.network = make_network(plan.network)
        turned = any(step.target in TURNS for step in plan.preprocessing)
        self._has_maps = plan.network.target.startswith("DenseNet") and not turned
        self.outputs = ("probabilities", "maps", "embedding") if self._has_maps else ("probabilities",)

    def to_metadata(self) -> dict[str, str]:
        """For the header of the weights file."""
        shape = {"plan": self.plan.to_json(), "kept": list(self.kept), "transposed": self.transposed}
        return {"network": KIND, "shape": json.dumps(shape)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> BundleReader:
        """The reader that a weights file's header describes."""
        shape: dict[str, Any] = json.loads(metadata["shape"])
        return cls(Plan.from_json(shape["plan"]), shape["kept"], transposed=bool(shape["transposed"]))

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """(B, C, rows, columns) float32 0..1."""
        picture = batch.transpose(2, 3) if self.transposed else batch
        for step in self.plan.preprocessing:
            picture = _apply(step, picture)
        if not self._has_maps:
            return (self._probabilities(first_output(self.network(picture))),)
        network: Any = self.network
        features = torch.relu(network.features(picture))
        logits, maps, embedding = by_map(features, network.class_layers.out)
        maps = maps[:, list(self.kept)]
        return self._probabilities(logits), maps.transpose(2, 3) if self.transposed else maps, embedding

    def _probabilities(self, logits: Tensor) -> Tensor:
        if self.plan.activation == "softmax":
            logits = torch.softmax(logits, dim=1)
        elif self.plan.activation == "sigmoid":
            logits = torch.sigmoid(logits)
        return logits[:, list(self.kept)]


def _apply(step: Step, picture: Tensor) -> Tensor:
    arguments = dict(step.arguments)
    if step.target == "Transposed":
        return picture.permute(0, *(1 + int(axis) for axis in arguments["indices"]))
    if step.target == "Flipd":
        axes = arguments.get("spatial_axis")
        axes = [0, 1] if axes is None else [axes] if isinstance(axes, int) else list(axes)
        return torch.flip(picture, [2 + int(axis) for axis in axes])
    if step.target == "Rotate90d":
        first, second = (2 + int(axis) for axis in arguments.get("spatial_axes", (0, 1)))
        return torch.rot90(picture, int(arguments.get("k", 1)), (first, second))
    if step.target == "ScaleIntensityRanged":
        return _between(picture * FULL_RANGE, arguments)
    if step.target == "ScaleIntensityd":
        return _stretched(picture, arguments)
    return _standardised(picture, arguments)


def _between(grey: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    """a_min..a_max to b_min..b_max, where grey values are those of 8 bits."""
    low, high = float(arguments["a_min"]), float(arguments["a_max"])
    bottom, top = arguments.get("b_min"), arguments.get("b_max")
    scaled = (grey - low) / (high - low)
    if bottom is not None and top is not None:
        scaled = scaled * (float(top) - float(bottom)) + float(bottom)
        if arguments.get("clip"):
            scaled = scaled.clamp(float(bottom), float(top))
    return scaled


def _stretched(picture: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    """Each picture's least and largest value to minv..maxv. A flat picture becomes minv."""
    axes = (2, 3) if arguments.get("channel_wise") else (1, 2, 3)
    low, high = picture.amin(dim=axes, keepdim=True), picture.amax(dim=axes, keepdim=True)
    unit = (picture - low) / (high - low).clamp_min(1e-12)
    bottom, top = float(arguments.get("minv", 0.0)), float(arguments.get("maxv", 1.0))
    return unit * (top - bottom) + bottom


def _standardised(picture: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    """Less `subtrahend`, through `divisor`; by default each picture's mean and deviation, of what is not 0 if `nonzero`."""
    axes = (2, 3) if arguments.get("channel_wise") else (1, 2, 3)
    counted = (picture != 0).to(picture.dtype) if arguments.get("nonzero") else torch.ones_like(picture)
    count = counted.sum(dim=axes, keepdim=True).clamp_min(1.0)
    mean = _stated(arguments.get("subtrahend"), picture)
    if mean is None:
        mean = (picture * counted).sum(dim=axes, keepdim=True) / count
    deviation = _stated(arguments.get("divisor"), picture)
    if deviation is None:
        deviation = ((((picture - mean) ** 2) * counted).sum(dim=axes, keepdim=True) / count).sqrt()
        deviation = torch.where(deviation == 0, torch.ones_like(deviation), deviation)
    return torch.where(counted > 0, (picture - mean) / deviation, picture)


def _stated(value: Any, picture: Tensor) -> Tensor | None:
    """A number, or one a channel, as (1, C, 1, 1)."""
    if value is None:
        return None
    return torch.as_tensor(value, dtype=picture.dtype).reshape(1, -1, 1, 1)
