"""A report against the examination that it belongs to, and against what it says itself of patient, side and comparison."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from radpipe.codes import finding_words
from radpipe.observation import Discrepancy, Mention, Origin, Part, Span, StructuredReport
from radpipe.structure.check_text import ASSERTING, CheckText, check_phrases, check_table
from radpipe.structure.text import SILENT

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = "(?P<{0}>jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]{{0,6}}\\.?"
_DATE = re.compile(
    r"(?<![\d/.-])(?:(?P<iso>\d{4}-\d{1,2}-\d{1,2})|(?P<slashed>\d{1,2}[/.-]\d{1,2}[/.-]\d{4})"
    rf"|{_MONTH.format('month_first')}\s{{1,3}}(?P<day_second>\d{{1,2}})(?:st|nd|rd|th)?,?\s{{1,3}}(?P<year_third>\d{{4}})"
    rf"|(?P<day_first>\d{{1,2}})(?:st|nd|rd|th)?[\s-]{{1,3}}{_MONTH.format('month_second')},?[\s-]{{1,3}}(?P<year_last>\d{{4}}))(?!\d)",
    re.IGNORECASE,
)
_DATE_HEADINGS = frozenset({"exam date", "date of exam", "study date"})


@dataclass(frozen=True, slots=True)
class Examination:
    """What the DICOM attributes say of the examination that the report is about; None where it is not known."""

    patient_sex: str | None = None  # M, F, O: PatientSex (0010,0040)
    laterality: str | None = None  # L, R, B: Laterality (0020,0060) or ImageLaterality (0020,0062)
    body_part: str | None = None  # BodyPartExamined (0018,0015)
    study_date: date | None = None
    has_prior: bool | None = None  # is there any earlier study to compare with?


def _sex_mismatch(report: StructuredReport, text: CheckText, examination: Examination) -> Iterator[Discrepancy]:
    """Words of a man in a woman's report, and the other way round; or of both, whatever the examination says."""
    found: dict[str, list[Span]] = {"man": [], "woman": [], "man_organ": [], "woman_organ": [], "woman_likely": []}
    hits = list(text.hits("person"))
    others = {hit.sentence for hit in hits if hit.name == "others"}
    for hit in hits:
        if hit.name in found and hit.sentence not in others and hit.sentence - 1 not in others:
            found[hit.name].append(text.span(hit))
    for span in _titles(text, others):
        found["man" if span.quote.startswith("Mr") and not span.quote.startswith("Mrs") else "woman"].append(span)
    man, woman = found["man"] + found["man_organ"], found["woman"] + found["woman_organ"]
    sex = examination.patient_sex
    if sex in ("M", "F"):
        patient, other, spans = ("a man", "a woman", woman) if sex == "M" else ("a woman", "a man", man)
        if spans:
            yield Discrepancy(
                "sex_mismatch",
                f"The report speaks of {other} ({_quoted(spans)}), the examination is of {patient}: "
                "is it this patient's report?",
                tuple(spans[:3]),
            )
        elif sex == "M" and found["woman_likely"]:
            spans = found["woman_likely"]
            yield Discrepancy(
                "sex_unlikely",
                f"The examination is of a man; {_quoted(spans)} is rare there. A weak sign: please look twice.",
                tuple(spans[:3]),
            )
    elif sex is None and man and woman:
        yield Discrepancy(
            "sex_mismatch",
            f"The report speaks of a man ({_quoted(man)}) and of a woman ({_quoted(woman)}).",
            (man[0], woman[0]),
        )


def _titles(text: CheckText, others: set[int]) -> Iterator[Span]:
    """ "Mr. Lee" at the start of a sentence; not MR, not MS, and no surgeon who was called."""
    for index, sentence in enumerate(text.sentences):
        word = text.text[sentence.starts[0] : sentence.ends[0]]
        after = text.text[sentence.ends[0] : sentence.ends[0] + 4]
        if index not in others and word in ("Mr", "Mrs", "Ms") and re.match(r"\.?\s+[A-Z]", after):
            yield text.piece(sentence.starts[0], sentence.ends[0])


def _wrong_side(report: StructuredReport, text: CheckText, examination: Examination) -> Iterator[Discrepancy]:
    """Only the other side is spoken of."""
    side = {"L": "left", "R": "right"}.get(examination.laterality or "")
    body_part = _body_part(examination)
    if side is None or body_part in check_table()["body_part"]["unpaired"]:
        return
    other = "right" if side == "left" else "left"
    spans: list[Span] = []
    for index, sentence in enumerate(text.sentences):
        if sentence.part in (Part.COMPARISON, Part.INDICATION):
            continue
        if not {side, "bilateral", "bilaterally", "both"}.isdisjoint(sentence.words):
            return
        for place, word in enumerate(sentence.words):
            if word == other and not {"handed", "angle", "angles"} & set(sentence.words[place + 1 : place + 3]):
                spans.append(text.sentence_span(index))
                break
    if spans:
        yield Discrepancy(
            "wrong_side",
            f"The examination is of the {side} {body_part.lower() or 'side'}, the report speaks only of the {other}.",
            tuple(spans[:3]),
        )


def _body_part_mismatch(report: StructuredReport, text: CheckText, examination: Examination) -> Iterator[Discrepancy]:
    """The title or technique names a region, and no region that it names can hold the body part of the examination."""
    body_part = _body_part(examination)
    regions = check_table()["region"]
    if not any(body_part in region["body_parts"] for region in regions.values()):
        return
    named: list[tuple[str, Span]] = []
    for index, sentence in enumerate(text.sentences):
        title = index == 0 and sentence.part is Part.UNHEADED and len(sentence.words) <= 10
        if not title and sentence.part is not Part.TECHNIQUE:
            continue
        for name in regions:
            if any(True for _ in check_phrases(f"region.{name}", ("words",)).matches(sentence.words)):
                named.append((name, text.sentence_span(index)))
    if named and not any(body_part in regions[name]["body_parts"] for name, _ in named):
        of = " and ".join(dict.fromkeys(name for name, _ in named))
        yield Discrepancy(
            "body_part_mismatch",
            f"The report is of the {of}, the examination of {body_part}.",
            tuple(dict.fromkeys(span for _, span in named))[:3],
        )


