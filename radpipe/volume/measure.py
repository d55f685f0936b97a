"""A mask measured: volume of each connected part in mL, diameters in mm, where it lies; and as findings with evidence.

Diameters are between centres of voxels, so up to a voxel less than from outside to outside. The largest in an axial slice is
what a radiologist measures (RECIST 1.1, longest diameter in the plane of acquisition).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radpipe.finding import Decision, Evidence, Finding, Measurement
from radpipe.segmenter import Channel, Kind, Segmentation, Volume
from radpipe.volume.components import Runs, connected_runs

Floats = npt.NDArray[np.float64]

MOST_REGIONS = 20
"""As many parts of one channel are stated, the largest first; the rest only counts in the total."""

_DIRECTIONS = 256


@dataclass(frozen=True, slots=True)
class Region:
    """One connected part of a channel."""

    voxels: int
    volume_ml: float
    diameter_mm: float  # the largest in space
    axial_diameter_mm: float  # the largest within one slice
    axial_slice: int  # the slice (from 0) of that diameter
    centroid_mm: tuple[float, float, float]  # in the patient, DICOM's axes (LPS)
    first_slice: int  # from 0
    last_slice: int  # inclusive
    largest_slice: int  # where its area is largest
    box_px: tuple[int, int, int, int]  # in that slice: top, left, bottom, right; end-exclusive


@dataclass(frozen=True, slots=True)
class Measured:
    """One channel of a segmentation, measured. Parts below the channel's smallest volume are not among `regions` and not in
    `volume_ml`; `left_out` counts them."""

    channel: Channel
    volume_ml: float
    regions: tuple[Region, ...]  # the largest first, at most MOST_REGIONS
    stated: int  # parts that count, also those beyond MOST_REGIONS
    left_out: int


def measured_channels(segmentation: Segmentation, volume: Volume) -> tuple[Measured, ...]:
    """Every channel of the segmentation, measured on the volume's own voxels."""
    measured = []
    for channel in segmentation.channels:
        found = regions(segmentation.mask(channel), volume, smallest_ml=channel.smallest_ml)
        measured.append(Measured(channel, *found))
    return tuple(measured)


def regions(
    mask: npt.NDArray[np.bool_], volume: Volume, *, smallest_ml: float = 0.0
) -> tuple[float, tuple[Region, ...], int, int]:
    """(total mL, parts by volume, how many parts count, how many are below `smallest_ml`) of a mask of (slices, rows,
    columns)."""
    runs = connected_runs(mask)
    voxels = np.bincount(runs.part, weights=runs.lengths.astype(np.float64), minlength=runs.parts).astype(np.int64)
    large = np.flatnonzero(voxels * volume.voxel_ml >= smallest_ml)
    order = large[np.argsort(-voxels[large], kind="stable")]
    sorted_runs = np.argsort(runs.part, kind="stable")
    bounds = np.searchsorted(runs.part[sorted_runs], np.arange(runs.parts + 1))
    found = tuple(
        _region(_picked(runs, sorted_runs[bounds[part] : bounds[part + 1]]), volume) for part in order[:MOST_REGIONS]
    )
    return float(voxels[order].sum() * volume.voxel_ml), found, len(order), runs.parts - len(order)


def findings_of_mask(measured: Sequence[Measured], volume: Volume, model: str) -> tuple[Finding, ...]:
    """One finding a channel of kind FINDING, with its measurements as evidence; anatomy is measured, not stated.

    A mask says yes or no: the probability is 1 or 0, and no score stands in the evidence. Present: the slice where each part
    is largest, with its box, volume and diameters. Absent: the first and the last slice that were searched.
    """
    return tuple(_finding(one, volume, model) for one in measured if one.channel.kind is Kind.FINDING)


def _finding(measured: Measured, volume: Volume, model: str) -> Finding:
    channel = measured.channel
    evidence: list[Evidence] = []
    for number, region in enumerate(measured.regions, start=1):
        where = f"part {number} of {measured.stated}, slices {region.first_slice + 1} to {region.last_slice + 1}"
        source = f"mask, {where}"
        evidence += [
            _evidence(
                volume, region.largest_slice, model, source, region.box_px,
                Measurement("volume", round(region.volume_ml, 3), "mL", f"voxels of the mask; {where}"),
            ),
            _evidence(
                volume, region.axial_slice, model, source, None,
                Measurement("longest axial diameter", round(region.axial_diameter_mm, 1), "mm", "between voxel centres"),
            ),
        ]  # fmt: skip
    if measured.stated > 1:
        total = Measurement("total volume", round(measured.volume_ml, 3), "mL", f"{measured.stated} parts of the mask")
        first = evidence[0]
        evidence.insert(0, Evidence(first.sop_instance_uid, first.frame, model=model, source="mask", measurement=total))
    if not evidence:
        below = f"; {measured.left_out} parts below {channel.smallest_ml:g} mL are not counted" if measured.left_out else ""
        last = len(volume.sop_instance_uids) - 1
        source = f"mask, empty over all {last + 1} slices{below}"
        evidence = [_evidence(volume, 0, model, source), _evidence(volume, last, model, source)]
    present = bool(measured.regions)
    return Finding(
        finding=channel.finding,
        code=channel.code,
        decision=Decision.PRESENT if present else Decision.ABSENT,
        probability=1.0 if present else 0.0,
        threshold=0.5,
        rule_out=0.5,
        evidence=tuple(evidence),
        laterality=channel.laterality,
    )


