"""Radiographic geometry: a point source, a flat detector, and the ways to draw a body part as a path length in mm.

Body frame, in mm: x to the patient's left, y to the back, z to the feet; the origin lies in the middle of the chest
between the lung apices. A map is what one structure adds to the path of each ray: (rows, columns) float32, mm.
Smooth organs are drawn by formula on a grid scaled to their depth; tubes (ribs, vessels, airways) are cut into small
volume elements, each projected for itself, so that a rib seen end-on is as dense as it should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
Points = NDArray[np.float64]
Knots = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Projection:
    """One exposure's geometry. `view` is PA, AP or LL (left side at the detector)."""

    view: str
    rows: int
    columns: int
    pixel_mm: float  # at the detector
    source_to_detector_mm: float
    centre_z_mm: float = 128.0  # height of the central ray
    shift_mm: tuple[float, float] = (0.0, 0.0)  # patient off centre: to the left, to the feet
    tilt_deg: float = 0.0  # patient leaning, clockwise in the picture
    gap_mm: float = 20.0  # from the skin to the detector

    def magnification(self, depth_mm: Any) -> Any:
        """Of a plane at y (frontal views) or x (lateral)."""
        if self.view == "PA":
            distance = depth_mm + 115.0 + self.gap_mm
        elif self.view == "AP":
            distance = 115.0 - depth_mm + self.gap_mm
        else:
            distance = 165.0 - depth_mm + self.gap_mm
        return self.source_to_detector_mm / (self.source_to_detector_mm - distance)

    def grid(self, depth_mm: float) -> tuple[Map, Map]:
        """Body coordinates of every pixel on the plane at this depth: (horizontal, z), each (rows, columns), mm."""
        column, row = np.meshgrid(
            np.arange(self.columns, dtype=np.float32) - np.float32(self.columns / 2 - 0.5),
            np.arange(self.rows, dtype=np.float32) - np.float32(self.rows / 2 - 0.5),
        )
        u, w = column * np.float32(self.pixel_mm), row * np.float32(self.pixel_mm)
        c, s = np.float32(np.cos(np.radians(self.tilt_deg))), np.float32(np.sin(np.radians(self.tilt_deg)))
        m = np.float32(self.magnification(depth_mm))
        across = (c * u + s * w) / m - np.float32(self.shift_mm[0])
        down = (-s * u + c * w) / m - np.float32(self.shift_mm[1]) + np.float32(self.centre_z_mm)
        return across, down

    def pixels(self, points: Points) -> tuple[Points, Points, Points]:
        """(N, 3) body points -> column, row (0-based, of pixel centres) and magnification, each (N,)."""
        across, depth = (points[:, 1], points[:, 0]) if self.view == "LL" else (points[:, 0], points[:, 1])
        m = np.asarray(self.magnification(depth))
        u = (across + self.shift_mm[0]) * m / self.pixel_mm
        w = (points[:, 2] - self.centre_z_mm + self.shift_mm[1]) * m / self.pixel_mm
        c, s = np.cos(np.radians(self.tilt_deg)), np.sin(np.radians(self.tilt_deg))
        return c * u - s * w + self.columns / 2 - 0.5, s * u + c * w + self.rows / 2 - 0.5, m

    def deposit(self, points: Points, volume_mm3: Points) -> Map:
        """Project volume elements: (N, 3) points with (N,) volumes -> path length."""
        column, row, m = self.pixels(points)
        weight = volume_mm3 * m * m / self.pixel_mm**2
        inside = (column > 0) & (column < self.columns - 2) & (row > 0) & (row < self.rows - 2)
        column, row, weight = column[inside], row[inside], weight[inside]
        j, i = column.astype(np.int64), row.astype(np.int64)
        dj, di = column - j, row - i
        flat = i * self.columns + j
        size = self.rows * self.columns
        total = np.bincount(flat, weight * (1 - di) * (1 - dj), size)
        total += np.bincount(flat + 1, weight * (1 - di) * dj, size)
        total += np.bincount(flat + self.columns, weight * di * (1 - dj), size)
        total += np.bincount(flat + self.columns + 1, weight * di * dj, size)
        return blurred(total.reshape(self.rows, self.columns).astype(np.float32), 0.7)

    def inflated(self, outline: Knots, depth_mm: float, rim_mm: float, thickness_mm: float) -> Map:
        """A body with this closed outline (smooth through the knots: horizontal, z), round at its rim."""
        closed = np.array([*outline, outline[0]], float)
        curve = spline(closed, 24, closed=True)
        points = np.zeros((len(curve), 3))
        points[:, 2] = curve[:, 1]
        points[:, 0 if self.view != "LL" else 1] = curve[:, 0]
        points[:, 1 if self.view != "LL" else 0] = depth_mm
        column, row, m = self.pixels(points)
        mask = np.zeros((self.rows, self.columns), np.uint8)
        polygon = np.round(np.stack([column, row], 1) * 16).astype(np.int32)
        cv2.fillPoly(mask, [polygon], 255, cv2.LINE_8, 4)
        reach = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # OpenCV's square root differs in its last bit from call to call; the squares are whole numbers.
        reach = np.sqrt(np.round(np.asarray(reach, np.float32) ** 2))
        return rounded(reach * np.float32(self.pixel_mm / float(m[0])), rim_mm, thickness_mm)


