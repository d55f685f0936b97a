"""A model's card: what it reads, what it says, how well, and what it must not be used for. Read from `card.toml`.

The card is the only place for labels, codes, thresholds and preprocessing; both backends and the report follow it.
After Mitchell et al., Model Cards for Model Reporting (2019).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from radpipe.codes import Code
from radpipe.errors import WeightsError

Card = TypeVar("Card", bound="CardHead")

READER = "reader"
"""The role of a model that states findings of an image. Folders with another role (anatomy, text, segmenter) have cards of
their own."""

FITS = ("stretch", "crop", "pad")


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
    threshold_set: bool = True  # False: nobody has set one yet; `assessed` is then False, see `radpipe calibrate`
    average_precision: float | None = None
    calibration_error: float | None = None  # expected calibration error (ECE), cross-validated
    miss_bound: float | None = None  # conformal: at most this share of those who have it is called absent
    false_alarm_bound: float | None = None  # conformal: at most this share of those who have it not is called present


@dataclass(frozen=True, slots=True)
class Subgroup:
    """How well the model does for some of its patients."""

    name: str
    n: int
    mean_auc: float | None  # over the findings with enough positives; None where there are none
    abnormal_auc: float | None


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
    patient_age_years: tuple[int, int]  # studied population; who is younger is refused, who is older is said
    fit: str = "stretch"  # how an image that is not of the frame's shape is laid into it: stretch, crop or pad


@dataclass(frozen=True, slots=True)
class CardHead:
    """What every model's card says, whatever its role. `directory` holds the files that `files` names with their sha256."""

    name: str
    version: str
    summary: str
    strength: str  # one honest sentence: how weak or strong
    licence: str
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


@dataclass(frozen=True, slots=True)
class ModelCard(CardHead):
    """The whole card of a reader."""

    training_data: str
    population: str
    limits: tuple[str, ...]
    not_covered: tuple[str, ...]  # what a reader would expect and this model does not assess, in words
    input: InputSpec
    labels: tuple[Label, ...]  # in the order of the network's output
    view_labels: tuple[str, ...]  # of the network's view head, in order
    distance_limit: float | None  # out of distribution above; None where the model does not say
    measures: tuple[str, ...] = ()  # what the network wants to know of the lungs and the heart (`anatomy`), in order
    lungs: str = ""  # the segmenter that they are taken with: a folder beside this one
    orientation_labels: tuple[str, ...] = ()  # of the network's orientation head, in order
    role: str = READER
    intended_use: tuple[str, ...] = ()
    excluded_use: tuple[str, ...] = ()
    known_failures: tuple[str, ...] = ()
    subgroups: tuple[Subgroup, ...] = ()
    network: str = ""  # which network the weights are of, where the file of weights does not say; see models.networks
    origin: str = ""  # for a guest: what it was made of, by name and sha256

    @property
    def sees(self) -> bool:
        """Whether it says by itself which view an image is and whether it is one to be read; else another must."""
        return bool(self.view_labels) and self.distance_limit is not None

    def label(self, finding: str) -> Label:
        """Raises KeyError if the model has no such label."""
        for label in self.labels:
            if label.finding == finding:
                return label
        raise KeyError(finding)


def read_card(path: Path) -> ModelCard:
    """Read `card.toml` of a reader. Raises WeightsError if it is missing, not UTF-8, not TOML, lacks a field or is another
    kind of model's."""
    table = read_table(path)
    if table.get("role", READER) != READER:
        raise WeightsError(f"{path.parent.name} is a model of the role {table['role']!r}; it does not read images by itself")
    return _parsed(table, path, _card, "model-card.md")


def read_card_as(
    path: Path, role: str, what: str, parse: Callable[[dict[str, Any], Path], Card], page: str, missing: str = ""
) -> Card:
    """Read `card.toml` of a model of another role, with `parse(table, directory)`. `what` is the role in words, `page` the
    one under docs/ that says what belongs into the card. Raises WeightsError as `read_card`; with `missing` for no file."""
    table = read_table(path, missing)
    if table.get("role", READER) != role:
        raise WeightsError(f"{path} is the card of a model with role {table.get('role', READER)!r}, not of {what}")
    return _parsed(table, path, parse, page)


def head_of(table: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The fields of `CardHead` by name. Raises KeyError or AttributeError."""
    return {
        **{key: table[key] for key in ("name", "version", "summary", "strength", "licence")},
        "files": tuple((str(name), str(digest)) for name, digest in table["files"].items()),
        "directory": directory,
    }


def _parsed(table: dict[str, Any], path: Path, parse: Callable[[dict[str, Any], Path], Card], page: str) -> Card:
    try:
        return parse(table, path.parent)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} lacks or misstates {error}; see docs/{page} for the format") from error


def read_table(path: Path, missing: str = "") -> dict[str, Any]:
    """A card of any role as it stands in its file. Raises WeightsError if it is missing, not UTF-8 or not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        missing = missing or f"no model card at {path}; name a folder under weights/ that has a card.toml"
        raise WeightsError(missing) from error
    except UnicodeDecodeError as error:
        raise WeightsError(f"{path} is not UTF-8 text (byte {error.start}); restore it from the repository") from error
    except tomllib.TOMLDecodeError as error:
        raise WeightsError(f"{path} is not valid TOML ({error}); restore it from the repository") from error


def _card(table: dict[str, Any], directory: Path) -> ModelCard:
    spec = table["input"]
    low, high = spec["percentiles"]
    youngest, oldest = spec["patient_age_years"]
    limit = table.get("distribution", {}).get("distance_limit")
    fit = spec.get("fit", "stretch")
    if fit not in FITS:
        raise ValueError(f"input.fit: {fit!r} is none of {', '.join(FITS)}")
    return ModelCard(
        **head_of(table, directory),
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
            fit=fit,
        ),
        labels=tuple(_label(finding, entry) for finding, entry in table["labels"].items()),
        view_labels=tuple(table.get("view", {}).get("labels", ())),
        distance_limit=None if limit is None else float(limit),
        measures=tuple(table.get("anatomy", {}).get("measures", ())),
        lungs=table.get("anatomy", {}).get("lungs", ""),
        orientation_labels=tuple(table.get("orientation", {}).get("labels", ())),
        intended_use=_words(table, "intended_use"),
        excluded_use=_words(table, "excluded_use"),
        known_failures=_words(table, "known_failures"),
        subgroups=tuple(_subgroup(name, entry) for name, entry in table.get("subgroups", {}).items()),
        network=table.get("network", {}).get("kind", ""),
        origin=table.get("origin", ""),
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
        threshold_set=bool(entry.get("threshold_set", True)),
        average_precision=_number(entry, "average_precision"),
        calibration_error=_number(entry, "calibration_error"),
        miss_bound=_number(entry, "miss_bound"),
        false_alarm_bound=_number(entry, "false_alarm_bound"),
    )


def _subgroup(name: str, entry: dict[str, Any]) -> Subgroup:
    return Subgroup(name, int(entry["n"]), _number(entry, "mean_auc"), _number(entry, "abnormal_auc"))


def _words(table: dict[str, Any], key: str) -> tuple[str, ...]:
    """A list of sentences; one sentence alone counts as a list of one."""
    found = table.get(key, ())
    return (found,) if isinstance(found, str) else tuple(found)


def _number(entry: dict[str, Any], key: str) -> float | None:
    return None if key not in entry else float(entry[key])
