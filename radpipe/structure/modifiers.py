"""Side, place, degree, change and size of each mention.

What stands between two findings belongs to the one on its side of the last cue, "with", comma or conjunction.
"""

from __future__ import annotations

from collections.abc import Sequence

from radpipe.finding import ChangeKind
from radpipe.observation import Assertion, Device, Severity
from radpipe.structure.lexicon import CUES, Kind, Lexicon
from radpipe.structure.measure import sizes
from radpipe.structure.mentions import Draft
from radpipe.structure.positions import position
from radpipe.structure.scope import Event, Scope

_BREAKS = CUES - {Kind.BETWEEN, Kind.STOP}
_MODIFIERS = frozenset({Kind.SIDE, Kind.DEGREE, Kind.CHANGE, Kind.PLACE})
_JOINTS = frozenset(
    {
        ",",
        "and",
        "or",
        "with",
        "well",
        "/",
        ";",
        ":",
        "which",
        "that",
        "plus",
        "(",
        ")",
        "causing",
        "resulting",
        "producing",
        "leading",
    }
)
_PREPOSITIONS = frozenset(
    {
        "in",
        "of",
        "at",
        "within",
        "on",
        "involving",
        "overlying",
        "along",
        "near",
        "over",
        "throughout",
        "projecting",
        "to",
        "from",
    }
)
_EARLIER = ("change, unchanged: previously", "change, unchanged: as previously")
_GRADED = frozenset({ChangeKind.INCREASED, ChangeKind.DECREASED, ChangeKind.RESOLVED})
_RANK = {severity: rank for rank, severity in enumerate(Severity)}


def groups_of(drafts: Sequence[Draft]) -> list[list[Draft]]:
    """Drafts that rest on the same words, in order."""
    groups: list[list[Draft]] = []
    for draft in drafts:
        if groups and (groups[-1][0].first, groups[-1][0].end) == (draft.first, draft.end):
            groups[-1].append(draft)
        else:
            groups.append([draft])
    return groups


def attribute(scope: Scope, groups: list[list[Draft]], lexicon: Lexicon) -> None:
    """Give each group the modifiers of its zone."""
    words = scope.words
    modifiers = [event for event in scope.events if event.rule.kind in _MODIFIERS]
    measured = sizes(words)
    for number, group in enumerate(groups):
        anchor = group[0]
        inner = min(draft.from_words for draft in group)
        start = scope.clause_start(anchor.first)
        end = scope.clause_end(anchor.first)
        if number and scope.clause[groups[number - 1][0].first] == scope.clause[anchor.first]:
            start = max(start, _split(scope, groups[number - 1][0].end, anchor.first))
        else:
            start = _opening(scope, start, anchor.first)
        if number + 1 < len(groups) and scope.clause[groups[number + 1][0].first] == scope.clause[anchor.first]:
            end = min(end, _split(scope, anchor.end, groups[number + 1][0].first))
        else:
            end = min(end, _tail(scope, anchor.end, end, anchor.finding))
        after = _afterthought(
            scope, anchor.end, end, groups[number + 1][0].first if number + 1 < len(groups) else len(words)
        )
        start, end = min(start, inner), max(end, anchor.end)
        inside = _inside(scope, anchor, lexicon)
        for event in (*inside, *modifiers):
            if start <= event.first < end and not _is_of_another(scope, event, anchor.first):
                for draft in group:
                    _modify(scope, draft, event, described=draft.finding in lexicon.described)
        for event in modifiers:
            if event.rule.kind is Kind.CHANGE and end <= event.first < after:
                for draft in group:
                    _modify(scope, draft, event, described=draft.finding in lexicon.described)
        for first, last, size in measured:
            if start <= first < end:
                for draft in group:
                    draft.sizes.append(size)
                    draft.widen(first, last)
        for draft in group:
            if draft.device is not None:
                placed = position(words, draft.first, draft.end)
                if placed is not None:
                    draft.device = Device(draft.device.kind, draft.device.code, placed[2])
                    draft.widen(placed[0], placed[1])


def _is_of_another(scope: Scope, event: Event, anchor: int) -> bool:
    """Whether a change before "with" speaks of what stands before it ("stable silhouette with mild cardiomegaly")."""
    return event.rule.kind is Kind.CHANGE and event.end < anchor and "with" in scope.words[event.end : anchor]


def _opening(scope: Scope, first: int, end: int) -> int:
    """Where the words before a clause's first finding begin to speak of it ("improved aeration of the bases with ...")."""
    placed = False
    for index in range(end - 1, first - 1, -1):
        if scope.is_with(index):
            return index if placed else first
        placed = placed or bool(scope.kinds(index) & {Kind.SIDE, Kind.PLACE})
    return first


