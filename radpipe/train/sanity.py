"""Is it an upright frontal chest radiograph, and which view? The heads for view and orientation, the distance, their checks.

The distance is a Mahalanobis distance of the last features from those of training chests, and grows further with the
evidence that an image is turned or inverted (a linear head; chests add nothing). What may vary between hospitals is
taught by re-processed radiographs and half the patients of a second hospital; what is foreign is only ever checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.anatomy import NAMES
from radpipe.sanity import MIRRORED_SHARE
from radpipe.train.heads import Gaussian, Linear, fit_gaussian, fit_views
from radpipe.train.material import Material

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Folds = npt.NDArray[np.int64]

WIDTH = 384  # of the last features of CLS and of the patches' mean


class View(StrEnum):
    """In the order of the view head's output."""

    PA = "PA"
    AP = "AP"
    LATERAL = "LATERAL"


ORIENTATIONS: tuple[str, ...] = ("upright", "turned 90", "turned 180", "turned 270", "inverted")
"""In the order of the orientation head's output."""


@dataclass(frozen=True, slots=True)
class Distance:
    """How far an image is from the training images: 1 is usual."""

    gaussian: Gaussian
    refusal: Linear  # (1, F): above 0 for turned and inverted images

    def __call__(self, features: Floats) -> Doubles:
        """(N, F) to (N,)."""
        refused = np.clip(self.refusal(features)[:, 0], 0, None)
        return np.asarray(np.sqrt(self.gaussian.distance(features[:, last_features(features)]) ** 2 + refused**2))


@dataclass(frozen=True, slots=True)
class DistanceFigures:
    """The limit, and what share of which images lies above it."""

    limit: float
    figures: dict[str, Any]


def last_features(features: Floats) -> npt.NDArray[np.int64]:
    """Which features are of the last block: of CLS, then of the patches' mean."""
    half = features.shape[1] // 2
    return np.asarray(np.r_[half - WIDTH : half, 2 * half - WIDTH : 2 * half], np.int64)


def fit_distance(chests: Floats, refused: Floats, recipe: dict[str, Any]) -> Distance:
    """From chests and from images to be refused, both (N, F)."""
    features = np.concatenate([chests, refused])
    target = np.zeros((len(features), 2))
    target[: len(chests), 0] = 1
    target[len(chests) :, 1] = 1
    settings = recipe["distance"]
    pair = fit_views(features, target, settings["refusal_ridge"])
    gain, margin = float(settings["refusal_gain"]), float(settings["refusal_margin"])
    weight, bias = pair.weight[1:] - pair.weight[:1], pair.bias[1:] - pair.bias[:1]
    refusal = Linear(weight * gain, (bias + margin) * gain)
    return Distance(fit_gaussian(chests[:, last_features(chests)], settings["components"]), refusal)


def fit_final_distance(material: Material, recipe: dict[str, Any]) -> Distance:
    """On all chests."""
    return fit_distance(_chests(material, None, None), _refused(material), recipe)


def distances(material: Material, folds: Folds, recipe: dict[str, Any]) -> DistanceFigures:
    """Held out: radiographs and normal images by fold, the rest by the final distance, which has not seen them."""
    normal_folds = np.arange(len(material.normal)) % (int(folds.max()) + 1)
    own, normal = np.zeros(len(folds)), np.zeros(len(normal_folds))
    for fold in range(int(folds.max()) + 1):
        held_out, normal_out = folds == fold, normal_folds == fold
        distance = fit_distance(_chests(material, ~held_out, ~normal_out), _refused(material), recipe)
        own[held_out] = distance(material.features[held_out])
        normal[normal_out] = distance(material.normal_features[normal_out])
    limit = float(np.percentile(np.concatenate([own, normal]), recipe["distance"]["chest_percentile"]))
    final = fit_final_distance(material, recipe)
    width = material.repeated_features.shape[-1]
    above = {
        "held-out radiographs": _share(own, limit),
        "held-out normal images": _share(normal, limit),
        "repeated views of radiographs": _share(final(material.repeated_features.reshape(-1, width)), limit),
    }
    for group in (material.elsewhere_check, material.spoilt_check, material.foreign, material.lateral_check):
        found = final(group.features)
        for name in sorted(set(group.groups)):
            above[name] = _share(found[np.array(group.groups) == name], limit)
    misses = [
        name for name, value in zip(material.foreign.names, final(material.foreign.features), strict=True) if value <= limit
    ]
    return DistanceFigures(
        limit, {"limit": limit, "median": float(np.median(own)), "above": above, "foreign_missed": misses}
    )


def fit_final_views(material: Material, recipe: dict[str, Any]) -> Linear:
    """On all images whose view is known."""
    return _fit_views(material, np.ones(len(material.radiographs), bool), recipe)


