"""What findings of a sentence share: modifiers said once for a list, and what an opacity is said to be.

"Right effusion and atelectasis" are both on the right. "Opacity in the left base, which may represent pneumonia": the
pneumonia is in the left base. "Opacities consistent with atelectasis" are atelectasis, and no opacity of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from radpipe.observation import Assertion
from radpipe.structure.lexicon import CUES, Kind, Lexicon, grammar
from radpipe.structure.mentions import Draft
from radpipe.structure.scope import LIST_JOINTS, Event, Scope
from radpipe.structure.summary import JOINED

_EXPLAINS = frozenset({Kind.LINKS, Kind.NAMES, Kind.DOUBTS})
_COMPARED = frozenset({Kind.SUBJECT, Kind.CHANGE})


def share(scope: Scope, groups: list[list[Draft]]) -> None:
    """Items of a list share what is said once, before the first or after the last."""
    if len(groups) < 2:
        return
    for number in range(1, len(groups)):
        before, after = groups[number - 1], groups[number]
        if not coordinated(scope, before[0].end, after[0].first):
            continue
        for a in before:
            for b in after:
                if a.unlisted or b.unlisted:
                    continue
                bare = not leads(scope, b, Kind.SIDE, Kind.PLACE, Kind.DEGREE)
                if (
                    bare
                    and b.severity is None
                    and a.severity is not None
                    and b.status is a.status
                    and leads(scope, a, Kind.DEGREE)
                ):
                    b.severity = a.severity
                if not b.sides and not b.places and leads(scope, a, Kind.SIDE, Kind.PLACE):
                    b.sides, b.places = list(a.sides), list(a.places)
                if (
                    b.change is None
                    and a.change is not None
                    and b.status is not Assertion.ABSENT
                    and leads(scope, a, Kind.CHANGE)
                ):
                    b.take_change(a.change)
    for number in range(1, len(groups)):  # "an effusion on the left with atelectasis"
        for a in groups[number - 1]:
            for b in groups[number]:
                if (
                    a.sides
                    and not b.sides
                    and not b.places
                    and not b.unlisted
                    and Assertion.ABSENT not in {a.status, b.status}
                    and _with(scope, a.end, b.first)
                ):
                    b.sides = list(a.sides)
    passed: set[int] = set()  # drafts that had their change from the end of the list: it goes on to the item before
    for number in range(len(groups) - 1, 0, -1):
        before, after = groups[number - 1], groups[number]
        if not coordinated(scope, before[0].end, after[0].first):
            continue
        for a in before:
            for b in after:
                if not a.sides and not a.places and trails(scope, b, Kind.SIDE, Kind.PLACE):
                    a.sides, a.places = list(b.sides), list(b.places)
                if (
                    a.change is None
                    and b.change is not None
                    and a.status is not Assertion.ABSENT
                    and (id(b) in passed or trails(scope, b, Kind.CHANGE))
                ):
                    a.take_change(b.change)
                    passed.add(id(a))


def trail(scope: Scope, groups: list[list[Draft]]) -> None:
    """ "Hyperinflated lungs with scarring, similar to prior": a comparison after the last comma holds for all."""
    if Kind.CHANGE not in scope.all_kinds:
        return
    for last in groups:
        after = [
            event for event in scope.events
            if event.rule.kind is Kind.CHANGE
            and last[0].end < event.first < last[0].to_words
            and scope.words[event.first - 1] == ","
        ]  # fmt: skip
        if not after:
            continue
        for group in groups:
            for draft in group:
                with_it = scope.clause[draft.first] == scope.clause[last[0].first] and draft.first < last[0].first
                if with_it and draft.change is None and draft.status is not Assertion.ABSENT and draft.device is None:
                    draft.take_change(after[0].rule.change)
                    draft.rules.append(after[0].rule.label)


def silhouette(scope: Scope, drafts: Sequence[Draft]) -> None:
    """ "Cardiomegaly; cardiac silhouette similar to prior": what is said of the anatomy's change holds for its finding."""
    if not scope.all_kinds >= _COMPARED:
        return
    for subject in scope.events:
        if subject.rule.kind is not Kind.SUBJECT:
            continue
        of_subject = [
            d for d in drafts if d.finding == subject.rule.finding and d.status is not Assertion.ABSENT and d.change is None
        ]
        if not of_subject or any(d.subject == (subject.first, subject.end) for d in drafts):
            continue
        for event in scope.events:
            if (
                event.rule.kind is Kind.CHANGE
                and scope.clause[event.first] == scope.clause[subject.first]
                and (0 <= event.first - subject.end <= 2 or 0 <= subject.first - event.end <= 1)
            ):
                for draft in of_subject:
                    draft.take_change(event.rule.change)
                    draft.rules.append(event.rule.label)


def coordinated(scope: Scope, first: int, end: int) -> bool:
    """Whether two findings are neighbours in one list: a joint and describing words alone lie between them."""
    joints = 0
    for index in range(first, end):
        if scope.is_verb(index) or scope.words[index] in {"with", "in", "of", ";", "which"}:
            return False
        if scope.kinds(index) & (CUES - {Kind.BETWEEN}):
            return False
        joints += scope.words[index] in LIST_JOINTS
    return joints > 0


