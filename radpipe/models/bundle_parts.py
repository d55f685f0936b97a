"""Which of MONAI's networks and transforms a bundle may use, and how they are made again from names and literals.

The tables are the whole permission: a bundle names a part, radpipe looks it up here and calls MONAI's own class with literal
arguments. What is not here is refused, so nothing that a bundle brings along is ever imported or called.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import monai.networks.nets
import monai.transforms
import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor

from radpipe.errors import WeightsError
from radpipe.segmenter import Step

_SEGMENTING = (
    "UNet", "BasicUNet", "BasicUNetPlusPlus", "AttentionUnet", "SegResNet", "SegResNetVAE", "SegResNetDS", "SegResNetDS2",
    "DynUNet", "VNet", "UNETR", "SwinUNETR", "FlexibleUNet", "HighResNet", "MedNeXt", "MedNeXtSmall", "MedNeXtBase",
    "MedNeXtMedium", "MedNeXtLarge",
)  # fmt: skip
_CLASSIFYING = (
    "DenseNet", "DenseNet121", "DenseNet169", "DenseNet201", "DenseNet264", "EfficientNetBN", "resnet10", "resnet18",
    "resnet34", "resnet50", "resnet101", "resnet152", "SENet154", "SEResNet50", "SEResNet101", "SEResNet152", "SEResNext50",
    "SEResNext101", "TorchVisionFCModel", "Classifier", "ViT",
)  # fmt: skip
_BY_LOWER = {name.lower(): name for name in (*_SEGMENTING, *_CLASSIFYING)}
_CLASSIFYING_NAMES = frozenset(_CLASSIFYING)

_RENAMED = {"dimensions": "spatial_dims"}
"""Arguments that had another name in MONAI 0.x."""

_DROPPED = {("SwinUNETR", "img_size")}
"""Arguments that MONAI no longer has and that do not change the weights."""

_NOT_PRETRAINED = ("pretrained",)
"""Would download weights, which the bundle's own then overwrite: always False here."""

SKIPPED = frozenset(
    {"LoadImaged", "EnsureChannelFirstd", "AddChanneld", "AsChannelFirstd", "EnsureTyped", "ToTensord", "CastToTyped",
     "ToDeviced", "SelectItemsd", "Identityd"}
)  # fmt: skip
"""Loading, channel order and types: done here in one way, whatever the bundle says."""

TRANSFORMS: Mapping[str, frozenset[str]] = {
    "Orientationd": frozenset({"axcodes", "as_closest_canonical"}),
    "Spacingd": frozenset({"pixdim", "diagonal", "mode", "padding_mode", "align_corners", "scale_extent", "min_pixdim",
                           "max_pixdim", "ensure_same_shape"}),
    "ScaleIntensityRanged": frozenset({"a_min", "a_max", "b_min", "b_max", "clip"}),
    "ScaleIntensityd": frozenset({"minv", "maxv", "factor", "channel_wise"}),
    "ScaleIntensityRangePercentilesd": frozenset({"lower", "upper", "b_min", "b_max", "clip", "relative", "channel_wise"}),
    "NormalizeIntensityd": frozenset({"subtrahend", "divisor", "nonzero", "channel_wise"}),
    "ThresholdIntensityd": frozenset({"threshold", "above", "cval"}),
    "CropForegroundd": frozenset({"source_key", "margin", "k_divisible", "mode", "allow_smaller"}),
    "SpatialPadd": frozenset({"spatial_size", "method", "mode"}),
    "DivisiblePadd": frozenset({"k", "mode", "method"}),
    "CenterSpatialCropd": frozenset({"roi_size"}),
    "ResizeWithPadOrCropd": frozenset({"spatial_size", "mode", "method"}),
    "Resized": frozenset({"spatial_size", "size_mode", "mode", "align_corners", "anti_aliasing"}),
    "Transposed": frozenset({"indices"}),
    "Rotate90d": frozenset({"k", "spatial_axes"}),
    "Flipd": frozenset({"spatial_axis"}),
    "RepeatChanneld": frozenset({"repeats"}),
}  # fmt: skip
"""Transform -> the arguments that may be given, beside keys. All of them tell a MetaTensor where its voxels went."""

