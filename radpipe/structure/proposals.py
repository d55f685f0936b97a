"""What a language model proposes becomes an observation only if the report's own words bear it. Pure; no model is needed.

The answer is a stranger's text: it may be no JSON, wrong, huge, or steered by words in the report. All that it can do is
add observations that quote the report character by character, name a finding of the lexicon that the rules have not
found, agree with what the cues of denial, doubt, side, degree and change (lexicon/common/*.toml) say of the quoted
sentence, and stand in a part that asserts something. Each is marked `Origin.PROPOSED`. What is refused comes back with its
reason, in our words only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from radpipe.codes import Code, Laterality
from radpipe.finding import ChangeKind
from radpipe.observation import Assertion, Mention, Observation, Origin, PartSpan, Severity, Span, StructuredReport
from radpipe.structure.lexicon import Lexicon
from radpipe.structure.proposal_cues import QuoteCues
from radpipe.structure.text import SILENT, Sentence, parts, sentences

MOST_PROPOSALS = 50
"""Of one answer; the rest is not looked at."""

LONGEST_QUOTE = 300
"""Characters."""

LONGEST_ANSWER = 64 * 1024
"""Characters; a longer answer is not read."""

_CHANGES = frozenset(ChangeKind) - {ChangeKind.NOT_COMPARABLE}
_FENCE = re.compile(r"```[a-z]{0,10}\s(.*?)```", re.DOTALL)

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One observation that a model proposes; nothing of it is believed yet."""

    finding: str
    status: Assertion
    quote: str
    laterality: Laterality | None = None
    severity: Severity | None = None
    change: ChangeKind | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A proposal that changes nothing, and why. `finding` is "" when the answer names none of the lexicon."""

    finding: str
    reason: str


def asserting_text(report: StructuredReport) -> str:
    """What a model is shown: the parts that assert something. Indication, technique and comparison, and what stands above
    the first heading, hold most of what identifies a patient: they stay here. A report without headings is shown whole."""
    spans = _parts(report)
    first = next((span.start for span in spans if span.heading), 0)
    return "\n".join(
        f"{span.part.value.upper()}:\n{body}"
        for span in spans
        if span.start >= first and span.part not in SILENT and (body := report.text[span.start : span.end].strip())
    )


def apply_answer(
    report: StructuredReport, answer: str, lexicon: Lexicon, *, by: str
) -> tuple[StructuredReport, tuple[Rejected, ...]]:
    """The report with what the model's answer may add (`read_answer`, then `accept`). Never raises on any answer."""
    proposals, unread = read_answer(answer, lexicon.findings)
    report, refused = accept(report, proposals, lexicon, by=by)
    return report, unread + refused


def read_answer(answer: str, findings: Iterable[str] = ()) -> tuple[tuple[Proposal, ...], tuple[Rejected, ...]]:
    """The proposals in a raw answer: a JSON array, alone, in a code fence, in an object, or after a model's thoughts."""
    if len(answer) > LONGEST_ANSWER:
        return (), (Rejected("", f"the answer has more than {LONGEST_ANSWER} characters; it was not read"),)
    items = _items(answer)
    if items is None:
        return (), (Rejected("", "the answer is not a JSON array of proposals"),)
    proposals: list[Proposal] = []
    rejected: list[Rejected] = []
    known = frozenset(findings)
    for item in items[:MOST_PROPOSALS]:
        read = _proposal(item, known)
        if isinstance(read, Proposal):
            proposals.append(read)
        else:
            rejected.append(read)
    if len(items) > MOST_PROPOSALS:
        rejected.append(Rejected("", f"of {len(items)} proposals only the first {MOST_PROPOSALS} were looked at"))
    return tuple(proposals), tuple(rejected)


