"""What to draw on a picture so that a measurement can be checked by eye: the outlines of the lungs, the lines of the ratio.

Points are (x, y) as fractions (0..1) of the frame, x to the right, y downwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from radpipe.anatomy import pixels

if TYPE_CHECKING:
    import numpy.typing as npt

    from radpipe.anatomy.heart import HeartToThorax

POINTS = 80


class Line(NamedTuple):
    """One line to draw."""

    name: str  # "right lung", "left lung", "heart", "thorax"
    points: tuple[tuple[float, float], ...]
    closed: bool


class Chest(Protocol):
    """What is needed of an `Anatomy`."""

    @property
    def fields(self) -> npt.NDArray[np.bool_]: ...

    @property
    def ratio(self) -> HeartToThorax | None: ...


def lines(chest: Chest) -> tuple[Line, ...]:
    """The outlines of the lungs that were found, then, where there is a ratio, the ways across the heart and the thorax."""
    drawn = []
    for field, name in zip(chest.fields, ("right lung", "left lung"), strict=True):
        points = pixels.outline(field, POINTS)
        if points:
            drawn.append(Line(name, points, True))
    if chest.ratio is not None:
        ratio = chest.ratio
        middle = (ratio.middle[0], ratio.middle[1])
        for edge, row, at in zip(ratio.heart, ratio.heart_rows, middle, strict=True):
            drawn.append(Line("heart", ((at, row), (edge, row)), False))
        row = max(ratio.thorax_rows)
        drawn.append(Line("thorax", ((ratio.thorax[0], row), (ratio.thorax[1], row)), False))
    return tuple(drawn)
