"""One clause of a sentence that may ask for something: its conditions, what is taken back, and how far an ask reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from radpipe.structure.action_cues import CONDITIONS, Cue, Hit, Role, Rules
from radpipe.structure.measure import durations

_MOST_CUES = 60
"""Cues read in one clause; a clause of more is no sentence of a report."""
_PRIOR_REACH = 3  # words before a study in which "prior" makes it one that was done
_CONDITION_WORDS = 3  # at least, before an item may end a condition that no comma closes
_QUIET = frozenset({Role.DONE, Role.DENY, Role.ASIDE})
_SEGMENT = frozenset({",", ":", "-", "–"})


class Clause:
    """`words[first:last]` of a sentence, read as far as single words and cues go."""

    def __init__(self, rules: Rules, words: Sequence[str], first: int, last: int) -> None:
        self.rules, self.words, self.first, self.last = rules, words, first, last
        hits = rules.hits(words, first, last)[:_MOST_CUES]
        self.conditions = list(self._conditions(hits))
        hits = [hit for hit in hits if not self.in_condition(hit.first)]
        self._count_stops(hits)
        self._find_segments()
        standing = self._standing(hits)
        self.items = [hit for hit in standing if hit.cue.role is Role.ITEM]
        self.asks = [hit for hit in standing if hit.cue.role is Role.ASK]
        self.purposes = [hit for hit in standing if hit.cue.role is Role.PURPOSE]
        times = [] if not (self.items or self.asks or self.purposes) else durations(words, first, last)
        self.times = [
            Hit(time.first, time.end, Cue(Role.INTERVAL, least_days=time.least_days, most_days=time.most_days))
            for time in times if not self.in_condition(time.first)
        ]  # fmt: skip
        self.intervals = self.times + [hit for hit in standing if hit.cue.role is Role.INTERVAL]

    def word_is(self, at: int, name: str) -> bool:
        """Is the word at `at` one of the file's list `name`?"""
        return self.words[at] in self.rules.words[name]

    def in_condition(self, at: int) -> bool:
        return any(start <= at < end for start, end in self.conditions)

    def free(self, start: int, end: int) -> bool:
        """Does nothing between these words stop an ask: no finite verb, nothing that was done?"""
        return end <= start or self._stops[end - self.first] == self._stops[start - self.first]

    def stopped(self, at: int) -> bool:
        return not self.free(at, at + 1)

    def segment(self, at: int) -> int:
        """The first word of the part between punctuation that word `at` stands in."""
        return self._segments[at - self.first]

    def is_prior(self, hit: Hit, name: str = "prior") -> bool:
        """Is it a study that was done: "the prior CT"?"""
        for at in range(hit.first - 1, max(self.first, hit.first - _PRIOR_REACH) - 1, -1):
            if self.word_is(at, "join"):
                return False
            if self.word_is(at, name):
                return True
        return False

    def _conditions(self, hits: Sequence[Hit]) -> Iterator[tuple[int, int]]:
        """The words of each condition: to a comma, or to where what is asked begins."""
        done = self.first
        for index, hit in enumerate(hits):
            if hit.first < done or hit.cue.role not in CONDITIONS:
                continue
            end = hit.end
            if hit.cue.role is not Role.WHOLE:
                end = next((at for at in range(hit.end, self.last) if self.words[at] in self.rules.closes), self.last)
                rest = [other for other in hits[index + 1 :] if other.first < end]
                end = next((other.first for other in rest if self._ends_condition(hit, other, rest)), end)
            while end > hit.end and self.words[end - 1] in {"please", "and"}:
                end -= 1
            done = end
            yield hit.first, end

    def _ends_condition(self, opened: Hit, hit: Hit, rest: Sequence[Hit]) -> bool:
        if opened.cue.role is Role.OPENS_NOUN and hit.cue.role in {Role.ASK, Role.PURPOSE}:
            return True
        if hit.cue.role is Role.ASK:
            return hit.cue.place == "before" and hit.first > opened.end
        if hit.cue.role is not Role.ITEM or hit.first < opened.end + _CONDITION_WORDS or self.is_prior(hit, "done_before"):
            return False
        return hit.cue.asks == "start" or any(other.first >= hit.end and _asks_for_before(other.cue) for other in rest)

    def _count_stops(self, hits: Sequence[Hit]) -> None:
        """Finite verbs outside of asks and conditions, and what was done: how many stand before each word."""
        heard = [False] * (self.last - self.first)
        for start, end in [*self.conditions, *((hit.first, hit.end) for hit in hits if hit.cue.role not in _QUIET)]:
            heard[start - self.first : end - self.first] = [True] * (end - start)
        done = {hit.first for hit in hits if hit.cue.role is Role.DONE}
        self._stops = [0]
        for at in range(self.first, self.last):
            stops = at in done or (self.word_is(at, "break") and not heard[at - self.first])
            self._stops.append(self._stops[-1] + stops)

    def _find_segments(self) -> None:
        ends = {end for _, end in self.conditions}
        self._segments: list[int] = []
        begin = self.first
        for at in range(self.first, self.last + 1):
            if at in ends or (at > self.first and self.words[at - 1] in _SEGMENT):
                begin = at
            self._segments.append(begin)

    def _standing(self, hits: Sequence[Hit]) -> list[Hit]:
        """The hits that nothing takes back."""
        standing: list[Hit] = []
        denied = False
        for hit in hits:
            if hit.cue.role is Role.DENY:
                denied = True
            elif denied and hit.cue.role is Role.ASK:
                denied = False
                if hit.cue.place == "before":
                    standing.append(hit)
            elif not denied and hit.cue.role not in _QUIET:
                standing.append(hit)
        return standing


def _asks_for_before(cue: Cue) -> bool:
    """Does it ask for what stands before it?"""
    return cue.place != "before" if cue.role is Role.ASK else cue.role is Role.PURPOSE and bool(cue.asks)
