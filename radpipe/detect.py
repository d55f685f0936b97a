"""From a model's answer to findings with evidence: decision, box, side. Pure; the card decides, not this module.

The box comes from the model's per-patch logits. It shows where the network's score comes from, which is not a
segmentation: it bounds the connected patches around the strongest one. Where the lungs are known, findings of lung and
pleura are looked for there only, side and zone are told by the lungs, and a large heart is shown by what was measured.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from radpipe.anatomy import Place, pixels, place_of_patches
from radpipe.card import Label, ModelCard
from radpipe.codes import Laterality
from radpipe.finding import Decision, Evidence, Finding
from radpipe.ports import Chest, Prediction
from radpipe.preprocess import Placement

Floats = npt.NDArray[np.float32]

SIDED = frozenset(
    {"atelectasis", "pleural_effusion", "lung_opacity", "mass", "nodule", "pneumonia", "pneumothorax", "consolidation",
     "scarring", "pleural_thickening"}
)  # fmt: skip
"""Findings of which a side can be said; the heart, oedema, hyperinflation and a hernia have none."""

ZONED = SIDED - {"pleural_effusion", "pneumothorax", "pleural_thickening"}
"""Findings of the lung, of which a zone can be said; fluid and air in the pleura lie where gravity has them."""

FOCAL = frozenset({"nodule", "mass", "pneumothorax"})
"""Findings in one place: side and zone are those of the box, whatever shines elsewhere."""

HEART = "cardiomegaly"

NO_MAP = np.zeros((0, 0), np.float32)
"""Of a guest that has none."""

LEAST_LUNG = 0.05
"""Share of a patch that must be lung for it to be looked at. The pleura, the chest wall and what a diaphragm hides are the
patches beside them."""

BILATERAL_SHARE = 0.35
"""Both sides are named when the weaker holds at least this share of the map's excess. A wording choice, not a
measurement: the map is coarse (one patch is about 1/16 of the picture)."""

_BESIDE = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))

BOX_LEVEL = 0.5
"""Patches above this fraction of the way from the map's median to its maximum belong to the box."""


def decide(probability: float, label: Label) -> Decision:
    """present at and above the card's threshold, absent below its rule-out, unsure between."""
    if probability >= label.threshold:
        return Decision.PRESENT
    return Decision.ABSENT if probability < label.rule_out else Decision.UNSURE


def findings(
    prediction: Prediction,
    index: int,
    card: ModelCard,
    sop_instance_uid: str,
    placement: Placement,
    *,
    frame: int | None = None,
) -> tuple[Finding, ...]:
    """Every label of the card, decided for image `index` of the batch, each with the image as evidence.

    Present and unsure findings carry a box and, where one can be said, a side; boxes are in pixels of the upright
    image (see `dicom.source_box`).
    """
    probabilities = prediction.probabilities[index]
    if len(probabilities) != len(card.labels):
        raise ValueError(f"{card.name} gave {len(probabilities)} probabilities for {len(card.labels)} labels")
    chest = prediction.chests[index] if prediction.chests else None
    near = _near_lungs(chest, prediction.maps.shape[-2:]) if chest is not None and prediction.maps.size else None
    found = []
    for number, label in enumerate(card.labels):
        probability = float(probabilities[number])
        decision = decide(probability, label)
        box, where, source = None, Place(None, None), "whole image"
        if decision is not Decision.ABSENT and label.finding != "abnormal":
            patches = prediction.maps[index, number] if prediction.maps.size else NO_MAP
            box, where, source = _located(patches, label.finding, chest, near, placement)
        evidence = Evidence(
            sop_instance_uid=sop_instance_uid,
            frame=frame,
            box_px=box,
            score=probability,
            threshold=label.threshold,
            model=card.identity,
            source=source,
            measurement=chest.measurement if chest is not None and label.finding == HEART else None,
        )
        found.append(
            Finding(
                finding=label.finding,
                code=label.code,
                decision=decision,
                probability=probability,
                threshold=label.threshold,
                rule_out=label.rule_out,
                evidence=(evidence,),
                laterality=where.laterality,
                zone=where.zone,
            )
        )
    return tuple(found)


