"""Scores to probabilities, and how far probabilities are from what happens.

Platt's sigmoid (Platt 1999, with his smoothed targets) has two parameters, keeps the order of the scores and folds into a
network's last layer: the choice for hundreds of images. Isotonic regression (Zadrozny and Elkan 2002) is free to take any
rising shape; it needs about a thousand images to be better (Niculescu-Mizil and Caruana, ICML 2005) and makes ties, so it
is here to compare with, not to ship. Either is judged on patients that it did not see (`cross_fitted`).

The expected calibration error (ECE) is the mean distance, over groups of images of equal size and similar probability,
between the mean probability and the share of positives. Groups of equal size, because equal widths leave most groups empty
when a finding is rare (Nixon et al. 2019); equal probabilities are never split between groups. The plug-in value is too
high by chance alone, since each group's share is a sample: `floor` is what a perfectly calibrated model would get here, and
`debiased` takes the expected excess off (Kumar, Liang, Ma, NeurIPS 2019, for the absolute error; Broecker and Smith 2007
for the floor; Roelofs et al., AISTATS 2022, on the bias). The plug-in value is what cards state: it never flatters.

Axes: N images, R bootstrap samples, B groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Calibrator = Callable[[Doubles], Doubles]
"""Scores (N,) to probabilities (N,)."""

BINS = 10
LEAST_PROBABILITY = 1e-6
"""Probabilities are kept this far from 0 and 1 before a logit is taken, as in `compare.logit`."""


@dataclass(frozen=True, slots=True)
class Platt:
    """probability = sigmoid(slope * score + offset). The slope is never negative."""

    slope: float
    offset: float

    def __call__(self, scores: Doubles) -> Doubles:
        return sigmoid(self.slope * np.asarray(scores, np.float64) + self.offset)


@dataclass(frozen=True, slots=True)
class Isotonic:
    """A rising step function; between two steps it is interpolated, outside it stays at the last step."""

    scores: Doubles  # rising
    probabilities: Doubles

    def __call__(self, scores: Doubles) -> Doubles:
        return np.asarray(np.interp(scores, self.scores, self.probabilities), np.float64)


@dataclass(frozen=True, slots=True)
class Bin:
    """One group of a reliability diagram."""

    mean: float  # of the probabilities
    share: float  # of positives
    low: float  # 95 % interval of the share (Wilson 1927)
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Miscalibration:
    """ECE over groups of equal size. `ci` is a 95 % interval by a bootstrap over patients, debiased; it reaches down to 0
    where the plug-in value is one that perfectly calibrated probabilities reach by chance."""

    ece: float  # plug-in
    debiased: float
    floor: float  # the plug-in value to be expected of perfectly calibrated probabilities, at this n
    ci: tuple[float, float]
    bins: tuple[Bin, ...]


def sigmoid(logits: npt.ArrayLike) -> Doubles:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(np.asarray(logits, np.float64) / 2)), np.float64)


def logit(probabilities: npt.ArrayLike) -> Doubles:
    """log(p / (1 - p)), with p kept within LEAST_PROBABILITY of 0 and 1."""
    kept = np.clip(np.asarray(probabilities, np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.asarray(np.log(kept / (1 - kept)))


def fit_platt(scores: Doubles, truth: Booleans) -> Platt:
    """From scores (N,) and truth (N,). Slope 0 where a higher score does not make the finding likelier: calibration may
    flatten a label, not turn it round. Raises ValueError without images or for a score that is not a finite number."""
    scores, truth = _checked(scores, truth)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    flat = Platt(0.0, math.log((positives + 1) / (negatives + 1)))
    spread = float(scores.std())
    if not spread > 0 or not positives or not negatives:
        return flat
    standard = np.column_stack([(scores - scores.mean()) / spread, np.ones(len(scores))])
    found = np.array([0.0, flat.offset])
    for _ in range(100):  # Newton's method on a convex loss, with halved steps where a whole one overshoots
        probability = sigmoid(standard @ found)
        curve = np.maximum(probability * (1 - probability), 1e-12)
        gradient = standard.T @ (probability - target)
        step = np.linalg.solve((standard * curve[:, None]).T @ standard + 1e-9 * np.eye(2), gradient)
        before, size = _loss(standard @ found, target), 1.0
        while size > 1e-6 and _loss(standard @ (found - size * step), target) > before:
            size /= 2
        found = found - size * step
        if np.abs(step).max() < 1e-9:
            break
    slope = float(found[0]) / spread
    return Platt(slope, float(found[1]) - slope * float(scores.mean())) if slope > 0 else flat


def fit_isotonic(scores: Doubles, truth: Booleans) -> Isotonic:
    """By pooling adjacent violators; kept as far from 0 and 1 as one image more of the other class would bring it. Raises
    ValueError as `fit_platt`."""
    scores, truth = _checked(scores, truth)
    values, index = np.unique(scores, return_inverse=True)
    weight = np.bincount(index).astype(np.float64)
    total = np.bincount(index, truth.astype(np.float64))
    levels: list[list[float]] = []  # mean, weight, number of values
    for mean, count in zip(total / weight, weight, strict=True):
        levels.append([float(mean), float(count), 1.0])
        while len(levels) > 1 and levels[-2][0] >= levels[-1][0]:
            above, below = levels.pop(), levels.pop()
            both = above[1] + below[1]
            levels.append([(above[0] * above[1] + below[0] * below[1]) / both, both, above[2] + below[2]])
    fitted = np.repeat([level[0] for level in levels], [int(level[2]) for level in levels])
    edge = 1 / (len(scores) + 2)
    return Isotonic(values, np.asarray(np.clip(fitted, edge, 1 - edge), np.float64))


def cross_fitted(
    scores: Doubles,
    truth: Booleans,
    folds: Integers,
    fit: Callable[[Doubles, Booleans], Calibrator] = fit_platt,
) -> Doubles:
    """Probabilities (N,), each by a calibration that saw none of its fold (N,). Folds must not part a patient."""
    scores, truth = _checked(scores, truth)
    probability = np.zeros(len(scores))
    for fold in np.unique(folds):
        held_out = folds == fold
        probability[held_out] = fit(scores[~held_out], truth[~held_out])(scores[held_out])
    return probability


def folds_by_patient(truth: Booleans, groups: npt.ArrayLike, folds: int = 5, seed: int = 0) -> Integers:
    """(N,) fold of each image: whole patients, at random; patients who have the finding are dealt out first, so that each
    fold gets its share."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    affected = np.bincount(index, np.asarray(truth, np.float64)) > 0
    random = np.random.default_rng(seed)
    order = random.permutation(len(names))
    order = order[np.argsort(~affected[order], kind="stable")]
    fold = np.empty(len(names), np.int64)
    fold[order] = np.arange(len(names)) % folds
    return np.asarray(fold[index])


