"""From a teacher's lung probabilities, whose outline lies outside of the lung, to the border that the picture shows.

The teacher's outline was found to lie a constant way outside: over our own radiographs the grey rises most steeply, outwards
along the normal, `INSET` pixels inside of its contour, at all of apex, wall, heart and diaphragm (`steepest` measures it).
So each lung starts as the teacher's mask drawn in by that much, and its contour is then moved along its normals, point by
point and smoothly, to where this one picture's grey rises most steeply: an active contour solved exactly by dynamic
programming (Amini, Weymouth and Jain 1990, IEEE PAMI 12:855).

All sizes are pixels of a square frame of SIDE. The drawn masks of OpenIST were used for none of it.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from radpipe.anatomy import pixels

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SIDE = 256
INSET = 8.0
REACH = (4.5, 4.5)
"""How far a point may move from there: outwards, inwards."""

STEP = 0.5
POINTS = 192
LEAST_SHARE = 0.02
"""Of the picture: a smaller region is no lung."""

STIFFNESS = 0.35
"""Cost of a difference of one pixel squared between neighbours, where a clear edge is worth 1."""

TETHER = 0.012
"""Cost of a way of one pixel squared from the start."""


def outlined(grey: Floats, probability: Floats) -> npt.NDArray[np.bool_]:
    """The lungs (2, SIDE, SIDE), the picture's left one first, each empty where it is not found.

    `grey` (SIDE, SIDE), 0..1, bright = dense; `probability` (SIDE, SIDE), the teacher's, of lung.
    """
    fields = np.zeros((2, SIDE, SIDE), bool)
    depth = _depth(probability > 0.5)
    picture = _standard(grey)
    for side, region in enumerate(separated(depth >= INSET)):
        if region.any():
            fields[side] = _settled(picture, pixels.largest_part(region))
    return fields


def separated(mask: Mask) -> tuple[Mask, Mask]:
    """The two largest connected parts of a mask (rows, columns), the picture's left one first. A single one is sided by
    the half in which it lies."""
    count, labels, stats, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    order = [1 + int(k) for k in np.argsort(-stats[1:, cv2.CC_STAT_AREA])[:2]] if count > 1 else []
    parts = [k for k in order if stats[k, cv2.CC_STAT_AREA] >= LEAST_SHARE * mask.size]
    nothing = np.zeros(mask.shape, bool)
    if not parts:
        return nothing, nothing
    if len(parts) == 1:
        only = labels == parts[0]
        return (only, nothing) if centres[parts[0]][0] < mask.shape[1] / 2 else (nothing, only)
    first, second = sorted(parts, key=lambda k: float(centres[k][0]))
    return labels == first, labels == second


def steepest(grey: Floats, probability: Floats, depths: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean rise of the grey, outwards along the normal, at these depths (D,) inside of the teacher's contour."""
    depth = _depth(probability > 0.5)
    picture = _standard(grey)
    rows, columns = (cv2.Sobel(depth, cv2.CV_32F, *axis, ksize=3) / 8 for axis in ((0, 1), (1, 0)))
    up, across = (cv2.Sobel(picture, cv2.CV_32F, *axis, ksize=3) / 8 for axis in ((0, 1), (1, 0)))
    rise = -(up * rows + across * columns)
    bands = [np.abs(depth - at) < 0.5 for at in depths]
    return np.array([float(rise[band].mean()) if band.any() else np.nan for band in bands])


def _standard(grey: Floats) -> Floats:
    """Smoothed, with mean 0 and deviation 1."""
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.0), np.float32)
    return np.asarray((smooth - smooth.mean()) / (float(smooth.std()) + 1e-6), np.float32)


def _depth(mask: Mask) -> Floats:
    """Pixels to the border: positive inside, negative outside, smoothed so that it has normals. What the picture's edge cuts
    is no border."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 16, 16, 16, 16, cv2.BORDER_REPLICATE)
    inside, outside = (cv2.distanceTransform(part, cv2.DIST_L2, 5) for part in (padded, 1 - padded))
    return np.asarray(cv2.GaussianBlur(inside - outside, (0, 0), 1.0)[16:-16, 16:-16], np.float32)


def _settled(picture: Floats, region: Mask) -> Mask:
    """One lung with its contour moved to the edge."""
    contours, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    line = _resampled(max(contours, key=cv2.contourArea)[:, 0, :].astype(np.float64))
    smooth = _smoothed(line, 2.0)
    tangent = np.roll(smooth, -2, 0) - np.roll(smooth, 2, 0)
    outward = np.stack([tangent[:, 1], -tangent[:, 0]], 1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True) + 1e-9
    middle = smooth.mean(0)
    if float(((smooth - middle) * outward).sum()) < 0:
        outward = -outward
    ways = np.arange(-REACH[1], REACH[0] + STEP / 2, STEP)
    places = smooth[:, None, :] + ways[None, :, None] * outward[:, None, :]
    across, down = (cv2.Sobel(picture, cv2.CV_32F, *axis, ksize=3) / 8 for axis in ((1, 0), (0, 1)))
    at = places.astype(np.float32)
    sampled = [
        cv2.remap(layer, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for layer in (across, down)
    ]
    rise = sampled[0] * outward[:, :1] + sampled[1] * outward[:, 1:]
    clear = max(float(np.percentile(rise.max(1), 75)), 0.02)
    moved = ways[_cheapest(-np.clip(rise / clear, -0.5, 1.0) + TETHER * ways[None] ** 2)]
    settled = _smoothed(smooth + moved[:, None] * outward, 0.7)
    filled = np.zeros(region.shape, np.uint8)
    cv2.fillPoly(filled, [np.round(settled * 16).astype(np.int32)], 1, shift=4)
    return filled > 0


def _cheapest(cost: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """For each of P points of a closed line one of W ways, cost (P, W), neighbours alike: two rounds of Viterbi."""
    points, ways = cost.shape
    apart = STIFFNESS * (STEP * (np.arange(ways)[:, None] - np.arange(ways)[None])) ** 2
    twice = np.concatenate([cost, cost])
    total, back = twice[0], np.zeros((2 * points, ways), np.int64)
    for point in range(1, 2 * points):
        through = total[None, :] + apart
        back[point] = through.argmin(1)
        total = through.min(1) + twice[point]
    path = np.zeros(2 * points, np.int64)
    path[-1] = int(total.argmin())
    for point in range(2 * points - 1, 0, -1):
        path[point - 1] = back[point, path[point]]
    half = points // 2
    return np.concatenate([path[points : points + half], path[half:points]])


def _resampled(line: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """POINTS points at equal ways along a closed line (N, 2)."""
    closed = np.concatenate([line, line[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    wanted = np.linspace(0, along[-1], POINTS, endpoint=False)
    return np.stack([np.interp(wanted, along, closed[:, axis]) for axis in (0, 1)], 1)


def _smoothed(line: npt.NDArray[np.float64], points: float) -> npt.NDArray[np.float64]:
    """A closed line (P, 2) smoothed over so many points."""
    reach = round(4 * points)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / points) ** 2)
    wrapped = np.concatenate([line[-reach:], line, line[:reach]])
    return np.stack([np.convolve(wrapped[:, axis], kernel / kernel.sum(), "valid") for axis in (0, 1)], 1)
