"""Soft tissue of the frontal chest: body outline, lungs, heart, great vessels, diaphragm, breasts and stomach."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from radpipe.samples.projection import (
    Knots,
    Map,
    Points,
    Projection,
    Section,
    along,
    blurred,
    clouds,
    resampled,
    spline,
    tube,
)
from radpipe.samples.skeleton import CAGE_HALF_WIDTH, Person

_LUNG_SIDE: Knots = (
    (0, 50), (1.5, 58), (5, 66), (13, 75), (22, 83), (40, 99), (80, 120), (130, 134), (180, 139), (230, 141), (290, 139),
)  # fmt: skip
_LUNG_MIDDLE: Knots = ((0, 47), (1.5, 39), (5, 31), (13, 25), (35, 19), (60, 15), (100, 11), (300, 11))
_LUNG_DEPTH: Knots = ((0, 25), (5, 62), (20, 98), (60, 142), (120, 172), (200, 186), (300, 186))
_BODY_DEPTH: Knots = ((-60, 30), (-30, 70), (0, 120), (50, 180), (120, 222), (200, 232), (320, 228))

HEART: Knots = (
    (-10, 52), (-20, 80), (-26, 104), (-36, 126), (-42, 150), (-43, 174), (-38, 200), (-30, 228), (14, 246), (62, 246),
    (84, 236), (92, 216), (89, 194), (78, 166), (64, 142), (52, 124), (43, 111), (39, 99), (31, 84), (18, 60), (6, 50),
)  # fmt: skip
"""Outline of a heart with great vessels whose cardiothoracic ratio is 0.46 in the standard body, mm."""


@dataclass(slots=True)
class Torso:
    """The frontal body while it is being drawn; maps are path lengths in mm, `density` is relative to water."""

    view: Projection
    person: Person
    dome_z_mm: dict[int, float]  # top of the diaphragm: left +1, right -1
    across: Map  # of the middle plane, standard body
    down: Map
    soft: Map  # water-equivalent, all but the lungs' space
    space: dict[int, Map]  # pleural space: left +1, right -1
    density: dict[int, Map]  # of what fills it
    perfused: dict[int, Map]  # 1 where vessels may be seen, 0 in free air or fluid
    bone: Map
    truth: list[dict[str, object]] = field(default_factory=list)

    def outward(self, side: int) -> Map:
        """Distance from the midline towards this side, standard body, mm."""
        return self.across if side > 0 else -self.across

    def side_edge(self) -> Map:
        """Outer border of the lung at each pixel's height, mm from the midline, standard body."""
        return np.asarray(along(self.down, _LUNG_SIDE), np.float32)

    def angle_z(self, side: int) -> float:
        """Height of the costophrenic angle, standard body, mm."""
        return self.dome_z_mm[side] + 44.0


def pleural_space(torso: Torso, side: int) -> Map:
    """Path length within the rib cage and above the diaphragm on one side, before heart and vessels are taken out."""
    x, z = torso.outward(side), torso.down
    outer, inner = torso.side_edge(), np.asarray(along(z, _LUNG_MIDDLE), np.float32)
    u = np.clip((x - inner) / np.maximum(outer - inner, 0.5), 0, 1)
    profile = np.sqrt(np.clip(1 - u**2.5, 0, 1)) * np.sqrt(1 - (1 - u) ** 6)
    chord = np.asarray(along(z, _LUNG_DEPTH), np.float32) * profile * np.float32(torso.person.scale[1])
    chord *= np.clip(z / 1.0, 0, 1) * (x > 0)
    chord *= 1 - 0.45 * np.exp(-((x / 20) ** 4))
    wide = np.where(x > 66, np.float32(78), np.float32(100))
    rise = (z - np.float32(torso.dome_z_mm[side])) / 46 - ((x - 66) / wide) ** 2
    half = 95 * np.sqrt(np.clip(rise, 0, None))
    overlap = np.minimum(chord / 2, -10 + half) - np.maximum(-chord / 2, -10 - half)
    return np.asarray(np.clip(chord - np.clip(overlap, 0, None), 0, None), np.float32)


