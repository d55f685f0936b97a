"""Bones: ribs, vertebrae, clavicles, scapulae, humeri and sternum, as path length of cortical bone (mm, beyond soft tissue).

Shapes are plain formulas after textbook anatomy, in the frame of `projection`. Each function returns a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radpipe.samples.projection import Knots, Map, Points, Projection, Section, along, blurred, resampled, spline, tube

CAGE_HALF_WIDTH: Knots = (
    (-15, 32), (0, 52), (15, 73), (40, 101), (80, 122), (130, 135), (180, 140), (230, 142), (290, 139),
)  # fmt: skip
"""Inner half width of the rib cage at height z, mm."""

CAGE_HALF_DEPTH: Knots = ((-15, 30), (0, 40), (30, 60), (80, 80), (130, 91), (200, 97), (290, 96))
CAGE_CENTRE_Y: Knots = ((-15, 22), (40, 8), (100, 0), (200, -4), (290, -4))

FIRST_RIB_Z_MM = -12.0
RIB_SPACING_MM = 22.4


@dataclass(frozen=True, slots=True)
class Person:
    """What makes one phantom differ from the next. Scales are relative to the frame of the formulas."""

    seed: int
    female: bool = False
    scale: tuple[float, float, float] = (0.97, 1.0, 1.1)  # width, depth, height
    wall_mm: float = 22.0  # soft tissue outside the ribs, at the side
    cardiothoracic_ratio: float = 0.46
    bone: float = 1.0  # mineral density, relative
    kyphosis_mm: float = 0.0  # sideways bend of the spine
    breast_mm: float = 38.0  # thickness, where female

    def placed(self, points: Points) -> Points:
        """(N, 3 or more) points of the standard body in this one's size; further columns (radii) stay."""
        result = points.copy()
        result[:, :3] *= np.array(self.scale)
        return result

    def rng(self, *what: int) -> np.random.Generator:
        """A generator that belongs to this person and structure: the same at every visit."""
        return np.random.default_rng([self.seed, *what])


def shell(inner: int, outer: int, wall: float, marrow: float) -> Section:
    """Section of a bone: marrow of relative density `marrow` within a cortex `wall` half axes thick."""
    return Section(inner, outer, wall, marrow)


def rib_path(number: int, side: int) -> Points:
    """Centre line of a rib from its neck to its costochondral end: (N, 3), mm. `side` +1 is left."""
    end = {1: 150, 7: 141, 8: 132, 9: 123, 10: 112, 11: 84, 12: 58}.get(number, 148)
    drop = {1: 44, 2: 66, 3: 82, 4: 92, 11: 96, 12: 96}.get(number, 98.0)
    start_z = FIRST_RIB_Z_MM + RIB_SPACING_MM * (number - 1)
    angle = np.radians(np.linspace(4, end, 220))
    turn = (1 - np.cos(angle)) / 2
    z = start_z + drop * turn - 6 * np.sin(np.clip(angle * 1.8, 0, np.pi))
    half_width = along(z, CAGE_HALF_WIDTH) + 4
    x = half_width * np.sin(angle) ** 0.86
    y = along(z, CAGE_CENTRE_Y) + (along(z, CAGE_HALF_DEPTH) + 4) * np.cos(angle)
    x = np.maximum(x, 17 + 30 * np.sin(np.minimum(angle, 1.2)) * 0.4)
    return np.stack([side * x, y, z], 1)


def ribs(view: Projection, person: Person) -> Map:
    """Twelve pairs of ribs."""
    rng = person.rng(1)
    section = shell(20, 40, 0.17, 0.26)
    points, volumes = [], []
    for number in range(1, 13):
        for side in (1, -1):
            path = rib_path(number, side)
            path[:, 2] += rng.normal(0, 1.0)
            path = resampled(person.placed(path), 0.6)
            share = np.linspace(0, 1, len(path))
            height = (5.0 + 1.3 * np.sin(np.pi * share) + 0.8 * share) * (0.85 if number > 10 else 1.0)
            thick = 3.4 - 0.6 * share
            if number == 1:
                height, thick = height * 1.3, thick * 0.9
            taper = np.clip((1 - share) * len(path) / 8, 0.4, 1)
            normal = path[:, :3] * np.array([1, 1, 0.0])
            found, volume = tube(np.column_stack([path, height * taper, thick * taper]), section, normal)
            points.append(found)
            volumes.append(volume * np.repeat(0.92 + 0.16 * np.sin(np.pi * share), section.core + section.ring))
    return view.deposit(np.vstack(points), np.concatenate(volumes)) * np.float32(person.bone)


