"""The same chest looked at again: small differences of position, size, tilt and exposure, made from one image.

No patient was exposed twice for this: the figures say how far a logit moves when nothing but the picture changes, and are a
lower bound of what two real exposures do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]

SHIFT = 0.03  # of the image's size
TURN_DEGREES = 3.0
ZOOM = 0.05
EXPOSURE = 0.10  # gamma, and contrast about the mean


def repeated_view(grey: Floats, random: np.random.Generator) -> Floats:
    """`grey` (rows, columns), 0..1, seen again: the same shape. The edge is continued where the view leaves the image."""
    rows, columns = grey.shape
    margin_rows, margin_columns = rows // 8, columns // 8
    padded = np.pad(grey, ((margin_rows, margin_rows), (margin_columns, margin_columns)), mode="edge")
    angle = np.deg2rad(random.uniform(-TURN_DEGREES, TURN_DEGREES))
    zoom = 1 + random.uniform(-ZOOM, ZOOM)
    down, right = random.uniform(-SHIFT, SHIFT, 2) * (rows, columns)
    cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
    middle_row, middle_column = rows / 2, columns / 2
    # Of the view to the padded image: column' = a column + b row + c, row' = d column + e row + f.
    to_source = (
        cosine, -sine, middle_column - cosine * middle_column + sine * middle_row + right + margin_columns,
        sine, cosine, middle_row - sine * middle_column - cosine * middle_row + down + margin_rows,
    )  # fmt: skip
    image = Image.fromarray(padded).transform((columns, rows), Image.Transform.AFFINE, to_source, Image.Resampling.BICUBIC)
    view = np.clip(np.asarray(image, np.float32), 0, 1) ** np.float32(1 + random.uniform(-EXPOSURE, EXPOSURE))
    contrast = np.float32(1 + random.uniform(-EXPOSURE, EXPOSURE))
    return np.asarray(np.clip((view - view.mean()) * contrast + view.mean(), 0, 1), np.float32)


def processed_view(grey: Floats, random: np.random.Generator) -> Floats:
    """`grey` (rows, columns), 0..1, as another vendor's processing, detector or collimation may show it."""
    view = grey ** np.float32(np.exp(random.uniform(-0.5, 0.5)))
    rows, columns = view.shape
    for radius in (random.uniform(0.004, 0.02), random.uniform(0.02, 0.15)):  # edges, then latitude: of the image's size
        smooth = _smoothed(view, radius * rows)
        view = smooth * np.float32(random.uniform(0.3, 1)) + (view - smooth) * np.float32(random.uniform(0.7, 3))
    if random.random() < 0.3:
        view = _smoothed(view, random.uniform(0.002, 0.008) * rows)
    low, high = np.percentile(view, (0.5, 99.5))
    view = np.clip((view - low) / max(float(high - low), 1e-6), 0, 1)
    view = view + random.normal(0, random.uniform(0, 0.05), view.shape).astype(np.float32)
    first_row, last_row = int(random.uniform(0, 0.08) * rows), rows - int(random.uniform(0, 0.08) * rows)
    first_column, last_column = int(random.uniform(0, 0.08) * columns), columns - int(random.uniform(0, 0.08) * columns)
    if random.random() < 0.5:
        return np.ascontiguousarray(view[first_row:last_row, first_column:last_column], np.float32)
    framed = np.zeros_like(view)
    framed[first_row:last_row, first_column:last_column] = view[first_row:last_row, first_column:last_column]
    turned = Image.fromarray(np.ascontiguousarray(framed, np.float32)).rotate(
        random.uniform(-6, 6), Image.Resampling.BILINEAR
    )
    return np.clip(np.asarray(turned, np.float32), 0, 1)


def repeatability(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The 95 % limit of repeatability per label, 1.96 sqrt(2) times the within-image SD, of logits (images, views, L)."""
    within = logits.var(axis=1, ddof=1).mean(axis=0)
    return np.asarray(1.96 * np.sqrt(2 * within))


def _smoothed(view: Floats, radius: float) -> Floats:
    """Without detail finer than about `radius` pixels: reduced by averaging, and enlarged again."""
    rows, columns = view.shape
    small = (max(4, round(columns / max(radius, 1.0))), max(4, round(rows / max(radius, 1.0))))
    reduced = Image.fromarray(np.ascontiguousarray(view, np.float32)).resize(small, Image.Resampling.BOX)
    return np.asarray(reduced.resize((columns, rows), Image.Resampling.BICUBIC), np.float32)
