"""The figures of one finding and of one subgroup, each with its uncertainty. Intervals are 95 %, by patient where said so.

Axes: N images, F findings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radpipe.calibration import Bin, Rate, bootstrap, miscalibration, rate
from radpipe.card import Label
from radpipe.evaluate.metrics import (
    NAN,
    OperatingPoint,
    Ranking,
    brier,
    interval,
    operating_point,
    threshold_at_specificity,
    wilson,
)

Doubles = npt.NDArray[np.float64]
Strings = npt.NDArray[np.str_]
Interval = tuple[float, float]

SPECIFICITIES = (0.8, 0.9, 0.95)
SUBGROUP_SAMPLES = 200
LEAST_OF_A_CLASS = 5
"""Fewer positives or negatives than this in a subgroup give no AUC there."""


@dataclass(frozen=True, slots=True)
class AtSpecificity:
    """What the scores could do at a stated specificity. The threshold is chosen on these images: a little optimistic."""

    specificity: float
    threshold: float
    sensitivity: float
    sensitivity_ci: Interval  # Wilson


@dataclass(frozen=True, slots=True)
class Decided:
    """Images by what the card decides and what is true."""

    present: int
    unsure: int
    absent: int


@dataclass(frozen=True, slots=True)
class FindingEvaluation:
    """One finding of the manifest that the model's card has."""

    finding: str
    assessed: bool  # stated in reports
    n: int
    positives: int
    patients_with: int
    auc: float
    auc_ci: Interval  # bootstrap over patients
    average_precision: float  # at this manifest's prevalence, which is what chance would reach
    average_precision_ci: Interval
    prevalence: float
    calibration_error: float  # plug-in ECE, groups of equal size
    calibration_error_debiased: float
    calibration_error_floor: float  # what perfect calibration would show at this n
    calibration_error_ci: Interval
    brier: float
    reliability: tuple[Bin, ...]
    rule_out: float
    at_threshold: OperatingPoint  # at the card's threshold
    sensitivity_ci: Interval  # Wilson
    specificity_ci: Interval
    at_specificity: tuple[AtSpecificity, ...]
    with_finding: Decided
    without_finding: Decided
    unsure: float  # share of images between rule-out and threshold
    miss: Rate  # called absent, of the patients who have it
    miss_bound: float | None  # None where none is stated
    false_alarm: Rate  # called present, of the patients who have it not
    false_alarm_bound: float | None

    @property
    def bounds_hold(self) -> bool | None:
        """Within sampling error; None where no bound is stated."""
        if self.miss_bound is None or self.false_alarm_bound is None:
            return None
        return self.miss.holds(self.miss_bound) and self.false_alarm.holds(self.false_alarm_bound)


@dataclass(frozen=True, slots=True)
class SubgroupEvaluation:
    """All images with one value of one column."""

    column: str
    value: str
    n: int
    patients: int
    findings: int  # with enough of both classes to count below
    mean_auc: float
    mean_auc_ci: Interval
    abnormal_auc: float
    abnormal_auc_ci: Interval
    aucs: tuple[tuple[str, int, float], ...]  # (finding, positives, AUC), nan where there were too few
    miss: float  # called absent, of all pairs of an image and a finding that it has
    false_alarm: float  # called present, of all pairs of an image and a finding that it has not
    unsure: float  # of all pairs
    out_of_distribution: int


@dataclass(frozen=True, slots=True)
class Means:
    """Mean AUC over the findings but "abnormal"."""

    auc: float
    auc_ci: Interval


def finding_evaluations(
    scores: Doubles,
    truth: Doubles,
    labels: Sequence[Label],
    patients: Strings,
    bounds: Mapping[str, tuple[float, float]],
    *,
    samples: int,
    seed: int,
) -> tuple[tuple[FindingEvaluation, ...], Means]:
    """Of scores (N, F) and truth (N, F), nan where not known, for the card's labels (F). `bounds`: of missed findings and of
    false alarms, by finding."""
    known = np.isfinite(truth)
    rankings = [Ranking.of(scores[known[:, i], i], truth[known[:, i], i] == 1) for i in range(len(labels))]
    named = [i for i, label in enumerate(labels) if label.finding != "abnormal"]
    aucs, precisions, means = [], [], []
    for weights in bootstrap(patients, samples, seed):
        each = [ranking.auc(weights[known[:, i]]) for i, ranking in enumerate(rankings)]
        aucs.append(each)
        precisions.append([ranking.average_precision(weights[known[:, i]]) for i, ranking in enumerate(rankings)])
        means.append(_mean([each[i] for i in named]))
    drawn = np.array(aucs).reshape(-1, len(labels)), np.array(precisions).reshape(-1, len(labels))
    found = tuple(
        _evaluate(
            label, scores[known[:, i], i], truth[known[:, i], i] == 1, patients[known[:, i]], rankings[i],
            (interval(drawn[0][:, i]), interval(drawn[1][:, i])), bounds.get(label.finding), samples, seed,
        )
        for i, label in enumerate(labels)
        if known[:, i].any()
    )  # fmt: skip
    return found, Means(_mean([rankings[i].auc() for i in named]), interval(means))


