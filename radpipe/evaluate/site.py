"""`radpipe calibrate MANIFEST.csv`: a site's labelled images to its own calibration of a model.

A label is refitted where the site has enough patients with and without the finding, else it keeps what the card says. Slope
and offset are taken over only if they predict held-out patients better than the card's probabilities do (log loss, a proper
score); thresholds are the site's in any case. Figures are cross-fitted by patient. Images out of distribution are left out:
the product does not read them either.

Axes: K images.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt

from radpipe.calibration import (
    LabelCalibration,
    Platt,
    SiteCalibration,
    bootstrap,
    conformal_check,
    cross_fitted,
    fit_platt,
    folds_by_patient,
    log_loss,
    logit,
    miscalibration,
    three_way,
)
from radpipe.card import Label
from radpipe.errors import UsageError
from radpipe.evaluate.images import Answers, Doubles
from radpipe.evaluate.manifest import Manifest
from radpipe.evaluate.metrics import NAN, Ranking, interval

LEAST_IMAGES = 200
"""Fewer labelled images than this make a calibration weak: 2 of 10 positives missed may be 6 % or 50 % of all."""

LEAST_PATIENTS = 20
"""With the finding, and without it, for a label to be refitted: as many positives as a card needs to state a finding."""

FOLDS = 5


def calibrate_site(
    answers: Answers,
    manifest: Manifest,
    *,
    made_on: date,
    miss_bound: float = 0.2,
    false_alarm_bound: float = 0.05,
    least: int = LEAST_IMAGES,
    samples: int = 1000,
    seed: int = 0,
) -> SiteCalibration:
    """Of the model's own answers, not of calibrated ones. Raises UsageError where there are fewer than `least` labelled
    images that are in distribution, or a bound is not between 0 and 1."""
    must_be_shares(miss_bound, false_alarm_bound)
    truth = manifest.truth[answers.rows]
    usable = np.isfinite(truth).any(axis=1) & ~answers.far
    count = int(usable.sum())
    if count < least:
        away = f", {int(answers.far.sum())} are unlike what the model knows" if answers.far.any() else ""
        aside = f", {len(answers.set_aside)} could not be read" if answers.set_aside else ""
        raise UsageError(
            f"{count} labelled images can be used, and {least} are needed{aside}{away}: thresholds set on fewer may be far "
            f"off. "
            f"Label more; or take --least {max(count, 1)}, and the calibration is marked as weak"
        )
    patients = manifest.patients[answers.rows][usable]
    labels = []
    for place, label in enumerate(answers.card.labels):
        if label.finding in manifest.findings:
            known = np.isfinite(truth[usable, manifest.findings.index(label.finding)])
            positive = truth[usable, manifest.findings.index(label.finding)][known] == 1
            probabilities = answers.probabilities[usable, place][known].astype(np.float64)
        else:
            known, positive, probabilities = np.zeros(count, bool), np.zeros(0, bool), np.zeros(0)
        labels.append(_label(label, probabilities, positive, patients[known], miss_bound, false_alarm_bound, samples, seed))
    return SiteCalibration(
        model_name=answers.card.name,
        model_version=answers.card.version,
        model_sha256=answers.card.sha256,
        made_on=made_on.isoformat(),
        manifest_sha256=manifest.sha256,
        images=count,
        patients=len(np.unique(patients)),
        weak=f"{count} labelled images, fewer than {LEAST_IMAGES}" if count < LEAST_IMAGES else "",
        labels=tuple(labels),
    )


def must_be_shares(miss_bound: float, false_alarm_bound: float) -> None:
    """Raises UsageError for a bound that is not between 0 and 1."""
    for name, bound in (("--miss-bound", miss_bound), ("--false-alarm-bound", false_alarm_bound)):
        if not 0 < bound < 1:
            raise UsageError(f"{name} is a share between 0 and 1, not {bound:g}")


def _label(
    label: Label,
    probabilities: Doubles,
    truth: npt.NDArray[np.bool_],
    patients: npt.NDArray[np.str_],
    miss_bound: float,
    false_alarm_bound: float,
    samples: int,
    seed: int,
) -> LabelCalibration:
    affected, others = len(np.unique(patients[truth])), len(np.unique(patients[~truth]))
    if min(affected, others) < LEAST_PATIENTS:
        return _kept(label, truth, affected, others)
    scores = logit(probabilities)
    folds = folds_by_patient(truth, patients, FOLDS, seed)
    held_out = cross_fitted(scores, truth, folds)
    own = fit_platt(scores, truth)
    refitted = own.slope == 0 or log_loss(held_out, truth) < log_loss(probabilities, truth)
    line = own if refitted else Platt(1.0, 0.0)
    cuts = three_way(scores, truth, patients, miss_bound=miss_bound, false_alarm_bound=false_alarm_bound)
    decided = cuts.on_probabilities(line)
    check = conformal_check(scores, truth, patients, folds, miss_bound=miss_bound, false_alarm_bound=false_alarm_bound)
    ranking = Ranking.of(scores, truth)
    auc_ci = interval([ranking.auc(weights) for weights in bootstrap(patients, samples, seed)])
    why = [] if refitted else ["the model's probabilities fit as well as refitted ones, and are kept"]
    if line.slope == 0:
        why.append("here its scores do not rise with the finding: it is not stated")
    elif auc_ci[0] <= 0.5:
        why.append("it may be no better than chance here")
    if decided.why and line.slope > 0:
        why.append(decided.why)
    return LabelCalibration(
        finding=label.finding,
        refitted=refitted,
        decided=True,
        slope=line.slope,
        offset=line.offset,
        threshold=decided.threshold,
        rule_out=decided.rule_out,
        miss_bound=miss_bound,
        false_alarm_bound=false_alarm_bound,
        n=len(truth),
        positives=int(truth.sum()),
        patients_with=affected,
        patients_without=others,
        auc=ranking.auc(),
        auc_ci=auc_ci,
        ece_before=miscalibration(probabilities, truth, samples=0).ece,
        ece_after=miscalibration(held_out if refitted else probabilities, truth, samples=0).ece,
        sensitivity=check.sensitivity,
        specificity=check.specificity,
        miss=check.miss.value,
        false_alarm=check.false_alarm.value,
        unsure=check.unsure,
        why="; ".join(why),
    )


def _kept(label: Label, truth: npt.NDArray[np.bool_], affected: int, others: int) -> LabelCalibration:
    """What the card says, and why."""
    counts = f"patients with it {affected}, without {others}" if len(truth) else "the manifest does not say who has it"
    return LabelCalibration(
        finding=label.finding,
        refitted=False,
        decided=False,
        slope=1.0,
        offset=0.0,
        threshold=label.threshold,
        rule_out=label.rule_out,
        miss_bound=NAN,
        false_alarm_bound=NAN,
        n=len(truth),
        positives=int(truth.sum()),
        patients_with=affected,
        patients_without=others,
        auc=NAN,
        auc_ci=(NAN, NAN),
        ece_before=NAN,
        ece_after=NAN,
        sensitivity=NAN,
        specificity=NAN,
        miss=NAN,
        false_alarm=NAN,
        unsure=NAN,
        why=f"kept as the model's card has it: {counts}; it takes {LEAST_PATIENTS} of each",
    )
