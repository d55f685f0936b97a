"""Checkpoints of torchxrayvision: DenseNet and ResNet, as published or as trained with the library.

Cohen et al., TorchXRayVision: A library of chest X-ray datasets and models (MIDL 2022). What a file does not say (labels,
operating points, resolution) is taken from `xrv_models.toml` for the published files, which are known by their names; for
others from the pickled module's own attributes, else from the user.

Input: grey values by their bit depth onto -1024..1024, the middle square, resized. Here 0..1 becomes that by mean 0.5 and
standard deviation 1/2048, with the darkest and brightest value of the image in the place of the bit depth's.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radpipe.card import InputSpec
from radpipe.errors import UsageError, WeightsError
from radpipe.guests.checkpoint import Checkpoint, read_checkpoint
from radpipe.guests.export import save_network, save_onnx
from radpipe.guests.guest_card import GuestCard, GuestLabel, sha256_of, thresholds_of, write_card
from radpipe.guests.imported import Asked, Imported
from radpipe.guests.labels import Meaning, meanings
from radpipe.guests.record import NOT_ASKED, write_record
from radpipe.models import densenet, resnet
from radpipe.models.networks import network_of

PUBLISHED = Path(__file__).with_name("xrv_models.toml")

LIBRARY = "torchxrayvision (Cohen et al., MIDL 2022, Apache-2.0)"

_UNKNOWN: tuple[str, dict[str, Any]] = ("", {})

_OLD_LAYER = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.(\d\..*)$")
"""DenseNet's layers of torchvision before 0.3: `norm.1.weight`."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What is known of a checkpoint besides its tensors."""

    labels: tuple[str, ...]
    points: tuple[float, ...]  # operating points; nan where there is none
    resolution: int
    training_data: str
    name: str  # of the published model, "" for another


def looks_like(checkpoint: Checkpoint) -> bool:
    """Whether the tensors have the layout of one of the two networks."""
    names = checkpoint.tensors.keys()
    return "features.denseblock1.denselayer1.norm1.weight" in _renamed(checkpoint.tensors) or any(
        name.endswith("layer1.0.conv1.weight") for name in names
    )


def import_xrv(source: Path, directory: Path, name: str, asked: Asked, checkpoint: Checkpoint | None = None) -> Imported:
    """Write the model into `directory`, which exists. Raises WeightsError or UsageError with the reason."""
    found = checkpoint or read_checkpoint(source, modules=True)
    tensors = _renamed(found.tensors)
    metadata, outputs = _network(tensors, source)
    told = _told(source, found, outputs, asked)
    kept, notes = meanings(told.labels)
    if not kept:
        raise WeightsError(f"{source.name}: none of its {outputs} outputs has a label; name them with --labels")
    state = _kept(tensors, [meaning.index for meaning in kept], told.points)
    metadata["shape"] = re.sub(r'"labels": \d+', f'"labels": {len(kept)}', metadata["shape"])
    network = network_of(metadata)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{source.name} does not fit its own layout: {' '.join(str(error).split())[:300]}") from error
    network.eval().requires_grad_(False)
    card = _card(name, source, told, kept, _channels(metadata), asked)
    save_network(network, metadata, directory)
    report = save_onnx(network, card.input, directory, thresholds_of(card)) if asked.onnx else NOT_ASKED
    files = ("model.onnx", "model.safetensors") if report.onnx else ("model.safetensors",)
    write_card(card, directory, files, asked.card)
    record = {
        "source": source.name,
        "sha256": sha256_of(source),
        "as": "xrv",
        "read_by": found.route,
        "published_as": told.name or None,
        "labels": [{"output": m.index, "label": m.label, "finding": m.finding, "op_thresh": _or_none(told.points[m.index])}
                   for m in kept],
        "notes": list(notes),
    }  # fmt: skip
    write_record(directory, report, record)
    if found.route == "inert":
        notes = (
            "the file is a whole pickled module: its tensors and plain attributes were taken, no code of it was run",
            *notes,
        )
    return Imported(directory, name, "reader", report, card.unset, _to_fill(card, asked), notes)


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By today's names, without the wrappers of training loops."""
    made = {}
    for name, tensor in tensors.items():
        if match := _OLD_LAYER.match(name):
            name = match[1] + match[2]
        made[name.removeprefix("model.")] = tensor
    return made


def _network(tensors: Mapping[str, Tensor], source: Path) -> tuple[dict[str, str], int]:
    """The header of the weights file, and how many outputs the checkpoint has."""
    sizes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        if "features.conv0.weight" in sizes:
            shape = densenet.Shape.from_tensors(sizes)
            return shape.to_metadata(), shape.labels
        if "layer1.0.conv1.weight" in sizes:
            other = resnet.Shape.from_tensors(sizes)
            return other.to_metadata(), other.labels
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f"{source.name} begins like a DenseNet or ResNet, but {error} is not as there") from error
    known = ", ".join(sorted(sizes)[:3])
    raise WeightsError(f"{source.name} has neither the layout of DenseNet nor of ResNet (it has {known}, ...)")


