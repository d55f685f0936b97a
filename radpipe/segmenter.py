"""A network that draws: its card, the volume that it reads, the mask that it gives back. Values.

A segmenter's `card.toml` has `role = "segmenter"`. What the network is, how its input is made and how its output becomes a
mask stands in `bundle.json`, a file that the card names with its sha256: so the model's hash covers the preprocessing too.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radpipe.card import CardHead, head_of, read_card_as
from radpipe.codes import Code, Laterality
from radpipe.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ROLE = "segmenter"
FORMAT = "radpipe-bundle 1"


class Kind(StrEnum):
    """What a channel draws: a finding is stated as present or not; an anatomical structure is only measured."""

    FINDING = "finding"
    ANATOMY = "anatomy"


@dataclass(frozen=True, slots=True)
class Channel:
    """One foreground channel of the network's output."""

    index: int  # of the output channel; in a label map also the label
    name: str  # as the bundle calls it
    finding: str  # snake_case, as findings are named everywhere
    code: Code
    kind: Kind
    laterality: Laterality | None = None
    smallest_ml: float = 0.0  # connected parts below this are not stated


@dataclass(frozen=True, slots=True)
class Step:
    """One transform, by MONAI's name, with literal arguments."""

    target: str
    arguments: tuple[tuple[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """As it stands in bundle.json."""
        return {"target": self.target, "arguments": dict(self.arguments)}

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Step:
        """The way back. Raises KeyError."""
        return cls(str(entry["target"]), tuple(dict(entry["arguments"]).items()))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a bundle runs: only names that radpipe knows and literals, nothing that could be executed."""

    network: Step  # of monai.networks.nets
    spatial_dims: int
    in_channels: int
    out_channels: int
    preprocessing: tuple[Step, ...]  # of monai.transforms, without loading and channel order
    inferer: Step  # SlidingWindowInferer or SimpleInferer
    activation: str  # "softmax", "sigmoid" or "" (the network's output is already what it should be)
    decision: str  # "argmax", "threshold" or "" (a classifier gives probabilities)
    threshold: float
    interpolate: bool  # back on the original slices: probabilities linearly, else the decided mask by nearest voxel

    def to_json(self) -> dict[str, Any]:
        """As bundle.json."""
        return {
            "format": FORMAT,
            "network": self.network.to_json(),
            "spatial_dims": self.spatial_dims,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "preprocessing": [step.to_json() for step in self.preprocessing],
            "inferer": self.inferer.to_json(),
            "activation": self.activation,
            "decision": self.decision,
            "threshold": self.threshold,
            "interpolate": self.interpolate,
        }

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Plan:
        """The way back. Raises KeyError, TypeError or ValueError."""
        if entry["format"] != FORMAT:
            raise ValueError(f"format {entry['format']!r}")
        return cls(
            network=Step.from_json(entry["network"]),
            spatial_dims=int(entry["spatial_dims"]),
            in_channels=int(entry["in_channels"]),
            out_channels=int(entry["out_channels"]),
            preprocessing=tuple(Step.from_json(step) for step in entry["preprocessing"]),
            inferer=Step.from_json(entry["inferer"]),
            activation=str(entry["activation"]),
            decision=str(entry["decision"]),
            threshold=float(entry["threshold"]),
            interpolate=bool(entry["interpolate"]),
        )


@dataclass(frozen=True, slots=True)
class SegmenterCard(CardHead):
    """The card of a segmenter."""

    training_data: str
    population: str
    limits: tuple[str, ...]
    modality: str
    body_part: str  # "" when the bundle does not say
    channels: tuple[Channel, ...]
    plan: Plan


def read_segmenter_card(path: Path) -> SegmenterCard:
    """Read a segmenter's `card.toml` and its `bundle.json`. Raises WeightsError if one is missing, damaged or not the one
    that the card names, or if the card is of another role."""
    return read_card_as(path, ROLE, "a segmenter", _card, "ct-bundles.md")


def _card(table: dict[str, Any], directory: Path) -> SegmenterCard:
    head = head_of(table, directory)
    return SegmenterCard(
        **head,
        training_data=table["training_data"],
        population=table["population"],
        limits=tuple(table["limits"]),
        modality=table["bundle"]["modality"],
        body_part=table["bundle"]["body_part"],
        channels=tuple(_channel(entry) for entry in table["channels"]),
        plan=_plan(directory, dict(head["files"])["bundle.json"]),
    )


def _channel(entry: dict[str, Any]) -> Channel:
    return Channel(
        index=int(entry["index"]),
        name=entry["name"],
        finding=entry["finding"],
        code=Code.parse(entry["code"], entry["meaning"]),
        kind=Kind(entry["kind"]),
        laterality=Laterality(entry["laterality"]) if entry.get("laterality") else None,
        smallest_ml=float(entry["smallest_ml"]),
    )


def _plan(directory: Path, digest: str) -> Plan:
    try:
        content = (directory / "bundle.json").read_bytes()
    except OSError as error:
        raise WeightsError(f"{directory.name} has no bundle.json; import the bundle again") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise WeightsError(f"bundle.json of {directory.name} is not the one its card names; import the bundle again")
    return Plan.from_json(json.loads(content))


@dataclass(frozen=True, slots=True)
class Volume:
    """One CT series as a block of voxels. Slices run along `affine_lps`'s third column; arrays are read-only."""

    hounsfield: npt.NDArray[np.int16]  # (slices, rows, columns); padding is -1024
    affine_lps: npt.NDArray[np.float64]  # (4, 4): (column, row, slice, 1) -> mm in the patient, DICOM's axes (LPS)
    sop_instance_uids: tuple[str, ...]  # of each slice; the same for all slices of a multi-frame image
    frames: tuple[int | None, ...]  # 1-based frame of each slice; None for single-frame images
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    why: str  # which series, and why this one
    notes: tuple[str, ...] = ()  # what a reader should know: overlapping slices, ...

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres: slice, row, column."""
        lengths = [float(sum(value * value for value in self.affine_lps[:3, axis]) ** 0.5) for axis in (2, 1, 0)]
        return lengths[0], lengths[1], lengths[2]

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres, also where slices are not at a right angle to the stack."""
        a, b, c = (self.affine_lps[:3, axis] for axis in range(3))
        cross = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
        return abs(float(cross[0] * c[0] + cross[1] * c[1] + cross[2] * c[2])) / 1000.0


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A segmenter's answer on a volume's own voxels.

    `labels` holds the channel's index, 0 is background; where channels may overlap (`overlapping`) bit i - 1 stands for
    the i-th of `channels`.
    """

    labels: npt.NDArray[np.uint8]  # (slices, rows, columns), read-only
    channels: tuple[Channel, ...]
    overlapping: bool
    model: str  # the card's identity
    backend: str  # "torch" or "onnx"
    provider: str  # read back: "cpu", "cuda:0", "CPUExecutionProvider"
    seconds: tuple[tuple[str, float], ...] = ()  # prepare, infer, restore

    def mask(self, channel: Channel) -> npt.NDArray[np.bool_]:
        """(slices, rows, columns) bool of one channel."""
        if self.overlapping:
            bit = 1 << self.channels.index(channel)
            drawn: npt.NDArray[np.bool_] = (self.labels & bit).astype(bool)
        else:
            drawn = self.labels == channel.index
        return drawn
