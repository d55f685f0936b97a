"""The cues of recommendations: recommendation.toml as one automaton over all its phrases, and sets of words by name."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from pathlib import Path
from typing import Any

from radpipe.structure.phrases import Phrases

RECOMMENDATION_PATH = Path(__file__).parent / "lexicon" / "common" / "recommendation.toml"


class Role(Enum):
    """What a phrase of the file does."""

    ITEM = auto()  # can be asked
    ASK = auto()
    PURPOSE = auto()
    OPENS = auto()  # a condition that is a clause
    OPENS_NOUN = auto()  # a condition that is a noun
    WHOLE = auto()  # a condition, complete
    INTERVAL = auto()
    DENY = auto()  # takes back what follows
    DONE = auto()  # was done: stops the reach of asks
    ASIDE = auto()


CONDITIONS = frozenset({Role.OPENS, Role.OPENS_NOUN, Role.WHOLE})


@dataclass(frozen=True, slots=True)
class Cue:
    """What a phrase of the file means."""

    role: Role
    action: str = ""
    modality: str | None = None
    place: str = ""  # of an ask: it stands "before" its item, "after" it, or "either"
    reach: int = 0  # of an ask: words that may stand between it and its item
    alone: bool = False  # it asks even where no item is known
    asks: str = ""  # it asks without a verb "always", or at a clause's "start"; or it only goes "with" another item
    least_days: int | None = None
    most_days: int | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A cue found at `words[first:end]`."""

    first: int
    end: int
    cue: Cue


class Rules:
    """The compiled file. Raises KeyError or StructureError on one that is not whole (tests read the shipped one)."""

    def __init__(self, text: str) -> None:
        table = tomllib.loads(text)
        self.words: Mapping[str, frozenset[str]] = {name: frozenset(found) for name, found in table["words_of"].items()}
        self.closes = frozenset(table["condition"]["closes"])
        self.phrases: Phrases[Cue] = Phrases(table["words"])
        for row in table["ask"]:
            self._add(row, Cue(Role.ASK, place=row["place"], reach=row["reach"], alone=row.get("alone", False)))
        for row in table["purpose"]:
            self._add(row, Cue(Role.PURPOSE, row["action"], asks="always" if row.get("asks") else ""))
        asking = [row for row in table["item"] if row.get("asks")]
        for row in asking:
            self._add_item(row)
        self.triggers = (self.phrases.vocabulary | set(table["triggers"])) - set(table["quiet"])
        for row in table["item"]:
            if row not in asking:
                self._add_item(row)
        for row in table["interval"]:
            self._add(row, Cue(Role.INTERVAL, least_days=row.get("least_days"), most_days=row.get("most_days")))
        for role in CONDITIONS:
            self._add({"phrases": table["condition"][role.name.lower()]}, Cue(role))
        for role in (Role.DENY, Role.DONE, Role.ASIDE):
            self._add(table[role.name.lower()], Cue(role))

    def _add_item(self, row: Mapping[str, Any]) -> None:
        asks = "always" if row.get("asks") is True else row.get("asks", "")
        self._add(row, Cue(Role.ITEM, row.get("action", ""), row.get("modality"), asks=asks))

    def _add(self, row: Mapping[str, Any], cue: Cue) -> None:
        for phrase in row["phrases"]:
            self.phrases.add(phrase, cue)

    def hits(self, words: Sequence[str], first: int, last: int) -> list[Hit]:
        """The cues in `words[first:last]`, in order."""
        return [Hit(start, end, cue) for start, end, cues in self.phrases.matches(words, first, last) for cue in cues]

    def clauses(self, words: Sequence[str]) -> Iterator[tuple[int, int]]:
        """The parts of a sentence between ";", "but", "however"."""
        begin = 0
        for at, word in enumerate(words):
            if word in self.words["clause"]:
                if at > begin:
                    yield begin, at
                begin = at + 1
        if begin < len(words):
            yield begin, len(words)


@cache
def recommendation_rules() -> Rules:
    """Read and compiled once."""
    return Rules(RECOMMENDATION_PATH.read_text(encoding="utf-8"))
