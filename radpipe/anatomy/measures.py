"""Named, scale-free numbers of a chest: shapes, sides, densities, textures in known places. NaN where one cannot be
measured.

Ways are shares of the thorax's width, heights of the lungs' height, densities of the thorax's grey range; logarithms of
ratios are right over left. Suffixes `_right`, `_left` are the patient's sides; zones are thirds of each lung's height."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from radpipe.anatomy import pixels
from radpipe.anatomy.borders import SIDE, Borders, Lung
from radpipe.anatomy.heart import Side, contrast

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.bool_]

ZONES = ("upper", "middle", "lower")
LEVELS = (0.15, 0.30, 0.45, 0.60, 0.75)
"""Of the lungs' height, from the apices: where the mediastinum's width is taken."""


def measured(found: Borders, standard: Floats, heart: tuple[Side, Side]) -> dict[str, float]:
    """All of them, always the same names in the same order. `standard`: grey over the thorax's range."""
    layers = _layers(standard)
    numbers = {
        **_heart(found, standard, heart),
        **_mediastinum(found),
        **_lungs(found),
        **_diaphragm(found, standard, heart),
        **_densities(found, layers),
    }
    return {name: float(value) if np.isfinite(value) else float("nan") for name, value in numbers.items()}


def _layers(standard: Floats) -> dict[str, Floats]:
    """What is averaged over places: grey, and how much changes at three scales."""
    fine, middle, coarse = (pixels.blurred(standard, sigma) for sigma in (1.0, 2.5, 6.0))
    return {
        "grey": standard,
        "fine": np.abs(standard - fine),
        "middle": np.abs(fine - middle),
        "coarse": np.abs(middle - coarse),
        "steep": pixels.steepness(fine),
    }


def _heart(found: Borders, standard: Floats, heart: tuple[Side, Side]) -> dict[str, float]:
    right, left = heart
    width = found.width
    rows = np.arange(min(found.right.row(0.38), found.left.row(0.38)), max(min(right.base, left.base), 1) + 1)
    gap = found.left.medial[rows] - found.right.medial[rows]
    area = float(np.nansum(gap))
    core = np.zeros((SIDE, SIDE), bool)
    for row in rows:
        if np.isfinite(gap[row - rows[0]]) and gap[row - rows[0]] > 0:
            core[row, int(found.right.medial[row]) : int(found.left.medial[row])] = True
    columns = np.arange(SIDE)[None]
    lower = np.arange(SIDE)[:, None] > (rows[0] + rows[-1]) / 2
    behind_left = core & lower & (columns > found.middle[:, None])
    behind_right = core & lower & (columns <= found.middle[:, None])
    upper = core & ~lower
    grey = [float(standard[place].mean()) if place.sum() > 20 else np.nan for place in (behind_left, behind_right, upper)]
    return {
        "ctr": (right.extent + left.extent) / width,
        "heart_widest": float(np.nanmax(gap)) / width if np.isfinite(gap).any() else np.nan,
        "heart_right": right.extent / width,
        "heart_left": left.extent / width,
        "heart_left_share": left.extent / max(right.extent + left.extent, 1e-3),
        "heart_area": area / width**2,
        "heart_area_of_lungs": area / (found.right.area + found.left.area),
        "heart_contrast_right": right.contrast,
        "heart_contrast_left": left.contrast,
        "heart_grey": float(standard[core].mean()) if core.any() else np.nan,
        "retrocardiac_left": grey[0] - grey[2],
        "retrocardiac_difference": grey[0] - grey[1],
        "ctr_own_walls": _own_walls(found, heart),
    }


def _own_walls(found: Borders, heart: tuple[Side, Side]) -> float:
    """The ratio by the walls in the rows of the heart alone: does not hang on the costophrenic angles."""
    right, left = heart
    walls = found.left.lateral[left.row] - found.right.lateral[right.row]
    return (right.extent + left.extent) / walls if np.isfinite(walls) and walls > 0 else np.nan


