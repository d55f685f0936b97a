"""Files for the benchmarks: N studies of one 2048 x 2048 CR each, made from the phantom with noise of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from radpipe.samples import write_samples

SIDE_PX = 2048


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
        noise = random.integers(-20, 21, size=large.shape, dtype=np.int32)
        template.PixelData = np.clip(large + noise, 0, 4095).astype("<u2").tobytes()
        template.Rows = template.Columns = SIDE_PX
        template.PatientID = f"BENCH{number:04}"
        template.StudyInstanceUID = generate_uid(entropy_srcs=["bench study", str(number)])
        template.SeriesInstanceUID = generate_uid(entropy_srcs=["bench series", str(number)])
        template.SOPInstanceUID = generate_uid(entropy_srcs=["bench image", str(number)])
        template.file_meta.MediaStorageSOPInstanceUID = template.SOPInstanceUID
        path = folder / "studies" / f"{number:04}.dcm"
        path.parent.mkdir(exist_ok=True)
        template.save_as(path)
        paths.append(path)
    return paths