def rounded(inside_mm: Map, rim_mm: float, thickness_mm: float) -> Map:
    """Path length through a body with a circular rim: 0 at the edge, full from `rim_mm` inwards."""
    part = np.clip(inside_mm / np.float32(rim_mm), 0, 1)
    return np.asarray(np.float32(thickness_mm) * np.sqrt(part * (2 - part)), np.float32)


def blurred(image: Map, sigma_px: float) -> Map:
    """Gaussian blur with mirrored borders; large ones at a quarter of the size, for speed."""
    if sigma_px > 12:
        rows, columns = image.shape
        small = cv2.resize(image, (columns // 4, rows // 4), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma_px / 4, borderType=cv2.BORDER_REFLECT)
        return np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_CUBIC), np.float32)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT), np.float32)


def along(position: Any, knots: Knots) -> Any:
    """A smooth curve through (position, value) knots, read at `position`; constant outside."""
    place, value = np.array(knots, float).T
    table_x = np.linspace(place[0], place[-1], 512)
    slope = np.gradient(value, place)
    k = np.clip(np.searchsorted(place, table_x, "right") - 1, 0, len(place) - 2)
    h = place[k + 1] - place[k]
    t = (table_x - place[k]) / h
    table = (
        (2 * t**3 - 3 * t**2 + 1) * value[k]
        + (t**3 - 2 * t**2 + t) * h * slope[k]
        + (3 * t**2 - 2 * t**3) * value[k + 1]
        + (t**3 - t**2) * h * slope[k + 1]
    )
    if isinstance(position, np.ndarray) and position.dtype == np.float32:  # a whole map: a fine table is quick and enough
        fine = np.interp(np.linspace(place[0], place[-1], 8192), table_x, table).astype(np.float32)
        row = (position - np.float32(place[0])) * np.float32(8191 / (place[-1] - place[0]))
        return fine[np.clip(row, 0, 8191).astype(np.int32)]
    return np.interp(position, table_x, table)


def spline(knots: Points, steps: int, *, closed: bool = False) -> Points:
    """Catmull-Rom curve through (N, D) knots, `steps` points a span; a closed one repeats its first knot last."""
    before = knots[-2] if closed else 2 * knots[0] - knots[1]
    after = knots[1] if closed else 2 * knots[-1] - knots[-2]
    p = np.vstack([before, knots, after])
    t = (np.arange(steps) / steps)[None, :, None]
    p0, p1, p2, p3 = (p[k : len(p) - 3 + k, None, :] for k in range(4))
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return np.vstack([curve.reshape(-1, knots.shape[1]), knots[-1:]])


