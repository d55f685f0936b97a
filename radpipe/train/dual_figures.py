"""What the dual encoder can do, measured on patients that its map did not see, with the code that serves it.

Every figure is from out-of-fold projections. Scores are those of `radpipe.retrieve`. The sentences' map sees no image, so
that it is the same in every fold; it does see which wordings belong together, also of the finding that is measured, but for
"unseen", where the finding is left out of both maps.

Axes: N images, F findings, D shared space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.evaluate.metrics import auc, interval, stratified_auc
from radpipe.retrieve import percentiles
from radpipe.train.collection import Radiographs
from radpipe.train.dual_targets import FINDINGS

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Folds = npt.NDArray[np.int64]
NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class Measured:
    """One finding's figures; intervals are 95 %, by patient."""

    positives: int
    n: int
    auc: float  # zero-shot, between images of the same source
    auc_ci: tuple[float, float]
    auc_pooled: float
    auc_enriched: float
    agreement_auc: float  # against ill images of the same source that do not show it
    agreement_auc_ci: tuple[float, float]
    agreement_n: int

    @property
    def supported(self) -> bool:
        """As `models.text.FindingFigures.supported`."""
        return self.agreement_auc_ci[0] > 0.5


def measure(scores: Doubles, radiographs: Radiographs, samples: Doubles) -> dict[str, Measured]:
    """Of every finding; `scores` (N, F), `samples` (S, N) bootstrap weights."""
    figures = {}
    strata, ill = radiographs.filtered, radiographs.truth[:, -1]
    for column, finding in enumerate(FINDINGS):
        score, truth = scores[:, column], radiographs.truth[:, column]
        figures[finding] = Measured(
            positives=int(truth.sum()),
            n=len(truth),
            auc=stratified_auc(score, truth, strata),
            auc_ci=interval([stratified_auc(score, truth, strata, row) for row in samples]),
            auc_pooled=auc(score, truth),
            auc_enriched=auc(score[~strata], truth[~strata]),
            agreement_auc=stratified_auc(score[ill], truth[ill], strata[ill]),
            agreement_auc_ci=interval([stratified_auc(score[ill], truth[ill], strata[ill], row[ill]) for row in samples]),
            agreement_n=int(ill.sum()),
        )
    return figures


def by_finding(scores: Doubles, radiographs: Radiographs) -> dict[str, float]:
    """AUC between images of the same source."""
    return {
        finding: stratified_auc(scores[:, column], radiographs.truth[:, column], radiographs.filtered)
        for column, finding in enumerate(FINDINGS)
    }


def means(scores: Doubles, radiographs: Radiographs, samples: Doubles) -> dict[str, Any]:
    """Mean AUC over the findings, by the three ways of comparing; intervals by patient."""
    strata, truth = radiographs.filtered, radiographs.truth
    ways: dict[str, Callable[[int, Doubles | None], float]] = {
        "same_source": lambda f, w: stratified_auc(scores[:, f], truth[:, f], strata, w),
        "pooled": lambda f, w: auc(scores[:, f], truth[:, f], w),
        "enriched": lambda f, w: auc(scores[~strata, f], truth[~strata, f], None if w is None else w[~strata]),
    }
    table: dict[str, Any] = {}
    for name, way in ways.items():
        columns = range(scores.shape[1])
        table[name] = float(np.nanmean([way(f, None) for f in columns]))
        if len(samples):
            table[f"{name}_ci"] = interval([float(np.nanmean([way(f, row) for f in columns])) for row in samples])
    return table


def which_sentence(scores: Doubles, radiographs: Radiographs, samples: Doubles) -> dict[str, Any]:
    """How often an image's own finding has a higher percentile than a finding of another image that it does not show."""
    places = percentiles(scores.astype(np.float32), scores.astype(np.float32))
    truth = radiographs.truth[:, :-1]
    often = truth.mean(0)
    won, pairs = np.zeros(len(truth)), np.zeros(len(truth))
    for own in range(truth.shape[1]):
        for other in range(truth.shape[1]):
            asked = truth[:, own] & ~truth[:, other]
            margin = places[:, own] - places[:, other]
            won += asked * often[other] * ((margin > 0) + (margin == 0) / 2)
            pairs += asked * often[other]
    return {
        "auc": float(won.sum() / pairs.sum()),
        "auc_ci": interval([float((won * row).sum() / (pairs * row).sum()) for row in samples]),
        "images": int((pairs > 0).sum()),
    }


