"""How well differences of scores tell change, on patients who came back: by the labels of both images, held out.

The labels are text-mined one by one, so that much of what they call change is noise of the mining; what is asked of the
scores here is asked of the labels, too.
"""

from __future__ import annotations

import csv
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.calibration import logit
from radpipe.compare import chance_of_change
from radpipe.evaluate.metrics import auc
from radpipe.train.collection import LABELS, Radiographs
from radpipe.train.material import Material
from radpipe.train.validate import LabelFigures

Doubles = npt.NDArray[np.float64]

LEAST = 5
"""Changed pairs that a finding must have to count."""


def follow_ups(radiographs: Radiographs) -> npt.NDArray[np.int64]:
    """(pairs, 2): each image of a patient with the one before it, by follow-up number."""
    table = radiographs.files[0].parent.parent / f"{radiographs.files[0].parent.name}.csv"
    with table.open(newline="", encoding="utf-8") as stream:
        numbers = {row["file"].split("/")[-1]: int(row["followup"]) for row in csv.DictReader(stream)}
    of_patient: dict[str, list[tuple[int, int]]] = {}
    for index, (patient, file) in enumerate(zip(radiographs.patients.tolist(), radiographs.files, strict=True)):
        of_patient.setdefault(patient, []).append((numbers[file.name], index))
    found = [(a[1], b[1]) for images in of_patient.values() for a, b in pairwise(sorted(images))]
    return np.array(found, np.int64).reshape(-1, 2)


def change_figures(scores: Doubles, figures: tuple[LabelFigures, ...], material: Material) -> dict[str, Any]:
    """AUC of "new or resolved" against "unchanged", and of new against the rest, over all findings and by finding."""
    pairs = follow_ups(material.radiographs)
    slope = np.array([figure.slope for figure in figures])
    offset = np.array([figure.offset for figure in figures])
    probability = 1 / (1 + np.exp(-(scores * slope + offset)))
    truth = material.radiographs.truth.astype(int)
    difference = truth[pairs[:, 1]] - truth[pairs[:, 0]]
    new, resolved = chance_of_change(probability[pairs[:, 0]], probability[pairs[:, 1]])
    moved = np.abs(logit(probability[pairs[:, 1]]) - logit(probability[pairs[:, 0]]))
    count = len(LABELS) - 1
    changed = difference[:, :count] != 0
    usable = [i for i in range(count) if LEAST <= changed[:, i].sum() <= len(pairs) - LEAST]
    either = (new + resolved)[:, :count]
    return {
        "pairs": len(pairs),
        "changed": int(changed.sum()),
        "pooled": auc(either.ravel(), changed.ravel()),
        "mean_by_finding": float(np.mean([auc(either[:, i], changed[:, i]) for i in usable])),
        "difference_of_logits_mean_by_finding": float(np.mean([auc(moved[:, i], changed[:, i]) for i in usable])),
        "new_against_rest": auc(new[:, :count].ravel(), (difference[:, :count] == 1).ravel()),
        "resolved_against_rest": auc(resolved[:, :count].ravel(), (difference[:, :count] == -1).ravel()),
        "findings": {
            LABELS[i]: {"changed": int(changed[:, i].sum()), "auc": auc(either[:, i], changed[:, i])} for i in usable
        },
    }
