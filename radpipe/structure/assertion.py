"""What a sentence asserts of each mention: present, absent or uncertain, by the cues that reach it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from radpipe.observation import Assertion
from radpipe.structure.lexicon import CUES, Kind, Lexicon
from radpipe.structure.mentions import Draft
from radpipe.structure.scope import Event, Scope


def judge(scope: Scope, draft: Draft, lexicon: Lexicon) -> bool:
    """Set the draft's status from the cues that cover it; False drops it."""
    denial, doubt, supposed = scope.denied[draft.first], scope.doubted[draft.first], scope.supposed[draft.first]
    if supposed is not None and draft.finding not in lexicon.standing:
        return False
    if (
        denial is not None
        and draft.status is not Assertion.UNCERTAIN
        and not (doubt is not None and _nearer(doubt, denial, draft))
    ):
        if draft.status is Assertion.ABSENT and not draft.only_denied:  # "not normal" is no diagnosis
            return _word_before(scope, draft.first) != "not"
        draft.status = Assertion.ABSENT
        draft.rules.append(denial.rule.label)
        draft.widen(denial.first, denial.end)
        return True
    if draft.only_denied:
        return False
    if draft.status is None:
        if doubt is not None:
            draft.status = Assertion.UNCERTAIN
            draft.rules.append(doubt.rule.label)
            draft.widen(doubt.first, doubt.end)
        else:
            draft.status = Assertion.PRESENT
    elif draft.status is Assertion.UNCERTAIN and doubt is not None:
        draft.rules.append(doubt.rule.label)
        draft.widen(doubt.first, doubt.end)
    elif draft.status is Assertion.UNCERTAIN and denial is not None:
        draft.status = Assertion.ABSENT
        draft.rules.append(denial.rule.label)
        draft.widen(denial.first, denial.end)
    return True


def _word_before(scope: Scope, at: int) -> str:
    """The word before this one, or ""."""
    return scope.words[at - 1] if at else ""


def _nearer(doubt: Event, denial: Event, draft: Draft) -> bool:
    """Whether the doubt governs: it stands between the denial and the finding, and does not carry the denial on ("no
    opacity to suggest pneumonia")."""
    if doubt.rule.kind is Kind.LINKS:
        return False
    return denial.first < doubt.first < draft.first


def alternatives(scope: Scope, drafts: Sequence[Draft], lexicon: Lexicon) -> None:
    """ "Scarring or atelectasis": neither is certain. "No effusion or pneumothorax" denies both, by its own cue."""
    if Kind.BETWEEN not in scope.all_kinds:
        return
    ends = sorted({draft.end for draft in drafts})
    firsts = sorted({draft.first for draft in drafts})
    for event in scope.events:
        if event.rule.kind is not Kind.BETWEEN:
            continue
        left, right = bisect_right(ends, event.first) - 1, bisect_left(firsts, event.end)
        if left < 0 or right == len(firsts):
            continue
        if not _plain(scope, ends[left], event.first) or not _plain(scope, event.end, firsts[right]):
            continue
        nearest_left = [draft for draft in drafts if draft.end == ends[left]]
        nearest_right = [draft for draft in drafts if draft.first == firsts[right]]
        if _compared(scope, nearest_left[0].first):
            continue
        if {d.finding for d in nearest_left} == {d.finding for d in nearest_right}:
            continue
        for draft in (*nearest_left, *nearest_right):
            if draft.status is None and scope.denied[draft.first] is None and draft.finding not in lexicon.kinds_of:
                draft.status = Assertion.UNCERTAIN
                draft.rules.append(event.rule.label)
                draft.widen(nearest_left[0].first, nearest_right[0].end)


def _compared(scope: Scope, first: int) -> bool:
    """ "No change in the effusion or atelectasis": both are there, the "or" belongs to the denial of change."""
    start = scope.clause_start(first)
    return any(
        event.rule.kind is Kind.CHANGE
        and start <= event.first < first
        and not any(scope.is_verb(i) for i in range(event.end, first))
        for event in scope.events
    )


def _plain(scope: Scope, first: int, end: int) -> bool:
    """Only describing words between: no verb, comma, "and" or cue."""
    return not any(
        scope.is_verb(index) or scope.words[index] in {",", "and", "with"} or scope.kinds(index) & (CUES | {Kind.TERM})
        for index in range(first, end)
    )
