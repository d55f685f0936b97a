"""All mentions of one finding become one observation.

The annotation guideline's rules: the most definite statement about today's image wins, the impression beats the findings
where they disagree, and one side present with the other absent is present. An addendum beats both.
"""

from __future__ import annotations

from collections.abc import Sequence

from radpipe.codes import Laterality
from radpipe.finding import ChangeKind
from radpipe.observation import Assertion, Mention, Observation, Part, Severity
from radpipe.structure.lexicon import FindingEntry, grammar

JOINED = "joined across a removed word"
"""The rule of a mention that an opacity is named as only by "XXXX" between them."""
_WEIGHT = {Part.ADDENDUM: 2, Part.IMPRESSION: 1}
_SEVERITY = {severity: rank for rank, severity in enumerate(Severity)}
_CHANGE_ORDER = (ChangeKind.NEW, ChangeKind.INCREASED, ChangeKind.DECREASED, ChangeKind.UNCHANGED)


def summarise(entry: FindingEntry, mentions: tuple[Mention, ...]) -> Observation:
    """One observation of the mentions of one finding (at least one), in the order of the text."""
    if len(mentions) == 1:
        (one,) = mentions
        return Observation(
            entry.finding, entry.code, one.status, one.span, one.part,
            one.laterality if entry.sides and one.status is not Assertion.ABSENT else None,
            one.severity if entry.degrees else None, one.change, mentions,
        )  # fmt: skip
    status = _status(mentions)
    agreeing = [mention for mention in mentions if mention.status is status]
    there = [mention for mention in mentions if mention.status is not Assertion.ABSENT]
    speaker = max(agreeing, key=lambda mention: (_WEIGHT.get(mention.part, 0), -mention.span.start))
    return Observation(
        entry.finding, entry.code, status, speaker.span, speaker.part,
        (_laterality(agreeing) or _laterality(there)) if entry.sides and status is not Assertion.ABSENT else None,
        (_severity(agreeing) or _severity(there)) if entry.degrees and status is not Assertion.ABSENT else None,
        _change(there or agreeing, status), mentions,
    )  # fmt: skip


def _status(mentions: Sequence[Mention]) -> Assertion:
    said = {mention.status for mention in mentions}
    if len(said) == 1:
        return mentions[0].status
    heaviest = max(_WEIGHT.get(mention.part, 0) for mention in mentions)
    if Assertion.PRESENT in said:
        if heaviest and _is_taken_back(mentions, heaviest):
            return Assertion.ABSENT
        return Assertion.UNCERTAIN if _is_only_joined(mentions, heaviest) else Assertion.PRESENT
    last_word = {
        mention.status for mention in mentions if _WEIGHT.get(mention.part, 0) == heaviest and not _is_weak(mention, said)
    }
    if len(last_word) == 2 and any(
        _is_plain_denial(mention) for mention in mentions if _WEIGHT.get(mention.part, 0) == heaviest
    ):
        return Assertion.ABSENT  # the more definite of the two
    return Assertion.UNCERTAIN if Assertion.UNCERTAIN in last_word else Assertion.ABSENT


def _is_plain_denial(mention: Mention) -> bool:
    """Denied in so many words, and without a word that leaves room ("no large effusion")."""
    return (
        mention.status is Assertion.ABSENT
        and any(rule.startswith("negation") for rule in mention.rules)
        and grammar("narrowing").isdisjoint(mention.span.quote.lower().split())
    )


def _is_taken_back(mentions: Sequence[Mention], heaviest: int) -> bool:
    """Whether the impression (or addendum) says no more than a plain denial, of the same side: it beats the findings."""
    last = [mention for mention in mentions if _WEIGHT.get(mention.part, 0) == heaviest]
    sides = {mention.laterality for mention in mentions if mention.status is Assertion.PRESENT}
    return all(
        _is_plain_denial(mention) and (mention.laterality is None or {mention.laterality} == sides) for mention in last
    )


def _is_only_joined(mentions: Sequence[Mention], heaviest: int) -> bool:
    """Whether the finding is present only across a word removed for privacy, and the impression is not sure of it."""
    last = {mention.status for mention in mentions if _WEIGHT.get(mention.part, 0) == heaviest}
    present = [mention for mention in mentions if mention.status is Assertion.PRESENT]
    return last == {Assertion.UNCERTAIN} and all(JOINED in mention.rules for mention in present)


def _is_weak(mention: Mention, said: set[Assertion]) -> bool:
    """A sign that hedges by itself ("blunted angle") gives way to a plain denial ("no effusion")."""
    return (
        Assertion.ABSENT in said
        and mention.status is Assertion.UNCERTAIN
        and not any(rule.startswith("uncertainty") for rule in mention.rules)
    )


def _laterality(mentions: Sequence[Mention]) -> Laterality | None:
    sides = {mention.laterality for mention in mentions if mention.laterality is not None}
    if len(sides) > 1:
        return Laterality.BILATERAL
    return next(iter(sides), None)


def _severity(mentions: Sequence[Mention]) -> Severity | None:
    stated = [mention.severity for mention in mentions if mention.severity is not None]
    return max(stated, key=_SEVERITY.__getitem__) if stated else None


def _change(mentions: Sequence[Mention], status: Assertion) -> ChangeKind | None:
    if status is Assertion.ABSENT:
        return ChangeKind.RESOLVED if any(mention.change is ChangeKind.RESOLVED for mention in mentions) else None
    said = {mention.change for mention in mentions}
    return next((change for change in _CHANGE_ORDER if change in said), None)
