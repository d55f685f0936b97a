"""The words of a report as the consistency checks look at them: its sentences, and the cues of check.toml in them."""

from __future__ import annotations

import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from radpipe.observation import Mention, Part, Span, StructuredReport
from radpipe.structure.phrases import Phrases
from radpipe.structure.text import SILENT, Sentence, sentences

_SEPARATORS = frozenset({",", "or", "and", "nor", "/"})
ASSERTING = frozenset(Part) - SILENT
COMMON = Path(__file__).parent / "lexicon" / "common"


@dataclass(frozen=True, slots=True)
class Hit:
    """One cue in one sentence: the list that it stands in, and its words first to end (exclusive)."""

    name: str
    sentence: int  # index into CheckText.sentences
    first: int
    end: int


class CheckText:
    """A report's sentences, read once."""

    def __init__(self, report: StructuredReport) -> None:
        self.text = report.text
        self.sentences: tuple[Sentence, ...] = tuple(sentences(report.text, report.parts or None))
        self._places: dict[Span, set[str]] = {}
        self._starts = [sentence.start for sentence in self.sentences]

    def hits(self, table: str, *names: str, parts: frozenset[Part] | None = None) -> Iterator[Hit]:
        """The cues of the lists `names` (all, if none is given) of check.toml's table, in the sentences of these parts."""
        for index, sentence in enumerate(self.sentences):
            if parts is None or sentence.part in parts:
                yield from self.hits_in(index, table, names)

    def hits_in(self, index: int, table: str, names: tuple[str, ...]) -> Iterator[Hit]:
        """The same, in one sentence."""
        for first, end, values in check_phrases(table, names).matches(self.sentences[index].words):
            for name in values:
                yield Hit(name, index, first, end)

    def asks(self, index: int) -> bool:
        """Does the sentence recommend something, or say that somebody was told?"""
        return any(True for _ in self.hits_in(index, "action", ()))

    def sentence_at(self, offset: int) -> int:
        """Index of the sentence that holds or precedes this place; -1 before the first."""
        return bisect_right(self._starts, offset) - 1

    def span(self, hit: Hit) -> Span:
        """Where the cue stands."""
        sentence = self.sentences[hit.sentence]
        return self.piece(sentence.starts[hit.first], sentence.ends[hit.end - 1])

    def sentence_span(self, index: int) -> Span:
        """The whole sentence."""
        return self.piece(self.sentences[index].start, self.sentences[index].end)

    def piece(self, start: int, end: int) -> Span:
        """A verbatim piece."""
        return Span(start, end, self.text[start:end])

    def narrow(self, mention: Mention, *, broad: bool) -> bool:
        """Is less denied here than the finding as such? ("no large effusion", "the remaining lungs are clear")"""
        index = self.sentence_at(mention.span.start)
        if index < 0:
            return False
        sentence = self.sentences[index]
        last = bisect_right(sentence.starts, mention.span.end - 1) - 1
        item = max((at for at in range(last) if sentence.words[at] in _SEPARATORS), default=-1)
        for hit in self.hits_in(index, "denial", ("sentence", "forward", "item", "kind")):
            if (
                hit.name == "sentence"
                or (hit.name == "forward" and hit.first <= last)
                or (hit.name == "item" and broad and item < hit.first <= last)
                or (hit.name == "kind" and item < hit.first <= last)
            ):
                return True
        return False

    def places(self, mention: Mention) -> set[str]:
        """The places of the list [denial] place that the mention's own words name."""
        known = self._places.get(mention.span)
        if known is None:
            index = self.sentence_at(mention.span.start)
            hits = self.hits_in(index, "denial", ("place",)) if index >= 0 else iter(())
            spans = (self.span(hit) for hit in hits)
            known = {span.quote.lower() for span in spans if mention.span.start <= span.start < mention.span.end}
            self._places[mention.span] = known
        return known


@cache
def check_table() -> Mapping[str, Any]:
    """check.toml, read once."""
    table: dict[str, Any] = tomllib.loads((COMMON / "check.toml").read_text(encoding="utf-8"))
    return table


@cache
def alternatives() -> Mapping[str, str]:
    """The abbreviations that phrases may use."""
    table: dict[str, str] = tomllib.loads((COMMON / "words.toml").read_text(encoding="utf-8"))["alternatives"]
    return table


@cache
def check_phrases(table: str, names: tuple[str, ...]) -> Phrases[str]:
    """The lists of a table as one automaton; each phrase's value is the name of its list."""
    phrases: Phrases[str] = Phrases(alternatives())
    lists: Any = check_table()
    for key in table.split("."):
        lists = lists[key]
    for name in names or tuple(lists):
        for phrase in lists[name]:
            phrases.add(phrase, name)
    return phrases
