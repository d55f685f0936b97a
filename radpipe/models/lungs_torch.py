"""The lung segmenter in PyTorch: a MONAI U-Net, trained with batch normalisation and shipped with it folded in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.networks.nets.unet import UNet
from torch import nn

from radpipe.errors import BackendUnavailable, WeightsError

LAST = 8


class Folded(nn.Module):
    """What ships: grey (B, 1, H, W), 0..1, to probabilities (B, 2, H, W) of the picture's left and right lung. H and W are
    multiples of the product of the strides."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        """Raises WeightsError if the metadata of the weights say something else than a network."""
        super().__init__()
        try:
            channels, strides = ([int(n) for n in metadata[name].split(",")] for name in ("channels", "strides"))
            self.unet = unet(channels, strides, int(metadata["units"]), normalised=False)
        except (KeyError, ValueError) as error:
            raise WeightsError(f"model.safetensors does not say which lung network it holds ({error})") from error

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.unet(batch * 4.0 - 2.0))


def unet(channels: Sequence[int], strides: Sequence[int], units: int, *, normalised: bool) -> nn.Module:
    """Grey of mean about 0 to two logits a pixel.

    MONAI's U-Net narrows to its outputs before the last nonlinearity; with two of them one may die and never come back. So
    it has `LAST` outputs, of which the logits are mixed."""
    network = UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=LAST,
        channels=tuple(channels),
        strides=tuple(strides),
        num_res_units=units,
        act="RELU",
        norm="batch" if normalised else None,  # type: ignore[arg-type]
    )
    return nn.Sequential(network, nn.Conv2d(LAST, 2, 1))


class TorchLungs:
    """The network on a device, in float32."""

    def __init__(
        self, tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str], device: str, threads: int
    ) -> None:
        """Raises BackendUnavailable if CUDA is asked for and not there; WeightsError if the weights do not fit."""
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailable("torch finds no CUDA device; use --device cpu, or see `radpipe doctor`")
        self._device = torch.device("cuda:0" if device != "cpu" and torch.cuda.is_available() else "cpu")
        if threads:
            torch.set_num_threads(threads)
        network = Folded(metadata)
        try:
            network.load_state_dict({name: torch.from_numpy(array.astype(np.float32)) for name, array in tensors.items()})
        except RuntimeError as error:
            raise WeightsError(f"model.safetensors does not fit the lung network: {error}") from error
        self._network = network.eval().requires_grad_(False).to(self._device)

    @property
    def provider(self) -> str:
        """Where the weights lie, read back from them: "cpu", "cuda:0"."""
        return str(next(self._network.parameters()).device)

    def run(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(B, 1, H, W) -> (B, 2, H, W)."""
        with torch.inference_mode():
            answer: npt.NDArray[np.float32] = self._network(torch.from_numpy(batch).to(self._device)).cpu().numpy()
        return answer
