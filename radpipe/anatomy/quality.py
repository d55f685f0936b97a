"""What an image's quality is, as far as the lungs tell: each a number, a bound and words, never a refusal.

The bounds are percentiles of our own radiographs (`weights/chest-lungs/record`), not of readers' opinions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from radpipe.anatomy import pixels
from radpipe.anatomy.borders import SIDE, Borders

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

ROTATION_LIMIT = 0.20
"""Of the asymmetry of the lungs' upper widths, beyond which rotation is said."""

LEAN_LIMIT_DEG = 12.0
SLIMNESS_LIMIT = 0.62
"""Height of the lungs over the width of the thorax, in a frame that is filled without regard to the aspect ratio."""

CUT_LIMIT = 0.12
"""Share of a lung's border that may lie on the edge of the picture."""

DARK_LIMIT, PALE_LIMIT = 0.10, 0.85
CONTRAST_LIMIT = 0.15


@dataclass(frozen=True, slots=True)
class Note:
    """One property of the image. `fault` is True where it is beyond its limit."""

    name: str
    value: float
    limit: float
    fault: bool
    words: str


def notes(found: Borders, grey: Floats) -> tuple[Note, ...]:
    """Rotation, leaning, cut-off, inspiration, exposure; `grey` (SIDE, SIDE), 0..1."""
    return (_rotation(found), _leaning(found), _cut(found), _inspiration(found), *_exposure(found, grey))


def _rotation(found: Borders) -> Note:
    """The side that is turned away from the detector looks narrower above the heart. A proxy: the clavicles are not looked
    for, and scoliosis or loss of volume look alike."""
    rows = np.arange(found.top, found.end)
    rows = rows[
        (rows >= max(found.right.row(0.1), found.left.row(0.1))) & (rows <= min(found.right.row(0.4), found.left.row(0.4)))
    ]
    widths = [pixels.mean(np.abs(lung.medial[rows] - lung.lateral[rows])) for lung in (found.right, found.left)]
    value = (widths[0] - widths[1]) / max(widths[0] + widths[1], 1e-3)
    fault = bool(np.isfinite(value) and abs(value) > ROTATION_LIMIT)
    wider = "right" if value > 0 else "left"
    words = f"the {wider} lung looks wider: the patient may be rotated" if fault else "no sign of rotation"
    return Note("rotation", float(value), ROTATION_LIMIT, fault, words)


def _leaning(found: Borders) -> Note:
    degrees = float(np.rad2deg(np.arctan(2 * found.tilt)))  # half of the slope is believed; see borders
    fault = abs(degrees) > LEAN_LIMIT_DEG
    words = f"the chest leans by about {abs(degrees):.0f} degrees" if fault else "upright"
    return Note("leaning_deg", degrees, LEAN_LIMIT_DEG, fault, words)


def _cut(found: Borders) -> Note:
    """Share of the lungs' border pixels that lie on the edge of the frame, the larger of the two lungs."""
    shares, edges = [], []
    for lung in (found.right, found.left):
        rim = lung.mask & (pixels.depth(np.pad(lung.mask, 1, mode="edge"))[1:-1, 1:-1] <= 1.5)
        frame = np.zeros_like(rim)
        frame[[0, -1]] = frame[:, [0, -1]] = True
        on = lung.mask & frame
        shares.append(float(on.sum()) / max(float((rim | on).sum()), 1.0))
        for name, line in (("top", on[0]), ("bottom", on[-1]), ("side", on[:, 0] | on[:, -1])):
            if line.sum() > 0.02 * SIDE and name not in edges:
                edges.append(name)
    value = max(shares)
    fault = value > CUT_LIMIT
    words = (
        f"part of a lung lies outside of the picture ({' and '.join(edges) or 'edge'})"
        if fault
        else "both lungs are in the picture"
    )
    return Note("cut_off", value, CUT_LIMIT, fault, words)


def _inspiration(found: Borders) -> Note:
    value = (found.end - found.top) / found.width
    fault = value < SLIMNESS_LIMIT
    words = (
        "the lungs are low for their width: a shallow breath, or a portable film" if fault else "no sign of a shallow breath"
    )
    return Note("inspiration", value, SLIMNESS_LIMIT, fault, words)


def _exposure(found: Borders, grey: Floats) -> tuple[Note, ...]:
    """Where the lungs lie in the picture's grey range, and how far they stand off from what surrounds them."""
    lungs = found.right.mask | found.left.mask
    around = pixels.hull(lungs) & ~lungs
    inside = float(np.median(grey[lungs]))
    outside = float(np.median(grey[around])) if around.sum() > 50 else float("nan")
    contrast = outside - inside
    dark, pale = inside < DARK_LIMIT, inside > PALE_LIMIT
    words = "the lungs are almost black" if dark else "the lungs are almost white" if pale else "the lungs' grey is in range"
    weak = not contrast >= CONTRAST_LIMIT
    return (
        Note("exposure", inside, DARK_LIMIT if dark else PALE_LIMIT, dark or pale, words),
        Note("contrast", contrast, CONTRAST_LIMIT, weak, "the lungs hardly stand off" if weak else "the lungs stand off"),
    )
