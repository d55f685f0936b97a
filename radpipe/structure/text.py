"""A report's text as sentences of words, each in its part of the report.

Written for reports: numbered lists run together ("1. No effusion. 2. Scarring."), missing full stops, hard-wrapped lines,
decimals, headings in the middle of a line. One pass, in pieces: a sentence is handed on before the next is read, and a
"sentence" of more than `LONGEST` words is cut, so that any text is read in linear time and little memory. PyRuSH and
spaCy's sentencizer were weighed: see docs/structuring.md.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from radpipe.observation import Part, PartSpan, Span

SECTIONS_PATH = Path(__file__).parent / "lexicon" / "common" / "sections.toml"

LONGEST = 100
"""Words in a sentence; more are cut there."""

SILENT = frozenset({Part.INDICATION, Part.TECHNIQUE, Part.COMPARISON})
"""Parts that assert nothing about today's image."""

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?|\d+(?:[.,]\d+)*|(?<![\w.])\.\d+|\n[ \t]*(?:\r?\n[ \t\r]*)*|[^\w\s]")
_ABBREVIATIONS = frozenset({
    "dr", "drs", "mr", "mrs", "ms", "vs", "approx", "e.g", "i.e", "eg", "ie", "st", "no", "fig", "cf", "resp", "prof", "ca",
    "incl", "mos", "wks", "yrs", "hrs", "min", "max",
})  # fmt: skip
_COUNTED = frozenset({
    "level", "levels", "least", "of", "rib", "ribs", "grade", "type", "t", "l", "c", "to", "approximately",
    "-", ":", "/", ".",
})  # fmt: skip
"""Before a number that opens no item of a list."""
_OPEN = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "and",
        "or",
        "with",
        "without",
        "in",
        "on",
        "at",
        "to",
        "from",
        "by",
        "for",
        "no",
        "not",
        "is",
        "are",
        "was",
        "were",
        "be",
        "has",
        "have",
        "may",
        "might",
        "could",
        "as",
        "than",
    ]
) | {",", "(", ":", "/", "-", "xxxx"}
_BULLETS = frozenset("-*•·–—#>")


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words in lower case, punctuation included, with their places in the text."""

    words: list[str]
    starts: list[int]
    ends: list[int]
    part: Part
    item: bool = False  # begins a numbered or bulleted item

    def span(self, text: str, first: int, end: int) -> Span:
        """The words from `first` to before `end`, as they stand in the report's text."""
        start, stop = self.starts[first], self.ends[end - 1]
        return Span(start, stop, text[start:stop])

    @property
    def start(self) -> int:
        return self.starts[0]

    @property
    def end(self) -> int:
        return self.ends[-1]


def parts(text: str) -> tuple[PartSpan, ...]:
    """The report's sections in the order of the text; all of it is UNHEADED when no heading is found."""
    heading, names = _headings()
    found: list[PartSpan] = []
    opened, name, begin = Part.UNHEADED, "", 0
    silent_tail = False
    for match in heading.finditer(text):
        if match.start("name") > begin or found or name:
            _close(found, opened, name, begin, match.start("name"), text, drop=silent_tail)
        key = " ".join(match["name"].lower().split())
        silent_tail = key not in names
        opened, name, begin = names.get(key, Part.UNHEADED), match["name"], match.end()
    _close(found, opened, name, begin, len(text), text, drop=silent_tail)
    return tuple(_let_speak(found, text))


_LINE_END = re.compile(r"\n|(?<=\w)\.(?=\s)")


def _let_speak(found: list[PartSpan], text: str) -> Iterator[PartSpan]:
    """End a silent part at its line where no heading of the findings follows: else a report that heads its comparison and
    not its findings would say nothing."""
    headed = [False] * (len(found) + 1)  # whether findings are headed after this part
    for number in range(len(found) - 1, -1, -1):
        headed[number] = headed[number + 1] or found[number].part in {Part.FINDINGS, Part.UNHEADED}
    for number, span in enumerate(found):
        following = found[number + 1].part if number + 1 < len(found) else None
        if headed[number + 1] or span.part not in SILENT or following in SILENT:
            yield span
            continue
        body = text[span.start : span.end]
        skipped = len(body) - len(body.lstrip())
        stops = (
            match for match in _LINE_END.finditer(body, skipped) if match[0] == "\n" or span.part is not Part.INDICATION
        )
        stop = next(stops, None)
        if stop is None or not body[stop.end() :].strip():
            yield span
            continue
        yield PartSpan(span.part, span.heading, span.start, span.start + stop.end())
        yield PartSpan(Part.UNHEADED, "", span.start + stop.end(), span.end)


def sentences(text: str, spans: tuple[PartSpan, ...] | None = None) -> Iterator[Sentence]:
    """The sentences of the parts, in order, silent parts included."""
    for span in parts(text) if spans is None else spans:
        yield from _sentences(text, span)


def _close(found: list[PartSpan], part: Part, heading: str, start: int, end: int, text: str, *, drop: bool) -> None:
    if drop or (not heading and not text[start:end].strip()):
        return
    found.append(PartSpan(part, heading, start, end))


