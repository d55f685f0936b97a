"""How far a cue reaches: clauses, and within them what is denied, doubted or only supposed.

After ConText (Harkema et al., J Biomed Inform 2009;42:839), with one difference: reach follows the clause and the list that
the cue stands in, and not a count of words. "No effusion, pneumothorax or consolidation" denies three; "No effusion, stable
cardiomegaly" denies one.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple

from radpipe.observation import Severity
from radpipe.structure.lexicon import STATES, Kind, Lexicon, Rule


class Event(NamedTuple):
    """A phrase found: words[first:end], and what it means."""

    first: int
    end: int
    rule: Rule


LIST_JOINTS = frozenset({",", "and", "or", "/", "nor", "versus", "vs"})
"""Words that join the items of a list."""
_NOUNS = frozenset({Kind.TERM, Kind.ONLY_DENIED, Kind.SUBJECT, Kind.ADJECTIVE})
_RELATIVES = frozenset({"which", "that", "who", "whose", "but"})
_ARTICLES = frozenset(
    {
        "a",
        "an",
        "the",
        "there",
        "this",
        "these",
        "some",
        "several",
        "multiple",
        "old",
        "healed",
        "scattered",
        "chronic",
        "prior",
        "remote",
    }
)
_ORS = frozenset({"or", "nor", "versus", "vs", "/"})
_WITH_CUES = frozenset({Kind.NAMES, Kind.LINKS, Kind.DOUBTS})
_LEADS = frozenset({"in", "on", "at", "within", "over", "overlying", "throughout", "along", "near"})
_NONE: frozenset[Kind] = frozenset()
_LOOK_AHEAD = 16  # words in which the "or" of a list must come


_NONE_AT_ALL = frozenset({
    ("none",), ("no",), ("nil",), ("absent",), ("negative",), ("none", "seen"), ("none", "identified"), ("not", "seen"),
    ("not", "present"), ("not", "identified"), ("none", "visualized"), ("0",), ("not", "applicable"), ("negative", "for"),
})  # fmt: skip
_COLONS = frozenset({":", "-", "\u2013", "\u2014", "=", "("})
_TEMPLATE = Rule(Kind.DENIED, "negation, template: none")


class Scope:
    """One sentence's clauses and reaches. `denied`, `doubted`, `supposed` give, for each word, the cue that covers it."""

    def __init__(self, words: Sequence[str], events: Sequence[Event], lexicon: Lexicon) -> None:
        self.words = words
        self.events = events
        self._at: dict[int, list[Event]] = {}
        for event in events:
            self._at.setdefault(event.first, []).append(event)
        self._kinds = {first: {event.rule.kind for event in here} for first, here in self._at.items()}
        self.all_kinds = {event.rule.kind for event in events}
        self._verbs = lexicon.verbs
        self.clause = self._clauses()
        count = len(words)
        self.denied: list[Event | None] = [None] * count
        self.doubted: list[Event | None] = [None] * count
        self.supposed: list[Event | None] = [None] * count
        for event in events:
            self._mark(event)
        self._mark_templates()

    def kinds(self, at: int) -> Set[Kind]:
        """Kinds of the phrases that begin at this word."""
        return self._kinds.get(at, _NONE)

    def is_with(self, at: int) -> bool:
        """Whether the word is a "with" of its own, and not that of a cue ("consistent with")."""
        return self.words[at] == "with" and not any(
            event.first < at < event.end and event.rule.kind in _WITH_CUES for event in self.events
        )

    def is_subject_of(self, at: int, finding: str) -> bool:
        """Whether the anatomy named at this word is that of the finding."""
        return any(event.rule.kind is Kind.SUBJECT and event.rule.finding == finding for event in self._at.get(at, ()))

    def is_verb(self, at: int) -> bool:
        """Whether the word is a finite verb."""
        return self.words[at] in self._verbs

    def clause_end(self, at: int) -> int:
        """The word after the last of the clause that holds word `at`."""
        clause = self.clause
        number = clause[at] if at < len(clause) else -1
        while at < len(clause) and clause[at] == number:
            at += 1
        return at

    def clause_start(self, at: int) -> int:
        """The first word of the clause that holds word `at`."""
        clause = self.clause
        number = clause[at]
        while at > 0 and clause[at - 1] == number:
            at -= 1
        return at

    def _clauses(self) -> list[int]:
        """A number for each word: a clause ends where another with a subject and a verb of its own begins."""
        words, at, all_kinds = self.words, self._at, self._kinds
        numbers: list[int] = []
        number, complete, denial = 0, False, False
        subjects: set[str] = set()
        leads = bool(words) and words[0] in _LEADS  # "On the right, there is an effusion" is one clause
        for index, word in enumerate(words):
            here = at.get(index)
            kinds = all_kinds.get(index, _NONE)
            if Kind.CLAUSE in kinds and numbers and not (leads and not complete and not denial and word == "there"):
                number, complete, denial = number + 1, False, False
            elif (
                word == ";"
                or (word == "-" and 0 < index < len(words) - 1)
                or (
                    (word == "," or word == "and")
                    and (complete or denial)
                    and self._begins_clause(index, only_states=not complete)
                )
            ):
                numbers.append(number)
                number, complete, denial = number + 1, False, False
                continue
            numbers.append(number)
            if word in self._verbs or (here and self._state(here, subjects)):
                complete = True
            elif Kind.DENIES in kinds:
                denial = True
            elif Kind.TERM in kinds:
                leads = False
            if here:
                subjects.update(event.rule.finding for event in here if event.rule.kind is Kind.SUBJECT)
        return numbers

    @staticmethod
    def _state(events: Sequence[Event], subjects: set[str]) -> bool:
        """Whether one of these is the state of a subject named before."""
        return any(
            event.rule.kind in STATES and (not event.rule.finding or event.rule.finding in subjects) for event in events
        )

    def _begins_clause(self, comma: int, *, only_states: bool) -> bool:
        """Whether what follows this comma or "and" has a subject and then a verb or state, before the next of them."""
        words = self.words
        first = comma + 1
        if first < len(words) and words[first] == "and":
            first += 1
        if first >= len(words) or words[first] in _RELATIVES:
            return False
        verbs_count = not only_states or words[first] in _ARTICLES
        noun = False
        subjects: set[str] = set()
        for index in range(first, min(len(words), first + _LOOK_AHEAD)):
            word = words[index]
            if word == "," or word == "and" or word == ";":
                return False
            here = self._at.get(index, ())
            kinds = {event.rule.kind for event in here}
            if noun and ((verbs_count and word in self._verbs) or (subjects and self._state(here, subjects))):
                return True
            subjects.update(event.rule.finding for event in here if event.rule.kind is Kind.SUBJECT)
            if word in self._verbs and index == first:
                return False
            noun = noun or not _NOUNS.isdisjoint(kinds) or (index > first and word.isalpha())
        return False

    def _mark_templates(self) -> None:
        """ "Pneumothorax: none." denies what stands before the colon; so does a dash or a bracket."""
        words = self.words
        if _COLONS.isdisjoint(words):
            return
        for colon in (index for index, word in enumerate(words) if word in _COLONS):
            first = colon + 1
            while first < len(words) and words[first] in _COLONS:
                first += 1
            end = next((i for i in range(first, len(words)) if words[i] in {",", ";", "/", ")"}), len(words))
            if tuple(words[first:end]) in _NONE_AT_ALL or words[first : first + 3] == ["n", "/", "a"]:
                answer = Event(colon, end, _TEMPLATE)
                self._cover(self.denied, answer, self.clause_start(max(colon - 1, 0)), colon)
                continue
            denial = next((event for event in self._at.get(colon + 1, ()) if event.rule.kind is Kind.DENIES), None)
            if denial is not None:  # "Infarct: no acute infarct"
                named = [event for event in self.events if event.rule.kind is Kind.TERM and event.end == colon]
                for event in named:
                    self._cover(self.denied, denial._replace(first=event.first), event.first, colon)

    def _mark(self, event: Event) -> None:
        kind = event.rule.kind
        if kind is Kind.DENIES:
            self._cover(self.denied, event, event.end, self._reach(event, denies=True))
        elif kind is Kind.DOUBTS or kind is Kind.LINKS:
            self._cover(self.doubted, event, event.end, self._reach(event, denies=False))
        elif kind is Kind.RECALLS:
            self._cover(self.supposed, event, event.end, self._reach(event, denies=False))
        elif kind is Kind.SUPPOSES:
            self._cover(self.supposed, event, event.end, self.clause_end(event.end - 1))
        elif kind is Kind.DENIED:
            self._cover(self.denied, event, self._back(event, through_lists=True), event.first)
        elif kind is Kind.DOUBTED:
            self._cover(self.doubted, event, self._back(event, through_lists=False), event.first)

    @staticmethod
    def _cover(marks: list[Event | None], event: Event, first: int, end: int) -> None:
        for index in range(first, end):
            before = marks[index]
            if before is None or before.first <= event.first:
                marks[index] = event

    def _reach(self, cue: Event, *, denies: bool) -> int:
        words = self.words
        if cue.end >= len(words):
            return cue.end
        end = self.clause_end(cue.end - 1)
        index = cue.end
        while index < end:
            kinds = self.kinds(index)
            if kinds:
                if Kind.STOP in kinds or Kind.CLAUSE in kinds or (Kind.DENIES in kinds and index > cue.end):
                    break
                if denies and Kind.DOUBTS in kinds and words[index - 1] in {",", "and"}:
                    break
            if not denies and words[index] == ":":
                break
            if words[index] in {",", "and"} and not self._list_goes_on(index + 1, end, denies=denies):
                break
            index += 1
        return index

    def _list_goes_on(self, index: int, end: int, *, denies: bool) -> bool:
        """Whether the words after a comma or "and" are the next item of the list that the cue reaches into."""
        words = self.words
        while index < end and words[index] in {"or", "and", "nor", "and / or", ","}:
            if words[index] != "and" and words[index] != ",":
                return True
            index += 1
        if index >= end:
            return True
        opens = words[index] in _ARTICLES or words[index] in {"with", "is", "are", "which"} or any(
            event.rule.kind in {Kind.CHANGE, Kind.SIDE}
            or (event.rule.kind is Kind.DEGREE and event.rule.severity is not Severity.LARGE)
            or event.rule.kind in STATES
            for event in self._at.get(index, ())
        )  # fmt: skip
        if not opens:
            return not self._has_own_change(index, end) if denies else not self._is_seen(index, end)
        return self._or_follows(index, end)

    def _or_follows(self, index: int, end: int) -> bool:
        """Whether an "or" comes before the next verb: then the list is one of alternatives."""
        for later in range(index, min(end, index + _LOOK_AHEAD)):
            if self.words[later] in _ORS:
                return True
            if self.words[later] in self._verbs or Kind.STOP in self.kinds(later):
                return False
        return False

    def _has_own_change(self, index: int, end: int) -> bool:
        """Whether an item ends in a comparison of its own: "no pneumothorax, cardiomegaly stable"."""
        for later in range(index, min(end, index + _LOOK_AHEAD)):
            if self.words[later] == "," or self.words[later] in _ORS:
                return False
            if later > index and Kind.CHANGE in self.kinds(later):
                return True
        return False

    def _is_seen(self, index: int, end: int) -> bool:
        """Whether an item says of itself that it is there: "..., healed rib fracture noted"."""
        for later in range(index, min(end, index + _LOOK_AHEAD)):
            if self.words[later] == ",":
                return False
            if self.words[later] in {"noted", "seen", "present", "identified"}:
                return True
        return False

    def _back(self, cue: Event, *, through_lists: bool) -> int:
        start = self.clause_start(cue.first)
        index = cue.first - 1
        named = False
        while index >= start:
            kinds = self.kinds(index)
            if Kind.STOP in kinds:
                return index + 1
            word = self.words[index]
            if not through_lists and (word == "," or word == "and" or (word in self._verbs and named)):
                return index + 1
            named = named or Kind.TERM in kinds
            if through_lists and word in self._verbs and index < cue.first - 1:
                return index + 1
            index -= 1
        return start
