"""An image-text model made into a reader: its image tower, and one direction a finding, fixed at import.

For each finding there were sentences that say it is there and sentences that say it is not; their mean directions p and n in
the shared space are unit vectors. Softmax over the pair, at the model's own scale s, is sigmoid(s (p - n) . image): so the
reader is a tower and a matrix, and needs neither the text tower nor its vocabulary (Radford et al. 2021, arXiv:2103.00020).

Axes: B images, D width of the shared space, L labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from radpipe.errors import BackendUnavailable


class ZeroShot(nn.Module):
    """Probabilities and embedding."""

    outputs = ("probabilities", "embedding")

    def __init__(self, visual: nn.Module, width: int, labels: int) -> None:
        super().__init__()
        self.visual = visual
        self.directions = nn.Parameter(torch.zeros(labels, width))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ZeroShot:
        """The network that a weights file's header describes. Raises BackendUnavailable without open_clip."""
        config = json.loads(metadata["config"])
        return cls(image_tower(config), int(config["embed_dim"]), int(metadata["labels"]))

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, rows, columns) to probabilities (B, L) and embedding (B, D)."""
        embedding = nn.functional.normalize(self.visual(batch), dim=-1)
        return torch.sigmoid(embedding @ self.directions.T), embedding


def image_tower(config: Mapping[str, Any]) -> nn.Module:
    """The empty image tower of an open_clip model's configuration (`embed_dim`, `vision_cfg`, `quick_gelu`); nothing is
    fetched. Raises BackendUnavailable without open_clip, ValueError, TypeError or RuntimeError for one it does not know."""
    try:
        from open_clip.model import _build_vision_tower
    except ImportError as error:
        raise BackendUnavailable("this network needs open_clip; install 'radpipe[gpu]', or use --backend onnx") from error
    vision = {**config["vision_cfg"], "timm_model_pretrained": False, "output_tokens": False, "patch_dropout": 0.0}
    tower: nn.Module = _build_vision_tower(int(config["embed_dim"]), vision, bool(config.get("quick_gelu", False)))
    return tower