def spine_offset(z: Points, person: Person) -> Points:
    """Sideways place of the spine at height z, mm."""
    return person.kyphosis_mm * np.sin((z + 20) / 280 * np.pi * 1.3)


def spine(view: Projection, person: Person) -> Map:
    """Vertebral bodies C4 to L3 with end plates, pedicles, spinous and transverse processes."""
    lateral = view.view == "LL"
    across, down = view.grid(52.0 * person.scale[1] if not lateral else 0.0)
    scale_across = person.scale[1] if lateral else person.scale[0]
    across, down = across / np.float32(scale_across), down / np.float32(person.scale[2])
    table_z = np.linspace(-140, 380, 800)
    if lateral:
        centre = along(down, ((-120, 18), (-40, 30), (20, 48), (90, 57), (170, 52), (260, 34), (340, 22)))
        half = along(down, ((-120, 8), (-30, 9.5), (60, 13), (180, 16), (300, 19)))
    else:
        centre = np.interp(down, table_z, spine_offset(table_z, person)).astype(np.float32)
        half = along(down, ((-120, 11), (-30, 13.5), (60, 15), (180, 18), (300, 23)))
    spacing = along(down, ((-120, 15.5), (-30, 18.5), (0, 20.5), (120, 22.3), (300, 28)))
    phase = np.cumsum(1 / along(table_z, ((-120, 15.5), (-30, 18.5), (0, 20.5), (120, 22.3), (300, 28))))
    phase = phase * (table_z[1] - table_z[0])
    phase -= np.interp(FIRST_RIB_Z_MM - 2, table_z, phase)
    turn = np.interp(down, table_z, phase).astype(np.float32)
    local = (turn - np.floor(turn + np.float32(0.5))) * 2  # -1..1 from disc to disc
    body = np.clip((np.float32(0.82) - np.abs(local)) * spacing / 2 / np.float32(1.1), 0, 1)
    plate = np.exp(-(((np.abs(local) - 0.79) * spacing / 2 / 0.8) ** 2))
    waist = half * (np.float32(0.93) + np.float32(0.09) * local * local)
    inside = waist - np.abs(across - centre)
    depth = np.float32(27.0)
    chord = depth * np.sqrt(np.clip(1 - (1 - np.clip(inside / waist, 0, 1)) ** 4, 0, 1))
    rim = np.clip(inside, 0, 1) * np.exp(-np.clip(inside, 0, None) / 1.2)
    bone = (0.20 * chord + 1.6 * rim) * body + 0.09 * chord * plate
    processes = _processes(view, person, table_z, phase)
    return (blurred(bone.astype(np.float32), 1.3) + processes) * np.float32(person.bone)


def _processes(view: Projection, person: Person, table_z: Points, phase: Points) -> Map:
    section, pedicle = shell(10, 20, 0.25, 0.2), shell(4, 30, 0.3, 0.15)
    points, volumes = [], []
    for number in range(-3, 15):
        z = float(np.interp(number, phase, table_z))
        grow = 0.85 + 0.3 * np.clip(z / 260, -0.3, 1)
        x = float(spine_offset(np.array(z), person))
        back = float(along(z, ((-120, 30), (-30, 45), (60, 68), (180, 70), (300, 52))))
        parts: list[tuple[Sequence[tuple[float, ...]], Section]] = []
        for side in (-1, 1):
            inner = x + side * 12.0 * grow
            parts.append(([(inner, back - 5, z - 3, 3.4, 5.0), (inner, back + 9, z - 3, 3.2, 4.8)], pedicle))
            wing = [(inner, back + 8, z - 2, 5, 4), (inner + side * 9, back + 12, z - 1, 4.5, 3.5),
                    (inner + side * (19 - 0.02 * abs(z)), back + 16, z - 3, 4, 3.2)]  # fmt: skip
            parts.append((wing, section))
        spine_tip = [(x, back + 10, z + 1, 5, 3.0), (x, back + 24, z + 10, 5, 2.4), (x, back + 36, z + 20, 5, 2.6)]
        parts.append((spine_tip, section))
        for knots, form in parts:
            path = resampled(person.placed(spline(np.array(knots, float), 12)), 0.7)
            found, volume = tube(path, form)
            points.append(found)
            volumes.append(volume)
    return view.deposit(np.vstack(points), 0.26 * np.concatenate(volumes))


