"""Compare with an earlier study: choose the prior, then say finding by finding what changed, and what cannot be said.

A change is stated only where the two readings of one model differ by more than its repeatability: the limit within
which 95 % of the differences between two images of an unchanged chest lie (repeatability coefficient, QIBA; Raunig et
al. 2015, Stat Methods Med Res 24:27; Bland and Altman 1999, Stat Methods Med Res 8:135). The decisions then say which
word is right (rows: now, columns: before; "beyond" the repeatability | within it):

                before present          before unsure           before absent
    present     increased, decreased    increased, decreased    new
                | unchanged             | unchanged             | not comparable
    unsure      increased, decreased    increased, decreased    not comparable
                | unchanged             | unchanged             | not comparable
    absent      resolved                not comparable          (no entry)
                | not comparable        | not comparable

"New" and "resolved" need present on one side and absent on the other. What is present now, was absent before and
differs by less than the repeatability is not "unchanged": it may be new, so no change is stated, with the reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

from radpipe.card import Label, ModelCard
from radpipe.codes import Laterality
from radpipe.finding import Change, ChangeKind, Decision, Finding, Registration, score_words
from radpipe.study import Image, Patient, Study, View

_RADIOGRAPHS = frozenset({"CR", "DX", "RG"})
"""Projection radiographs compare with each other: computed, digital and film (PS3.3 C.7.3.1.1.1)."""

_OPPOSITE = {(Laterality.LEFT, Laterality.RIGHT), (Laterality.RIGHT, Laterality.LEFT)}


Probability = TypeVar("Probability", bound=Any)
"""One, or an array of them."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An earlier image, why it cannot be used ("" if it can), and how well its view fits (0 best)."""

    study: Study
    image: Image
    refused: str = ""
    view_rank: int = 0


def choose_prior(
    current: Study, current_image: Image, earlier: Sequence[tuple[Study, Image]]
) -> tuple[Study, Image, str] | None:
    """The earlier image to compare with, and why it was chosen in words; None where none will do.

    The same body part and kind of image; the same view before PA with AP before an unknown view; then the nearest.
    Never the same or a later study, never one whose order in time is unknown, never another patient's.
    """
    candidates = [_candidate(current, current_image, study, image) for study, image in earlier]
    usable = [candidate for candidate in candidates if not candidate.refused]
    if not usable:
        return None
    chosen = max(usable, key=lambda one: (-one.view_rank, *_when(one.study, one.image), one.image.sop_instance_uid))
    return chosen.study, chosen.image, _why_chosen(current, current_image, chosen, usable)


def why_no_prior(current: Study, current_image: Image, earlier: Sequence[tuple[Study, Image]]) -> str:
    """Why `choose_prior` gave None, in words; "" if it would give one."""
    if not earlier:
        return "no earlier study of this patient is in the store"
    refused: dict[str, str] = {}  # per study: its best image's reason, later reasons being nearer to usable
    for study, image in earlier:
        candidate = _candidate(current, current_image, study, image)
        if not candidate.refused:
            return ""
        refused[study.study_instance_uid] = candidate.refused
    counts = Counter(refused.values())
    return "no comparable prior: " + "; ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))


def changes(
    current: Sequence[Finding],
    prior: Sequence[Finding],
    card: ModelCard,
    registration: Registration,
    current_sop_instance_uid: str,
    prior_sop_instance_uid: str,
) -> tuple[Change, ...]:
    """Every finding that the card's model assesses and that is present or unsure on either image, against the prior.

    In the order of the card's labels. Raises DraftError if an image is not named.
    """
    now = {finding.finding: finding for finding in current}
    before = {finding.finding: finding for finding in prior}
    found: list[Change] = []
    for label in card.labels:
        here, there = now.get(label.finding), before.get(label.finding)
        if not label.assessed or not (_matters(here) or _matters(there)):
            continue
        kind, score, why = _change(here, there, label, registration)
        found.append(
            Change(
                finding=label.finding,
                change=kind,
                score=score,
                current_sop_instance_uid=current_sop_instance_uid,
                prior_sop_instance_uid=prior_sop_instance_uid,
                current_probability=here.probability if here else None,
                prior_probability=there.probability if there else None,
                why=why,
            )
        )
    return tuple(found)


