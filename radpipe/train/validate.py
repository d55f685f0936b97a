"""Cross-validation by patient, and every figure that the card states.

Two things make a pooled AUC of this collection flattering: one source (`collection.FILTERED_SOURCE`) sets images called
normal against images called pneumonia, the others hold almost only ill patients. So the card's AUC compares only images of
the same source; the pooled one, and the one within the enriched sources, where telling ill from ill is all there is to do,
stand beside it in the record.

Axes: N images, F features, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.calibration import ConformalCheck, Platt, ThreeWay, conformal_check, three_way
from radpipe.evaluate.metrics import (
    OperatingPoint,
    auc,
    average_precision,
    brier,
    calibration_error,
    interval,
    operating_point,
    patient_weights,
    stratified_auc,
)
from radpipe.train.collection import LABELS, Radiographs
from radpipe.train.heads import Extra, Linear, fit_platt, fit_ridge
from radpipe.train.material import Material
from radpipe.train.repeats import repeatability

Doubles = npt.NDArray[np.float64]
Folds = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """What is known of one label. Probabilities are calibrated; intervals are 95 %, by patient."""

    finding: str
    positives: int
    n: int
    auc: float  # between images of the same source
    auc_ci: tuple[float, float]
    auc_pooled: float
    auc_pooled_ci: tuple[float, float]
    auc_enriched: float  # within the sources enriched for positives, adults whom no reader called normal
    auc_enriched_ci: tuple[float, float]
    positives_enriched: int
    average_precision: float
    calibration_error: float  # cross-fitted
    brier: float  # cross-fitted
    slope: float  # of the calibration, on the ridge score
    offset: float
    at_threshold: OperatingPoint
    at_rule_out: OperatingPoint
    decisions: ThreeWay  # on probabilities
    check: ConformalCheck
    repeatability_logit: float
    assessed: bool


@dataclass(frozen=True, slots=True)
class Means:
    """Mean AUC over the fourteen findings, and of "abnormal"; with 95 % intervals by patient."""

    same_source: float
    same_source_ci: tuple[float, float]
    pooled: float
    pooled_ci: tuple[float, float]
    enriched: float
    enriched_ci: tuple[float, float]
    abnormal: float
    abnormal_pooled: float
    abnormal_enriched: float


LEAST_ENRICHED = 5
"""Positives that a finding must have among the enriched sources to count in their mean: pneumonia has three."""


def extras(material: Material, folds: Folds, recipe: dict[str, Any]) -> tuple[Extra, ...]:
    """The other collections, as the recipe uses them."""
    heads = recipe["heads"]
    return (
        Extra(material.small_looks, material.small.truth, heads["small_weight"]),
        Extra(material.normal_looks, None, heads["normal_weight"]),
        Extra(
            material.processed_looks,
            material.radiographs.truth[material.processed_of],
            heads["processed_weight"],
            centred=False,
            folds=folds[material.processed_of],
        ),
    )


def emphasis(material: Material, recipe: dict[str, Any]) -> Doubles:
    """(F + M,): 1 for the features of the tokens, the recipe's for the measures."""
    tokens, whole = material.features.shape[1], material.looks.shape[1]
    return np.concatenate([np.ones(tokens), np.full(whole - tokens, float(recipe["measures"]["emphasis"]))])


def out_of_fold(
    features: npt.NDArray[np.float32],
    radiographs: Radiographs,
    folds: Folds,
    more: tuple[Extra, ...],
    penalty: float,
    emphasised: Doubles | float = 1.0,
) -> tuple[Doubles, tuple[Linear, ...]]:
    """Scores (N, L) of each image by the head that did not see its patient, and the heads, one a fold."""
    truth = radiographs.truth
    scores = np.zeros(truth.shape)
    heads = []
    for fold in range(int(folds.max()) + 1):
        held_out = folds == fold
        seen = tuple(_without(extra, fold) for extra in more)
        head = fit_ridge(features[~held_out], truth[~held_out], seen, penalty, emphasised)
        scores[held_out] = head(features[held_out])
        heads.append(head)
    return scores, tuple(heads)


def mean_aucs(scores: Doubles, material: Material, weights: Doubles) -> Means:
    """Over the findings that have both classes; `weights` are bootstrap samples of patients."""
    truth, strata, ill = material.radiographs.truth, material.radiographs.filtered, enriched(material.radiographs)
    count = truth.shape[1] - 1

    def mean(kind: str, weight: Doubles | None) -> float:
        if kind == "enriched":
            kept = [i for i in range(count) if truth[ill, i].sum() >= LEAST_ENRICHED]
            return float(
                np.nanmean([auc(scores[ill, i], truth[ill, i], None if weight is None else weight[ill]) for i in kept])
            )
        return float(np.nanmean([_auc(kind, scores[:, i], truth[:, i], strata, weight) for i in range(count)]))

    figures = {
        kind: (mean(kind, None), interval([mean(kind, w) for w in weights])) for kind in ("same", "pooled", "enriched")
    }
    return Means(
        *figures["same"],
        *figures["pooled"],
        *figures["enriched"],
        abnormal=_auc("same", scores[:, -1], truth[:, -1], strata, None),
        abnormal_pooled=auc(scores[:, -1], truth[:, -1]),
        abnormal_enriched=auc(scores[ill, -1], truth[ill, -1]),
    )


