"""Pairs of a real radiograph and the same one with a lesion painted into it, with their features.

Drawn from the images called normal: of `nih` (with their patients, who are held out with them) and from `normal` (others
than those that `heads.normal_images` takes). In half of the pairs both partners are shown as other equipment may show them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.train.collection import LABELS, Radiographs, normal_files, read_grey
from radpipe.train.features import Extractor
from radpipe.train.paint import ABNORMAL, TEACHES, paint, scene
from radpipe.train.repeats import processed_view

Floats = npt.NDArray[np.float32]

VERSION = 1
"""Raise it when painting changes: the cache knows images by name."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """P pairs. Partners are in the same place of both feature arrays."""

    what: npt.NDArray[np.str_]  # (P,) keys of paint.TEACHES
    sizes: npt.NDArray[np.float64]  # (P,) 0..1
    files: tuple[Path, ...]
    patients: npt.NDArray[np.str_]  # of the radiographs; for `normal`, where no patient is known, the file
    before: Floats  # (P, F)
    after: Floats

    def __len__(self) -> int:
        return len(self.what)

    @property
    def taught(self) -> npt.NDArray[np.float64]:
        """(P, labels): by how much each label is to rise from `before` to `after`."""
        table = {
            what: [ABNORMAL if name == "abnormal" else teaches.get(name, 0.0) for name in LABELS]
            for what, teaches in TEACHES.items()
        }
        return np.array([table[str(what)] for what in self.what]).reshape(-1, len(LABELS))

    def folds(self, radiographs: Radiographs, folds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(P,) in which fold each pair is held out: with its patient; images without a patient go round by file."""
        of_patient = dict(zip(radiographs.patients.tolist(), folds.tolist(), strict=True))
        others = {name: number for number, name in enumerate(sorted(set(self.patients.tolist()) - set(of_patient)))}
        count = int(folds.max()) + 1
        return np.array([of_patient.get(p, others.get(p, 0) % count) for p in self.patients.tolist()], np.int64)


def paint_pairs(data: Path, radiographs: Radiographs, recipe: dict[str, Any], extractor: Extractor) -> Pairs:
    """Choose, paint, and look. Images in which no lungs are found are left out."""
    settings, seed = recipe["painted"], int(recipe["seed"])
    each, skipped = int(settings["each"]), int(recipe["heads"]["normal_images"])
    kinds = list(TEACHES)
    count = each * len(kinds)
    healthy = [n for n, ill in enumerate(radiographs.truth[:, -1]) if not ill]
    order = np.random.default_rng([seed, 2]).permutation(healthy)
    others = normal_files(data, skipped + count, seed=0)[skipped:]
    files, patients = [], []
    for number in range(count):
        if number % 2:
            files.append(others[number // 2])
            patients.append(f"normal/{others[number // 2].name}")
        else:
            chosen = int(order[number // 2 % len(order)])
            files.append(radiographs.files[chosen])
            patients.append(str(radiographs.patients[chosen]))
    what = [kinds[number // 2 % len(kinds)] for number in range(count)]
    sizes = np.random.default_rng([seed, 3]).random(count)

    def view(number: int, with_lesion: bool) -> Floats:
        random = np.random.default_rng([seed, 4, number])
        grey = read_grey(files[number])
        if with_lesion:
            here = scene(grey)
            grey = grey if here is None else paint(what[number], here, float(sizes[number]), random)
        if number % 4 < 2:
            grey = processed_view(grey, np.random.default_rng([seed, 5, number]))
        return grey

    names = [
        f"{VERSION} {seed} {number} {what[number]} {files[number].parent.name}/{files[number].name}"
        for number in range(count)
    ]
    before = extractor.features("pair-before", names, lambda number: view(number, False))
    after = extractor.features("pair-after", names, lambda number: view(number, True))
    kept = np.flatnonzero((before != after).any(axis=1) & ~np.isin(what, settings["left_out"]))
    return Pairs(
        np.array(what)[kept], sizes[kept], tuple(files[n] for n in kept), np.array(patients)[kept], before[kept], after[kept]
    )
