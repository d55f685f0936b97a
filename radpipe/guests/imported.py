"""What a user asks of an import, and what it made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radpipe.guests.record import Report


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user says of the model; what is empty is taken from its files, else left to be filled in."""

    labels: tuple[str, ...] = ()  # of all outputs, in their order; "" for an unused one
    variant: str = ""  # name under which torchxrayvision publishes it, where the file was renamed
    size: int = 0  # pixels a side of the input
    version: str = "1"
    licence: str = ""
    population: str = ""
    ages: tuple[int, int] = (18, 120)
    body_part: str = ""  # of a bundle: BodyPartExamined of what it reads
    findings: tuple[tuple[str, str], ...] = ()  # of a bundle: channel, finding
    prompts: Path | None = None  # TOML of sentences, for image-text models
    onnx: bool = True  # also export the network to ONNX
    card: Mapping[str, Any] = field(default_factory=dict)  # the user's own card.toml


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import made."""

    directory: Path
    name: str
    role: str  # reader or segmenter
    report: Report | None  # parity; None where another part of radpipe made it
    unset: tuple[str, ...]  # findings without an operating point
    to_fill: tuple[str, ...]  # entries of the card that only the user knows
    notes: tuple[str, ...]  # what the user should know, one sentence each
