"""One file's bytes to one described instance: whose, which study and series, and what the image shows.

Pixels stay untouched. A file that cannot be used raises InputError with a reason that tells the user what to do.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from radpipe.dicom import facts, text
from radpipe.dicom.extent import MAX_PIXELS, check_extent, undecodable
from radpipe.dicom.parse import MEDIA_STORAGE_DIRECTORY, InstanceError, Parsed, parse, quiet
from radpipe.dicom.report import outside_report
from radpipe.errors import InputError
from radpipe.reported import OutsideReport
from radpipe.study import FileRef, Image, Patient, SetAside, Study

_MODALITY_OF_CLASS = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.2": "MG",
    "1.2.840.10008.5.1.4.1.1.1.2.1": "MG",
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
}
"""SOP classes that allow one modality alone (PS3.3 C.7.3.1.1.1), for senders that leave it out."""

_NOT_FOR_DISPLAY = {
    "1.2.840.10008.5.1.4.1.1.66": "raw data",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
}
"""SOP classes whose pixel data is not a picture of the patient."""

_DOCUMENTS = {
    "1.2.840.10008.5.1.4.1.1.104.1": "a scanned document (encapsulated PDF)",
    "1.2.840.10008.5.1.4.1.1.104.2": "a document (encapsulated CDA)",
    "1.2.840.10008.5.1.4.1.1.104.3": "a 3D model (encapsulated STL)",
    "1.2.840.10008.5.1.4.1.1.104.4": "a 3D model (encapsulated OBJ)",
    "1.2.840.10008.5.1.4.1.1.104.5": "a 3D model (encapsulated MTL)",
}

_KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"

_REJECTION_NOTES = {
    "113001": "rejected for quality reasons",
    "113037": "rejected for patient safety reasons",
    "113038": "rejected for an incorrect modality worklist entry",
    "113039": "rejected because its retention time has expired",
}
"""Key object document titles that withdraw instances (IHE Imaging Object Change Management; PS3.16 CID 7011)."""


@dataclass(frozen=True, slots=True)
class Described:
    """One instance, described. `image` is None for an instance without a picture, and `why_no_image` says why."""

    study: Study  # the study-level attributes as this instance states them; without images
    file: FileRef
    sha256: str  # of the file's bytes
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    modality: str
    image: Image | None
    why_no_image: str = ""
    rejects: tuple[tuple[str, str], ...] = ()  # (SOPInstanceUID, why) of instances that this one withdraws
    report: OutsideReport | None = None  # what a person wrote of the study, if this is an SR document


def describe(content: bytes, ref: FileRef) -> Described:
    """Describe the instance that a file's bytes hold.

    Raises InputError (InstanceError where the study is known) if it is not DICOM, cut, damaged, without UIDs, a document
    or compressed in a way that nothing here decodes.
    """
    with quiet():
        return _described(parse(content), hashlib.sha256(content).hexdigest(), ref)


def look(content: bytes, ref: FileRef) -> Described | SetAside:
    """As `describe`, but what cannot be used comes back set aside with its reason, and with its study where known."""
    try:
        return describe(content, ref)
    except InstanceError as error:
        return SetAside(ref.name, str(error), error.study_instance_uid, error.sop_instance_uid)
    except InputError as error:
        return SetAside(ref.name, str(error))


def _described(parsed: Parsed, sha256: str, ref: FileRef) -> Described:
    dataset = parsed.dataset
    sop_class = text.first(dataset, "SOPClassUID")
    study_uid, sop_uid, series_uid = (
        text.first(dataset, name) for name in ("StudyInstanceUID", "SOPInstanceUID", "SeriesInstanceUID")
    )
    _check_identity(parsed, sop_class, study_uid, sop_uid)
    try:
        if sop_class in _DOCUMENTS:
            raise InputError(f"{_DOCUMENTS[sop_class]}: open it in the PACS; radpipe reads images")
        why_no_image = _why_no_image(parsed, sop_class)
        if not why_no_image:
            _check_pixels(parsed)
    except InputError as error:
        raise InstanceError(str(error), study_uid, sop_uid) from error
    modality = text.first(dataset, "Modality").upper() or _MODALITY_OF_CLASS.get(sop_class, "")
    image = None
    if not why_no_image:
        image = _image(parsed, ref, sha256, modality, sop_class, sop_uid, series_uid)
    study = _study(dataset, study_uid, modality)
    return Described(
        study=study,
        file=ref,
        sha256=sha256,
        sop_class_uid=sop_class,
        sop_instance_uid=sop_uid,
        series_instance_uid=series_uid,
        modality=modality,
        image=image,
        why_no_image=why_no_image,
        rejects=_rejects(dataset) if sop_class == _KEY_OBJECTS else (),
        report=outside_report(dataset, sop_class, study),
    )


def _check_identity(parsed: Parsed, sop_class: str, study_uid: str, sop_uid: str) -> None:
    """Without its two UIDs an instance belongs nowhere (PS3.3 C.7.2.1, C.12.1)."""
    if study_uid and sop_uid:
        return
    stated_class = text.first(getattr(parsed.dataset, "file_meta", Dataset()), "MediaStorageSOPClassUID")
    if MEDIA_STORAGE_DIRECTORY in (sop_class, stated_class) or "DirectoryRecordSequence" in parsed.dataset:
        raise InputError("a DICOMDIR, which is only an index: give it by itself, or the folder of its files")
    if parsed.cut or not len(parsed.dataset):
        raise InputError("truncated: the file ends before its study is named; copy or send it again")
    missing = " and ".join(
        f"no {name}" for name, uid in (("StudyInstanceUID", study_uid), ("SOPInstanceUID", sop_uid)) if not uid
    )
    raise InstanceError(
        f"it has {missing}: send it again from the PACS, which adds them", study_uid or None, sop_uid or None
    )


def _why_no_image(parsed: Parsed, sop_class: str) -> str:
    if sop_class in _NOT_FOR_DISPLAY:
        return f"{_NOT_FOR_DISPLAY[sop_class]}, not a picture"
    if parsed.pixels is not None:
        return ""
    if parsed.cut:
        raise InputError("truncated: the file ends within its header; copy or send it again")
    name = UID(sop_class).name if sop_class else "an instance of no stated SOP class"
    if text.integer(parsed.dataset, "Rows") or (name.endswith("Image Storage") and sop_class):
        return f"{name} without its pixel data: export it again with its pixels"
    return f"{name}, which holds no picture"


def _check_pixels(parsed: Parsed) -> None:
    dataset = parsed.dataset
    rows, columns = text.integer(dataset, "Rows"), text.integer(dataset, "Columns")
    if not rows or not columns or rows < 0 or columns < 0:
        raise InputError("it does not say how large its picture is (Rows, Columns): send it again from the PACS")
    if rows * columns > MAX_PIXELS:
        raise InputError(f"its picture of {rows} x {columns} is too large: send it at a lower resolution")
    if why := undecodable(parsed.transfer_syntax_uid):
        raise InputError(why)
    check_extent(parsed)


def _image(parsed: Parsed, ref: FileRef, sha256: str, modality: str, sop_class: str, sop_uid: str, series_uid: str) -> Image:
    dataset = parsed.dataset
    spacing_mm, spacing_source = facts.spacing(dataset, modality)
    body_part, body_part_basis = facts.body_part(dataset)
    view, view_basis, other_projection = facts.view(dataset, modality)
    return Image(
        sop_instance_uid=sop_uid,
        sop_class_uid=sop_class,
        transfer_syntax_uid=parsed.transfer_syntax_uid,
        series_instance_uid=series_uid,
        file=ref,
        sha256=sha256,
        modality=modality,
        rows=text.integer(dataset, "Rows") or 0,
        columns=text.integer(dataset, "Columns") or 0,
        number_of_frames=max(1, text.integer(dataset, "NumberOfFrames") or 1),
        instance_number=text.integer(dataset, "InstanceNumber"),
        photometric_interpretation=text.first(dataset, "PhotometricInterpretation").upper(),
        image_type=tuple(value.upper() for value in text.texts(dataset, "ImageType")),
        body_part=body_part,
        body_part_basis=body_part_basis,
        view=view,
        view_basis=view_basis,
        image_laterality=facts.laterality(dataset),
        spacing_mm=spacing_mm,
        spacing_source=spacing_source,
        patient_orientation=facts.patient_orientation(dataset),
        series_description=text.text(dataset, "SeriesDescription"),
        acquisition_time=_acquisition_time(dataset),
        series_number=text.integer(dataset, "SeriesNumber"),
        other_projection=other_projection,
        presentation_intent=text.first(dataset, "PresentationIntentType").upper(),
        derivations=facts.derivations(dataset),
        deviation_index=text.decimal(dataset, "DeviationIndex"),
        rejected=_rejected(dataset),
    )


def _rejected(dataset: Dataset) -> str:
    """Why the sender itself marks the image as not for reading, or ""."""
    if text.first(dataset, "QualityControlImage").upper() == "YES":
        return "a quality control image"
    marks = (*text.texts(dataset, "ImageType"), text.text(dataset, "SeriesDescription"))
    return "marked as rejected by its sender" if any("REJECT" in mark.upper() for mark in marks) else ""


def _acquisition_time(dataset: Dataset) -> str:
    """When the exposure was, as DA + TM; content time and series time stand in, each with its own date."""
    combined = text.first(dataset, "AcquisitionDateTime")
    if combined[:8].isdigit() and len(combined) >= 12:
        return combined
    for name in ("Acquisition", "Content", "Series"):
        day, clock = text.day(dataset, f"{name}Date"), text.clock(dataset, f"{name}Time")
        day = day or text.day(dataset, "StudyDate")
        if day and clock:
            return f"{day:%Y%m%d}{clock:%H%M%S.%f}"
    return ""


def _study(dataset: Dataset, study_uid: str, modality: str) -> Study:
    sex = text.first(dataset, "PatientSex").upper()
    patient = Patient(
        patient_id=text.text(dataset, "PatientID"),
        issuer_of_patient_id=text.text(dataset, "IssuerOfPatientID"),
        patient_name=text.first(dataset, "PatientName"),
        patient_birth_date=text.day(dataset, "PatientBirthDate"),
        patient_sex=sex if sex in ("M", "F", "O") else "",
    )
    attributes: dict[str, Any] = {
        "accession_number": text.text(dataset, "AccessionNumber"),
        "study_date": text.day(dataset, "StudyDate"),
        "study_time": text.clock(dataset, "StudyTime"),
        "study_description": text.text(dataset, "StudyDescription"),
        "reason_for_study": facts.reason_for_study(dataset),
        "referring_physician_name": text.first(dataset, "ReferringPhysicianName"),
        "study_id": text.text(dataset, "StudyID"),
        "patient_age": text.first(dataset, "PatientAge"),
        "institution_name": text.text(dataset, "InstitutionName"),
        "modalities": (modality,) if modality else (),
    }
    return Study(study_instance_uid=study_uid, patient=patient, **attributes)


def _rejects(dataset: Dataset) -> tuple[tuple[str, str], ...]:
    titles = [code for code, _ in text.code_meanings(dataset, "ConceptNameCodeSequence")]
    why = next((_REJECTION_NOTES[code] for code in titles if code in _REJECTION_NOTES), "")
    if not why:
        return ()
    withdrawn = (
        text.first(reference, "ReferencedSOPInstanceUID")
        for study in text.items(dataset, "CurrentRequestedProcedureEvidenceSequence")
        for series in text.items(study, "ReferencedSeriesSequence")
        for reference in text.items(series, "ReferencedSOPSequence")
    )
    return tuple((uid, why) for uid in withdrawn if uid)
