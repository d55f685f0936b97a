"""Lesions painted into real radiographs: what a finding looks like when nothing else about the image changes.

A painted image and its own original are a pair. The heads learn from the difference of the two, so that no mark of the
source, the patient or the processing can be learnt. Everything is drawn in the picture's grey values: soft opacity is
mixed towards the grey of soft tissue of the same picture, lucency towards its darkest lung; sizes follow from the lungs,
which are taken to be `LUNG_HEIGHT_MM` high, since the public images carry no pixel spacing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from radpipe.train.lungs import Lungs, Mask, find_lungs

Floats = npt.NDArray[np.float32]

LUNG_HEIGHT_MM = 250.0

TEACHES: dict[str, dict[str, float]] = {
    "pleural_effusion": {"pleural_effusion": 1.0},
    "pneumothorax": {"pneumothorax": 1.0},
    "nodule": {"nodule": 1.0},
    "mass": {"mass": 1.0},
    "consolidation": {"consolidation": 1.0, "lung_opacity": 1.0, "pneumonia": 0.5},
    "lung_opacity": {"lung_opacity": 1.0, "pneumonia": 0.3},
    "edema": {"edema": 1.0, "lung_opacity": 0.5},
    "cardiomegaly": {"cardiomegaly": 1.0},
    "atelectasis": {"atelectasis": 1.0},
}
"""What is painted -> the labels that it is an example of, and how surely."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A radiograph with what painting needs to know of it; arrays are (rows, columns)."""

    grey: Floats
    lungs: Lungs
    smooth: Floats  # without ribs and vessels
    tissue: float  # grey of the heart, the diaphragm
    air: float  # grey of the clearest lung
    mm: float  # pixels
    down: Floats
    across: Floats

    def side(self, random: np.random.Generator) -> Mask:
        """One of the lungs."""
        return self.lungs.left if random.random() < 0.5 else self.lungs.right


def scene(grey: Floats) -> Scene | None:
    """Look at a radiograph, 0..1, bright = dense; None where its lungs are not found."""
    lungs = find_lungs(grey)
    if lungs is None:
        return None
    both = lungs.left | lungs.right
    rows = np.flatnonzero(both.any(axis=1))
    height = float(rows[-1] - rows[0] + 1)
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.05 * height), np.float32)
    down, across = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]].astype(np.float32)
    first, last = np.flatnonzero(both.any(axis=0))[[0, -1]]
    lower = (down > rows[0] + 0.45 * height) & (down < rows[-1] + 0.1 * height) & (across > first) & (across < last) & ~both
    if lower.sum() < 50:
        return None
    tissue, air = float(np.percentile(grey[lower], 65)), float(np.percentile(smooth[both], 10))
    if tissue - air < 0.1:
        return None
    return Scene(grey, lungs, smooth, tissue, air, height / LUNG_HEIGHT_MM, down, across)


def paint(what: str, here: Scene, size: float, random: np.random.Generator) -> Floats:
    """The picture with one finding (a key of TEACHES) in it; `size` is 0 (small or subtle) to 1 (large or clear)."""
    return np.asarray(np.clip(_PAINTERS[what](here, size, random), 0, 1), np.float32)


def _opaque(here: Scene, cover: Floats, random: np.random.Generator, hidden: float | None = None) -> Floats:
    """The picture with soft tissue over it where `cover` (0..1) is; `hidden` is how much of the markings goes."""
    tissue = here.tissue * random.uniform(0.88, 1.05)
    detail = here.grey - here.smooth
    hidden = random.uniform(0.3, 0.9) if hidden is None else hidden
    lifted = here.smooth + cover * np.clip(tissue - here.smooth, 0, None)
    return np.asarray(lifted + detail * (1 - hidden * cover), np.float32)


def _soft(mask: npt.NDArray[np.generic], radius: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(radius, 0.5)), np.float32)


def _cloud(here: Scene, coarse_mm: float, random: np.random.Generator) -> Floats:
    """Smooth noise of mean 0 and deviation 1."""
    total = np.zeros(here.grey.shape, np.float32)
    for octave in range(3):
        grain = random.normal(size=here.grey.shape).astype(np.float32)
        layer = _soft(grain, coarse_mm * here.mm / 2**octave)
        total += layer / (float(layer.std()) + 1e-6) * np.float32(0.6**octave)
    return np.asarray((total - total.mean()) / (float(total.std()) + 1e-6), np.float32)


