"""Findings painted into the phantom's lungs: each knows its finding's name, its side and its size in mm.

A lesion changes what fills the pleural space (density relative to water, whether vessels show) or adds tissue. `paint`
returns the change of path length in mm of water, from which the lesion's box in the picture follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from radpipe.samples.projection import Map, Section, along, clouds, resampled, tube
from radpipe.samples.torso import Torso
from radpipe.samples.vessels import HILUM

LEFT, RIGHT = 1, -1


class Lesion(Protocol):
    """Something painted; `finding` is a name of `radpipe.codes.FINDINGS`, `side` +1 left, -1 right, 0 both."""

    @property
    def finding(self) -> str: ...
    @property
    def side(self) -> int: ...
    @property
    def size_mm(self) -> float | None: ...
    def paint(self, torso: Torso) -> Map:
        """Change the torso's maps in place; returns the added path, (rows, columns) mm of water (negative for air)."""


def _fill(torso: Torso, side: int, share: Map, density: float, perfused: float) -> Map:
    """Bring the density of what fills this side's pleural space to `density` in this share of each path."""
    before = torso.density[side]
    after = np.asarray(before + (np.float32(density) - before) * share, np.float32)
    torso.density[side] = after
    torso.perfused[side] = np.asarray(torso.perfused[side] * (1 - (1 - np.float32(perfused)) * share), np.float32)
    return np.asarray((after - before) * torso.space[side], np.float32)


