"""Words for places: side and zone of a region, and the frame in which the chest is looked at.

Zones are thirds of the lung's height, as on a film without a lateral: "upper", "middle", "lower". They are no lobes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from radpipe.anatomy import pixels
from radpipe.codes import Laterality

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.bool_]

ZONES = ("upper", "middle", "lower")

BOTH = 0.25
"""Share of a region's weight that the smaller side must have before it is called bilateral."""

NEAR = 0.10
"""Share of the frame's height around a lung that still counts as its side: pleura, chest wall, a diaphragm hidden by
fluid."""

MAIN = 0.55
"""Share of a region's weight that a zone must have to be named."""


class Place(NamedTuple):
    """Where a region is; None where that cannot be said."""

    laterality: Laterality | None
    zone: str | None  # "upper", "middle", "lower"


class Fields(Protocol):
    """What is needed of an `Anatomy`."""

    @property
    def fields(self) -> Mask: ...

    @property
    def thorax(self) -> tuple[float, float, float, float] | None: ...


def place(box: tuple[float, float, float, float], chest: Fields) -> Place:
    """Side and zone of a box: top, left, bottom, right as fractions (0..1) of the frame."""
    side = chest.fields.shape[-1]
    weight = np.zeros((side, side), np.float32)
    top, left, bottom, right = (round(float(np.clip(edge, 0, 1)) * side) for edge in box)
    weight[min(top, side - 1) : max(bottom, top + 1), min(left, side - 1) : max(right, left + 1)] = 1.0
    return _placed(weight, chest)


def place_of_patches(strength: npt.NDArray[np.float32], chest: Fields) -> Place:
    """Side and zone of a map of strengths >= 0, (h, w), in the same frame; 0 everywhere is nowhere."""
    side = chest.fields.shape[-1]
    return _placed(pixels.resized(np.clip(np.nan_to_num(strength), 0, None), side, side), chest)


def frame(chest: Fields, margin: float = 0.06) -> tuple[float, float, float, float]:
    """The chest with a margin (share of its size): top, left, bottom, right as fractions of the frame; the whole frame
    where no lungs were found. It ends at the frame's edges."""
    if chest.thorax is None:
        return 0.0, 0.0, 1.0, 1.0
    top, left, bottom, right = chest.thorax
    down, across = margin * (bottom - top), margin * (right - left)
    return max(top - down, 0.0), max(left - across, 0.0), min(bottom + down, 1.0), min(right + across, 1.0)


def _placed(weight: Floats, chest: Fields) -> Place:
    if not chest.fields.any() or weight.sum() <= 0:
        return Place(None, None)
    near = [_near(field) for field in chest.fields]
    totals = [float((weight * reach).sum()) for reach in near]
    whole = sum(totals)
    if whole < 0.05 * float(weight.sum()):
        return Place(None, None)
    inside = float(weight[chest.fields.any(axis=0)].sum())
    laterality: Laterality | None
    if min(totals) >= BOTH * whole:  # in both lungs, or between them, which is neither side
        laterality = Laterality.BILATERAL if inside >= 0.2 * float(weight.sum()) else None
    else:
        laterality = Laterality.RIGHT if totals[0] > totals[1] else Laterality.LEFT
    zones = np.zeros(3)
    for field, reach in zip(chest.fields, near, strict=True):
        rows = np.flatnonzero(field.any(axis=1))
        if len(rows):
            share = (np.arange(field.shape[0]) - rows[0]) / (rows[-1] + 1 - rows[0])
            which = np.clip((share * 3).astype(int), 0, 2)
            zones += np.bincount(which, weights=(weight * reach).sum(axis=1), minlength=3)
    best = int(zones.argmax())
    return Place(laterality, ZONES[best] if zones[best] >= MAIN * zones.sum() else None)


def _near(field: Mask) -> Floats:
    """1 in a lung, fading to 0 around it; nothing where the lung was not found."""
    if not field.any():
        return np.zeros(field.shape, np.float32)
    away = pixels.depth(~field)
    return np.asarray(np.clip(1 - away / (NEAR * field.shape[0]), 0, 1), np.float32)