def _evidence(
    volume: Volume,
    index: int,
    model: str,
    source: str,
    box_px: tuple[int, int, int, int] | None = None,
    measurement: Measurement | None = None,
) -> Evidence:
    return Evidence(
        sop_instance_uid=volume.sop_instance_uids[index],
        frame=volume.frames[index],
        box_px=box_px,
        model=model,
        source=source,
        measurement=measurement,
    )


def _picked(runs: Runs, chosen: npt.NDArray[np.int64]) -> Runs:
    return Runs(runs.slices[chosen], runs.rows[chosen], runs.first[chosen], runs.last[chosen], runs.part[chosen])


def _region(runs: Runs, volume: Volume) -> Region:
    lengths = runs.lengths
    voxels = int(lengths.sum())
    centre = np.array(
        [
            float((lengths * (runs.first + runs.last) / 2).sum()) / voxels,
            float((lengths * runs.rows).sum()) / voxels,
            float((lengths * runs.slices).sum()) / voxels,
            1.0,
        ]
    )
    first, last = int(runs.slices.min()), int(runs.slices.max())
    areas = np.bincount(runs.slices - first, weights=lengths.astype(np.float64))
    largest = first + int(areas.argmax())
    inside = runs.slices == largest
    axial, axial_slice = _axial_diameter(runs, volume)
    x, y, z = (float(value) for value in (volume.affine_lps @ centre)[:3])
    return Region(
        voxels=voxels,
        volume_ml=voxels * volume.voxel_ml,
        diameter_mm=largest_distance(_ends(runs, volume)),
        axial_diameter_mm=axial,
        axial_slice=axial_slice,
        centroid_mm=(x, y, z),
        first_slice=first,
        last_slice=last,
        largest_slice=largest,
        box_px=(
            int(runs.rows[inside].min()),
            int(runs.first[inside].min()),
            int(runs.rows[inside].max()) + 1,
            int(runs.last[inside].max()) + 1,
        ),
    )


def _ends(runs: Runs, volume: Volume) -> Floats:
    """The ends of all runs in mm, (2 runs, 3): the two voxels farthest apart are always ends of runs."""
    columns = np.concatenate([runs.first, runs.last])
    index = np.stack([columns, np.tile(runs.rows, 2), np.tile(runs.slices, 2)], axis=1).astype(np.float64)
    millimetres: Floats = index @ volume.affine_lps[:3, :3].T
    return millimetres


def _axial_diameter(runs: Runs, volume: Volume) -> tuple[float, int]:
    best, at = 0.0, int(runs.slices[0])
    order = np.argsort(runs.slices, kind="stable")
    numbers, starts = np.unique(runs.slices[order], return_index=True)
    for number, chosen in zip(numbers, np.split(order, starts[1:]), strict=True):
        points = _ends(_picked(runs, chosen), volume)
        if float(np.linalg.norm(np.ptp(points, axis=0))) <= best:
            continue  # not even its box's diagonal is longer
        distance = largest_distance(points)
        if distance > best:
            best, at = distance, int(number)
    return best, at


def largest_distance(points: Floats) -> float:
    """The largest distance between two of `points` (N, 3).

    Exact for few points. For many, the points that lie outermost in any of 256 directions are compared pair by pair: the
    true pair is missed only where another within some 0.1 % of its length stands for it.
    """
    if len(points) > 2 * _DIRECTIONS:
        outermost: set[int] = set()
        for direction in _directions():  # one at a time: a large mask has millions of ends
            along = points @ direction
            outermost.update((int(along.argmax()), int(along.argmin())))
        points = points[sorted(outermost)]
    apart = points[:, None, :] - points[None, :, :]
    return float(np.sqrt(np.einsum("ijk,ijk->ij", apart, apart).max(initial=0.0)))


def _directions() -> Floats:
    """256 directions over the half sphere (Fibonacci lattice), (256, 3)."""
    numbers = np.arange(_DIRECTIONS) + 0.5
    z = numbers / _DIRECTIONS
    angle = np.pi * (1.0 + 5.0**0.5) * numbers
    radius = np.sqrt(1.0 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
