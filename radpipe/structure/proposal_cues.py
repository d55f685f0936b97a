"""What the lexicon's cues say of a quoted piece of a sentence: status, side, degree, change.

The reach of denial, doubt and supposition is the engine's own (`scope`). Stricter than the engine in one way: a quote of
which one part is denied and another is not says nothing, because nobody knows which of its words name the finding.
"""

from __future__ import annotations

from collections.abc import Sequence

from radpipe.codes import Laterality
from radpipe.finding import ChangeKind
from radpipe.observation import Assertion, Severity
from radpipe.structure.lexicon import Kind, Lexicon
from radpipe.structure.scope import Event, Scope
from radpipe.structure.text import Sentence

_CUES = frozenset({
    Kind.DENIES, Kind.DENIED, Kind.DOUBTS, Kind.LINKS, Kind.DOUBTED, Kind.BETWEEN, Kind.NAMES, Kind.SUPPOSES, Kind.STOP,
    Kind.CLAUSE, Kind.SIDE, Kind.DEGREE, Kind.CHANGE, Kind.NORMAL,
})  # fmt: skip
_SMALL_WORDS = frozenset({
    "a", "an", "the", "there", "this", "these", "that", "of", "in", "on", "at", "to", "for", "and", "or", "nor", "with",
    "as", "by", "it",
})  # fmt: skip


class QuoteCues:
    """The cues around `sentence.words[first:end]`.

    `status` is None where the sentence only asks or supposes, and where the quote holds more than one statement; `said`
    then tells which. `rules` are the labels of what decided, for --explain.
    """

    def __init__(self, sentence: Sentence, first: int, end: int, lexicon: Lexicon) -> None:
        words = [lexicon.spelling.read(word) for word in sentence.words]
        events = [Event(start, stop, rule) for start, stop, rules in lexicon.phrases.matches(words) for rule in rules]
        scope = Scope(words, events, lexicon)
        clauses = set(scope.clause[first:end])
        near = [event for event in events if scope.clause[event.first] in clauses]
        self.rules: tuple[str, ...] = ()
        self.status, self.said = self._judge(scope, near, first, end)
        sides = {event.rule.laterality for event in near if event.rule.laterality is not None}
        if {Laterality.LEFT, Laterality.RIGHT} <= sides:
            sides.add(Laterality.BILATERAL)
        self.sides: frozenset[Laterality] = frozenset(sides)
        self.severities: frozenset[Severity] = frozenset(
            event.rule.severity for event in near if event.rule.kind is Kind.DEGREE and event.rule.severity is not None
        )
        self.changes: frozenset[ChangeKind] = frozenset(
            event.rule.change for event in near if event.rule.kind is Kind.CHANGE and event.rule.change is not None
        )

    def _judge(self, scope: Scope, near: Sequence[Event], first: int, end: int) -> tuple[Assertion | None, str]:
        cue_words = {
            index for event in near if event.rule.kind in _CUES for index in range(event.first, event.end)
        }  # fmt: skip
        named = [
            index for index in range(first, end)
            if index not in cue_words and scope.words[index] not in _SMALL_WORDS and not scope.is_verb(index)
            and scope.words[index][0].isalpha()
        ] or [index for index in range(first, end) if scope.words[index][0].isalpha()]  # fmt: skip
        found: set[Assertion] = set()
        for index in named:
            if scope.supposed[index] is not None:
                return None, "it asks or supposes"
            denial, doubt = scope.denied[index], scope.doubted[index]
            cue = denial or doubt
            found.add(Assertion.PRESENT if cue is None else Assertion.ABSENT if cue is denial else Assertion.UNCERTAIN)
            self._because(cue)
        for event in near:
            kind = event.rule.kind
            if kind is Kind.NORMAL or (kind is Kind.CHANGE and event.rule.change is ChangeKind.RESOLVED):
                found = {Assertion.ABSENT} if found <= {Assertion.PRESENT, Assertion.ABSENT} else found
                self._because(event)
            elif kind is Kind.BETWEEN and found == {Assertion.PRESENT}:
                found = {Assertion.UNCERTAIN}
                self._because(event)
        if len(found) == 1:
            status = found.pop()
            return status, status.value
        return None, "more than one statement; a shorter quote is needed"

    def _because(self, event: Event | None) -> None:
        if event is not None and event.rule.label not in self.rules:
            self.rules = (*self.rules, event.rule.label)
