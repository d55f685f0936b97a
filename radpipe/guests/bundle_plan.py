"""From a bundle's configuration and metadata to a plan that radpipe can run, or a reason that names the entry in the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from radpipe.errors import WeightsError
from radpipe.guests.bundle_config import BundleConfig
from radpipe.models.bundle_parts import is_classifier, network_step, transform_step
from radpipe.segmenter import Plan, Step

_INFERERS = {
    "SlidingWindowInferer": {"roi_size", "sw_batch_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval"},
    "SlidingWindowInfererAdapt": {"roi_size", "sw_batch_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval"},
    "SimpleInferer": set(),
}
_INFERER_FORGOTTEN = frozenset({"device", "sw_device", "progress", "cache_roi_weight_map", "cpu_thresh", "buffer_steps",
                                "buffer_dim", "with_coord"})  # fmt: skip

_AFTER_SKIPPED = frozenset(
    {"SaveImaged", "EnsureTyped", "ToTensord", "ToNumpyd", "CastToTyped", "DeleteItemsd", "CopyItemsd", "SelectItemsd",
     "EnsureChannelFirstd", "SqueezeDimd"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layout:
    """What metadata.json says of the network's input and output (network_data_format)."""

    modality: str
    in_channels: int | None
    spatial_shape: tuple[int, ...]
    value_range: tuple[float, ...]
    output: str  # its type and format in words
    out_channels: int | None
    channel_names: tuple[tuple[int, str], ...]


def read_layout(metadata: Mapping[str, Any]) -> Layout:
    """Raises WeightsError if the bundle takes or gives more than one image."""
    formats = metadata.get("network_data_format")
    if not isinstance(formats, dict):
        raise WeightsError("metadata.json has no network_data_format: the bundle does not say what it reads and gives")
    inputs, outputs = _table(formats.get("inputs")), _table(formats.get("outputs"))
    if len(inputs) != 1:
        raise WeightsError(f"the bundle takes {len(inputs)} inputs ({', '.join(inputs)}); radpipe gives it one image")
    if not outputs:
        raise WeightsError("metadata.json does not say what the bundle gives (network_data_format, outputs)")
    taken, given = _table(next(iter(inputs.values()))), _table(outputs.get("pred", next(iter(outputs.values()))))
    names = {int(key): str(value) for key, value in _table(given.get("channel_def")).items() if str(key).isdigit()}
    return Layout(
        modality=str(taken.get("modality", "")).strip(),
        in_channels=_whole(taken.get("num_channels")),
        spatial_shape=tuple(size for size in _list(taken.get("spatial_shape")) if isinstance(size, int)),
        value_range=tuple(float(v) for v in _list(taken.get("value_range")) if isinstance(v, (int, float))),
        output=f"{given.get('type', '')} {given.get('format', '')}".strip().lower(),
        out_channels=_whole(given.get("num_channels")),
        channel_names=tuple(sorted(names.items())),
    )


def make_plan(config: BundleConfig, layout: Layout) -> tuple[Plan, tuple[str, ...]]:
    """The plan and what a user should know of it. Raises WeightsError that names what is not supported."""
    network = _network(config)
    arguments = dict(network.arguments)
    classifies = is_classifier(network.target)
    dims = int(arguments.get("spatial_dims", len(layout.spatial_shape) or (2 if classifies else 3)))
    if dims not in (2, 3):
        raise WeightsError(f"the network has {dims} spatial dimensions; radpipe reads 2 and 3")
    steps = _preprocessing(config)
    inferer = _inferer(config, layout)
    activation, decision, threshold, interpolate, notes = _postprocessing(config, classifies)
    out_channels = _channels(arguments, ("out_channels", "num_classes", "num_classes_out"), layout.out_channels, "gives")
    if not decision and not classifies:
        decision = "argmax" if out_channels > 1 else "threshold"
        activation = activation or ("softmax" if out_channels > 1 else "sigmoid")
        notes = (*notes, f"the bundle does not say how its output is decided: taken as {activation}, {decision}")
    if decision == "threshold" and out_channels > 8:
        raise WeightsError(f"the bundle thresholds {out_channels} overlapping channels; radpipe keeps at most 8")
    if out_channels > 255:
        raise WeightsError(f"the bundle has {out_channels} channels; radpipe keeps at most 255")
    plan = Plan(
        network=network,
        spatial_dims=dims,
        in_channels=_channels(
            {} if network.target == "TorchVisionFCModel" else arguments,  # its in_channels are those of its last layer
            ("in_channels", "n_input_channels"),
            layout.in_channels,
            "takes",
        ),
        out_channels=out_channels,
        preprocessing=steps,
        inferer=inferer,
        activation=activation,
        decision=decision,
        threshold=threshold,
        interpolate=interpolate,
    )
    return plan, notes


def weights_path(config: BundleConfig) -> str | None:
    """The file that the configuration loads ("models/model.pt"), if it can be told without running code."""
    handlers = [part for name in ("handlers", "val_handlers") if name in config for part in config.parts(name)]
    loaders = ["checkpointloader", *handlers]
    for name in loaders:
        if name.partition("#")[0] in config and (found := config.literal_or_none(f"{name}#load_path")):
            return str(found).removeprefix("./")
    return None


def _network(config: BundleConfig) -> Step:
    name = next((name for name in ("network_def", "net_def", "network") if name in config), "")
    if not name:
        raise WeightsError("the bundle's inference configuration has no network_def")
    target = config.get(f"{name}#_target_")
    if not isinstance(target, str):
        raise WeightsError(f"{name} has no _target_ that is a name")
    # the target first: whatever else the entry holds is only looked at for a network that may be made
    network_step(target, {})
    arguments = config.get(name)
    return network_step(target, {key: value for key, value in arguments.items() if not key.startswith("_")})