def _box(lung: Mask) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(lung.any(axis=1)), np.flatnonzero(lung.any(axis=0))
    return float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1)


def _outward(here: Scene, lung: Mask) -> Floats:
    """0 at the lung's medial border to 1 at its lateral one."""
    _, left, _, right = _box(lung)
    share = (here.across - left) / (right - left)
    return np.asarray(np.clip(1 - share if (left + right) / 2 < here.lungs.middle else share, 0, 1), np.float32)


def _effusion(here: Scene, size: float, random: np.random.Generator) -> Floats:
    sides = [here.lungs.left, here.lungs.right]
    chosen = sides if random.random() < 0.3 else [sides[int(random.integers(2))]]
    cover = np.zeros(here.grey.shape, np.float32)
    for lung in chosen:
        top, _, bottom, _ = _box(lung)
        height, outward = bottom - top, _outward(here, lung)
        level = 0.03 + 0.82 * size**1.4 * random.uniform(0.7, 1.0)
        climb = random.uniform(0.08, 0.25) * min(1.0, 0.5 + level)
        width = random.uniform(0.08, 0.30)
        meniscus = climb * np.exp(-(1 - outward) / width) + 0.4 * climb * np.exp(-outward / width)
        surface = bottom - height * (level + meniscus)
        edge = random.uniform(1.5, 9) * here.mm
        filled = 1 / (1 + np.exp(np.clip((surface - here.down) / edge, -30, 30)))
        if random.random() < 0.15:  # lying: a veil that thickens downwards
            filled = np.clip((here.down - top) / height, 0, 1) * (0.2 + 0.5 * size)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(4 * here.mm) + 1,) * 2)
        within = _soft(cv2.dilate(lung.astype(np.uint8), kernel), 2.5 * here.mm)
        cover = np.maximum(cover, filled * random.uniform(0.7, 1.0) * within)
    return _opaque(here, cover, random, random.uniform(0.6, 1.0))


def _pneumothorax(here: Scene, size: float, random: np.random.Generator) -> Floats:
    lung = here.side(random)
    top, left, bottom, right = _box(lung)
    share = 0.06 + 0.44 * size
    medial = right if (left + right) / 2 < here.lungs.middle else left
    # The lung is drawn towards its root: what lies outside of the smaller lung is free of markings.
    row, column = top + random.uniform(0.55, 0.8) * (bottom - top), medial
    scale_row, scale_column = 1 - share * random.uniform(0.6, 1.0), 1 - share
    matrix = np.array([[scale_column, 0, column * (1 - scale_column)], [0, scale_row, row * (1 - scale_row)]], np.float32)
    shrunken = cv2.warpAffine(_soft(lung, 2 * here.mm), matrix, (lung.shape[1], lung.shape[0]), flags=cv2.INTER_LINEAR)
    within = _soft(lung, 1.5 * here.mm)
    free = np.asarray(np.clip(within - _soft(shrunken > 0.5, 0.8 * here.mm), 0, 1), np.float32)
    clear = _soft(here.grey, random.uniform(1.5, 3.5) * here.mm)  # keeps the ribs, not the vessels
    dark = np.clip(here.smooth - here.air, 0, None) * random.uniform(0.1, 0.7) + random.uniform(0.0, 0.05)
    grey = here.grey * (1 - free) + free * (clear - dark)
    border = np.abs(cv2.GaussianBlur((shrunken > 0.5).astype(np.float32), (0, 0), 0.6 * here.mm + 0.4) - 0.5)
    line = np.clip(1 - border / 0.5, 0, 1) ** 2 * (within > 0.5) * (free + _soft(free > 0.3, 2 * here.mm) > 0.2)
    grey = grey + line * random.uniform(0.02, 0.09)
    collapsed = _soft(shrunken > 0.5, 2 * here.mm) * within
    grey = grey + collapsed * np.clip(here.tissue - here.smooth, 0, None) * share * random.uniform(0, 0.5)
    return np.asarray(grey, np.float32)