def heart(view: Projection, person: Person) -> Map:
    """Path length of the heart; its width follows the person's cardiothoracic ratio."""
    grow = person.cardiothoracic_ratio / 0.46
    outline = []
    for x, z in HEART:
        lower = float(np.clip((z - 84) / 60, 0, 1))
        wide = 1 + (grow - 1) * lower * (1.12 if x > 0 else 0.75)
        outline.append((x * wide * person.scale[0], z * person.scale[2]))
    return view.inflated(outline, -25 * person.scale[1], 46.0, 98.0 * person.scale[1] * grow**0.5)


def great_vessels(view: Projection, person: Person) -> Map:
    """Aorta, superior vena cava and the arteries to the neck."""
    paths = [
        [
            (8, -30, 120, 14, 14),
            (-6, -28, 92, 14.5, 14.5),
            (2, -14, 72, 14, 14),
            (18, 10, 64, 13.5, 13.5),
            (27, 28, 72, 13, 13),
            (28, 40, 92, 12.5, 12.5),
            (25, 46, 130, 12, 12),
            (19, 48, 180, 11.5, 11.5),
            (10, 46, 240, 11, 11),
            (4, 40, 310, 10, 10),
        ],
        [(-30, -10, 8, 7, 7), (-23, -18, 30, 9, 9), (-22, -24, 62, 10, 10), (-24, -24, 98, 11, 11), (-24, -20, 140, 12, 12)],
        [(16, 4, 62, 7, 7), (24, 12, 36, 6.5, 6.5), (34, 14, 8, 6, 6)],
    ]
    parts = []
    for knots in paths:
        path = resampled(person.placed(spline(np.array(knots, float), 16)), 0.6)
        parts.append(tube(path, Section(420)))
    return view.deposit(np.vstack([p for p, _ in parts]), np.concatenate([v for _, v in parts]))


