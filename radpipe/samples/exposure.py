"""From path lengths to a stored image: attenuation, scatter, quantum noise, detector blur and display processing.

Beer-Lambert with one effective energy of about 65 keV. The processing is what CR and DX devices do before they send a
FOR PRESENTATION image: logarithm, compression of the large structures, unsharp masking, a sigmoid curve, 12 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from radpipe.samples.projection import Map, blurred

WATER_PER_MM = 0.0190
"""Linear attenuation of soft tissue at about 65 keV, broad beam, 1/mm."""
BONE_PER_MM = 0.036
"""Of cortical bone beyond the soft tissue whose place it takes, 1/mm."""


@dataclass(frozen=True, slots=True)
class Technique:
    """How the exposure was made and processed."""

    quanta: float = 60000.0  # per pixel in the open field
    scatter: float = 0.35  # after the grid, relative to the primary's local mean
    blur_px: float = 0.55
    compression: float = 0.42  # share of the large structures' contrast taken away
    sharpening: float = 0.55
    gamma: float = 3.3  # slope of the sigmoid, relative to its range
    centre: float = 0.64  # grey level of the median of the body, 0..1
    collimation_mm: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # top, left, bottom, right


def attenuation(soft_mm: Map, bone_mm: Map) -> Map:
    """Line integral of attenuation, no unit."""
    return np.asarray(WATER_PER_MM * np.clip(soft_mm, 0, None) + BONE_PER_MM * bone_mm, np.float32)


def exposed(depth: Map, pixel_mm: float, technique: Technique, rng: np.random.Generator) -> Map:
    """The detector's logarithmic signal, high where the body is dense: (rows, columns) float32."""
    primary = np.exp(-depth)
    wide = blurred(primary, 30.0 / pixel_mm)
    scatter = technique.scatter * np.minimum(wide, 0.35) * (0.6 + 0.4 * blurred(depth, 30.0 / pixel_mm) / 3.5)
    signal = primary + scatter
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    signal = signal + noise * np.sqrt(signal / np.float32(technique.quanta))
    signal = blurred(np.asarray(signal, np.float32), technique.blur_px)
    return np.asarray(-np.log(np.clip(signal, 1e-4, None)), np.float32)


def processed(signal: Map, pixel_mm: float, technique: Technique) -> Map:
    """Grey values 0..1, bright where the body is dense, as a device presents them."""
    inside = signal > 0.55
    broad = blurred(np.where(inside, signal, np.float32(0.55)), 22.0 / pixel_mm)
    middle = float(np.median(broad[inside]))
    flat = signal - technique.compression * (np.clip(broad, 0.8, None) - middle)
    flat = flat + technique.sharpening * (signal - blurred(signal, 1.6 / pixel_mm))
    flat = flat + 0.5 * technique.sharpening * (signal - blurred(signal, 5.0 / pixel_mm))
    rows, columns = flat.shape
    core = flat[rows // 6 : -rows // 6, columns // 6 : -columns // 6]
    low, high = (float(q) for q in np.percentile(core[::3, ::3], (3, 97)))
    relative = (flat - (low + high) / 2) / (high - low)
    grey = 1 / (1 + np.exp(-technique.gamma * (relative - (0.5 - technique.centre))))
    return np.asarray(grey, np.float32)


def collimated(grey: Map, pixel_mm: float, technique: Technique) -> Map:
    """Black beyond the collimator's edges, with their penumbra."""
    rows, columns = grey.shape
    top, left, bottom, right = (edge / pixel_mm for edge in technique.collimation_mm)
    row = np.arange(rows, dtype=np.float32)[:, None]
    column = np.arange(columns, dtype=np.float32)[None, :]
    inside = np.minimum(
        np.minimum(row - top, rows - 1 - bottom - row), np.minimum(column - left, columns - 1 - right - column)
    )
    return np.asarray(grey * np.clip(inside / 2.0 + 1, 0, 1), np.float32)


def stored(grey: Map) -> NDArray[np.uint16]:
    """12 bits in 16, MONOCHROME2."""
    return np.asarray(np.round(np.clip(grey, 0, 1) * 4095), np.uint16)


def lettered(grey: Map, text: str, row: int, column: int, height_px: int, *, level: float, thickness: int = 2) -> None:
    """Burn letters into the picture, as lead markers or a workstation do; changes `grey`. Baseline at (row, column)."""
    scale = height_px / 22.0
    face = cv2.FONT_HERSHEY_SIMPLEX
    layer = np.zeros(grey.shape, np.uint8)
    cv2.putText(layer, text, (column, row), face, scale, 255, thickness, cv2.LINE_AA)
    share = layer.astype(np.float32) / 255
    grey += share * (np.float32(level) - grey)
