"""`radpipe evaluate images MANIFEST.csv`: how a model does on images whose truth somebody has written down.

The manifest is a CSV with a header: `file` (DICOM, PNG or JPEG, relative to the manifest), one column a finding with 0, 1 or
nothing where it is not known (radpipe's names or those of ChestX-ray14), and, if there are any, `patient`, `view`, `sex`,
`age`. Other columns are left alone.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.errors import InputError, UsageError
from radpipe.evaluate.metrics import (
    OperatingPoint,
    auc,
    auc_interval,
    average_precision,
    brier,
    calibration_error,
    operating_point,
    patient_weights,
    wilson,
)
from radpipe.ports import ImageModel
from radpipe.preprocess import model_input

Floats = npt.NDArray[np.float32]

ALIASES = {
    "effusion": "pleural_effusion",
    "infiltration": "lung_opacity",
    "emphysema": "hyperinflation",
    "fibrosis": "scarring",
    "hernia": "hiatal_hernia",
}
"""ChestX-ray14's names of findings that radpipe calls otherwise."""

BATCH = 8


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says. N images; truth is nan where it is not known."""

    files: tuple[Path, ...]
    findings: tuple[str, ...]
    truth: npt.NDArray[np.float64]  # (N, findings)
    patients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FindingEvaluation:
    """One finding of the manifest that the model's card has. Intervals are 95 %."""

    finding: str
    n: int
    positives: int
    auc: float
    auc_ci: tuple[float, float]  # bootstrap over patients
    average_precision: float  # at this manifest's prevalence
    calibration_error: float
    brier: float
    at_threshold: OperatingPoint  # at the card's threshold
    sensitivity_ci: tuple[float, float]
    specificity_ci: tuple[float, float]
    unsure: float  # share of images between rule-out and threshold


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `radpipe evaluate images` prints."""

    model: str
    backend: str
    provider: str
    images: int
    patients: int
    out_of_distribution: int
    mean_auc: float
    findings: tuple[FindingEvaluation, ...]
    set_aside: tuple[tuple[str, str], ...]  # (file, reason)

    def to_json(self) -> dict[str, Any]:
        """As nested dicts, for `--json`."""
        return asdict(self)


def read_manifest(path: Path) -> Manifest:
    """Raises UsageError if there is no column `file`, none of a finding, or a value other than 0, 1 and nothing."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the manifest {path.name} cannot be read ({error}); give a CSV file with a header") from error
    if not rows or "file" not in rows[0]:
        raise UsageError(f"the manifest {path.name} has no column `file`, or no row; see `radpipe evaluate images --help`")
    columns = [column for column in rows[0] if column and _finding(column)]
    if not columns:
        raise UsageError(f"the manifest {path.name} has no column of a finding, such as pleural_effusion")
    truth = np.array([[_truth(row[column], path, column) for column in columns] for row in rows])
    names = [_finding(column) for column in columns]
    patients = tuple(row.get("patient") or row["file"] for row in rows)
    return Manifest(tuple(path.parent / row["file"] for row in rows), tuple(names), truth, patients)


def evaluate_images(
    model: ImageModel, manifest: Manifest, read: Callable[[Path], Floats], *, samples: int = 1000, seed: int = 0
) -> Evaluation:
    """Read every image of the manifest and compare.

    `read` gives (rows, columns) presentation values, bright = dense; where it raises InputError the image is set aside. An
    image that is out of distribution is counted and still evaluated. Raises UsageError if no image could be read.
    """
    set_aside: list[tuple[str, str]] = []
    kept: list[int] = []
    probabilities, distances = [], []
    for numbers, batch in _batches(manifest.files, read, model, set_aside):
        prediction = model.predict(batch)
        kept += numbers
        probabilities.append(prediction.probabilities)
        distances.append(prediction.distance)
    if not kept:
        raise UsageError(
            "no image of the manifest could be read; the first reason: " + (set_aside or [("", "no row")])[0][1]
        )
    scores, truth = np.concatenate(probabilities), manifest.truth[kept]
    patients = np.array(manifest.patients)[kept]
    weights = patient_weights(patients, samples, seed)
    findings = []
    for index, label in enumerate(model.card.labels):
        if label.finding not in manifest.findings:
            continue
        column = truth[:, manifest.findings.index(label.finding)]
        known = np.isfinite(column)
        if known.any():
            score = scores[known, index].astype(np.float64)
            findings.append(
                _evaluate(label.finding, score, column[known] == 1, weights[:, known], label.threshold, label.rule_out)
            )
    named = [finding.auc for finding in findings if finding.finding != "abnormal" and np.isfinite(finding.auc)]
    return Evaluation(
        model=model.card.identity,
        backend=model.backend,
        provider=model.provider,
        images=len(kept),
        patients=len(set(patients)),
        out_of_distribution=int((np.concatenate(distances) > model.card.distance_limit).sum()),
        mean_auc=float(np.mean(named)) if named else float("nan"),
        findings=tuple(findings),
        set_aside=tuple(set_aside),
    )


def _evaluate(
    finding: str,
    score: npt.NDArray[np.float64],
    truth: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64],
    threshold: float,
    rule_out: float,
) -> FindingEvaluation:
    point = operating_point(score, truth, threshold)
    return FindingEvaluation(
        finding=finding,
        n=len(truth),
        positives=int(truth.sum()),
        auc=auc(score, truth),
        auc_ci=auc_interval(score, truth, weights),
        average_precision=average_precision(score, truth),
        calibration_error=calibration_error(score, truth),
        brier=brier(score, truth),
        at_threshold=point,
        sensitivity_ci=wilson(point.true_positives, point.positives),
        specificity_ci=wilson(point.true_negatives, point.negatives),
        unsure=float(((score >= rule_out) & (score < threshold)).mean()),
    )


def _batches(
    files: Sequence[Path], read: Callable[[Path], Floats], model: ImageModel, set_aside: list[tuple[str, str]]
) -> Iterator[tuple[list[int], Floats]]:
    numbers: list[int] = []
    prepared: list[Floats] = []
    for number, file in enumerate(files):
        try:
            image = model_input(read(file), model.card.input)[0]
        except InputError as error:
            set_aside.append((file.name, str(error)))
            continue
        numbers.append(number)
        prepared.append(image)
        if len(prepared) == BATCH:
            yield numbers, np.stack(prepared)
            numbers, prepared = [], []
    if prepared:
        yield numbers, np.stack(prepared)


def _finding(column: str) -> str:
    """The finding that a column is of, or ""."""
    from radpipe.codes import FINDINGS

    name = column.strip().lower().replace(" ", "_")
    name = ALIASES.get(name, name)
    return name if name in FINDINGS else ""


def _truth(text: str | None, path: Path, column: str) -> float:
    if text is None or not text.strip():
        return float("nan")
    if text.strip() not in ("0", "1", "0.0", "1.0"):
        raise UsageError(f"the manifest {path.name} has {text!r} in the column {column}; write 0, 1 or nothing")
    return float(text)
