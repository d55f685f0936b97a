"""A site's own calibration: what `radpipe calibrate` writes, and how it changes a model's answers and card.

The model's files stay as they are. Each label's logit is moved by a slope and an offset, so the order of the studies stays
too, and the label gets thresholds that were set on the site's patients (`conformal`). A label with too few patients keeps
what the card says. The file names the model by its hash and is refused for any other; its own hash becomes part of the
model's version, so that every reading, report and run key shows which calibration made it.

Axes: B images, L labels, in the card's order.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.calibration.conformal import NEVER_ABSENT, NEVER_PRESENT
from radpipe.calibration.probability import logit, sigmoid
from radpipe.card import Label, ModelCard
from radpipe.errors import WeightsError
from radpipe.ports import ImageModel, Prediction

Floats = npt.NDArray[np.float32]

FORMAT = 1
"""Of the file; another one is refused."""


@dataclass(frozen=True, slots=True)
class LabelCalibration:
    """One label. Figures are of the site's images, cross-fitted by patient; `nan` where there was nothing to count."""

    finding: str
    refitted: bool  # slope and offset are the site's; else 1 and 0
    decided: bool  # the thresholds are the site's; else the card's
    slope: float  # calibrated logit = slope * the model's logit + offset
    offset: float
    threshold: float  # on calibrated probabilities: present at and above; NEVER_PRESENT: never
    rule_out: float  # absent below; NEVER_ABSENT: never
    miss_bound: float  # P(called absent | it is there) is kept at or under; nan where the thresholds are the card's
    false_alarm_bound: float  # P(called present | it is not there)
    n: int  # images whose truth is known
    positives: int
    patients_with: int
    patients_without: int
    auc: float
    auc_ci: tuple[float, float]  # 95 %, by patient
    ece_before: float  # expected calibration error of the card's probabilities
    ece_after: float
    sensitivity: float  # at the threshold
    specificity: float
    miss: float  # realised on held-out folds
    false_alarm: float
    unsure: float  # share of images
    why: str  # what was kept or is never said, and why; "" where nothing


@dataclass(frozen=True, slots=True)
class SiteCalibration:
    """What one site's labelled images changed. `labels` are all of the card's, in its order."""

    model_name: str
    model_version: str
    model_sha256: str
    made_on: str  # ISO date
    manifest_sha256: str
    images: int
    patients: int
    weak: str  # why its figures are weak; "" where they are not
    labels: tuple[LabelCalibration, ...]

    @property
    def sha256(self) -> str:
        """Of the file's content, as `to_toml` writes it."""
        return hashlib.sha256(self.to_toml().encode()).hexdigest()

    def to_toml(self) -> str:
        """The file. `read_calibration` gives the same value back."""
        head = {name: value for name, value in asdict(self).items() if name != "labels"}
        lines = ["# Written by `radpipe calibrate`; what it means: docs/calibration.md", f"format = {FORMAT}"]
        lines += [f"{name} = {_toml(value)}" for name, value in head.items()]
        for label in self.labels:
            entry = {name: value for name, value in asdict(label).items() if name != "finding"}
            lines += ["", f"[labels.{_key(label.finding)}]", *(f"{name} = {_toml(value)}" for name, value in entry.items())]
        return "\n".join(lines) + "\n"


MARK = "+site."
"""Stands in the version of a calibrated model, before the calibration's hash (build metadata, semver.org)."""


def read_calibration(path: Path) -> SiteCalibration:
    """Raises WeightsError, with what is wrong, if the file cannot be read or says what cannot be."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"no calibration at {path} ({error.strerror}); make one with `radpipe calibrate`") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WeightsError(f"{path} is not TOML in UTF-8 ({error}); make it again with `radpipe calibrate`") from error
    try:
        if table.pop("format", None) != FORMAT:
            raise ValueError(f"format, which must be {FORMAT}")
        labels = tuple(_label(finding, entry) for finding, entry in table.pop("labels").items())
        return SiteCalibration(**_fields(SiteCalibration, {**table, "labels": labels}, ""))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} lacks or misstates {error}; make it again with `radpipe calibrate`") from error


def write_calibration(calibration: SiteCalibration, path: Path) -> None:
    """Whole or not at all. Raises OSError."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(calibration.to_toml(), encoding="utf-8")
    partial.replace(path)


def apply(probabilities: npt.ArrayLike, calibration: SiteCalibration) -> Floats:
    """The model's probabilities (B, L) as the site's, float32, read-only. Raises ValueError for another number of labels."""
    values = np.asarray(probabilities, np.float64)
    slope, offset = _lines(calibration, values.shape[-1])
    moved = np.where(_changed(calibration), sigmoid(slope * logit(values) + offset), values).astype(np.float32)
    moved.setflags(write=False)
    return moved


def apply_to_prediction(prediction: Prediction, calibration: SiteCalibration) -> Prediction:
    """Probabilities and, where there are any, maps: they move together."""
    probabilities = apply(prediction.probabilities, calibration)
    if not prediction.maps.size:
        return replace(prediction, probabilities=probabilities)
    slope, offset = _lines(calibration, prediction.maps.shape[1])
    maps = (prediction.maps * slope[:, None, None] + offset[:, None, None]).astype(np.float32)
    maps.setflags(write=False)
    return replace(prediction, probabilities=probabilities, maps=maps)


