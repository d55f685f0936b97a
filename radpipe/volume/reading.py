"""One CT study through a segmenter: series chosen, volume built, mask drawn, measured, put into words. Composed of stages;
the network comes in as a function."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from radpipe.errors import InputError
from radpipe.finding import Finding
from radpipe.segmenter import Segmentation, Volume
from radpipe.volume.block import read_volume
from radpipe.volume.measure import Measured, findings_of_mask, measured_channels
from radpipe.volume.series import SeriesChoice


@dataclass(frozen=True, slots=True)
class VolumeReading:
    """What a segmenter said of one study. `not_read_reason` is None exactly when it was read."""

    choice: SeriesChoice
    not_read_reason: str | None
    volume: Volume | None = None
    segmentation: Segmentation | None = None
    measured: tuple[Measured, ...] = ()
    findings: tuple[Finding, ...] = ()
    seconds: tuple[tuple[str, float], ...] = ()  # decode, prepare, infer, restore, measure, total


def read_with(
    choice: SeriesChoice, read: Callable[[str], bytes], segment: Callable[[Volume], Segmentation]
) -> VolumeReading:
    """Read the chosen series. `read` gives a file's bytes by its name; `segment` is the network (`BundleModel.segment`).

    A series that cannot be read is an answer with its reason. Errors of the network are not caught.
    """
    if choice.stack is None:
        return VolumeReading(choice, choice.reason)
    started = time.perf_counter()
    try:
        volume = read_volume(choice, read)
    except InputError as error:
        return VolumeReading(choice, str(error))
    decoded = time.perf_counter()
    segmentation = segment(volume)
    drawn = time.perf_counter()
    measured = measured_channels(segmentation, volume)
    findings = findings_of_mask(measured, volume, segmentation.model)
    finished = time.perf_counter()
    seconds = (
        ("decode", round(decoded - started, 3)),
        *segmentation.seconds,
        ("measure", round(finished - drawn, 3)),
        ("total", round(finished - started, 3)),
    )
    return VolumeReading(choice, None, volume, segmentation, measured, findings, seconds)


def sentences(reading: VolumeReading) -> tuple[str, ...]:
    """What was found and measured, one plain sentence each, for a person at a terminal."""
    said = []
    for one in reading.measured:
        name = one.channel.name.replace("_", " ")
        if not one.regions:
            left = f" ({one.left_out} parts below {one.channel.smallest_ml:g} mL)" if one.left_out else ""
            said.append(f"{name}: nothing drawn{left}.")
            continue
        largest = one.regions[0]
        parts = f"{one.stated} parts, the largest {largest.volume_ml:.4g} mL" if one.stated > 1 else "one part"
        said.append(
            f"{name}: {one.volume_ml:.4g} mL, {parts}, longest axial diameter {largest.axial_diameter_mm:.1f} mm, "
            f"slices {largest.first_slice + 1} to {largest.last_slice + 1}."
        )
    return tuple(said)
