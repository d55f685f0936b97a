"""Phrases over words, compiled into one automaton: every phrase of a lexicon is looked for in a single pass.

A phrase is written as in a book, with a few signs:

    pleural effusion          these words, in this order
    (sharp|clear)             one of these; an alternative may have several words
    the?                      may be missing
    _                         any one word
    ...                       up to three words of any kind
    {side}                    an abbreviation for alternatives, from the lexicon's words.toml

Punctuation is a word of its own and is matched only where a phrase names it; the hyphen of a compound word ("right-sided")
is no word, and may be written or left out. The phrases become one non-deterministic
automaton over words, and its subsets are built when a text first needs them (Rabin and Scott 1959), so that matching takes
one dictionary look-up a word however many phrases there are. Words that no phrase names share one transition: memory is
bounded by the lexicon, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from radpipe.errors import StructureError

R = TypeVar("R")

_SIGNS = re.compile(r"\(|\)|\||\?|\{[a-z_]+\}|\.\.\.|[^\s()|?{}]+")
_HYPHEN = re.compile(
    r"(?<=[a-z]) - (?=[a-z])"
)  # within a compound word: sentences leave it out, so phrases may write it or not
_ANY = "_"
_OTHER = ""  # stands for every word that no phrase names
_GAP_WORDS = 3


class _State(Generic[R]):
    """One subset of the automaton: where each word leads, and the values of the phrases that are complete here."""

    __slots__ = ("complete", "next", "positions")

    def __init__(self, positions: frozenset[int], complete: tuple[R, ...]) -> None:
        self.positions = positions
        self.complete = complete
        self.next: dict[str, _State[R] | None] = {}


class Phrases(Generic[R]):
    """Many phrases, each with a value; `matches` finds them. Add all phrases before the first search.

    `spelling` gives the form of a word under which it is kept; the words that are searched must be in the same form. Of the
    values that hold for the same words, those with one `key` are given once.
    """

    def __init__(
        self, abbreviations: Mapping[str, str] | None = None, spelling: Callable[[str], str] | None = None,
        key: Callable[[R], Hashable] | None = None,
    ) -> None:  # fmt: skip
        self._key = key or (lambda value: id(value))
        self._abbreviations = dict(abbreviations or {})
        self._spelling = spelling or (lambda word: word)
        self._values: list[R] = []
        self._words: list[dict[str, list[int]]] = [{}]  # the automaton: position -> word -> positions
        self._empty: list[list[int]] = [[]]  # position -> positions reached without a word
        self._complete: dict[int, list[int]] = {}
        self._states: dict[frozenset[int], _State[R]] = {}
        self._start: _State[R] | None = None
        self.vocabulary: set[str] = set()

    def add(self, phrase: str, value: R) -> None:
        """Look for `phrase` too. Raises StructureError where the phrase cannot be read, or would match nothing at all."""
        signs = _SIGNS.findall(_HYPHEN.sub(" ", self._expand(phrase.lower())))
        end, rest = self._sequence(signs, 0, 0)
        if rest != len(signs):
            raise StructureError(f"the phrase {phrase!r} has a bracket too many")
        if end == 0 or end in self._closure({0}):
            raise StructureError(f"the phrase {phrase!r} matches no word at all")
        self._complete.setdefault(end, []).append(len(self._values))
        self._values.append(value)
        self._start = None

    def matches(
        self, words: Sequence[str], first: int = 0, last: int | None = None
    ) -> Iterator[tuple[int, int, tuple[R, ...]]]:
        """(first word, word after the last, values) of the phrases in `words[first:last]`: leftmost, longest, apart."""
        start = self._start or self._begin()
        begins = start.next
        position = first
        last = len(words) if last is None else last
        while position < last:
            state = begins.get(words[position])
            if state is None:
                position += 1
                continue
            found, end, at = state.complete, position + 1, position + 1
            while at < last:
                word = words[at]
                following = state.next[word] if word in state.next else self._step(state, word)
                if following is None:
                    break
                state = following
                at += 1
                if state.complete:
                    found, end = state.complete, at
            if found:
                yield position, end, found
                position = end
            else:
                position += 1

    def _begin(self) -> _State[R]:
        self._states = {}
        start = self._state(frozenset(self._closure({0})))
        firsts: dict[str, set[int]] = {}
        for position in start.positions:
            for word, ends in self._words[position].items():
                firsts.setdefault(word, set()).update(ends)
        if _ANY in firsts:
            raise StructureError("a phrase may not begin with _ or ...")
        for word, reached in firsts.items():
            start.next[word] = self._state(frozenset(self._closure(reached)))
        self._start = start
        return start

    def _step(self, state: _State[R], word: str) -> _State[R] | None:
        """Where `word` leads from `state`, remembered. Words that no phrase names share one entry that is looked up here."""
        known = word if word in self.vocabulary else (_OTHER if word[:1].isalnum() else None)
        if known is None:
            return None
        if known not in state.next:
            state.next[known] = self._target(state, known)
        return state.next[known]

    def _target(self, state: _State[R], word: str) -> _State[R] | None:
        reached: set[int] = set()
        for position in state.positions:
            reached.update(self._words[position].get(word, ()))
            if word[:1].isalnum() or word == _OTHER:
                reached.update(self._words[position].get(_ANY, ()))
        return self._state(frozenset(self._closure(reached))) if reached else None

    def _state(self, positions: frozenset[int]) -> _State[R]:
        if positions not in self._states:
            complete = sorted({index for position in positions for index in self._complete.get(position, ())})
            values = {self._key(self._values[index]): self._values[index] for index in reversed(complete)}
            self._states[positions] = _State(positions, tuple(reversed(values.values())))
        return self._states[positions]

    def _closure(self, positions: Iterable[int]) -> set[int]:
        reached, todo = set(positions), list(positions)
        while todo:
            for position in self._empty[todo.pop()]:
                if position not in reached:
                    reached.add(position)
                    todo.append(position)
        return reached

    def _expand(self, phrase: str) -> str:
        for _ in range(8):
            if "{" not in phrase:
                return phrase
            try:
                phrase = re.sub(r"\{([a-z_]+)\}", lambda found: f"({self._abbreviations[found[1]]})", phrase)
            except KeyError as error:
                raise StructureError(
                    f"the phrase {phrase!r} uses {{{error.args[0]}}}, which words.toml does not name"
                ) from None
        raise StructureError(f"the abbreviations in {phrase!r} name each other in a circle")

    def _new(self) -> int:
        self._words.append({})
        self._empty.append([])
        return len(self._words) - 1

    def _sequence(self, signs: Sequence[str], at: int, start: int) -> tuple[int, int]:
        """Read signs from `at` into the automaton from position `start`; (end position, index of the next sign)."""
        here = start
        while at < len(signs) and signs[at] not in ")|":
            before = here
            sign = signs[at]
            if sign == "?":
                raise StructureError(f"a ? follows nothing in {' '.join(signs)!r}")
            if sign == "(":
                here, at = self._alternatives(signs, at + 1, before)
            elif sign == "...":
                here, at = self._gap(before), at + 1
            else:
                here, at = self._word(before, sign), at + 1
            if at < len(signs) and signs[at] == "?":
                self._empty[before].append(here)
                at += 1
        return here, at

    def _alternatives(self, signs: Sequence[str], at: int, start: int) -> tuple[int, int]:
        end = self._new()
        while True:
            begin = self._new()
            self._empty[start].append(begin)
            here, at = self._sequence(signs, at, begin)
            self._empty[here].append(end)
            if at >= len(signs):
                raise StructureError(f"a bracket is not closed in {' '.join(signs)!r}")
            at += 1
            if signs[at - 1] == ")":
                return end, at

    def _gap(self, start: int) -> int:
        end = self._new()
        here = start
        for _ in range(_GAP_WORDS):
            self._empty[here].append(end)
            here = self._word(here, _ANY)
        self._empty[here].append(end)
        return end

    def _word(self, start: int, word: str) -> int:
        end = self._new()
        word = self._spelling(word)
        self._words[start].setdefault(word, []).append(end)
        if word != _ANY:
            self.vocabulary.add(word)
        return end
