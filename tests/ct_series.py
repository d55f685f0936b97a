"""Phantom CT series for tests: files of single slices, or one enhanced multi-frame image."""

from __future__ import annotations

import random
from collections.abc import Sequence as Items
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
STUDY, FRAME_OF_REFERENCE = "2.25.100", "2.25.300"


def ct_series(
    hounsfield: npt.NDArray[Any],
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    positions: Items[float] | None = None,
    shear: float = 0.0,
    shuffled: bool = False,
    prefix: str = "a",
    uid: str = "1",
    series: str = "9",
    number: int = 3,
    **attributes: Any,
) -> dict[str, bytes]:
    """File name -> bytes of each slice of (slices, rows, columns) HU. An attribute given as None is left out.

    `positions`: mm along the normal, instead of even steps; `shear`: mm sideways for each mm along the normal.
    """
    along_row, along_column = (np.array(orientation[part : part + 3], float) for part in (0, 3))
    normal = np.cross(along_row, along_column)
    files = {}
    for index, plane in enumerate(hounsfield):
        depth = positions[index] if positions is not None else index * spacing[0]
        place = np.array(origin) + normal * depth + along_column * shear * depth
        dataset = _base(plane.shape, series, number)
        dataset.SOPClassUID = CT
        dataset.SOPInstanceUID = f"2.25.{uid}{series.replace('.', '')}{index:04d}"
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient = [round(float(value), 6) for value in place]
        dataset.ImageOrientationPatient = list(orientation)
        dataset.PixelSpacing = [spacing[1], spacing[2]]
        dataset.SliceThickness = spacing[0] if positions is None and spacing[0] < 8 else 1
        dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
        _store(dataset, plane)
        for keyword, value in attributes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        files[f"{prefix}{index:03d}.dcm"] = _written(dataset)
    if shuffled:
        names = list(files)
        random.Random(0).shuffle(names)
        return {name: files[name] for name in names}
    return files


def enhanced_ct(hounsfield: npt.NDArray[Any], *, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> bytes:
    """One Enhanced CT image; its frames run from foot to head."""
    dataset = _base(hounsfield.shape[1:], "9", 3)
    dataset.SOPClassUID, dataset.SOPInstanceUID = ENHANCED_CT, "2.25.500"
    dataset.NumberOfFrames = len(hounsfield)
    measures, orientation, values = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [spacing[1], spacing[2]], spacing[0]
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    values.RescaleIntercept, values.RescaleSlope, values.RescaleType = -1024, 1, "HU"
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([values])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for index in range(len(hounsfield)):
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, index * spacing[0]]
        group.PlanePositionSequence = Sequence([place])
        frames.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    _store(dataset, hounsfield)
    return _written(dataset)


def sphere(shape: tuple[int, int, int], spacing: tuple[float, float, float], radius_mm: float) -> npt.NDArray[np.bool_]:
    """Voxels (slices, rows, columns) whose centres lie within a sphere around the middle."""
    axes = [(np.arange(size) - (size - 1) / 2) * step for size, step in zip(shape, spacing, strict=True)]
    slices, rows, columns = np.meshgrid(*axes, indexing="ij")
    inside: npt.NDArray[np.bool_] = slices**2 + rows**2 + columns**2 <= radius_mm**2
    return inside


def _base(shape: tuple[int, ...], series: str, number: int) -> Dataset:
    dataset = Dataset()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, f"2.25.200.{series}"
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = FRAME_OF_REFERENCE, ""
    dataset.Modality, dataset.SeriesNumber, dataset.ImageType = "CT", number, ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "Doe^Jane", "P1", "19600101", "F"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20260102", "101112", "S1", "A1"
    dataset.ReferringPhysicianName = ""
    dataset.Rows, dataset.Columns = shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    return dataset


def _store(dataset: Dataset, hounsfield: npt.NDArray[Any]) -> None:
    dataset.PixelData = (hounsfield.astype(np.int32) + 1024).astype(np.int16).tobytes()
    dataset["PixelData"].VR = "OW"


def _written(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