def _told(source: Path, found: Checkpoint, outputs: int, asked: Asked) -> _Told:
    published: dict[str, Any] = tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))
    order = tuple(published.pop("order"))
    names = {source.name, source.stem, asked.variant}
    name, entry = next(((n, e) for n, e in published.items() if {n, e["file"]} & names), _UNKNOWN)
    if asked.variant and not name:
        raise UsageError(f"torchxrayvision publishes no {asked.variant!r}; it has {', '.join(published)}")
    own = _texts(found.attributes.get("targets")) or _texts(found.attributes.get("pathologies"))
    labels = asked.labels or tuple(entry.get("labels", order)) if entry else asked.labels or own
    if not labels and outputs == len(order):
        labels = order
    if len(labels) != outputs:
        why = f"{len(labels)} labels are known" if labels else "no labels are known"
        raise UsageError(f"{source.name} has {outputs} outputs and {why}; name all with --labels A,B,,D (empty: unused)")
    points = _numbers(found.tensors.get("op_threshs"), found.attributes.get("op_threshs")) or tuple(
        entry.get("op_threshs", ())
    )
    if len(points) != outputs:
        points = (math.nan,) * outputs
    points = tuple(point if 0 < point < 1 else math.nan for point in points)
    resolution = asked.size or entry.get("resolution") or _whole(found.attributes.get("input_resolution"))
    default = 512 if "layer1.0.conv1.weight" in _renamed(found.tensors) else 224
    return _Told(labels, points, resolution or default, entry.get("training_data", ""), name)


def _kept(tensors: dict[str, Tensor], outputs: Sequence[int], points: Sequence[float]) -> dict[str, Tensor]:
    """The state of our network: only the outputs that have a label, and their operating points."""
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    state.pop("op_threshs", None)
    head = "classifier" if "classifier.weight" in state else "fc"
    for part in ("weight", "bias"):
        state[f"{head}.{part}"] = state[f"{head}.{part}"][list(outputs)]
    state["operating.points"] = torch.tensor([0.5 if math.isnan(points[o]) else points[o] for o in outputs])
    for name in [n for n in state if n.endswith("running_mean")]:  # files of torch before 0.4.1 do not count batches
        state.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return state


def _card(name: str, source: Path, told: _Told, kept: Sequence[Meaning], channels: int, asked: Asked) -> GuestCard:
    labels = []
    for meaning in kept:
        point = told.points[meaning.index]
        if math.isnan(point):
            labels.append(GuestLabel(meaning.finding, meaning.code))
        else:
            source_words = (
                f"the checkpoint's operating point for {meaning.label} (op_threshs {point:.6g}), scaled to 0.5 as the "
                "library does; one point only, so nothing is unsure; sensitivity and specificity here are not known"
            )
            labels.append(GuestLabel(meaning.finding, meaning.code, 0.5, source=source_words))
    size = told.resolution
    return GuestCard(
        name=name,
        version=asked.version,
        summary=f"Frontal chest radiographs: {len(kept)} findings, {told.name or 'a network'} of {LIBRARY}",
        origin=f"{source.name} (sha256 {sha256_of(source)[:12]})" + (f", {told.name} of {LIBRARY}" if told.name else ""),
        licence=asked.licence or ("Apache-2.0, as torchxrayvision publishes it" if told.name else ""),
        training_data=told.training_data,
        population=asked.population,
        input=InputSpec(
            ("CR", "DX"), "CHEST", ("PA", "AP"), size, size, channels, (0.5,) * channels, (1 / 2048,) * channels,
            (0.0, 100.0), asked.ages, "crop",
        ),
        labels=tuple(labels),
        limits=(
            "torchxrayvision scales by an image's bit depth, radpipe by its darkest and brightest value after the VOI LUT: "
            "a film that does not use its range is seen with more contrast than in training.",
            "Reads the middle square of the image: what lies at the long ends is not seen.",
            "Its probabilities have their operating point at 0.5: no frequencies until `radpipe calibrate` was run.",
        ),
    )  # fmt: skip


def _to_fill(card: GuestCard, asked: Asked) -> tuple[str, ...]:
    return tuple(
        key for key in ("population", "training_data", "licence") if not getattr(card, key) and key not in asked.card
    )


def _channels(metadata: Mapping[str, str]) -> int:
    found = re.search(r'"channels": (\d+)', metadata["shape"])
    return int(found[1]) if found else 1


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value) else ()


def _numbers(*values: Any) -> tuple[float, ...]:
    for value in values:
        if isinstance(value, Tensor | np.ndarray | list | tuple):
            return tuple(float(v) for v in torch.as_tensor(value).flatten().tolist())
    return ()


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and 16 <= value <= 4096 else None


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