def _ball(here: Scene, millimetres: float, rough: float, random: np.random.Generator, inside: Mask) -> Floats:
    """The shadow of a lump (0..1), thickest in the middle, somewhere in `inside`."""
    places = np.argwhere(inside)
    row, column = places[int(random.integers(len(places)))]
    down, across = here.down - row, here.across - column
    angle = np.arctan2(down, across)
    stretch = random.uniform(0.75, 1.0)
    turned = random.uniform(0, np.pi)
    along, beside = (
        across * np.cos(turned) + down * np.sin(turned),
        (down * np.cos(turned) - across * np.sin(turned)) / stretch,
    )
    outline = np.ones_like(down)
    for waves in range(2, 7):
        outline += rough / waves**0.5 * random.normal() * np.cos(waves * angle + random.uniform(0, 2 * np.pi))
    radius = millimetres * here.mm / 2 * np.clip(outline, 0.4, 1.8)
    thickness = np.sqrt(np.clip(1 - (along**2 + beside**2) / radius**2, 0, 1))
    return _soft(thickness ** random.uniform(0.5, 1.0), random.uniform(0.4, 1.5) * here.mm)


def _inner(here: Scene, millimetres: float) -> Mask:
    """Places in the lungs, this far from their border where there is room."""
    both = here.lungs.left | here.lungs.right
    reach = cv2.distanceTransform(both.astype(np.uint8), cv2.DIST_L2, 3)
    return np.asarray(reach > min(millimetres * here.mm, 0.7 * float(reach.max())))


def _nodule(here: Scene, size: float, random: np.random.Generator) -> Floats:
    cover = np.zeros(here.grey.shape, np.float32)
    for _ in range(1 if random.random() < 0.7 else int(random.integers(2, 5))):
        millimetres, density = (10 + 20 * size) * random.uniform(0.8, 1.0), random.uniform(0.35, 0.95)
        cover = np.maximum(cover, density * _ball(here, millimetres, 0.05, random, _inner(here, 0.4 * millimetres)))
    return _opaque(here, cover, random, 0.3)


def _mass(here: Scene, size: float, random: np.random.Generator) -> Floats:
    cover = np.zeros(here.grey.shape, np.float32)
    for _ in range(1 if random.random() < 0.7 else int(random.integers(2, 6))):
        millimetres, density = (33 + 62 * size) * random.uniform(0.8, 1.0), random.uniform(0.5, 1.0)
        within = _inner(here, random.uniform(0.05, 0.5) * millimetres)
        cover = np.maximum(cover, density * _ball(here, millimetres, 0.07, random, within))
    return _opaque(here, cover, random)


def _patch(here: Scene, lung: Mask, reach: tuple[float, float], random: np.random.Generator) -> Floats:
    """A soft blot (0..1) in the lung; `reach` is its half height and half width as a share of the lung's."""
    top, left, bottom, right = _box(lung)
    places = np.argwhere(lung)
    row, column = places[int(random.integers(len(places)))]
    down = (here.down - row) / (reach[0] * (bottom - top))
    across = (here.across - column) / (reach[1] * (right - left))
    distance = down**2 + across**2 + 0.5 * _cloud(here, 25, random)
    return np.asarray(1 / (1 + np.exp(np.clip((distance - 1) * random.uniform(1.5, 4), -30, 30))), np.float32)


def _consolidation(here: Scene, size: float, random: np.random.Generator) -> Floats:
    lung = here.side(random)
    top, left, bottom, right = _box(lung)
    within = _soft(lung, 2 * here.mm)
    density = (0.35 + 0.6 * size) * random.uniform(0.7, 1.0)
    if random.random() < 0.45:  # a lobe: a fissure on one side
        third = 0.25 + 0.30 * size
        upper = random.random() < 0.4
        level = top + (third if upper else 1 - third) * (bottom - top)
        fissure = level + random.uniform(-0.25, 0.25) * (here.across - (left + right) / 2)
        reach = (fissure - here.down) if upper else (here.down - fissure)
        shape = 1 / (1 + np.exp(np.clip(-reach / (random.uniform(1, 6) * here.mm), -30, 30)))
    else:
        shape = _patch(here, lung, (0.12 + 0.23 * size, random.uniform(0.3, 0.8)), random)
    texture = np.clip(1 + random.uniform(0.05, 0.25) * _cloud(here, random.uniform(4, 15), random), 0.2, 1.3)
    return _opaque(here, np.clip(shape * within * density * texture, 0, 1), random)


def _infiltrate(here: Scene, size: float, random: np.random.Generator) -> Floats:
    cover = np.zeros(here.grey.shape, np.float32)
    for _ in range(int(random.integers(1, 6))):
        lung = here.side(random)
        blot = _patch(here, lung, (random.uniform(0.06, 0.25), random.uniform(0.15, 0.5)), random)
        cover = np.maximum(cover, blot * _soft(lung, 2 * here.mm) * (0.15 + 0.35 * size) * random.uniform(0.7, 1.0))
    texture = np.clip(1 + random.uniform(0.2, 0.5) * _cloud(here, random.uniform(2, 8), random), 0, 1.8)
    return _opaque(here, np.clip(cover * texture, 0, 1), random, 0.3)


