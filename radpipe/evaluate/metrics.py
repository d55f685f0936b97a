"""Discrimination, calibration and operating points of one finding, with intervals by a bootstrap over patients.

A patient's images are no independent witnesses, so whole patients are drawn, with replacement.

Axes: N images, R bootstrap samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radpipe.calibration.probability import BINS, reliability, wilson

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a threshold does: at and above it the finding is called."""

    threshold: float
    sensitivity: float
    specificity: float
    true_positives: int
    positives: int
    true_negatives: int
    negatives: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """Images in the order of their scores, sorted once, so that each of a thousand bootstrap samples costs no sorting."""

    order: Integers  # (N,) images, lowest score first
    ends: Integers  # place in `order` of the last image of each run of equal scores
    positive: Floats  # (N,) 1 or 0, in that order

    @classmethod
    def of(cls, scores: npt.ArrayLike, truth: npt.ArrayLike) -> Ranking:
        """Of scores (N,) and truth (N,)."""
        values = np.asarray(scores, np.float64)
        order = np.argsort(values, kind="stable")
        ends = np.flatnonzero(np.append(np.diff(values[order]) > 0, True)) if len(values) else order
        return cls(order, ends, np.asarray(truth, bool)[order].astype(np.float64))

    def auc(self, weights: npt.ArrayLike | None = None) -> float:
        """Area under the ROC curve; ties count half. nan unless both classes are there."""
        up, down = self._classes(weights)
        total = up.sum() * down.sum()
        return float((up * (np.cumsum(down) - down / 2)).sum() / total) if total > 0 else NAN

    def average_precision(self, weights: npt.ArrayLike | None = None) -> float:
        """Area under the steps of the precision-recall curve. nan without positives."""
        up, down = (part[::-1] for part in self._classes(weights))
        if not up.sum() > 0:
            return NAN
        found = np.cumsum(up)
        called = found + np.cumsum(down)
        return float((up * found / np.where(called > 0, called, 1)).sum() / up.sum())

    def roc(self) -> tuple[Floats, Floats]:
        """False-positive and true-positive rate, from (0, 0) to (1, 1), a point for each score."""
        up, down = (np.cumsum(part[::-1]) for part in self._classes(None))
        return np.append(0.0, down / max(down[-1], 1)), np.append(0.0, up / max(up[-1], 1))

    def _classes(self, weights: npt.ArrayLike | None) -> tuple[Floats, Floats]:
        """Weight of the positives and of the negatives of each distinct score, lowest first."""
        weight = np.ones(len(self.order)) if weights is None else np.asarray(weights, np.float64)[self.order]
        hits = weight * self.positive
        up = np.diff(np.cumsum(hits)[self.ends], prepend=0.0)
        down = np.diff(np.cumsum(weight - hits)[self.ends], prepend=0.0)
        return np.asarray(up), np.asarray(down)


def auc(scores: npt.ArrayLike, truth: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Area under the ROC curve of scores (N,) for truth (N,); ties count half. nan unless both classes are there.

    `weights` (N,) counts an image so many times, 0 leaves it out.
    """
    return Ranking.of(scores, truth).auc(weights)


def stratified_auc(
    scores: npt.ArrayLike, truth: npt.ArrayLike, strata: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """AUC over pairs of images of the same stratum (N,): what is left when strata cannot be told apart by their scores."""
    values, positive, groups = np.asarray(scores, np.float64), np.asarray(truth, bool), np.asarray(strata)
    weight = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    won = pairs = 0.0
    for group in np.unique(groups):
        inside = groups == group
        count = float(weight[inside & positive].sum() * weight[inside & ~positive].sum())
        if count > 0:
            won += auc(values[inside], positive[inside], weight[inside]) * count
            pairs += count
    return won / pairs if pairs else NAN


def patient_weights(patients: npt.ArrayLike, samples: int, seed: int) -> Floats:
    """(R, N): how often each image is in each of `samples` bootstrap samples of patients."""
    _, index = np.unique(np.asarray(patients), return_inverse=True)
    count = int(index.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=samples)
    return np.asarray(drawn[:, index], np.float64)


def interval(values: npt.ArrayLike) -> tuple[float, float]:
    """2.5th and 97.5th percentile of the values that are numbers; (nan, nan) if there are none."""
    usable = np.asarray(values, np.float64)
    usable = usable[np.isfinite(usable)]
    if usable.size == 0:
        return NAN, NAN
    low, high = np.percentile(usable, (2.5, 97.5))
    return float(low), float(high)


def auc_interval(scores: npt.ArrayLike, truth: npt.ArrayLike, weights: Floats) -> tuple[float, float]:
    """95 % interval of the AUC over bootstrap `weights` (R, N) as `patient_weights` gives them."""
    ranking = Ranking.of(scores, truth)
    return interval([ranking.auc(row) for row in weights])


def average_precision(scores: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Mean precision over the positives. Depends on the prevalence of the images at hand. nan without positives."""
    return Ranking.of(scores, truth).average_precision()


def brier(probabilities: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Mean squared error of the probabilities."""
    return float(np.mean((np.asarray(probabilities, np.float64) - np.asarray(truth, np.float64)) ** 2))


def calibration_curve(
    probabilities: npt.ArrayLike, truth: npt.ArrayLike, bins: int = BINS
) -> list[tuple[float, float, int]]:
    """(mean probability, fraction positive, images) in groups of about equal size, lowest first; at most `bins`."""
    return [(one.mean, one.share, one.n) for one in reliability(probabilities, truth, bins)]


def calibration_error(probabilities: npt.ArrayLike, truth: npt.ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error over those groups: the plug-in value. `calibration.miscalibration` gives more."""
    curve = calibration_curve(probabilities, truth, bins)
    return sum(abs(mean - fraction) * count for mean, fraction, count in curve) / max(sum(c for _, _, c in curve), 1)


def operating_point(scores: npt.ArrayLike, truth: npt.ArrayLike, threshold: float) -> OperatingPoint:
    """Sensitivity and specificity of calling the finding at and above `threshold`; nan for a class that is not there."""
    called, positive = np.asarray(scores, np.float64) >= threshold, np.asarray(truth, bool)
    hit, quiet = int((called & positive).sum()), int((~called & ~positive).sum())
    positives, negatives = int(positive.sum()), int((~positive).sum())
    return OperatingPoint(
        threshold=threshold,
        sensitivity=hit / positives if positives else NAN,
        specificity=quiet / negatives if negatives else NAN,
        true_positives=hit,
        positives=positives,
        true_negatives=quiet,
        negatives=negatives,
    )


def threshold_at_specificity(scores: npt.ArrayLike, truth: npt.ArrayLike, specificity: float) -> float:
    """The lowest threshold with at least this specificity: midway between two neighbouring scores of negatives."""
    negatives = np.sort(np.asarray(scores, np.float64)[~np.asarray(truth, bool)])
    if negatives.size == 0:
        raise ValueError("no image without the finding: a specificity cannot be set")
    index = min(int(np.ceil(specificity * negatives.size)), negatives.size)
    below = negatives[max(index - 1, 0)]
    higher = negatives[negatives > below]
    above = higher[0] if higher.size else np.nextafter(below, np.inf)
    middle = (below + above) / 2
    return float(middle if middle > below else above)


__all__ = [
    "NAN", "OperatingPoint", "Ranking", "auc", "auc_interval", "average_precision", "brier", "calibration_curve",
    "calibration_error", "interval", "operating_point", "patient_weights", "stratified_auc",
    "threshold_at_specificity", "wilson",
]  # fmt: skip
