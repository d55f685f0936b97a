"""Where a sentence says that a device's tip, end or leads lie: "right PICC with tip in the mid SVC" -> superior vena cava.

A position is a link with a place behind it (lexicon/chest/positions.toml). Links that speak of an end ("tip", "terminates
in") go before those that may speak of the device's body ("in", "overlying"); what follows the next device is said of that.
Leads that lie in several places give all their names, joined by ", ".
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from pathlib import Path

from radpipe.codes import Code
from radpipe.structure.phrases import Phrases

POSITIONS_PATH = Path(__file__).parent / "lexicon" / "chest" / "positions.toml"

_REACH = 40
"""Words after a device among which its position is looked for."""
_BEFORE = 8  # words before a device in which its end may be named: "the distal tip of the right IJ catheter"
_FILL = 12  # words between a link and its place
_WITH = 3  # words before a device in which "with" makes it a part of the one before


class _Role(Enum):
    PLACE = auto()
    FINAL = auto()
    STRONG = auto()
    WEAK = auto()
    END = auto()
    DEVICE = auto()


_LINKS = frozenset({_Role.FINAL, _Role.STRONG, _Role.WEAK, _Role.END})


@dataclass(frozen=True, slots=True)
class _Cue:
    role: _Role
    name: str = ""
    alone: bool = False  # needs no link
    end_only: bool = False  # of an end, not of a device's body
    landmark: bool = False  # given only where no other place is
    joins: bool = False  # goes with the place behind it


@dataclass(frozen=True, slots=True)
class _Hit:
    first: int
    end: int
    cue: _Cue


@dataclass(slots=True)
class _Found:
    """A position, and the places of its list so far."""

    first: int
    end: int
    names: list[str]
    of_end: bool
    landmark: bool
    joins: bool


def position(words: Sequence[str], first: int, last: int) -> tuple[int, int, str] | None:
    """Where the device at `words[first:last]` lies: (first word, word after the last, names of the places), or None.

    With first = last = 0, of a sentence that speaks on of the device before ("The tip is in the right atrium").
    """
    rules = _rules()
    if rules.names.isdisjoint(words):
        return None
    begin = max(0, first - _BEFORE)
    found_cues = rules.phrases.matches(words, begin, min(len(words), last + _REACH))
    hits = [_Hit(start, end, cues[0]) for start, end, cues in found_cues]
    limit = _limit(words, hits, last, rules)
    ends = [hit.end for hit in hits if _is_end(words, hit, first, last)]
    found: list[_Found] = []
    for hit in hits:
        if hit.first < last or hit.first >= limit or hit.cue.role is not _Role.PLACE:
            continue
        of_end = hit.cue.alone or any(end <= hit.first for end in ends)
        if found and _goes_on(words, found[-1], hit.first, rules):
            found[-1].names.append(hit.cue.name)
            found[-1].end = hit.end
        elif of_end or not hit.cue.end_only:
            link = _link(words, hits, hit, last, rules)
            if link is not None:
                found.append(_Found(link, hit.end, [hit.cue.name], of_end, hit.cue.landmark, hit.cue.joins))
    chosen = min(found, key=lambda one: (not one.of_end, one.landmark, one.first), default=None)
    if chosen is None:
        return None
    return chosen.first, chosen.end, ", ".join(dict.fromkeys(name for joined in chosen.names for name in joined.split(", ")))


def place_codes() -> Mapping[str, Code]:
    """Place -> SNOMED CT code, of the places that have one."""
    return _rules().codes


class _Rules:
    """positions.toml: one automaton over all phrases."""

    def __init__(self, text: str) -> None:
        table = tomllib.loads(text)
        links = table["links"]
        self.phrases: Phrases[_Cue] = Phrases(table["words"])
        self.codes: dict[str, Code] = {}
        self.fill = frozenset(links["fill"])
        self.tips = frozenset(links["tips"])
        self.listed = self.fill | frozenset(links["list"])
        places: Phrases[str] = Phrases(table["words"])
        for row in table["place"]:
            flags = (bool(row.get(flag)) for flag in ("alone", "end_only", "landmark", "joins"))
            cue = _Cue(_Role.PLACE, row["name"], *flags)
            for phrase in row["phrases"]:
                self.phrases.add(phrase, cue)
                places.add(phrase, cue.name)
            if "code" in row:
                self.codes[cue.name] = Code.parse(row["code"], cue.name.capitalize())
        for role in (_Role.FINAL, _Role.STRONG, _Role.WEAK, _Role.END, _Role.DEVICE):
            for phrase in links[role.name.lower()]:
                self.phrases.add(phrase, _Cue(role))
        self.names = frozenset(places.vocabulary) - self.listed | {"xxxx"}


@cache
def _rules() -> _Rules:
    return _Rules(POSITIONS_PATH.read_text(encoding="utf-8"))


def _is_end(words: Sequence[str], hit: _Hit, first: int, last: int) -> bool:
    """Does this speak of the end of the device at `words[first:last]`: in it, behind it, or as "tip of the right ..."?"""
    if hit.cue.role is _Role.FINAL:
        return hit.first >= last
    return hit.cue.role is _Role.END and (hit.first >= first or (hit.end < first and words[hit.end] == "of"))


def _limit(words: Sequence[str], hits: Sequence[_Hit], last: int, rules: _Rules) -> int:
    """The word where the next device is named. A device's parts are no other device ("port with catheter tip")."""
    begun = last
    of_whole = last < len(words) and words[last] == "of"  # "tip of the catheter"
    for hit in hits:
        if hit.cue.role is not _Role.DEVICE or hit.first < last:
            continue
        if of_whole:
            of_whole, begun = False, hit.end
            continue
        joined = hit.first == begun or "with" in words[max(last, hit.first - _WITH) : hit.first]
        its = hit.first > 0 and words[hit.first - 1] in {"its", "whose", "this", "the"}
        if not (joined or its or any(other.cue.role is _Role.END and other.first == hit.end for other in hits)):
            return hit.first
        begun = hit.end
    return len(words)


def _link(words: Sequence[str], hits: Sequence[_Hit], place: _Hit, last: int, rules: _Rules) -> int | None:
    """The first word of the link that leads to this place, or None when none does."""
    leading: int | None = place.first if place.cue.alone else None
    at = place.first
    joined = {hit.end: hit for hit in hits if hit.cue.role in _LINKS}
    while at > last and place.first - at <= _FILL:
        if at in joined:
            leading = joined[at].first
            at = joined[at].first
            continue
        word = words[at - 1]
        if word not in rules.fill and not word[:1].isdigit():
            break
        at -= 1
    if leading is None and at == last and words[last - 1] in rules.tips:
        return place.first  # "catheter tip mid SVC"
    return leading


def _goes_on(words: Sequence[str], before: _Found, first: int, rules: _Rules) -> bool:
    """Do only words of a list stand between two places: "in the right atrium and one in the right ventricle"?"""
    between = words[before.end : first]
    if len(between) > _FILL or before.landmark or ("with" in between and not before.of_end):
        return False
    listed = all(word in rules.listed or word.isdigit() for word in between)
    return listed and (before.joins or any(word not in rules.fill and not word.isdigit() for word in between))
