"""Where a sentence speaks of findings.

A finding is named by a term ("effusion"), or told by the state of an anatomy ("the heart is enlarged", "costophrenic
angles are sharp").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from radpipe.codes import Laterality
from radpipe.finding import ChangeKind
from radpipe.observation import Assertion, Device, Location, Severity, Size
from radpipe.structure.lexicon import STATES, Kind, Rule
from radpipe.structure.scope import LIST_JOINTS, Event, Scope
from radpipe.structure.text import Sentence

_TERMS = frozenset({Kind.TERM, Kind.ONLY_DENIED, Kind.OTHER})
_ENDS_LIST = frozenset({Kind.STOP, Kind.DENIES, Kind.TERM, Kind.CLAUSE, Kind.DOUBTS, Kind.LINKS})
_ADDS = frozenset({"and", ",", "but", "otherwise", "also", "bilaterally"})
_DESCRIBES = frozenset({Kind.SIDE, Kind.PLACE, Kind.DEGREE})


@dataclass(slots=True)
class Draft:
    """One mention while it is being read. Words are counted within its sentence."""

    finding: str
    first: int
    end: int
    status: Assertion | None
    sentence: Sentence
    only_denied: bool = False  # counts only where a denial covers it
    named: bool = False  # the report goes on to say what it is
    from_words: int = 0  # of the quote
    to_words: int = 0
    sides: list[Laterality] = field(default_factory=list)
    severity: Severity | None = None
    change: ChangeKind | None = None
    weak_change: bool = False  # said by a word like "again"
    places: list[Location] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    device: Device | None = None
    rules: list[str] = field(default_factory=list)
    subject: tuple[int, int] = (0, 0)  # the words of the anatomy whose state this is
    sign: bool = False
    source: str = ""  # the finding that this one may explain
    unlisted: bool = False  # no finding of the lexicon: it bounds the others' words, and may name them

    def again(self, sentence: Sentence) -> Draft:
        """The same mention in another sentence of the same words."""
        return Draft(  # dataclasses.replace() takes five times as long, and this is most of what a known sentence costs
            self.finding, self.first, self.end, self.status, sentence, self.only_denied, self.named, self.from_words,
            self.to_words, list(self.sides), self.severity, self.change, self.weak_change, list(self.places),
            list(self.sizes), self.device, list(self.rules), self.subject, self.sign, self.source, self.unlisted,
        )  # fmt: skip

    def take_change(self, change: ChangeKind | None, *, weak: bool = False) -> None:
        """What has resolved is no longer there: no mention is present and resolved."""
        self.change, self.weak_change = change, weak
        if change is ChangeKind.RESOLVED:
            self.status = Assertion.ABSENT

    def widen(self, first: int, end: int) -> None:
        """Let the quote hold these words too."""
        self.from_words = min(self.from_words, first)
        self.to_words = max(self.to_words, end)


def anchors(sentence: Sentence, scope: Scope) -> list[Draft]:
    drafts: list[Draft] = []
    states = _states(sentence, scope)
    told = {(draft.finding, draft.subject) for draft in states}
    state_words = {(draft.first, draft.end) for draft in states}
    for event in scope.events:
        rule = event.rule
        words = (event.first, event.end)
        if rule.kind in _TERMS and (rule.finding, words) not in told and not (rule.sign and words in state_words):
            draft = Draft(
                rule.finding, event.first, event.end, rule.status, sentence, from_words=event.first, to_words=event.end,
                device=rule.device, severity=rule.severity, change=rule.change, rules=[rule.label],
            )  # fmt: skip
            if rule.laterality:
                draft.sides.append(rule.laterality)
            if rule.unnamed and scope.words[event.end : event.end + 1] == [":"]:
                continue  # "LINES/TUBES: None."
            if rule.unnamed and any(draft.device for draft in drafts):
                continue  # "PICC with its tip in ...": the tip is the PICC's
            if drafts and (drafts[-1].finding, drafts[-1].end, drafts[-1].status) == (
                rule.finding,
                event.first,
                rule.status,
            ):
                drafts[-1].end = drafts[-1].to_words = event.end  # "venous line catheter" is one device
                continue
            draft.sign = rule.sign
            draft.unlisted = rule.kind is Kind.OTHER
            if rule.kind is Kind.ONLY_DENIED:
                draft.status, draft.only_denied = Assertion.ABSENT, True
            drafts.append(draft)
    drafts.extend(states)
    drafts.sort(key=lambda draft: (draft.first, draft.end))
    return drafts


def _states(sentence: Sentence, scope: Scope) -> list[Draft]:
    """Subjects joined with their states: "heart size and pulmonary vascularity are normal", "mildly enlarged heart"."""
    words, events = scope.words, scope.events
    subjects = [
        event for event in events
        if event.rule.kind is Kind.SUBJECT
        or (event.rule.kind is Kind.ADJECTIVE and event.end < len(words) and words[event.end] in LIST_JOINTS)
    ]  # fmt: skip
    states = [event for event in events if event.rule.kind in STATES]
    drafts: list[Draft] = []
    if not subjects or not states:
        return drafts
    spans = sorted({(state.first, state.end) for state in states})
    floor = 0
    chosen: list[Event] = []
    for number, (first, end) in enumerate(spans):
        here = [state.rule for state in states if state.first == first and state.end == end]
        left = [s for s in subjects if floor <= s.first and s.end <= first and _speaks_of(scope, s, first)]
        ceiling = spans[number + 1][0] if number + 1 < len(spans) else len(words)
        right = _following(scope, subjects, end, ceiling, normal=any(rule.kind is Kind.NORMAL for rule in here))
        if (
            left
            and right
            and right[0].first - end <= 1
            and not any(scope.is_verb(i) for i in range(left[-1].end, first))
            and left[-1].end < first
        ):
            left = []
        if not left and not right and chosen and _goes_on(scope, spans[number - 1][1], first):
            left = chosen  # "tortuous and calcified"
        chosen = left or right
        floor = max([end, *(s.end for s in (right if not left else ()))])
        for subject in chosen:
            for rule in here:
                if _fits(rule, subject.rule):
                    drafts.append(_state_draft(sentence, subject, first, end, rule))
    return drafts


def _goes_on(scope: Scope, first: int, end: int) -> bool:
    """Whether a state adds to the one before: "normal in size and unremarkable"."""
    return first < end and all(
        scope.words[i] in {",", "and", "but", "or", "also", "is", "are"} or scope.kinds(i) & {Kind.DEGREE}
        for i in range(first, end)
    )


def _speaks_of(scope: Scope, subject: Event, state: int) -> bool:
    """Whether they share a clause, or the state's clause is too short for a subject of its own ("..., but clear")."""
    if scope.clause[subject.first] == scope.clause[state]:
        return _joined(scope, subject.end, state)
    return scope.clause[subject.first] == scope.clause[state] - 1 and state - scope.clause_start(state) <= 2