def _sentences(text: str, span: PartSpan) -> Iterator[Sentence]:
    words: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    item = False
    stop_at = span.end
    for match in _WORD.finditer(text, span.start, stop_at):
        raw = match[0]
        first = raw[0]
        at, end = match.span()
        if first.isalpha():
            words.append(raw.lower())
            starts.append(at)
            ends.append(end)
            if len(words) >= 2 * LONGEST:
                yield Sentence(words, starts, ends, span.part, item)
                words, starts, ends, item = [], [], [], False
            continue
        if first == "." and len(raw) > 1:
            first = "0"  # ".5 cm" is a number
        if first == "-" and words and ends[-1] == at and text[at - 1].isalpha() and not text[end : end + 1].isdigit():
            continue  # the hyphen of a compound word, or one that waits for its other half ("intra- or extra-axial")
        if first == "\n":
            if words and _breaks(text, raw, words, end, stop_at):
                yield Sentence(words, starts, ends, span.part, item)
                words, starts, ends, item = [], [], [], False
            continue
        if not words and (first in _BULLETS or first in ".)"):
            item = item or first != "."
            continue
        if (first == "." or first == ")") and len(words) == 1 and words[0].isdigit() and len(words[0]) < 3:
            words, starts, ends, item = [], [], [], True  # the number of a list item
            continue
        if (
            first == "."
            and len(words) > 1
            and words[-1].isdigit()
            and len(words[-1]) < 3
            and _is_item(text, words, end, stop_at)
        ):
            yield Sentence(words[:-1], starts[:-1], ends[:-1], span.part, item)
            words, starts, ends, item = [], [], [], True
            continue
        if first == "?":  # "pneumonia?", "? effusion": a hedge, so a word of its own
            words.append("query")
            starts.append(at)
            ends.append(end)
            if len(words) == 1 or text[end : end + 1].isalpha() or text[end : end + 1] == ")":
                continue
        elif first in "*\u2022" and text[at - 1 : at].isspace() and text[end : end + 1].isspace() and words:
            yield Sentence(words, starts, ends, span.part, item)
            words, starts, ends, item = [], [], [], True
            continue
        if first in ".?!" and words and _ends(text, words, at, end, stop_at):
            yield Sentence(words, starts, ends, span.part, item)
            words, starts, ends, item = [], [], [], False
            continue
        words.append(raw.lower())
        starts.append(at)
        ends.append(end)
        if len(words) >= LONGEST and (first in ",;:" or len(words) >= 2 * LONGEST):
            yield Sentence(words, starts, ends, span.part, item)
            words, starts, ends, item = [], [], [], False
    if words:
        yield Sentence(words, starts, ends, span.part, item)


def _breaks(text: str, line_break: str, words: list[str], end: int, stop: int) -> bool:
    """Does a new line end the sentence? Yes after an empty line, before a bullet or number, or before a new capital."""
    if line_break.count("\n") > 1:
        return True
    if words[-1] in _OPEN:
        return False
    if words[-1] in ";":
        return True
    following = text[end : min(end + 12, stop)]
    if not following:
        return True
    if following[0] in _BULLETS or re.match(r"\(?\d{1,2}[.)]\s", following):
        return True
    word = re.match(r"[^\W\d_]+", following)
    return bool(word and word[0][0].isupper() and not (len(word[0]) > 1 and word[0].isupper()))


def _is_item(text: str, words: list[str], end: int, stop: int) -> bool:
    """ "... acute disease 2. Changes of": a number, a stop, then a capital: the next item of a list."""
    following = text[end : min(end + 3, stop)].lstrip()
    return words[-2] not in _COUNTED and bool(following) and following[0].isupper() and text[end : end + 1].isspace()


def _ends(text: str, words: list[str], at: int, end: int, stop: int) -> bool:
    """Does this full stop end the sentence? Not after an abbreviation, an initial, or within a word."""
    following = text[end : end + 1] if end < stop else ""
    last = words[-1]
    if last in _ABBREVIATIONS and text[at] == "." and following != "\n" and end < stop:
        return last == "no" and not text[end : end + 3].lstrip()[:1].isdigit()
    if len(last) == 1 and last.isalpha():
        if following.isalpha():
            return False  # the first of "p.m."
        if len(words) > 2 and words[-2] == ".":  # "3 p.m. on", "Dr. A. Smith"
            return words[-3] not in _ABBREVIATIONS and (end >= stop or text[end : end + 3].lstrip()[:1].isupper())
    return not (following.islower() or (following.isdigit() and last.isdigit()))


@cache
def _headings() -> tuple[re.Pattern[str], dict[str, Part]]:
    table = tomllib.loads(SECTIONS_PATH.read_text(encoding="utf-8"))
    names = {heading: Part(part) for part, headings in table.items() if part != "other" for heading in headings}
    by_letter: dict[str, list[str]] = {}  # so that most places are given up at the first letter
    for name in sorted([*names, *table["other"]], key=len, reverse=True):
        by_letter.setdefault(name[0], []).append(re.escape(name[1:]).replace(r"\ ", r"[ \t]+"))
    written = "|".join(f"{letter}(?:{'|'.join(rest)})" for letter, rest in by_letter.items())
    pattern = (
        r"(?:^[ \t]*(?:[#*>\u2022\-]+[ \t]*)?(?:\d{1,2}[.)][ \t]*)?(?:\*\*)?|(?<=[.;!?])[ \t]*)"
        rf"(?P<name>{written})(?:[ \t]*\([^()\n]{{0,60}}\))?(?:\*\*)?[ \t]*(?::(?:\*\*)?|[ \t]-{{1,2}}(?=\s)|(?=\r?$))"
    )
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE), names