def _preprocessing(config: BundleConfig) -> tuple[Step, ...]:
    if "preprocessing" not in config:
        return ()
    image_key = config.literal_or_none("image_key") or config.literal_or_none("image") or "image"
    steps = []
    for name in _transforms(config, "preprocessing"):
        if config.literal_or_none(f"{name}#_disabled_") in (True, "true", "True"):
            continue
        arguments = config.get(name)
        if "_target_" not in arguments:
            raise WeightsError(f"{name} of the bundle's configuration has no _target_")
        plain = {key: value for key, value in arguments.items() if not key.startswith("_")}
        step = transform_step(str(arguments["_target_"]), plain, name, str(image_key))
        if step is not None:
            steps.append(step)
    return tuple(steps)


def _transforms(config: BundleConfig, name: str) -> tuple[str, ...]:
    target = str(config.literal_or_none(f"{name}#_target_") or "")
    if target.rpartition(".")[2] not in ("Compose", ""):
        raise WeightsError(f"{name} of the bundle's configuration is {target!r}; radpipe knows Compose")
    return config.parts(f"{name}#transforms" if target else name)


def _inferer(config: BundleConfig, layout: Layout) -> Step:
    if "inferer" not in config:
        return Step("SimpleInferer", ())
    target = str(config.get("inferer#_target_"))
    name = target.rpartition(".")[2]
    if name not in _INFERERS or not (target == name or target.startswith("monai.inferers")):
        raise WeightsError(f"the bundle's inferer is {target!r}; supported are {', '.join(_INFERERS)}")
    arguments = {}
    for part in config.parts("inferer"):
        key = part.rpartition("#")[2]
        if key.startswith("_") or key in _INFERER_FORGOTTEN:
            continue  # where it runs is ours to say
        if key not in _INFERERS[name]:
            raise WeightsError(f"the bundle's inferer has an argument {key!r}, which radpipe does not support")
        arguments[key] = config.get(part)
    if name == "SimpleInferer":
        return Step(name, ())
    arguments.setdefault("roi_size", list(layout.spatial_shape))
    roi = arguments["roi_size"]
    if not isinstance(roi, list) or not roi or not all(isinstance(size, int) and 0 < size <= 1024 for size in roi):
        raise WeightsError(f"the bundle's inferer has the roi_size {roi!r}; radpipe wants whole numbers up to 1024")
    overlap = arguments.get("overlap", 0.25)
    if not isinstance(overlap, (int, float)) or not 0 <= overlap < 1:
        raise WeightsError(f"the bundle's inferer has the overlap {overlap!r}; radpipe wants a number from 0 to below 1")
    return Step("SlidingWindowInferer", tuple(arguments.items()))


def _postprocessing(config: BundleConfig, classifies: bool) -> tuple[str, str, float, bool, tuple[str, ...]]:
    """activation, decision, threshold, whether probabilities are interpolated on the way back, notes."""
    activation, decision, threshold, interpolate = "", "", 0.5, False
    notes: list[str] = []
    for name in _transforms(config, "postprocessing") if "postprocessing" in config else ():
        target = str(config.get(f"{name}#_target_"))
        kind = target.rpartition(".")[2].removesuffix("ict")
        kind = f"{kind[:-1]}d" if kind.endswith("D") else kind
        given = {part.rpartition("#")[2]: part for part in config.parts(name)}
        if kind in _AFTER_SKIPPED or config.literal_or_none(given.get("_disabled_", "")) is True:
            continue
        if target.rpartition(".")[0] not in ("",) and not target.startswith("monai.transforms"):
            raise WeightsError(f"{name} is {target!r}, which is not MONAI's: radpipe does not run a bundle's own code")
        if kind == "Activationsd":
            activation = _activation(config, given, name)
        elif kind == "AsDiscreted":
            if _first(config, given, "argmax"):
                decision = "argmax"
            elif (limit := _first(config, given, "threshold")) is not None and limit is not False:
                decision, threshold = "threshold", 0.5 if limit is True else float(limit)
            elif _first(config, given, "threshold_values"):
                limit = _first(config, given, "logit_thresh")
                decision, threshold = "threshold", 0.5 if limit is None else float(limit)
        elif kind == "Invertd":
            interpolate = (
                not decision and config.get(given["nearest_interp"]) is False if "nearest_interp" in given else False
            )
        else:
            raise WeightsError(
                f"{name} is {target!r}, which changes the mask and is not supported; supported are Activationsd, "
                "AsDiscreted and Invertd"
            )
    if classifies:
        return activation, "", threshold, False, tuple(notes)
    return activation, decision, threshold, interpolate, tuple(notes)


def _activation(config: BundleConfig, given: Mapping[str, str], name: str) -> str:
    if _first(config, given, "other"):
        raise WeightsError(f"{name} (Activationsd) uses a function of its own, which is not supported")
    if _first(config, given, "softmax"):
        return "softmax"
    return "sigmoid" if _first(config, given, "sigmoid") else ""


def _first(config: BundleConfig, given: Mapping[str, str], argument: str) -> Any:
    """An argument's value for the first key: MONAI takes one for all keys or a list of one for each."""
    if argument not in given:
        return None
    found = config.get(given[argument])
    return found[0] if isinstance(found, list) and found else found


def _channels(arguments: Mapping[str, Any], names: tuple[str, ...], stated: int | None, verb: str) -> int:
    found = next((arguments[name] for name in names if isinstance(arguments.get(name), int)), stated)
    if not found or found < 1:
        raise WeightsError(f"neither network_def nor metadata.json says how many channels the network {verb}")
    return int(found)


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
