"""What arrives: a patient's study, its series and images, and what was set aside. Metadata only, no pixels.

Attribute names are DICOM keywords in snake_case (PS3.6). Missing or empty attributes are "" or None, never guessed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, time
from enum import StrEnum
from pathlib import Path

from radpipe.codes import Laterality


class View(StrEnum):
    """Projection of a radiograph, ViewPosition (0018,5101) reduced to what models distinguish."""

    PA = "PA"
    AP = "AP"
    LATERAL = "LATERAL"


class Basis(StrEnum):
    """How a fact about an image is known."""

    TAGS = "tags"
    DESCRIPTION = "description"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Patient:
    """Identity as the PACS sent it. Never logged, never in a URL, flow parameter, metric or message."""

    patient_id: str
    issuer_of_patient_id: str = ""
    patient_name: str = ""  # PN in DICOM form, family^given
    patient_birth_date: date | None = None
    patient_sex: str = ""  # M, F, O or ""


@dataclass(frozen=True, slots=True)
class FileRef:
    """Where an instance's bytes are: a file, or a member of a zip file."""

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """For messages: the path, with "!member" for a member of a zip."""
        return f"{self.path}!{self.member}" if self.member else str(self.path)


@dataclass(frozen=True, slots=True)
class Image:
    """One SOP instance with pixel data, described. Pixels are read later, by `dicom.presentation`."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    series_instance_uid: str
    file: FileRef
    sha256: str  # of the file's bytes
    modality: str
    rows: int
    columns: int
    number_of_frames: int = 1
    instance_number: int | None = None
    photometric_interpretation: str = ""
    image_type: tuple[str, ...] = ()
    body_part: str = ""  # CHEST, HAND, ... as DICOM's defined terms; "" when unknown
    body_part_basis: Basis | None = None
    view: View | None = None
    view_basis: Basis | None = None
    image_laterality: Laterality | None = None
    spacing_mm: tuple[float, float] | None = None  # row, column: the order of (0028,0030)
    spacing_source: str = ""  # e.g. "PixelSpacing, calibrated (FIDUCIAL)", "ImagerPixelSpacing, at the detector"
    patient_orientation: tuple[str, ...] = ()  # (0020,0020): direction of rows, of columns; ("L", "F") is upright
    series_description: str = ""
    acquisition_time: str = ""  # DA+TM or "", sorts in time
    series_number: int | None = None
    other_projection: str = ""  # "oblique", "decubitus", ...: known to be none of View; view is None then
    presentation_intent: str = ""  # (0008,0068): FOR PRESENTATION, FOR PROCESSING or ""
    derivations: tuple[tuple[str, str], ...] = ()  # (code of CID 7203 or "", words) of each step that derived it
    deviation_index: float | None = None  # (0018,1413), IEC 62494-1: 0 is the exposure aimed at, 3 twice as much
    rejected: str = ""  # why its sender withdrew it: "rejected for quality reasons", ...; "" if not


@dataclass(frozen=True, slots=True)
class SetAside:
    """An input that was not used, and why; `reason` tells the user what to do."""

    file: str
    reason: str
    study_instance_uid: str | None = None
    sop_instance_uid: str | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """A study as found in the input: its images and the files of it that were set aside."""

    study_instance_uid: str
    patient: Patient
    accession_number: str = ""
    study_date: date | None = None
    study_time: time | None = None
    study_description: str = ""
    reason_for_study: str = ""  # ReasonForTheRequestedProcedure, or ReasonForStudy; the indication
    referring_physician_name: str = ""
    study_id: str = ""
    patient_age: str = ""  # AS, e.g. "045Y"
    institution_name: str = ""
    modalities: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    other_instances: tuple[tuple[str, str], ...] = ()  # (SOPClassUID, SOPInstanceUID) of SR, PR, KO, ...: kept, not read
    set_aside: tuple[SetAside, ...] = ()

    @property
    def study_key(self) -> str:
        """A pseudonymous key for logs, URLs and flow parameters: 16 hex digits of SHA-256 of the study's UID."""
        return study_key(self.study_instance_uid)

    @property
    def instances(self) -> int:
        """How many instances of this study were found, readable or not an image."""
        return len(self.images) + len(self.other_instances)

    @property
    def body_part(self) -> str:
        """The body part that most images show; "" when none is known."""
        parts = [image.body_part for image in self.images if image.body_part]
        return max(sorted(set(parts)), key=parts.count) if parts else ""

    @property
    def content_key(self) -> str:
        """SHA-256 over the study's instances and their bytes: the same content gives the same key, in any order."""
        digest = hashlib.sha256()
        for line in sorted({f"{image.sop_instance_uid} {image.sha256}" for image in self.images}):
            digest.update(line.encode() + b"\n")
        for _, uid in sorted(self.other_instances):
            digest.update(uid.encode() + b"\n")
        return digest.hexdigest()


def study_key(study_instance_uid: str) -> str:
    """16 hex digits of the SHA-256 of a StudyInstanceUID: identifies the study, says nothing of the patient."""
    return hashlib.sha256(study_instance_uid.encode()).hexdigest()[:16]