def subgroup_evaluation(
    column: str,
    value: str,
    scores: Doubles,
    truth: Doubles,
    labels: Sequence[Label],
    patients: Strings,
    far: npt.NDArray[np.bool_],
    *,
    samples: int = SUBGROUP_SAMPLES,
    seed: int = 0,
) -> SubgroupEvaluation:
    """As `finding_evaluations`, of the images that have `value` in `column`; `far` (N,): out of distribution."""
    known = np.isfinite(truth)
    enough = [
        min(int((truth[:, i] == 1).sum()), int((truth[:, i] == 0).sum())) >= LEAST_OF_A_CLASS for i in range(len(labels))
    ]
    rankings = {i: Ranking.of(scores[known[:, i], i], truth[known[:, i], i] == 1) for i in range(len(labels)) if enough[i]}
    overall = next((i for i, label in enumerate(labels) if label.finding == "abnormal" and enough[i]), None)
    named = [i for i in rankings if i != overall]
    means, whole = [], []
    for weights in bootstrap(patients, samples, seed):
        means.append(_mean([rankings[i].auc(weights[known[:, i]]) for i in named]))
        if overall is not None:
            whole.append(rankings[overall].auc(weights[known[:, overall]]))
    threshold = np.array([label.threshold for label in labels])
    rule_out = np.array([label.rule_out for label in labels])
    present, absent = scores >= threshold, scores < rule_out
    counted = known & np.array([label.finding != "abnormal" for label in labels])
    return SubgroupEvaluation(
        column=column,
        value=value,
        n=len(scores),
        patients=len(np.unique(patients)),
        findings=len(named),
        mean_auc=_mean([rankings[i].auc() for i in named]),
        mean_auc_ci=interval(means),
        abnormal_auc=rankings[overall].auc() if overall is not None else NAN,
        abnormal_auc_ci=interval(whole),
        aucs=tuple(
            (label.finding, int((truth[:, i] == 1).sum()), rankings[i].auc() if i in rankings else NAN)
            for i, label in enumerate(labels)
        ),
        miss=_share(absent, counted & (truth == 1)),
        false_alarm=_share(present, counted & (truth == 0)),
        unsure=_share(~present & ~absent, counted),
        out_of_distribution=int(far.sum()),
    )


def _evaluate(
    label: Label,
    score: Doubles,
    truth: npt.NDArray[np.bool_],
    patients: Strings,
    ranking: Ranking,
    intervals: tuple[Interval, Interval],
    bounds: tuple[float, float] | None,
    samples: int,
    seed: int,
) -> FindingEvaluation:
    point = operating_point(score, truth, label.threshold)
    error = miscalibration(score, truth, patients, samples=min(samples, SUBGROUP_SAMPLES), seed=seed)
    present, absent = score >= label.threshold, score < label.rule_out
    return FindingEvaluation(
        finding=label.finding,
        assessed=label.assessed,
        n=len(truth),
        positives=int(truth.sum()),
        patients_with=len(np.unique(patients[truth])),
        auc=ranking.auc(),
        auc_ci=intervals[0],
        average_precision=ranking.average_precision(),
        average_precision_ci=intervals[1],
        prevalence=float(truth.mean()),
        calibration_error=error.ece,
        calibration_error_debiased=error.debiased,
        calibration_error_floor=error.floor,
        calibration_error_ci=error.ci,
        brier=brier(score, truth),
        reliability=error.bins,
        rule_out=label.rule_out,
        at_threshold=point,
        sensitivity_ci=wilson(point.true_positives, point.positives),
        specificity_ci=wilson(point.true_negatives, point.negatives),
        at_specificity=tuple(_at_specificity(score, truth, wanted) for wanted in SPECIFICITIES) if (~truth).any() else (),
        with_finding=_decided(present[truth], absent[truth]),
        without_finding=_decided(present[~truth], absent[~truth]),
        unsure=float((~present & ~absent).mean()),
        miss=rate(absent[truth], patients[truth]),
        miss_bound=bounds[0] if bounds else None,
        false_alarm=rate(present[~truth], patients[~truth]),
        false_alarm_bound=bounds[1] if bounds else None,
    )


def _at_specificity(score: Doubles, truth: npt.NDArray[np.bool_], wanted: float) -> AtSpecificity:
    point = operating_point(score, truth, threshold_at_specificity(score, truth, wanted))
    return AtSpecificity(wanted, point.threshold, point.sensitivity, wilson(point.true_positives, point.positives))


def _decided(present: npt.NDArray[np.bool_], absent: npt.NDArray[np.bool_]) -> Decided:
    return Decided(int(present.sum()), int((~present & ~absent).sum()), int((absent & ~present).sum()))


def _share(wrong: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> float:
    return float(wrong[among].mean()) if among.any() else NAN


def _mean(values: Sequence[float]) -> float:
    usable = [value for value in values if value == value]
    return float(np.mean(usable)) if usable else NAN
