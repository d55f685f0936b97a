"""Reports of earlier studies: as they came from elsewhere, and what the one that was compared with says of each finding."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from radpipe.codes import Laterality
from radpipe.errors import UsageError
from radpipe.observation import Assertion
from radpipe.study import Patient


class ReportOrigin(StrEnum):
    """How a report from elsewhere came in."""

    IMPORTED = "imported"  # given by a person: `radpipe report import`
    DICOM_SR = "dicom_sr"  # a structured report document among the study's files


@dataclass(frozen=True, slots=True)
class OutsideReport:
    """A person's report of one study, in free text, written elsewhere. Raises UsageError without a study or words.

    Without a StudyInstanceUID the accession number names the study, and then the patient must be known, because accession
    numbers are not unique in the world.
    """

    text: str
    origin: ReportOrigin
    study_instance_uid: str = ""
    accession_number: str = ""
    study_date: date | None = None
    patient: Patient | None = None  # None: whose it is follows from its study
    sop_instance_uid: str = ""  # of the SR document
    written: str = ""  # DA + TM of the document, sorts in time; "" when not known
    withdrawn: bool = False  # taken back by a person: kept, never used

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise UsageError("the report has no words")
        whose = self.patient is not None and self.patient.patient_id.strip()
        if not self.study_instance_uid and not (self.accession_number and whose):
            raise UsageError("a report needs the UID of its study, or its accession number and the patient's ID")

    @property
    def reported_key(self) -> str:
        """16 hex digits over the study and the words: the same report of the same study has the same key."""
        study = self.study_instance_uid
        if not study and self.patient is not None:
            study = "\n".join((self.accession_number, self.patient.patient_id, self.patient.issuer_of_patient_id))
        return hashlib.sha256(f"{study}\n{self.text}".encode("utf-8", "backslashreplace")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class PriorStatement:
    """What a prior report says of one finding, with its words. Offsets are those of the report's text; None for our own
    reports, where the quote is a whole sentence."""

    finding: str
    status: Assertion
    laterality: Laterality | None
    quote: str
    section: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class PriorReport:
    """The report of an earlier study that takes part in a comparison."""

    report_key: str
    study_instance_uid: str  # "" when only the accession number is known
    study_date: date
    source: str  # in words: "imported report 5f0c...", "DICOM SR 1.2...", "radpipe report 7c1e... version 2"
    statements: tuple[PriorStatement, ...] = ()