def _with(scope: Scope, first: int, end: int) -> bool:
    """ "With", "with associated": what follows lies where the finding before lies."""
    between = scope.words[first:end]
    return ("with" in between or not grammar("beside").isdisjoint(between)) and not any(
        scope.is_verb(index) or scope.kinds(index) & {Kind.DENIES, Kind.NAMES} for index in range(first, end)
    )


def leads(scope: Scope, draft: Draft, *kinds: Kind) -> bool:
    return any(event.rule.kind in kinds and draft.from_words <= event.first < draft.first for event in scope.events)


def trails(scope: Scope, draft: Draft, *kinds: Kind) -> bool:
    return any(event.rule.kind in kinds and draft.end <= event.first < draft.to_words for event in scope.events)


def explain(scope: Scope, groups: list[list[Draft]], previous: Sequence[Draft], lexicon: Lexicon) -> None:
    """What an opacity may be, or is, lies where the opacity lies; one that is named is no longer an opacity of its own."""
    for number, group in enumerate(groups):
        if number:
            sources = groups[number - 1]
            gap = range(sources[0].end, group[0].first)
            kinds = {kind for index in gap for kind in scope.kinds(index)}
            named = Kind.NAMES in kinds or (
                any(scope.words[index] == "xxxx" for index in gap)
                and not any(scope.words[index] in {"and", "or", "with", "no", "/"} for index in gap)
            )
            bracketed = scope.words[gap.start : gap.stop] == ["("]
            doubted = (
                Kind.DOUBTS in kinds
                and "and" not in scope.words[gap.start : gap.stop]
                and sources[0].finding in lexicon.named
            )
            if not (named or Kind.LINKS in kinds or doubted or bracketed):
                continue
            if Kind.STOP in kinds and not named and Kind.LINKS not in kinds:
                continue
            joined = named and Kind.NAMES not in kinds
        elif previous and refers_back(scope, group[0].first):
            named = joined = False
            about = {draft.finding for draft in group}
            sources = [draft for draft in previous if draft.status is not Assertion.ABSENT and draft.finding not in about][
                -1:
            ]
        else:
            continue
        listed = [
            draft for later in groups[number:] for draft in later if later is group or _listed(scope, groups, number, later)
        ]
        for target in listed:
            for source in sources:
                if source.finding == target.finding and source.sign:
                    source.named = True
                    _inherit(source, target, degree=True, change=True)
                if (
                    source.finding == target.finding
                    or source.status is Assertion.ABSENT
                    or target.status is Assertion.ABSENT
                ):
                    continue
                unnamed = source.finding in lexicon.named
                if target.finding in lexicon.diffuse and not unnamed:
                    continue
                _inherit(source, target, degree=unnamed, change=unnamed and (named or not source.weak_change))
                allowed = lexicon.named.get(source.finding, frozenset())
                if named and scope.doubted[target.first] is None and (target.finding in allowed or "*" in allowed):
                    source.named = True
                    if joined:
                        target.rules.append(JOINED)


def _listed(scope: Scope, groups: list[list[Draft]], number: int, later: list[Draft]) -> bool:
    """Whether `later` goes on the list that group `number` begins."""
    for before, after in pairwise(groups[number : groups.index(later) + 1]):
        if not coordinated(scope, before[0].end, after[0].first):
            return False
        doubt = scope.doubted[before[0].first]
        if scope.doubted[after[0].first] is not doubt or (
            doubt is None and "," in scope.words[before[0].end : after[0].first]
        ):
            return False
    return True


def refers_back(scope: Scope, end: int) -> bool:
    """ "This may represent ...": a pronoun and then a cue, before the sentence's first finding."""
    if scope.all_kinds.isdisjoint(_EXPLAINS):
        return False
    cue = next((index for index in range(end) if scope.kinds(index) & _EXPLAINS), None)
    return cue is not None and (
        scope.words[0] in grammar("refers")
        or scope.words[cue] == "differential"
        or not grammar("points").isdisjoint(scope.words[:cue])
    )


def _inherit(source: Draft, target: Draft, *, degree: bool, change: bool) -> None:
    if not target.sides and not target.places:
        target.sides, target.places = list(source.sides), list(source.places)
    if degree and target.severity is None:
        target.severity = source.severity
    if change and target.change is None:
        target.change = source.change
    if not target.sizes and source.unlisted:
        target.sizes = list(source.sizes)
    target.source = target.source or source.finding


def change_alone(words: Sequence[str], events: Sequence[Event], previous: Sequence[Draft]) -> None:
    """ "Small right effusion. No change.": a sentence of change alone speaks of the finding before it."""
    if not previous:
        return
    changes = [event for event in events if event.rule.kind is Kind.CHANGE]
    if not changes:
        return
    about = {draft.finding for draft in previous}
    others = [
        e for e in events if e.rule.kind is Kind.OTHER or (e.rule.kind is Kind.SUBJECT and e.rule.finding not in about)
    ]
    if others and not any(e.rule.kind is Kind.SUBJECT and e.rule.finding in about for e in events):
        return  # "Right opacity. The cardiac silhouette is stable."
    rest = len(words) - sum(event.end - event.first for event in changes)
    if (rest > 2 and len(words) > 6 and words[0] not in grammar("refers")) or changes[0].first > 8:
        return
    last = previous[-1]
    for draft in previous:
        if draft.end == last.end and draft.status is not Assertion.ABSENT and (draft.change is None or draft.weak_change):
            draft.take_change(changes[0].rule.change, weak=changes[0].rule.sign)
            draft.rules.append(changes[0].rule.label)
