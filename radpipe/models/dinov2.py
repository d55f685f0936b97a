"""The reader's network in plain torch: DINOv2 ViT-S/14 with four registers, and radpipe's heads on it.

Oquab et al., DINOv2: Learning Robust Visual Features without Supervision (2023), arXiv:2304.07193; Darcet et al., Vision
Transformers Need Registers (2023), arXiv:2309.16588. `train/export.py` writes the same network as an ONNX graph.

Folded at export, so that neither backend computes them: the three colour channels into one, layer scale into the
projections, the attention's scale into the queries, the position embedding at the card's size, whitening, ridge and
calibration into the heads.

Axes: B images, N tokens (1 + R registers + P patches), D width, H heads, T = D x taps, L labels, V views, K components,
M measures (of the lungs and the heart: `anatomy`), O ways to lie.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MEASURE_LIMIT = 3.0
"""Standard deviations to which a measure is cut: what lies further out was measured wrongly."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The network's measures."""

    width: int = 384
    depth: int = 12
    heads: int = 6
    hidden: int = 1536
    registers: int = 4
    patch: int = 14
    grid: tuple[int, int] = (16, 16)  # rows, columns of patches
    taps: tuple[int, ...] = (3, 5, 7, 9)  # blocks whose output the heads see, beside the normalised last one
    labels: int = 15
    views: int = 3
    components: int = 64  # of the training images' features, for the distance
    measures: int = 0
    orientations: int = 0
    painted: tuple[int, ...] = ()  # labels whose map was taught by painted lesions, in the order of that head

    @property
    def channels(self) -> int:
        """Width of what the heads see of one token: T."""
        return self.width * (len(self.taps) + 1)

    def to_metadata(self) -> dict[str, str]:
        """For the header of the weights file."""
        return {"network": "radpipe dinov2 reader", "shape": json.dumps(asdict(self))}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Shape:
        """Raises KeyError, TypeError or ValueError if the file is not of this network."""
        entries: Any = {
            name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(metadata["shape"]).items()
        }
        return cls(**entries)