def limits(
    scores: Doubles, radiographs: Radiographs, figures: dict[str, Measured], recipe: dict[str, Any]
) -> dict[str, Any]:
    """When a sentence is pointed out, and of what share of right and wrong sentences; over the supported findings, each
    counting the same."""
    places = percentiles(scores.astype(np.float32), scores.astype(np.float32))
    columns = [column for column, finding in enumerate(FINDINGS) if figures[finding].supported]
    if not columns:
        return {"low": 0.0, "high": 100.1} | dict.fromkeys(
            ("present_true", "present_false", "absent_true", "absent_false"), 0.0
        )
    there = [places[radiographs.truth[:, c], c] for c in columns]
    not_there = [places[~radiographs.truth[:, c], c] for c in columns]

    def share(groups: Sequence[Doubles], test: Callable[[Doubles], npt.NDArray[np.bool_]]) -> float:
        return float(np.mean([test(group).mean() for group in groups]))

    steps = np.arange(0.0, 100.5, 0.5)
    low = max(step for step in steps if share(there, lambda p: p < step) <= recipe["present_pointed_out"])  # noqa: B023
    high = min(step for step in steps if share(not_there, lambda p: p >= step) <= recipe["absent_pointed_out"])  # noqa: B023
    return {
        "low": float(low),
        "high": float(high),
        "present_true": share(there, lambda p: p < low),
        "present_false": share(not_there, lambda p: p < low),
        "absent_true": share(not_there, lambda p: p >= high),
        "absent_false": share(there, lambda p: p >= high),
    }


def retrieval(vectors: Floats, radiographs: Radiographs, folds: Folds, samples: Doubles) -> dict[str, Any]:
    """Of a query's nearest five among other patients of the same held-out fold: the share that shows one of its findings,
    against a random five. Once among all, once among images of the enriched sources only."""
    table: dict[str, Any] = {}
    for name, inside in (("all", np.ones(len(vectors), bool)), ("enriched", ~radiographs.filtered)):
        hits, chance = np.full(len(vectors), np.nan), np.full(len(vectors), np.nan)
        for fold in np.unique(folds):
            members = np.flatnonzero((folds == fold) & inside)
            truth = radiographs.truth[members, :-1]
            shared = (truth.astype(np.int64) @ truth.T.astype(np.int64)) > 0
            likeness = vectors[members] @ vectors[members].T
            for row, image in enumerate(members):
                if not truth[row].any():
                    continue
                others = np.flatnonzero(radiographs.patients[members] != radiographs.patients[image])
                first = others[np.argsort(-likeness[row, others], kind="stable")[:NEIGHBOURS]]
                hits[image], chance[image] = shared[row, first].mean(), shared[row, others].mean()
        asked = np.isfinite(hits)

        def mean(values: Doubles, weight: Doubles | None = None, asked: npt.NDArray[np.bool_] = asked) -> float:
            return float(np.average(values[asked], weights=None if weight is None else weight[asked] + 1e-12))

        table[name] = {
            "precision_at_5": mean(hits),
            "precision_at_5_ci": interval([mean(hits, row) for row in samples]),
            "chance": mean(chance),
            "queries": int(asked.sum()),
        }
    return table


def sides(left_less_right: Doubles, said: npt.NDArray[np.str_], seed: int) -> dict[str, Any]:
    """Whether "left ..." scores above "right ..." for held-out lesions painted on the left, and below for the right."""
    truth = said == "left"
    random = np.random.default_rng(seed)
    draws = [random.integers(0, len(truth), len(truth)) for _ in range(200)] if len(truth) else []
    return {
        "auc": auc(left_less_right, truth),
        "auc_ci": interval([auc(left_less_right[d], truth[d]) for d in draws]),
        "n": len(truth),
    }
