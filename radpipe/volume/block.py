"""A stack's files decoded into one block of Hounsfield units, slice by slice, so that the memory is the block and little
more: 2 bytes a voxel. See PS3.3 C.11.1 (modality LUT), C.7.5.1.1.2 (padding).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from radpipe.dicom import quiet, text
from radpipe.dicom.decode import stored_frame
from radpipe.dicom.greyscale import shown
from radpipe.dicom.parse import Parsed, parse
from radpipe.errors import ImageError, InputError
from radpipe.segmenter import Volume
from radpipe.volume.series import SeriesChoice
from radpipe.volume.stack import Place

AIR = -1024
"""What lies outside the scanner's field of view is shown as air; values below are raised to it."""

HIGHEST = 32767

LARGEST_VOXELS = 1 << 30
"""2 GiB of block: four times a whole-body CT of thin slices."""


def read_volume(choice: SeriesChoice, read: Callable[[str], bytes]) -> Volume:
    """Decode the chosen series. `read` gives the bytes of a file by its name.

    Raises InputError, with the file's name, if a slice cannot be decoded or does not say what its values mean.
    """
    if choice.stack is None or choice.series is None:
        raise InputError(choice.reason)
    places = choice.stack.places
    shape = len(places), places[0].rows, places[0].columns
    if shape[0] * shape[1] * shape[2] > LARGEST_VOXELS:
        raise InputError(f"{shape[0]} slices of {shape[2]} x {shape[1]} are too many voxels: send a thicker reconstruction")
    block = np.empty(shape, np.int16)
    opened: tuple[str, Parsed] | None = None
    with quiet():
        for index, place in enumerate(places):
            try:
                if opened is None or opened[0] != place.file:
                    opened = place.file, parse(read(place.file))
                block[index] = _hounsfield(opened[1], place)
            except InputError as error:
                raise InputError(f"slice {index + 1} of the series cannot be used ({place.file}): {error}") from error
    block.setflags(write=False)
    return Volume(
        hounsfield=block,
        affine_lps=choice.stack.affine_lps,
        sop_instance_uids=tuple(place.sop_instance_uid for place in places),
        frames=tuple(place.frame for place in places),
        study_instance_uid=choice.series.study_instance_uid,
        series_instance_uid=choice.series.series_instance_uid,
        frame_of_reference_uid=choice.series.frame_of_reference_uid,
        why=choice.why,
        notes=(*choice.stack.notes, *choice.series.notes),
    )


def _hounsfield(parsed: Parsed, place: Place) -> npt.NDArray[np.int16]:
    """One slice, (rows, columns)."""
    frame = place.frame or 1
    _check_units(parsed.dataset, frame)
    stored = stored_frame(parsed, frame)
    if stored.layout.is_colour:
        raise ImageError("it is in colour: send the original CT slices")
    if stored.cells.shape != (place.rows, place.columns):
        raise ImageError("its picture is not of the size that its header says")
    how = shown(parsed.dataset, stored.layout.photometric, frame, signed=stored.layout.signed)
    values = stored.cells.astype(np.float64) if stored.meaning is None else stored.meaning
    padding = how.is_padding(values)
    units = np.clip(np.rint(np.nan_to_num(how.modality(values), nan=AIR)), AIR, HIGHEST).astype(np.int16)
    if padding is not None:
        units[padding] = AIR
    if stored.meaning is None:
        return units
    looked_up: npt.NDArray[np.int16] = np.take(units, stored.cells, mode="clip")
    return looked_up


def _check_units(dataset: Dataset, frame: int) -> None:
    """Without a rescale that gives Hounsfield units no threshold, window or network means anything."""
    groups = [
        *list(text.items(dataset, "PerFrameFunctionalGroupsSequence"))[frame - 1 : frame],
        *list(text.items(dataset, "SharedFunctionalGroupsSequence"))[:1],
    ]
    sources = [*(item for group in groups for item in text.items(group, "PixelValueTransformationSequence")), dataset]
    stated = next((source for source in sources if text.decimal(source, "RescaleIntercept") is not None), None)
    if stated is None and not list(text.items(dataset, "ModalityLUTSequence")):
        raise ImageError("it does not say how its values become Hounsfield units (Rescale Intercept): send the original")
    units = text.first(stated, "RescaleType").upper() if stated is not None else ""
    if units not in ("", "HU", "US"):
        raise ImageError(f"its values are {units}, not Hounsfield units: send the ordinary reconstruction")
