"""What every SR document of ours has in common: the patient and study that it copies, its times, its character set.

Used by `dicom_sr` (our reports) and `structured_sr` (structured reports). highdicom is given stand-ins instead of real
headers, and the true attributes are copied afterwards, as they came.
"""

from __future__ import annotations

import warnings
from copy import deepcopy
from datetime import datetime
from io import BytesIO

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.valuerep import PersonName

UTF_8 = "ISO_IR 192"

NO_DATE = "19000101"
"""ContentDate where neither a time nor a study date is known: it must have a value (type 1), and never the present day."""

_COPIED = (
    # Patient, PS3.3 C.7.1.1
    "PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence", "PatientBirthDate", "PatientBirthTime", "PatientSex", "OtherPatientNames", "EthnicGroup",
    "PatientComments", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "QualityControlSubject",
    # General Study, C.7.2.1, and Patient Study, C.7.2.2
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "IssuerOfAccessionNumberSequence", "ReferringPhysicianName",
    "StudyDescription", "ProcedureCodeSequence", "ReferencedStudySequence", "PatientAge", "PatientSize", "PatientWeight",
    "AdmissionID", "IssuerOfAdmissionIDSequence", "ServiceEpisodeID", "TimezoneOffsetFromUTC",
)  # fmt: skip
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "ReferringPhysicianName",
)  # fmt: skip
_TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})


def local_codes() -> CodingSchemeIdentificationItem:
    """The Coding Scheme Identification of 99RADPIPE (PS3.3 C.12.1)."""
    return CodingSchemeIdentificationItem("99RADPIPE", name="radpipe local codes", responsible_organization="radpipe")


def stand_in(header: Dataset) -> Dataset:
    """What highdicom needs of a header, without the patient: it checks names and dates and would refuse or warn of what
    a PACS has sent. The true attributes are copied afterwards, as they are."""
    stand_in = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(stand_in, keyword, header[keyword].value)
    for keyword in _TYPE_2:
        setattr(stand_in, keyword, "")
    return stand_in


def copy_patient_and_study(source: Dataset, document: Dataset) -> None:
    """The attributes of patient and study that `source` has, into `document`, as they came."""
    with warnings.catch_warnings():
        # a value that breaks its VR's rules is copied as it came; pydicom's warning would print the patient's data
        warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")
        for keyword in _COPIED:
            if keyword in source:
                document[keyword] = deepcopy(source[keyword])


def set_content_times(document: Dataset, at: datetime | None) -> None:
    """Times of the content, not of the rendering: the same content must give the same bytes under the same UID.

    Without `at` those of the study stand, else NO_DATE at midnight.
    """
    date = at.strftime("%Y%m%d") if at else document.StudyDate or NO_DATE
    time = at.strftime("%H%M%S") if at else document.StudyTime or "000000"
    document.ContentDate = document.InstanceCreationDate = document.SeriesDate = date
    document.ContentTime = document.InstanceCreationTime = document.SeriesTime = time
    for item in document.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in item:
            del item.ContributionDateTime


def set_character_set(source: Dataset, document: Dataset) -> None:
    """The source's character set, or UTF-8 if the document has characters that it lacks. Last, once all texts stand."""
    declared = source.get("SpecificCharacterSet") or ""
    terms = list(declared) if isinstance(declared, MultiValue) else [declared]
    encodings = convert_encodings(list(terms))
    if not all(_encodable(text, encodings) for text in _texts(document)):
        document.SpecificCharacterSet = UTF_8
    elif any(terms):
        document.SpecificCharacterSet = terms if len(terms) > 1 else terms[0]
    elif "SpecificCharacterSet" in document:
        del document.SpecificCharacterSet  # the default repertoire is said by absence (type 1C)


def to_file(document: Dataset) -> bytes:
    """The document as a DICOM file (PS3.10)."""
    file = BytesIO()
    document.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _encodable(text: str, encodings: list[str]) -> bool:
    for encoding in encodings:
        try:
            # "ISO_IR 6" decodes as "iso8859" in pydicom, but only ASCII may be written under it
            text.encode("ascii" if encoding in ("iso8859", "iso_ir_6") else encoding)
        except UnicodeEncodeError:
            continue
        return True
    return False


def _texts(dataset: Dataset) -> list[str]:
    texts: list[str] = []

    def collect(_: Dataset, element: DataElement) -> None:
        if element.VR in _TEXT_VRS and element.value is not None and not isinstance(element.value, Sequence):
            values = element.value if isinstance(element.value, MultiValue) else [element.value]
            for value in values:
                texts.extend(str(value).replace("=", "^").split("^") if isinstance(value, PersonName) else [str(value)])

    dataset.walk(collect)
    return texts
