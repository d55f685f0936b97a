"""Where things are in a frontal chest radiograph, and what can be measured there, from the probabilities of the two lungs.

Pure: lung probabilities (`models.lungs`) and the grey picture in, an `Anatomy` out. Both lie in the same square frame, that
of `preprocess`, of any size; coordinates are fractions (0..1) of it. "Right" and "left" are the patient's.

Nothing is measured that cannot be seen: the cardiothoracic ratio is None, with the reason, where a lung is missing, the
heart's border has no contrast or the chest is cut off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from radpipe.anatomy import heart, measures, pixels, quality
from radpipe.anatomy.borders import SIDE, Borders, Lung, borders, lung
from radpipe.anatomy.heart import HeartToThorax
from radpipe.anatomy.lines import Line, lines
from radpipe.anatomy.names import NAMES
from radpipe.anatomy.places import Place, frame, place, place_of_patches
from radpipe.anatomy.quality import Note
from radpipe.finding import Measurement

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.bool_]

__all__ = [
    "NAMES",
    "Anatomy",
    "HeartToThorax",
    "Line",
    "Note",
    "Place",
    "anatomy",
    "frame",
    "lines",
    "place",
    "place_of_patches",
]

THRESHOLD = 0.5

RATIO_LIMITS_OF_AGREEMENT = (-0.044, 0.034)
"""Bland and Altman's 95 % limits of the difference to the ratio by the same rule on drawn lung masks: OpenIST, n and
figures in weights/chest-lungs/card.toml. A reader's ruler was not compared."""

HEART_BELOW = 0.12
"""How far the heart reaches below its widest row, share of the lungs' height: where the box of it ends."""

ALIKE = 0.40
"""One lung's area over the other's below which one of them is taken as not found or not whole."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The chest of one radiograph. Masks are (SIDE, SIDE) read-only, the patient's right lung first."""

    fields: Mask  # (2, SIDE, SIDE)
    complete: bool  # both lungs found, in likely proportion, inside the picture
    why: str  # in words, also where complete
    ratio: HeartToThorax | None  # cardiothoracic, with its evidence; None where it cannot be measured
    no_ratio: str  # the reason; "" where there is a ratio
    notes: tuple[Note, ...]  # image quality; empty where no two lungs are found
    measures: Mapping[str, float]  # scale-free numbers by name (see `measures`); NaN where one cannot be measured
    thorax: tuple[float, float, float, float] | None  # box that holds both lungs: top, left, bottom, right

    @property
    def heart(self) -> tuple[float, float, float, float] | None:
        """Box of the heart between the columns that the ratio was measured at: top, left, bottom, right as fractions."""
        if self.ratio is None or self.thorax is None:
            return None
        top, _, bottom, _ = self.thorax
        height = bottom - top
        base = min(max(self.ratio.heart_rows) + HEART_BELOW * height, bottom)
        return top + heart.BELOW_CARINA * height, self.ratio.heart[0], base, self.ratio.heart[1]

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the image as a radiograph, in words."""
        return tuple(note.words for note in self.notes if note.fault)

    @property
    def measurement(self) -> Measurement | None:
        """The cardiothoracic ratio for a report's evidence."""
        if self.ratio is None:
            return None
        low, high = RATIO_LIMITS_OF_AGREEMENT
        right, left = self.ratio.heart
        wall_right, wall_left = self.ratio.thorax
        return Measurement(
            name="cardiothoracic_ratio",
            value=round(self.ratio.ratio, 3),
            unit="1",
            basis=(
                f"heart {left - right:.3f} over thorax {wall_left - wall_right:.3f} of the frame's width, from lung masks; "
                f"95 % limits of agreement with drawn lungs {low:+.3f} to {high:+.3f}"
            ),
        )


def anatomy(probabilities: npt.NDArray[np.float32], grey: npt.NDArray[np.float32]) -> Anatomy:
    """What the lungs tell of the chest. `probabilities` (2, H, W), 0..1, the patient's right lung (picture's left) first;
    `grey` (h, w), bright = dense, any range. Raises ValueError for other shapes, never on what the picture shows.
    """
    if probabilities.ndim != 3 or len(probabilities) != 2 or grey.ndim != 2:
        raise ValueError(f"two lungs and one picture are needed, not {probabilities.shape} and {grey.shape}")
    picture = pixels.resized(np.nan_to_num(grey), SIDE, SIDE)
    low, high = float(picture.min()), float(picture.max())
    picture = (picture - low) / max(high - low, 1e-6)
    rough = [pixels.resized(field, SIDE, SIDE) > THRESHOLD for field in probabilities]
    right, left = lung(rough[0], right=True), lung(rough[1], right=False)
    fields = np.stack([found.mask if found else np.zeros((SIDE, SIDE), bool) for found in (right, left)])
    fields.setflags(write=False)
    if right is None or left is None:
        missing = "no lungs" if right is None and left is None else f"no {'right' if right is None else 'left'} lung"
        return Anatomy(fields, False, f"{missing} found", None, f"{missing} found", (), _unmeasured(), _box(fields))
    found = borders(right, left)
    standard = heart.standardised(picture, found)
    sides = heart.sides(found, standard)
    said = quality.notes(found, picture)
    why = _incomplete(right, left, said)
    unseen = why or _unseen(found, sides)
    ratio = None if unseen else heart.ratio(found, *sides)
    numbers = measures.measured(found, standard, sides)
    return Anatomy(
        fields=fields,
        complete=not why,
        why=why or "both lungs found",
        ratio=ratio,
        no_ratio=unseen,
        notes=said,
        measures=MappingProxyType(numbers),
        thorax=_box(fields),
    )


def _incomplete(right: Lung, left: Lung, said: tuple[Note, ...]) -> str:
    """Why the chest is not whole, or ""."""
    if np.nanmean(right.medial) >= np.nanmean(left.medial):
        return "the two fields lie the wrong way round"
    if min(right.area, left.area) < ALIKE * max(right.area, left.area):
        small = "right" if right.area < left.area else "left"
        return f"the {small} lung is much smaller than the other: it is not found, not whole or collapsed"
    cut = next(note for note in said if note.name == "cut_off")
    return cut.words if cut.fault else ""


def _unseen(found: Borders, sides: tuple[heart.Side, heart.Side]) -> str:
    """Why the heart cannot be measured, or ""."""
    for side, name in zip(sides, ("right", "left"), strict=True):
        if not np.isfinite(side.extent):
            return f"the heart's {name} border was not found"
        if not side.contrast >= heart.LEAST_CONTRAST:
            return f"the heart's {name} border cannot be seen: what lies beside it is as dense"
    for lung_, name in ((found.right, "right"), (found.left, "left")):
        walls = lung_.lateral[lung_.row(0.5) : lung_.end]
        if not np.isfinite(walls).any():
            return f"the {name} wall of the thorax was not found"
    return ""


def _box(fields: Mask) -> tuple[float, float, float, float] | None:
    """Of both lungs, as fractions; None without any."""
    rows, columns = np.flatnonzero(fields.any(axis=(0, 2))), np.flatnonzero(fields.any(axis=(0, 1)))
    if not len(rows):
        return None
    return rows[0] / SIDE, columns[0] / SIDE, (rows[-1] + 1) / SIDE, (columns[-1] + 1) / SIDE


def _unmeasured() -> Mapping[str, float]:
    return MappingProxyType(dict.fromkeys(NAMES, float("nan")))
