"""Where the lungs lie in a frontal chest radiograph, without a trained network: a drawn pair of lung shapes is laid where it
fits best, and what is dark around it is taken. Crude, and good enough to say where a lesion may be painted.

Checked against the drawn masks of OpenIST (`tests/test_train.py`), which are used for nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SIDE = 128
"""Pixels of the square in which the lungs are looked for."""

LEAST_SHARE, LARGEST_SHARE = 0.04, 0.30
"""Of the picture, one lung: what is found outside of this is no lung."""


@dataclass(frozen=True, slots=True)
class Lungs:
    """The two lung fields as (rows, columns) masks; left and right are of the picture, not of the patient."""

    left: Mask
    right: Mask
    middle: int  # column between them


def find_lungs(grey: Floats) -> Lungs | None:
    """The lung fields of `grey` (rows, columns), 0..1, bright = dense; None where they are not found."""
    reduced = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    small = np.asarray(cv2.GaussianBlur(reduced, (0, 0), 1.2), np.float32)
    best, laid = -1.0, np.zeros((SIDE, SIDE), np.float32)
    local = small - cv2.GaussianBlur(small, (0, 0), 0.35 * SIDE)
    margin = SIDE // 8
    padded = cv2.copyMakeBorder(-local, margin, margin, margin, margin, cv2.BORDER_REFLECT)
    for height in np.arange(0.50, 0.96, 0.06):
        for width in np.arange(0.60, 0.97, 0.06):
            template = drawn_lungs(round(height * SIDE), round(width * SIDE))
            fit = cv2.matchTemplate(padded, template, cv2.TM_CCOEFF_NORMED)
            _, score, _, (column, row) = cv2.minMaxLoc(fit)
            score += 0.10 * height  # of equal fits the larger: a part of a lung fits well, too
            if score > best:
                best = score
                frame = np.zeros_like(padded)
                frame[row : row + template.shape[0], column : column + template.shape[1]] = template
                laid = np.asarray(frame[margin:-margin, margin:-margin], np.float32)
                middle = column + template.shape[1] / 2 - margin
    fields = [_refined(small, laid, side, int(np.clip(middle, 1, SIDE - 1))) for side in (0, 1)]
    shares = [float(field.mean()) for field in fields]
    if not LEAST_SHARE < min(shares) <= max(shares) < min(LARGEST_SHARE, 2 * min(shares)):
        return None
    rows, columns = grey.shape
    large = [cv2.resize(field.astype(np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC) > 0.5 for field in fields]
    return Lungs(large[0], large[1], round(middle * columns / SIDE))


def drawn_lungs(rows: int, columns: int) -> Floats:
    """A pair of lungs that fills (rows, columns): pointed at the top, cut by the heart and the diaphragm; 1 inside."""
    down, across = np.mgrid[0:rows, 0:columns].astype(np.float32)
    down, across = (down + 0.5) / rows, np.abs((across + 0.5) / columns - 0.5) * 2
    lateral = 0.98 * np.sqrt(np.clip(1 - ((down - 0.80) / 0.84) ** 2, 0, 1)) ** 0.9
    medial = 0.20 + 0.10 * np.clip((down - 0.45) / 0.5, 0, 1)
    floor = 0.84 + 0.16 * np.clip((across - 0.45) / 0.5, 0, 1) ** 1.5
    inside = (across < lateral) & (across > medial) & (down < floor)
    return np.asarray(cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1.0), np.float32)


def _refined(small: Floats, laid: Floats, side: int, middle: int) -> Mask:
    """One lung: what is darker than its surroundings within reach of the laid shape."""
    half = np.zeros((SIDE, SIDE), bool)
    half[:, :middle] = side == 0
    half[:, middle:] = side == 1
    shape = (laid > 0.5) & half
    if shape.sum() < 50:
        return shape
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (17, 17))
    reach = (cv2.dilate(shape.astype(np.uint8), kernel) > 0) & half
    core = cv2.erode(shape.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))) > 0
    inner = float(np.median(small[core])) if core.any() else float(np.median(small[shape]))
    ring = reach & ~shape
    outer = float(np.percentile(small[ring], 70)) if ring.any() else 1.0
    dark = (small < inner + 0.5 * max(outer - inner, 0.02)) & reach
    rough = (dark | core).astype(np.uint8)
    opened = cv2.morphologyEx(rough, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)))
    found = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13)))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found)
    if count < 2:
        return shape
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return np.asarray(labels == largest)
