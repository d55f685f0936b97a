"""A phantom's radiograph as a DICOM object: DX or CR Image Storage, valid but for what a sample is meant to lack.

PS3.3 A.26 (DX for presentation), A.2 (CR); the order's text is in the Request Attributes Sequence (10.6) and, as many
systems send it, also at the top level.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
)

from radpipe.samples.phantom import Radiograph

SAMPLE_NAMESPACE = UUID("1d6c2f0e-7a3b-5c58-9a0e-52adf1be5a3c")
"""All UIDs of the samples are UUIDs of names in this namespace (RFC 9562 version 5; PS3.5 B.2): always the same."""
MANUFACTURER = "radpipe phantom generator"


def sample_uid(*what: str) -> UID:
    """A UID that depends on nothing but its arguments."""
    return UID(f"2.25.{uuid5(SAMPLE_NAMESPACE, '/'.join(what)).int}")


_VIEW_CODES = {
    "PA": ("272479007", "SCT", "postero-anterior"),
    "AP": ("399348003", "SCT", "antero-posterior"),
    "LL": ("399173006", "SCT", "left lateral"),
}
"""PS3.16 CID 4010, DX View."""


@dataclass(frozen=True, slots=True)
class PatientHeader:
    """The Patient module of an invented person."""

    patient_id: str
    name: str
    birth_date: str  # DA
    sex: str
    character_set: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyHeader:
    """The study and the order behind it."""

    key: str
    accession_number: str
    date: str  # DA
    time: str  # TM
    description: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """One image of the study."""

    number: int
    view_position: str  # PA, AP, LL; "" leaves the attribute out or empty
    body_part: str  # CHEST, HAND; "" leaves it out
    modality: str = "DX"
    monochrome1: bool = False
    jpeg2000: bool = False
    portable: bool = False
    laterality: str = "U"
    without: tuple[str, ...] = field(default=())  # keywords to leave out: what a sample is meant to lack


def write_image(
    path: Path, radiograph: Radiograph, patient: PatientHeader, study: StudyHeader, image: ImageHeader
) -> tuple[str, str]:
    """Write one file. Returns (StudyInstanceUID, SOPInstanceUID)."""
    pixels = radiograph.pixels
    sop_class = DigitalXRayImageStorageForPresentation if image.modality == "DX" else ComputedRadiographyImageStorage
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = sample_uid("instance", study.key, str(image.number))
    meta.TransferSyntaxUID = JPEG2000Lossless if image.jpeg2000 else ExplicitVRLittleEndian
    meta.ImplementationClassUID = sample_uid("implementation")
    meta.ImplementationVersionName = "RADPIPE_PHANTOM"
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    _patient_and_study(ds, patient, study)
    _series_and_equipment(ds, study, image)
    _image(ds, radiograph, study, image)
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    (_dx if image.modality == "DX" else _cr)(ds, image)
    _pixels(ds, np.asarray(4095 - pixels if image.monochrome1 else pixels, np.uint16), image)
    for keyword in image.without:
        if keyword in ds:
            delattr(ds, keyword)
    ds.save_as(path, enforce_file_format=True)
    return str(ds.StudyInstanceUID), str(ds.SOPInstanceUID)


def _patient_and_study(ds: Dataset, patient: PatientHeader, study: StudyHeader) -> None:
    if patient.character_set:
        ds.SpecificCharacterSet = list(patient.character_set)
    ds.PatientName = patient.name
    ds.PatientID = patient.patient_id
    ds.IssuerOfPatientID = "RADPIPE PHANTOMS"
    ds.PatientBirthDate = patient.birth_date
    ds.PatientSex = patient.sex
    ds.PatientComments = "Synthetic phantom, not a person"
    age = int(study.date[:4]) - int(patient.birth_date[:4]) - (study.date[4:] < patient.birth_date[4:])
    ds.PatientAge = f"{age:03d}Y"
    ds.StudyInstanceUID = sample_uid("study", study.key)
    ds.StudyDate, ds.StudyTime = study.date, study.time
    ds.AccessionNumber = study.accession_number
    ds.StudyID = study.accession_number
    ds.ReferringPhysicianName = "Phantom^Referrer"
    ds.StudyDescription = study.description
    ds.ReasonForTheRequestedProcedure = study.reason
    request = Dataset()
    request.AccessionNumber = study.accession_number
    request.RequestedProcedureID = study.accession_number
    request.RequestedProcedureDescription = study.description
    request.ReasonForTheRequestedProcedure = study.reason
    request.ScheduledProcedureStepID = study.accession_number
    request.ScheduledProcedureStepDescription = study.description
    ds.RequestAttributesSequence = Sequence([request])


def _series_and_equipment(ds: Dataset, study: StudyHeader, image: ImageHeader) -> None:
    ds.Modality = image.modality
    ds.SeriesInstanceUID = sample_uid("series", study.key, image.modality)
    ds.SeriesNumber = 1
    ds.SeriesDate, ds.SeriesTime = study.date, study.time
    ds.SeriesDescription = f"{image.body_part} {image.view_position}".strip() or "Radiograph"
    ds.OperatorsName = "Phantom^Radiographer"
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = "radpipe samples"
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = "1"
    ds.InstitutionName = "radpipe sample hospital (no such place)"
    ds.InstanceNumber = image.number
    ds.BodyPartExamined = image.body_part
    ds.ViewPosition = image.view_position


def _image(ds: Dataset, radiograph: Radiograph, study: StudyHeader, image: ImageHeader) -> None:
    later = int(study.time[:2]) * 3600 + int(study.time[2:4]) * 60 + int(study.time[4:6]) + 40 * image.number
    time = f"{later // 3600:02d}{later // 60 % 60:02d}{later % 60:02d}"
    ds.ContentDate, ds.ContentTime = study.date, time
    ds.AcquisitionDate, ds.AcquisitionTime = study.date, time
    ds.AcquisitionNumber = image.number
    # Synthetic, but no derivation of another image; PS3.3 C.7.6.1.1.2 has no value for phantoms.
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""] if image.modality == "DX" else ["ORIGINAL", "PRIMARY"]
    if image.body_part == "HAND":
        ds.PatientOrientation = ["L", "H"]  # fingers up: the picture's lower edge is proximal
    else:
        ds.PatientOrientation = ["P", "F"] if image.view_position == "LL" else ["L", "F"]
    ds.BurnedInAnnotation = "NO"  # the lettering identifies no patient and no date (PS3.3 C.7.6.1)
    ds.LossyImageCompression = "00"
    ds.ImageComments = "Synthetic phantom drawn by radpipe; not a patient. Not for diagnosis."
    spacing = f"{radiograph.pixel_mm:.4f}"
    ds.ImagerPixelSpacing = [spacing, spacing]
    corrected = f"{radiograph.pixel_mm / radiograph.magnification:.6f}"
    ds.PixelSpacing = [corrected, corrected]
    ds.PixelSpacingCalibrationType = "GEOMETRY"
    ds.PixelSpacingCalibrationDescription = "middle plane of the phantom"
    ds.EstimatedRadiographicMagnificationFactor = f"{radiograph.magnification:.4f}"
    ds.KVP = "90" if image.portable else ("52" if image.body_part == "HAND" else "120")
    ds.Exposure = "2"
    ds.WindowCenter, ds.WindowWidth = "2047.5", "4095"
    ds.WindowCenterWidthExplanation = "Full range"


def _dx(ds: Dataset, image: ImageHeader) -> None:
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.ImageLaterality = image.laterality
    region = Dataset()
    is_hand = image.body_part == "HAND"
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = (
        ("85562004", "SCT", "Hand") if is_hand else ("43799004", "SCT", "Chest")
    )
    ds.AnatomicRegionSequence = Sequence([region])
    ds.PixelIntensityRelationship = "LOG"
    ds.PixelIntensityRelationshipSign = 1 if image.monochrome1 else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.PresentationLUTShape = "INVERSE" if image.monochrome1 else "IDENTITY"
    ds.DetectorType = "SCINTILLATOR"
    ds.DetectorID = "PHANTOM"
    ds.AcquisitionDeviceProcessingDescription = "log, large structures compressed, unsharp, sigmoid"
    ds.PositionerType = "NONE"
    ds.AcquisitionContextSequence = Sequence([])
    if image.view_position:
        view = Dataset()
        view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = _VIEW_CODES[image.view_position]
        view.ViewModifierCodeSequence = Sequence([])
        ds.ViewCodeSequence = Sequence([view])


def _cr(ds: Dataset, image: ImageHeader) -> None:
    ds.PlateType = "phantom"
    ds.CassetteSize = "35CMX43CM"


def _pixels(ds: Dataset, pixels: NDArray[np.uint16], image: ImageHeader) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME1" if image.monochrome1 else "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    if image.jpeg2000:
        from openjpeg.utils import encode_array

        ds.PixelData = encapsulate([encode_array(pixels, bits_stored=12, photometric_interpretation=0)])
        ds["PixelData"].is_undefined_length = True
    else:
        ds.PixelData = pixels.astype("<u2").tobytes()
    ds["PixelData"].VR = "OB" if image.jpeg2000 else "OW"