def chances(current: Sequence[Finding], prior: Sequence[Finding]) -> dict[str, tuple[float, float]]:
    """Of each finding that both images were read for: how probable it is that it is new, and that it has resolved.

    From the two calibrated probabilities, as if the readings erred independently; swapping the images swaps the numbers.
    They rank pairs; whether a change is stated is another question (`changes`).
    """
    before = {finding.finding: finding.probability for finding in prior}
    return {now.finding: chance_of_change(before[now.finding], now.probability) for now in current if now.finding in before}


def chance_of_change(before: Probability, after: Probability) -> tuple[Probability, Probability]:
    """Of new and of resolved, from the probabilities (numbers or arrays) of both images."""
    return after * (1 - before), before * (1 - after)


def logit(probability: float) -> float:
    """log(p / (1 - p)), with p kept within 1e-6 of 0 and 1."""
    kept = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(kept / (1 - kept))


def _matters(finding: Finding | None) -> bool:
    return finding is not None and finding.decision is not Decision.ABSENT


def _change(
    here: Finding | None, there: Finding | None, label: Label, registration: Registration
) -> tuple[ChangeKind, float, str]:
    """Kind, score and reason for one finding."""
    if here is None or there is None:
        missing = "current" if here is None else "prior"
        return ChangeKind.NOT_COMPARABLE, 0.0, f"the {missing} image was not read for this"
    if obstacle := _obstacle(here, there, label, registration):
        return ChangeKind.NOT_COMPARABLE, 0.0, obstacle
    limit = label.repeatability_logit
    difference = logit(here.probability) - logit(there.probability)
    numbers = (
        f"probability {score_words(there.probability)} before, {score_words(here.probability)} now; "
        f"difference {difference:+.2f} in logits, repeatability {limit:.2f}"
    )
    kind, words = _kind(here.decision, there.decision, difference, limit)
    within = math.erfc(abs(difference) / (limit / 1.96) / math.sqrt(2))  # how often noise alone differs by this much
    score = {ChangeKind.NOT_COMPARABLE: 0.0, ChangeKind.UNCHANGED: within}.get(kind, 1 - within)
    return kind, round(score, 4), f"{words}{numbers}"


def _obstacle(here: Finding, there: Finding, label: Label, registration: Registration) -> str:
    """Why the two readings of a finding must not be compared; "" if they may."""
    if not registration.comparable:
        return registration.why
    if not (math.isfinite(label.repeatability_logit) and label.repeatability_logit > 0):
        return "the model's card states no repeatability for this finding"
    if len(models := _models(here) | _models(there)) > 1:
        return f"the two images were read by different models: {', '.join(sorted(models))}"
    if _matters(here) and _matters(there) and (here.laterality, there.laterality) in _OPPOSITE:
        return f"now {here.laterality}, before {there.laterality}: not the same place"
    return ""


def _kind(now: Decision, before: Decision, difference: float, limit: float) -> tuple[ChangeKind, str]:
    """The table of the module's docstring; the words come before the numbers."""
    beyond = abs(difference) > limit
    if Decision.ABSENT not in (now, before):
        if not beyond:
            return ChangeKind.UNCHANGED, ""
        return (ChangeKind.INCREASED if difference > 0 else ChangeKind.DECREASED), ""
    if Decision.UNSURE in (now, before):
        return ChangeKind.NOT_COMPARABLE, f"{now} now and {before} before is too uncertain to state a change: "
    if not beyond:
        return ChangeKind.NOT_COMPARABLE, f"{now} now and {before} before, but within the repeatability: "
    return (ChangeKind.NEW if now is Decision.PRESENT else ChangeKind.RESOLVED), ""


def _models(finding: Finding) -> set[str]:
    return {evidence.model for evidence in finding.evidence if evidence.model}


