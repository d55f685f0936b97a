"""The few things that OpenCV does for anatomy. It is imported inside, so that importing this room stays cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.bool_]


def resized(image: npt.NDArray[Any], rows: int, columns: int) -> Floats:
    """(rows, columns) float32, antialiased where it becomes smaller."""
    import cv2

    if image.shape == (rows, columns):
        return np.asarray(image, np.float32)
    smaller = rows < image.shape[0] or columns < image.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(image, np.float32), (columns, rows), interpolation=way), np.float32)


def blurred(image: npt.NDArray[Any], sigma: float) -> Floats:
    """Smoothed by a Gaussian, float32."""
    import cv2

    return np.asarray(cv2.GaussianBlur(np.ascontiguousarray(image, np.float32), (0, 0), sigma), np.float32)


def steepness(image: Floats) -> Floats:
    """Length of the gradient, per pixel."""
    import cv2

    across, down = (cv2.Sobel(image, cv2.CV_32F, *axis, ksize=3) / 8 for axis in ((1, 0), (0, 1)))
    return np.asarray(np.hypot(across, down), np.float32)


def largest_part(mask: Mask) -> Mask:
    """The largest connected part without its holes; empty if the mask is."""
    import cv2

    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    if contours:
        cv2.drawContours(filled, [max(contours, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return filled > 0


def depth(mask: Mask) -> Floats:
    """Pixels to the nearest place outside of the mask; 0 there."""
    import cv2

    return np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def hull(mask: Mask) -> Mask:
    """The convex hull of all that is in the mask; empty if the mask is."""
    import cv2

    points = np.argwhere(mask)[:, ::-1].astype(np.int32)
    filled = np.zeros(mask.shape, np.uint8)
    if len(points):
        cv2.fillConvexPoly(filled, cv2.convexHull(points), 1)
    return filled > 0


def mean(values: npt.NDArray[Any]) -> float:
    """Of the values that are numbers; NaN, without a warning, where there are none."""
    usable = values[np.isfinite(values)]
    return float(usable.mean()) if usable.size else float("nan")


def outline(mask: Mask, points: int) -> tuple[tuple[float, float], ...]:
    """The border of the largest part as so many (x, y), fractions of the picture; () where the mask is empty."""
    import cv2

    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return ()
    line = max(contours, key=cv2.contourArea)[:, 0, :]
    kept = line[np.linspace(0, len(line), min(points, len(line)), endpoint=False).astype(int)]
    rows, columns = mask.shape
    return tuple((float(x + 0.5) / columns, float(y + 0.5) / rows) for x, y in kept)