def _located(
    patches: Floats, finding: str, chest: Chest | None, near: npt.NDArray[np.bool_] | None, placement: Placement
) -> tuple[tuple[int, int, int, int] | None, Place, str]:
    """Box, side with zone, and what they were told by. `near`: the patches at the lungs."""
    if finding == HEART and chest is not None and chest.heart is not None:
        return placement.box_px(chest.heart), Place(None, None), "borders of the heart between the lungs"
    if patches.size == 0:
        return None, Place(None, None), "whole image"
    if finding not in SIDED:
        return patch_box(patches, placement), Place(None, None), "patch map"
    box = patch_box(patches, placement, near)
    if chest is None or near is None:
        return box, Place(side(patches, placement), None), "patch map"
    strength = np.where(near, np.maximum(patches - np.quantile(patches[near], 0.75), 0.0), 0.0)
    if finding in FOCAL and (members := _strongest(patches, placement, near)):
        focus = np.zeros(patches.shape, bool)
        focus[tuple(np.array(members).T)] = True
        strength = np.where(focus, strength, 0.0)
    where = place_of_patches(np.asarray(strength, np.float32), chest)
    return box, where if finding in ZONED else Place(where.laterality, None), "patch map within the lungs"


def _near_lungs(chest: Chest, shape: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
    """Patches that show lung, and those beside them; None where the lungs are not known whole."""
    if not chest.complete:
        return None
    lung = pixels.resized(np.asarray(chest.fields.any(axis=0)), *shape) >= LEAST_LUNG
    padded = np.pad(lung, 1)
    near: npt.NDArray[np.bool_] = np.logical_or.reduce(
        [padded[1 + down : 1 + down + shape[0], 1 + right : 1 + right + shape[1]] for down, right in _BESIDE]
    )
    return near


def patch_box(
    patches: Floats, placement: Placement, near: npt.NDArray[np.bool_] | None = None
) -> tuple[int, int, int, int] | None:
    """Bounds, in source pixels, of the connected patches around the strongest of `patches` (h, w); of those in `near`, if
    that is given. None for a flat map."""
    members = _strongest(patches, placement, near)
    if not members:
        return None
    rows, columns = [r for r, _ in members], [c for _, c in members]
    height, width = patches.shape
    return placement.box_px((min(rows) / height, min(columns) / width, (max(rows) + 1) / height, (max(columns) + 1) / width))


def _strongest(patches: Floats, placement: Placement, near: npt.NDArray[np.bool_] | None) -> list[tuple[int, int]]:
    """The connected patches around the strongest one; none of a flat map."""
    inside = _in_picture(patches, placement)
    if near is not None and (inside & near).any():
        inside &= near
    values = np.where(inside, patches, -np.inf)
    peak = float(values.max())
    base = float(np.median(patches[inside])) if inside.any() else peak
    if not peak > base:
        return []
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return _component(values >= base + BOX_LEVEL * (peak - base), int(row), int(column))


def side(patches: Floats, placement: Placement) -> Laterality | None:
    """The patient's side on which the map's excess lies: the patient's right is at an upright picture's left."""
    inside = _in_picture(patches, placement)
    if not inside.any():
        return None
    excess = np.where(inside, np.maximum(patches - np.quantile(patches[inside], 0.75), 0.0), 0.0)
    columns = np.flatnonzero(inside.any(axis=0))
    middle = (columns[0] + columns[-1] + 1) / 2
    centres = np.arange(patches.shape[1]) + 0.5
    right = float(excess[:, centres < middle].sum())
    left = float(excess[:, centres > middle].sum())
    total = left + right
    if total <= 0.0:
        return None
    if min(left, right) / total >= BILATERAL_SHARE:
        return Laterality.BILATERAL
    return Laterality.LEFT if left > right else Laterality.RIGHT


def _in_picture(patches: Floats, placement: Placement) -> npt.NDArray[np.bool_]:
    """Which patches show the picture rather than padding: (h, w) bool."""
    height, width = patches.shape
    top, left, bottom, right = placement.content
    rows = (np.arange(height) + 0.5) / height
    columns = (np.arange(width) + 0.5) / width
    in_rows, in_columns = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    mask: npt.NDArray[np.bool_] = in_rows[:, None] & in_columns[None, :]
    return mask


def _component(strong: npt.NDArray[np.bool_], row: int, column: int) -> list[tuple[int, int]]:
    """Patches of `strong` that touch (row, column) over edges or corners."""
    height, width = strong.shape
    seen, waiting = {(row, column)}, [(row, column)]
    while waiting:
        r, c = waiting.pop()
        for near in ((r + i, c + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
            if near not in seen and 0 <= near[0] < height and 0 <= near[1] < width and strong[near]:
                seen.add(near)
                waiting.append(near)
    return sorted(seen)
