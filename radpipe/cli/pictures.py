"""Single images for `predict` and `compare`: DICOM, PNG or JPEG, or the best image of a folder. No store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from radpipe import dicom
from radpipe.card import InputSpec
from radpipe.errors import InputError
from radpipe.sources.folder import FolderSource
from radpipe.study import FileRef, SetAside, Study, View

PICTURE_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


@dataclass(frozen=True, slots=True)
class Picture:
    """One image ready for `preprocess.model_input`: (rows, columns) float32 0..1, upright, bright = dense."""

    path: Path
    pixels: npt.NDArray[np.float32]
    sop_instance_uid: str  # the file's name for what is not DICOM
    view: View | None
    study: Study | None = None  # of a DICOM file: whose age says whether a model may read it


def load_picture(path: Path) -> Picture:
    """One file. Raises InputError with what to do."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror}") from error
    if content.startswith(PICTURE_STARTS):
        return Picture(path, _grey(path), path.name, None)
    described = dicom.describe(content, FileRef(path))
    if described.image is None:
        raise InputError(described.why_no_image)
    image = described.image
    pixels = dicom.upright(dicom.presentation(content), image)
    return Picture(path, pixels, image.sop_instance_uid, image.view, described.study)


def load_best_picture(path: Path, spec: InputSpec) -> Picture:
    """One file, or of a folder, zip or DICOMDIR the image that `run` would read. Raises InputError."""
    if path.is_file() and path.read_bytes()[:8].startswith(PICTURE_STARTS):
        return load_picture(path)
    source = FolderSource([path])
    described, reasons = [], []
    for item in source.files():
        try:
            if isinstance(item, SetAside):
                reasons.append(item.reason)
            else:
                described.append(dicom.describe(source.read(item), item))
        except InputError as error:
            reasons.append(str(error))
    studies, _ = dicom.group(described, ())
    for study in studies:
        choices = [choice for choice in dicom.choose(study, spec) if choice.chosen]
        if choices:
            image = next(i for i in study.images if i.sop_instance_uid == choices[0].sop_instance_uid)
            pixels = dicom.upright(dicom.presentation(source.read(image.file)), image)
            return Picture(path, pixels, image.sop_instance_uid, image.view)
        reasons.append(dicom.why_not_read(study, dicom.choose(study, spec), spec))
    raise InputError(f"{path} holds no image that this model reads: {'; '.join(reasons) or 'no file found'}")


def _grey(path: Path) -> npt.NDArray[np.float32]:
    try:
        picture = Image.open(path)
        grey = picture if picture.mode in ("I;16", "I", "F") else picture.convert("L")
        pixels = np.asarray(grey, np.float32)
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"it is not a readable picture ({type(error).__name__}); export it again") from error
    return pixels / np.float32(max(float(pixels.max(initial=1.0)), 1.0))
