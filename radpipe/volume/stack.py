"""Slices in order, or a sentence that says why they are no even stack. Geometry alone.

A volume that is wrong without saying so would give wrong millilitres: a missing slice, two phases laid over each other, a
tilted gantry. So whatever is not a whole, even, straight stack is refused with the place where it breaks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radpipe.errors import InputError

FEWEST_SLICES = 8
"""A stack of fewer is a few images, not a volume."""

ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of a direction cosine between slices: scanners write them with five or six digits."""

UNEVEN_FRACTION, UNEVEN_MM = 0.05, 0.05
"""Steps may differ from the median by this fraction of it, or by this much where it is more: the rounding of positions."""

MOST_GAPS = 0.1
"""Up to this share of wide steps is told as missing slices; more is a series that was made with two spacings."""

TILT_DEGREES = 1.0
"""Largest angle between the stack's direction and the slices' normal. A tilted gantry shears the volume."""

SAME_PLACE_MM = 0.01


@dataclass(frozen=True, slots=True)
class Place:
    """Where one slice lies. `told_apart`: attributes by which images at one place may differ, in order of trust."""

    file: str
    sop_instance_uid: str
    frame: int | None
    position: tuple[float, float, float]  # mm, centre of the first pixel
    orientation: tuple[float, ...]  # direction of a row, of a column
    spacing_mm: tuple[float, float]  # between rows, between columns
    rows: int
    columns: int
    thickness_mm: float | None
    told_apart: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices in order along their normal, evenly spaced."""

    places: tuple[Place, ...]
    affine_lps: npt.NDArray[np.float64]  # (4, 4): (column, row, slice, 1) -> mm
    step_mm: float
    is_axial: bool
    notes: tuple[str, ...]

    @property
    def extent_mm(self) -> float:
        """From the first slice's centre to the last's."""
        return self.step_mm * (len(self.places) - 1)

    @property
    def words(self) -> str:
        """ "275 axial slices, 1 mm apart, 512 x 512 pixels of 0.7 mm"."""
        first = self.places[0]
        plane = "axial" if self.is_axial else "non-axial"
        return (
            f"{len(self.places)} {plane} slices, {self.step_mm:.3g} mm apart, {first.columns} x {first.rows} pixels of "
            f"{first.spacing_mm[1]:.3g} mm"
        )


def stack(places: Sequence[Place]) -> Stack:
    """Order the slices. Raises InputError with a reason in words if they are no whole, even, straight stack."""
    if len(places) < FEWEST_SLICES:
        raise InputError(f"only {len(places)} slice{'s' if len(places) != 1 else ''}: a volume needs {FEWEST_SLICES}")
    _check_alike(places)
    row_direction, column_direction = (np.array(places[0].orientation[part : part + 3]) for part in (0, 3))
    normal = np.cross(row_direction, column_direction)
    if not 0.99 < float(np.linalg.norm(normal)) < 1.01:
        raise InputError("its Image Orientation is not two directions at a right angle: send it again from the scanner")
    chosen, note = _one_at_each_place(places, normal)
    ordered = sorted(chosen, key=lambda place: float(np.dot(place.position, normal)))
    positions = np.array([place.position for place in ordered])
    steps = np.diff(positions @ normal)
    step = float(np.median(steps))
    _check_even(steps, step, positions)
    direction = (positions[-1] - positions[0]) / (len(ordered) - 1)
    _check_straight(positions, direction, normal, ordered[0].spacing_mm)
    affine = np.eye(4)
    affine[:3, 0] = row_direction * ordered[0].spacing_mm[1]
    affine[:3, 1] = column_direction * ordered[0].spacing_mm[0]
    affine[:3, 2] = direction
    affine[:3, 3] = positions[0]
    affine.setflags(write=False)
    notes = (*((note,) if note else ()), *_thickness_notes(ordered, step))
    return Stack(tuple(ordered), affine, step, bool(abs(normal[2]) > 0.9), notes)


def _check_alike(places: Sequence[Place]) -> None:
    sizes = Counter((place.columns, place.rows) for place in places)
    if len(sizes) > 1:
        raise InputError(f"images of different sizes ({_listed(f'{w} x {h}' for w, h in sizes)}): send them as series apart")
    first = np.array(places[0].orientation)
    turned = sum(float(np.abs(np.array(place.orientation) - first).max()) > ORIENTATION_TOLERANCE for place in places)
    if turned:
        raise InputError(f"slices in different orientations ({turned} of {len(places)} differ): send them as series apart")
    spacing = np.array([place.spacing_mm for place in places])
    if float(np.ptp(spacing, axis=0).max()) > 0.01 * float(spacing.min()):
        low, high = float(spacing.min()), float(spacing.max())
        raise InputError(f"images of different pixel spacing ({low:.3g} to {high:.3g} mm): send them as series apart")


def _one_at_each_place(places: Sequence[Place], normal: npt.NDArray[np.float64]) -> tuple[Sequence[Place], str]:
    """One image at each place. Several phases or reconstructions filed in one series are told apart where that gives whole
    stacks; the first is taken and the note says so."""
    places = list({(place.sop_instance_uid, place.frame): place for place in places}.values())
    spots = _spots(places, normal)
    doubled = len(places) - len(spots)
    if not doubled:
        return places, ""
    if len(spots) < FEWEST_SLICES:
        raise InputError(f"its {len(places)} images lie at only {len(spots)} places: a volume needs {FEWEST_SLICES}")
    for number, (keyword, _) in enumerate(places[0].told_apart):
        parts: dict[str, list[Place]] = {}
        for place in places:
            parts.setdefault(place.told_apart[number][1], []).append(place)
        if len(parts) < 2:
            continue
        whole = [
            (name, part)
            for name, part in parts.items()
            if len(_spots(part, normal)) == len(part) and len(part) >= 0.9 * len(spots)
        ]
        if whole:
            note = (
                f"the series holds several images at a place, told apart by {keyword}: of {len(parts)} sets one of "
                f"{len(whole[0][1])} slices is read"
            )
            return whole[0][1], note
    raise InputError(
        f"{doubled} images lie at the place of another (several phases or reconstructions in one series) and nothing tells "
        "them apart: send them as series apart"
    )


def _spots(places: Sequence[Place], normal: npt.NDArray[np.float64]) -> set[int]:
    return {round(float(np.dot(place.position, normal)) / SAME_PLACE_MM) for place in places}


def _check_even(steps: npt.NDArray[np.float64], step: float, positions: npt.NDArray[np.float64]) -> None:
    tolerance = max(UNEVEN_FRACTION * step, UNEVEN_MM)
    gaps = np.flatnonzero(steps > 1.5 * step)
    if 0 < len(gaps) <= max(2, MOST_GAPS * len(steps)):
        missing = int(sum(max(1, round(float(steps[at] / step)) - 1) for at in gaps))
        at = int(gaps[0])
        more = f" and {len(gaps) - 1} more place{'s' if len(gaps) > 2 else ''}" if len(gaps) > 1 else ""
        raise InputError(
            f"about {missing} slice{'s are' if missing != 1 else ' is'} missing, between slice {at + 1} "
            f"(z {positions[at][2]:.1f} mm) and the next (z {positions[at + 1][2]:.1f} mm){more}, where slices are "
            f"{step:.3g} mm apart: send the whole series"
        )
    off = np.abs(steps - step)
    if float(off.max()) > tolerance:
        at = int(off.argmax())
        raise InputError(
            f"slices are unevenly spaced ({float(steps.min()):.3g} to {float(steps.max()):.3g} mm, first at slice {at + 1})"
            ": send one reconstruction of even spacing"
        )


def _check_straight(
    positions: npt.NDArray[np.float64],
    direction: npt.NDArray[np.float64],
    normal: npt.NDArray[np.float64],
    spacing_mm: tuple[float, float],
) -> None:
    cosine = float(np.dot(direction, normal) / np.linalg.norm(direction))
    tilt = float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
    if tilt > TILT_DEGREES:
        raise InputError(
            f"the gantry was tilted by {tilt:.0f} degrees, so that its slices do not stand at a right angle to the stack: "
            "send a reconstruction without tilt"
        )
    line = positions[0] + np.arange(len(positions))[:, None] * direction
    aside = positions - line
    aside = aside - (aside @ normal)[:, None] * normal
    if float(np.linalg.norm(aside, axis=1).max()) > 2 * max(spacing_mm):
        raise InputError("its slices are shifted sideways against each other: send one reconstruction with one centre")


def _thickness_notes(places: Sequence[Place], step: float) -> tuple[str, ...]:
    known = [place.thickness_mm for place in places if place.thickness_mm]
    if not known:
        return ()
    thickness = float(np.median(known))
    if thickness > 1.05 * step:
        return (f"slices overlap: {thickness:.3g} mm thick, {step:.3g} mm apart",)
    if thickness < step / 1.2:
        return (f"slices do not touch: {thickness:.3g} mm thick, {step:.3g} mm apart; what lies between was not scanned",)
    return ()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