def accept(
    report: StructuredReport, proposals: Iterable[Proposal], lexicon: Lexicon, *, by: str
) -> tuple[StructuredReport, tuple[Rejected, ...]]:
    """`report` with the proposals that its text bears, one a finding; and those refused. `by`: the model's name."""
    rejected: list[Rejected] = []
    added: dict[str, Observation] = {}
    for proposal in proposals:
        if proposal.finding not in lexicon.findings:
            rejected.append(Rejected("", "it names no finding of the lexicon"))
        elif proposal.finding in added:
            rejected.append(Rejected(proposal.finding, "it was proposed twice; the first stands"))
        else:
            checked = _checked(report, proposal, lexicon, by)
            if isinstance(checked, Mention):
                added[proposal.finding] = _observation(checked, lexicon.codes[proposal.finding])
            else:
                rejected.append(Rejected(proposal.finding, checked))
    if added:
        order = {finding: place for place, finding in enumerate(lexicon.order)}
        every = [*report.observations, *added.values()]
        every.sort(key=lambda item: order.get(item.finding, len(order)))
        report = replace(report, observations=tuple(every))
    return report, tuple(rejected)


def _items(answer: str) -> list[Any] | None:
    """The array in the answer, or None. The whole is tried first, then a code fence, then from first to last bracket."""
    words = answer.rpartition("</think>")[2]
    fence = _FENCE.search(words)
    tries = [words, fence[1] if fence else "", words[words.find("[") : words.rfind("]") + 1]]
    for text in tries:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            lists = [value for value in found.values() if isinstance(value, list)]
            found = [found] if "finding" in found else (lists[0] if len(lists) == 1 else None)
        if isinstance(found, list):
            return found
    return None


def _proposal(item: Any, findings: frozenset[str]) -> Proposal | Rejected:
    if not isinstance(item, dict):
        return Rejected("", "a proposal is not a JSON object")
    finding, quote = item.get("finding"), item.get("quote")
    if not isinstance(finding, str) or finding not in findings:
        return Rejected("", "it names no finding of the lexicon")
    if not isinstance(quote, str):
        return Rejected(finding, "it has no quote")
    try:
        status = _allowed(Assertion, item.get("status"))
        laterality = _allowed(Laterality, item.get("laterality"))
        severity = _allowed(Severity, item.get("severity"))
        change = _allowed(ChangeKind, item.get("change"))
    except ValueError as error:
        return Rejected(finding, str(error))
    if status is None:
        return Rejected(finding, "it has no status")
    if change is not None and change not in _CHANGES:
        return Rejected(finding, "its change has a value that is not allowed")
    return Proposal(finding, status, quote, laterality, severity, change)


def _allowed(kind: type[E], value: Any) -> E | None:
    """Raises ValueError, in our words, for anything but null or a value of `kind`."""
    names = {"Assertion": "status", "ChangeKind": "change"}
    if value is None:
        return None
    if not isinstance(value, str) or value not in {member.value for member in kind}:
        raise ValueError(f"its {names.get(kind.__name__, kind.__name__.lower())} has a value that is not allowed")
    return kind(value)


def _checked(report: StructuredReport, proposal: Proposal, lexicon: Lexicon, by: str) -> Mention | str:
    """The proposal as a mention, or why the text does not bear it."""
    known = report.observation(proposal.finding)
    if known is not None:
        return f"the rules have found it already ({known.status.value})"
    if len(proposal.quote) > LONGEST_QUOTE:
        return f"its quote has more than {LONGEST_QUOTE} characters"
    if not re.search(r"[^\W\d_]{3}", proposal.quote):
        return "its quote has no word"
    place = _place(report, proposal.quote)
    if isinstance(place, str):
        return place
    start, part = place
    sentence, first, end = _words(report.text, part, start, start + len(proposal.quote))
    if sentence is None:
        return "its quote does not lie within one sentence"
    if _is_read_otherwise(report, sentence, first, end):
        return "the rules read the quoted words as another finding"
    cues = QuoteCues(sentence, first, end, lexicon)
    problem = _not_borne(proposal, cues)
    if problem:
        return problem
    span = Span(start, start + len(proposal.quote), proposal.quote)
    return Mention(
        proposal.finding, proposal.status, span, part.part, proposal.laterality, proposal.severity, proposal.change,
        rules=(f"proposed by {_plain(by)}", *cues.rules), origin=Origin.PROPOSED,
    )  # fmt: skip


