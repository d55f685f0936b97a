"""`radpipe evaluate images MANIFEST.csv`: how a model does on images whose truth somebody has written down.

Images are read in small batches and only their scores are kept, so memory grows by a few hundred bytes an image. The page
of errors (`images_page`) looks at its few images again.

Axes: N images of the manifest, K of them read, L labels of the card, F findings that manifest and card share.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe import sanity
from radpipe.card import Label, ModelCard
from radpipe.errors import InputError, UsageError
from radpipe.evaluate.figures import (
    FindingEvaluation,
    Interval,
    SubgroupEvaluation,
    finding_evaluations,
    subgroup_evaluation,
)
from radpipe.evaluate.manifest import NO_FINDING, Manifest, read_manifest
from radpipe.ports import ImageModel, Prediction
from radpipe.preprocess import model_input

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Read = Callable[[Path], Floats]
"""(rows, columns) presentation values, bright = dense. Raises InputError."""

BATCH = 8

__all__ = ["NO_FINDING", "Answers", "Evaluation", "Manifest", "evaluate", "evaluate_images", "read_answers", "read_manifest"]


@dataclass(frozen=True, slots=True)
class Answers:
    """What the model said of every image that could be read. Arrays are read-only."""

    card: ModelCard
    backend: str
    provider: str
    rows: Integers  # (K,) which image of the manifest
    probabilities: Floats  # (K, L)
    why_not: tuple[str | None, ...]  # (K,) why the product would not read it: out of distribution; None where it would
    views: npt.NDArray[np.str_]  # (K,) as the model tells them; "" where it does not
    set_aside: tuple[tuple[str, str], ...]  # (file, reason)

    @property
    def far(self) -> npt.NDArray[np.bool_]:
        """(K,) out of distribution."""
        return np.array([why is not None for why in self.why_not], bool)


@dataclass(frozen=True, slots=True)
class Shared:
    """The findings that manifest and card share, of the images that were read."""

    labels: tuple[Label, ...]  # F
    scores: Doubles  # (K, F)
    truth: Doubles  # (K, F), nan where not known
    patients: npt.NDArray[np.str_]  # (K,)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `radpipe evaluate images` prints. Intervals are 95 %, by patient."""

    model: str
    model_sha256: str
    backend: str
    provider: str
    manifest_sha256: str
    images: int
    patients: int
    out_of_distribution: int
    unlike: tuple[tuple[str, str], ...]  # (file, why) of those
    mean_auc: float  # over the findings but "abnormal"
    mean_auc_ci: Interval
    findings: tuple[FindingEvaluation, ...]
    subgroups: tuple[SubgroupEvaluation, ...]
    not_compared: tuple[str, ...]  # findings of the manifest that the card has not
    notes: tuple[str, ...]  # what must be known to read the figures
    set_aside: tuple[tuple[str, str], ...]  # (file, reason)

    def to_json(self) -> dict[str, Any]:
        """As nested dicts, for `--json`; `bounds_hold` is null where no bound is stated."""
        record = asdict(self)
        for entry, finding in zip(record["findings"], self.findings, strict=True):
            entry["bounds_hold"] = finding.bounds_hold
        return record


def evaluate_images(model: ImageModel, manifest: Manifest, read: Read, *, samples: int = 1000, seed: int = 0) -> Evaluation:
    """Read every image of the manifest and compare. Raises UsageError if no image could be read."""
    return evaluate(read_answers(model, manifest, read), manifest, samples=samples, seed=seed)


def read_answers(
    model: ImageModel, manifest: Manifest, read: Read, *, progress: Callable[[int], None] | None = None
) -> Answers:
    """The model's answer for each image, a batch at a time. An image that `read` raises InputError for is set aside; one
    that is out of distribution is marked. `progress` is told how many more images were looked at.

    Raises UsageError if no image could be read.
    """
    set_aside: list[tuple[str, str]] = []
    rows: list[int] = []
    probabilities, views = [], []
    why_not: list[str | None] = []
    for numbers, batch in _batches(model, manifest, read, set_aside, progress):
        prediction = model.predict(batch)
        rows += numbers
        probabilities.append(prediction.probabilities)
        why_not += [sanity.why_not(prediction, index, model.card) for index in range(len(numbers))]
        views += _views(prediction, model.card)
    if not rows:
        raise UsageError(
            "no image of the manifest could be read; the first reason: " + (set_aside or [("", "no row")])[0][1]
        )
    return Answers(
        card=model.card,
        backend=model.backend,
        provider=model.provider,
        rows=_kept(np.array(rows, np.int64)),
        probabilities=_kept(np.concatenate(probabilities)),
        why_not=tuple(why_not),
        views=_kept(np.array(views)),
        set_aside=tuple(set_aside),
    )


def shared(answers: Answers, manifest: Manifest) -> Shared:
    """Scores beside truth. Raises UsageError if manifest and card have no finding in common."""
    places = [i for i, label in enumerate(answers.card.labels) if label.finding in manifest.findings]
    if not places:
        raise UsageError(
            f"{answers.card.name} reads none of the manifest's findings ({', '.join(manifest.findings)}); "
            f"it reads {', '.join(label.finding for label in answers.card.labels)}"
        )
    labels = tuple(answers.card.labels[i] for i in places)
    columns = [manifest.findings.index(label.finding) for label in labels]
    return Shared(
        labels=labels,
        scores=answers.probabilities[:, places].astype(np.float64),
        truth=manifest.truth[answers.rows][:, columns],
        patients=manifest.patients[answers.rows],
    )