@dataclass(frozen=True, slots=True)
class Effusion:
    """Free pleural fluid with a meniscus; `height_mm` above the costophrenic angle, at mid-lung."""

    side: int
    height_mm: float
    finding: str = "pleural_effusion"

    @property
    def size_mm(self) -> float | None:
        return self.height_mm

    def paint(self, torso: Torso) -> Map:
        x, z = torso.outward(self.side), torso.down
        to_wall = np.clip(torso.side_edge() - x, 0, None)
        climb = min(0.55 * self.height_mm + 8, 42.0)
        surface = np.float32(torso.angle_z(self.side) - self.height_mm) - climb * np.exp(-to_wall / 22)
        surface = surface - np.float32(0.25 * climb) * np.exp(-np.clip(x - 18, 0, None) / 16)
        share = 1 - np.exp(-np.clip(z - surface, 0, None) / 15)
        return _fill(torso, self.side, np.asarray(share, np.float32), 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Pneumothorax:
    """Free air between chest wall and a lung that has fallen back by `gap_mm`."""

    side: int
    gap_mm: float
    finding: str = "pneumothorax"

    @property
    def size_mm(self) -> float | None:
        return self.gap_mm

    def paint(self, torso: Torso) -> Map:
        x, z = torso.outward(self.side), torso.down
        table = np.linspace(-40, 330, 800)
        fallen = along(table - 1.15 * self.gap_mm, ((0, 44), (4, 58), (13, 72), (40, 95), (80, 117), (130, 131), (290, 138)))
        edge = fallen - self.gap_mm * (0.9 + 0.1 * np.sin(table / 31.0))
        base = np.clip((table - torso.dome_z_mm[self.side] + 55) / 60, 0, 1)  # the lung's base stays near the diaphragm
        edge = edge + 1.2 * self.gap_mm * base * base * (3 - 2 * base)
        edge = np.where(table < 1.15 * self.gap_mm, -50.0, edge)
        line = np.interp(z, table, edge).astype(np.float32)
        free = np.clip((x - line) / 1.0 + 0.5, 0, 1) * np.clip(z, 0, 1)
        change = _fill(torso, self.side, np.asarray(free, np.float32), 0.005, 0.0)
        collapsed = np.asarray((1 - free) * (x > 0), np.float32)
        change += _fill(torso, self.side, collapsed * np.float32(0.12 + self.gap_mm / 400), 0.8, 1.0)
        pleura = 6.0 * np.exp(-(((x - line) / 0.8) ** 2)) * np.clip(torso.space[self.side] / 40, 0, 1)
        torso.soft = torso.soft + np.asarray(pleura, np.float32)
        return np.asarray(np.minimum(change, 0), np.float32)


@dataclass(frozen=True, slots=True)
class Nodule:
    """A solid round lesion of `size_mm` at (x, y, z) mm of this person's body."""

    centre_mm: tuple[float, float, float]
    size_mm: float
    finding: str = "nodule"
    lobulation: float = 0.05

    @property
    def side(self) -> int:
        return LEFT if self.centre_mm[0] > 0 else RIGHT

    def paint(self, torso: Torso) -> Map:
        x, y, z = self.centre_mm
        across, down = torso.view.grid(y)
        dx, dz = across - np.float32(x), down - np.float32(z)
        angle = np.arctan2(dz, dx)
        radius = self.size_mm / 2 * (1 + self.lobulation * (np.sin(3 * angle + 1) + 0.6 * np.sin(5 * angle)))
        chord = 2 * np.sqrt(np.clip(radius**2 - dx**2 - dz**2, 0, None))
        change = np.asarray(chord * (1.04 - torso.density[self.side]) * (torso.space[self.side] > 1), np.float32)
        torso.soft = torso.soft + change
        return change


@dataclass(frozen=True, slots=True)
class Consolidation:
    """Air spaces filled over an ellipse (outward, z; standard body, mm), fuzzy but for a fissure; airways stay open."""

    side: int
    centre_mm: tuple[float, float]
    reach_mm: tuple[float, float]
    share: float = 0.52
    fissure_z_mm: float | None = None  # nothing beyond it: below, or above if the centre lies below
    finding: str = "consolidation"

    @property
    def size_mm(self) -> float | None:
        return 2 * max(self.reach_mm)

    def paint(self, torso: Torso) -> Map:
        x, z = torso.outward(self.side), torso.down
        rough = clouds(torso.person.rng(11, int(self.centre_mm[1])), x.shape[0], x.shape[1], (45, 90))
        distance = np.hypot((x - self.centre_mm[0]) / self.reach_mm[0], (z - self.centre_mm[1]) / self.reach_mm[1])
        share = np.clip((1.15 - distance + 0.13 * rough) / 0.75, 0, 1)
        share = share * share * (3 - 2 * share)
        if self.fissure_z_mm is not None:
            beyond = (z - (self.fissure_z_mm + 0.10 * (x - 60))) * (1 if self.centre_mm[1] < self.fissure_z_mm else -1)
            share *= np.clip(1 - beyond / 1.5, 0, 1)
        share = np.asarray(share * np.float32(self.share) * (1 + 0.05 * rough), np.float32)
        return _fill(torso, self.side, np.clip(share, 0, 1), 0.98, 0.1)


@dataclass(frozen=True, slots=True)
class Edema:
    """Perihilar haze on both sides with septal lines at the bases; `severity` 0..1."""

    severity: float
    finding: str = "edema"
    side: int = 0
    size_mm: float | None = None

    def paint(self, torso: Torso) -> Map:
        change = np.zeros_like(torso.soft)
        rough = clouds(torso.person.rng(12), change.shape[0], change.shape[1], (24, 55, 110))
        rng = torso.person.rng(13)
        for side in (LEFT, RIGHT):
            x, z = torso.outward(side), torso.down
            distance = np.hypot((x - abs(HILUM[side][0]) - 8) / 52, (z - HILUM[side][2] - 26) / 72)
            haze = np.exp(-(distance**2)) * (1 + 0.16 * rough) + 0.22 * np.clip((z - 60) / 150, 0, 1)
            change += _fill(torso, side, np.clip(np.asarray(0.50 * self.severity * haze, np.float32), 0, 0.9), 1.0, 0.85)
            for _ in range(14):
                level = rng.uniform(165, 225)
                outer = side * (along(level, ((100, 124), (180, 137), (230, 140))) - 4)
                y = rng.uniform(-30, 30)
                line = [
                    [outer, y, level, 0.5, 5.0],
                    [outer - side * rng.uniform(10, 20), y, level + rng.normal(0, 1), 0.4, 4.0],
                ]
                path = resampled(torso.person.placed(np.array(line)), 0.5)
                points, volume = tube(path, Section(30), np.tile([0.0, 1.0, 0.0], (len(path), 1)))
                torso.soft = torso.soft + torso.view.deposit(points, volume * 0.6 * self.severity)
        return change


@dataclass(frozen=True, slots=True)
class Band:
    """Plate-like atelectasis: a band from one point to another (outward, z; standard body, mm), `width_mm` thick."""

    side: int
    start_mm: tuple[float, float]
    end_mm: tuple[float, float]
    width_mm: float = 5.0
    finding: str = "atelectasis"

    @property
    def size_mm(self) -> float | None:
        return float(np.hypot(self.end_mm[0] - self.start_mm[0], self.end_mm[1] - self.start_mm[1]))

    def paint(self, torso: Torso) -> Map:
        x, z = torso.outward(self.side), torso.down
        ax, az = self.start_mm
        dx, dz = self.end_mm[0] - ax, self.end_mm[1] - az
        length = float(np.hypot(dx, dz))
        along_band = ((x - ax) * dx + (z - az) * dz) / length
        aside = ((z - az) * dx - (x - ax) * dz) / length + 4 * np.sin(along_band / length * np.pi)
        ends = np.clip(along_band / 8, 0, 1) * np.clip((length - along_band) / 8, 0, 1)
        band = 34 * np.exp(-((aside / (self.width_mm / 2)) ** 2)) * ends
        change = np.asarray(np.minimum(band, torso.space[self.side]) * 0.7, np.float32)
        torso.soft = torso.soft + change
        return change


def box_px(change: Map) -> tuple[int, int, int, int] | None:
    """Top, left, bottom, right of where a lesion changes the path by over a quarter of its most; None if nowhere."""
    strong = np.abs(change)
    most = float(strong.max())
    if most <= 0:
        return None
    rows, columns = np.nonzero(strong > 0.25 * most)
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


__all__ = ["LEFT", "RIGHT", "Band", "Consolidation", "Edema", "Effusion", "Lesion", "Nodule", "Pneumothorax", "box_px"]
