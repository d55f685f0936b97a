"""DenseNet as torchvision and torchxrayvision lay it out, for weights that others trained: one input channel or several.

Huang et al., Densely Connected Convolutional Networks (2017), arXiv:1608.06993. The names of the parameters are those of
torchxrayvision's `models.DenseNet`, so that its weights load as they are; nothing here comes from that library.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from radpipe.models.heads import OperatingPoints, by_map


@dataclass(frozen=True, slots=True)
class Shape:
    """The network's measures; the defaults are DenseNet-121's."""

    growth: int = 32
    blocks: tuple[int, ...] = (6, 12, 24, 16)
    first: int = 64  # channels after the first convolution
    bottleneck: int = 4  # times growth, inside a layer
    channels: int = 1  # of the input
    labels: int = 18

    @classmethod
    def from_tensors(cls, sizes: Mapping[str, tuple[int, ...]]) -> Shape:
        """As a state dictionary's tensors say. Raises KeyError or ValueError if they are no DenseNet's."""
        blocks: list[int] = []
        while f"features.denseblock{len(blocks) + 1}.denselayer1.conv1.weight" in sizes:
            block, layers = len(blocks) + 1, 0
            while f"features.denseblock{block}.denselayer{layers + 1}.conv1.weight" in sizes:
                layers += 1
            blocks.append(layers)
        if not blocks:
            raise ValueError("it has no features.denseblock1")
        inner, _, *_ = sizes["features.denseblock1.denselayer1.conv1.weight"]
        growth = sizes["features.denseblock1.denselayer1.conv2.weight"][0]
        first, channels, *_ = sizes["features.conv0.weight"]
        return cls(growth, tuple(blocks), first, inner // growth, channels, sizes["classifier.weight"][0])

    def to_metadata(self) -> dict[str, str]:
        """For the header of the weights file."""
        return {"network": "densenet", "shape": json.dumps(asdict(self))}


class _Layer(nn.Sequential):
    def __init__(self, channels: int, shape: Shape) -> None:
        inner = shape.bottleneck * shape.growth
        super().__init__(
            OrderedDict(
                norm1=nn.BatchNorm2d(channels),
                relu1=nn.ReLU(),
                conv1=nn.Conv2d(channels, inner, 1, bias=False),
                norm2=nn.BatchNorm2d(inner),
                relu2=nn.ReLU(),
                conv2=nn.Conv2d(inner, shape.growth, 3, padding=1, bias=False),
            )
        )

    def forward(self, values: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C + growth, h, w)."""
        new: Tensor = super().forward(values)  # type: ignore[no-untyped-call]
        return torch.cat([values, new], dim=1)


class DenseNet(nn.Module):
    """Probabilities, maps, embedding. See `heads`."""

    outputs = ("probabilities", "maps", "embedding")

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(shape.channels, shape.first, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(shape.first),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        channels = shape.first
        for number, layers in enumerate(shape.blocks, start=1):
            parts[f"denseblock{number}"] = nn.Sequential(
                OrderedDict((f"denselayer{n + 1}", _Layer(channels + n * shape.growth, shape)) for n in range(layers))
            )
            channels += layers * shape.growth
            if number < len(shape.blocks):
                parts[f"transition{number}"] = nn.Sequential(
                    OrderedDict(
                        norm=nn.BatchNorm2d(channels),
                        relu=nn.ReLU(),
                        conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
                        pool=nn.AvgPool2d(2, stride=2),
                    )
                )
                channels //= 2
        parts["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(parts)
        self.classifier = nn.Linear(channels, shape.labels)
        self.operating = OperatingPoints(shape.labels)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> DenseNet:
        """The network that a weights file's header describes."""
        entries = json.loads(metadata["shape"])
        return cls(Shape(**(entries | {"blocks": tuple(entries["blocks"])})))

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, channels, rows, columns) to probabilities (B, L), maps (B, L, h, w), embedding (B, C)."""
        logits, maps, embedding = by_map(torch.relu(self.features(batch)), self.classifier)
        return self.operating(logits), maps, embedding