def evaluate(
    answers: Answers,
    manifest: Manifest,
    *,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Every figure. `bounds`: the shares of missed findings and of false alarms that were promised, by finding; the card's
    if not given.

    Images out of distribution count in all figures. Raises UsageError as `shared`.
    """
    both = shared(answers, manifest)
    if bounds is None:
        bounds = {
            label.finding: (label.miss_bound, label.false_alarm_bound)
            for label in both.labels
            if label.miss_bound is not None and label.false_alarm_bound is not None
        }
    findings, means = finding_evaluations(
        both.scores, both.truth, both.labels, both.patients, bounds, samples=samples, seed=seed
    )
    card, far = answers.card, answers.far
    return Evaluation(
        model=card.identity,
        model_sha256=card.sha256,
        backend=answers.backend,
        provider=answers.provider,
        manifest_sha256=manifest.sha256,
        images=len(answers.rows),
        patients=len(np.unique(both.patients)),
        out_of_distribution=int(far.sum()),
        unlike=tuple(
            (manifest.files[row], why) for row, why in zip(answers.rows, answers.why_not, strict=True) if why is not None
        ),
        mean_auc=means.auc,
        mean_auc_ci=means.auc_ci,
        findings=findings,
        subgroups=_subgroups(answers, manifest, both, seed),
        not_compared=tuple(name for name in manifest.findings if name not in {label.finding for label in both.labels}),
        notes=_notes(answers, manifest, both),
        set_aside=answers.set_aside,
    )


def _subgroups(answers: Answers, manifest: Manifest, both: Shared, seed: int) -> tuple[SubgroupEvaluation, ...]:
    columns = [(name, values[answers.rows]) for name, values in manifest.attributes]
    if "view" not in dict(columns):
        columns.append(("view, as the model tells it", answers.views))
    found = []
    for column, values in columns:
        names = [str(value) for value in np.unique(values) if value]
        for value in names if len(names) > 1 else ():
            inside = values == value
            found.append(
                subgroup_evaluation(
                    column,
                    value,
                    both.scores[inside],
                    both.truth[inside],
                    both.labels,
                    both.patients[inside],
                    answers.far[inside],
                    seed=seed,
                )
            )
    return tuple(found)


def _notes(answers: Answers, manifest: Manifest, both: Shared) -> tuple[str, ...]:
    notes = []
    learnt = _learnt_from(answers.card)
    known = sum(Path(manifest.files[number]).name in learnt for number in answers.rows)
    if known:
        notes.append(
            f"{known} of the images have the file names of images that the model learnt from: the figures flatter it. Those "
            "on its card are of held-out patients."
        )
    if not manifest.has_patients:
        notes.append(
            "The manifest has no column `patient`: each image counts as a patient of its own, and where patients have "
            "several, the intervals are too narrow."
        )
    if manifest.reader_normal:
        notes.append(
            f"{manifest.reader_normal} images are marked reader_normal: "
            + (
                "they count as normal, whatever their other columns say."
                if manifest.readers_believed
                else "their other columns were believed; --believe-readers counts them as normal."
            )
        )
    few = [
        label.finding
        for i, label in enumerate(both.labels)
        if min(int((both.truth[:, i] == 1).sum()), int((both.truth[:, i] == 0).sum())) < 20
    ]
    if few:
        notes.append(f"Fewer than 20 images with or without it, so hardly a figure: {', '.join(few)}.")
    unset = [label.finding for label in both.labels if not label.threshold_set]
    if unset:
        notes.append(f"Nobody has set thresholds of {', '.join(unset)} yet: always unsure; `radpipe calibrate` sets them.")
    notes.append("Average precision, calibration and unsure shares depend on how common a finding is among these images.")
    return tuple(notes)


def _learnt_from(card: ModelCard) -> frozenset[str]:
    """File names in the training record beside the weights; none where there is no record."""
    try:
        with (card.directory / "record" / "manifest.csv").open(newline="", encoding="utf-8") as stream:
            return frozenset(Path(row["file"]).name for row in csv.DictReader(stream) if row.get("file"))
    except (OSError, UnicodeDecodeError, csv.Error):
        return frozenset()


def _batches(
    model: ImageModel,
    manifest: Manifest,
    read: Read,
    set_aside: list[tuple[str, str]],
    progress: Callable[[int], None] | None,
) -> Iterator[tuple[list[int], Floats]]:
    numbers: list[int] = []
    prepared: list[Floats] = []
    for number, file in enumerate(manifest.files):
        try:
            image = model_input(read(manifest.path(number)), model.card.input)[0]
        except InputError as error:
            set_aside.append((file, str(error)))
        else:
            numbers.append(number)
            prepared.append(image)
        if progress:
            progress(1)
        if len(prepared) == BATCH:
            yield numbers, np.stack(prepared)
            numbers, prepared = [], []
    if prepared:
        yield numbers, np.stack(prepared)


def _views(prediction: Prediction, card: ModelCard) -> list[str]:
    """The likeliest view of each image of a batch."""
    if not prediction.views.shape[1]:
        return [""] * len(prediction.probabilities)
    return [card.view_labels[number] for number in prediction.views.argmax(axis=1)]


def _kept(array: Any) -> Any:
    array.setflags(write=False)
    return array


def plain(value: Any) -> Any:
    """For JSON: what is not a number (nan), which JSON does not know, as null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