def _change_without_comparison(report: StructuredReport, text: CheckText, examination: Examination) -> Iterator[Discrepancy]:
    """A change is claimed, and COMPARISON says that there is nothing to compare with, or there is no earlier study."""
    denied = _comparison_denied(text)
    if denied is None and examination.has_prior is not False:
        return
    claims = [
        (mention.span, f"{finding_words(mention.finding)} is called {mention.change.value}")
        for observation in report.observations
        for mention in observation.mentions
        if mention.change is not None and mention.part not in SILENT and _claims_a_change(mention, text)
    ]
    compared = text.hits("comparison", "claims", parts=ASSERTING)
    claims += [(text.span(hit), "an earlier image is compared with") for hit in compared if not text.asks(hit.sentence)]
    if claims:
        words = min(claims, key=lambda claim: claim[0].start)[1]
        reason = "COMPARISON says that there is none" if denied else "no earlier study is known"
        spans = (denied, *(claim[0] for claim in claims)) if denied else tuple(claim[0] for claim in claims)
        message = f"{words[:1].upper()}{words[1:]}, and {reason}."
        yield Discrepancy("change_without_comparison", message, tuple(dict.fromkeys(spans))[:4])


def _claims_a_change(mention: Mention, text: CheckText) -> bool:
    """Does the change rest on an earlier image? Not where a follow-up is asked for, nor where two sides are compared."""
    if mention.origin is not Origin.RULES:
        return False
    wordings = [rule.partition(": ")[2] for rule in mention.rules if rule.startswith("change, ")]
    if wordings and all(wording.startswith(tuple(check_table()["comparison"]["not_claims"])) for wording in wordings):
        return False
    index = text.sentence_at(mention.span.start)
    return index < 0 or not (text.asks(index) or any(True for _ in text.hits_in(index, "comparison", ("not_here",))))


def _comparison_denied(text: CheckText) -> Span | None:
    """The words that say that there is no comparison; None where COMPARISON names one, or nothing is said."""
    denied: Span | None = None
    for index, sentence in enumerate(text.sentences):
        if sentence.part is Part.COMPARISON:
            found = list(text.hits_in(index, "comparison", ("none", "some")))
            names_one = any(hit.name == "some" for hit in found) or any(word[0].isdigit() for word in sentence.words)
            if names_one or not (denied or (found and found[0].first == 0)):
                return None
            denied = denied or text.sentence_span(index)
    if denied is None:
        hit = next(text.hits("comparison", "unavailable", parts=ASSERTING), None)
        denied = text.span(hit) if hit and not any(sentence.part is Part.COMPARISON for sentence in text.sentences) else None
    return denied


def _comparison_after_study(report: StructuredReport, text: CheckText, examination: Examination) -> Iterator[Discrepancy]:
    """COMPARISON names a date after the examination's; a date that can be read in two ways counts if both are later."""
    study = examination.study_date
    if study is None:
        spans = [part for part in report.parts if " ".join(part.heading.lower().split()) in _DATE_HEADINGS]
        dates = [found for part in spans for found, _ in _dates(text, part.start, part.end)]
        study = max(dates[0]) if len(dates) == 1 else None
    if study is None:
        return
    for part in report.parts:
        if part.part is Part.COMPARISON:
            for readings, span in _dates(text, part.start, part.end):
                if min(readings) > study:
                    yield Discrepancy(
                        "comparison_date_after_study",
                        f'COMPARISON names "{span.quote}", which is after the examination ({study.isoformat()}).',
                        (span,),
                    )


def _dates(text: CheckText, start: int, end: int) -> Iterator[tuple[tuple[date, ...], Span]]:
    """Every date between these places: as it can be read (day first or month first), and where it stands."""
    for match in _DATE.finditer(text.text, start, end):
        if match["iso"]:
            year, month, day = (int(piece) for piece in match["iso"].split("-"))
            tries = [(year, month, day)]
        elif match["slashed"]:
            first, second, year = (int(piece) for piece in re.split(r"[/.-]", match["slashed"]))
            tries = [(year, first, second), (year, second, first)]
        else:
            month = _MONTHS.index((match["month_first"] or match["month_second"])[:3].lower()) + 1
            tries = [(int(match["year_third"] or match["year_last"]), month, int(match["day_second"] or match["day_first"]))]
        readings = tuple(day for day in map(_day, tries) if day is not None)
        if readings:
            yield readings, text.piece(match.start(), match.end())


def _day(parts: tuple[int, int, int]) -> date | None:
    try:
        return date(*parts)
    except ValueError:
        return None


EXAMINATION_CHECKS: tuple[Callable[[StructuredReport, CheckText, Examination], Iterator[Discrepancy]], ...] = (
    _sex_mismatch, _wrong_side, _body_part_mismatch, _change_without_comparison, _comparison_after_study,
)  # fmt: skip


def _body_part(examination: Examination) -> str:
    """As the defined terms are written: "Chest", "C SPINE" -> "CHEST", "CSPINE"."""
    return re.sub(r"[^A-Z]", "", (examination.body_part or "").upper())


def _quoted(spans: Iterable[Span]) -> str:
    return ", ".join(dict.fromkeys(f'"{span.quote}"' for span in list(spans)[:3]))
