"""The lateral chest and the hand: the two phantoms that are not frontal."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from radpipe.samples.projection import (
    Knots,
    Map,
    Projection,
    Section,
    along,
    blurred,
    clouds,
    resampled,
    rounded,
    spline,
    tube,
)
from radpipe.samples.skeleton import (
    CAGE_CENTRE_Y,
    CAGE_HALF_DEPTH,
    CAGE_HALF_WIDTH,
    Person,
    ribs,
    shell,
    shoulders,
    spine,
    sternum,
)
from radpipe.samples.vessels import airways, hila, vessels

_HEART: Knots = (
    (-18, 84), (-48, 96), (-72, 120), (-86, 150), (-92, 185), (-86, 215), (-60, 240), (-10, 244), (18, 232), (30, 200),
    (34, 165), (30, 130), (16, 100), (0, 86),
)  # fmt: skip
_TRUNK: Knots = (
    (-55, -120), (-52, -70), (-60, -35), (-88, 10), (-108, 60), (-124, 110), (-132, 170), (-130, 240), (-132, 380),
    (118, 380), (112, 300), (126, 220), (136, 140), (134, 70), (118, 15), (92, -30), (72, -60), (66, -120),
)  # fmt: skip


def lateral_chest(view: Projection, person: Person) -> tuple[Map, Map]:
    """Path lengths of soft tissue (mm of water) and bone (mm of cortex) of a left lateral view, arms raised."""
    sx, sy, sz = person.scale
    depth, down = view.grid(0.0)
    depth, down = depth / np.float32(sy), down / np.float32(sz)
    width = along(down, ((-60, 105), (-20, 150), (30, 240), (100, 300), (200, 318), (330, 315))) * np.float32(sx)
    outline = [(y * sy, z * sz) for y, z in _TRUNK]
    soft = view.inflated(outline, 0.0, 62.0, 1.0) * width
    arm = [(-75, -130), (-62, -40), (-40, 4), (10, 24), (60, 12), (82, -40), (90, -130)]
    soft = soft + view.inflated([(y * sy, z * sz) for y, z in arm], 0.0, 70.0, 55.0)
    if person.female:
        breast = [(-70, 110), (-118, 124), (-142, 152), (-156, 186), (-146, 212), (-118, 226), (-70, 220)]
        soft = soft + view.inflated([(y * sy, z * sz) for y, z in breast], 0.0, 40.0, 60.0)
    centre, half = along(down, CAGE_CENTRE_Y), along(down, CAGE_HALF_DEPTH)
    cage = along(down, CAGE_HALF_WIDTH) * np.sqrt(np.clip(1 - ((depth - centre) / half) ** 2, 0, 1))
    cage = cage * np.clip(down / 3, 0, 1)
    heart = view.inflated([(y * sy, z * sz) for y, z in _HEART], 0.0, 44.0, 118.0 * person.cardiothoracic_ratio / 0.46)
    front = along(down, ((0, 34), (40, 30), (90, 16), (300, 10)))
    middle = np.clip(front + 16 * np.exp(-(((depth - 10) / 40) ** 2)), 0, 40)
    texture = clouds(person.rng(5), view.rows, view.columns, (5, 9, 20, 45))
    space = np.zeros_like(soft)
    for side, top in ((1, 222.0), (-1, 210.0)):
        inner = np.maximum(middle, heart * (0.62 if side > 0 else 0.38))
        rise = (down - top) / 46 - ((depth + 10) / 95) ** 2
        reach = np.sqrt(np.clip(rise, 0, None))
        overlap = np.minimum(cage, 66 + 78 * reach) - np.maximum(inner, 66 - 100 * reach)
        covered = np.where(rise > 0, np.clip(overlap, 0, None), 0)
        space += np.clip(np.clip(cage - inner, 0, None) - covered, 0, None) * np.float32(sx)
    space = blurred(np.asarray(space, np.float32), 0.8)
    soft = soft - space * (1 - 0.25 * (1 + 0.04 * texture))
    dome = {1: 222.0, -1: 210.0}
    blood = vessels(view, person, dome) + hila(view, person)
    soft = soft + 0.75 * np.minimum(blood, space) - 0.9 * np.minimum(airways(view, person), 22)
    bubble = [(-40, 250), (-20, 240), (10, 240), (28, 250), (24, 262), (-34, 262)]
    soft = soft - view.inflated([(y * sy, z * sz) for y, z in bubble], 0.0, 10.0, 40.0)
    bone = ribs(view, person) * 0.9 + spine(view, person) + sternum(view, person) * 2.0
    bone = bone + 0.6 * shoulders(view, person, arms_down=False)
    return np.asarray(soft, np.float32), np.asarray(bone, np.float32)


_FINGERS: tuple[tuple[tuple[float, float], ...], ...] = (
    ((34, 62), (58, 26), (78, -4), (92, -30)),
    ((20, 42), (30, -22), (36, -66), (39, -94), (41, -114)),
    ((4, 40), (5, -26), (6, -76), (6, -108), (6, -130)),
    ((-12, 44), (-20, -16), (-25, -62), (-28, -92), (-30, -112)),
    ((-26, 50), (-42, 0), (-54, -36), (-61, -58), (-66, -76)),
)
"""Joints of thumb to little finger, left hand seen from its back: (x, z), mm."""


def hand(view: Projection, person: Person) -> tuple[Map, Map]:
    """Path lengths of soft tissue and bone of a hand, palm on the detector."""
    points, volumes = [], []
    skin = []
    for joints in _FINGERS:
        thick = 1.15 if joints is _FINGERS[0] else 1.0
        for number, (start, end) in enumerate(pairwise(joints)):
            (ax, az), (bx, bz) = start, end
            r = (6.2, 5.4, 4.6, 3.8)[min(number + (1 if thick > 1 else 0), 3)] * thick
            share = np.linspace(0.04, 0.96, 60)
            waist = r * (0.62 + 0.42 * np.abs(2 * share - 1) ** 2.4)
            path = np.column_stack([ax + (bx - ax) * share, np.zeros(60), az + (bz - az) * share, waist, waist * 0.9])
            found, volume = tube(resampled(path, 0.4), shell(90, 110, 0.34, 0.28))
            points.append(found)
            volumes.append(volume)
        line = np.array([[x, 0.0, z, 9.5 * thick, 8.5 * thick] for x, z in joints])
        tip = line[-1] + (line[-1] - line[-2]) * np.array([0.16, 0.16, 0.16, 0, 0])
        line = np.vstack([line, tip])
        line[-2:, 3:] *= np.array([[0.8], [0.25]])
        skin.append(tube(resampled(spline(line, 20), 0.5), Section(260)))
    carpals = [(22, 56, 8), (8, 54, 8), (-6, 54, 9), (-20, 58, 9), (20, 72, 10), (2, 70, 9), (-14, 72, 8), (-24, 70, 6)]
    for x, z, r in carpals:
        share = np.linspace(-0.98, 0.98, 40)
        width = r * np.sqrt(1 - share**2)
        path = np.column_stack([x + 0 * share, 0 * share, z + r * share, width, width * 0.8])
        found, volume = tube(path, shell(140, 140, 0.16, 0.4))
        points.append(found)
        volumes.append(volume)
    for x, half in ((14, 13.5), (-22, 7.0)):
        forearm = np.array(
            [[x, 0, 84, half, 9], [x, 0, 92, half, 9], [x + 1, 0, 112, half * 0.7, 7], [x + 2, 0, 190, half * 0.55, 6]]
        )
        found, volume = tube(resampled(spline(forearm, 20), 0.4), shell(160, 160, 0.25, 0.28))
        points.append(found)
        volumes.append(volume)
    palm = [
        (42, 54),
        (34, 20),
        (32, -24),
        (6, -34),
        (-22, -26),
        (-46, 2),
        (-44, 50),
        (-36, 92),
        (-40, 190),
        (36, 190),
        (34, 96),
    ]
    soft = view.inflated(palm, 0.0, 12.0, 26.0)
    fingers = view.deposit(np.vstack([p for p, _ in skin]), np.concatenate([v for _, v in skin]))
    soft = np.maximum(soft, rounded(np.clip(fingers, 0, 19), 19.0, 19.0))
    bone = view.deposit(np.vstack(points), np.concatenate(volumes)) * np.float32(0.9 * person.bone)
    return blurred(np.asarray(soft, np.float32), 1.0), bone
