"""A chest drawn from a few curves, for tests of anatomy: every border is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIDE = 256
WALLS = (40.0, 216.0)
MIDDLE = 128.0


def drawn_chest(
    heart_right: float = 22.0, heart_left: float = 50.0, side: int = SIDE
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Lung masks (2, side, side), the patient's right first, and grey (side, side), bright = dense. The heart reaches so
    many pixels of 256 from the midline; the thorax is 176 wide."""
    row, column = ((np.mgrid[0:side, 0:side] + 0.5) * SIDE / side).astype(np.float64)
    share = np.clip((row - 40) / 160, 0, 1)  # 0 at the apices, 1 at the bases
    bulge = np.clip((share - 0.35) / 0.4, 0, 1) ** 0.8
    lateral = 34 + 54 * np.clip(share / 0.7, 0, 1) ** 0.5
    fields = []
    for sign, reach, floor in ((-1, heart_right, 178.0), (1, heart_left, 186.0)):
        out = (column - MIDDLE) * sign
        medial = 13 + (reach - 13) * bulge
        dome = floor + 26 * np.clip((out - 62) / 26, 0, 1) ** 2
        fields.append((row > 40) & (out > medial) & (out < lateral) & (row < dome))
    masks = np.stack(fields).astype(np.float32)
    body = (np.abs(column - MIDDLE) < 104) & (row > 16)
    grey = np.where(body, 0.75, 0.02)
    grey = np.where(masks.any(axis=0), 0.22 + 0.03 * np.sin(row / 4), grey)
    return masks, grey.astype(np.float32)