FORGOTTEN = frozenset({"keys", "allow_missing_keys", "dtype", "lazy", "recompute_affine", "labels", "meta_keys",
                       "meta_key_postfix", "start_coord_key", "end_coord_key"})  # fmt: skip
"""Arguments of transforms that only concern how MONAI keeps its books, or the label image of a training."""


def network_name(target: str) -> str:
    """MONAI's name of a network that may be made. Raises WeightsError for all others."""
    module, _, last = target.rpartition(".")
    known = _BY_LOWER.get(last.lower())
    if known is None or not (module == "" or module == "monai.networks.nets" or module.startswith("monai.networks.nets.")):
        whose = (
            "the bundle's own Python code" if module.startswith(("scripts", ".")) else "not among those that radpipe makes"
        )
        raise WeightsError(
            f"network_def is {target!r}, which is {whose}; supported are {', '.join(sorted(_BY_LOWER.values()))} of "
            "monai.networks.nets. Export it as ONNX and import that"
        )
    return known


def is_classifier(name: str) -> bool:
    """Whether a network gives one value a class and image, not one a voxel."""
    return name in _CLASSIFYING_NAMES


def network_step(target: str, arguments: Mapping[str, Any]) -> Step:
    """A network's name and literal arguments, checked against its signature. Raises WeightsError."""
    name = network_name(target)
    known = inspect.signature(getattr(monai.networks.nets, name)).parameters
    takes_more = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    kept: list[tuple[str, Any]] = []
    for given, value in arguments.items():
        argument = _RENAMED.get(given, given)
        if (name, argument) in _DROPPED and argument not in known:
            continue
        if argument not in known and not (takes_more and argument in {*_ACCEPTED_BY_ALL, *_NOT_PRETRAINED}):
            raise WeightsError(f"network_def gives {name} an argument {given!r}, which MONAI's {name} does not have")
        if not is_literal(value):
            raise WeightsError(f"network_def gives {name} a {given!r} that is no literal: only literals are supported")
        if argument not in _NOT_PRETRAINED:
            kept.append((argument, value))
    return Step(name, tuple(kept))


_ACCEPTED_BY_ALL = ("spatial_dims", "in_channels", "out_channels", "n_input_channels", "num_classes", "init_features",
                    "growth_rate", "block_config", "bn_size", "act", "norm", "dropout_prob", "shortcut_type",
                    "feed_forward", "conv1_t_size", "conv1_t_stride", "no_max_pool", "bias_downsample", "kernel_size",
                    "block_inplanes", "widen_factor", "kernel_sizes", "use_residual_connection")  # fmt: skip


def make_network(step: Step) -> torch.nn.Module:
    """The network, with random weights, ready to be filled. Raises WeightsError if MONAI refuses the arguments."""
    name = network_name(step.target)
    build = getattr(monai.networks.nets, name)
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in step.arguments}
    arguments |= {key: False for key in _NOT_PRETRAINED if key in inspect.signature(build).parameters}
    try:
        network: torch.nn.Module = build(**arguments)
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, NotImplementedError, ImportError) as error:
        raise WeightsError(f"MONAI does not make {name} with the bundle's arguments: {error}") from error
    return network.eval().requires_grad_(False)


def transform_step(target: str, arguments: Mapping[str, Any], where: str, image_key: str) -> Step | None:
    """A transform's name and literal arguments; None for one that is not needed. Raises WeightsError naming the entry."""
    module, _, name = target.rpartition(".")
    if module and not module.startswith("monai.transforms"):
        raise WeightsError(f"{where} is {target!r}, which is not MONAI's: radpipe does not run a bundle's own code")
    name = name.removesuffix("ict") if name.endswith("dict") else name
    name = f"{name[:-1]}d" if name.endswith("D") else name
    if name in SKIPPED:
        return None
    if name not in TRANSFORMS:
        raise WeightsError(
            f"{where} is {target!r}, which radpipe does not support; supported are "
            f"{', '.join(sorted({*TRANSFORMS, *SKIPPED}))}"
        )
    kept: list[tuple[str, Any]] = []
    keys = arguments.get("keys", image_key)
    keys = [keys] if isinstance(keys, str) else list(keys)
    if image_key not in keys:
        return None  # it works on something else, a label
    for argument, value in arguments.items():
        if argument in FORGOTTEN or argument.startswith("_"):
            continue
        if argument not in TRANSFORMS[name]:
            raise WeightsError(f"{where} ({name}) has an argument {argument!r}, which radpipe does not support")
        if len(keys) > 1 and argument in ("mode", "align_corners", "padding_mode") and isinstance(value, list):
            value = value[keys.index(image_key)]
        if not is_literal(value):
            raise WeightsError(f"{where} ({name}) has an argument {argument!r} that is no literal")
        kept.append((argument, value))
    if name == "CropForegroundd" and dict(kept).get("source_key") != image_key:
        raise WeightsError(f"{where} (CropForegroundd) crops by another image than {image_key!r}: not supported")
    return Step(name, tuple(item for item in kept if item[0] != "source_key"))


