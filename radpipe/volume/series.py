"""Which series of a CT study becomes a volume, and why not the others, in words for the reader.

A slice's place is Image Position and Image Orientation (Patient) (PS3.3 C.7.6.2.1.1); in an enhanced multi-frame image it
stands in each frame's functional groups (PS3.3 C.7.6.16.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset

from radpipe.dicom import facts, quiet, text
from radpipe.errors import InputError
from radpipe.reading import ImageChoice
from radpipe.volume.stack import Place, Stack, stack

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_CT_CLASSES = frozenset(
    {"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"}
)  # CT, Enhanced CT, Legacy Converted Enhanced CT
_MADE = frozenset(
    {"MPR", "REFORMATTED", "RESAMPLED", "PROJECTION IMAGE", "MIP", "MINIP", "CSA MPR", "CPR", "VOLUME", "SUBTRACTION", "CAD",
     "SCREEN SAVE", "SCREENSAVE", "AI", "PERFUSION", "MIP IMAGE"}
)  # fmt: skip
_SHARP = re.compile(r"lung|bone|sharp|edge|hrct|osteo|\bb[6-9]\d|\b[bhq][rvlf][5-9]\d|\bfc[58]\d|\by[abcd]\b", re.IGNORECASE)
"""Kernels and descriptions of sharp reconstructions. Networks for organs and lesions learnt mostly from soft ones."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of the input: what it is, and the place of each of its slices."""

    study_instance_uid: str
    series_instance_uid: str
    series_number: int | None
    description: str
    modality: str
    sop_class_uid: str
    image_type: tuple[str, ...]
    kernel: str
    body_part: str
    frame_of_reference_uid: str
    frames_of_reference: int  # how many different ones its images state; one series has one (PS3.3 C.7.4.1)
    places: tuple[Place, ...]
    unplaced: int = 0  # images that do not say where in the patient they lie

    @property
    def name(self) -> str:
        """For messages: "series 4 (Thorax 1.0 B30f)"."""
        number = "without a number" if self.series_number is None else str(self.series_number)
        return f"series {number}" + (f" ({self.description})" if self.description else "")

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about it, in words."""
        if self.frames_of_reference == 1:
            return ()
        return (
            f"its images state {self.frames_of_reference} frames of reference, which one series cannot have (a "
            "de-identifier's mistake, as a rule): their positions are trusted as one stack",
        )


@dataclass(frozen=True, slots=True)
class SeriesChoice:
    """The series that is read, as a stack of slices, and why; or None. `others`: (series, why not)."""

    stack: Stack | None
    series: Series | None
    why: str
    others: tuple[tuple[Series, str], ...]

    @property
    def reason(self) -> str:
        """Why nothing is read, as one sentence."""
        if self.stack is not None:
            return ""
        whys = "; ".join(f"{series.name}: {why}" for series, why in self.others[:4])
        more = f"; and {len(self.others) - 4} more series" if len(self.others) > 4 else ""
        return f"no CT series that can be read as a volume: {whys or 'no image found'}{more}"

    def image_choices(self) -> tuple[ImageChoice, ...]:
        """The same, one line an image, as a reading lists them."""
        choices = []
        if self.stack is not None and self.series is not None:
            used = {place.sop_instance_uid for place in self.stack.places}
            choices = [
                ImageChoice(uid, True, self.why) for uid in dict.fromkeys(p.sop_instance_uid for p in self.stack.places)
            ]
            rest = dict.fromkeys(p.sop_instance_uid for p in self.series.places if p.sop_instance_uid not in used)
            choices += [ImageChoice(uid, False, "another image at the same place is read") for uid in rest]
        for series, why in self.others:
            choices += [ImageChoice(uid, False, why) for uid in dict.fromkeys(p.sop_instance_uid for p in series.places)]
        return tuple(choices)


def survey(headers: Iterable[tuple[str, Dataset]]) -> tuple[Series, ...]:
    """(file name, data set without pixels) of every image of a study -> its series, in order of their numbers.

    What is not an image, or lies nowhere in the patient, has no place. Nothing is raised.
    """
    found: dict[tuple[str, str], list[tuple[str, Dataset]]] = {}
    with quiet():
        for name, dataset in headers:
            key = text.first(dataset, "StudyInstanceUID"), text.first(dataset, "SeriesInstanceUID")
            if text.integer(dataset, "Rows"):
                found.setdefault(key, []).append((name, dataset))
        series = [_series(*key, members) for key, members in found.items()]
    return tuple(
        sorted(series, key=lambda one: (one.series_number is None, one.series_number or 0, one.series_instance_uid))
    )


def choose_series(series: Iterable[Series], *, modality: str = "CT", body_part: str = "") -> SeriesChoice:
    """The series to read: a whole stack, not a localiser, not derived; of several the original, the axial, the one that
    shows most of the body, then a soft kernel, then thin slices."""
    others: list[tuple[Series, str]] = []
    ready: list[tuple[tuple[object, ...], Series, Stack]] = []
    for one in series:
        why = _why_not(one, modality, body_part)
        if why:
            others.append((one, why))
            continue
        try:
            stacked = stack(one.places)
        except InputError as error:
            others.append((one, str(error)))
            continue
        ready.append((_rank(one, stacked), one, stacked))
    if not ready:
        return SeriesChoice(None, None, "", tuple(others))
    ready.sort(key=lambda candidate: candidate[0])
    _, best, stacked = ready[0]
    for _, one, other in ready[1:]:
        others.append((one, f"{best.name} was read instead: {_better(best, stacked, one, other)}"))
    among = f"; the best of {len(ready)} CT series" if len(ready) > 1 else ""
    return SeriesChoice(stacked, best, f"{best.name}: {stacked.words}{among}", tuple(others))


def _why_not(series: Series, modality: str, body_part: str) -> str:
    kinds = set(series.image_type)
    if series.modality != modality:
        return f"modality {series.modality or 'not stated'}: this model reads {modality}"
    if kinds & {"LOCALIZER", "SCOUT"} or re.search("localizer|localiser|scout|topogram|surview", series.description, re.I):
        return "a localiser, which is for planning and not for reading"
    if series.sop_class_uid.startswith(_SECONDARY_CAPTURE) or series.sop_class_uid not in _CT_CLASSES:
        return "not a CT image object but a capture or something else: send the original series"
    if made := min(kinds & _MADE, default=""):
        return f"made from another series (Image Type {made}): send the original slices"
    if series.image_type[:2] == ("DERIVED", "SECONDARY") and "AXIAL" not in kinds:
        return "made from other images after the examination (DERIVED, SECONDARY): send the original"
    if body_part and series.body_part and body_part not in series.body_part and series.body_part not in body_part:
        return f"shows the {series.body_part}: this model reads the {body_part}"
    if series.unplaced and not series.places:
        return "its images do not say where in the patient they lie (Image Position and Orientation)"
    if series.unplaced:
        return f"{series.unplaced} of its images do not say where in the patient they lie: send the series again"
    return ""


def _rank(series: Series, stacked: Stack) -> tuple[object, ...]:
    return (
        series.image_type[:1] == ("DERIVED",),
        not stacked.is_axial,
        -round(stacked.extent_mm / 50.0),
        _is_sharp(series),
        max(stacked.step_mm, 1.0),
        series.series_number is None,
        series.series_number or 0,
        series.series_instance_uid,
    )


def _better(best: Series, stacked: Stack, one: Series, other: Stack) -> str:
    names = ("it is original", "it is axial", "it shows more of the body", "its kernel is soft", "its slices are thinner")
    pairs = zip(names, _rank(best, stacked), _rank(one, other), strict=False)
    return next((name for name, mine, theirs in pairs if mine != theirs), "it comes first")


def _is_sharp(series: Series) -> bool:
    return bool(_SHARP.search(series.kernel) or _SHARP.search(series.description))


def _series(study_uid: str, series_uid: str, members: list[tuple[str, Dataset]]) -> Series:
    planned = [one for one in members if not _is_localiser(one[1])]
    members = planned or members  # a localiser is sometimes filed with the slices that it planned
    first = members[0][1]
    places: list[Place] = []
    unplaced = 0
    for name, dataset in members:
        for place in _places(name, dataset):
            if place is None:
                unplaced += 1
            else:
                places.append(place)
    part, _ = facts.body_part(first)
    return Series(
        study_instance_uid=study_uid,
        series_instance_uid=series_uid,
        series_number=text.integer(first, "SeriesNumber"),
        description=text.text(first, "SeriesDescription"),
        modality=text.first(first, "Modality").upper(),
        sop_class_uid=text.first(first, "SOPClassUID"),
        image_type=_image_type(dataset for _, dataset in members),
        kernel=text.text(first, "ConvolutionKernel"),
        body_part=part,
        frame_of_reference_uid=text.first(first, "FrameOfReferenceUID"),
        frames_of_reference=len({text.first(dataset, "FrameOfReferenceUID") for _, dataset in members}),
        places=tuple(places),
        unplaced=unplaced,
    )


def _is_localiser(dataset: Dataset) -> bool:
    return bool({"LOCALIZER", "SCOUT"} & {value.upper() for value in text.texts(dataset, "ImageType")})


def _image_type(datasets: Iterable[Dataset]) -> tuple[str, ...]:
    """Of most of the images."""
    kinds = [tuple(value.upper() for value in text.texts(dataset, "ImageType")) for dataset in datasets]
    return max(sorted(set(kinds)), key=kinds.count)


def _places(name: str, dataset: Dataset) -> Iterator[Place | None]:
    frames = list(text.items(dataset, "PerFrameFunctionalGroupsSequence"))
    if not frames:
        yield _place(name, dataset, [dataset], None)
        return
    shared = list(text.items(dataset, "SharedFunctionalGroupsSequence"))[:1]
    for number, frame in enumerate(frames, start=1):
        groups = [item for owner in (frame, *shared) for macro in owner for item in _items(macro.value)]
        yield _place(name, dataset, groups, number)


def _items(value: object) -> list[Dataset]:
    return [item for item in value if isinstance(item, Dataset)] if isinstance(value, Iterable) else []


def _place(name: str, dataset: Dataset, sources: list[Dataset], frame: int | None) -> Place | None:
    position = _numbers(sources, "ImagePositionPatient", 3)
    orientation = _numbers(sources, "ImageOrientationPatient", 6)
    spacing = _numbers(sources, "PixelSpacing", 2)
    rows, columns = text.integer(dataset, "Rows"), text.integer(dataset, "Columns")
    if not (position and orientation and spacing and rows and columns) or min(spacing) <= 0.0:
        return None
    thickness = _numbers(sources, "SliceThickness", 1)
    told_apart = tuple(
        (keyword, next((found for source in (*sources, dataset) if (found := text.text(source, keyword))), ""))
        for keyword in ("TemporalPositionIndex", "TemporalPositionIdentifier", "AcquisitionNumber", "ImageType",
                        "ConvolutionKernel", "KVP", "AcquisitionTime")
    )  # fmt: skip
    return Place(
        file=name,
        sop_instance_uid=text.first(dataset, "SOPInstanceUID"),
        frame=frame,
        position=(position[0], position[1], position[2]),
        orientation=orientation,
        spacing_mm=(spacing[0], spacing[1]),
        rows=rows,
        columns=columns,
        thickness_mm=thickness[0] if thickness else None,
        told_apart=told_apart,
    )


def _numbers(sources: list[Dataset], keyword: str, count: int) -> tuple[float, ...]:
    for source in sources:
        numbers = text.decimals(source, keyword)
        if len(numbers) == count:
            return numbers
    return ()