def reliability(probabilities: npt.ArrayLike, truth: npt.ArrayLike, bins: int = BINS) -> tuple[Bin, ...]:
    """The reliability diagram: at most `bins` groups of about equal size, lowest first; equal probabilities share one."""
    values, positive = np.asarray(probabilities, np.float64), np.asarray(truth, np.float64)
    index = _bins(values, bins)
    found = []
    for number in range(int(index.max()) + 1 if len(index) else 0):
        inside = index == number
        count, hits = int(inside.sum()), float(positive[inside].sum())
        found.append(Bin(float(values[inside].mean()), hits / count, *wilson(hits, count), count))
    return tuple(found)


def miscalibration(
    probabilities: npt.ArrayLike,
    truth: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    bins: int = BINS,
    samples: int = 1000,
    seed: int = 0,
) -> Miscalibration:
    """ECE of probabilities (N,) for truth (N,). `groups` (N,) are the patients; without them each image is its own."""
    values, positive = np.asarray(probabilities, np.float64), np.asarray(truth, np.float64)
    if not len(values):
        return Miscalibration(math.nan, math.nan, math.nan, (math.nan, math.nan), ())
    index = _bins(values, bins)
    count = np.bincount(index).astype(np.float64)
    share = np.bincount(index, positive) / count
    gap = np.bincount(index, values) / count - share
    noise = np.sqrt(share * (1 - share) / count)
    weight = count / count.sum()
    chance = np.sqrt(np.bincount(index, values * (1 - values))) / count  # standard deviation of a share, were all well
    floor = math.sqrt(2 / math.pi) * float(weight @ chance)
    drawn = []
    for sample in bootstrap(np.arange(len(values)) if groups is None else groups, samples, seed):
        size = np.bincount(index, sample, minlength=len(count))
        kept = size > 0
        size = size[kept]
        hits = np.bincount(index, sample * positive, minlength=len(count))[kept] / size
        apart = np.bincount(index, sample * values, minlength=len(count))[kept] / size - hits
        drawn.append(_debiased(apart, np.sqrt(2 * hits * (1 - hits) / size), size / size.sum()))  # noise: twice, drawn twice
    low, high = np.percentile(drawn, (2.5, 97.5)) if drawn else (math.nan, math.nan)
    ece = float(weight @ np.abs(gap))
    by_chance = np.abs(np.random.default_rng(seed).normal(size=(2000, len(count))) * chance) @ weight
    if ece <= np.quantile(by_chance, 0.975):
        low = 0.0
    return Miscalibration(
        ece=ece,
        debiased=_debiased(gap, noise, weight),
        floor=floor,
        ci=(float(low), float(high)),
        bins=reliability(values, positive, bins),
    )


