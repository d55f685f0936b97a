"""Connected parts of a mask: voxels that touch over faces, edges or corners (26 neighbours).

Works on runs (unbroken stretches of voxels along a row) instead of voxels, because a mask of seventy million voxels has some
hundred thousand runs: two runs of neighbouring rows touch when their columns overlap or meet at a corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of a mask, in order of slice, row, column. All arrays are (runs,) int64."""

    slices: Integers
    rows: Integers
    first: Integers  # column
    last: Integers  # column, inclusive
    part: Integers  # which connected part the run belongs to, from 0; the order of the parts means nothing

    @property
    def lengths(self) -> Integers:
        """Voxels in each run."""
        return self.last - self.first + 1

    @property
    def parts(self) -> int:
        """How many connected parts there are."""
        return int(self.part.max(initial=-1)) + 1


def connected_runs(mask: npt.NDArray[np.bool_]) -> Runs:
    """The runs of `mask` (slices, rows, columns) and the part that each belongs to."""
    slices, rows, first, last = _runs(mask)
    return Runs(slices, rows, first, last, _parts(slices, rows, first, last, mask.shape[1]))


def _runs(mask: npt.NDArray[np.bool_]) -> tuple[Integers, Integers, Integers, Integers]:
    """Slice by slice, so that no array larger than a slice is made beside the mask."""
    found: list[tuple[Integers, Integers, Integers, Integers]] = []
    for number in range(mask.shape[0]):
        plane = mask[number]
        if not plane.any():
            continue
        edges = np.diff(np.pad(plane, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        rows, starts = np.nonzero(edges == 1)
        _, ends = np.nonzero(edges == -1)
        found.append((np.full(len(rows), number), rows, starts, ends - 1))
    if not found:
        empty = np.zeros(0, np.int64)
        return empty, empty, empty, empty
    columns = [np.concatenate([one[axis] for one in found]).astype(np.int64) for axis in range(4)]
    return columns[0], columns[1], columns[2], columns[3]


def _parts(slices: Integers, rows: Integers, first: Integers, last: Integers, height: int) -> Integers:
    if not len(first):
        return np.zeros(0, np.int64)
    width = int(last.max()) + 4  # wide enough that a run never touches one of the next line by its key
    lines = slices * (height + 2) + rows
    starts, ends = lines * width + first, lines * width + last
    pairs = [
        _touching(starts, ends, (slices + ahead) * (height + 2) + rows + below, first, last, width)
        for ahead, below in ((0, 1), (1, -1), (1, 0), (1, 1))
    ]
    here = np.concatenate([pair[0] for pair in pairs])
    there = np.concatenate([pair[1] for pair in pairs])
    return _joined(len(first), here, there)


def _touching(
    starts: Integers, ends: Integers, lines: Integers, first: Integers, last: Integers, width: int
) -> tuple[Integers, Integers]:
    """Pairs of runs (this, other) where the other lies in line `lines[this]` and touches it, also over a corner."""
    low = np.searchsorted(ends, lines * width + first - 1, "left")
    high = np.searchsorted(starts, lines * width + last + 1, "right")
    counts = np.maximum(high - low, 0)
    here = np.repeat(np.arange(len(first)), counts)
    offsets = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return here, np.repeat(low, counts) + offsets


def _joined(count: int, here: Integers, there: Integers) -> Integers:
    """Parts, numbered from 0, of `count` things of which these pairs belong together: every thing takes the smallest number
    that it can see, and follows it to its end, until nothing changes."""
    root = np.arange(count)
    while True:
        low = np.minimum(root[here], root[there])
        before = root.copy()
        np.minimum.at(root, root[here], low)
        np.minimum.at(root, root[there], low)
        while not np.array_equal(followed := root[root], root):
            root = followed
        if np.array_equal(root, before):
            break
    return np.unique(root, return_inverse=True)[1].astype(np.int64)