def _tail(scope: Scope, first: int, end: int, finding: str) -> int:
    """Where the words after the last finding begin to speak of another subject ("..., stable mediastinal contours")."""
    for index in range(first, end):
        if scope.is_with(index):
            return index
        if scope.words[index] in {",", "and"}:
            for later in range(index + 1, end):
                if scope.words[later] in _PREPOSITIONS or scope.words[later] == ",":
                    break
                if Kind.SUBJECT in scope.kinds(later) and not scope.is_subject_of(later, finding):
                    return index
    return end


def _afterthought(scope: Scope, first: int, end: int, ceiling: int) -> int:
    """The end of the clauses that follow and name nothing: "at the upper limits of normal, but stable"."""
    if end < len(scope.words) and scope.clause[end - 1] == scope.clause[min(end, len(scope.words) - 1)]:
        return end
    index = end
    while index < ceiling and not scope.kinds(index) & {Kind.SUBJECT, Kind.OTHER}:
        index += 1
    return index if index == len(scope.words) else end


def _inside(scope: Scope, anchor: Draft, lexicon: Lexicon) -> list[Event]:
    """Modifiers that are part of a term's own words: "biapical pleural thickening"."""
    if anchor.end - anchor.first < 2:
        return []
    found = lexicon.modifiers.matches(scope.words, anchor.first, anchor.end)
    return [Event(first, end, rule) for first, end, rules in found for rule in rules]


def _split(scope: Scope, first: int, end: int) -> int:
    """Where, between two findings, the words of the second begin: at a cue or "with", else at the last comma or "and"."""
    for index in range(end - 1, first - 1, -1):
        if scope.is_with(index) or scope.kinds(index) & _BREAKS:
            return index
    for index in range(end - 1, first - 1, -1):
        if scope.words[index] in _JOINTS or scope.kinds(index) & CUES:
            return index
    if first < end and scope.words[first] in _PREPOSITIONS:
        return end
    return first


def _modify(scope: Scope, draft: Draft, event: Event, *, described: bool) -> None:
    rule = event.rule
    if rule.kind is Kind.SIDE or rule.kind is Kind.PLACE:
        if rule.laterality is not None:
            draft.sides.append(rule.laterality)
        if rule.location is not None:
            draft.places.append(rule.location)
    elif rule.kind is Kind.DEGREE:
        before = event.first < draft.end
        if draft.first <= event.first and event.end <= draft.end and event.end - event.first == draft.end - draft.first:
            return  # "the heart is large": the word is the finding itself
        if _of_change(scope, event):
            return
        if not before and not _predicative(scope, draft.end, event.first):
            return
        if rule.severity is not None and (draft.severity is None or _RANK[rule.severity] > _RANK[draft.severity]):
            draft.severity = rule.severity
    elif rule.kind is Kind.CHANGE:
        denial = scope.denied[draft.first]
        if rule.label.startswith(_EARLIER) and denial is not None and denial.rule.kind is Kind.DENIED:
            draft.change = ChangeKind.RESOLVED  # "the previously seen effusion is not seen"
            draft.rules.append(rule.label)
            return
        if rule.change is ChangeKind.RESOLVED:
            if (
                draft.status is Assertion.ABSENT
                and draft.change is None
                and scope.denied[draft.first] is not None
                and "no longer" not in rule.label
            ):
                return
            draft.status = Assertion.ABSENT
        if rule.sign and rule.change is ChangeKind.INCREASED and described:
            return
        if draft.change is None or draft.change is ChangeKind.UNCHANGED:
            draft.change, draft.weak_change = rule.change, rule.sign
    draft.rules.append(rule.label)
    draft.widen(event.first, event.end)


def _of_change(scope: Scope, degree: Event) -> bool:
    """Whether a word of degree says how much has changed: "marked improvement", "slight interval increase"."""
    after = degree.end + (degree.end < len(scope.words) and scope.words[degree.end] == "interval")
    return any(
        event.rule.kind is Kind.CHANGE
        and not event.rule.sign
        and event.rule.change in _GRADED
        and event.first in {degree.end, after}
        for event in scope.events
    )


def _predicative(scope: Scope, first: int, end: int) -> bool:
    """Whether a word of degree after the finding speaks of it: "the effusion is small", "arthritis is present, severe"."""
    return any(scope.is_verb(index) or scope.words[index] in {",", "("} for index in range(first, end)) or end - first <= 1
