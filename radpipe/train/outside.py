"""Images that the reader must not believe: other body parts, other modalities, chests turned or inverted, noise; and
projections of a CT, the only lateral views at hand.

Real files come from pydicom, pydicom-data and `../shared/dicom`. Everything is (rows, columns) float32, bright = dense
where that has a meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]

PYDICOM_FILES: dict[str, tuple[str, ...]] = {
    "extremity": ("RG3_UNCI.dcm",),
    "ct": ("693_UNCI.dcm", "J2K_pixelrep_mismatch.dcm", "explicit_VR-UN.dcm", "CT_small.dcm"),
    "mr": ("MR2_UNCI.dcm", "MR-SIEMENS-DICOM-WithOverlays.dcm", "MR_small.dcm"),
    "ultrasound": ("US1_UNCI.dcm", "OBXXXX1A.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm", "examples_palette.dcm"),
    "nuclear": ("JPEG2000_UNC.dcm",),
    "photograph": ("OT-PAL-8-face.dcm", "SC_rgb_jpeg_dcmtk.dcm"),
}


@dataclass(frozen=True, slots=True)
class Made:
    """One image, what it is called and to which group it belongs."""

    group: str
    name: str
    load: Callable[[], Floats]


def read_dicom(path: Path) -> Floats:
    """The first frame in grey, rescaled to modality values, MONOCHROME1 inverted."""
    import pydicom

    dataset = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    pixels = dataset.pixel_array
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        pixels = pixels[0]
    grey = np.asarray(pixels, np.float32)
    if grey.ndim == 3:
        grey = grey.mean(axis=2)
    grey = grey * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        grey = grey.max() - grey
    return np.ascontiguousarray(grey, np.float32)


def foreign_images(dicom: Path) -> Iterator[Made]:
    """Real images that are not chest radiographs, and some that are no image at all. `dicom` is `../shared/dicom`."""
    from pydicom.data import get_testdata_file

    for group, names in PYDICOM_FILES.items():
        for name in names:
            found = get_testdata_file(name)
            if isinstance(found, str):
                yield Made(group, name, partial(read_dicom, Path(found)))
    for group, folder, step in (("ct", "ct_head", 2), ("mr", "mr_brain", 2), ("ct", "ct_chest", 10)):
        for path in sorted((dicom / folder).glob("*"))[::step]:
            yield Made(group, f"{folder}/{path.name}", partial(read_dicom, path))
    found = get_testdata_file("RG3_UNCI.dcm")
    if isinstance(found, str):
        for turns in (1, 2, 3):
            yield Made("extremity", f"RG3 turned {turns}", partial(_turned, partial(read_dicom, Path(found)), turns))
    for seed in range(4):
        yield Made("no image", f"noise {seed}", partial(_noise, seed, 2**seed))
    yield Made("no image", "constant", partial(np.full, (256, 256), 0.5, np.float32))
    yield Made("no image", "gradient", lambda: np.linspace(0, 1, 256 * 256, dtype=np.float32).reshape(256, 256))


def spoilt(files: Sequence[Path], read: Callable[[Path], Floats]) -> Iterator[Made]:
    """Chest radiographs turned by 90, 180 and 270 degrees, mirrored, inverted, and inverted and turned."""
    for number, path in enumerate(files):
        for turns in (1, 2, 3):
            yield Made(f"turned {90 * turns}", path.name, partial(_turned, partial(read, path), turns))
        yield Made("mirrored", path.name, partial(_mirrored, partial(read, path)))
        inverted = partial(_inverted, partial(read, path))
        yield Made("inverted", path.name, inverted)
        yield Made("inverted, turned", path.name, partial(_turned, inverted, 1 + number % 3))


def read_volume(folder: Path) -> tuple[Floats, tuple[float, float, float]]:
    """A CT series as attenuation relative to water, (slices from head to foot, rows, columns), and its spacing in mm."""
    import pydicom

    datasets = sorted(
        (pydicom.dcmread(path) for path in folder.glob("*.dcm")), key=lambda d: -float(d.ImagePositionPatient[2])
    )
    slices = [d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in datasets]
    step = abs(float(datasets[0].ImagePositionPatient[2]) - float(datasets[1].ImagePositionPatient[2]))
    rows, columns = map(float, datasets[0].PixelSpacing)
    return np.clip(np.stack(slices).astype(np.float32) / 1000 + 1, 0, None), (step, rows, columns)


def project(volume: Floats, spacing: tuple[float, float, float], axis: int, random: np.random.Generator) -> Floats:
    """A radiograph by parallel projection along `axis` (1: frontal, 2: lateral), turned, cropped and exposed at random.

    The sum of attenuation is what a log detector shows: bright = dense.
    """
    shadow = volume.sum(axis=axis) * np.float32(spacing[axis] / 10)  # cm of water
    height, width = shadow.shape[0] * spacing[0], shadow.shape[1] * spacing[3 - axis]
    image = Image.fromarray(shadow).resize((round(width), round(height)), Image.Resampling.BICUBIC)
    angle = float(random.uniform(-5, 5))
    image = image.rotate(angle, Image.Resampling.BICUBIC)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    body = np.flatnonzero(np.asarray(image).max(axis=0) > 3)
    margin = random.uniform(-0.05, 0.1, 4) * np.array([height, width, height, width])
    top, left = max(margin[0], 0), max(body[0] - margin[1], 0)
    bottom, right = min(height - max(margin[2], 0), height), min(body[-1] + margin[3], width)
    image = image.crop((int(left), int(top), int(right), int(bottom)))
    grey = np.asarray(image, np.float32)
    grey = np.clip(grey / np.percentile(grey, 99.5), 0, 1) ** np.float32(random.uniform(0.5, 1.2))
    return np.asarray(grey + random.normal(0, random.uniform(0, 0.02), grey.shape), np.float32)


def projections(dicom: Path, count: int, seed: int) -> Iterator[Made]:
    """`count` lateral and `count` frontal projections of the one chest CT at hand."""
    volume, spacing = read_volume(dicom / "ct_chest")
    for axis, group in ((2, "lateral projection"), (1, "frontal projection")):
        for number in range(count):

            def load(axis: int = axis, number: int = number) -> Floats:
                return project(volume, spacing, axis, np.random.default_rng([seed, axis, number]))

            yield Made(group, f"{group} {number} of seed {seed}", load)


def _turned(load: Callable[[], Floats], quarters: int) -> Floats:
    return np.ascontiguousarray(np.rot90(load(), quarters))


def _mirrored(load: Callable[[], Floats]) -> Floats:
    return np.ascontiguousarray(load()[:, ::-1])


def _inverted(load: Callable[[], Floats]) -> Floats:
    return 1 - load()


def _noise(seed: int, smooth: int) -> Floats:
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.random((256 // smooth, 256 // smooth), np.float32))
    return np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC), np.float32)
