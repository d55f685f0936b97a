"""A report as sections of sentences, each with its evidence, and its way from draft to signature.

No sentence can be built without evidence, and no sentence about change without a prior image: the constructors refuse.
State moves only through the functions of `radpipe.review`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from radpipe.errors import DraftError
from radpipe.finding import ChangeKind, Evidence

PRELIMINARY = "PRELIMINARY AUTOMATED DRAFT, NOT VERIFIED BY A RADIOLOGIST. Not for diagnosis."
"""Stands on every output until the report is signed."""


class Origin(StrEnum):
    """Who a sentence comes from."""

    MODEL = "model"
    TAGS = "tags"  # read off the DICOM attributes
    REPORT = "report"  # read off the report of an earlier study
    RADIOLOGIST = "radiologist"


class Stance(StrEnum):
    """What a sentence asserts of its finding."""

    PRESENT = "present"
    ABSENT = "absent"
    UNSURE = "unsure"
    STATEMENT = "statement"  # a fact of the examination, not of a finding


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence. Raises DraftError without evidence, or if it speaks of change without a prior image."""

    text: str
    evidence: tuple[Evidence, ...]
    origin: Origin = Origin.MODEL
    stance: Stance = Stance.STATEMENT
    finding: str | None = None
    change: ChangeKind | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise DraftError("a sentence has no words; drop it")
        if not self.evidence:
            raise DraftError("a sentence has no evidence; drop it")
        if self.change is not None and not any(item.prior_sop_instance_uid for item in self.evidence):
            raise DraftError("a sentence about change needs a prior image in its evidence; drop the change")


class SectionName(StrEnum):
    """Sections of a report, in their order (DICOM TID 2000's headings, CID 7001)."""

    INDICATION = "Indication"
    TECHNIQUE = "Technique"
    COMPARISON = "Comparison"
    FINDINGS = "Findings"
    IMPRESSION = "Impression"
    NOT_ASSESSED = "Not assessed by this model"
    ADDENDUM = "Addendum"


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its sentences."""

    name: SectionName
    sentences: tuple[Sentence, ...]


class Role(StrEnum):
    """Who may do what: only a radiologist signs; a resident may correct; a viewer looks."""

    RADIOLOGIST = "radiologist"
    RESIDENT = "resident"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class Person:
    """A named user. `name` is a DICOM PN (family^given) or a plain name."""

    user: str
    name: str
    role: Role
    organisation: str = ""


class Status(StrEnum):
    """draft -> final -> amended (by addendum)."""

    DRAFT = "draft"
    FINAL = "final"
    AMENDED = "amended"


class Verdict(StrEnum):
    """What a radiologist did with one finding of the draft."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    EDITED = "edited"


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person did with one finding: the record from which agreement is counted."""

    finding: str
    verdict: Verdict
    by: Person
    at: datetime
    text: str = ""  # the new wording, for EDITED
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """One report. A change is a new value with `version` + 1."""

    report_key: str
    study_instance_uid: str
    run_key: str
    sections: tuple[Section, ...]
    status: Status = Status.DRAFT
    version: int = 1
    corrections: tuple[Correction, ...] = ()
    signed_by: Person | None = None
    signed_at: datetime | None = None

    def section(self, name: SectionName) -> Section | None:
        """The section of this name, or None."""
        return next((section for section in self.sections if section.name is name), None)

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """All sentences in reading order."""
        return tuple(sentence for section in self.sections for sentence in section.sentences)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One link of the audit trail. `digest` = SHA-256 over the entry's fields and the digest before it."""

    sequence: int
    at: datetime
    actor: str
    action: str
    object_key: str
    detail: str
    previous_digest: str
    digest: str
