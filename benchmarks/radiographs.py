"""Files for the benchmarks: N studies of one 2048 x 2048 CR each, made from the phantom with noise of their own.

Half of the patients have two studies, a year apart: of three studies in a row the first two are one patient's, the third
another's. The earlier image lies a little beside the later one, so that there is something to register.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from radpipe.samples import write_samples

SIDE_PX = 2048
SHIFT_PX = (24, -16)
"""How far an earlier image is moved, in rows and columns: about 1 % of the side."""

FULL_SIZE = 100
"""Studies from which on a result stands for the benchmark; fewer only try it out."""


def studies_with_prior(count: int) -> int:
    """How many of `count` studies have an earlier one of the same patient."""
    return (count + 1) // 3


def write_result(result: Mapping[str, Any], studies: int, usual: Path, output: Path | None) -> None:
    """Print a result; write it to `output` if given, else to `usual` if it is of full size."""
    text = json.dumps(result, indent=1)
    print(text)
    target = output or (usual if studies >= FULL_SIZE else None)
    if target is not None:
        target.write_text(text + "\n")


def write_radiographs(folder: Path, count: int) -> list[Path]:
    """One file a study, 8 MiB each, uncompressed, 12 bits in 16; every file differs."""
    samples = folder / "samples"
    write_samples(samples)
    template = next(
        dataset
        for dataset in (pydicom.dcmread(path, force=True) for path in sorted(samples.rglob("*.dcm")))
        if dataset.get("ViewPosition") == "PA"
        and dataset.get("BodyPartExamined") == "CHEST"
        and dataset.get("PhotometricInterpretation") == "MONOCHROME2"
        and dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        and "PixelData" in dataset
    )
    stored = template.pixel_array
    rows = np.arange(SIDE_PX) * stored.shape[0] // SIDE_PX
    columns = np.arange(SIDE_PX) * stored.shape[1] // SIDE_PX
    large = stored[rows][:, columns].astype(np.int32)
    random = np.random.default_rng(0)
    paths = []
    for number in range(count):
        patient, is_earlier = 2 * (number // 3) + (number % 3 == 2), number % 3 == 0
        anatomy = np.roll(large, SHIFT_PX, axis=(0, 1)) if is_earlier else large
        noise = random.integers(-20, 21, size=large.shape, dtype=np.int32)
        template.PixelData = np.clip(anatomy + noise, 0, 4095).astype("<u2").tobytes()
        template.Rows = template.Columns = SIDE_PX
        template.PatientID = f"BENCH{patient:04}"
        template.StudyDate = template.SeriesDate = template.AcquisitionDate = "20240110" if is_earlier else "20250110"
        template.StudyInstanceUID = generate_uid(entropy_srcs=["bench study", str(number)])
        template.SeriesInstanceUID = generate_uid(entropy_srcs=["bench series", str(number)])
        template.SOPInstanceUID = generate_uid(entropy_srcs=["bench image", str(number)])
        template.file_meta.MediaStorageSOPInstanceUID = template.SOPInstanceUID
        path = folder / "studies" / f"{number:04}.dcm"
        path.parent.mkdir(exist_ok=True)
        template.save_as(path)
        paths.append(path)
    return paths
