"""How well the lung segmenter that was written does: against the drawn masks of OpenIST, which were used for nothing else.

Dice with intervals by a bootstrap over images (patients are not given), for both lungs together and for each; with
opacities painted over known lungs; the cardiothoracic ratio by the same rule on drawn and on found masks; time; parity of
the backends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from radpipe.anatomy import anatomy
from radpipe.evaluate.metrics import interval
from radpipe.models.lungs import LungModel, open_lungs
from radpipe.train.lungs_augment import painted
from radpipe.train.lungs_outline import separated

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

TRUTH_SIDE = 256
PAINTED = ("white_lung", "white_base", "pleural_effusion", "consolidation")


def validated(directory: Path, data: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """Every figure of the card, by name; {} where there is no OpenIST."""
    folder = data / "cxr" / "lungs"
    files = sorted(folder.glob("*.jpg"))
    if not files:
        return {}
    model = open_lungs(directory, "onnx", "cpu", 2)
    random = np.random.default_rng(recipe["seed"])
    rows: list[dict[str, float | str]] = []
    ratios: list[tuple[float, float]] = []
    for path in files:
        grey = _square(path)
        truth = drawn(path.with_name(f"{path.stem}_mask.png"))
        fields = model.fields(grey[None, None])[0]
        row: dict[str, float | str] = {"file": path.name, "both": dice(_either(fields), truth[0] | truth[1])}
        row |= {name: dice(fields[side] > 0.5, truth[side]) for side, name in enumerate(("right", "left"))}
        for what in PAINTED:
            white = painted(grey, truth.astype(np.float32), {what: 1.0}, random)
            row[what] = dice(_either(model.fields(white[None, None])[0]), truth[0] | truth[1])
        rows.append(row)
        here, there = anatomy(fields, grey).ratio, anatomy(truth.astype(np.float32), grey).ratio
        if here is not None and there is not None:
            ratios.append((here.ratio, there.ratio))
    figures: dict[str, Any] = {
        f"dice_{name}": _mean([float(row[name]) for row in rows], recipe["seed"])
        for name in ("both", "right", "left", *PAINTED)
    }
    worst = sorted(rows, key=lambda row: float(row["both"]))
    figures["worst"] = {str(row["file"]): round(float(row["both"]), 4) for row in worst[:10]}
    figures["share_below_0_90"] = float(np.mean([float(row["both"]) < 0.90 for row in rows]))
    apart = np.array([found - known for found, known in ratios])
    figures["ratio"] = {
        "n": len(ratios),
        "bias": float(apart.mean()),
        "limits": [float(apart.mean() + sign * 1.96 * apart.std(ddof=1)) for sign in (-1, 1)],
        "correlation": float(np.corrcoef(np.array(ratios).T)[0, 1]),
    }
    figures["milliseconds"] = _milliseconds(model)
    figures["parity"] = parity(directory, np.stack([_square(path) for path in files[::40]])[:, None])
    return figures


def drawn(path: Path) -> Mask:
    """The two lungs of a drawn mask, (2, TRUTH_SIDE, TRUTH_SIDE), the picture's left one first."""
    with Image.open(path) as image:
        mask = np.asarray(image.convert("L"))
    square = cv2.resize(mask, (TRUTH_SIDE, TRUTH_SIDE), interpolation=cv2.INTER_AREA) > 127
    return np.stack(separated(square))


def dice(found: Mask, known: Mask) -> float:
    """Of two masks of one shape; 1 where both are empty."""
    total = float(found.sum() + known.sum())
    return 2 * float((found & known).sum()) / total if total else 1.0


def parity(directory: Path, batch: Floats) -> dict[str, Any]:
    """How far the two backends are apart on (B, 1, H, W)."""
    onnx, torch = (open_lungs(directory, backend, "cpu", 1).fields(batch) for backend in ("onnx", "torch"))
    return {
        "images": len(batch),
        "largest_difference": float(np.abs(onnx - torch).max()),
        "pixels_flipped": int(((onnx > 0.5) != (torch > 0.5)).sum()),
    }


def plot_curves(folder: Path, losses: list[tuple[str, int, float]], figures: dict[str, Any]) -> None:
    """`curves.png`: the loss of each stage, and the Dice of each test."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    plot, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for stage in dict.fromkeys(stage for stage, _, _ in losses):
        points = [(step, loss) for name, step, loss in losses if name == stage]
        left.plot([step for step, _ in points], [loss for _, loss in points], label=stage)
    left.set_xlabel("step")
    left.set_ylabel("loss (cross-entropy + Dice)")
    left.legend()
    tests = [(name, entry) for name, entry in figures.items() if name.startswith("dice_")]
    right.errorbar(
        [entry["value"] for _, entry in tests],
        range(len(tests)),
        xerr=np.array([[entry["value"] - entry["ci"][0], entry["ci"][1] - entry["value"]] for _, entry in tests]).T.reshape(
            2, -1
        ),
        fmt="o",
    )
    right.set_yticks(range(len(tests)), [name.removeprefix("dice_") for name, _ in tests])
    right.set_xlabel("Dice, OpenIST, mean and 95 % interval")
    plot.savefig(folder / "curves.png", dpi=80)
    pyplot.close(plot)


def _either(fields: Floats) -> Mask:
    return np.asarray((fields[0] > 0.5) | (fields[1] > 0.5))


def _mean(values: list[float], seed: int) -> dict[str, Any]:
    """Mean, 95 % interval by a bootstrap over images, extremes."""
    array = np.array(values)
    drawn_again = np.random.default_rng(seed).integers(0, len(array), (2000, len(array)))
    low, high = interval(array[drawn_again].mean(1))
    return {
        "value": float(array.mean()),
        "ci": [low, high],
        "n": len(values),
        "percentile_5": float(np.percentile(array, 5)),
        "least": float(array.min()),
    }


def _milliseconds(model: LungModel) -> dict[str, float]:
    """Of one image of 512 x 512, 20 times, on the threads that the model was opened with."""
    batch = np.random.default_rng(0).random((1, 1, 512, 512), np.float32)
    model.fields(batch)
    times = []
    for _ in range(20):
        started = time.perf_counter()
        model.fields(batch)
        times.append(time.perf_counter() - started)
    return {"median": 1000 * float(np.median(times)), "least": 1000 * min(times)}


def _square(path: Path) -> Floats:
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L"))
    return np.asarray(cv2.resize(grey, (TRUTH_SIDE, TRUTH_SIDE), interpolation=cv2.INTER_AREA), np.float32) / np.float32(255)
