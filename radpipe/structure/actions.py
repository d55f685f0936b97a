"""What a sentence asks to be done: "CT chest in 3-6 months is recommended" -> follow-up, CT, 90 to 180 days.

A recommendation needs an ask ("is recommended", "consider") and an item, what is asked ("follow-up", "CT"); without a verb
it needs a purpose or a time to come ("Chest CT for further evaluation"). All wordings are data:
lexicon/common/recommendation.toml. Each clause is read alone: its conditions are set aside first ("if symptoms persist"),
then what is taken back ("no follow-up is needed"), then each ask collects the items within its reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from radpipe.observation import Part, Recommendation
from radpipe.structure.action_clause import Clause
from radpipe.structure.action_cues import Cue, Hit, Role, recommendation_rules
from radpipe.structure.communicated import communications
from radpipe.structure.text import SILENT, Sentence

__all__ = ["communications", "recommendations"]

_FOLLOW_UP_DAYS = 7
"""A study asked for after at least so many days is a follow-up, not a further work-up."""
_NEXT_REACH = 8  # words between two items of one ask
_LEFT_REACH = 6  # words before an item that belong to its quote
_NO_DAYS = Cue(Role.INTERVAL)


@dataclass(slots=True)
class _Draft:
    """A recommendation in the making: its items, and all words that belong to it."""

    items: list[Hit]
    pieces: list[tuple[int, int]]
    action: str = ""  # inherited from an alternative, or given by a purpose
    linked: bool = False  # "CT or MRI": it shares what is said of the next
    interval: Hit | None = None
    condition: tuple[int, int] | None = None

    @property
    def first(self) -> int:
        return min(first for first, _ in self.pieces)

    @property
    def end(self) -> int:
        return max(end for _, end in self.pieces)

    @property
    def begin(self) -> int:
        """Where what is asked begins."""
        return self.items[0].first if self.items else self.first


def recommendations(sentence: Sentence, text: str) -> list[Recommendation]:
    """What the sentence asks to be done, in order; verbatim spans. Indication, technique and comparison ask nothing."""
    rules = recommendation_rules()
    words = sentence.words
    section = sentence.part is Part.RECOMMENDATION
    if sentence.part in SILENT or (rules.triggers.isdisjoint(words) and not section):
        return []
    found: list[Recommendation] = []
    for first, last in rules.clauses(words):
        clause = Clause(rules, words, first, last)
        drafts = _drafts(clause, section)
        _attach(clause, drafts)
        for draft, following in pairwise([*drafts, None]):
            if draft is not None:
                found.append(_recommendation(clause, draft, following, sentence, text))
    return list(dict.fromkeys(found))


def _drafts(clause: Clause, section: bool) -> list[_Draft]:
    claimed: set[int] = set()  # first words of items that belong to an ask
    drafts: list[_Draft] = []
    for ask in clause.asks:
        drafts += _asked(clause, ask, claimed)
    drafts += _unasked(clause, claimed, section)
    if not drafts:
        drafts = _stated(clause) if section else _for_a_purpose(clause)
    return sorted(drafts, key=lambda draft: draft.begin)


# -- asks and their items


def _asked(clause: Clause, ask: Hit, claimed: set[int]) -> list[_Draft]:
    items: list[Hit] = []
    if ask.cue.place != "before":
        items = _before(clause, ask, claimed)
    if not items and ask.cue.place != "after":
        items = _after(clause, ask, claimed)
    if items:
        claimed.update(hit.first for hit in items)
        return _grouped(clause, items, [(ask.first, ask.end)])
    if ask.cue.alone and not claimed and _says_more(clause, ask):
        return [_Draft([], [(ask.first, ask.end)])]
    return []


def _after(clause: Clause, ask: Hit, claimed: set[int]) -> list[Hit]:
    """The items behind an ask, to the next ask that stands before its own."""
    later = (other.first for other in clause.asks if other.first >= ask.end and other.cue.place == "before")
    limit = next(later, clause.last)
    found: list[Hit] = []
    here, reach = ask.end, ask.cue.reach
    for item in clause.items:
        if item.first < ask.end or item.first in claimed:
            continue
        if item.first - here > reach or item.first >= limit or not clause.free(here, item.first):
            break
        if found or item.cue.action or not clause.is_prior(item):
            found.append(item)
        here, reach = item.end, _NEXT_REACH
    return found


def _before(clause: Clause, ask: Hit, claimed: set[int]) -> list[Hit]:
    """The items before an ask, back to the ask before."""
    limit = max((other.end for other in clause.asks if other.end <= ask.first), default=clause.first)
    found: list[Hit] = []
    here, reach = ask.first, ask.cue.reach
    for item in reversed(clause.items):
        if item.end > ask.first or item.first in claimed:
            continue
        if here - item.end > reach or item.first < limit or not clause.free(item.end, here):
            break
        found.append(item)
        here, reach = item.first, _NEXT_REACH
    found.reverse()
    while found and not found[0].cue.action and clause.is_prior(found[0]):
        del found[0]
    return found


def _says_more(clause: Clause, ask: Hit) -> bool:
    """Is there a word besides the ask that could be what it asks for?"""
    if ask.cue.place == "before":
        return ask.end < clause.last and not clause.stopped(ask.end)
    start = clause.segment(ask.first)
    return start < ask.first and clause.free(start, ask.first)


def _grouped(clause: Clause, items: Sequence[Hit], pieces: list[tuple[int, int]]) -> list[_Draft]:
    """One draft an action: a new one where "or", "and", "then" stands between two items."""
    drafts: list[_Draft] = []
    for item in items:
        action = ""
        if drafts:
            last = drafts[-1]
            gap = range(last.items[-1].end, item.first)
            if item.cue.asks == "with" or not any(clause.word_is(at, "join") for at in gap):
                last.items.append(item)
                last.pieces.append((item.first, item.end))
                continue
            if len(gap) <= 2 and not item.cue.action and last.items[-1].cue.modality:
                last.linked = True
                action = last.action or next((hit.cue.action for hit in last.items if hit.cue.action), "")
        drafts.append(_Draft([item], [(item.first, item.end), *pieces], action))
    return drafts


# -- without a verb


def _unasked(clause: Clause, claimed: set[int], section: bool) -> list[_Draft]:
    """Items that ask by themselves, or by a purpose, condition or time behind them. In the section RECOMMENDATION all do."""
    drafts: list[_Draft] = []
    for index, item in enumerate(clause.items):
        if item.first in claimed or not (section or _asks_itself(clause, item)):
            continue
        group = [item]
        for other in clause.items[index + 1 :]:
            end = group[-1].end
            if other.first > end + _NEXT_REACH or other.first in claimed or not clause.free(end, other.first):
                break
            if section or "," not in clause.words[end : other.first]:
                group.append(other)
        claimed.update(hit.first for hit in group)
        drafts += _grouped(clause, group, [])
    return drafts


def _asks_itself(clause: Clause, item: Hit) -> bool:
    if item.cue.asks == "always":
        return True
    start = clause.segment(item.first)
    if item.cue.asks == "start":
        begins = item.first in {start, clause.first} or clause.word_is(item.first - 1, "start")
        return begins or clause.word_is(item.first, "start")
    if not (item.cue.modality or item.cue.action in {"follow_up", "further_imaging"}):
        return False
    if clause.is_prior(item) or not clause.free(start, item.first):
        return False
    if any(hit.cue.asks and hit.first >= item.end and clause.free(item.end, hit.first) for hit in clause.purposes):
        return True
    alone = item.first == start and clause.free(clause.first, clause.last)
    if alone and any(first == item.end for first, _ in clause.conditions):
        return True
    return clause.free(item.end, clause.last) and any(
        time.first >= item.end and clause.word_is(time.first, "time_to_come") for time in clause.times
    )


def _for_a_purpose(clause: Clause) -> list[_Draft]:
    """ "XXXX chest for further evaluation": the purpose asks, although the study is not known."""
    for hit in clause.purposes:
        start = clause.segment(hit.first)
        near = 0 < hit.first - start <= _LEFT_REACH and clause.free(start, hit.first)
        if hit.cue.asks and hit.cue.action == "further_imaging" and near:
            return [_Draft([], [(start, hit.end)])]
    return []


def _stated(clause: Clause) -> list[_Draft]:
    """In the section RECOMMENDATION, what names no known item asks too, unless it says that there is nothing."""
    said = [at for at in range(clause.first, clause.last) if clause.words[at][:1].isalpha()]
    if not said or clause.word_is(said[0], "none") or not clause.free(clause.first, clause.last):
        return []
    return [_Draft([], [(said[0], said[-1] + 1)])]


# -- what is said of them


def _attach(clause: Clause, drafts: list[_Draft]) -> None:
    """Give each interval, purpose and condition to the draft that it is said of."""
    if not drafts:
        return
    for hit in clause.intervals:
        owner = _owner(drafts, hit.first)
        near = hit.first >= owner.first - _LEFT_REACH and clause.free(min(owner.end, hit.end), hit.first)
        if not near:
            continue
        if owner.interval is None:
            owner.interval = hit
            owner.pieces.append((hit.first, hit.end))
        elif (
            hit in clause.times and "then" in clause.words[owner.interval.end : hit.first]
        ):  # "in 6 months, then in 18 months"
            place = drafts.index(owner) + 1
            drafts.insert(place, _Draft(owner.items, [*owner.pieces, (hit.first, hit.end)], owner.action, interval=hit))
    for hit in clause.purposes:
        owner = _owner(drafts, hit.first)
        if hit.first >= owner.first and clause.free(owner.end, hit.first):
            owner.pieces.append((hit.first, hit.end))
            owner.action = owner.action or hit.cue.action
    for condition in clause.conditions:
        for draft in _conditioned(clause, drafts, condition):
            if draft.condition is None or (
                draft.condition[1] <= draft.begin and _gap(draft, condition) <= _gap(draft, draft.condition)
            ):
                draft.condition = condition
    for draft in drafts:
        if draft.condition is not None:
            draft.pieces.append(draft.condition)
    for draft, following in reversed(list(pairwise(drafts))):
        if draft.linked:
            draft.interval = draft.interval or following.interval
            draft.condition = draft.condition or following.condition


def _gap(draft: _Draft, condition: tuple[int, int]) -> int:
    """Words between what is asked and a condition."""
    return max(condition[0] - draft.end, draft.begin - condition[1])


def _owner(drafts: Sequence[_Draft], at: int) -> _Draft:
    """The draft that what stands at word `at` is said of: the last one that begins before it, else the first."""
    return next((draft for draft in reversed(drafts) if draft.begin <= at), drafts[0])


def _conditioned(clause: Clause, drafts: Sequence[_Draft], condition: tuple[int, int]) -> Sequence[_Draft]:
    """The drafts that a condition holds for: those behind it where it opens the clause or a part, else the one before."""
    first, end = condition
    behind = [draft for draft in drafts if draft.first > first]
    opens = first == clause.first or clause.words[first - 1] in {",", "and"}
    closed = end < clause.last and clause.words[end] == ","
    return behind if len(behind) == len(drafts) or (behind and opens and closed) else [_owner(drafts, first)]


def _action(clause: Clause, draft: _Draft) -> str:
    named = [hit.cue.action for hit in draft.items if hit.cue.action and (hit.cue.asks != "with" or len(draft.items) == 1)]
    studies = [hit for hit in draft.items if hit.cue.modality or hit.cue.action == "further_imaging"]
    if studies and studies[0] is draft.items[0] and clause.is_prior(studies[0], "done_before"):
        return "comparison"
    if named and named[0] == "correlation":
        if not studies:
            return "clinical_correlation"
        return "comparison" if clause.is_prior(studies[0]) else "further_imaging"
    if named or draft.action:
        return named[0] if named else draft.action
    cue = draft.interval.cue if draft.interval else _NO_DAYS
    if (cue.most_days or cue.least_days or 0) >= _FOLLOW_UP_DAYS:
        return "follow_up"
    return "further_imaging" if draft.items else "other"


def _recommendation(
    clause: Clause, draft: _Draft, following: _Draft | None, sentence: Sentence, text: str
) -> Recommendation:
    first, end = _extent(clause, draft, following)
    days = draft.interval.cue if draft.interval else _NO_DAYS
    return Recommendation(
        action=_action(clause, draft),
        span=sentence.span(text, first, end),
        part=sentence.part,
        modality=next((hit.cue.modality for hit in draft.items if hit.cue.modality), None),
        least_days=days.least_days,
        most_days=days.most_days,
        interval=sentence.span(text, draft.interval.first, draft.interval.end).quote if draft.interval else "",
        condition=sentence.span(text, *draft.condition).quote if draft.condition else "",
    )


def _extent(clause: Clause, draft: _Draft, following: _Draft | None) -> tuple[int, int]:
    """The words of the quote: all pieces, and what belongs to them up to the next comma or the next item."""
    first, end = draft.first, draft.end
    closes = clause.rules.closes
    limit = following.begin if following and following.items and following.begin >= end else clause.last
    while end < limit and clause.words[end] not in closes and (limit == clause.last or not clause.word_is(end, "join")):
        end += 1
    if _begins_before(clause, draft):
        least = max(clause.segment(first), first - _LEFT_REACH)
        while first > least and not clause.stopped(first - 1) and not clause.word_is(first - 1, "join"):
            first -= 1
    while end - 1 > first and (clause.words[end - 1] in closes or clause.word_is(end - 1, "join")):
        end -= 1
    while first < end - 1 and (clause.words[first] in closes or clause.word_is(first, "join")):
        first += 1
    return first, end


def _begins_before(clause: Clause, draft: _Draft) -> bool:
    """Do words before the first piece belong to it: "A low dose | CT is recommended", but not "nodule, | recommend CT"?"""
    if not draft.items or clause.word_is(draft.first, "modal"):
        return True
    leading = {draft.items[0].first} | ({draft.interval.first} if draft.interval else set())
    return draft.first in leading and draft.items[0].cue.asks not in {"always", "start"}