def _candidate(current: Study, current_image: Image, study: Study, image: Image) -> _Candidate:
    """Judge one earlier image; the tests run from what excludes most to what excludes least."""
    view_rank = _view_rank(current_image.view, image.view)
    refused = ""
    if study.study_instance_uid == current.study_instance_uid:
        refused = "is this study itself"
    elif not _same_patient(current.patient, study.patient):
        refused = "cannot be shown to be of the same patient"
    elif _kind_of_image(image) != _kind_of_image(current_image):
        refused = f"of another kind of image ({image.modality or 'unknown'})"
    elif not (part := _body_part(current, current_image)) or _body_part(study, image) != part:
        refused = "of another or an unknown body part"
    elif _contradict(image.image_laterality, current_image.image_laterality):
        refused = "of the other side"
    elif view_rank is None:
        refused = f"in another view ({image.view or 'unknown'})"
    elif (earlier := _is_earlier(study, image, current, current_image)) is None:
        refused = "whose order in time is unknown"
    elif not earlier:
        refused = "not earlier than this study"
    return _Candidate(study, image, refused, view_rank or 0)


def _view_rank(view: View | None, prior: View | None) -> int | None:
    """0: the same view; 1: PA with AP; 2: one unknown, the other not lateral; None: cannot be compared."""
    if view == prior and view is not None:
        return 0
    if View.LATERAL in (view, prior):
        return None
    return 2 if view is None or prior is None else 1


def _same_patient(one: Patient, other: Patient) -> bool:
    """The same ID, and nothing that contradicts it. The store filters first; this is the last check."""
    return (
        bool(one.patient_id)
        and one.patient_id == other.patient_id
        and not _contradict(one.issuer_of_patient_id, other.issuer_of_patient_id)
        and not _contradict(one.patient_birth_date, other.patient_birth_date)
        and not _contradict(one.patient_sex, other.patient_sex)
    )


def _contradict(one: str | date | None, other: str | date | None) -> bool:
    return bool(one) and bool(other) and one != other


def _kind_of_image(image: Image) -> str:
    return "radiograph" if image.modality in _RADIOGRAPHS else image.modality


def _body_part(study: Study, image: Image) -> str:
    return image.body_part or study.body_part


def _when(study: Study, image: Image) -> tuple[str, str, str]:
    """Sorts in time; parts that are unknown are "" and sort first."""
    return (
        study.study_date.isoformat() if study.study_date else "",
        study.study_time.isoformat() if study.study_time else "",
        image.acquisition_time,
    )


def _is_earlier(study: Study, image: Image, current: Study, current_image: Image) -> bool | None:
    """Whether the first lies before the second in time; None where date, or time on the same day, does not tell."""
    if study.study_date is None or current.study_date is None:
        return None
    for before, now in zip(_when(study, image), _when(current, current_image), strict=True):
        if before and now and before != now:
            return before < now
    return None


def _why_chosen(current: Study, current_image: Image, chosen: _Candidate, usable: list[_Candidate]) -> str:
    """ "nearest earlier PA chest, 2025-11-02 (91 days before); 2 others were older"."""
    view = f"{chosen.image.view} " if chosen.image.view else ""
    part = _body_part(chosen.study, chosen.image).lower()
    text = f"nearest earlier {view}{part}, {chosen.study.study_date} ({_days_before(current, chosen.study)})"
    if chosen.view_rank == 1:
        text += f"; second best, for there is no earlier {current_image.view}"
    elif chosen.view_rank == 2:
        text += "; the view of one of the two images is unknown"
    others = {one.study.study_instance_uid: one for one in sorted(usable, key=lambda one: -one.view_rank)}
    others.pop(chosen.study.study_instance_uid)
    older = sum(one.view_rank == chosen.view_rank for one in others.values())
    for count, words in ((older, "older"), (len(others) - older, "in another view")):
        if count:
            text += f"; {count} other{'s were' if count > 1 else ' was'} {words}"
    return text


def _days_before(current: Study, prior: Study) -> str:
    if current.study_date is None or prior.study_date is None:
        return "date unknown"
    days = (current.study_date - prior.study_date).days
    return "earlier the same day" if days == 0 else f"{days} day{'s' if days > 1 else ''} before"