def resampled(path: Points, step_mm: float) -> Points:
    """The same polyline (N, D) with points at equal distances."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path[:, :3], axis=0), axis=1))])
    place = np.linspace(0, length[-1], max(int(length[-1] / step_mm), 2))
    return np.stack([np.interp(place, length, path[:, k]) for k in range(path.shape[1])], 1)


@dataclass(frozen=True, slots=True)
class Section:
    """Cross section of a tube, as points a step: `core` within, `ring` in a cortex whose thickness is `wall` half axes."""

    core: int
    ring: int = 0
    wall: float = 0.0
    marrow: float = 1.0  # density of the core, relative to the cortex

    def spread(self, steps: int) -> tuple[Points, Points, Points]:
        """Offsets in half axes (steps, K, 2), weights (steps, K) whose mean is the mean density, places in the step
        -0.5..0.5 (steps, K). Stratified and jittered: a regular pattern would show in the picture."""
        count = self.core + self.ring
        rng = np.random.default_rng(steps * 1000 + count)
        offset, shake, depth = rng.random((steps, 1)), rng.random((steps, count)), rng.random((steps, count))
        hole = (1 - self.wall) ** 2 if self.ring else 1.0
        core = np.arange(self.core)
        ring = np.arange(self.ring)
        radius = np.hstack([
            np.sqrt(hole * (core + shake[:, : self.core]) / max(self.core, 1)),
            np.sqrt(hole + (1 - hole) * depth[:, self.core :]),
        ])  # fmt: skip
        angle = np.hstack([core * 0.381966 + offset, (ring + shake[:, self.core :]) / max(self.ring, 1)]) * 2 * np.pi
        weight = np.concatenate([
            np.full(self.core, hole * self.marrow * count / max(self.core, 1)),
            np.full(self.ring, (1 - hole) * count / max(self.ring, 1)),
        ])  # fmt: skip
        offsets = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
        return offsets, np.broadcast_to(weight, (steps, count)), rng.random((steps, count)) - 0.5


def tube(path: Points, section: Section, normal: Points | None = None) -> tuple[Points, Points]:
    """Volume elements of a tube: (N, 5) path of x, y, z and the two half axes, mm. The second half axis lies along
    `normal` (N, 3) where it is given. Returns (N K, 3) points and (N K,) volumes in mm3."""
    place = path[:, :3]
    tangent = np.gradient(place, axis=0)
    step = np.linalg.norm(tangent, axis=1)
    tangent /= np.maximum(step, 1e-9)[:, None]
    return swept(place, tangent * step[:, None], path[:, 3], path[:, 4], section, normal)


def swept(
    place: Points, heading: Points, first_mm: Points, second_mm: Points, section: Section, normal: Points | None = None
) -> tuple[Points, Points]:
    """Volume elements around (N, 3) places, each standing for its `heading` (N, 3), mm, as of `tube`."""
    step = np.linalg.norm(heading, axis=1)
    tangent = heading / np.maximum(step, 1e-9)[:, None]
    guide = np.array([[0.31, 0.87, 0.38]]) if normal is None else normal
    second = guide - (guide * tangent).sum(1, keepdims=True) * tangent
    second /= np.maximum(np.linalg.norm(second, axis=1, keepdims=True), 1e-9)
    first = np.cross(tangent, second)
    offsets, weight, within = section.spread(len(place))
    points = (
        place[:, None]
        + first[:, None] * (first_mm[:, None] * offsets[..., 0])[..., None]
        + second[:, None] * (second_mm[:, None] * offsets[..., 1])[..., None]
        + heading[:, None] * within[..., None]
    )
    volume = (np.pi * first_mm * second_mm * step)[:, None] * weight / weight.shape[1]
    return points.reshape(-1, 3), volume.reshape(-1)


def clouds(rng: np.random.Generator, rows: int, columns: int, scales_px: Sequence[float]) -> Map:
    """Smooth random texture, mean 0 and standard deviation 1, equal power at each scale: (rows, columns)."""
    total = np.zeros((rows, columns), np.float32)
    for scale in scales_px:
        coarse = rng.standard_normal((int(rows / scale) + 4, int(columns / scale) + 4), dtype=np.float32)
        total += cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.asarray(total / total.std(), np.float32)
