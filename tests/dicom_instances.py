"""Small DICOM instances for tests: a chest radiograph, and the same with anything changed."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.data import get_charset_files, get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from radpipe import dicom
from radpipe.study import FileRef

CR, DX, SECONDARY_CAPTURE = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("1", "1.1", "7"))
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


def bundled(name: str) -> bytes:
    """A file of pydicom's own test data or of the package pydicom-data; nothing is downloaded."""
    path = get_testdata_file(name, download=False) or next(iter(get_charset_files(name)), None)
    assert path is not None, f"{name} is in neither pydicom nor pydicom-data"
    return Path(str(path)).read_bytes()


def dataset(pixels: npt.NDArray[Any] | None = None, **attributes: Any) -> Dataset:
    """A chest radiograph, PA, 16 x 16, 12 bits in 16, no window. An attribute given as None is left out."""
    if pixels is None:
        pixels = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16
    rows, columns = pixels.shape[:2]
    stated: dict[str, Any] = {
        "SOPClassUID": CR,
        "SOPInstanceUID": "1.2.3.4",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.1",
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "PatientBirthDate": "19600101",
        "PatientSex": "F",
        "StudyDate": "20260102",
        "StudyTime": "101112",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": pixels.dtype.itemsize * 8,
        "BitsStored": 12 if pixels.dtype.itemsize == 2 else pixels.dtype.itemsize * 8,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    } | attributes
    made = Dataset()
    for keyword, value in stated.items():
        if value is not None:
            setattr(made, keyword, value)
    made.HighBit = made.BitsStored - 1 if "HighBit" not in attributes else attributes["HighBit"]
    if pixels.dtype.kind == "f":
        setattr(made, "FloatPixelData" if pixels.dtype.itemsize == 4 else "DoubleFloatPixelData", pixels.tobytes())
    else:
        data = pixels.tobytes()
        made.PixelData = data + b"\0" * (len(data) % 2)
        made["PixelData"].VR = "OW"
    return made


def written(instance: Dataset, syntax: str = EXPLICIT_LITTLE, codestream: bytes | None = None) -> bytes:
    """The bytes of a DICOM file in a transfer syntax; with a codestream as its pixels if one is given."""
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = UID(syntax)
    instance.file_meta.MediaStorageSOPClassUID = instance.get("SOPClassUID", "1.2")
    instance.file_meta.MediaStorageSOPInstanceUID = instance.get("SOPInstanceUID", "1.2")
    if codestream is not None:
        instance.PixelData = encapsulate([codestream])
        instance["PixelData"].VR = "OB"
    stream = BytesIO()
    instance.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def film(pixels: npt.NDArray[Any] | None = None, **attributes: Any) -> bytes:
    """The bytes of `dataset(...)`."""
    return written(dataset(pixels, **attributes))


def described(name: str = "a.dcm", **attributes: Any) -> dicom.Described:
    """The radiograph, described."""
    return dicom.describe(film(**attributes), FileRef(Path(name)))
