"""Present, absent, or unsure: two thresholds whose error rates are bounded, whatever the scores are like.

Each class is calibrated by itself (label-conditional, "Mondrian" conformal prediction: Vovk, Gammerman, Shafer 2005; Vovk,
ACML 2012; least ambiguous sets: Sadinle, Lei, Wasserman, JASA 2019). So the two promises do not depend on how common the
finding is at a site, only on positives looking like positives and negatives like negatives:

    P(called absent  | it is there)     <= miss_bound          sets `rule_out`: absent below it
    P(called present | it is not there) <= false_alarm_bound   sets `threshold`: present at and above it

What lies between is unsure. Split conformal prediction takes, with n positives, the floor(miss_bound * (n + 1))-th lowest
of their scores as `rule_out` (Angelopoulos and Bates 2021, section 1): the n + 1 is the finite-sample correction. Where that
is the 0th, n is too small for the bound, and the finding is *never* called absent; `ThreeWay.why` says so.

**Patients, not images.** Several images of one patient are not exchangeable with those of others. So each patient who has
images of a class counts once: an image weighs one over the number of the patient's images of that class, and the new
patient's unknown score weighs as one whole patient (Lee, Barber, Willett 2023, hierarchical conformal prediction; Dunn,
Wasserman, Ramdas, JASA 2023). With one image a patient that is the rule above. The rates are then of one image of a patient.

**What the promise is.** It holds on average over the patients who happened to be calibrated on; a single calibration lies
above or below it by chance: `spread` says how far (Vovk 2012; Angelopoulos and Bates, section 3.2). It is exact where the
model never saw the calibration patients, as at a site. Out-of-fold scores of a cross-validation, used for a final
model that is trained on all of them, make it approximate: the theorem (CV+, Barber et al., Ann Stat 2021) would want the
models of all folds to vote, and even then guarantees twice the bound; in practice it holds where folds score alike.
`conformal_check` looks whether it did, on folds that the thresholds did not see.

Axes: N images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from radpipe.calibration.probability import Booleans, Doubles, Platt, wilson

NEVER_ABSENT = 0.0
"""A `rule_out` on the scale of probabilities below which nothing lies."""
NEVER_PRESENT = 1.000001
"""A `threshold` on the scale of probabilities that nothing reaches; still more than 1 with six decimals."""

BEYOND_CHANCE = 3.5
"""Standard errors. Ten folds of fifteen findings are looked at, so twice or thrice the error is still chance."""


@dataclass(frozen=True, slots=True)
class ThreeWay:
    """Present at and above `threshold`, absent below `rule_out`, unsure between. `rule_out` <= `threshold`.

    On the scale of the scores that were given: `-inf` and `inf` stand for never. See `on_probabilities`.
    """

    threshold: float
    rule_out: float
    miss_bound: float
    false_alarm_bound: float
    patients_with: int  # patients with an image of the finding
    patients_without: int  # patients with an image without it
    crossed: bool  # both bounds could be kept with room to spare: one cut, nothing is unsure
    never_absent: bool
    never_present: bool

    @property
    def why(self) -> str:
        """What is out of the ordinary about these thresholds, in words; "" if nothing is."""
        said = []
        if self.never_absent:
            needed = patients_needed(self.miss_bound)
            said.append(
                f"never called absent: {self.patients_with} patients with it are too few to keep missed findings at or "
                f"under {self.miss_bound:.0%} (that takes {needed})"
                if self.patients_with < needed
                else "never called absent: its scores do not rise with the finding"
            )
        if self.never_present:
            needed = patients_needed(self.false_alarm_bound)
            said.append(
                f"never called present: {self.patients_without} patients without it are too few to keep false alarms at or "
                f"under {self.false_alarm_bound:.0%} (that takes {needed})"
                if self.patients_without < needed
                else "never called present: its scores do not rise with the finding"
            )
        if self.crossed:
            said.append("never unsure: one cut keeps both bounds; it lies where misses are fewest")
        return "; ".join(said)

    def on_probabilities(self, calibration: Platt) -> ThreeWay:
        """The same decisions on calibrated probabilities. Where the calibration is flat nothing can be decided."""
        flat = not calibration.slope > 0
        never_absent, never_present = self.never_absent or flat, self.never_present or flat
        through = calibration(np.array([0.0 if math.isinf(x) else x for x in (self.threshold, self.rule_out)]))
        return replace(
            self,
            threshold=NEVER_PRESENT if never_present else float(through[0]),
            rule_out=NEVER_ABSENT if never_absent else float(through[1]),
            crossed=self.crossed and not flat,
            never_absent=never_absent,
            never_present=never_present,
        )


@dataclass(frozen=True, slots=True)
class Rate:
    """How often it went wrong: the mean over patients of the share of their images. 95 % interval (Wilson, on patients)."""

    value: float
    low: float
    high: float
    patients: int

    def holds(self, bound: float) -> bool:
        """Within sampling error: the interval reaches down to the bound, or there was nobody to go wrong with."""
        return not self.low > bound


@dataclass(frozen=True, slots=True)
class ConformalCheck:
    """Realised on folds that the thresholds did not see. Shares are of images."""

    miss_bound: float
    false_alarm_bound: float
    miss: Rate  # called absent, of those who have it
    false_alarm: Rate  # called present, of those who have it not
    sensitivity: float  # called present, of images with it
    specificity: float  # not called present, of images without it
    unsure: float  # of all images
    unsure_with: float  # of images with the finding
    unsure_without: float
    miss_by_fold: tuple[float, ...]
    false_alarm_by_fold: tuple[float, ...]
    even: bool  # no fold lies above a bound by more than BEYOND_CHANCE standard errors

    @property
    def holds(self) -> bool:
        """Both bounds, within sampling error: over all folds, and in each, since folds that differ even out in the mean."""
        return self.even and self.miss.holds(self.miss_bound) and self.false_alarm.holds(self.false_alarm_bound)


def three_way(
    scores: npt.ArrayLike,
    truth: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    miss_bound: float = 0.2,
    false_alarm_bound: float = 0.05,
) -> ThreeWay:
    """Thresholds from scores (N,), truth (N,) and patients (N,). Raises ValueError for a bound outside 0..1, lengths that
    differ, or a score that is not a number."""
    values, positive, patients = _checked(scores, truth, groups)
    for name, bound in (("miss_bound", miss_bound), ("false_alarm_bound", false_alarm_bound)):
        if not 0 < bound < 1:
            raise ValueError(f"{name} lies between 0 and 1, not at {bound!r}")
    low = _below(values[positive], patients[positive], miss_bound)
    high = -_below(-values[~positive], patients[~positive], false_alarm_bound)
    never_absent, never_present = math.isinf(low), math.isinf(high)
    # the cuts go midway to the next score, so that rounding and another backend move nobody across
    rule_out = low if never_absent else _midway(low, values[values < low].max(initial=-math.inf))
    threshold = high if never_present else _midway(high, values[values > high].min(initial=math.inf))
    crossed = not never_absent and not never_present and rule_out > threshold
    return ThreeWay(
        threshold=threshold,
        rule_out=threshold if crossed else rule_out,
        miss_bound=miss_bound,
        false_alarm_bound=false_alarm_bound,
        patients_with=len(np.unique(patients[positive])),
        patients_without=len(np.unique(patients[~positive])),
        crossed=crossed,
        never_absent=never_absent,
        never_present=never_present,
    )


def conformal_check(
    scores: npt.ArrayLike,
    truth: npt.ArrayLike,
    groups: npt.ArrayLike,
    folds: npt.ArrayLike,
    *,
    miss_bound: float = 0.2,
    false_alarm_bound: float = 0.05,
) -> ConformalCheck:
    """Thresholds from all folds (N,) but one, decisions on that one, and so on round: what really went wrong.

    The scores of a fold must not come from a model that saw its patients. Raises ValueError as `three_way`.
    """
    values, positive, patients = _checked(scores, truth, groups)
    fold = np.asarray(folds, np.int64)
    present, absent = np.zeros(len(values), bool), np.zeros(len(values), bool)
    for number in np.unique(fold):
        seen, held_out = fold != number, fold == number
        cuts = three_way(
            values[seen], positive[seen], patients[seen], miss_bound=miss_bound, false_alarm_bound=false_alarm_bound
        )
        present[held_out] = values[held_out] >= cuts.threshold
        absent[held_out] = values[held_out] < cuts.rule_out
    unsure = ~present & ~absent

    def by_fold(wrong: Booleans, among: Booleans) -> tuple[Rate, ...]:
        inside = [among & (fold == number) for number in np.unique(fold)]
        return tuple(rate(wrong[i], patients[i]) for i in inside)

    misses, alarms = by_fold(absent, positive), by_fold(present, ~positive)
    return ConformalCheck(
        miss_bound=miss_bound,
        false_alarm_bound=false_alarm_bound,
        miss=rate(absent[positive], patients[positive]),
        false_alarm=rate(present[~positive], patients[~positive]),
        sensitivity=_mean(present[positive]),
        specificity=_mean(~present[~positive]),
        unsure=_mean(unsure),
        unsure_with=_mean(unsure[positive]),
        unsure_without=_mean(unsure[~positive]),
        miss_by_fold=tuple(one.value for one in misses),
        false_alarm_by_fold=tuple(one.value for one in alarms),
        even=_even(misses, miss_bound) and _even(alarms, false_alarm_bound),
    )


def rate(wrong: npt.ArrayLike, groups: npt.ArrayLike) -> Rate:
    """Of yes and no (N,) and patients (N,)."""
    values = np.asarray(wrong, np.float64)
    if not len(values):
        return Rate(math.nan, math.nan, math.nan, 0)
    _, index, count = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    share = float((np.bincount(index, values) / count).mean())
    return Rate(share, *wilson(share * len(count), len(count)), len(count))


def patients_needed(bound: float) -> int:
    """The fewest patients of a class for which a rate can be kept at or under `bound`: 4 for 0.20, 19 for 0.05."""
    return max(math.ceil(1 / bound - 1 - 1e-9), 1)


def spread(bound: float, patients: int) -> tuple[float, float]:
    """Where the true rate of one calibration lies in 95 of 100 cases: quantiles of Beta(k, n + 1 - k), k of n patients
    beyond the cut. (0, 0) where the bound cannot be kept and the decision is never made."""
    k = math.floor(bound * (patients + 1) + 1e-9)
    if k < 1:
        return 0.0, 0.0
    return _beta_quantile(0.025, k, patients + 1 - k), _beta_quantile(0.975, k, patients + 1 - k)


def _even(folds: tuple[Rate, ...], bound: float) -> bool:
    """The error of a fold's rate has two parts: of its own patients, and of those that its threshold was set on."""
    everybody = sum(one.patients for one in folds)
    for one in folds:
        others = everybody - one.patients
        if one.patients and others:
            error = math.sqrt(bound * (1 - bound) * (1 / one.patients + 1 / others))
            if one.value > bound + BEYOND_CHANCE * error:
                return False
    return True


