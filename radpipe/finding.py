"""What was read: findings with their evidence, changes against a prior, and the priority that follows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from radpipe.codes import Code, Laterality
from radpipe.errors import DraftError


class Decision(StrEnum):
    """`unsure` lies between the card's rule-out and threshold: it is said as uncertain, never as absent."""

    PRESENT = "present"
    ABSENT = "absent"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured quantity. `unit` is UCUM ("mm", "1"); `basis` says what it rests on."""

    name: str
    value: float
    unit: str
    basis: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a statement rests on: an image, where in it, what was seen, by which model.

    A `prior_sop_instance_uid` is there only in statements about change.
    """

    sop_instance_uid: str
    frame: int | None = None  # 1-based, as DICOM's ReferencedFrameNumber; None for a single frame
    box_px: tuple[int, int, int, int] | None = None  # top, left, bottom, right; 0-based, end-exclusive; of the source image
    score: float | None = None  # calibrated probability, 0..1
    threshold: float | None = None
    model: str = ""  # "name version sha256[:12]"; "" for facts read off the tags
    source: str = ""  # the attribute or rule that a fact was read from, e.g. "ViewPosition"
    measurement: Measurement | None = None
    prior_sop_instance_uid: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One label of the model's card, decided for one study. Raises DraftError without evidence."""

    finding: str
    code: Code
    decision: Decision
    probability: float  # calibrated, 0..1
    threshold: float  # present at and above
    rule_out: float  # absent below; unsure between
    evidence: tuple[Evidence, ...]
    laterality: Laterality | None = None
    zone: str | None = None  # "upper", "middle", "lower": thirds of the lung's height

    def __post_init__(self) -> None:
        if not self.evidence:
            raise DraftError(f"the finding {self.finding} has no evidence; it cannot be stated")


class ChangeKind(StrEnum):
    """How a finding compares with the prior."""

    NEW = "new"
    INCREASED = "increased"
    DECREASED = "decreased"
    UNCHANGED = "unchanged"
    RESOLVED = "resolved"
    NOT_COMPARABLE = "not_comparable"


@dataclass(frozen=True, slots=True)
class Registration:
    """How well the prior was brought onto the current image. `transform` maps current to prior, in normalised
    coordinates (x, y from 0 to 1): a 2x3 affine, row by row."""

    correlation: float  # of the aligned images, -1..1
    comparable: bool
    why: str
    transform: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Change:
    """One finding against the prior. Raises DraftError unless both images are named."""

    finding: str
    change: ChangeKind
    score: float  # 0..1, how sure the change is
    current_sop_instance_uid: str
    prior_sop_instance_uid: str
    current_probability: float | None = None
    prior_probability: float | None = None
    why: str = ""

    def __post_init__(self) -> None:
        if not (self.current_sop_instance_uid and self.prior_sop_instance_uid):
            raise DraftError(f"a change of {self.finding} needs a current and a prior image")


@dataclass(frozen=True, slots=True)
class Prior:
    """The earlier study that was compared with, the image of it, and why it was chosen."""

    study_instance_uid: str
    study_date: date | None
    sop_instance_uid: str
    why: str
    registration: Registration | None = None


class Level(StrEnum):
    """Place on the worklist, most urgent first. UNSURE and NOT_READ keep their order of arrival, never below ROUTINE."""

    STAT = "STAT"
    URGENT = "URGENT"
    UNSURE = "UNSURE"
    NOT_READ = "NOT_READ"
    ROUTINE = "ROUTINE"


@dataclass(frozen=True, slots=True)
class Priority:
    """Level, score within the level (0..1) and the reasons in plain words; never without a reason."""

    level: Level
    score: float
    reasons: tuple[str, ...]
    cap_s: int = 0  # the longest this study should wait, seconds

    def __post_init__(self) -> None:
        if not self.reasons:
            raise DraftError("a priority needs at least one reason")


def score_words(score: float) -> str:
    """A probability for people: two places, three where it is small ("0.83", "0.053")."""
    return f"{score:.2f}" if score >= 0.1 else f"{score:.3f}"
