"""ResNet as torchvision lays it out, for weights that others trained: one input channel or several.

He et al., Deep Residual Learning for Image Recognition (2016). The names of the parameters are torchvision's, so that its
weights, and those of torchxrayvision's `models.ResNet`, load as they are; widths and depths come from the file.
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
    """The network's measures."""

    channels: int  # of the input
    first: int  # channels after the first convolution
    widths: tuple[int, ...]  # inside the blocks of each stage
    depths: tuple[int, ...]  # blocks a stage
    groups: int
    bottleneck: bool  # three convolutions a block (ResNet-50 and larger), else two
    labels: int

    @classmethod
    def from_tensors(cls, sizes: Mapping[str, tuple[int, ...]]) -> Shape:
        """As a state dictionary's tensors say. Raises KeyError or ValueError if they are no ResNet's."""
        widths: list[int] = []
        depths: list[int] = []
        while f"layer{len(widths) + 1}.0.conv1.weight" in sizes:
            stage, depth = len(widths) + 1, 0
            while f"layer{stage}.{depth}.conv1.weight" in sizes:
                depth += 1
            widths.append(sizes[f"layer{stage}.0.conv1.weight"][0])
            depths.append(depth)
        if not widths:
            raise ValueError("it has no layer1")
        first, channels, *_ = sizes["conv1.weight"]
        groups = widths[0] // sizes["layer1.0.conv2.weight"][1]
        bottleneck = "layer1.0.conv3.weight" in sizes
        return cls(channels, first, tuple(widths), tuple(depths), groups, bottleneck, sizes["fc.weight"][0])

    def to_metadata(self) -> dict[str, str]:
        """For the header of the weights file."""
        return {"network": "resnet", "shape": json.dumps(asdict(self))}


class _Block(nn.Module):
    """Two or three convolutions beside a short cut; the stride is in the 3 x 3 one, as in torchvision."""

    def __init__(self, channels: int, width: int, out: int, stride: int, shape: Shape) -> None:
        super().__init__()
        if shape.bottleneck:
            self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, groups=shape.groups, bias=False)
            self.conv3: nn.Module = nn.Conv2d(width, out, 1, bias=False)
            self.bn3: nn.Module = nn.BatchNorm2d(out)
        else:
            self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
            self.conv2 = nn.Conv2d(width, out, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(self.conv2.out_channels)
        self.bottleneck = shape.bottleneck
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, values: Tensor) -> Tensor:
        """(B, C, h, w) to (B, out, h / stride, w / stride)."""
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(values)))))
        if self.bottleneck:
            inner = self.bn3(self.conv3(torch.relu(inner)))
        return torch.relu(inner + self.downsample(values))


class ResNet(nn.Module):
    """Probabilities, maps, embedding. See `heads`."""

    outputs = ("probabilities", "maps", "embedding")

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(shape.channels, shape.first, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(shape.first)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = shape.first
        self.stages = len(shape.widths)
        for stage, (width, depth) in enumerate(zip(shape.widths, shape.depths, strict=True), start=1):
            # torchvision's blocks of three give four times the stage's base width; ResNeXt's and wide ones exceed it inside
            out = 4 * shape.first * 2 ** (stage - 1) if shape.bottleneck else width
            blocks = OrderedDict[str, nn.Module]()
            for number in range(depth):
                stride = 2 if stage > 1 and number == 0 else 1
                blocks[str(number)] = _Block(channels, width, out, stride, shape)
                channels = out
            self.add_module(f"layer{stage}", nn.Sequential(blocks))
        self.fc = nn.Linear(channels, shape.labels)
        self.operating = OperatingPoints(shape.labels)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ResNet:
        """The network that a weights file's header describes."""
        entries = json.loads(metadata["shape"])
        return cls(Shape(**(entries | {"widths": tuple(entries["widths"]), "depths": tuple(entries["depths"])})))

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, channels, rows, columns) to probabilities (B, L), maps (B, L, h, w), embedding (B, C)."""
        values = self.pool(torch.relu(self.bn1(self.conv1(batch))))
        for stage in range(1, self.stages + 1):
            values = getattr(self, f"layer{stage}")(values)
        logits, maps, embedding = by_map(values, self.fc)
        return self.operating(logits), maps, embedding
