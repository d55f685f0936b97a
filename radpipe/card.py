"""A model's card: what it reads, what it says, how well, and what it must not be used for. Read from `card.toml`.

The card is the only place for labels, codes, thresholds and preprocessing; both backends and the report follow it.
After Mitchell et al., Model Cards for Model Reporting (2019).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radpipe.codes import Code
from radpipe.errors import WeightsError


@dataclass(frozen=True, slots=True)
class Label:
    """One output of the model. `assessed` is False where it is too weak to be stated in a report."""

    finding: str
    code: Code
    threshold: float  # present at and above
    rule_out: float  # absent below; unsure between
    assessed: bool
    source: str  # data, n, how the thresholds were set
    auc: float
    auc_ci: tuple[float, float]  # 95 %
    positives: int
    n: int
    sensitivity: float  # at threshold
    specificity: float  # at threshold
    repeatability_logit: float  # 95 % limit of logit difference between repeated views of an unchanged chest


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the network wants to see."""

    modalities: tuple[str, ...]
    body_part: str
    views: tuple[str, ...]
    rows: int
    columns: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    percentiles: tuple[float, float]  # grey values clipped and stretched to 0..1 between these
    patient_age_years: tuple[int, int]  # studied population; outside it is said, not refused


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The whole card. `directory` holds the files that `files` names with their sha256."""

    name: str
    version: str
    summary: str
    strength: str  # one honest sentence: how weak or strong
    licence: str
    training_data: str
    population: str
    limits: tuple[str, ...]
    not_covered: tuple[str, ...]  # what a reader would expect and this model does not assess, in words
    input: InputSpec
    labels: tuple[Label, ...]  # in the order of the network's output
    view_labels: tuple[str, ...]  # of the network's view head, in order
    distance_limit: float  # out of distribution above
    files: tuple[tuple[str, str], ...]  # (name, sha256)
    directory: Path

    @property
    def sha256(self) -> str:
        """One hash for the model: of the names and hashes of its files."""
        import hashlib

        return hashlib.sha256("".join(f"{name}:{digest}\n" for name, digest in self.files).encode()).hexdigest()

    @property
    def identity(self) -> str:
        """ "name version sha256[:12]": what evidence cites."""
        return f"{self.name} {self.version} {self.sha256[:12]}"

    def label(self, finding: str) -> Label:
        """Raises KeyError if the model has no such label."""
        for label in self.labels:
            if label.finding == finding:
                return label
        raise KeyError(finding)


def read_card(path: Path) -> ModelCard:
    """Read `card.toml`. Raises WeightsError if it is missing, not UTF-8, not TOML, or lacks a field."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"no model card at {path}; name a folder under weights/ that has a card.toml") from error
    except UnicodeDecodeError as error:
        raise WeightsError(f"{path} is not UTF-8 text (byte {error.start}); restore it from the repository") from error
    except tomllib.TOMLDecodeError as error:
        raise WeightsError(f"{path} is not valid TOML ({error}); restore it from the repository") from error
    try:
        return _card(table, path.parent)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} lacks or misstates {error}; see docs/model-card.md for the format") from error


def _card(table: dict[str, Any], directory: Path) -> ModelCard:
    spec = table["input"]
    low, high = spec["percentiles"]
    youngest, oldest = spec["patient_age_years"]
    return ModelCard(
        name=table["name"],
        version=table["version"],
        summary=table["summary"],
        strength=table["strength"],
        licence=table["licence"],
        training_data=table["training_data"],
        population=table["population"],
        limits=tuple(table["limits"]),
        not_covered=tuple(table["not_covered"]),
        input=InputSpec(
            modalities=tuple(spec["modalities"]),
            body_part=spec["body_part"],
            views=tuple(spec["views"]),
            rows=spec["rows"],
            columns=spec["columns"],
            channels=spec["channels"],
            mean=tuple(map(float, spec["mean"])),
            std=tuple(map(float, spec["std"])),
            percentiles=(float(low), float(high)),
            patient_age_years=(int(youngest), int(oldest)),
        ),
        labels=tuple(_label(finding, entry) for finding, entry in table["labels"].items()),
        view_labels=tuple(table["view"]["labels"]),
        distance_limit=float(table["distribution"]["distance_limit"]),
        files=tuple((name, digest) for name, digest in table["files"].items()),
        directory=directory,
    )


def _label(finding: str, entry: dict[str, Any]) -> Label:
    low, high = entry["auc_ci"]
    return Label(
        finding=finding,
        code=Code.parse(entry["code"], entry["meaning"]),
        threshold=float(entry["threshold"]),
        rule_out=float(entry["rule_out"]),
        assessed=bool(entry["assessed"]),
        source=entry["source"],
        auc=float(entry["auc"]),
        auc_ci=(float(low), float(high)),
        positives=int(entry["positives"]),
        n=int(entry["n"]),
        sensitivity=float(entry["sensitivity"]),
        specificity=float(entry["specificity"]),
        repeatability_logit=float(entry["repeatability_logit"]),
    )
