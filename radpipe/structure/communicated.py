"""Results that a sentence says were told to somebody: "Dr. Smith was notified by telephone at 3:15 pm on 1/2/2020".

The words that tell of it, the people, the times and the ways are data (lexicon/common/communication.toml); only numbers,
clock times and dates, and names (capitalised, or XXXX where privacy removed them) are read by code.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from radpipe.observation import Communication
from radpipe.structure.phrases import Phrases
from radpipe.structure.text import SILENT, Sentence

COMMUNICATION_PATH = Path(__file__).parent / "lexicon" / "common" / "communication.toml"

_NAME_WORDS = 4
_WHEN_PIECES = 6
_CLOCK_WORDS = 4
_HOW_WORDS = 4
_LEADS = 2
_NEAR = 6
_REMOVED = "xxxx"
_IN_NAMES = frozenset({".", "-", "'", "’"})

_Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Hit:
    """What a phrase of the file found at `words[first:end]`."""

    first: int
    end: int
    role: str  # told, deny, undo; title, role, weak, of; when, how
    needs_person: bool = False


@dataclass(frozen=True, slots=True)
class _Cue:
    role: str
    needs_person: bool = False


def communications(sentence: Sentence, text: str) -> list[Communication]:
    """At most one: what the sentence says was told, to whom, when and how, as written; verbatim span."""
    rules = _rules()
    words = sentence.words
    if sentence.part in SILENT or rules.triggers.isdisjoint(words):
        return []
    hits = _hits(rules.telling, words)
    told = [hit for hit in hits if hit.role == "told"]
    if not told or any(hit.role == "undo" for hit in hits):
        return []
    people = list(_people(rules, sentence, text))
    if all(hit.needs_person for hit in told) and not people:
        return []
    person = _addressee(rules, sentence, text, told, people)
    ways = _hits(rules.ways, words)
    when = _when(rules, words, ways, person)
    how = _how(rules, words, ways)
    pieces = [(hit.first, hit.end) for hit in told] + [piece for piece in (person, when, how) if piece is not None]
    whole = _subject(words, min(piece[0] for piece in pieces)), max(piece[1] for piece in pieces)
    span = sentence.span(text, *whole)
    to_whom, at, by = ("" if piece is None else sentence.span(text, *piece).quote for piece in (person, when, how))
    return [Communication(span, sentence.part, to_whom, at, by)]


class _Rules:
    """communication.toml: automata over its phrases, and sets of words by name."""

    def __init__(self, text: str) -> None:
        table = tomllib.loads(text)
        words, person, when = table["words"], table["person"], table["when"]
        self.triggers = frozenset(table["triggers"])
        self.telling: Phrases[_Cue] = Phrases(words)
        self.people: Phrases[_Cue] = Phrases(words)
        self.ways: Phrases[_Cue] = Phrases(words)
        for row in table["told"]:
            _add(self.telling, row["phrases"], _Cue("told", row.get("needs") == "person"))
        _add(self.telling, table["deny"]["phrases"], _Cue("deny"))
        _add(self.telling, table["undo"]["phrases"], _Cue("undo"))
        self.places: Phrases[_Cue] = Phrases(words)
        for name, role in (("titles", "title"), ("roles", "role"), ("weak", "weak")):
            _add(self.people, person[name], _Cue(role))
        _add(self.places, person["of"], _Cue("of"))
        _add(self.ways, when["phrases"], _Cue("when"))
        _add(self.ways, table["how"]["phrases"], _Cue("how"))
        self.after, self.sender, self.stop = (frozenset(person[name]) for name in ("after", "sender", "stop"))
        self.leads, self.clock, self.joins = (frozenset(when[name]) for name in ("leads", "clock", "joins"))
        self.months, self.weekdays = frozenset(when["months"]), frozenset(when["weekdays"])
        self.how_leads = frozenset(table["how"]["leads"])


@cache
def _rules() -> _Rules:
    return _Rules(COMMUNICATION_PATH.read_text(encoding="utf-8"))


def _add(phrases: Phrases[_Cue], written: Sequence[str], cue: _Cue) -> None:
    for phrase in written:
        phrases.add(phrase, cue)


def _hits(phrases: Phrases[_Cue], words: Sequence[str]) -> list[_Hit]:
    return [_Hit(first, end, cues[0].role, cues[0].needs_person) for first, end, cues in phrases.matches(words)]


def _subject(words: Sequence[str], first: int) -> int:
    """The beginning of the clause when it is near: "results of this study | were conveyed"."""
    for at in range(first, max(-1, first - _NEAR - 1), -1):
        if at == 0 or words[at - 1] in {",", ";", ":"}:
            return at
    return first


# -- to whom


def _people(rules: _Rules, sentence: Sentence, text: str) -> Iterator[_Hit]:
    """The people of the sentence, with their names, degrees and places."""
    for hit in _hits(rules.people, sentence.words):
        end = hit.end
        if hit.role == "title":
            end = _name(rules, sentence, text, hit.end)
            if end == hit.end:
                continue
        yield _Hit(hit.first, _with_place(rules, sentence.words, end), hit.role)


def _name(rules: _Rules, sentence: Sentence, text: str, at: int) -> int:
    """The word after the name that begins at `at`; `at` when none does."""
    words = sentence.words
    end, taken = at, 0
    while end < len(words) and taken < _NAME_WORDS:
        if _is_name(rules, sentence, text, end, begins=not taken):
            taken += 1
        elif not (taken and words[end] in _IN_NAMES and end + 1 < len(words) and words[end + 1] not in rules.stop):
            break
        end += 1
    while end > at and not words[end - 1][0].isalnum():
        end -= 1
    joined = taken == 1 and end + 1 < len(words) and words[end] == "and"
    both = joined and _is_name(rules, sentence, text, end + 1, begins=False)
    return end + 2 if both else end  # "Drs. Smith and Jones"


def _is_name(rules: _Rules, sentence: Sentence, text: str, at: int, *, begins: bool) -> bool:
    """A capitalised word, or a name that was removed; in a text without capitals, one word behind a title."""
    word = sentence.words[at]
    if word == _REMOVED:
        return True
    if not word[0].isalpha() or word in rules.stop:
        return False
    return text[sentence.starts[at]].isupper() or (begins and not _has_case(sentence, text))


def _has_case(sentence: Sentence, text: str) -> bool:
    """Is there a capital letter besides the first of the sentence?"""
    return any(text[start].isupper() for start in sentence.starts[1:])


def _with_place(rules: _Rules, words: Sequence[str], end: int) -> int:
    """Further, over "of the ED", ", MD", "(surgery)"."""
    for _ in range(_LEADS):
        near = rules.places.matches(words, end, min(len(words), end + 8))
        end = next((stop for first, stop, _ in near if first == end), end)
    if end < len(words) and words[end] == "(":
        close = next((at for at in range(end + 1, min(end + 2 + _NAME_WORDS, len(words))) if words[at] == ")"), None)
        return end if close is None else close + 1
    return end


def _addressee(rules: _Rules, sentence: Sentence, text: str, told: Sequence[_Hit], people: Sequence[_Hit]) -> _Range | None:
    """Who was told: nobody behind "by"; a name without a title behind "with" or "to"."""
    words = sentence.words
    named = [person for person in people if not (person.first and words[person.first - 1] in rules.sender)]
    if named:
        behind = {person.first for person in named if person.first and words[person.first - 1] in rules.after}
        best = min(named, key=lambda person: (person.role == "weak", person.first not in behind, person.first))
        return best.first, best.end
    for hit in told:
        for at in range(hit.first, min(hit.end + 3, len(words) - 1)):
            if words[at] in rules.after and (words[at + 1] == _REMOVED or _has_case(sentence, text)):
                end = _name(rules, sentence, text, at + 1)
                if end > at + 1:
                    return at + 1, _with_place(rules, words, end)
    return None


# -- when


def _when(rules: _Rules, words: Sequence[str], ways: Sequence[_Hit], person: _Range | None) -> _Range | None:
    """Times and dates that stand together, with the preposition before them."""
    named = range(*person) if person else range(0)
    phrases = {hit.first: hit.end for hit in ways if hit.role == "when"}
    at = 0
    while at < len(words):
        end = at if at in named else _moment(rules, words, at, phrases)
        if end == at:
            at += 1
            continue
        first = at
        while first > 0 and at - first < _LEADS and words[first - 1] in rules.leads:
            first -= 1
        return first, _later(rules, words, end, phrases)
    return None


def _later(rules: _Rules, words: Sequence[str], end: int, phrases: Mapping[int, int]) -> int:
    """The word after the last of the times that follow one another from the one that ends at `end`."""
    for _ in range(_WHEN_PIECES):
        following = end
        while following < len(words) and following - end < _LEADS and words[following] in rules.joins:
            following += 1
        later = _moment(rules, words, following, phrases)
        if later == following:
            if words[end : end + 2] != [",", _REMOVED] or words[end - 1] != _REMOVED:
                break
            later = end + 2  # the year of a date that was removed
        end = later
    return end


def _moment(rules: _Rules, words: Sequence[str], at: int, phrases: Mapping[int, int]) -> int:
    """The word after the time or date at `at`; `at` when none stands there."""
    if at >= len(words):
        return at
    word = words[at]
    if at in phrases:
        return phrases[at]
    if word in rules.months or word in rules.weekdays:
        return _calendar_day(rules, words, at)
    if not (word[:1].isdigit() or word == _REMOVED):
        glued = word.startswith(_REMOVED) and word.removeprefix(_REMOVED) in rules.clock  # "XXXXPM"
        return at + 1 if glued else at
    end = at + 1
    while end + 1 < len(words) and end - at < 6 and words[end] in {":", "/", "-"} and _is_number(words[end + 1]):
        end += 2
    clock = _clock(rules, words, end)
    if clock < len(words) and words[clock] in rules.months:
        return _calendar_day(rules, words, clock)
    alone = at > 0 and words[at - 1] in rules.leads and (word == _REMOVED or len(word) in {3, 4})
    return clock if clock > at + 1 or word.count(".") == 2 or alone else at


def _is_number(word: str) -> bool:
    return word[:1].isdigit() or word == _REMOVED


def _calendar_day(rules: _Rules, words: Sequence[str], at: int) -> int:
    """Over "January 5, 2020" or "Monday"; `at` for a month's name alone, which may be a verb ("may")."""
    end = at + 1
    while end < len(words) and end - at < 4:
        if words[end] == "," and end + 1 < len(words) and words[end + 1].isdigit():
            end += 1
        if not words[end].isdigit():
            break
        end += 1
    return end if end > at + 1 or words[at] in rules.weekdays else at


def _clock(rules: _Rules, words: Sequence[str], end: int) -> int:
    """Further, over "pm", "p.m.", "hours EST"."""
    for _ in range(_CLOCK_WORDS):
        if end < len(words) and words[end] in rules.clock:
            end += 1
        elif end + 1 < len(words) and words[end] == "." and words[end - 1] in rules.clock and words[end + 1] in rules.clock:
            end += 2
        else:
            break
    return end


# -- how


def _how(rules: _Rules, words: Sequence[str], ways: Sequence[_Hit]) -> _Range | None:
    """A way that is known, or what stands behind "via" up to the next preposition."""
    found = next((hit for hit in ways if hit.role == "how"), None)
    if found is not None:
        return found.first, found.end
    for at, word in enumerate(words[:-1]):
        if word in rules.how_leads:
            end = at + 1
            while end < len(words) and end - at <= _HOW_WORDS and _goes_on(rules, words[end]):
                end += 1
            if end > at + 1:
                return at, end
    return None


def _goes_on(rules: _Rules, word: str) -> bool:
    return word[0].isalpha() and (word not in rules.stop or word in {"the", "a"})
