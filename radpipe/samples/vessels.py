"""Pulmonary vessels and airways: random trees that grow from the hila, the same for a person at every visit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from radpipe.samples.projection import Map, Points, Projection, Section, along, resampled, spline, swept, tube
from radpipe.samples.skeleton import CAGE_CENTRE_Y, CAGE_HALF_DEPTH, CAGE_HALF_WIDTH, Person

HILUM = {1: np.array([38.0, 8.0, 104.0]), -1: np.array([-36.0, 8.0, 118.0])}
"""Left (+1) and right (-1) hilum, mm; the left one stands higher."""

_ROOTS: dict[int, tuple[tuple[float, float, float, float], ...]] = {
    1: ((0.30, 0.1, -1.0, 3.2), (0.75, -0.5, -0.7, 3.0), (0.9, 0.4, -0.25, 2.8), (0.95, -0.4, 0.2, 2.8),
        (0.7, 0.6, 0.55, 3.2), (0.55, 0.3, 0.95, 4.2), (0.75, -0.4, 0.8, 3.2), (0.35, 0.7, 0.8, 3.4)),
    -1: ((0.30, 0.1, -1.0, 3.2), (0.75, -0.5, -0.7, 3.0), (0.9, 0.4, -0.3, 2.8), (0.95, -0.4, 0.2, 2.8),
         (0.75, 0.6, 0.5, 3.2), (0.45, 0.3, 1.0, 4.4), (0.75, -0.5, 0.7, 3.4), (0.3, 0.7, 0.9, 3.6),
         (0.15, -0.2, 1.0, 3.2)),
}  # fmt: skip
"""Directions (outwards, back, down) and half axis in mm of the first branches on each side."""


def vessels(view: Projection, person: Person, dome_z_mm: dict[int, float], congestion: float = 0.0) -> Map:
    """Path length of blood within the lungs, mm. `congestion` 0..1 widens the vessels, those of the upper lobes most."""
    points, volumes = [], []
    for side in (1, -1):
        segments = _tree(person, side, dome_z_mm[side])
        for lower, upper, count in ((0.0, 1.3, 7), (1.3, 2.4, 20), (2.4, 99.0, 60)):
            some = segments[(segments[:, 9] >= lower) & (segments[:, 9] < upper)]
            found, volume = _sampled(some, person, congestion, count)
            points.append(found)
            volumes.append(volume)
    return view.deposit(np.vstack(points), np.concatenate(volumes))


def hila(view: Projection, person: Person, congestion: float = 0.0) -> Map:
    """The large pulmonary arteries and veins at the hila."""
    wide = 1 + 0.25 * congestion
    paths = [
        [
            (-12, 0, 104, 11, 11),
            (-28, 4, 106, 9, 9),
            (-40, 10, 118, 7.5, 7.5),
            (-45, 16, 140, 6, 6),
            (-44, 22, 162, 4.6, 4.6),
        ],
        [(-26, 2, 104, 7, 7), (-36, -2, 92, 5, 5), (-42, -4, 78, 3.6, 3.6)],
        [(-14, 14, 140, 8, 8), (-30, 12, 134, 5.5, 5.5), (-48, 6, 126, 3.8, 3.8)],
        [(22, 0, 96, 11, 11), (36, 10, 96, 9, 9), (43, 22, 110, 7.5, 7.5), (44, 30, 135, 5.6, 5.6), (43, 34, 155, 4.2, 4.2)],
        [(34, 4, 94, 6.5, 6.5), (43, -2, 82, 4.6, 4.6), (48, -6, 68, 3.4, 3.4)],
        [(20, 14, 130, 8, 8), (34, 12, 124, 5.5, 5.5), (52, 8, 116, 3.6, 3.6)],
    ]
    parts = []
    for knots in paths:
        path = spline(np.array(knots, float), 12)
        path[:, 3:] *= wide
        parts.append(tube(resampled(person.placed(path), 0.6), Section(300)))
    return view.deposit(np.vstack([p for p, _ in parts]), np.concatenate([v for _, v in parts]))


def airways(view: Projection, person: Person) -> Map:
    """Path length of air in the trachea and main bronchi, mm."""
    paths = [
        [
            (0, 22, -140, 8, 9),
            (0, 24, -60, 8, 9),
            (-1, 26, 0, 8.5, 9),
            (-3, 24, 50, 8.5, 9),
            (-5, 20, 80, 9, 9),
            (-5, 18, 92, 9, 9),
        ],
        [(-6, 18, 90, 7.5, 7.5), (-20, 16, 104, 6.5, 6.5), (-34, 16, 118, 5, 5)],
        [(-4, 18, 90, 7, 7), (16, 16, 104, 6, 6), (38, 18, 114, 5, 5)],
    ]
    parts = []
    for knots in paths:
        path = resampled(person.placed(spline(np.array(knots, float), 12)), 0.6)
        parts.append(tube(path, Section(220)))
    return view.deposit(np.vstack([p for p, _ in parts]), np.concatenate([v for _, v in parts]))


def _sampled(segments: Points, person: Person, congestion: float, count: int) -> tuple[Points, Points]:
    """Volume elements of many short vessels at once: (N, 11) segments of start, middle, end, first and last radius."""
    start, middle, end = (person.placed(segments[:, k : k + 3]) for k in (0, 3, 6))
    steps = np.maximum(np.linalg.norm(end - start, axis=1) / 0.8, 2).astype(int)
    which = np.repeat(np.arange(len(segments)), steps)
    first = np.concatenate([[0], np.cumsum(steps)[:-1]])
    t = ((np.arange(len(which)) - first[which]) / steps[which])[:, None]
    place = (1 - t) ** 2 * start[which] + 2 * t * (1 - t) * middle[which] + t * t * end[which]
    heading = 2 * (1 - t) * (middle - start)[which] + 2 * t * (end - middle)[which]
    radius = segments[which, 9] + t[:, 0] * (segments[which, 10] - segments[which, 9])
    radius = radius * (1 + congestion * (0.2 + 0.5 * np.clip((130 - place[:, 2]) / 100, 0, 1)))
    return swept(place, heading / steps[which, None], radius, radius, Section(count))


def _unit(vector: Points) -> Points:
    return np.asarray(vector / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-9))


def _tree(person: Person, side: int, dome_z_mm: float) -> Points:
    """All branches of one lung, grown generation by generation: (N, 11), see `_sampled`."""
    rng = person.rng(3, side + 1)
    roots = np.array(_ROOTS[side])
    hilum = HILUM[side]
    radius = roots[:, 3]
    heading = _unit(roots[:, :3] * np.array([side, 1, 1]) + rng.normal(0, 0.1, (len(roots), 3)))
    start = hilum + rng.normal(0, 4, (len(roots), 3))
    found = []
    while len(start):
        count = len(start)
        length = ((5.0 + 6.0 * radius) * rng.uniform(0.7, 1.35, count))[:, None]
        away = (start - hilum) / np.maximum(np.linalg.norm(start - hilum, axis=1, keepdims=True), 8.0)
        bend = rng.normal(0, 0.17, (count, 3))
        middle = start + heading * length * 0.5
        onward = _unit(heading + 0.3 * away + bend)
        end = middle + onward * length * 0.5
        found.append(np.column_stack([start, middle, end, radius, radius * 0.86]))
        turn = _unit(np.cross(onward, rng.normal(0, 1, (count, 3))))
        straight, aside = rng.uniform(0.12, 0.38, (count, 1)), rng.uniform(0.45, 0.95, (count, 1))
        heading = np.vstack(
            [np.cos(straight) * onward + np.sin(straight) * turn, np.cos(aside) * onward - np.sin(aside) * turn]
        )
        start, radius = np.vstack([end, end]), np.concatenate([radius * 0.86, radius * 0.66])
        keep = (radius > 0.36) & _in_lung(start, side, dome_z_mm)
        start, heading, radius = start[keep], heading[keep], radius[keep]
    return np.vstack(found)


def _in_lung(points: Points, side: int, dome_z_mm: float) -> NDArray[np.bool_]:
    x, y, z = points.T
    half, depth = along(z, CAGE_HALF_WIDTH) - 3, along(z, CAGE_HALF_DEPTH) - 3
    inside = (x / half) ** 2 + ((y - along(z, CAGE_CENTRE_Y)) / depth) ** 2 < 1
    dome = dome_z_mm + 46 * (((np.abs(x) - 66) / 78) ** 2 + ((y + 10) / 95) ** 2)
    return np.asarray(inside & (side * x > 12) & (z > 2) & (z < dome), np.bool_)
