"""The images and labels that the weights are trained on, as `../shared/data` holds them, and patient-disjoint folds.

What is known to be wrong with them is handled here: where the RSNA challenge's readers called an image normal, the readers
are believed and not the text-mined labels.
"""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

COLUMNS: dict[str, str] = {
    "atelectasis": "atelectasis",
    "cardiomegaly": "cardiomegaly",
    "pleural_effusion": "effusion",
    "lung_opacity": "infiltration",
    "mass": "mass",
    "nodule": "nodule",
    "pneumonia": "pneumonia",
    "pneumothorax": "pneumothorax",
    "consolidation": "consolidation",
    "edema": "edema",
    "hyperinflation": "emphysema",
    "scarring": "fibrosis",
    "pleural_thickening": "pleural_thickening",
    "hiatal_hernia": "hernia",
}
"""radpipe's finding -> the column of nih.csv."""

LABELS: tuple[str, ...] = (*COLUMNS, "abnormal")
"""In the order of the network's output."""

FILTERED_SOURCE = "talo"
"""Of nih.csv: 500 images called "No Finding" and 500 called "Pneumonia". The other sources were enriched for positives."""


@dataclass(frozen=True, slots=True)
class Radiographs:
    """Labelled images. Arrays are read-only, N long."""

    files: tuple[Path, ...]
    truth: npt.NDArray[np.bool_]  # (N, labels)
    patients: npt.NDArray[np.str_]
    ages: npt.NDArray[np.int64]  # years
    sexes: npt.NDArray[np.str_]
    views: npt.NDArray[np.str_]
    filtered: npt.NDArray[np.bool_]  # of FILTERED_SOURCE
    reader_normal: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.files)


def read_radiographs(data: Path, table: str) -> Radiographs:
    """All rows of `cxr/<table>.csv`: "nih" or "nih64"."""
    folder = data / "cxr"
    with (folder / f"{table}.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    normal = np.array([row.get("reader_normal", "0") == "1" for row in rows])
    truth = np.array([[row[c] == "1" for c in COLUMNS.values()] + [row["no_finding"] == "0"] for row in rows])
    truth[normal] = False
    radiographs = Radiographs(
        files=tuple(folder / row["file"] for row in rows),
        truth=truth,
        patients=np.array([row["patient"] for row in rows]),
        ages=np.array([int(row["age"]) for row in rows]),
        sexes=np.array([row["sex"] for row in rows]),
        views=np.array([row["view"] for row in rows]),
        filtered=np.array([FILTERED_SOURCE in row.get("source", "") for row in rows]),
        reader_normal=normal,
    )
    for array in (truth, radiographs.patients, radiographs.views, radiographs.filtered, normal):
        array.setflags(write=False)
    return radiographs


def normal_files(data: Path, count: int, seed: int) -> tuple[Path, ...]:
    """A random sample of the images that readers called normal, by name."""
    files = sorted((data / "cxr" / "normal").glob("*.jpg"))
    random.Random(seed).shuffle(files)
    return tuple(files[:count])


def read_grey(file: Path) -> npt.NDArray[np.float32]:
    """(rows, columns), 0..1, bright = dense: all images of the collection are MONOCHROME2 and upright."""
    with Image.open(file) as image:
        return np.asarray(image.convert("L"), np.float32) / np.float32(255)


def patient_folds(
    patients: npt.NDArray[np.str_], truth: npt.NDArray[np.bool_], folds: int, seed: int
) -> npt.NDArray[np.int64]:
    """(N,) number of the fold of each image. No patient is in two; each fold gets its share of every label.

    Greedy: patients with the rarest labels first, each into the fold where it most improves the balance.
    """
    names, index = np.unique(patients, return_inverse=True)
    counts = np.zeros((len(names), truth.shape[1] + 1))
    np.add.at(counts, index, np.column_stack([truth, np.ones(len(truth))]))
    rarity = 1.0 / np.maximum(counts.sum(axis=0), 1.0)
    jitter = np.random.default_rng(seed).random(len(names)) * 1e-3
    share = counts.sum(axis=0) / folds
    filled = np.zeros((folds, counts.shape[1]))
    chosen = np.zeros(len(names), np.int64)
    for patient in np.argsort(-(counts @ rarity) + jitter):
        before = (((filled - share) * rarity) ** 2).sum(axis=1)
        after = (((filled + counts[patient] - share) * rarity) ** 2).sum(axis=1)
        chosen[patient] = int(np.argmin(after - before))
        filled[chosen[patient]] += counts[patient]
    return np.asarray(chosen[index], np.int64)