def shoulders(view: Projection, person: Person, *, arms_down: bool) -> Map:
    """Clavicles, scapulae and humeri. `arms_down` as in a bedside exposure: the blades lie over the lungs."""
    points, volumes = [], []
    section, long_bone = shell(36, 60, 0.22, 0.18), shell(260, 200, 0.2, 0.16)
    inward, up = (14.0, -6.0) if arms_down else (0.0, 0.0)
    total = np.zeros((view.rows, view.columns), np.float32)
    rng = person.rng(2)
    for side in (1, -1):
        lift = float(rng.normal(0, 2.0))
        clavicle = [(13, -60, 49, 8.5, 8), (30, -70, 42, 7, 6.5), (58, -70, 31, 5.8, 5.4), (92, -52, 19, 5.6, 5.2),
                    (125, -22, 10, 7, 4.8), (148, -2, 7, 9, 4.6)]  # fmt: skip
        acromion = [(104 - inward, 70, 34, 3, 4), (128 - inward / 2, 62, 18, 4.5, 4.5), (155, 40, 4, 8, 4.5),
                    (170, 16, 3, 9, 4.5)]  # fmt: skip
        edge = [(156 - inward, 24, 30, 9, 6), (153 - inward, 38, 52, 5.5, 4.6), (146 - inward, 56, 90, 3.6, 3.6),
                (136 - inward, 68, 132, 3.4, 3.2), (129 - inward, 72, 152, 3, 3)]  # fmt: skip
        medial = [(108 - inward, 70, 0, 2.4, 2.4), (107 - inward, 78, 40, 2.2, 2.2), (112 - inward, 80, 100, 2.2, 2.2),
                  (128 - inward, 72, 152, 3, 3)]  # fmt: skip
        upper = [(108 - inward, 70, 0, 2.2, 2.2), (130 - inward, 52, 10, 2, 2), (150 - inward, 34, 18, 4, 4)]
        coracoid = [(146 - inward, 22, 22, 6, 5), (140 - inward, -4, 20, 6, 5.2), (144 - inward, -22, 26, 5, 4.4)]
        for knots in (clavicle, acromion, edge, medial, upper, coracoid):
            path = spline(np.array(knots, float), 16)
            path[:, 0] *= side
            path[:, 2] += lift + up
            found, volume = tube(resampled(person.placed(path), 0.6), section, np.tile([0.0, 1.0, 0.1], (1, 1)))
            points.append(found)
            volumes.append(volume)
        if view.view != "LL":
            head = [(177, 14, 16 + up, 10, 10), (178, 12, 20 + up, 18, 18), (179, 10, 32 + up, 23.5, 23.5),
                    (182, 8, 45 + up, 21, 21), (185, 6, 62 + up, 14, 14), (190, 4, 100 + up, 11.5, 11.5),
                    (197, 2, 190 + up, 11, 11), (205, 0, 330 + up, 11, 11)]  # fmt: skip
            path = spline(np.array(head, float), 16)
            path[:, 0] *= side
            path[:, 2] += lift
            found, volume = tube(resampled(person.placed(path), 0.6), long_bone)
            points.append(found)
            volumes.append(volume * 0.55)
        blade = [(108, 2), (130, 12), (152, 24), (151, 60), (142, 110), (130, 150), (113, 104), (107, 44)]
        outline = [(side * (x - inward) * person.scale[0], (z + lift + up) * person.scale[2]) for x, z in blade]
        if view.view != "LL":
            total += view.inflated(outline, 70 * person.scale[1], 3.0, 2.6)
    return (total + view.deposit(np.vstack(points), np.concatenate(volumes))) * np.float32(person.bone)


def sternum(view: Projection, person: Person) -> Map:
    """Manubrium and body of the sternum: faint in a frontal view, an edge in the lateral."""
    knots = [(0, -66, 42, 24, 6), (0, -76, 70, 18, 6), (0, -90, 96, 14, 5.5), (0, -98, 140, 16, 5), (0, -99, 190, 12, 4)]
    path = resampled(person.placed(spline(np.array(knots, float), 16)), 0.6)
    found, volume = tube(path, shell(60, 50, 0.18, 0.2), np.tile([0.0, 1.0, 0.0], (1, 1)))
    return view.deposit(found, volume * 0.45) * np.float32(person.bone)
