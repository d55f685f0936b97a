"""Bring a prior onto the current image, and say whether the two can be compared at all.

Both images are made comparable in themselves first (local mean and contrast, so that exposure and window do not
matter), then a coarse search over rotation, zoom and shift (masked cross-correlation) gives the start of an affine
refinement that maximises the enhanced correlation coefficient (Evangelidis and Psarakis 2008, IEEE PAMI 30:1858).
The correlation that is left on the overlap decides: two frontal chests keep it, a chest and another body part do not.
It cannot tell one patient's chest from another's; whose images these are is the store's work, not the picture's.

OpenCV is imported inside the functions, so that importing this module stays cheap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from radpipe.finding import Registration

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

CORRELATION_LIMIT = 0.45
"""Comparable at and above; set on data, see benchmarks/registration.py and its last result."""

STRAINED_LIMIT = 0.55
"""The same for an alignment that had to turn, zoom or stretch the prior a good deal, or that covers little of the
image: a false match bends until it fits, a true one (another breath, another field of view) then fits well."""

MIRRORED_MARGIN = 0.08
"""The mirrored prior must match better by this much before the images are said to face different ways."""

OVERLAP_LIMIT = 0.5
"""The prior must cover at least this share of the current image."""

ZOOM_LIMITS = (0.6, 1.65)
"""Zoom beyond these is another field of view or a false match, not breathing and positioning."""

ROTATION_LIMIT_DEG = 25.0
"""Patients lean; they do not lie across."""

STRETCH_LIMIT = 1.5
"""Ratio of the two singular values of the affine. A deep against a shallow breath reaches 1.45 in nih/ follow-ups."""

SMALLEST_SIDE_PX = 32
LONGEST_SHAPE = 4.0
"""Long side over short side; beyond it nothing is left of the short side at the working resolution."""

_LONG_SIDE = 256  # working resolution, long side
_COARSE = 64  # resolution of the coarse search, long side
_CONTRAST_SIGMA = 16.0  # pixels at the working resolution; about the width of three ribs
_FLAT = 0.012  # local standard deviation (of 0..1) below which nothing is to be seen: collimation, padding
_BLACK = 0.02
_ROTATIONS_DEG = (-12.0, -6.0, 0.0, 6.0, 12.0)
_ZOOMS = (0.80, 0.90, 1.0, 1.11, 1.25)
_MIDDLE_ITERATIONS = 25
_FINE_ITERATIONS = 12
_STARTS = 3  # coarse candidates that are refined
_MOST_SHIFT = 0.35  # of the long side


@dataclass(frozen=True, slots=True)
class _Level:
    """One resolution of one image: locally normalised values, and where they mean something (uint8 0 or 1)."""

    image: Array
    mask: npt.NDArray[np.uint8]
    grey: Array  # 0..1, stretched between percentiles 1 and 99

    @property
    def mirrored(self) -> _Level:
        """Left and right exchanged."""
        mask = np.ascontiguousarray(self.mask[:, ::-1])
        return _Level(_float32(self.image[:, ::-1]), mask, _float32(self.grey[:, ::-1]))


def register(current: npt.NDArray[Any], prior: npt.NDArray[Any]) -> Registration:
    """Register two presentation images (rows, columns), float 0..1, of any size, brightness and contrast.

    Never raises on an image without content or too small: it is not comparable then, and `why` says so.
    """
    for name, image in (("current", current), ("prior", prior)):
        if image.ndim != 2 or min(image.shape) < SMALLEST_SIDE_PX:
            return Registration(0.0, False, f"the {name} image is smaller than {SMALLEST_SIDE_PX} pixels")
        if max(image.shape) > LONGEST_SHAPE * min(image.shape):
            return Registration(0.0, False, f"the {name} image is a strip, {image.shape[0]} x {image.shape[1]} pixels")
    here, there = _levels(current), _levels(prior)
    for name, level in (("current", here[2]), ("prior", there[2])):
        if float(level.mask.mean()) < 0.2:
            return Registration(0.0, False, f"the {name} image has hardly any structure to align")
    best, correlation, overlap = _align(here, there)
    transform = _normalised(best, here[2].image.shape, there[2].image.shape)
    comparable, why = _judge(correlation, overlap, best)
    if comparable and _faces_the_other_way(here, there, best):
        comparable, why = False, "the prior matches better when it is mirrored: check which side is left in both images"
    return Registration(round(correlation, 4), comparable, why, transform)


def to_prior(registration: Registration, x: float, y: float) -> tuple[float, float]:
    """Where a point of the current image (normalised, 0..1) lies in the prior; may fall outside 0..1."""
    a, b, c, d, e, f = registration.transform
    return a * x + b * y + c, d * x + e * y + f


def _judge(correlation: float, overlap: float, warp: Array) -> tuple[bool, str]:
    """Whether this alignment supports a comparison, and why in words."""
    zoom, rotation, stretch = _shape(warp)
    strained = stretch > 1.2 or abs(rotation) > 10.0 or not 0.8 <= zoom <= 1.25 or overlap < 0.6
    limit = STRAINED_LIMIT if strained else CORRELATION_LIMIT
    if correlation < limit:
        return False, (
            f"the two images do not match after alignment (correlation {max(correlation, 0.0):.2f}, "
            f"at least {limit:.2f} is needed): another view, another field of view or poor quality"
        )
    return True, f"aligned with correlation {correlation:.2f} over {min(overlap, 1.0):.0%} of the image"


def _align(here: tuple[_Level, ...], there: tuple[_Level, ...]) -> tuple[Array, float, float]:
    """The best plausible warp (pixels of the fine level), its correlation and its overlap; identity and -1 if none."""
    tried = []
    for start in _coarse_starts(here[0], there[0], _ROTATIONS_DEG, _ZOOMS)[:_STARTS]:
        for warp in (_refine(here[1], there[1], _doubled(start), _MIDDLE_ITERATIONS), _doubled(start)):
            correlation, overlap = _agreement(here[1], there[1], warp)
            if overlap >= OVERLAP_LIMIT and _is_plausible(warp):
                tried.append((correlation, warp))
                break  # the unrefined start stands in only for a refinement that ran astray
    if not tried:
        return np.eye(2, 3, dtype=np.float32), -1.0, 0.0
    middle = _doubled(max(tried, key=lambda pair: pair[0])[1])
    fine = _refine(here[2], there[2], middle, _FINE_ITERATIONS)
    (better, more), (good, enough) = (_agreement(here[2], there[2], warp) for warp in (fine, middle))
    if better >= good and more >= OVERLAP_LIMIT and _is_plausible(fine):
        return fine, better, more
    return middle, good, enough


def _faces_the_other_way(here: tuple[_Level, ...], there: tuple[_Level, ...], best: Array) -> bool:
    """Whether the prior, mirrored, matches clearly better: one cheap try, without search over rotation and zoom."""
    mirrored = tuple(level.mirrored for level in there)
    start = _coarse_starts(here[0], mirrored[0], (0.0,), (_shape(best)[0],))[0]
    warp = _refine(here[1], mirrored[1], _doubled(start), _MIDDLE_ITERATIONS)
    turned, covered = _agreement(here[1], mirrored[1], warp)
    upright, _ = _agreement(here[1], there[1], _halved(best))
    return _is_plausible(warp) and covered >= OVERLAP_LIMIT and turned > upright + MIRRORED_MARGIN


def _is_plausible(warp: Array) -> bool:
    """Whether breathing, positioning and field of view can explain this warp."""
    zoom, rotation, stretch = _shape(warp)
    return ZOOM_LIMITS[0] <= zoom <= ZOOM_LIMITS[1] and abs(rotation) <= ROTATION_LIMIT_DEG and stretch <= STRETCH_LIMIT


def _shape(warp: Array) -> tuple[float, float, float]:
    """Zoom (1 = same size), rotation in degrees and stretch (1 = none) of an affine in pixels."""
    linear = warp[:, :2].astype(np.float64)
    if not np.isfinite(linear).all():
        return math.inf, 0.0, math.inf
    large, small = (float(value) for value in np.linalg.svd(linear, compute_uv=False))
    determinant = float(np.linalg.det(linear))
    zoom = math.sqrt(abs(determinant))
    rotation = math.degrees(math.atan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))
    return zoom, rotation, math.inf if small <= 0 or determinant <= 0 else large / small


def _levels(image: npt.NDArray[Any]) -> tuple[_Level, _Level, _Level]:
    """Coarse, middle and fine level of an image: long side 64, 128, 256 pixels, aspect kept."""
    import cv2

    values = np.nan_to_num(np.asarray(image, dtype=np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    rows, columns = values.shape
    scale = _LONG_SIDE / max(rows, columns)
    size = (max(8, round(columns * scale)), max(8, round(rows * scale)))
    values = _float32(cv2.resize(values, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
    low, high = (float(value) for value in np.percentile(values, (1.0, 99.0)))
    values = np.clip((values - low) / max(high - low, 1e-6), 0.0, 1.0).astype(np.float32)
    mean = cv2.GaussianBlur(values, (0, 0), _CONTRAST_SIGMA)
    deviation = np.sqrt(np.maximum(cv2.GaussianBlur((values - mean) ** 2, (0, 0), _CONTRAST_SIGMA), 0.0))
    mask = (deviation > _FLAT).astype(np.uint8)
    normal = np.clip((values - mean) / (deviation + 0.03), -2.5, 2.5).astype(np.float32) * mask
    levels = [_Level(normal, mask, values)]
    for side in (_LONG_SIDE // 2, _COARSE):
        half = (max(8, round(size[0] * side / _LONG_SIDE)), max(8, round(size[1] * side / _LONG_SIDE)))
        smaller, grey = (cv2.resize(part, half, interpolation=cv2.INTER_AREA) for part in (normal, values))
        levels.append(_Level(smaller, cv2.resize(mask, half, interpolation=cv2.INTER_NEAREST), grey))
    return levels[2], levels[1], levels[0]


def _coarse_starts(here: _Level, there: _Level, rotations_deg: tuple[float, ...], zooms: tuple[float, ...]) -> list[Array]:
    """The best shift for every rotation and zoom (pixels of the coarse level, current to prior), best match first."""
    import cv2

    side = cv2.getOptimalDFTSize(2 * _COARSE)
    height, width = here.image.shape
    prior_height, prior_width = there.image.shape
    spectrum, mask_spectrum = _spectrum(here.image, side), _spectrum(here.mask.astype(np.float32), side)
    energy_spectrum = _spectrum(here.image**2, side)
    most = round(_MOST_SHIFT * _COARSE)
    found: list[tuple[float, Array]] = []
    for rotation in rotations_deg:
        for zoom in zooms:
            # pixels of the current image -> pixels of the prior, centre on centre
            turn = np.array(cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), rotation, zoom))
            turn[:, 2] += ((prior_width - width) / 2, (prior_height - height) / 2)
            size = (width, height)
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            moved = _float32(cv2.warpAffine(there.image, turn, size, flags=flags))
            seen = _float32(cv2.warpAffine(there.mask.astype(np.float32), turn, size, flags=flags))
            seen_spectrum = _spectrum(seen, side)
            product = _correlate(spectrum, _spectrum(moved, side))
            energy_here = _correlate(energy_spectrum, seen_spectrum)
            energy_there = _correlate(mask_spectrum, _spectrum(moved**2, side))
            overlap = _correlate(mask_spectrum, seen_spectrum)
            score = product / np.sqrt(np.maximum(energy_here * energy_there, 1e-3))
            score[overlap < OVERLAP_LIMIT * float(here.mask.sum())] = -1.0
            score[most + 1 : side - most, :] = -1.0
            score[:, most + 1 : side - most] = -1.0
            row, column = (int(index) for index in np.unravel_index(int(score.argmax()), score.shape))
            # a point p of the current image matches moved[p - shift]
            shift = np.array([column - side if column > most else column, row - side if row > most else row])
            warp = turn.astype(np.float32)
            warp[:, 2] -= (turn[:, :2] @ shift).astype(np.float32)
            found.append((float(score[row, column]), warp))
    found.sort(key=lambda pair: -pair[0])
    return [warp for _, warp in found]


def _float32(array: npt.NDArray[Any]) -> Array:
    """What OpenCV gave, contiguous and with its type known."""
    return np.ascontiguousarray(array, dtype=np.float32)


def _spectrum(image: Array, side: int) -> Array:
    import cv2

    padded = np.zeros((side, side), np.float32)
    padded[: image.shape[0], : image.shape[1]] = image
    return _float32(cv2.dft(padded))


def _correlate(first: Array, second: Array) -> Array:
    """Cross-correlation of two images from their packed spectra; entry [dy, dx] is sum first[p] second[p - d]."""
    import cv2

    product = cv2.mulSpectrums(first, second, 0, conjB=True)
    return _float32(cv2.dft(product, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT))


def _refine(here: _Level, there: _Level, start: Array, iterations: int) -> Array:
    """Affine ECC on one level. Where it does not converge the start stands."""
    import cv2

    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, iterations, 1e-4)
    mask = there.mask * np.uint8(255)
    try:
        _, warp = cv2.findTransformECC(here.image, there.image, start.copy(), cv2.MOTION_AFFINE, criteria, mask, 5)
    except cv2.error:  # not converged: images without overlap or without common structure
        return start
    return _float32(warp) if np.isfinite(warp).all() else start


def _doubled(warp: Array) -> Array:
    """The same transform in pixels of the level with twice the resolution (pixel centres at whole numbers)."""
    doubled = warp.copy()
    linear = warp[:, :2]
    doubled[:, 2] = 2 * warp[:, 2] + 0.5 - linear @ np.array([0.5, 0.5], np.float32)
    return doubled


def _halved(warp: Array) -> Array:
    """The inverse of `_doubled`."""
    halved = warp.copy()
    halved[:, 2] = (warp[:, 2] - 0.5 + warp[:, :2] @ np.array([0.5, 0.5], np.float32)) / 2
    return halved


def _agreement(here: _Level, there: _Level, warp: Array) -> tuple[float, float]:
    """Correlation on the overlap, and the share of the current image that the prior covers.

    The mean of two: of the local structure (ribs, borders, vessels), which any upright chest shares in part with its
    own negative or with itself upside down, and of the grey values, which it does not.
    """
    import cv2

    size = (here.image.shape[1], here.image.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = _float32(cv2.warpAffine(there.image, warp, size, flags=flags))
    seen = cv2.warpAffine(there.mask, warp, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    both = (here.mask > 0) & (seen > 0)
    overlap = float(both.sum()) / max(float((here.mask > 0).sum()), 1.0)
    if both.sum() < 64:
        return -1.0, overlap
    grey = _float32(cv2.warpAffine(there.grey, warp, size, flags=flags))
    lit = both & (here.grey > _BLACK) & (grey > _BLACK)  # a black border is collimation, not anatomy
    return 0.5 * (_correlation(here.image[both], moved[both]) + _correlation(here.grey[lit], grey[lit])), overlap


def _correlation(first: Array, second: Array) -> float:
    """Pearson's correlation; -1 where one of them is constant."""
    if first.size < 2:
        return -1.0
    first, second = first - first.mean(), second - second.mean()
    norm = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / norm if norm > 0 else -1.0


def _normalised(
    warp: Array, here: tuple[int, ...], there: tuple[int, ...]
) -> tuple[float, float, float, float, float, float]:
    """A warp between pixels (centres at whole numbers) as one between coordinates that run from 0 to 1."""
    pixels = np.eye(3)
    pixels[:2] = warp
    to_pixels = np.array([[here[1], 0, -0.5], [0, here[0], -0.5], [0, 0, 1]], float)
    from_pixels = np.array([[1 / there[1], 0, 0.5 / there[1]], [0, 1 / there[0], 0.5 / there[0]], [0, 0, 1]], float)
    rows = (from_pixels @ pixels @ to_pixels)[:2]
    a, b, c, d, e, f = (round(float(value), 5) for value in rows.ravel())
    return a, b, c, d, e, f