def calibrated_card(card: ModelCard, calibration: SiteCalibration) -> ModelCard:
    """The card with the site's thresholds and figures, and the calibration's hash in its version.

    Raises WeightsError if the calibration was made for another model, or for other labels.
    """
    if is_calibrated(card):
        raise WeightsError(
            f"{card.name} {card.version} is calibrated already; apply the calibration to the model as it came"
        )
    if calibration.model_sha256 != card.sha256:
        raise WeightsError(
            f"the calibration was made for {calibration.model_name} {calibration.model_version} "
            f"({calibration.model_sha256[:12]}), the model here is {card.identity}; run `radpipe calibrate` with this "
            "model, or take the setting `calibration` out"
        )
    if tuple(label.finding for label in calibration.labels) != tuple(label.finding for label in card.labels):
        raise WeightsError("the calibration has other labels than the card; run `radpipe calibrate` again")
    labels = tuple(_calibrated(label, own) for label, own in zip(card.labels, calibration.labels, strict=True))
    count = sum(own.decided for own in calibration.labels)
    said = (
        f"Calibrated on {calibration.made_on} with {calibration.images} labelled images of {calibration.patients} patients "
        f"of one site: {count} of {len(labels)} labels have its thresholds, the others the model's own."
    )
    limits = (*card.limits, said, *([f"That calibration is weak: {calibration.weak}."] if calibration.weak else []))
    version = f"{card.version}{MARK}{calibration.sha256[:12]}"
    return replace(card, version=version, labels=labels, limits=limits)


def is_calibrated(card: ModelCard) -> bool:
    """Whether `calibrated_card` made it."""
    return MARK in card.version


class CalibratedModel:
    """A model that answers as its site calibrated it. An `ImageModel`."""

    def __init__(self, model: ImageModel, calibration: SiteCalibration) -> None:
        """`model` as it came, or opened with the card that this calibration made: its probabilities are moved here, once.
        Raises WeightsError as `calibrated_card`."""
        own = model.card.version.endswith(f"{MARK}{calibration.sha256[:12]}")
        self._model, self._calibration = model, calibration
        self._card = model.card if own else calibrated_card(model.card, calibration)

    @property
    def card(self) -> ModelCard:
        """With the site's thresholds."""
        return self._card

    @property
    def backend(self) -> str:
        """The model's."""
        return self._model.backend

    @property
    def provider(self) -> str:
        """The model's."""
        return self._model.provider

    def predict(self, batch: Floats, measures: Floats | None = None) -> Prediction:
        """As ports.ImageModel."""
        answer = self._model.predict(batch) if measures is None else self._model.predict(batch, measures)
        return apply_to_prediction(answer, self._calibration)


def _calibrated(label: Label, own: LabelCalibration) -> Label:
    if not own.decided:
        return label
    note = f"; {own.why}" if own.why else ""
    return replace(
        label,
        threshold=own.threshold,
        rule_out=own.rule_out,
        # what nobody had set a threshold of is stated only if it is better than chance here
        assessed=own.slope > 0 and (label.assessed or (not label.threshold_set and own.auc_ci[0] > 0.5)),
        threshold_set=True,
        auc=own.auc,
        auc_ci=own.auc_ci,
        positives=own.positives,
        n=own.n,
        sensitivity=own.sensitivity,
        specificity=own.specificity,
        repeatability_logit=label.repeatability_logit * own.slope,
        average_precision=None,
        calibration_error=own.ece_after,
        miss_bound=own.miss_bound,
        false_alarm_bound=own.false_alarm_bound,
        source=f"this site's calibration, n = {own.n} ({own.positives} positive), cross-fitted by patient: at most "
        f"{own.miss_bound:.0%} of those with it called absent ({own.miss:.0%} were), at most {own.false_alarm_bound:.0%} of "
        f"those without it called present ({own.false_alarm:.0%} were); unsure {own.unsure:.0%}; ECE {own.ece_before:.3f} "
        f"before, {own.ece_after:.3f} after{note}",
    )


def _lines(calibration: SiteCalibration, labels: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if labels != len(calibration.labels):
        raise ValueError(f"{labels} labels, but the calibration is of {len(calibration.labels)}")
    return np.array([own.slope for own in calibration.labels]), np.array([own.offset for own in calibration.labels])


def _changed(calibration: SiteCalibration) -> npt.NDArray[np.bool_]:
    return np.array([own.refitted for own in calibration.labels])


def _label(finding: str, entry: dict[str, Any]) -> LabelCalibration:
    label = LabelCalibration(**_fields(LabelCalibration, {"finding": finding, **entry}, f"labels.{finding}."))
    for name, right in (
        ("slope", label.slope >= 0 and math.isfinite(label.slope)),
        ("offset", math.isfinite(label.offset)),
        ("rule_out", not label.decided or NEVER_ABSENT <= label.rule_out <= NEVER_PRESENT),
        ("threshold", not label.decided or 0 < label.threshold <= NEVER_PRESENT),
        ("threshold, which lies below rule_out", not label.rule_out > label.threshold),
        ("refitted", label.refitted or (label.slope, label.offset) == (1.0, 0.0)),
    ):
        if not right:
            raise ValueError(f"labels.{finding}.{name}")
    return label


_KINDS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: type(value) is int and value >= 0,
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "tuple[float, float]": lambda value: isinstance(value, list) and len(value) == 2 and all(map(_KINDS["float"], value)),
    "tuple[LabelCalibration, ...]": lambda value: isinstance(value, tuple),
}


def _fields(kind: type[LabelCalibration] | type[SiteCalibration], table: dict[str, Any], where: str) -> dict[str, Any]:
    """The fields of `kind` from a table that must have its keys and no others."""
    known = {field.name: str(field.type) for field in fields(kind)}
    entry: dict[str, Any] = {}
    for name in {*known, *table}:
        if name not in known or name not in table or not _KINDS[known[name]](table[name]):
            raise ValueError(f"{where}{name}")
        value = table[name]
        if known[name] == "float":
            value = float(value)
        entry[name] = tuple(map(float, value)) if isinstance(value, list) else value
    return entry


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return repr(float(value))  # all its digits: a rounded threshold could move a study across
    return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML basic string