class Block(nn.Module):
    """Pre-norm transformer block, layer scale folded into the projections."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.norm1 = nn.LayerNorm(shape.width, eps=1e-6)
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.proj = nn.Linear(shape.width, shape.width)
        self.norm2 = nn.LayerNorm(shape.width, eps=1e-6)
        self.fc1 = nn.Linear(shape.width, shape.hidden)
        self.fc2 = nn.Linear(shape.hidden, shape.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        images, length, width = tokens.shape
        qkv = self.qkv(self.norm1(tokens)).reshape(images, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, H, N, D/H) each
        mixed = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        tokens = tokens + self.proj(mixed.transpose(1, 2).reshape(images, length, width))
        after: Tensor = tokens + self.fc2(functional.gelu(self.fc1(self.norm2(tokens))))
        return after


class Backbone(nn.Module):
    """One grey channel in, tokens out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        patches = shape.grid[0] * shape.grid[1]
        self.patch_embed = nn.Conv2d(1, shape.width, shape.patch, shape.patch)
        self.prefix = nn.Parameter(torch.zeros(1, 1 + shape.registers, shape.width))  # CLS (with position), registers
        self.position = nn.Parameter(torch.zeros(1, patches, shape.width))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)

    def embed(self, batch: Tensor) -> Tensor:
        """(B, 1, rows, columns) to (B, N, D): CLS, registers, patches row by row."""
        patches = self.patch_embed(batch).flatten(2).transpose(1, 2) + self.position
        return torch.cat([self.prefix.expand(batch.shape[0], -1, -1), patches], dim=1)

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, rows, columns) to what the heads see: of CLS (B, T), of the patches (B, P, T)."""
        tokens = self.embed(batch)
        seen = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index in self.shape.taps:
                seen.append(tokens)
        seen.append(self.norm(tokens))
        first = 1 + self.shape.registers
        return torch.cat([t[:, 0] for t in seen], dim=-1), torch.cat([t[:, first:] for t in seen], dim=-1)


class Reader(nn.Module):
    """Backbone and heads: the six answers of ports.Prediction, in its order.

    A label's map says where the evidence for its logit lies: the logit is the map's mean. Where a label's lesions could be
    painted, its map is another: the logits, patch by patch, of a head that was taught with the painted ones.
    """

    measure_weight: Tensor
    measure_centre: Tensor
    measure_scale: Tensor
    orientation_weight: Tensor
    orientation_bias: Tensor
    lesion_weight: Tensor
    lesion_bias: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.backbone = Backbone(shape)
        self.label_cls = nn.Parameter(torch.zeros(shape.labels, shape.channels))
        self.label_patch = nn.Parameter(torch.zeros(shape.labels, shape.channels))
        self.label_bias = nn.Parameter(torch.zeros(shape.labels))
        self.view_weight = nn.Parameter(torch.zeros(shape.views, 2 * shape.channels))
        self.view_bias = nn.Parameter(torch.zeros(shape.views))
        self.centre = nn.Parameter(torch.zeros(2 * shape.width))  # of the training images' last features
        self.scale = nn.Parameter(torch.ones(2 * shape.width))
        self.axes = nn.Parameter(torch.zeros(2 * shape.width, shape.components))  # orthonormal columns
        self.axis_precision = nn.Parameter(torch.ones(shape.components))  # over the residual's precision, minus 1
        self.residual_precision = nn.Parameter(torch.ones(1))
        self.refusal_weight = nn.Parameter(torch.zeros(1, 2 * shape.channels))  # for turned and inverted images
        self.refusal_bias = nn.Parameter(torch.zeros(1))
        self._optional("measure_weight", torch.zeros(shape.labels, shape.measures))
        self._optional("measure_centre", torch.zeros(shape.measures))
        self._optional("measure_scale", torch.ones(shape.measures))
        self._optional("orientation_weight", torch.zeros(shape.orientations, 2 * shape.channels))
        self._optional("orientation_bias", torch.zeros(shape.orientations))
        self._optional("lesion_weight", torch.zeros(len(shape.painted), shape.width))
        self._optional("lesion_bias", torch.zeros(len(shape.painted)))

    def _optional(self, name: str, values: Tensor) -> None:
        """A parameter; where it is empty the file of weights need not have it."""
        if values.numel():
            self.register_parameter(name, nn.Parameter(values))
        else:
            self.register_buffer(name, values, persistent=False)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Reader:
        """The network that a weights file's header describes."""
        return cls(Shape.from_metadata(metadata))

    def forward(
        self, batch: Tensor, measures: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(B, 1, rows, columns) and measures (B, M), NaN where there is none, to probabilities (B, L), maps (B, L, h, w),
        embedding (B, 2 D), views (B, V), distance (B,), orientation (B, O)."""
        cls, patches = self.backbone(batch)
        if measures is None:
            measures = batch.new_full((len(batch), self.shape.measures), float("nan"))
        known = torch.where(torch.isnan(measures), self.measure_centre, measures)
        measured = torch.clamp((known - self.measure_centre) * self.measure_scale, -MEASURE_LIMIT, MEASURE_LIMIT)
        by_cls = cls @ self.label_cls.T + measured @ self.measure_weight.T + self.label_bias  # (B, L)
        maps = (patches @ self.label_patch.T + by_cls[:, None]).transpose(1, 2)  # (B, L, P)
        probabilities = torch.sigmoid(maps.mean(-1))
        if self.shape.painted:
            lesions = patches[..., -self.shape.width :] @ self.lesion_weight.T + self.lesion_bias
            maps = maps.index_copy(1, torch.tensor(self.shape.painted, device=maps.device), lesions.transpose(1, 2))
        features = torch.cat([cls, patches.mean(1)], dim=-1)  # (B, 2 T)
        views = torch.softmax(features @ self.view_weight.T + self.view_bias, dim=-1)
        width, channels = self.shape.width, self.shape.channels
        last = torch.cat([features[:, channels - width : channels], features[:, 2 * channels - width :]], dim=-1)
        standard = (last - self.centre) * self.scale  # (B, 2 D)
        along = standard @ self.axes  # (B, K)
        squares = (standard.square().sum(-1) + (along.square() * self.axis_precision).sum(-1)) * self.residual_precision
        refusal = torch.relu(features @ self.refusal_weight.T + self.refusal_bias).squeeze(-1)
        distance = torch.sqrt(torch.clamp(squares, min=0.0) + refusal.square())
        embedding = standard / torch.clamp(standard.norm(dim=-1, keepdim=True), min=1e-6)
        orientation = torch.softmax(features @ self.orientation_weight.T + self.orientation_bias, dim=-1)
        maps = maps.reshape(*maps.shape[:2], *self.shape.grid)
        return probabilities, maps, embedding, views, distance, orientation
