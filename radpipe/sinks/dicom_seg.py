"""A segmentation as a DICOM SEG object (PS3.3 A.51): BINARY, a segment a channel, on the source images' own pixels.

It belongs to the images' study and has a series of its own. Each segment says what it is (SNOMED CT where DICOM has a term),
and which algorithm drew it: name, version and the model's sha256. Its UIDs follow from series, model and mask, so that the
same mask is the same object. Segments without a voxel are not written; a mask without any is no object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dictionary
from pydicom.sr.coding import Code as SrCode

from radpipe import __version__
from radpipe.codes import SIDES, Code
from radpipe.errors import DraftError
from radpipe.segmenter import Channel, Kind, Segmentation, SegmenterCard, Volume
from radpipe.sinks.identifiers import stable_uid
from radpipe.sinks.sr_document import (
    copy_patient_and_study,
    local_codes,
    set_character_set,
    set_content_times,
    stand_in,
    to_file,
)

suffix = ".dcm"

SERIES_NUMBER = 9910

ANATOMICAL_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
ALTERED_STRUCTURE = Code("49755003", "SCT", "Morphologically Altered Structure")
"""PS3.16 CID 7150 Segmentation Property Category."""

_GEOMETRY = (
    "ImageType", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "SpacingBetweenSlices", "FrameOfReferenceUID", "PositionReferenceIndicator", "Modality", "NumberOfFrames",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DimensionIndexSequence",
    "DimensionOrganizationSequence", "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Segment:
    """A written segment: its number in the object (from 1) and the channel that it shows."""

    number: int
    channel: Channel


def segments_of(segmentation: Segmentation) -> tuple[Segment, ...]:
    """The channels that have a voxel, numbered as in the object."""
    if segmentation.overlapping:
        bits = int(np.bitwise_or.reduce(segmentation.labels, axis=None))
        present = [channel for place, channel in enumerate(segmentation.channels) if bits >> place & 1]
    else:
        counts = np.bincount(segmentation.labels.ravel(), minlength=256)
        present = [channel for channel in segmentation.channels if counts[channel.index]]
    return tuple(Segment(number, channel) for number, channel in enumerate(present, start=1))


def render(
    segmentation: Segmentation,
    volume: Volume,
    card: SegmenterCard,
    source_headers: Mapping[str, Dataset],
    at: datetime | None = None,
) -> bytes:
    """The object as a DICOM file (PS3.10, Explicit VR Little Endian).

    `source_headers`: SOPInstanceUID -> data set without pixels, of every image of the volume. `at`: when the mask was made;
    without it the study's time stands. Raises DraftError if the mask is empty, a header is missing, or the images have no
    frame of reference.
    """
    segments = segments_of(segmentation)
    if not segments:
        raise DraftError("the mask is empty: there is nothing to write as a segmentation")
    uids = list(dict.fromkeys(volume.sop_instance_uids))
    if missing := [uid for uid in uids if uid not in source_headers]:
        raise DraftError(f"the header of {len(missing)} of the volume's images is missing (first {missing[0]})")
    if not volume.frame_of_reference_uid:
        raise DraftError("the images have no Frame of Reference UID: a segmentation could not be laid over them")
    first = source_headers[uids[0]]
    digest = hashlib.sha256(segmentation.labels.tobytes()).hexdigest()
    key = (volume.series_instance_uid, card.sha256, digest)
    document = hd.seg.Segmentation(
        source_images=[_source(source_headers[uid], volume) for uid in uids],
        pixel_array=_pixels(segmentation, segments, volume, first),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(segment, card, key) for segment in segments],
        series_instance_uid=stable_uid("seg-series", *key),
        series_number=SERIES_NUMBER,
        sop_instance_uid=stable_uid("seg", *key),
        instance_number=1,
        manufacturer="radpipe",
        manufacturer_model_name="radpipe",
        software_versions=__version__,
        device_serial_number="0",
        content_label="RADPIPE",
        content_description=f"{card.name} {card.version}"[:64],
        series_description=f"AI segmentation, preliminary: {card.name}"[:64],
        omit_empty_frames=True,
    )
    if any(segment.channel.code.scheme == "99RADPIPE" for segment in segments):
        document.CodingSchemeIdentificationSequence = [
            *document.get("CodingSchemeIdentificationSequence", ()), local_codes()
        ]  # fmt: skip
    organization = stable_uid("seg-dimensions", *key)  # highdicom would make another each time
    for item in (*document.DimensionOrganizationSequence, *document.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    copy_patient_and_study(first, document)
    set_content_times(document, at)
    set_character_set(first, document)
    return to_file(document)


def _source(header: Dataset, volume: Volume) -> Dataset:
    """A stand-in with the geometry: highdicom checks and copies names and dates, which stay as the PACS sent them. All in
    the volume's frame of reference, also where a de-identifier gave each image its own."""
    source = stand_in(header)
    for keyword in _GEOMETRY:
        if keyword in header:
            source[keyword] = deepcopy(header[keyword])
    source.FrameOfReferenceUID = volume.frame_of_reference_uid
    return source


def _pixels(
    segmentation: Segmentation, segments: tuple[Segment, ...], volume: Volume, first: Dataset
) -> npt.NDArray[np.uint8]:
    """Segment numbers (frames, rows, columns), or where segments overlap a plane each (frames, rows, columns, segments);
    in the order of the source images."""
    if segmentation.overlapping:
        planes = [segmentation.mask(segment.channel) for segment in segments]
        pixels = np.stack(planes, axis=-1).astype(np.uint8)
    else:
        numbers = np.zeros(256, np.uint8)
        for segment in segments:
            numbers[segment.channel.index] = segment.number
        pixels = numbers[segmentation.labels]
    if volume.frames[0] is None:
        return pixels
    ordered = np.zeros((int(first.NumberOfFrames), *pixels.shape[1:]), np.uint8)
    for index, frame in enumerate(volume.frames):
        assert frame is not None  # all slices of one multi-frame image
        ordered[frame - 1] = pixels[index]
    return ordered


def _description(segment: Segment, card: SegmenterCard, key: tuple[str, ...]) -> Any:
    channel = segment.channel
    algorithm = hd.AlgorithmIdentificationSequence(
        name=card.name[:64],
        family=dictionary.cid7162.ArtificialIntelligence,
        version=card.version[:64],
        parameters={"model_sha256": card.sha256},
    )
    label = channel.code.meaning
    if channel.laterality is not None and channel.laterality.value not in label.lower():
        label = f"{label}, {channel.laterality.value}"
    description = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=label[:64],
        segmented_property_category=_code(ALTERED_STRUCTURE if channel.kind is Kind.FINDING else ANATOMICAL_STRUCTURE),
        segmented_property_type=_code(channel.code),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=stable_uid("seg-segment", *key, channel.index),
        tracking_id=f"{channel.finding}-{channel.index}"[:64],
    )
    if channel.laterality is not None and channel.laterality.value not in channel.code.meaning.lower():
        side = hd.sr.CodedConcept(*_parts(SIDES[channel.laterality]))
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    return description


def _code(code: Code) -> SrCode:
    return SrCode(*_parts(code))


def _parts(code: Code) -> tuple[str, str, str]:
    return code.value, code.scheme, code.meaning
