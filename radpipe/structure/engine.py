"""A free-text report, structured: sections, sentences, mentions, observations, and what is asked for or was told.

Pure: the same text gives the same result, and no text makes it fail. See docs/structuring.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from radpipe.codes import Laterality
from radpipe.finding import ChangeKind
from radpipe.observation import Assertion, Communication, Mention, Part, Recommendation, StructuredReport
from radpipe.structure.actions import communications, recommendations
from radpipe.structure.lexicon import Lexicon
from radpipe.structure.mentions import Draft
from radpipe.structure.reader import REMEMBERED, read_sentence
from radpipe.structure.summary import summarise
from radpipe.structure.text import SILENT, Sentence, parts, sentences

T = TypeVar("T")

MOST_MENTIONS = 200
"""Mentions kept of one finding in one report; more are read but not listed."""


def structure_report(report_id: str, text: str, lexicon: Lexicon) -> StructuredReport:
    """Read a report of any length and content. Never raises on a text; nothing found is no observation."""
    spans = parts(text)
    drafts: dict[str, list[Draft]] = {}
    asked: list[Recommendation] = []
    told: list[Communication] = []
    previous: list[Draft] = []
    part = None
    silent = 0  # sentences since the last that spoke of a finding
    for sentence in sentences(text, spans):
        if sentence.part in SILENT:
            continue
        if sentence.part is not part:
            previous, part, silent = [], sentence.part, 0
        found = read_sentence(sentence, lexicon, previous)
        for draft in found:
            kept = drafts.setdefault(draft.finding, [])
            if len(kept) < MOST_MENTIONS:
                kept.append(draft)
        _act(sentence, text, lexicon, asked, told)
        previous, silent = (found, 0) if found else (previous if silent < 1 else [], silent + 1)
    _place_explanations(drafts)
    observations = []
    for finding in lexicon.order:
        mentions = tuple(_mention(draft, text) for draft in drafts.get(finding, ()) if not draft.named)
        if mentions:
            observations.append(summarise(lexicon.findings[finding], mentions))
    return StructuredReport(report_id, text, lexicon.identity, spans, tuple(observations), tuple(asked), tuple(told))


def _act(sentence: Sentence, text: str, lexicon: Lexicon, asked: list[Recommendation], told: list[Communication]) -> None:
    """Add what the sentence asks for and says was told. Most ask nothing: those are remembered by their words."""
    key = (sentence.part is Part.RECOMMENDATION, *sentence.words)
    if key in lexicon.idle:
        return
    asks, tells = recommendations(sentence, text), communications(sentence, text)
    asked.extend(asks)
    told.extend(tells)
    if not asks and not tells:
        if len(lexicon.idle) >= REMEMBERED:
            lexicon.idle.clear()
        lexicon.idle.add(key)


def _place_explanations(drafts: dict[str, list[Draft]]) -> None:
    """ "These may represent pneumonia" lies where the report says, anywhere, that "these" lie."""
    for kept in drafts.values():
        for draft in kept:
            if draft.source and not draft.sides and not draft.places:
                sources = [source for source in drafts.get(draft.source, ()) if source.status is not Assertion.ABSENT]
                draft.sides = list(dict.fromkeys(side for source in sources for side in source.sides))


def _mention(draft: Draft, text: str) -> Mention:
    sentence = draft.sentence
    status = draft.status or Assertion.PRESENT
    change = draft.change
    if status is Assertion.ABSENT:
        change = ChangeKind.RESOLVED if change is ChangeKind.RESOLVED else None
    return Mention(
        draft.finding, status, sentence.span(text, draft.from_words, draft.to_words), sentence.part, _side(draft.sides),
        draft.severity if status is not Assertion.ABSENT else None, change, _once(draft.places), _once(draft.sizes),
        draft.device, _once(draft.rules),
    )  # fmt: skip


def _once(items: list[T]) -> tuple[T, ...]:
    return tuple(items) if len(items) < 2 else tuple(dict.fromkeys(items))


def _side(sides: Iterable[Laterality]) -> Laterality | None:
    said = set(sides)
    if len(said) > 1:
        return Laterality.BILATERAL
    return next(iter(said), None)
