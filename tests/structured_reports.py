"""Structured reports for tests: one written by hand, and hypothesis strategies for any that can be."""

from __future__ import annotations

from hypothesis import strategies as st

from radpipe.codes import FINDINGS, Code, Laterality
from radpipe.finding import ChangeKind
from radpipe.observation import (
    Assertion,
    Communication,
    Device,
    Discrepancy,
    Location,
    Mention,
    Observation,
    Origin,
    Part,
    PartSpan,
    Recommendation,
    Severity,
    Size,
    Span,
    StructuredReport,
)

TEXT = """INDICATION: 61-year-old man, cough.
TECHNIQUE: PA and lateral chest.
COMPARISON: Radiographs of last week.

FINDINGS:
Small right pleural effusion blunting the costophrenic angle, unchanged. The heart is normal in size.
Right jugular catheter, tip in the right atrium. There is a 9 x 7 mm nodule in the left upper lobe.
A second nodule measures 4 to 6 mm. No pneumothorax.

IMPRESSION:
1. Small right effusion, unchanged.
2. Possible pneumonia at the left base.
3. CT in 3 to 6 months if the nodule persists. Told to Dr. Example by telephone at 10:30.
"""

LEXICON = "chest 1.0 0123456789ab"


def span(quote: str, text: str = TEXT) -> Span:
    start = text.index(quote)
    return Span(start, start + len(quote), quote)


def part(name: Part, heading: str, first: str, last: str) -> PartSpan:
    start = TEXT.index(first)
    return PartSpan(name, heading, start, TEXT.index(last, start) + len(last))


def single(mention: Mention, code: Code) -> Observation:
    return Observation(
        mention.finding, code, mention.status, mention.span, mention.part, mention.laterality, mention.severity,
        mention.change, (mention,),
    )  # fmt: skip


ANGLE = Location("costophrenic angle", Code("RID1332", "RADLEX", "Costophrenic angle"), Laterality.RIGHT)
UPPER_LOBE = Location("upper lobe", Code("45653009", "SCT", "Structure of upper lobe of lung"), Laterality.LEFT)
BASE = Location("lung base")
CATHETER = Device("central venous catheter", Code("52124006", "SCT", "Central venous catheter"), "tip in the right atrium")

_EFFUSION = (
    Mention(
        "pleural_effusion", Assertion.PRESENT,
        span("Small right pleural effusion blunting the costophrenic angle, unchanged."), Part.FINDINGS,
        Laterality.RIGHT, Severity.SMALL, ChangeKind.UNCHANGED, (ANGLE,),
        rules=("pleural_effusion: pleural effusion", "severity: small", "change: unchanged"),
    ),
    Mention(
        "pleural_effusion", Assertion.PRESENT, span("Small right effusion, unchanged."), Part.IMPRESSION, Laterality.RIGHT,
        Severity.SMALL, ChangeKind.UNCHANGED, rules=("pleural_effusion: effusion",),
    ),
)  # fmt: skip

SAMPLE = StructuredReport(
    "CXR-1",
    TEXT,
    LEXICON,
    (
        part(Part.INDICATION, "INDICATION", " 61-year", "cough.\n"),
        part(Part.TECHNIQUE, "TECHNIQUE", " PA and", "chest.\n"),
        part(Part.COMPARISON, "COMPARISON", " Radiographs", "last week.\n\n"),
        part(Part.FINDINGS, "FINDINGS", "\nSmall right pleural", "No pneumothorax.\n\n"),
        part(Part.IMPRESSION, "IMPRESSION", "\n1. Small", "10:30.\n"),
    ),
    (
        Observation(
            "pleural_effusion", FINDINGS["pleural_effusion"], Assertion.PRESENT, _EFFUSION[1].span, Part.IMPRESSION,
            Laterality.RIGHT, Severity.SMALL, ChangeKind.UNCHANGED, _EFFUSION,
        ),
        single(
            Mention("cardiomegaly", Assertion.ABSENT, span("The heart is normal in size."), Part.FINDINGS,
                    rules=("cardiomegaly: heart is normal in size (normal)",)),
            FINDINGS["cardiomegaly"],
        ),
        single(
            Mention("support_device", Assertion.PRESENT, span("Right jugular catheter, tip in the right atrium."),
                    Part.FINDINGS, Laterality.RIGHT, device=CATHETER, rules=("support_device: jugular catheter",)),
            Code("303490004", "SCT", "Medical device"),
        ),
        Observation(
            "nodule_mass", Code("427359005", "SCT", "Solitary nodule of lung"), Assertion.PRESENT,
            span("There is a 9 x 7 mm nodule in the left upper lobe."), Part.FINDINGS, Laterality.LEFT, None, None,
            (
                Mention("nodule_mass", Assertion.PRESENT, span("There is a 9 x 7 mm nodule in the left upper lobe."),
                        Part.FINDINGS, Laterality.LEFT, locations=(UPPER_LOBE,), sizes=(Size((9.0, 7.0)),)),
                Mention("nodule_mass", Assertion.PRESENT, span("A second nodule measures 4 to 6 mm."), Part.FINDINGS,
                        sizes=(Size((6.0,), 4.0),)),
            ),
        ),
        single(
            Mention("pneumothorax", Assertion.ABSENT, span("No pneumothorax."), Part.FINDINGS,
                    rules=("pneumothorax: pneumothorax", "negation: no")),
            FINDINGS["pneumothorax"],
        ),
        single(
            Mention("pneumonia", Assertion.UNCERTAIN, span("Possible pneumonia at the left base."), Part.IMPRESSION,
                    Laterality.LEFT, locations=(BASE,), rules=("pneumonia: pneumonia", "hedge: possible"),
                    origin=Origin.PROPOSED),
            FINDINGS["pneumonia"],
        ),
    ),
    (
        Recommendation("follow_up", span("CT in 3 to 6 months if the nodule persists."), Part.IMPRESSION, "CT", 90, 180,
                       "in 3 to 6 months", "if the nodule persists"),
    ),
    (
        Communication(span("Told to Dr. Example by telephone at 10:30."), Part.IMPRESSION, "Dr. Example", "at 10:30",
                      "by telephone"),
    ),
    (
        Discrepancy("critical_without_recommendation", "An example of something for a human to look at.",
                    (span("Right jugular catheter"), span("No pneumothorax."))),
    ),
)  # fmt: skip

