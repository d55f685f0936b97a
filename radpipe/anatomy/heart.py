"""The cardiothoracic ratio: the widest way of the heart's borders from the midline, right and left, over the widest inner
width of the thorax (Danzer 1919, Am J Med Sci 157:513). It is a measurement with its own evidence, or it is none: where
a lung is missing, a border of the heart cannot be seen, or the lungs' bases lie outside of the picture, it is not given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from radpipe.anatomy import pixels
from radpipe.anatomy.borders import SIDE, Borders, Lung

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Doubles = npt.NDArray[np.float64]

BELOW_CARINA = 0.38
"""Share of the lung's height below its apex from which on the heart makes the medial border."""

LEAST_CONTRAST = 0.05
"""Rise of the grey across a border of the heart (share of the thorax's grey range) below which the border is not seen."""


LEAST_CORNER = 0.025
"""Of the frame: what sticks out less is no cardiophrenic angle."""


DEEPER = 0.05
"""Of the lung's height: how much deeper than on the right the heart is looked for on the left. What looks like a
cardiophrenic angle below that is most often the diaphragm's lateral part. Of five settings (none, 0, 0.03, 0.06, 0.10) the
AUC of the ratio for cardiomegaly fell from 0.88 at 0 to 0.85 at none, among the mostly ill of cxr/nih."""


@dataclass(frozen=True, slots=True)
class Side:
    """One border of the heart."""

    extent: float  # pixels from the midline to the border where it is furthest
    row: int
    column: float
    base: int  # the last row that is looked at: below it lies the diaphragm
    base_column: float
    contrast: float  # rise of the grey across the border, share of the thorax's range


@dataclass(frozen=True, slots=True)
class HeartToThorax:
    """The ratio and what it was measured between. Coordinates are fractions (0..1) of the frame, so that it can be drawn."""

    ratio: float
    heart: tuple[float, float]  # columns of the right and the left border
    heart_rows: tuple[float, float]  # where each was taken
    middle: tuple[float, float]  # columns of the midline in those rows
    thorax: tuple[float, float]  # columns of the lateral walls
    thorax_rows: tuple[float, float]


def sides(found: Borders, standard: Floats, deeper: float = DEEPER) -> tuple[Side, Side]:
    """The right and the left border of the heart. `standard` (SIDE, SIDE): grey over the thorax's range; `deeper`: see
    DEEPER."""
    right, left = bases(found, deeper)
    return _side(found, found.right, right, standard), _side(found, found.left, left, standard)


def ratio(found: Borders, right: Side, left: Side) -> HeartToThorax:
    """Put together. Raises nothing; NaN where a border is NaN."""
    low, high = found.thorax
    return HeartToThorax(
        ratio=(right.extent + left.extent) / (high - low),
        heart=(right.column / SIDE, left.column / SIDE),
        heart_rows=((right.row + 0.5) / SIDE, (left.row + 0.5) / SIDE),
        middle=(float(found.middle[right.row]) / SIDE, float(found.middle[left.row]) / SIDE),
        thorax=(low / SIDE, high / SIDE),
        thorax_rows=(
            (int(np.nanargmin(found.right.lateral)) + 0.5) / SIDE,
            (int(np.nanargmax(found.left.lateral)) + 0.5) / SIDE,
        ),
    )


def bases(found: Borders, deeper: float = DEEPER) -> tuple[tuple[int, float], tuple[int, float]]:
    """Row and column, right and left, down to which the medial border is the heart's; below it may be the diaphragm's.

    That is the cardiophrenic angle where there is one. On the left heart and diaphragm often run into one line: then the
    height of the right dome says how deep the heart is looked for.
    """
    right, left = found.right, found.left
    row, column, sharp = right.corner(right.row(0.55))
    if not (np.isfinite(row) and sharp >= LEAST_CORNER * SIDE):
        row = right.row(0.85)
        column = float(right.medial[int(row)])
    dome, _ = right.dome(column)
    limit = float(np.clip(dome if np.isfinite(dome) else left.row(0.80), left.row(0.60), left.row(0.95)))
    low, _, sharp = left.corner(int(max(limit - 0.05 * left.height, left.row(0.55))))
    if not (np.isfinite(low) and sharp >= LEAST_CORNER * SIDE):
        low = limit
    low = min(low, row + deeper * left.height, left.end - 1)
    return (int(row), column), (int(low), float(left.medial[int(low)]))


def _side(found: Borders, lung: Lung, corner: tuple[int, float], standard: Floats) -> Side:
    base = corner[0]
    start = min(lung.row(BELOW_CARINA), base - 2)
    rows = np.arange(max(start, 0), min(base + 1, SIDE))
    way = (lung.medial[rows] - found.middle[rows]) * lung.outward
    if not np.isfinite(way).any():
        return Side(np.nan, start, np.nan, base, corner[1], np.nan)
    best = int(np.nanargmax(way))
    return Side(
        extent=float(max(way[best], 0.0)),
        row=int(rows[best]),
        column=float(lung.medial[rows[best]]),
        base=base,
        base_column=corner[1],
        contrast=min(
            contrast(standard, lung.medial, rows, -lung.outward),
            contrast(standard, lung.medial, rows[np.abs(rows - rows[best]) <= 0.12 * lung.height], -lung.outward),
        ),
    )


def contrast(standard: Floats, edge: Doubles, rows: npt.NDArray[np.int64], towards: int) -> float:
    """Rise of the grey across a border (columns, one a row), in the direction `towards` (-1: the picture's left): the median
    over the rows of the mean of a band behind it less that of one before it."""
    seen = rows[np.isfinite(edge[rows])]
    if len(seen) < 4:
        return float("nan")
    steps = np.arange(2, 9)
    behind, before = (
        standard[seen[:, None], np.clip(np.round(edge[seen, None] + sign * towards * steps[None]), 0, SIDE - 1).astype(int)]
        for sign in (1, -1)
    )
    return float(np.median(behind.mean(axis=1) - before.mean(axis=1)))


def standardised(grey: Floats, found: Borders) -> Floats:
    """The grey (SIDE, SIDE) over its range in the thorax: 0 at its 2nd and 1 at its 98th percentile, not clipped."""
    chest = pixels.hull(found.right.mask | found.left.mask)
    low, high = np.percentile(grey[chest], (2, 98))
    return np.asarray((grey - low) / max(float(high - low), 1e-3), np.float32)
