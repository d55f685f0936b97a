"""What the words of a report say: observations with their verbatim quotes, recommendations, communications, discrepancies.

Status, severity and change are those of the annotation guideline (one entry per finding per report, with every mention
of it underneath); positions are character offsets into the report's text, 0-based and end-exclusive, so that
`text[start:end] == quote` always holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from radpipe.codes import Code, Laterality
from radpipe.errors import StructureError
from radpipe.finding import ChangeKind


class Assertion(StrEnum):
    """What the report says of a finding, about today's images."""

    PRESENT = "present"
    ABSENT = "absent"
    UNCERTAIN = "uncertain"


class Severity(StrEnum):
    """Only if a word states it; in rising order."""

    MINIMAL = "minimal"
    SMALL = "small"
    MODERATE = "moderate"
    LARGE = "large"


class Part(StrEnum):
    """The part of the report that a sentence stands in (LOINC 18782-3 and its sections, DICOM CID 7001)."""

    INDICATION = "indication"
    TECHNIQUE = "technique"
    COMPARISON = "comparison"
    FINDINGS = "findings"
    IMPRESSION = "impression"
    RECOMMENDATION = "recommendation"
    ADDENDUM = "addendum"
    UNHEADED = "unheaded"  # no heading was given: read as findings


class Origin(StrEnum):
    """Who made the observation: the rules, or a language model whose proposal the rules could check."""

    RULES = "rules"
    PROPOSED = "proposed"


@dataclass(frozen=True, slots=True)
class Span:
    """A verbatim piece of the text. Raises StructureError when the quote is not as long as the span."""

    start: int
    end: int
    quote: str

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end or len(self.quote) != self.end - self.start:
            raise StructureError(f"a quote of {len(self.quote)} characters cannot lie at {self.start} to {self.end}")


@dataclass(frozen=True, slots=True)
class PartSpan:
    """One section of the text: its name, its heading as written ("" if none), and where its body lies."""

    part: Part
    heading: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Location:
    """Where in the body: the field's name ("upper lobe", "costophrenic angle", "T10"), its code if one is known."""

    name: str
    code: Code | None = None
    laterality: Laterality | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """One measurement, in mm: 1 to 3 dimensions as written. A range ("4 to 6 mm") has its lower end in `least_mm`.
    Raises StructureError without a dimension."""

    mm: tuple[float, ...]
    least_mm: float | None = None

    def __post_init__(self) -> None:
        if not self.mm:
            raise StructureError("a size has no dimension; leave it out")


@dataclass(frozen=True, slots=True)
class Device:
    """A device named in the text, and where the text says its tip or end lies ("" when it does not say)."""

    kind: str
    code: Code | None = None
    position: str = ""


@dataclass(frozen=True, slots=True)
class Mention:
    """One place where the text speaks of a finding, and all that is said of it there.

    `rules` names what fired, in order: the term ("pleural_effusion: effusion"), then each cue that set an attribute.
    """

    finding: str
    status: Assertion
    span: Span
    part: Part
    laterality: Laterality | None = None
    severity: Severity | None = None
    change: ChangeKind | None = None
    locations: tuple[Location, ...] = ()
    sizes: tuple[Size, ...] = ()
    device: Device | None = None
    rules: tuple[str, ...] = ()
    origin: Origin = Origin.RULES


@dataclass(frozen=True, slots=True)
class Observation:
    """One finding of one report: what all mentions together say. `span` and `part` are the mention's that decided."""

    finding: str
    code: Code
    status: Assertion
    span: Span
    part: Part
    laterality: Laterality | None
    severity: Severity | None
    change: ChangeKind | None
    mentions: tuple[Mention, ...]

    def __post_init__(self) -> None:
        if not self.mentions:
            raise StructureError(f"the observation {self.finding} rests on no mention; it cannot be stated")

    @property
    def locations(self) -> tuple[Location, ...]:
        """Where it is said to be, over the mentions that agree with the status, each once."""
        return tuple(
            dict.fromkeys(x for mention in self.mentions if mention.status is self.status for x in mention.locations)
        )

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Its measurements, over the mentions that agree with the status, each once."""
        return tuple(dict.fromkeys(x for mention in self.mentions if mention.status is self.status for x in mention.sizes))

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices named, each once."""
        found = (mention.device for mention in self.mentions if mention.status is self.status)
        return tuple(dict.fromkeys(device for device in found if device is not None))

    @property
    def origin(self) -> Origin:
        """PROPOSED when no mention comes from the rules."""
        return Origin.RULES if any(mention.origin is Origin.RULES for mention in self.mentions) else Origin.PROPOSED


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What the report asks to be done: "CT in 6 months" -> action follow-up, modality CT, 180 days."""

    action: str  # follow_up, further_imaging, comparison, clinical_correlation, biopsy, referral
    span: Span
    part: Part
    modality: str | None = None  # DICOM's modality: CT, MR, CR, US, PT, NM, MG; None if none is named
    least_days: int | None = None
    most_days: int | None = None
    interval: str = ""  # as written
    condition: str = ""  # "if fever persists", as written


@dataclass(frozen=True, slots=True)
class Communication:
    """A result that the report says was told to somebody."""

    span: Span
    part: Part
    to_whom: str = ""  # as written
    when: str = ""  # as written
    how: str = ""  # as written: "by telephone"


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """Where the report contradicts itself or the examination it belongs to; shown to a human, never corrected."""

    kind: str
    message: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class StructuredReport:
    """A free-text report, structured. `lexicon` is "name version sha256[:12]" of the rules that read it."""

    report_id: str
    text: str
    lexicon: str
    parts: tuple[PartSpan, ...] = ()
    observations: tuple[Observation, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()
    communications: tuple[Communication, ...] = ()
    discrepancies: tuple[Discrepancy, ...] = ()

    def observation(self, finding: str) -> Observation | None:
        """What the report says of this finding, or None if it does not speak of it."""
        return next((item for item in self.observations if item.finding == finding), None)
