"""The card of a guest: what its files tell, what the user told, and what nobody has told yet, said plainly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.card import InputSpec
from radpipe.codes import Code
from radpipe.guests.toml_text import toml_table, toml_value

NOT_SAID = "Not stated. Fill this in."
UNSET_SOURCE = "no operating point was published with these weights and none has been set: run `radpipe calibrate`"
ALWAYS_UNSURE = (1.000001, 0.0)
"""Threshold and rule-out that no probability reaches: what has no operating point is never decided."""

EXCLUDED = (
    "Any decision without a radiologist who looks at the image.",
    "Patients, views and devices unlike those that the card's `population` names.",
)

COVERED_ONLY = "everything that is not among its labels"


@dataclass(frozen=True, slots=True)
class GuestLabel:
    """One output of a guest. `threshold` None: not set, so it is not assessed and never decided."""

    finding: str
    code: Code
    threshold: float | None = None
    rule_out: float | None = None  # by default the threshold: no zone of doubt between
    source: str = UNSET_SOURCE
    extra: Mapping[str, Any] = field(default_factory=dict)  # what the user's card says of it


@dataclass(frozen=True, slots=True)
class GuestCard:
    """What goes into card.toml. Empty texts become "Not stated"."""

    name: str
    version: str
    summary: str
    origin: str  # what it was made of
    licence: str
    training_data: str
    population: str
    input: InputSpec
    labels: tuple[GuestLabel, ...]
    limits: tuple[str, ...] = ()
    view_labels: tuple[str, ...] = ()
    distance_limit: float | None = None
    strength: str = ""
    network: str = ""

    @property
    def unset(self) -> tuple[str, ...]:
        """Findings without an operating point."""
        return tuple(label.finding for label in self.labels if label.threshold is None)


def write_card(card: GuestCard, directory: Path, files: tuple[str, ...], more: Mapping[str, Any] | None = None) -> None:
    """Write card.toml for the `files` in `directory`. `more`: top-level entries of the user's own card, which come first."""
    head = {
        "name": card.name,
        "version": card.version,
        "role": "reader",
        "summary": card.summary,
        "strength": card.strength or "Not known here: no figure of it was measured on this site's images.",
        "licence": card.licence or NOT_SAID,
        "training_data": card.training_data or NOT_SAID,
        "population": card.population or NOT_SAID,
        "origin": card.origin,
        "limits": [
            "Not a medical device. Its findings are a draft for a radiologist who looks at the image.",
            "A guest: others trained it. Nothing here was validated by radpipe; run `radpipe evaluate images` on your own.",
            *card.limits,
        ],
        "not_covered": [COVERED_ONLY],
        "intended_use": ["A second look at frontal chest radiographs, beside a radiologist."],
        "excluded_use": list(EXCLUDED),
        "known_failures": [],
    }
    head |= {key: value for key, value in (more or {}).items() if not isinstance(value, Mapping)}
    spec = card.input
    text = ["# Written by `radpipe weights import`; format and meaning: docs/model-card.md\n"]
    text.append("\n".join(f"{key} = {_long(value)}" for key, value in head.items()) + "\n")
    text.append(
        toml_table(
            "input",
            {
                "modalities": spec.modalities,
                "body_part": spec.body_part,
                "views": spec.views,
                "rows": spec.rows,
                "columns": spec.columns,
                "channels": spec.channels,
                "mean": spec.mean,
                "std": spec.std,
                "percentiles": spec.percentiles,
                "fit": spec.fit,
                "patient_age_years": spec.patient_age_years,
            },
        )
    )
    text.append(toml_table("view", {"labels": card.view_labels}))
    if card.distance_limit is not None:
        text.append(toml_table("distribution", {"distance_limit": card.distance_limit}))
    if card.network:
        text.append(toml_table("network", {"kind": card.network}))
    text.append(toml_table("files", {name: sha256_of(directory / name) for name in files}))
    text += [_label(label) for label in card.labels]
    (directory / "card.toml").write_text("\n".join(text), encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _label(label: GuestLabel) -> str:
    threshold, rule_out = label.threshold, label.rule_out
    if threshold is None:
        threshold, rule_out = ALWAYS_UNSURE
    entry = {
        "code": f"{label.code.scheme}:{label.code.value}",
        "meaning": label.code.meaning,
        "threshold": threshold,
        "rule_out": threshold if rule_out is None else rule_out,
        "threshold_set": label.threshold is not None,
        "assessed": label.threshold is not None,
        # no image of ours was counted: 0 of 0, and an interval that says nothing
        "auc": 0.5,
        "auc_ci": (0.0, 1.0),
        "positives": 0,
        "n": 0,
        "sensitivity": 0.0,
        "specificity": 0.0,
        "repeatability_logit": UNKNOWN_REPEATABILITY,
        "source": label.source,
    }
    return toml_table(f"labels.{label.finding}", entry | dict(label.extra))


UNKNOWN_REPEATABILITY = 2.0
"""Where nobody measured it: above what the shipped reader shows of its worst finding (1.83), so that a change is claimed
only if it is large."""


def _long(value: Any) -> str:
    """A list of sentences one a line."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return "[\n" + "".join(f"    {toml_value(item)},\n" for item in value) + "]"
    return toml_value(value)


def thresholds_of(card: GuestCard) -> npt.NDArray[np.float32]:
    """(L, 2): rule-out and threshold of every label, as the card will have them."""
    rows = []
    for label in card.labels:
        if label.threshold is None:
            rows.append((ALWAYS_UNSURE[1], ALWAYS_UNSURE[0]))
        else:
            rows.append((label.threshold if label.rule_out is None else label.rule_out, label.threshold))
    return np.array(rows, np.float32).reshape(-1, 2)
