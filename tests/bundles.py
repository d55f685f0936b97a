"""Small MONAI bundles of the model zoo's layout for tests: real networks, some with weights set by hand."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import UNet

THRESHOLDING: dict[str, Any] = {
    "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [1, 1], "strides": [1],
    "kernel_size": 1, "up_kernel_size": 1, "num_res_units": 0, "act": None, "norm": None,
}  # fmt: skip
"""A UNet of 1x1x1 convolutions without activations: with the weights of `thresholding` its mask is exactly a threshold."""

SMALL_UNET: dict[str, Any] = {
    "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2],
    "num_res_units": 1, "norm": "batch",
}  # fmt: skip


def thresholding(level: float, *, above: bool) -> dict[str, torch.Tensor]:
    """Weights: background scores 0, the foreground the distance of the input above (or below) `level`."""
    network = UNet(**{key: value for key, value in THRESHOLDING.items() if key != "_target_"})
    state = {key: torch.zeros_like(value) for key, value in network.state_dict().items()}
    sign = 1.0 if above else -1.0
    state["model.0.conv.weight"].fill_(1.0)
    state["model.2.conv.weight"][0, 1] = sign
    state["model.2.conv.bias"][1] = -sign * level
    return state


def preprocessing(*more: dict[str, Any], spacing: list[float] | None = None, axcodes: str = "RAS") -> dict[str, Any]:
    """The zoo's chain: load, channel first, orientation, spacing, and more."""
    spaced = [{"_target_": "Spacingd", "keys": "image", "pixdim": spacing, "mode": "bilinear"}] if spacing else []
    return {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": axcodes},
            *spaced,
            *more,
            {"_target_": "EnsureTyped", "keys": "image"},
        ],
    }


def inference(network: dict[str, Any], **entries: Any) -> dict[str, Any]:
    """An inference.json as the zoo writes it, with the code that MONAI would run."""
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": preprocessing(),
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32], "sw_batch_size": 4, "overlap": 0.25},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
                 "nearest_interp": False, "to_tensor": True},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "handlers": [
            {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'",
             "load_dict": {"model": "@network"}}
        ],
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "network": "@network", "amp": True},
        "initialize": ["$monai.utils.set_determinism(seed=123)"],
        "run": ["$@evaluator.run()"],
        **entries,
    }  # fmt: skip


def metadata(
    channels: list[str], *, modality: str = "CT", shape: tuple[int, ...] = (32, 32, 32), **entries: Any
) -> dict[str, Any]:
    """A metadata.json as the zoo writes it."""
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20220324.json",
        "version": "0.5.3",
        "monai_version": "1.4.0",
        "task": "A test's segmentation",
        "description": "A network made by a test",
        "authors": "radpipe's tests",
        "copyright": "none",
        "data_source": "numbers set by hand",
        "eval_metrics": {"mean_dice": 0.9},
        "intended_use": "This is an example, not to be used for diagnostic purposes",
        "network_data_format": {
            "inputs": {
                "image": {"type": "image", "format": "hounsfield", "modality": modality, "num_channels": 1,
                          "spatial_shape": list(shape), "value_range": [0, 1], "channel_def": {"0": "image"}}
            },
            "outputs": {
                "pred": {"type": "image", "format": "segmentation", "num_channels": len(channels),
                         "spatial_shape": list(shape), "channel_def": {str(n): name for n, name in enumerate(channels)}}
            },
        },
        **entries,
    }  # fmt: skip


def write_bundle(
    folder: Path, config: dict[str, Any], described: dict[str, Any], state: object, *, weights: str = "model.pt"
) -> Path:
    """A bundle's folder."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(described))
    (folder / "LICENSE").write_text("\n                Apache License 2.0\n")
    torch.save(state, folder / "models" / weights)
    return folder


def zipped(folder: Path) -> Path:
    """The folder as a zip, below a folder of its name, as the zoo ships it."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{folder.name}/{file.relative_to(folder)}")
    return path