def log_loss(probabilities: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Mean negative log-likelihood: a proper score, lower is better."""
    kept = np.clip(np.asarray(probabilities, np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return float(-np.log(np.where(np.asarray(truth, bool), kept, 1 - kept)).mean())


def bootstrap(groups: npt.ArrayLike, samples: int, seed: int) -> Iterator[Doubles]:
    """`samples` times (N,): how often each image is in a sample of whole patients, drawn with replacement."""
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    count = int(index.max()) + 1 if len(index) else 0
    random = np.random.default_rng(seed)
    for _ in range(samples if count else 0):
        yield np.bincount(random.integers(0, count, count), minlength=count).astype(np.float64)[index]


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); (nan, nan) for no trials. With shares in 0..1 instead of yes and no it is
    a little too wide, since their variance is at most that of yes and no."""
    if not trials > 0:
        return math.nan, math.nan
    z, share = 1.959964, successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max((centre - half) / scale, 0.0), min((centre + half) / scale, 1.0)


def _bins(values: Doubles, bins: int) -> Integers:
    """(N,) number of each value's group, from 0; a cut that would part equal values moves down before them."""
    ordered = np.sort(values)
    cuts = ordered[(np.arange(1, bins) * len(values)) // bins] if len(values) else ordered
    return np.asarray(np.unique(np.searchsorted(np.unique(cuts), values, side="right"), return_inverse=True)[1], np.int64)


def _debiased(gap: Doubles, noise: Doubles, weight: Doubles) -> float:
    """The plug-in value less the amount by which noise alone raises it; never below 0."""
    expected = [
        sd * math.sqrt(2 / math.pi) * math.exp(-(mean * mean) / (2 * sd * sd)) + mean * math.erf(mean / (sd * math.sqrt(2)))
        if sd > 0
        else abs(mean)
        for mean, sd in zip(gap.tolist(), noise.tolist(), strict=True)
    ]  # of |x|, x normal around the gap
    return max(float(weight @ (2 * np.abs(gap) - np.asarray(expected))), 0.0)


def _checked(scores: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[Doubles, Booleans]:
    values, positive = np.asarray(scores, np.float64), np.asarray(truth, bool)
    if values.ndim != 1 or values.shape != positive.shape or not len(values):
        raise ValueError(f"scores and truth are two rows of equal length, not {values.shape} and {positive.shape}")
    if not np.isfinite(values).all():
        raise ValueError("a score is not a finite number")
    return values, positive


def _loss(logits: Doubles, target: Doubles) -> float:
    return float((np.logaddexp(0.0, logits) - target * logits).sum())
