"""A structured report as a DICOM Comprehensive SR document, and back; see `structured_sr_content` for its tree.

Always PARTIAL, UNVERIFIED, PRELIMINARY: the words were a radiologist's, the structuring is not. The document joins the
study whose header is given; without one it has a study of its own and an empty patient. All UIDs are derived: the study's
and the series' from the report's id and text, the instance's from all that it holds, so that the same report gives the same
bytes, and another reading of it another instance.
"""

from __future__ import annotations

from datetime import datetime

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage

from radpipe import __version__
from radpipe.observation import StructuredReport
from radpipe.sinks import structured_sr_content
from radpipe.sinks.identifiers import stable_uid
from radpipe.sinks.sr_document import (
    copy_patient_and_study,
    local_codes,
    set_character_set,
    set_content_times,
    stand_in,
    to_file,
)
from radpipe.sinks.structured_escape import escape
from radpipe.sinks.structured_json import render as render_json
from radpipe.sinks.structured_sr_parse import parse

__all__ = ["parse", "render", "suffix"]

suffix = ".dcm"

SERIES_NUMBER = 9901


def render(report: StructuredReport, *, header: Dataset | None = None, at: datetime | None = None) -> bytes:
    """The document as a DICOM file (PS3.10, Explicit VR Little Endian).

    `header`: any image of the study that the report is about, without pixels; fills patient and study. `at`: when the text
    was structured; else the study's date and time, else 1900-01-01 at midnight.
    """
    source = header if header is not None else _no_study(report)
    content = render_json(report).decode("ascii")
    document = hd.sr.ComprehensiveSR(
        evidence=[stand_in(source)],
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
        coding_schemes=[local_codes()],
    )
    document.ContentSequence = structured_sr_content.content(report)
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        if keyword in document:
            del document[keyword]  # the words name no image: the stand-in is not evidence
    copy_patient_and_study(source, document)
    set_content_times(document, at)
    set_character_set(source, document)
    return to_file(document)


def _no_study(report: StructuredReport) -> Dataset:
    """A header that says nothing of the patient, in a study of the report's own."""
    source = Dataset()
    source.SOPClassUID = ComprehensiveSRStorage
    key = (escape(report.report_id), escape(report.text))
    source.StudyInstanceUID = stable_uid("structured-study", *key)
    source.SeriesInstanceUID = stable_uid("structured-source-series", *key)
    source.SOPInstanceUID = stable_uid("structured-source", *key)
    return source
