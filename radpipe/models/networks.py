"""Which network a file of weights is of: the header of `model.safetensors` names it, and its measures.

A network is a torch module made from that header alone, whose parameters have the file's names. It takes (B, C, H, W) and
gives a tuple of tensors; its attribute `outputs` says which of `answers.OUTPUTS` they are (all of them where it has none).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import nn

NETWORK = "network"
"""Key of the header."""


class _Kind(Protocol):
    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> nn.Module: ...


def network_of(metadata: Mapping[str, str]) -> nn.Module:
    """An empty network of the kind that the header names. Raises KeyError, TypeError or ValueError for one that it cannot be
    made from."""
    return _kind(metadata.get(NETWORK, "")).from_metadata(metadata)


def _kind(name: str) -> type[_Kind]:
    """Imported one by one: only open_clip's needs open_clip, only a bundle's needs MONAI."""
    if name == "radpipe dinov2 reader":
        from radpipe.models.dinov2 import Reader

        return Reader
    if name == "densenet":
        from radpipe.models.densenet import DenseNet

        return DenseNet
    if name == "resnet":
        from radpipe.models.resnet import ResNet

        return ResNet
    if name == "open_clip":
        from radpipe.models.clip import ZeroShot

        return ZeroShot
    if name == "monai bundle":
        from radpipe.models.bundle_reader import BundleReader

        return BundleReader
    raise ValueError(f"radpipe has no network {name!r}")