def _not_borne(proposal: Proposal, cues: QuoteCues) -> str:
    """Why the sentence's cues do not bear the proposal; "" if they do."""
    if proposal.status is not cues.status:
        return f"it is proposed as {proposal.status.value}; by the rules the quote says: {cues.said}"
    if proposal.status is Assertion.ABSENT and (proposal.laterality or proposal.severity):
        return "what is absent has neither side nor severity"
    if (proposal.change is ChangeKind.RESOLVED) > (proposal.status is Assertion.ABSENT):
        return "what has resolved is absent"
    if proposal.status is Assertion.ABSENT and proposal.change not in (None, ChangeKind.RESOLVED):
        return "what is absent can only have resolved"
    stated: tuple[tuple[str, StrEnum | None, Set[StrEnum]], ...] = (
        ("laterality", proposal.laterality, cues.sides),
        ("severity", proposal.severity, cues.severities),
        ("change", proposal.change, cues.changes),
    )
    for name, value, heard in stated:
        if value is not None and value not in heard:
            return f"no word in the sentence says that its {name} is {value.value}"
    return ""


def _place(report: StructuredReport, quote: str) -> tuple[int, PartSpan] | str:
    """(start, part) of the first occurrence of whole words in a part that asserts; or why there is none."""
    text = report.text
    found, at = False, text.find(quote)
    spans = _parts(report)
    while at >= 0:
        end = at + len(quote)
        if not _cuts_a_word(text, at) and not _cuts_a_word(text, end):
            found = True
            for span in spans:
                if span.start <= at and end <= span.end and span.part not in SILENT:
                    return at, span
        at = text.find(quote, at + max(1, len(quote)))
    if found:
        return "its quote stands only where the report asserts nothing"
    return "its quote is not in the text, character by character"


def _cuts_a_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()


def _words(text: str, part: PartSpan, start: int, end: int) -> tuple[Sentence | None, int, int]:
    """The sentence that holds all words between these places, and which of its words they are."""
    for sentence in sentences(text, (part,)):
        if sentence.end <= start:
            continue
        first = next((index for index, stop in enumerate(sentence.ends) if stop > start), len(sentence.words))
        last = first
        while last < len(sentence.words) and sentence.starts[last] < end:
            last += 1
        holds_all = sentence.starts[first] >= start and not _has_word(text, start, sentence.start)
        if last > first and holds_all and not _has_word(text, sentence.end, end):
            return sentence, first, last
        return None, 0, 0
    return None, 0, 0


def _has_word(text: str, start: int, end: int) -> bool:
    return any(letter.isalnum() for letter in text[start:end])


def _is_read_otherwise(report: StructuredReport, sentence: Sentence, first: int, end: int) -> bool:
    """Does nothing of the quote remain, but short words, beside what the rules read as other findings?"""
    taken: list[Span] = [mention.span for item in report.observations for mention in item.mentions]
    free = 0
    overlaps = False
    for index in range(first, end):
        start, stop = sentence.starts[index], sentence.ends[index]
        if any(span.start < stop and start < span.end for span in taken):
            overlaps = True
        elif stop - start > 3:
            free += 1
    return overlaps and free == 0


def _observation(mention: Mention, code: Code) -> Observation:
    said = (mention.laterality, mention.severity, mention.change)
    return Observation(mention.finding, code, mention.status, mention.span, mention.part, *said, (mention,))


def _parts(report: StructuredReport) -> Sequence[PartSpan]:
    return report.parts or parts(report.text)


def _plain(name: str) -> str:
    """The model's name, as a site wrote it, without signs that could steer a terminal."""
    return "".join(letter for letter in name if letter.isprintable())[:80]
