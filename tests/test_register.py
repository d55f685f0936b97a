"""Registration on drawn and on real radiographs."""

from __future__ import annotations

import csv
import itertools
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from radpipe.register import register, to_prior

Array = npt.NDArray[np.float32]


def _chest(rows: int = 400, columns: int = 360, *, seed: int = 1) -> Array:
    """A drawing with what registration holds on to: lungs, heart, diaphragm, spine, ribs, and noise."""
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32) / (rows, columns)[0]
    x = x * rows / columns
    random = np.random.default_rng(seed)
    chest = 0.75 - 0.15 * np.abs(x - 0.5)
    for centre in (0.30, 0.70):
        lung = ((x - centre) / 0.155) ** 2 + ((y - 0.42) / 0.33) ** 2 < 1
        chest = np.where(lung, 0.25 + 0.1 * y, chest)
        ribs = np.sin(40 * (y - 0.35 * np.abs(x - centre))) > 0.6
        chest = np.where(lung & ribs, chest + 0.12, chest)
    heart = ((x - 0.56) / 0.15) ** 2 + ((y - 0.58) / 0.17) ** 2 < 1
    chest = np.where(heart, 0.8, chest)
    chest = np.where((np.abs(x - 0.5) < 0.04), 0.85, chest)
    chest = cv2.GaussianBlur(chest.astype(np.float32), (0, 0), 2.0)
    return np.asarray(np.clip(chest + random.normal(0, 0.01, chest.shape), 0, 1), np.float32)


def _moved(image: Array, *, degrees: float, zoom: float, shift: tuple[float, float]) -> tuple[Array, Array]:
    rows, columns = image.shape
    warp = cv2.getRotationMatrix2D((columns / 2 - 0.5, rows / 2 - 0.5), degrees, zoom)
    warp = np.column_stack([warp[:, :2], warp[:, 2] + np.multiply(shift, (columns, rows))]).astype(np.float32)
    moved = cv2.warpAffine(image, warp, (columns, rows), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32), np.asarray(warp, np.float32)


def _error_percent(current: Array, moved: Array, warp: Array) -> float:
    rows, columns = current.shape
    registration = register(current, moved)
    assert registration.comparable, registration.why
    worst = 0.0
    for x, y in itertools.product((0.25, 0.5, 0.75), repeat=2):
        want = warp @ (x * columns - 0.5, y * rows - 0.5, 1.0)
        got = to_prior(registration, x, y)
        worst = max(worst, float(np.hypot(got[0] * columns - 0.5 - want[0], got[1] * rows - 0.5 - want[1])))
    return float(100 * worst / max(rows, columns))


@pytest.mark.parametrize(
    ("degrees", "zoom", "shift"),
    [
        (0.0, 1.0, (0.0, 0.0)),
        (0.0, 1.0, (0.08, -0.05)),
        (7.0, 1.0, (0.0, 0.03)),
        (-5.0, 0.9, (-0.04, 0.0)),
        (3.0, 1.12, (0.0, 0.0)),
    ],
)
def test_a_known_transform_is_found_within_two_percent_whatever_the_contrast(
    degrees: float, zoom: float, shift: tuple[float, float]
) -> None:
    chest = _chest()
    moved, warp = _moved(chest, degrees=degrees, zoom=zoom, shift=shift)
    assert _error_percent(chest, (0.2 + 0.6 * moved**1.5).astype(np.float32), warp) < 2.0


def test_the_size_of_the_images_does_not_matter() -> None:
    chest = _chest()
    large = cv2.resize(chest, (1400, 1700), interpolation=cv2.INTER_CUBIC)
    registration = register(chest, large)
    assert registration.comparable
    assert to_prior(registration, 0.3, 0.6) == pytest.approx((0.3, 0.6), abs=0.02)


def test_an_image_matches_itself() -> None:
    registration = register(_chest(), _chest())
    assert registration.comparable
    assert registration.correlation > 0.98


@pytest.mark.parametrize("turned", ["mirrored", "inverted", "lying"])
def test_what_is_turned_or_inverted_is_not_comparable(turned: str) -> None:
    chest = _chest()
    other = {"mirrored": chest[:, ::-1], "inverted": 1 - chest, "lying": np.rot90(chest)}[turned]
    registration = register(chest, np.ascontiguousarray(other))
    assert not registration.comparable
    assert registration.why


@pytest.mark.parametrize(
    "odd",
    [
        np.zeros((0, 0)), np.zeros((3, 3)), np.zeros((300, 200)), np.ones((40, 900)), np.full((99, 99), np.nan),
        np.full((64, 64), np.inf), np.zeros((5, 5, 3)), np.eye(33), np.random.default_rng(0).random((200, 200)),
        np.tile(np.linspace(0, 1, 5000), (32, 1)),
    ],
)  # fmt: skip
def test_images_without_content_never_raise_and_are_not_comparable(odd: npt.NDArray[np.float64]) -> None:
    image = odd.astype(np.float32)
    for registration in (register(_chest(), image), register(image, _chest())):
        assert not registration.comparable
        assert registration.why
        assert np.isfinite(registration.transform).all()
        assert -1 <= registration.correlation <= 1


def test_the_same_images_give_the_same_registration() -> None:
    chest, other = _chest(seed=1), _moved(_chest(seed=2), degrees=4, zoom=1.05, shift=(0.02, 0.02))[0]
    assert register(chest, other) == register(chest, other)


def test_importing_the_module_does_not_load_opencv() -> None:
    code = "import radpipe.register, sys; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _read(path: Path) -> Array:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return (np.asarray(image, np.float32) / 255).astype(np.float32)


def test_most_real_follow_ups_are_comparable(shared: Path) -> None:
    """Every fifth pair of consecutive radiographs of the serial patients: hard ones, AP at the bedside."""
    folder = shared / "data" / "cxr"
    rows = list(csv.DictReader((folder / "serial.csv").read_text(encoding="utf-8").splitlines()))
    pairs = [(a, b) for a, b in itertools.pairwise(rows) if a["patient"] == b["patient"]][::5]
    good = sum(register(_read(folder / a["file"]), _read(folder / b["file"])).comparable for a, b in pairs)
    assert good >= 0.85 * len(pairs)


def test_a_real_chest_upside_down_mirrored_or_inverted_is_not_comparable(shared: Path) -> None:
    chest = _read(shared / "data" / "cxr" / "nih" / "00000001_000.jpg")
    for other in (chest[::-1, ::-1], chest[:, ::-1], 1 - chest, np.rot90(chest)):
        assert not register(chest, np.ascontiguousarray(other)).comparable


def test_a_chest_is_not_comparable_with_slices_of_ct_or_mr(shared: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    chest = _read(shared / "data" / "cxr" / "nih" / "00000001_000.jpg")
    for path in ("ct_chest/100.dcm", "ct_head/010.dcm", "mr_brain/010.dcm"):
        pixels = pydicom.dcmread(shared / "dicom" / path).pixel_array.astype(np.float32)
        low, high = np.percentile(pixels, (1, 99))
        assert not register(chest, np.clip((pixels - low) / (high - low), 0, 1).astype(np.float32)).comparable
