"""The borders of the two lungs, row by row and column by column, and the landmarks that follow from them.

Everything lies in a square frame of SIDE pixels. "Right" and "left" are the patient's: the right lung lies at the picture's
left. A border that is not there is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from radpipe.anatomy import pixels

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Doubles = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

SIDE = 256
LEAST_SHARE = 0.012
"""Of the frame: a smaller region is no lung."""


@dataclass(frozen=True, slots=True)
class Lung:
    """One lung field. Rows and columns are pixels of the frame; edges are end-exclusive on the right and below."""

    right: bool  # the patient's right lung
    mask: Mask
    medial: Doubles  # (SIDE,) column of the medial border in each row; NaN where there is no lung
    lateral: Doubles
    bottom: Doubles  # (SIDE,) row below the lung in each column; NaN where there is no lung
    top: int
    end: int  # row below the lowest point

    @property
    def height(self) -> int:
        """Apex to lowest point."""
        return self.end - self.top

    @property
    def area(self) -> int:
        return int(self.mask.sum())

    @property
    def width(self) -> float:
        """Mean over the rows of its lower half."""
        rows = slice((self.top + self.end) // 2, self.end)
        return pixels.mean(np.abs(self.medial[rows] - self.lateral[rows]))

    def row(self, share: float) -> int:
        """The row at this share of the height: 0 is the apex, 1 the lowest point."""
        return int(np.clip(round(self.top + share * (self.height - 1)), self.top, self.end - 1))

    @property
    def outward(self) -> int:
        """Direction of the lateral side along a row: -1 towards the picture's left."""
        return -1 if self.right else 1

    def dome(self, base: float) -> tuple[float, float]:
        """The highest point of the diaphragm (row, column): of the lung's lower border between the column `base` of the
        cardiophrenic angle and the lateral fifth. NaN, NaN if that is too short."""
        _, tip = self.tip()
        low, high = sorted((base, tip - self.outward * 0.2 * abs(tip - base)))
        if not np.isfinite(low + high):
            return np.nan, np.nan
        columns = np.arange(max(int(low), 0), min(int(high) + 1, SIDE))
        columns = columns[np.isfinite(self.bottom[columns])]
        if len(columns) < 6:
            return np.nan, np.nan
        column = int(columns[np.argmin(self.bottom[columns])])
        return float(self.bottom[column]), float(column)

    def tip(self) -> tuple[float, float]:
        """The costophrenic angle (row, column): the lowest, most lateral point."""
        rows, columns = np.nonzero(self.mask)
        far = rows + 0.7 * self.outward * columns
        best = int(np.argmax(far))
        return float(rows[best]), float(columns[best])

    def corner(self, first_row: int) -> tuple[float, float, float]:
        """The cardiophrenic angle: row and column of the point below `first_row` that sticks out furthest beyond the chord
        from the hilum to the costophrenic angle, and by how much (pixels; near 0 where heart and diaphragm run into one
        line)."""
        hilum_row = self.row(0.45)
        hilum = np.array([hilum_row, self.medial[hilum_row]])
        along = np.array(self.tip()) - hilum
        length = float(np.hypot(*along))
        rows, columns = np.nonzero(self.mask)
        below = rows >= first_row
        if not np.isfinite(length) or length < 5 or not below.any():
            return np.nan, np.nan, 0.0
        normal = np.array([along[1], -along[0]]) / length
        if normal[1] * self.outward > 0:
            normal = -normal
        out = (rows[below] - hilum[0]) * normal[0] + (columns[below] - hilum[1]) * normal[1]
        best = int(np.argmax(out))
        return float(rows[below][best]), float(columns[below][best]), float(out[best])


@dataclass(frozen=True, slots=True)
class Borders:
    """Both lungs and what lies between them."""

    right: Lung
    left: Lung
    tilt: float  # columns per row by which the middle leans
    middle: Doubles  # (SIDE,) column of the mediastinum's middle in each row, a straight line

    @property
    def thorax(self) -> tuple[float, float]:
        """Columns of the two lateral borders where each is widest."""
        return float(np.nanmin(self.right.lateral)), float(np.nanmax(self.left.lateral))

    @property
    def width(self) -> float:
        """Of the thorax, inside the ribs, where it is widest."""
        low, high = self.thorax
        return high - low

    @property
    def top(self) -> int:
        return min(self.right.top, self.left.top)

    @property
    def end(self) -> int:
        return max(self.right.end, self.left.end)


def lung(mask: Mask, *, right: bool) -> Lung | None:
    """The borders of one field (SIDE, SIDE); None if it is too small to be a lung."""
    field = pixels.largest_part(mask)
    if field.mean() < LEAST_SHARE:
        return None
    rows = np.flatnonzero(field.any(axis=1))
    first, last = _ends(field)
    bottom = np.full(field.shape[1], np.nan)
    columns = np.flatnonzero(field.any(axis=0))
    bottom[columns] = field.shape[0] - np.argmax(field[::-1, columns], axis=0)
    medial, lateral = (last, first) if right else (first, last)
    field.setflags(write=False)
    return Lung(right, field, medial, lateral, bottom, int(rows[0]), int(rows[-1]) + 1)


def borders(right: Lung, left: Lung) -> Borders:
    """The two lungs together. The middle is a line through the upper two fifths, where no heart pushes the borders."""
    low = max(right.top, left.top)
    high = low + max(round(0.4 * max(right.height, left.height)), 4)
    rows = np.arange(low, min(high, SIDE))
    middles = (right.medial[rows] + left.medial[rows]) / 2
    seen = np.isfinite(middles)
    if seen.sum() >= 8:
        slope = float(np.clip(np.polyfit(rows[seen], middles[seen], 1)[0], -0.25, 0.25))
        anchor_row, anchor = float(rows[seen].mean()), float(np.median(middles[seen]))
    else:  # no common rows
        slope, anchor_row = 0.0, float(low)
        anchor = (pixels.mean(right.medial) + pixels.mean(left.medial)) / 2
    # what leans in the upper part may be the aorta: only half of it is believed
    slope *= 0.5
    middle = np.asarray(anchor + slope * (np.arange(SIDE) - anchor_row), np.float64)
    return Borders(right, left, slope, middle)


def _ends(field: Mask) -> tuple[Doubles, Doubles]:
    """First column and the one behind the last, of every row; NaN where the row is empty."""
    first = np.argmax(field, axis=1).astype(np.float64)
    last = (field.shape[1] - np.argmax(field[:, ::-1], axis=1)).astype(np.float64)
    empty = ~field.any(axis=1)
    first[empty] = last[empty] = np.nan
    return first, last
