"""The reader's network in plain torch: DINOv2 ViT-S/14 with four registers, and radpipe's heads on it.

Oquab et al., DINOv2: Learning Robust Visual Features without Supervision (2023), arXiv:2304.07193; Darcet et al., Vision
Transformers Need Registers (2023), arXiv:2309.16588. `train/export.py` writes the same network as an ONNX graph.

Folded at export, so that neither backend computes them: the three colour channels into one, layer scale into the
projections, the attention's scale into the queries, the position embedding at the card's size, whitening, ridge and
calibration into the heads.

Axes: B images, N tokens (1 + R registers + P patches), D width, H heads, L labels, V views, K components.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


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
        return tokens + self.fc2(functional.gelu(self.fc1(self.norm2(tokens))))


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

    def forward(self, batch: Tensor) -> Tensor:
        """(B, 1, rows, columns) to normalised tokens (B, N, D)."""
        tokens = self.embed(batch)
        for block in self.blocks:
            tokens = block(tokens)
        normed: Tensor = self.norm(tokens)
        return normed
