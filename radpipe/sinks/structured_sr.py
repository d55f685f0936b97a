"""A structured report as a DICOM Comprehensive SR document, and back; see `structured_sr_content` for its tree.

Always PARTIAL, UNVERIFIED, PRELIMINARY: the words were a radiologist's, the structuring is not. The document joins the
study whose header is given; without one it has a study of its own and an empty patient. All UIDs are derived: the study's
and the series' from the report's id and text, the instance's from all that it holds, so that the same report gives the same
bytes, and another reading of it another instance.
"""

from __future__ import annotations

from datetime import datetime
from io import BytesIO

import highdicom as hd
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage

from radpipe import __version__
from radpipe.observation import StructuredReport
from radpipe.sinks import structured_sr_content
from radpipe.sinks.dicom_sr import _charset, _copy_patient_and_study, _stand_in
from radpipe.sinks.identifiers import stable_uid
from radpipe.sinks.structured_escape import escape
from radpipe.sinks.structured_json import render as render_json
from radpipe.sinks.structured_sr_parse import parse

__all__ = ["parse", "render", "suffix"]

suffix = ".dcm"

SERIES_NUMBER = 9901

NO_DATE = "19000101"
"""ContentDate where neither a time nor a study date is known: it must have a value (type 1), and never the present day."""


def render(report: StructuredReport, *, header: Dataset | None = None, at: datetime | None = None) -> bytes:
    """The document as a DICOM file (PS3.10, Explicit VR Little Endian).

    `header`: any image of the study that the report is about, without pixels; fills patient and study. `at`: when the text
    was structured; else the study's date and time, else NO_DATE at midnight.
    """
    source = header if header is not None else _no_study(report)
    content = render_json(report).decode("ascii")
    document = hd.sr.ComprehensiveSR(
        evidence=[_stand_in(source)],
        content=structured_sr_content.root(),
        series_instance_uid=stable_uid("structured-sr-series", source.StudyInstanceUID, escape(report.report_id)),
        series_number=SERIES_NUMBER,
        sop_instance_uid=stable_uid("structured-sr", source.StudyInstanceUID, at.isoformat() if at else "", content),
        instance_number=1,
        manufacturer="radpipe",
        manufacturer_model_name="radpipe",
        software_versions=__version__,
        series_description="Structured from the report's text",
        is_complete=False,
        is_final=False,
        is_verified=False,
        coding_schemes=[
            CodingSchemeIdentificationItem("99RADPIPE", name="radpipe local codes", responsible_organization="radpipe")
        ],
    )
    document.ContentSequence = structured_sr_content.content(report)
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        if keyword in document:
            del document[keyword]  # the words name no image: the stand-in is not evidence
    _copy_patient_and_study(source, document)
    _set_times(document, at)
    charset = _charset(source, document)
    if charset:
        document.SpecificCharacterSet = charset
    elif "SpecificCharacterSet" in document:
        del document.SpecificCharacterSet
    file = BytesIO()
    document.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _no_study(report: StructuredReport) -> Dataset:
    """A header that says nothing of the patient, in a study of the report's own."""
    source = Dataset()
    source.SOPClassUID = ComprehensiveSRStorage
    key = (escape(report.report_id), escape(report.text))
    source.StudyInstanceUID = stable_uid("structured-study", *key)
    source.SeriesInstanceUID = stable_uid("structured-source-series", *key)
    source.SOPInstanceUID = stable_uid("structured-source", *key)
    return source


def _set_times(document: Dataset, at: datetime | None) -> None:
    """Times of the content, not of the rendering: the same report must give the same bytes."""
    date = at.strftime("%Y%m%d") if at else document.StudyDate or NO_DATE
    time = at.strftime("%H%M%S") if at else document.StudyTime or "000000"
    document.ContentDate = document.InstanceCreationDate = document.SeriesDate = date
    document.ContentTime = document.InstanceCreationTime = document.SeriesTime = time
    for item in document.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in item:
            del item.ContributionDateTime
