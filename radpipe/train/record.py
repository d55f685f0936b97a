"""The training record: figures, table, manifest and curves under `record/`, so that a reader can check the card."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.evaluate.metrics import calibration_curve
from radpipe.train.material import Material
from radpipe.train.validate import LabelFigures, cross_fitted, enriched

Doubles = npt.NDArray[np.float64]


def write_figures(folder: Path, figures: tuple[LabelFigures, ...], others: dict[str, Any]) -> None:
    """`figures.json`: everything that was measured; `findings.csv`: the labels as a table."""
    table = {figure.finding: asdict(figure) for figure in figures}
    text = json.dumps({"labels": table, **others}, indent=1, default=plain)
    (folder / "figures.json").write_text(text + "\n", encoding="utf-8")
    with (folder / "findings.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            [
                "finding",
                "positives",
                "n",
                "auc_same_source",
                "ci_low",
                "ci_high",
                "auc_pooled",
                "auc_enriched",
                "sensitivity",
                "specificity",
                "sensitivity_rule_out",
                "specificity_rule_out",
                "ece",
                "brier",
                "repeatability_logit",
                "assessed",
            ]
        )
        for f in figures:
            numbers = (
                f.auc, *f.auc_ci, f.auc_pooled, f.auc_enriched, f.at_threshold.sensitivity, f.at_threshold.specificity,
                f.at_rule_out.sensitivity, f.at_rule_out.specificity, f.calibration_error, f.brier, f.repeatability_logit,
            )  # fmt: skip
            writer.writerow([f.finding, f.positives, f.n, *(f"{number:.4f}" for number in numbers), int(f.assessed)])


def write_manifest(folder: Path, material: Material, folds: npt.NDArray[np.int64], painted: Sequence[Path]) -> None:
    """`manifest.csv`: every image by file name, how it was used and in which fold it was held out."""
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "use", "fold"])
        for file, fold in zip(material.radiographs.files, folds, strict=True):
            writer.writerow([f"nih/{file.name}", "labels", int(fold)])
        writer.writerows([f"nih64/{file.name}", "labels, small", ""] for file in material.small.files)
        writer.writerows([f"normal/{file.name}", "variation", ""] for file in material.normal)
        writer.writerows([f"normal/{file.name}", "painted lesions", ""] for file in painted)


def plot_lesions(folder: Path, curve: list[tuple[int, float, float]]) -> None:
    """`lesions.png`: how the last blocks learnt to find painted lesions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    plot, axes = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for panel, column, words in ((axes[0], 1, "patches"), (axes[1], 2, "images")):
        panel.plot([point[0] for point in curve], [point[column] for point in curve], lw=1.2)
        panel.set(title=f"binary cross-entropy, {words}", xlabel="step", ylim=(0, None))
    plot.savefig(folder / "lesions.png", dpi=80)
    pyplot.close(plot)


def plot_curves(folder: Path, figures: tuple[LabelFigures, ...], scores: Doubles, material: Material, folds: Any) -> None:
    """`curves.png`: the ROC curve and the calibration of every label."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    plot, axes = pyplot.subplots(4, 8, figsize=(20, 10), layout="constrained")
    for index, figure in enumerate(figures):
        roc, calibration = axes[index // 4, index % 4 * 2], axes[index // 4, index % 4 * 2 + 1]
        truth, score = material.radiographs.truth[:, index], scores[:, index]
        for inside, style, words in (
            (np.ones(len(truth), bool), "-", "all"),
            (enriched(material.radiographs), "--", "enriched"),
        ):
            order = np.argsort(-score[inside], kind="stable")
            hits = truth[inside][order]
            if hits.any():
                roc.plot(np.cumsum(~hits) / (~hits).sum(), np.cumsum(hits) / hits.sum(), style, lw=1, label=words)
        roc.plot([0, 1], [0, 1], color="0.8", lw=0.8)
        state = "" if figure.assessed else ", not assessed"
        roc.set_title(
            f"{figure.finding}\nAUC {figure.auc:.2f} ({figure.auc_ci[0]:.2f}-{figure.auc_ci[1]:.2f}){state}", fontsize=8
        )
        curve = calibration_curve(cross_fitted(score, truth, folds), truth)
        top = max([0.05, *(value for mean, share, _ in curve for value in (mean, share))]) * 1.1
        calibration.plot([0, top], [0, top], color="0.8", lw=0.8)
        calibration.plot([mean for mean, _, _ in curve], [share for _, share, _ in curve], "o-", ms=3, lw=1)
        calibration.set_title(
            f"calibration, ECE {figure.calibration_error:.3f}\n{figure.positives} of {figure.n}", fontsize=8
        )
        for panel in (roc, calibration):
            panel.tick_params(labelsize=6)
    axes[0, 0].legend(fontsize=6)
    for panel in axes.flat[2 * len(figures) :]:
        panel.set_axis_off()
    plot.savefig(folder / "curves.png", dpi=80)
    pyplot.close(plot)


def plain(value: Any) -> Any:
    """For json.dumps: a number of numpy as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not for JSON")
