"""A report as a DICOM Comprehensive SR document: TID 1500 Measurement Report (PS3.16), see `sr_content` for its tree.

Comprehensive SR (PS3.3 A.35.3), not Comprehensive 3D SR: a radiograph has no frame of reference, all regions are 2D SCOORDs,
and more archives and viewers take it.

State: a draft is PARTIAL, UNVERIFIED, PRELIMINARY; a signed report is COMPLETE, VERIFIED, FINAL and names who signed it.
The document belongs to the images' study and has a series of its own. Its UIDs are derived from the report's key and
version, so that sending it again gives the same object, not a second one; an addendum names the document before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage

from radpipe import __version__
from radpipe.errors import DraftError
from radpipe.reading import Reading
from radpipe.report import Report, Status
from radpipe.sinks import sr_content
from radpipe.sinks.identifiers import person_name, stable_uid, timestamp
from radpipe.sinks.sr_document import (
    copy_patient_and_study,
    local_codes,
    set_character_set,
    set_content_times,
    stand_in,
    to_file,
)
from radpipe.sinks.stated import as_of, is_preliminary

suffix = ".dcm"

SERIES_NUMBER = 9900


@dataclass(frozen=True, slots=True)
class SrSink:
    """A `ports.Sink`: this module with the headers of the images that the report speaks of."""

    source_headers: Mapping[str, Dataset]
    suffix: str = suffix

    def render(self, reading: Reading, report: Report) -> bytes:
        """See `render`."""
        return render(reading, report, self.source_headers)


def sop_instance_uid(report_key: str, version: int) -> str:
    """The document's UID: the same for the same report and version."""
    return stable_uid("sr", report_key, version)


def series_instance_uid(report_key: str) -> str:
    """The series that holds all versions of one report."""
    return stable_uid("sr-series", report_key)


def render(reading: Reading, report: Report, source_headers: Mapping[str, Dataset]) -> bytes:
    """The document as a DICOM file (PS3.10, Explicit VR Little Endian).

    `source_headers`: SOPInstanceUID -> dataset without pixels, of every image that the report refers to, the prior's too.
    Raises DraftError if one is missing.
    """
    uids = sr_content.referenced_uids(reading, report)
    root = sr_content.measurement_report(reading, report, source_headers)
    current = [uid for uid in uids if source_headers[uid].StudyInstanceUID == report.study_instance_uid]
    if not current:
        raise DraftError(f"report {report.report_key} refers to no image of its own study; an SR needs one")
    source = source_headers[current[0]]
    ordered = [*current, *(uid for uid in uids if uid not in current)]
    document = hd.sr.ComprehensiveSR(
        evidence=[stand_in(source_headers[uid]) for uid in ordered],
        content=root,
        series_instance_uid=series_instance_uid(report.report_key),
        series_number=SERIES_NUMBER,
        sop_instance_uid=sop_instance_uid(report.report_key, report.version),
        instance_number=report.version,
        manufacturer="radpipe",
        manufacturer_model_name="radpipe",
        software_versions=__version__,
        series_description="Preliminary AI draft" if is_preliminary(report) else "Structured report",
        is_complete=not is_preliminary(report),
        is_final=not is_preliminary(report),
        is_verified=False,  # _verify does it: highdicom would write the present time
        previous_versions=_predecessors(report) or None,
        coding_schemes=[local_codes()],
    )
    copy_patient_and_study(source, document)
    set_content_times(document, _in_zone(as_of(reading, report), document.get("TimezoneOffsetFromUTC") or ""))
    _verify(document, reading, report)
    set_character_set(source, document)
    return to_file(document)


def _predecessors(report: Report) -> list[Dataset]:
    """The signed document to which this one adds (PS3.3 C.17.2, Predecessor Documents Sequence).

    Only an addendum has one: drafts are not sent, so a first signature must not name one that nobody has.
    """
    if report.status is not Status.AMENDED:
        return []
    previous = Dataset()
    previous.SOPClassUID = ComprehensiveSRStorage
    previous.SOPInstanceUID = sop_instance_uid(report.report_key, report.version - 1)
    previous.StudyInstanceUID = report.study_instance_uid
    previous.SeriesInstanceUID = series_instance_uid(report.report_key)
    return [previous]


def _in_zone(at: datetime | None, offset: str) -> datetime | None:
    """In the zone that the source declares for all times of its object, which the copied attributes carry on."""
    declared = re.fullmatch(r"([+-])(\d\d)(\d\d)", offset)
    if at is None or at.tzinfo is None or declared is None:
        return at
    minutes = int(declared[2]) * 60 + int(declared[3])
    return at.astimezone(timezone(timedelta(minutes=minutes if declared[1] == "+" else -minutes)))


def _verify(document: Dataset, reading: Reading, report: Report) -> None:
    """PS3.3 C.17.2: VERIFIED needs the verifying observer's name, organisation and time."""
    if is_preliminary(report) or report.signed_by is None or report.signed_at is None:
        return
    observer = Dataset()
    observer.VerifyingObserverName = person_name(report.signed_by.name)
    observer.VerifyingOrganization = report.signed_by.organisation or reading.study.institution_name or "not stated"
    observer.VerificationDateTime = timestamp(report.signed_at)
    observer.VerifyingObserverIdentificationCodeSequence = []
    document.VerifyingObserverSequence = [observer]
    document.VerificationFlag = "VERIFIED"
