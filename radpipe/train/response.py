"""Does the model see what is painted? Held out: each pair by the heads that saw neither its patient nor its file.

A flattering check, since the painter is the one that taught; the card's figures are of real images only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.evaluate.metrics import auc
from radpipe.train.collection import LABELS
from radpipe.train.heads import Linear
from radpipe.train.material import Material
from radpipe.train.paint import TEACHES
from radpipe.train.validate import LabelFigures

SIZES = ((0.0, 0.5, "small"), (0.5, 1.0, "large"))


def painted_response(
    heads: tuple[Linear, ...], figures: tuple[LabelFigures, ...], material: Material, folds: npt.NDArray[np.int64]
) -> dict[str, dict[str, Any]]:
    """By finding and size: pairs, AUC of painted against unpainted, median rise of the logit, and the share of pairs that
    rise by more than the label's repeatability, which is what a comparison with a prior would call new."""
    pairs = material.pairs
    held_out = pairs.folds(material.radiographs, folds)
    before, after = np.zeros((len(pairs), len(LABELS))), np.zeros((len(pairs), len(LABELS)))
    for fold, head in enumerate(heads):
        inside = held_out == fold
        before[inside], after[inside] = head(pairs.before[inside]), head(pairs.after[inside])
    table: dict[str, dict[str, Any]] = {}
    for what in (name for name in TEACHES if (pairs.what == name).any()):
        label = LABELS.index(what)
        figure = figures[label]
        table[what] = {}
        for low, high, name in SIZES:
            inside = (pairs.what == what) & (pairs.sizes >= low) & (pairs.sizes < high)
            rise = figure.slope * (after[inside, label] - before[inside, label])
            table[what][name] = {
                "pairs": int(inside.sum()),
                "auc": auc(
                    np.concatenate([after[inside, label], before[inside, label]]),
                    np.repeat([True, False], int(inside.sum())),
                ),
                "median_rise_logit": float(np.median(rise)),
                "above_repeatability": float((rise > figure.repeatability_logit).mean()),
            }
    return table
