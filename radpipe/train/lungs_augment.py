"""Radiographs as the lung segmenter should also be able to read them: opaque lungs, leaning and cropped chests, other
exposure.

What is painted into a lung (`paint`) leaves its mask as it was: so the network learns to complete a lung that cannot be
seen from what can be.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from radpipe.train.lungs import Lungs
from radpipe.train.paint import LUNG_HEIGHT_MM, Scene, paint

Floats = npt.NDArray[np.float32]


def varied(
    picture: npt.NDArray[np.uint8],
    target: npt.NDArray[np.uint8],
    side: int,
    painting: Mapping[str, float],
    random: np.random.Generator,
) -> tuple[Floats, Floats]:
    """One example: grey (side, side), 0..1, and the lungs (2, side, side), 0..1."""
    grey, fields = _moved(picture, target, side, random)
    grey = painted(grey, fields, painting, random)
    grey = exposed(grey, random)
    _cover(grey, fields, random)
    return grey, fields


def painted(grey: Floats, fields: Floats, painting: Mapping[str, float], random: np.random.Generator) -> Floats:
    """With what the draw says in the lungs: `painting` gives the share of pictures for each."""
    here = _scene(grey, fields)
    if here is None:
        return grey
    for what, share in painting.items():
        if random.random() >= share:
            continue
        size = random.random()
        if what == "white_lung":
            grey = _white_lung(here, random)
        elif what == "white_base":
            grey = _white_base(here, random)
        elif what == "bowel_gas":
            grey = _bowel_gas(here, random)
        else:
            grey = paint(what, here, size, random)
        here = Scene(grey, here.lungs, _smooth(grey, here.mm), here.tissue, here.air, here.mm, here.down, here.across)
    return grey


def exposed(grey: Floats, random: np.random.Generator) -> Floats:
    """As other equipment, exposure and processing would show it."""
    grey = np.clip(grey, 0, 1) ** np.float32(np.exp(random.normal(0, 0.35)))
    if random.random() < 0.5:  # scatter, uneven exposure
        field = cv2.resize(
            random.normal(0, 0.10, (3, 3)).astype(np.float32), grey.shape[::-1], interpolation=cv2.INTER_CUBIC
        )
        grey = grey + field
    if random.random() < 0.3:
        coarse = _blurred(grey, random.uniform(10, 40))
        grey = coarse * random.uniform(0.3, 1.0) + (grey - coarse) * random.uniform(0.6, 1.8)
    if random.random() < 0.35:
        grey = _blurred(grey, random.uniform(0.3, 2.2))
    if random.random() < 0.25:
        _lines(grey, random)
    if random.random() < 0.4:
        grey = grey + random.normal(0, random.uniform(0.005, 0.05), grey.shape).astype(np.float32)
    low, high = np.percentile(grey, (random.uniform(0, 1.5), random.uniform(98.5, 100)))
    grey = (grey - low) / max(float(high - low), 1e-3)
    if random.random() < 0.3:
        grey = 0.5 + (grey - 0.5) * random.uniform(0.35, 1.0) + random.uniform(-0.15, 0.15)
    return np.asarray(np.clip(grey, 0, 1), np.float32)


def _moved(
    picture: npt.NDArray[np.uint8], target: npt.NDArray[np.uint8], side: int, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """Turned, zoomed, stretched, shifted, at times mirrored (then the lungs change places)."""
    turn = np.deg2rad(np.clip(random.normal(0, 7), -20, 20))
    zoom = np.exp(random.uniform(-0.28, 0.22))
    stretch = np.exp(random.normal(0, 0.06))
    mirrored = random.random() < 0.3
    linear = zoom * np.array([[np.cos(turn) * stretch, -np.sin(turn)], [np.sin(turn), np.cos(turn) / stretch]])
    if mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    shift = random.normal(0, 0.045, 2)
    border = cv2.BORDER_CONSTANT if random.random() < 0.6 else cv2.BORDER_REPLICATE
    shade = float(random.choice([0.0, 0.0, random.uniform(0, 255)]))

    def warp(image: npt.NDArray[np.uint8], edge: int, value: float) -> Floats:
        scale = side / image.shape[0]
        matrix = np.zeros((2, 3))
        matrix[:, :2] = linear * scale
        centre = (image.shape[0] - 1) / 2
        matrix[:, 2] = (side - 1) / 2 + shift * side - matrix[:, :2] @ np.array([centre, centre])
        return np.asarray(
            cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=edge, borderValue=value),
            np.float32,
        ) / np.float32(255)

    fields = np.stack([warp(field, cv2.BORDER_CONSTANT, 0.0) for field in target])
    return warp(picture, border, shade), fields[::-1].copy() if mirrored else fields


def _scene(grey: Floats, fields: Floats) -> Scene | None:
    left, right = fields[0] > 0.5, fields[1] > 0.5
    if min(left.mean(), right.mean()) < 0.02:
        return None
    both = left | right
    rows, columns = np.flatnonzero(both.any(axis=1)), np.flatnonzero(both.any(axis=0))
    height = float(rows[-1] - rows[0] + 1)
    mm = height / LUNG_HEIGHT_MM
    down, across = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]].astype(np.float32)
    smooth = _smooth(grey, mm)
    around = (down > rows[0] + 0.45 * height) & (down < rows[-1] + 0.1 * height) & ~both
    around &= (across > columns[0]) & (across < columns[-1])
    if around.sum() < 50:
        return None
    tissue, air = float(np.percentile(grey[around], 65)), float(np.percentile(smooth[both], 10))
    middle = round((np.argwhere(left)[:, 1].max() + np.argwhere(right)[:, 1].min()) / 2)
    return Scene(grey, Lungs(left, right, middle), smooth, max(tissue, air + 0.05), air, mm, down, across)


def _white_lung(here: Scene, random: np.random.Generator) -> Floats:
    """One lung as dense as the tissue around it, or almost; nothing says where it ends."""
    lung = here.side(random).astype(np.uint8)
    reach = int(random.integers(0, 9)) * 2 + 1
    cover = _blurred(cv2.dilate(lung, np.ones((reach, reach), np.uint8)).astype(np.float32), random.uniform(1.5, 8))
    shade = here.tissue * random.uniform(0.9, 1.1)
    cover = np.clip(cover * 1.3, 0, 1) * random.uniform(0.75, 1.0)
    return np.asarray(here.grey * (1 - cover) + cover * (shade + 0.3 * (here.grey - here.smooth)), np.float32)


def _white_base(here: Scene, random: np.random.Generator) -> Floats:
    """A veil over everything below a slanting, wavy line, deepest at the bases: supine effusions, obesity, weak exposure."""
    both = here.lungs.left | here.lungs.right
    rows = np.flatnonzero(both.any(axis=1))
    height = rows[-1] - rows[0] + 1
    level = rows[0] + height * random.uniform(0.35, 0.95)
    tilt = random.normal(0, 0.35) * (here.across - here.lungs.middle)
    wave = (
        random.normal(0, 0.05)
        * height
        * np.cos(here.across / here.grey.shape[1] * random.uniform(3, 12) + random.uniform(0, 6))
    )
    edge = height * random.uniform(0.02, 0.18)
    cover = 1 / (1 + np.exp(np.clip((level + tilt + wave - here.down) / edge, -30, 30))) * random.uniform(0.5, 1.0)
    shade = here.tissue * random.uniform(0.9, 1.1)
    return np.asarray(
        here.grey * (1 - cover) + cover * (shade + random.uniform(0, 0.6) * (here.grey - here.smooth)), np.float32
    )


def _bowel_gas(here: Scene, random: np.random.Generator) -> Floats:
    """Stomach and bowel: bubbles as dark as lung, right below the diaphragm, mostly the left one; a thin wall between."""
    lung = here.lungs.right if random.random() < 0.8 else here.lungs.left  # of the picture
    columns = np.flatnonzero(lung.any(axis=0))
    floor = lung.shape[0] - np.argmax(lung[::-1], axis=0)  # row below the lung in each column
    height = float(lung.any(axis=1).sum())
    lateral = columns[len(columns) // 2 :] if lung is here.lungs.right else columns[: (len(columns) + 1) // 2]
    dome = float(floor[lateral].min())  # medial of it the lung ends at the heart, where no bowel lies
    cover = np.zeros(here.grey.shape, np.float32)
    for _ in range(int(random.integers(1, 6))):
        column = int(random.choice(columns))
        wide, high = random.uniform(0.03, 0.16, 2) * height
        row = max(floor[column], dome) + high * random.uniform(0.7, 1.1) + random.uniform(0, 0.12) * height
        turned = random.uniform(-0.6, 0.6)
        across, down = here.across - column, here.down - row
        along, beside = across * np.cos(turned) + down * np.sin(turned), down * np.cos(turned) - across * np.sin(turned)
        bubble = (along / wide) ** 2 + (beside / high) ** 2 < 1
        cover = np.maximum(cover, bubble * random.uniform(0.4, 1.0))
    both = (here.lungs.left | here.lungs.right).astype(np.uint8)
    wall = int(random.integers(2, 6))
    cover[cv2.dilate(both, np.ones((2 * wall + 1,) * 2, np.uint8)) > 0] = 0
    cover = _blurred(cover, random.uniform(0.6, 2.0))
    air = here.air + random.uniform(-0.1, 0.3) * (here.tissue - here.air)
    return np.asarray(here.grey * (1 - cover) + cover * (air + 0.7 * (here.grey - here.smooth)), np.float32)


def _lines(grey: Floats, random: np.random.Generator) -> None:
    """Wires, tubes, markers, in place."""
    side = grey.shape[0]
    drawn = np.zeros(grey.shape, np.uint8)
    for _ in range(int(random.integers(1, 4))):
        points = np.cumsum(random.normal(0, side / 8, (6, 2)), axis=0) + random.uniform(0, side, 2)
        cv2.polylines(
            drawn, [points.astype(np.int32)], False, int(random.integers(90, 255)), int(random.integers(1, 3)), cv2.LINE_AA
        )
    if random.random() < 0.5:
        row, column = random.integers(0, side - 20, 2)
        cv2.putText(drawn, "LRP"[int(random.integers(3))], (int(column), int(row) + 16), 0, 0.6, 255, 2, cv2.LINE_AA)
    cover = drawn.astype(np.float32) / 255
    grey += cover * (1.05 - grey)


def _cover(grey: Floats, fields: Floats, random: np.random.Generator) -> None:
    """Collimation: a black bar at an edge, in place. What lies under it is no lung field."""
    if random.random() > 0.2:
        return
    side = grey.shape[0]
    depth, edge = int(random.uniform(0.01, 0.10) * side) + 1, int(random.integers(4))
    bar = (slice(0, depth), slice(side - depth, side))[edge % 2]
    place = (bar, slice(None)) if edge < 2 else (slice(None), bar)
    grey[place] = 0.0
    fields[(slice(None), *place)] = 0.0


def _smooth(grey: Floats, mm: float) -> Floats:
    return _blurred(grey, 0.05 * LUNG_HEIGHT_MM * mm)


def _blurred(image: npt.NDArray[np.generic], sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma), np.float32)