EMPTY = StructuredReport("", "", "")

# Any text: control characters, lone surrogates, right-to-left marks, our own escape's letters.
_NASTY = '\\xe0u\x00\x1b\u200f\u202e\u00a0 \t\r\n\f\ud83d😀"<&'
_LETTERS = st.characters(exclude_categories=()) | st.sampled_from(_NASTY)
WORDS = st.text(_LETTERS, max_size=12)
LONGER = st.text(_LETTERS, max_size=80)
MM = st.floats(allow_nan=False, allow_infinity=False)
SIDES = st.none() | st.sampled_from(Laterality)
CODES = st.builds(Code, WORDS, st.sampled_from(["SCT", "RADLEX", "99RADPIPE", "LN", "FMA"]) | WORDS, WORDS) | st.builds(
    Code,
    st.text("0123456789abcXYZ- .", min_size=1, max_size=70),
    st.sampled_from(["SCT", "DCM", "99RADPIPE"]),
    st.text("abc XYZ-é影", min_size=1, max_size=70),
)
LOCATIONS = st.builds(Location, WORDS, st.none() | CODES, SIDES)
SIZES = st.builds(Size, st.lists(MM, min_size=1, max_size=3).map(tuple), st.none() | MM)
DEVICES = st.builds(Device, WORDS, st.none() | CODES, WORDS)


@st.composite
def spans(draw: st.DrawFn, text: str) -> Span:
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, len(text)))
    return Span(start, end, text[start:end])


@st.composite
def part_spans(draw: st.DrawFn, text: str) -> PartSpan:
    place = draw(spans(text))
    return PartSpan(draw(st.sampled_from(Part)), draw(WORDS), place.start, place.end)


def mentions(text: str) -> st.SearchStrategy[Mention]:
    return st.builds(
        Mention, WORDS, st.sampled_from(Assertion), spans(text), st.sampled_from(Part), SIDES,
        st.none() | st.sampled_from(Severity), st.none() | st.sampled_from(ChangeKind),
        st.lists(LOCATIONS, max_size=2).map(tuple), st.lists(SIZES, max_size=2).map(tuple), st.none() | DEVICES,
        st.lists(WORDS, max_size=3).map(tuple), st.sampled_from(Origin),
    )  # fmt: skip


def observations(text: str) -> st.SearchStrategy[Observation]:
    return st.builds(
        Observation, WORDS | st.sampled_from(sorted(FINDINGS)), CODES, st.sampled_from(Assertion), spans(text),
        st.sampled_from(Part), SIDES, st.none() | st.sampled_from(Severity), st.none() | st.sampled_from(ChangeKind),
        st.lists(mentions(text), min_size=1, max_size=3).map(tuple),
    )  # fmt: skip


def recommendations(text: str) -> st.SearchStrategy[Recommendation]:
    days = st.none() | st.integers(-(10**6), 10**6)
    return st.builds(
        Recommendation, WORDS, spans(text), st.sampled_from(Part), st.none() | st.sampled_from(["CT", "MR"]) | WORDS,
        days, days, WORDS, WORDS,
    )  # fmt: skip


def communications(text: str) -> st.SearchStrategy[Communication]:
    return st.builds(Communication, spans(text), st.sampled_from(Part), WORDS, WORDS, WORDS)


def discrepancies(text: str) -> st.SearchStrategy[Discrepancy]:
    return st.builds(Discrepancy, WORDS, WORDS, st.lists(spans(text), max_size=2).map(tuple))


@st.composite
def reports(draw: st.DrawFn) -> StructuredReport:
    """Any structured report whose quotes are in its text."""
    text = draw(LONGER)
    return StructuredReport(
        draw(WORDS),
        text,
        draw(WORDS),
        tuple(draw(st.lists(part_spans(text), max_size=4))),
        tuple(draw(st.lists(observations(text), max_size=3))),
        tuple(draw(st.lists(recommendations(text), max_size=2))),
        tuple(draw(st.lists(communications(text), max_size=2))),
        tuple(draw(st.lists(discrepancies(text), max_size=2))),
    )