def _edema(here: Scene, size: float, random: np.random.Generator) -> Floats:
    cover = np.zeros(here.grey.shape, np.float32)
    density = 0.2 + 0.55 * size
    height, width = random.uniform(0.2, 0.45), random.uniform(0.3, 0.8)
    for lung in (here.lungs.left, here.lungs.right):
        top, _, bottom, _ = _box(lung)
        down = ((here.down - top) / (bottom - top) - random.uniform(0.5, 0.65)) / height
        haze = np.exp(-0.5 * (down**2 + (_outward(here, lung) / width) ** 2))
        cover = np.maximum(cover, haze * _soft(lung, 3 * here.mm) * density * random.uniform(0.75, 1.0))
    texture = np.clip(1 + random.uniform(0.1, 0.4) * _cloud(here, random.uniform(2, 10), random), 0.1, 1.8)
    return _opaque(here, np.clip(cover * texture, 0, 1), random, random.uniform(0.0, 0.6))


def _cardiomegaly(here: Scene, size: float, random: np.random.Generator) -> Floats:
    """The lower middle is pulled apart; the chest's walls stay."""
    both = here.lungs.left | here.lungs.right
    top, left, bottom, right = _box(both)
    amount = 0.15 + 0.40 * size
    to_left = amount * random.uniform(0.4, 1.0)
    middle = float(here.lungs.middle)
    row = np.clip((here.down - top) / (bottom - top), 0, 1.4)
    zone = 1 / (1 + np.exp(-(row - 0.45) / 0.07)) / (1 + np.exp((row - 1.05) / 0.05))
    offset = here.across - middle
    half = np.where(offset > 0, right - middle, middle - left)
    share = np.clip(np.abs(offset) / np.maximum(half, 1), 0, 1)
    pull = np.where(offset > 0, amount, to_left) * zone * (1 - share**2) ** 2
    source = np.asarray(middle + offset * (1 - pull), np.float32)
    grey = cv2.remap(here.grey, source, here.down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(grey, np.float32)


def _atelectasis(here: Scene, size: float, random: np.random.Generator) -> Floats:
    lung = here.side(random)
    top, left, bottom, right = _box(lung)
    within = _soft(lung, 2 * here.mm)
    cover = np.zeros(here.grey.shape, np.float32)
    density = (0.3 + 0.6 * size) * random.uniform(0.7, 1.0)
    if random.random() < 0.65:  # plates
        for _ in range(int(random.integers(1, 4))):
            row, column = top + random.uniform(0.5, 0.92) * (bottom - top), random.uniform(left, right)
            tilt, bend = np.deg2rad(random.uniform(-30, 30)), random.uniform(-0.002, 0.002) / here.mm
            along = (here.across - column) * np.cos(tilt) + (here.down - row) * np.sin(tilt)
            beside = (here.down - row) * np.cos(tilt) - (here.across - column) * np.sin(tilt) + bend * along**2
            length, thick = random.uniform(15, 55) * here.mm, (1.5 + 3.5 * size * random.random()) * here.mm
            end = 1 + np.exp(np.clip((np.abs(along) - length) / (5 * here.mm), -30, 30))
            cover = np.maximum(cover, np.exp(-0.5 * (beside / thick) ** 2) / end)
    else:  # the base has lost volume: dense, and drawn to the heart
        surface = bottom - (bottom - top) * (0.08 + 0.22 * size) * (1.6 - 1.4 * _outward(here, lung))
        cover = 1 / (1 + np.exp(np.clip((surface - here.down) / (random.uniform(2, 8) * here.mm), -30, 30)))
    texture = np.clip(1 + 0.15 * _cloud(here, 6, random), 0.3, 1.4)
    return _opaque(here, np.clip(cover * within * density * texture, 0, 1), random)


_PAINTERS: dict[str, Callable[[Scene, float, np.random.Generator], Floats]] = {
    "pleural_effusion": _effusion,
    "pneumothorax": _pneumothorax,
    "nodule": _nodule,
    "mass": _mass,
    "consolidation": _consolidation,
    "lung_opacity": _infiltrate,
    "edema": _edema,
    "cardiomegaly": _cardiomegaly,
    "atelectasis": _atelectasis,
}