def view_figures(material: Material, folds: Folds, recipe: dict[str, Any]) -> dict[str, Any]:
    """Accuracy by patient-disjoint folds; laterals by other projections of the same CT."""
    answers = np.zeros((len(folds), len(View)))
    lateral: list[Doubles] = []
    for fold in range(int(folds.max()) + 1):
        held_out = folds == fold
        head = _fit_views(material, ~held_out, recipe)
        answers[held_out] = head(material.features[held_out])
        lateral.append(head(material.lateral_check.features))
    truth = np.array([list(View).index(View(view)) for view in material.radiographs.views])
    called = answers.argmax(axis=1)
    lateral_called = np.concatenate([a.argmax(axis=1) for a in lateral])
    groups = np.tile(np.array(material.lateral_check.groups), len(lateral))
    elsewhere = fit_final_views(material, recipe)(material.elsewhere_check.features).argmax(axis=1)
    return {
        "accuracy_pa_ap": float((called == truth).mean()),
        "pa_called_pa": float((called[truth == 0] == 0).mean()),
        "ap_called_ap": float((called[truth == 1] == 1).mean()),
        "radiographs_called_lateral": float((called == 2).mean()),
        "lateral_projections_called_lateral": float((lateral_called[groups == "lateral projection"] == 2).mean()),
        "frontal_projections_called_lateral": float((lateral_called[groups == "frontal projection"] == 2).mean()),
        "chests_elsewhere_called_lateral": float((elsewhere == 2).mean()),
        "note": "laterals are projections of one CT: the figures say nothing of other patients' laterals",
    }


def fit_final_orientation(material: Material, recipe: dict[str, Any]) -> Linear:
    """From radiographs as they are, and from some that were turned and inverted. A mirrored one looks the same to these
    features; the side of the heart tells it (`radpipe.sanity`)."""
    chests = np.concatenate([material.features, material.processed.features, material.elsewhere.features])
    groups = np.array([group.split(",")[0] for group in material.spoilt.groups])
    spoilt = groups != "mirrored"
    target = np.zeros((len(chests) + int(spoilt.sum()), len(ORIENTATIONS)))
    target[: len(chests), 0] = 1
    target[np.arange(len(chests), len(target)), [ORIENTATIONS.index(group) for group in groups[spoilt]]] = 1
    return fit_views(np.concatenate([chests, material.spoilt.features[spoilt]]), target, recipe["views"]["ridge"])


def orientation_figures(material: Material, recipe: dict[str, Any]) -> dict[str, Any]:
    """Accuracy on images whose files were not learnt from, by how they lie; n of each."""
    head = fit_final_orientation(material, recipe)
    called = head(material.spoilt_check.features).argmax(axis=1)
    figures: dict[str, Any] = {}
    for group in sorted(set(material.spoilt_check.groups) - {"mirrored"}):
        inside = np.array(material.spoilt_check.groups) == group
        right = called[inside] == ORIENTATIONS.index(group.split(",")[0])
        figures[group] = {"n": int(inside.sum()), "right": float(right.mean())}
    upright = head(material.elsewhere_check.features).argmax(axis=1) == 0
    figures["upright, elsewhere"] = {"n": len(upright), "right": float(upright.mean())}
    share = material.raw[:, NAMES.index("heart_left_share")]
    figures["mirrored, by the side of the heart"] = {
        "n": len(share),
        "right": float((1 - share < MIRRORED_SHARE).mean()),
        "upright called mirrored": float((share < MIRRORED_SHARE).mean()),
    }
    return figures


def _fit_views(material: Material, kept: npt.NDArray[np.bool_], recipe: dict[str, Any]) -> Linear:
    order = list(View)
    one_hot = np.eye(len(order))
    lateral = np.array([group == "lateral projection" for group in material.lateral.groups])
    # What a frontal projection of a CT is, PA or AP, cannot be said: it only must not be lateral.
    projected = np.where(lateral[:, None], one_hot[2], (one_hot[0] + one_hot[1]) / 2)
    processed = (one_hot[0] + one_hot[1]) / 2
    return fit_views(
        np.concatenate(
            [material.features[kept], material.small_features, material.lateral.features, material.elsewhere.features]
        ),
        np.concatenate(
            [
                one_hot[[order.index(View(v)) for v in material.radiographs.views[kept]]],
                one_hot[[order.index(View(v)) for v in material.small.views]],
                projected,
                np.broadcast_to(processed, (len(material.elsewhere.names), len(order))),
            ]
        ),
        recipe["views"]["ridge"],
    )


def _chests(material: Material, kept: npt.NDArray[np.bool_] | None, normal_kept: npt.NDArray[np.bool_] | None) -> Floats:
    """Chests to learn from; without those of the held-out fold."""
    own = material.features if kept is None else material.features[kept]
    normal = material.normal_features if normal_kept is None else material.normal_features[normal_kept]
    return np.concatenate(
        [own, normal, material.small_features[::4], material.processed.features, material.elsewhere.features]
    )


def _refused(material: Material) -> Floats:
    lateral = np.array([group == "lateral projection" for group in material.lateral.groups])
    turned = np.array([group != "mirrored" for group in material.spoilt.groups])
    return np.concatenate([material.spoilt.features[turned], material.lateral.features[lateral]])


def _share(distances: Doubles, limit: float) -> dict[str, Any]:
    return {"n": len(distances), "above": float((distances > limit).mean()), "median": float(np.median(distances))}
