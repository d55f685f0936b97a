"""What the lung segmenter learns from: radiographs, the outlines that the teacher's answers lead to, and which of these are
to be believed.

The teacher misses opaque parts. An outline is believed where both lungs are there in likely proportion, the picture shows
an edge under every part of it, and its shape is like the others' (a linear shape model of all outlines).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from radpipe.anatomy.borders import borders, lung
from radpipe.anatomy.heart import sides, standardised
from radpipe.anatomy.measures import measured
from radpipe.train.collection import normal_files
from radpipe.train.lungs_outline import SIDE, outlined

_log = logging.getLogger("radpipe.train.lungs")

Bytes = npt.NDArray[np.uint8]

PICTURE = 320
"""Pixels of the square in which radiographs are kept."""

_SHAPE = 32  # pixels of the square in which shapes are compared


@dataclass(frozen=True, slots=True)
class Collection:
    """Radiographs of one folder, N of them."""

    name: str
    files: tuple[str, ...]
    pictures: Bytes  # (N, PICTURE, PICTURE)
    targets: Bytes  # (N, 2, SIDE, SIDE): 255 where the lung is, the picture's left one first
    believed: npt.NDArray[np.bool_]  # (N,)


def listed(data: Path, name: str, count: int) -> list[Path]:
    """The radiographs of `data`/cxr/`name`: all, in order, or `count` drawn with seed 0 of the normal ones."""
    if name == "normal":
        return list(normal_files(data, count, seed=0))
    return sorted((data / "cxr" / name).glob("*.jpg"))


def collected(
    files: list[Path], name: str, answer: Callable[[Bytes], Bytes] | None, trust: dict[str, Any], cache: Path
) -> Collection:
    """Read a collection. `answer`: the teacher's probability of one radiograph; what it said is kept under `cache`. Without
    it nothing is believed."""
    pictures = np.zeros((len(files), PICTURE, PICTURE), np.uint8)
    targets = np.zeros((len(files), 2, SIDE, SIDE), np.uint8)
    firm = np.zeros(len(files), bool)
    names = tuple(path.name for path in files)
    if answer is None:
        for index, path in enumerate(files):
            pictures[index] = _square(_grey(path), PICTURE)
        _log.info("%s: %d radiographs, not shown to the teacher", name, len(files))
        return Collection(name, names, pictures, targets, firm)
    answers = _answers(files, cache / f"teacher_{name}.npz", answer)
    for index, path in enumerate(files):
        grey = _grey(path)
        pictures[index] = _square(grey, PICTURE)
        picture = _share(_square(grey, SIDE))
        fields = outlined(picture, _share(answers[path.name]))
        targets[index] = 255 * fields
        firm[index] = _has_edges(picture, fields, trust)
    near = shape_distance(targets, firm, int(trust["shape_components"])) if firm.any() else np.zeros(len(files))
    limit = float(np.percentile(near[firm], trust["shape_percentile"])) if firm.any() else 0.0
    believed = firm & (near <= limit)
    _log.info("%s: %d radiographs, edges under %d outlines, %d believed", name, len(files), firm.sum(), believed.sum())
    return Collection(name, names, pictures, targets, believed)


def _answers(files: list[Path], kept: Path, answer: Callable[[Bytes], Bytes]) -> dict[str, Bytes]:
    """The teacher's answers by file name; those that were kept are not asked for again."""
    answers: dict[str, Bytes] = {}
    if kept.exists():
        with np.load(kept) as stored:
            answers = dict(zip(map(str, stored["files"]), stored["masks"], strict=True))
    missing = [path for path in files if path.name not in answers]
    for count, path in enumerate(missing):
        answers[path.name] = answer(_grey(path))
        if count % 100 == 99 or count == len(missing) - 1:
            _log.info("teacher: %s, %d of %d", kept.stem, count + 1, len(missing))
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(kept, files=np.array(list(answers)), masks=np.array(list(answers.values())))
    return answers


def shape_distance(targets: Bytes, firm: npt.NDArray[np.bool_], components: int) -> npt.NDArray[np.float64]:
    """(N,) how far each pair of lungs, in the box that holds it, is from the linear model of the firm ones' shapes."""
    shapes = np.zeros((len(targets), 2 * _SHAPE * _SHAPE), np.float64)
    for index, fields in enumerate(targets):
        places = np.argwhere(fields.any(axis=0))
        if len(places):
            (top, left), (end, right) = places.min(0), places.max(0) + 1
            shapes[index] = (
                np.concatenate(
                    [
                        cv2.resize(field[top:end, left:right], (_SHAPE, _SHAPE), interpolation=cv2.INTER_AREA).ravel()
                        for field in fields
                    ]
                )
                / 255.0
            )
    mean = shapes[firm].mean(0)
    axes = np.linalg.svd(shapes[firm] - mean, full_matrices=False)[2][:components]
    away = shapes - mean
    along = away @ axes.T
    spread = (along[firm].std(0) + 1e-6)[None]
    residual = np.sqrt(np.clip((away**2).sum(1) - (along**2).sum(1), 0, None))
    typical = float(np.median(residual[firm])) + 1e-6
    return np.asarray(np.hypot(residual / typical, np.sqrt(((along / spread) ** 2).mean(1))))


def _has_edges(picture: npt.NDArray[np.float32], fields: npt.NDArray[np.bool_], trust: dict[str, Any]) -> bool:
    """Whether the two lungs are in proportion and the picture has an edge along their borders."""
    right, left = lung(fields[0], right=True), lung(fields[1], right=False)
    if right is None or left is None:
        return False
    found = borders(right, left)
    standard = standardised(picture, found)
    numbers = measured(found, standard, sides(found, standard, deeper=1.0))
    low, high = trust["area_ratio"]
    return bool(
        low <= numbers["lung_area_ratio"] <= high
        and abs(numbers["lung_height_ratio"]) <= trust["height_ratio"]
        and all(
            numbers[f"{border}_contrast_{side}"] >= trust[limit]
            for border, limit in (("diaphragm", "floor_contrast"), ("heart", "heart_contrast"), ("wall", "wall_contrast"))
            for side in ("right", "left")
        )
    )


def _grey(path: Path) -> Bytes:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def _square(grey: Bytes, side: int) -> Bytes:
    way = cv2.INTER_AREA if side < grey.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(grey, (side, side), interpolation=way), np.uint8)


def _share(image: Bytes) -> npt.NDArray[np.float32]:
    return np.asarray(image, np.float32) / np.float32(255)