def _joined(scope: Scope, first: int, end: int) -> bool:
    """Whether a state at `end` can speak of a subject that ends at `first`: no cue or finding lies between, but one that the
    state adds to ("the lungs are normally inflated and clear").
    """
    words = scope.words
    blocks = {Kind.STOP, Kind.LINKS, Kind.NAMES}
    if words[end] != "without":  # "osseous structures show degenerative change without acute abnormality"
        blocks.add(Kind.TERM)
    return not any(
        event.rule.kind in blocks
        and first <= event.first < end
        and Kind.SUBJECT not in scope.kinds(event.first)
        and not (event.rule.kind is Kind.TERM and all(word in _ADDS for word in words[event.end : end]))
        for event in scope.events
    )


def _following(scope: Scope, subjects: Sequence[Event], start: int, ceiling: int, *, normal: bool) -> list[Event]:
    """The subjects of a list that begins right after a state."""
    found: list[Event] = []
    index = start
    clause = scope.clause
    while index < ceiling and clause[index] == clause[start - 1]:
        here = [subject for subject in subjects if subject.first == index]
        kinds = scope.kinds(index)
        if here:
            found.extend(here)
            index = max(subject.end for subject in here)
            continue
        if scope.is_verb(index) or kinds & _ENDS_LIST or (found and Kind.CHANGE in kinds):
            break
        describes = normal or kinds & _DESCRIBES or scope.words[index] in {"of", "the", "in"}
        if not found and (index - start >= 4 or not describes):
            break
        index += 1
    return found


def _fits(state: Rule, subject: Rule) -> bool:
    return not state.finding or (state.finding == subject.finding and state.group == subject.group)


def _state_draft(sentence: Sentence, subject: Event, first: int, end: int, state: Rule) -> Draft:
    status = {Kind.NORMAL: Assertion.ABSENT, Kind.BORDERLINE: Assertion.UNCERTAIN}.get(state.kind)
    return Draft(
        subject.rule.finding, first, end, status, sentence,
        from_words=min(first, subject.first), to_words=max(end, subject.end),
        rules=[subject.rule.label, state.label], subject=(subject.first, subject.end),
    )  # fmt: skip