def label_figures(
    scores: Doubles, heads: tuple[Linear, ...], material: Material, folds: Folds, recipe: dict[str, Any]
) -> tuple[LabelFigures, ...]:
    """Every label, in the order of the network's output."""
    radiographs = material.radiographs
    weights = patient_weights(radiographs.patients, recipe["bootstrap_samples"], recipe["seed"])
    repeats = _repeated_scores(heads, material, folds)
    ill = enriched(radiographs)
    figures = []
    for index, finding in enumerate(LABELS):
        score, truth, strata = scores[:, index], radiographs.truth[:, index], radiographs.filtered
        slope, offset = fit_platt(score, truth)
        probability = _sigmoid(slope * score + offset)
        fitted_elsewhere = cross_fitted(score, truth, folds)
        same_ci = interval([stratified_auc(score, truth, strata, w) for w in weights])
        bounds = {name: float(recipe["operating"][name]) for name in ("miss_bound", "false_alarm_bound")}
        decisions = three_way(score, truth, radiographs.patients, **bounds).on_probabilities(Platt(slope, offset))
        threshold, rule_out = decisions.threshold, decisions.rule_out
        positives = int(truth.sum())
        figures.append(
            LabelFigures(
                finding=finding,
                positives=positives,
                n=len(truth),
                auc=stratified_auc(score, truth, strata),
                auc_ci=same_ci,
                auc_pooled=auc(score, truth),
                auc_pooled_ci=interval([auc(score, truth, w) for w in weights]),
                auc_enriched=auc(score[ill], truth[ill]),
                auc_enriched_ci=interval([auc(score[ill], truth[ill], w[ill]) for w in weights]),
                positives_enriched=int(truth[ill].sum()),
                average_precision=average_precision(score, truth),
                calibration_error=calibration_error(fitted_elsewhere, truth),
                brier=brier(fitted_elsewhere, truth),
                slope=slope,
                offset=offset,
                at_threshold=operating_point(probability, truth, threshold),
                at_rule_out=operating_point(probability, truth, rule_out),
                decisions=decisions,
                check=conformal_check(score, truth, radiographs.patients, folds, **bounds),
                repeatability_logit=float(slope * repeatability(repeats[:, :, [index]])[0]),
                assessed=positives >= recipe["operating"]["least_positives"] and same_ci[0] > 0.5,
            )
        )
    return tuple(figures)


def cross_fitted(score: Doubles, truth: npt.NDArray[np.bool_], folds: Folds) -> Doubles:
    """Probabilities (N,) calibrated on the other folds' out-of-fold scores."""
    probability = np.zeros(len(score))
    for fold in np.unique(folds):
        held_out = folds == fold
        slope, offset = fit_platt(score[~held_out], truth[~held_out])
        probability[held_out] = _sigmoid(slope * score[held_out] + offset)
    return probability


def subgroups(scores: Doubles, material: Material) -> dict[str, dict[str, float]]:
    """Pooled AUC of "abnormal" and mean over the findings, by sex, age, view and source."""
    radiographs = material.radiographs
    groups = {
        "female": radiographs.sexes == "F",
        "male": radiographs.sexes == "M",
        "18 to 39 years": (radiographs.ages >= 18) & (radiographs.ages < 40),
        "40 to 64 years": (radiographs.ages >= 40) & (radiographs.ages < 65),
        "65 years and over": radiographs.ages >= 65,
        "PA": radiographs.views == "PA",
        "AP": radiographs.views == "AP",
        "source talo": radiographs.filtered,
        "enriched sources": ~radiographs.filtered,
        "without reader_normal": ~radiographs.reader_normal,
    }
    table = {}
    for name, inside in groups.items():
        truth, score = radiographs.truth[inside], scores[inside]
        usable = [i for i in range(truth.shape[1] - 1) if truth[:, i].sum() >= 5]
        table[name] = {
            "n": int(inside.sum()),
            "findings": len(usable),
            "mean_auc": float(np.mean([auc(score[:, i], truth[:, i]) for i in usable])),
            "abnormal_auc": auc(score[:, -1], truth[:, -1]),
        }
    return table


def _without(extra: Extra, fold: int) -> Extra:
    """The extra images without those that the fold holds out."""
    if extra.folds is None or extra.truth is None:
        return extra
    kept = extra.folds != fold
    return replace(extra, features=extra.features[kept], truth=extra.truth[kept], folds=extra.folds[kept])


def _repeated_scores(heads: tuple[Linear, ...], material: Material, folds: Folds) -> Doubles:
    """(images, views, L): of repeated views, by the head that did not see the patient."""
    images, views, width = material.repeated_looks.shape
    answers = np.zeros((images, views, len(LABELS)))
    for number, image in enumerate(material.repeated):
        answers[number] = heads[int(folds[image])](material.repeated_looks[number].reshape(views, width))
    return answers


def enriched(radiographs: Radiographs) -> npt.NDArray[np.bool_]:
    """(N,) images of the sources enriched for positives, but for those that readers called normal: telling ill from ill."""
    return np.asarray(~radiographs.filtered & ~radiographs.reader_normal)


def _auc(
    kind: str, score: Doubles, truth: npt.NDArray[np.bool_], strata: npt.NDArray[np.bool_], weight: Doubles | None
) -> float:
    if kind == "same":
        return stratified_auc(score, truth, strata, weight)
    return auc(score, truth, weight)


def _sigmoid(logit: Doubles) -> Doubles:
    return np.asarray(1 / (1 + np.exp(-logit)))