def body(full: Projection, person: Person, *, arms_down: bool) -> Map:
    """Path length of the whole body: trunk, neck, shoulders and upper arms. Smooth: drawn at half the size."""
    view = replace(full, rows=full.rows // 2, columns=full.columns // 2, pixel_mm=full.pixel_mm * 2)
    sx, sy, sz = person.scale
    across, down = view.grid(0.0)
    across, down = across / np.float32(sx), down / np.float32(sz)
    half = along(down, CAGE_HALF_WIDTH) + np.float32(14.0 + person.wall_mm)
    half = half + along(down, ((170, 0), (300, 6 + 0.5 * person.wall_mm)))
    depth = along(down, _BODY_DEPTH) * np.float32(sy) + np.float32(1.2 * (person.wall_mm - 22))
    part = np.clip(np.abs(across) / half, 0, 1)
    total = (depth * np.clip(1 - part**3.2, 0, 1) ** 0.48) ** 5

    def outline(points: Knots, side: int = 1) -> list[tuple[float, float]]:
        return [(side * x * sx, z * sz) for x, z in points]

    drop = -10.0 if arms_down else 0.0
    upper = [(50, -110), (49, -70), (52, -48), (68, -30), (105, -19 + drop), (145, -13 + drop), (180, -2 + drop),
             (203, 22), (212, 70)]  # fmt: skip
    lower = [(150, 96), (120, 130), (60, 130)]
    silhouette = [*upper, *lower, *((-x, z) for x, z in reversed(lower)), *((-x, z) for x, z in reversed(upper))]
    total += view.inflated(outline(silhouette), 10.0, 58.0, 128.0 * sy) ** 5
    gap = 4.0 if arms_down else 16.0
    base = 158 + 0.8 * (person.wall_mm - 22)
    arm = [(base, 96), (base + gap, 130), (base + 6 + 1.6 * gap, 200), (base + 14 + 2 * gap, 360), (280, 360),
           (244, 200), (224, 90), (206, 26), (182, 14), (160, 50)]  # fmt: skip
    for side in (1, -1):
        total += view.inflated(outline(arm, side), 5.0, 40.0, 88.0) ** 5
    thickness = blurred(np.asarray(total**0.2, np.float32), 1.0)
    return np.asarray(cv2.resize(thickness, (full.columns, full.rows), interpolation=cv2.INTER_LINEAR), np.float32)


def empty_torso(view: Projection, person: Person, *, arms_down: bool, dome_shift_mm: float) -> Torso:
    """Body with lungs, heart and vessels of the mediastinum; no lesions, no lung vessels, no bones yet."""
    across, down = view.grid(0.0)
    across, down = across / np.float32(person.scale[0]), down / np.float32(person.scale[2])
    dome = {1: 222.0 + dome_shift_mm, -1: 210.0 + dome_shift_mm}
    zero = np.zeros_like(across)
    torso = Torso(view, person, dome, across, down, zero, {}, {}, {}, zero.copy())
    cardiac = heart(view, person) * _above_domes(torso)
    vessels = great_vessels(view, person)
    rng = person.rng(5)
    texture = clouds(rng, view.rows, view.columns, (5, 9, 20, 45))
    fine = clouds(rng, view.rows, view.columns, (2.6, 4.2))
    torso.soft = body(view, person, arms_down=arms_down)
    for side in (1, -1):
        chord = pleural_space(torso, side)
        overlap = np.minimum(chord / 2, -25 + cardiac / 2) - np.maximum(-chord / 2, -25 - cardiac / 2)
        space = np.clip(chord - np.where(cardiac > 0, np.clip(overlap, 0, None), 0) - 0.9 * vessels, 0, None)
        torso.space[side] = blurred(np.asarray(space, np.float32), 0.8)
        gradient = along(down, ((0, 0.215), (120, 0.245), (260, 0.285)))
        torso.density[side] = np.asarray(gradient * (1 + 0.035 * texture + 0.02 * fine), np.float32)
        torso.perfused[side] = np.ones_like(zero)
        torso.soft = torso.soft - torso.space[side]
    if person.female:
        torso.soft = torso.soft + _breasts(view, person)
    torso.soft = torso.soft - _bowel_gas(torso)
    return torso


def _above_domes(torso: Torso) -> Map:
    """1 above the highest line of the diaphragm at each pixel, 0 below: heart and liver cannot be told apart there."""
    left = torso.across > 0
    top = np.where(left, np.float32(torso.dome_z_mm[1]), np.float32(torso.dome_z_mm[-1]))
    x = np.abs(torso.across)
    line = top + 46 * ((x - 66) / np.where(x > 66, np.float32(78), np.float32(100))) ** 2
    return np.asarray(np.clip((line + 12 - torso.down) / 9, 0, 1), np.float32)


def _breasts(view: Projection, person: Person) -> Map:
    total = np.zeros((view.rows, view.columns), np.float32)
    size = (person.breast_mm / 38) ** 0.5
    for side in (1, -1):
        turn = np.linspace(0, 2 * np.pi, 17)[:-1]
        ring = np.stack([86 + 62 * size * np.cos(turn), 186 + 58 * size * np.sin(turn) + 6 * np.cos(turn)], 1)
        outline = [(side * x * person.scale[0], z * person.scale[2]) for x, z in ring]
        shape = view.inflated(outline, -105.0, 60.0 * size, person.breast_mm)
        fade = np.asarray(along(view.grid(-105.0)[1], ((100, 0.1), (150, 0.55), (200, 1.0))), np.float32)
        total += shape * fade
    return blurred(total, 1.5)


def _bowel_gas(torso: Torso) -> Map:
    """Stomach bubble under the left dome, with a level where the patient stands, and gas in the colon's flexure."""
    view, person = torso.view, torso.person
    rng = person.rng(6)
    top = torso.dome_z_mm[1]
    x, z = 62 + rng.normal(0, 6), top + 21
    wide, high = rng.uniform(22, 32), rng.uniform(9, 14)
    turn = np.linspace(0, 2 * np.pi, 13)[:-1]
    outline = [((x + wide * np.cos(t)) * person.scale[0], (z + high * np.sin(t)) * person.scale[2]) for t in turn]
    gas = view.inflated(outline, 0.0, 14.0, 34.0)
    gas = gas * np.clip((np.float32(z + 0.45 * high) - torso.down) / 1.2, 0, 1)
    for _ in range(5):
        x, z, r = rng.uniform(80, 118), top + rng.uniform(52, 90), rng.uniform(7, 14)
        ring = [((x + r * np.cos(t)) * person.scale[0], (z + 0.8 * r * np.sin(t)) * person.scale[2]) for t in turn]
        gas = np.maximum(gas, view.inflated(ring, 0.0, 9.0, 16.0))
    return blurred(np.asarray(gas, np.float32), 1.2)


def diaphragm_points(torso: Torso) -> Points:
    """Tops of the domes in body coordinates: (2, 3), right then left, mm."""
    sx, _, sz = torso.person.scale
    return np.array([[side * 66 * sx, -10.0, torso.dome_z_mm[side] * sz] for side in (-1, 1)])
