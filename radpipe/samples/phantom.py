"""A phantom's radiograph: body, bones, vessels and lesions put together, exposed and processed.

The pictures are synthetic. They resemble a chest well enough to show what the software does, and prove nothing about how
well a model reads patients.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from radpipe.samples.exposure import Technique, attenuation, collimated, exposed, lettered, processed, stored
from radpipe.samples.lateral import hand, lateral_chest
from radpipe.samples.lesions import LEFT, RIGHT, Lesion, box_px
from radpipe.samples.projection import Map, Projection, blurred
from radpipe.samples.skeleton import Person, ribs, shoulders, spine, sternum
from radpipe.samples.torso import empty_torso
from radpipe.samples.vessels import airways, hila, vessels

ROWS, COLUMNS = 1060, 1040
PIXEL_MM = 0.39
"""At the detector."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One image to be made of a person. `view` is PA, AP, LL or HAND."""

    view: str
    seed: int  # of noise and positioning
    lesions: tuple[Lesion, ...] = ()
    dome_shift_mm: float = 0.0  # up where negative: less air drawn in
    congestion: float = 0.0
    marker: str = "L"
    words: tuple[str, ...] = ()  # further lettering, e.g. "PORTABLE"
    technique: Technique = field(default_factory=Technique)


@dataclass(frozen=True, slots=True)
class Painted:
    """What a lesion became in the picture."""

    finding: str
    laterality: str  # left, right or bilateral
    size_mm: float | None
    box_px: tuple[int, int, int, int] | None  # top, left, bottom, right; 0-based, end-exclusive


@dataclass(frozen=True, slots=True)
class Radiograph:
    """A finished image: (rows, columns) uint16, 12 bits, bright where the body is dense; and its truth."""

    pixels: NDArray[np.uint16]
    magnification: float  # of the plane through the middle of the body
    pixel_mm: float
    painted: tuple[Painted, ...]


def radiograph(person: Person, exposure: Exposure) -> Radiograph:
    """Make the image. The same arguments give the same pixels."""
    rng = np.random.default_rng([exposure.seed, 77])
    view = _projection(exposure, rng)
    painted: tuple[Painted, ...] = ()
    if exposure.view == "HAND":
        soft, bone = hand(view, person)
    elif exposure.view == "LL":
        soft, bone = lateral_chest(view, person)
    else:
        soft, bone, painted = _frontal(view, person, exposure)
    if exposure.view == "HAND":
        technique = replace(exposure.technique, gamma=6.0, centre=0.45, compression=0.1)
    else:
        technique = exposure.technique
    technique = replace(technique, collimation_mm=tuple(rng.choice([0.0, 0.0, 3.0, 6.0], 4)))
    signal = exposed(attenuation(soft, bone), view.pixel_mm, technique, rng)
    grey = collimated(processed(signal, view.pixel_mm, technique), view.pixel_mm, technique)
    _letters(grey, exposure)
    pixels = stored(grey)
    pixels.setflags(write=False)
    return Radiograph(pixels, float(view.magnification(0.0)), view.pixel_mm, painted)


def _projection(exposure: Exposure, rng: np.random.Generator) -> Projection:
    shift = (float(rng.normal(0, 3.5)), float(rng.normal(0, 4.0)))
    tilt = float(rng.normal(0, 0.7))
    if exposure.view == "HAND":
        return Projection("PA", 1000, 800, 0.28, 1150.0, centre_z_mm=2.0, gap_mm=-90.0)
    if exposure.view == "AP":
        return Projection("AP", ROWS, COLUMNS, 0.41, 1050.0, 132.0, shift, 1.6 * tilt, gap_mm=30.0)
    if exposure.view == "LL":
        return Projection("LL", ROWS, 880, PIXEL_MM, 1830.0, 140.0, (shift[0] - 2, shift[1]), tilt)
    return Projection("PA", ROWS, COLUMNS, PIXEL_MM, 1830.0, 140.0, shift, tilt)


def _frontal(view: Projection, person: Person, exposure: Exposure) -> tuple[Map, Map, tuple[Painted, ...]]:
    arms_down = exposure.view == "AP"
    torso = empty_torso(view, person, arms_down=arms_down, dome_shift_mm=exposure.dome_shift_mm)
    painted = []
    for lesion in exposure.lesions:
        change = lesion.paint(torso)
        side = {LEFT: "left", RIGHT: "right"}.get(lesion.side, "bilateral")
        painted.append(Painted(lesion.finding, side, lesion.size_mm, box_px(change)))
    blood = vessels(view, person, torso.dome_z_mm, exposure.congestion)
    central = hila(view, person, exposure.congestion)
    haze = blurred(central, 14.0 / view.pixel_mm) * np.float32(0.55 + 0.5 * exposure.congestion)
    soft = torso.soft - 0.85 * np.minimum(airways(view, person), 20)
    for half in (LEFT, RIGHT):
        space, density = torso.space[half], torso.density[half]
        tissue = (1.25 * blood + 0.9 * central + haze) * torso.perfused[half]
        soft = soft + space * density + np.minimum(tissue * np.float32(0.75), space * (1 - density)) * (space > 0)
    bone = ribs(view, person) + spine(view, person) + sternum(view, person)
    bone = bone + shoulders(view, person, arms_down=arms_down)
    return np.asarray(soft, np.float32), np.asarray(bone, np.float32), tuple(painted)


def _letters(grey: Map, exposure: Exposure) -> None:
    columns = grey.shape[1]
    if exposure.view == "HAND":
        lettered(grey, exposure.marker, 90, 60, 34, level=0.98, thickness=5)
        lettered(grey, "PHANTOM", 120, 52, 11, level=0.8)
        return
    place = {"L": columns - 92, "R": 58}[exposure.marker]
    lettered(grey, exposure.marker, 58, place, 32, level=0.98, thickness=5)
    for number, words in enumerate(("PHANTOM", *exposure.words)):
        lettered(grey, words, 82 + 18 * number, place - 26, 11, level=0.8)
