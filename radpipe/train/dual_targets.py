"""Which sentence is true of which image: the table that the dual encoder is taught from.

+1 true, -1 false, 0 not known. A radiograph's labels say which findings are there, not where or how large: of a finding
that is there its sided and sized sentences are unknown, of one that is not there they are all false. A painted lesion's side
and size are known.

Collections differ in sharpness and encoding: each is moved to the mean of `nih`, so that no map can tell them apart for
profit, and painted copies stand beside their unpainted originals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radpipe.train.collection import COLUMNS, Radiographs
from radpipe.train.dual_fit import Taught
from radpipe.train.dual_images import Images, Painted
from radpipe.train.paint import TEACHES
from radpipe.train.sentences import SIDES, SIZES, VIEWS, WITHOUT_SIDE, Concept

Floats = npt.NDArray[np.float32]
Folds = npt.NDArray[np.int64]
FINDINGS = tuple(COLUMNS)


@dataclass(frozen=True, slots=True)
class Lesson:
    """All images with their targets; `folds` -1: in every fold's training."""

    taught: Taught
    folds: Folds


def concepts(kinds: Sequence[str] = (), *, views: bool = False) -> tuple[Concept, ...]:
    """What sentences are composed of: findings, normal, abnormal, the view; with side and size for the `kinds` of lesions
    that were painted; `views`: findings with the view, too."""
    plain = [Concept(finding) for finding in FINDINGS] + [Concept("normal"), Concept("abnormal")]
    plain += [Concept("view", view=view) for view in VIEWS]
    sided = [Concept(kind, side=side) for kind in kinds if kind not in WITHOUT_SIDE for side in SIDES]
    sized = [Concept(kind, size=size) for kind in kinds for size in SIZES]
    seen = [Concept(finding, view=view) for finding in FINDINGS for view in VIEWS] if views else []
    return (*plain, *sided, *sized, *seen)


def lesson(images: Images, folds: Folds, wanted: tuple[Concept, ...], settings: dict[str, dict[str, float]]) -> Lesson:
    """Everything that is taught. `folds` (N,) of the radiographs; painted copies go with their patient."""
    mean = images.embeddings.mean(0)
    painted = images.painted
    parts = [(images.embeddings, known(images.radiographs, wanted), 1.0, folds)]
    if settings["small"]["weight"]:
        parts.append(
            (
                images.small_embeddings - images.small_embeddings.mean(0) + mean,
                known(images.small, wanted),
                settings["small"]["weight"],
                np.full(len(images.small), -1),
            )
        )
    if settings["painted"]["weight"]:
        held = painted_folds(painted, images.radiographs, folds)
        moved = shifted(painted)
        before = np.full((len(painted), len(wanted)), -1, np.int8)
        for column, concept in enumerate(wanted):
            if concept.finding == "normal":
                before[:, column] = 1
            elif concept.finding == "view":
                before[:, column] = 0
        parts.append((moved[0], before, settings["painted"]["before_weight"], held))
        parts.append((moved[1], drawn(painted, wanted), settings["painted"]["weight"], held))
    return Lesson(
        Taught(
            np.concatenate([part[0] for part in parts]).astype(np.float32),
            np.concatenate([part[1] for part in parts]),
            np.concatenate([np.full(len(part[0]), part[2], np.float32) for part in parts]),
        ),
        np.concatenate([part[3] for part in parts]),
    )


def known(radiographs: Radiographs, wanted: tuple[Concept, ...]) -> npt.NDArray[np.int8]:
    """(N, K) by the labels."""
    table = np.zeros((len(radiographs), len(wanted)), np.int8)
    for column, concept in enumerate(wanted):
        of_view = radiographs.views == concept.view if concept.view else np.ones(len(radiographs), bool)
        if concept.finding == "view":
            there = of_view
        elif concept.finding in ("normal", "abnormal"):
            there = radiographs.truth[:, -1] == (concept.finding == "abnormal")
        else:
            there = radiographs.truth[:, FINDINGS.index(concept.finding)]
        unknown = bool(concept.side or concept.size)
        table[:, column] = np.where(there & of_view, 0 if unknown else 1, -1)
    return table


def drawn(painted: Painted, wanted: tuple[Concept, ...]) -> npt.NDArray[np.int8]:
    """(P, K) of the copies with a lesion. What a painter's lesion may also be called is unknown."""
    table = np.full((len(painted), len(wanted)), -1, np.int8)
    sizes = np.array([size_word(size) for size in painted.sizes])
    for column, concept in enumerate(wanted):
        if concept.finding == "abnormal":
            table[:, column] = 1
        elif concept.finding == "view":
            table[:, column] = 0
        elif concept.finding in FINDINGS:
            surely = np.array([TEACHES[kind].get(concept.finding, 0.0) for kind in painted.what.tolist()])
            itself = painted.what == concept.finding
            column_of = np.where(surely >= 1, 1, np.where(surely > 0, 0, -1))
            if concept.view:
                column_of = np.minimum(column_of, 0)
            elif concept.side:
                column_of = np.where(itself, np.where(painted.sides == concept.side, 1, -1), np.minimum(column_of, 0))
            elif concept.size:
                column_of = np.where(itself, np.where(sizes == concept.size, 1, -1), np.minimum(column_of, 0))
            table[:, column] = column_of
    return table


def size_word(size: float) -> str:
    """What a painter's size, 0..1, is called."""
    return list(SIZES)[min(int(size * len(SIZES)), len(SIZES) - 1)]


def shifted(painted: Painted) -> tuple[Floats, Floats]:
    """Both partners, those of `normal` moved by what takes the mean of their originals to that of `nih`'s normal ones."""
    foreign = np.char.startswith(painted.patients, "normal/")
    before, after = painted.before.copy(), painted.after.copy()
    if foreign.any() and (~foreign).any():
        shift = before[~foreign].mean(0) - before[foreign].mean(0)
        before[foreign] += shift
        after[foreign] += shift
    return before, after


def painted_folds(painted: Painted, radiographs: Radiographs, folds: Folds) -> Folds:
    """Of each pair: its patient's; images without a patient go round by file."""
    of_patient = dict(zip(radiographs.patients.tolist(), folds.tolist(), strict=True))
    others = {name: number for number, name in enumerate(sorted(set(painted.patients.tolist()) - set(of_patient)))}
    count = int(folds.max()) + 1
    return np.array([of_patient.get(p, others.get(p, 0) % count) for p in painted.patients.tolist()], np.int64)