def _below(scores: Doubles, patients: npt.NDArray[np.generic], bound: float) -> float:
    """The highest of the scores with at most `bound` of the weight below it, the unknown patient's weight counted as below.
    -inf where even the lowest has too much."""
    if not len(scores):
        return -math.inf
    _, index, count = np.unique(patients, return_inverse=True, return_counts=True)
    weight = 1 / (count[index] * (len(count) + 1.0))
    values, place = np.unique(scores, return_inverse=True)
    each = np.bincount(place, weight)
    below = np.cumsum(each) - each
    allowed = values[below + 1 / (len(count) + 1.0) <= bound + 1e-9]
    return float(allowed[-1]) if len(allowed) else -math.inf


def _midway(cut: float, beyond: float) -> float:
    """Between a score and its neighbour, where it has one; on the neighbour's side of `cut` in any case."""
    if math.isinf(beyond):
        return cut if beyond < 0 else cut + 1e-6 * max(1.0, abs(cut))
    middle = (cut + beyond) / 2
    return middle if min(cut, beyond) < middle < max(cut, beyond) else max(cut, beyond)


def _mean(values: Booleans) -> float:
    return float(values.mean()) if len(values) else math.nan


def _beta_quantile(share: float, a: int, b: int) -> float:
    """By bisection of P(Beta(a, b) <= x) = P(Binomial(a + b - 1, x) >= a)."""
    n = a + b - 1
    k = np.arange(a, n + 1)
    constant = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k])
    low, high = 0.0, 1.0
    for _ in range(50):
        x = (low + high) / 2
        if float(np.exp(constant + k * math.log(x) + (n - k) * math.log1p(-x)).sum()) < share:
            low = x
        else:
            high = x
    return (low + high) / 2


def _checked(
    scores: npt.ArrayLike, truth: npt.ArrayLike, groups: npt.ArrayLike
) -> tuple[Doubles, Booleans, npt.NDArray[np.generic]]:
    values, positive, patients = np.asarray(scores, np.float64), np.asarray(truth, bool), np.asarray(groups)
    if not values.shape == positive.shape == patients.shape or values.ndim != 1:
        raise ValueError(f"scores {values.shape}, truth {positive.shape} and groups {patients.shape} differ in length")
    if not np.isfinite(values).all():
        raise ValueError("a score is not a finite number")
    return values, positive, patients