def _mediastinum(found: Borders) -> dict[str, float]:
    numbers: dict[str, float] = {}
    widths = []
    for level in LEVELS:
        rows = (found.right.row(level), found.left.row(level))
        gap = found.left.medial[rows[1]] - found.right.medial[rows[0]]
        widths.append(gap / found.width)
        numbers[f"mediastinum_{round(100 * level)}"] = widths[-1]
    numbers["mediastinum_shape"] = widths[3] / widths[1] if widths[1] > 0 else np.nan
    for lung, name in ((found.right, "right"), (found.left, "left")):
        for level in (0.30, 0.45, 0.60, 0.75):
            row = lung.row(level)
            numbers[f"border_{round(100 * level)}_{name}"] = (
                (lung.medial[row] - found.middle[row]) * lung.outward / found.width
            )
    middle = float(found.middle[(found.top + found.end) // 2])
    low, high = found.thorax
    numbers["mediastinum_shift"] = (middle - (low + high) / 2) / found.width
    return numbers


def _lungs(found: Borders) -> dict[str, float]:
    right, left = found.right, found.left
    box = found.width * (found.end - found.top)
    return {
        "lung_area_right": right.area / box,
        "lung_area_left": left.area / box,
        "lung_area_ratio": float(np.log(right.area / left.area)),
        "lung_height_ratio": float(np.log(right.height / left.height)),
        "lung_width_ratio": float(np.log(right.width / left.width)),
        "lung_slimness_right": right.height / max(right.width, 1.0),
        "lung_slimness_left": left.height / max(left.width, 1.0),
        "thorax_slimness": (found.end - found.top) / found.width,
        "thorax_area_of_frame": box / SIDE**2,
        "thorax_upper_width": _upper_width(found),
        "apex_difference": (right.top - left.top) / (found.end - found.top),
    }


def _upper_width(found: Borders) -> float:
    """Width of the thorax at a quarter of its height over its widest: near 1 in a barrel chest."""
    return float(found.left.lateral[found.left.row(0.25)] - found.right.lateral[found.right.row(0.25)]) / found.width


def _diaphragm(found: Borders, standard: Floats, heart: tuple[Side, Side]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    domes: dict[str, float] = {}
    for lung, side, name in ((found.right, heart[0], "right"), (found.left, heart[1], "left")):
        row, _ = lung.dome(side.base_column)
        tip_row, tip_column = lung.tip()
        domes[name] = row
        numbers[f"diaphragm_height_{name}"] = (lung.end - row) / lung.height
        numbers[f"costophrenic_depth_{name}"] = (tip_row - row) / found.width
        numbers[f"costophrenic_angle_{name}"] = _angle(lung, tip_row, tip_column)
        numbers[f"costophrenic_grey_{name}"] = _near_tip(lung, tip_row, tip_column, standard)
        numbers[f"diaphragm_arch_{name}"] = _arch(lung, side.base_column)
        numbers[f"diaphragm_contrast_{name}"] = _floor_contrast(lung, standard)
        numbers[f"wall_contrast_{name}"] = contrast(
            standard, lung.lateral, np.arange(lung.row(0.5), lung.row(0.85)), lung.outward
        )
    numbers["diaphragm_difference"] = (domes["right"] - domes["left"]) / (found.end - found.top)
    return numbers


def _angle(lung: Lung, tip_row: float, tip_column: float) -> float:
    """The costophrenic angle in units of 180 degrees: between the ways from its tip along the wall and along the
    diaphragm."""
    reach = 0.12 * lung.height
    row = int(max(tip_row - reach, lung.top))
    wall = np.array([row - tip_row, lung.lateral[row] - tip_column])
    column = int(np.clip(tip_column - lung.outward * reach, 0, SIDE - 1))
    if not np.isfinite(lung.bottom[column]):
        return float("nan")
    floor = np.array([lung.bottom[column] - tip_row, column - tip_column])
    lengths = float(np.hypot(*wall) * np.hypot(*floor))
    return float(np.arccos(np.clip(wall @ floor / max(lengths, 1e-6), -1, 1)) / np.pi)


def _near_tip(lung: Lung, tip_row: float, tip_column: float, standard: Floats) -> float:
    rows, columns = np.nonzero(lung.mask)
    near = np.hypot(rows - tip_row, columns - tip_column) < 0.14 * lung.height
    if near.sum() < 8:
        return float("nan")
    return float(standard[rows[near], columns[near]].mean() - standard[lung.mask].mean())


def _arch(lung: Lung, base: float) -> float:
    """How high the diaphragm rises above the chord between its ends, over the chord: flat near 0."""
    _, tip_column = lung.tip()
    if not np.isfinite(base):
        return float("nan")
    low, high = sorted((base, tip_column))
    columns = np.arange(int(low), int(high) + 1)
    columns = columns[np.isfinite(lung.bottom[columns])]
    if len(columns) < 8:
        return float("nan")
    floor = lung.bottom[columns]
    chord = np.interp(columns, [columns[0], columns[-1]], [floor[0], floor[-1]])
    return float((chord - floor).max() / len(columns))


def _floor_contrast(lung: Lung, standard: Floats) -> float:
    """Rise of the grey across the diaphragm, downwards; small where something dense lies upon it."""
    columns = np.flatnonzero(np.isfinite(lung.bottom))
    inner = columns[len(columns) // 4 : -max(len(columns) // 5, 1)]
    floor = lung.bottom[inner].astype(int)
    inside = (floor + 10 < SIDE) & (floor > 10)
    inner, floor = inner[inside], floor[inside]
    if len(inner) < 8:
        return float("nan")
    steps = np.arange(2, 9)
    below, above = standard[floor[:, None] + steps, inner[:, None]], standard[floor[:, None] - steps, inner[:, None]]
    return float(np.median(below.mean(axis=1) - above.mean(axis=1)))


def _densities(found: Borders, layers: dict[str, Floats]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    chest = np.median(layers["grey"][found.right.mask | found.left.mask])
    for lung, name in ((found.right, "right"), (found.left, "left")):
        field, grey = lung.mask, layers["grey"]
        values = grey[field]
        low, half, high = np.percentile(values, (10, 50, 90))
        numbers |= {
            f"grey_{name}": half,
            f"grey_spread_{name}": high - low,
            f"dark_share_{name}": float((values < 0.35).mean()),
            f"bright_share_{name}": float((values > 0.65).mean()),
        }
        deep = pixels.depth(field)
        rim, inner = field & (deep <= 0.18 * lung.width), field & (deep > 0.18 * lung.width)
        for layer in ("grey", "middle"):
            numbers[f"rim_{layer}_{name}"] = pixels.mean(layers[layer][rim]) - pixels.mean(layers[layer][inner])
        apex = field & (np.arange(SIDE)[:, None] < lung.row(0.15))
        numbers[f"apex_grey_{name}"] = pixels.mean(grey[apex]) - half
        numbers[f"apex_texture_{name}"] = pixels.mean(layers["middle"][apex])
        for zone, place in zip(ZONES, thirds(lung), strict=True):
            inside = place.any()
            numbers[f"grey_{zone}_{name}"] = pixels.mean(grey[place])
            numbers[f"grey_deviation_{zone}_{name}"] = grey[place].std() if inside else np.nan
            for layer in ("fine", "middle", "coarse", "steep"):
                numbers[f"{layer}_{zone}_{name}"] = pixels.mean(layers[layer][place])
    for zone in ZONES:
        for layer in ("grey", "middle"):
            difference = numbers[f"{layer}_{zone}_right"] - numbers[f"{layer}_{zone}_left"]
            numbers[f"{layer}_{zone}_apart"] = abs(difference)
    for name in ("right", "left"):
        numbers[f"grey_gradient_{name}"] = numbers[f"grey_lower_{name}"] - numbers[f"grey_upper_{name}"]
    numbers["grey_apart"] = abs(numbers["grey_right"] - numbers["grey_left"])
    numbers["lungs_median_grey"] = float(chest)
    return numbers


def thirds(lung: Lung) -> tuple[Mask, Mask, Mask]:
    """Upper, middle and lower zone of one lung: thirds of its height."""
    rows = np.arange(SIDE)[:, None]
    first, second = lung.top + lung.height / 3, lung.top + 2 * lung.height / 3
    return lung.mask & (rows < first), lung.mask & (rows >= first) & (rows < second), lung.mask & (rows >= second)