def make_transforms(steps: tuple[Step, ...]) -> list[Any]:
    """MONAI's dictionary transforms on the key "image". Raises WeightsError if MONAI refuses the arguments."""
    made = []
    for step in steps:
        if step.target not in TRANSFORMS:
            raise WeightsError(f"{step.target} is not a supported transform")
        arguments: dict[str, Any] = dict(step.arguments)
        if unknown := set(arguments) - TRANSFORMS[step.target]:
            raise WeightsError(f"{step.target} has an argument {min(unknown)!r}, which radpipe does not support")
        if step.target == "Orientationd":
            made.append(_Orientation("RAS" if arguments.get("as_closest_canonical") else str(arguments.get("axcodes", ""))))
            continue
        if step.target == "Spacingd":
            arguments["dtype"] = torch.float32  # MONAI's default of float64 takes twice the memory and gives the same
        if step.target == "CropForegroundd":
            arguments["source_key"] = "image"
        try:
            made.append(getattr(monai.transforms, step.target)(keys="image", **arguments))
        except (TypeError, ValueError, KeyError) as error:
            raise WeightsError(f"MONAI does not make {step.target} with the bundle's arguments: {error}") from error
    return made


class _Orientation:
    """MONAI's Orientationd without nibabel, which MONAI needs for it: axes permuted and flipped so that they point where the
    letters say (R: to the patient's right, A: to the front, S: to the head), each to the nearest."""

    _PAIRS = ("LR", "PA", "IS")

    def __init__(self, axcodes: str) -> None:
        """Raises WeightsError unless `axcodes` names each of the three directions once."""
        self._wanted = [
            next((axis for axis, pair in enumerate(self._PAIRS) if code in pair), -1) for code in axcodes.upper()
        ]
        self._signs = [1 if code in "RAS" else -1 for code in axcodes.upper()]
        if sorted(self._wanted) != [0, 1, 2]:
            raise WeightsError(f"Orientationd has the axcodes {axcodes!r}; radpipe wants three letters such as RAS")

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        image = data["image"]
        affine = np.asarray(image.affine, np.float64)
        directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        left, _, right = np.linalg.svd(directions)
        nearest = left @ right  # the rotation nearest to the directions (polar decomposition)
        order, turns = [], []
        for axis, sign in zip(self._wanted, self._signs, strict=True):
            free = [column for column in range(3) if column not in order]
            column = max(free, key=lambda one: abs(float(nearest[axis, one])))
            order.append(column)
            turns.append(sign * float(nearest[axis, column]) < 0)
        turned = np.zeros((4, 4))
        turned[3, 3] = 1.0
        for place, (column, turn) in enumerate(zip(order, turns, strict=True)):
            turned[column, place] = -1.0 if turn else 1.0
            turned[column, 3] = image.shape[1 + column] - 1 if turn else 0.0
        array = image.as_tensor().permute(0, *(1 + column for column in order))
        array = torch.flip(array, [1 + place for place, turn in enumerate(turns) if turn])
        return {**data, "image": MetaTensor(array.contiguous(), affine=torch.from_numpy(affine @ turned))}


def is_literal(value: Any) -> bool:
    """Numbers, texts, booleans, None, and lists and tables of them."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and not key.startswith("_") and is_literal(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(is_literal(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))
