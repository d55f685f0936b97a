"""Registration on real images: which limit separates comparable from not, how exact it is, how long it takes.

    python benchmarks/registration.py [--shared ../shared] [--json FILE]

Positive pairs: two frontal radiographs of one patient (serial/, nih/ follow-ups). Negative pairs: a frontal chest
against a CT slice (chest, head), an MR slice, an extremity, itself mirrored, turned by 90 or 180 degrees or with its
greys inverted. Exactness: the same radiograph after a known shift, rotation and zoom and a change of contrast, error of
the recovered transform in percent of the image's size, worst over a grid of points of the image.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from radpipe.register import CORRELATION_LIMIT, register, to_prior

Array = npt.NDArray[np.float32]


def main() -> None:
    """Run all parts and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parent.parent.parent / "shared")
    parser.add_argument("--pairs", type=int, default=150, help="pairs of each kind, at most")
    parser.add_argument("--seed", type=int, default=7, help="which pairs of nih/ are drawn")
    parser.add_argument("--json", type=Path, help="also write the result there")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    random = np.random.default_rng(options.seed)
    cxr = options.shared / "data" / "cxr"
    positives = {name: _sample(pairs, options.pairs, random) for name, pairs in _positives(cxr).items()}
    result: dict[str, Any] = {"limit": CORRELATION_LIMIT, "kinds": {}}
    seconds: list[float] = []
    for name, pairs in positives.items():
        result["kinds"][name] = _measure([(_read(a), _read(b)) for a, b in pairs], seconds)
    chests = [_read(pair[0]) for pairs in positives.values() for pair in pairs][:: max(1, options.pairs // 20)]
    for name, images in _negatives(chests, options.shared).items():
        result["kinds"][name] = _measure(images, seconds)
    result["known_transforms"] = _known(chests, random)
    result["ms"] = {"median": round(1e3 * float(np.median(seconds)), 1), "p95": _p(seconds, 95, 1e3)}
    _show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _positives(cxr: Path) -> dict[str, list[tuple[Path, Path]]]:
    kinds: dict[str, list[tuple[Path, Path]]] = {"serial, same view": [], "serial, PA and AP": []}
    kinds |= {"nih, same view": [], "nih, PA and AP": []}
    for table, view, name in (("serial.csv", "projection", "serial"), ("nih.csv", "view", "nih")):
        patients: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in csv.DictReader((cxr / table).read_text(encoding="utf-8").splitlines()):
            patients[row["patient"]].append(row)
        for rows in patients.values():
            for one, other in itertools.pairwise(rows):
                kind = "same view" if one[view] == other[view] else "PA and AP"
                kinds[f"{name}, {kind}"].append((cxr / one["file"], cxr / other["file"]))
    return kinds


def _negatives(chests: list[Array], shared: Path) -> dict[str, list[tuple[Array, Array]]]:
    others: dict[str, list[Array]] = {
        "chest and CT chest slice": [_dicom(path) for path in sorted((shared / "dicom/ct_chest").glob("*.dcm"))[::20]],
        "chest and CT head slice": [_dicom(path) for path in sorted((shared / "dicom/ct_head").glob("*.dcm"))[::3]],
        "chest and MR brain slice": [_dicom(path) for path in sorted((shared / "dicom/mr_brain").glob("*.dcm"))[::3]],
        "chest and extremity (RG3)": _extremity(),
    }
    kinds = {
        name: [(chest, other) for chest, other in zip(itertools.cycle(chests), images * 3, strict=False)]
        for name, images in others.items()
        if images
    }
    kinds["chest and itself mirrored"] = [(chest, np.ascontiguousarray(chest[:, ::-1])) for chest in chests]
    kinds["chest and itself turned 90"] = [(chest, np.ascontiguousarray(np.rot90(chest))) for chest in chests]
    kinds["chest and itself turned 180"] = [(chest, np.ascontiguousarray(chest[::-1, ::-1])) for chest in chests]
    kinds["chest and itself inverted"] = [(chest, 1 - chest) for chest in chests]
    kinds["another patient's chest (not a negative)"] = list(itertools.pairwise(chests))
    return kinds


def _extremity() -> list[Array]:
    import importlib.util

    spec = importlib.util.find_spec("data_store")
    if spec is None or spec.origin is None:
        return []
    path = Path(spec.origin).parent / "data" / "RG3_UNCI.dcm"
    return [_dicom(path)] * 7 if path.exists() else []


def _measure(pairs: list[tuple[Array, Array]], seconds: list[float]) -> dict[str, float]:
    values, comparable = [], 0
    for current, prior in pairs:
        start = time.process_time()
        registration = register(current, prior)
        seconds.append(time.process_time() - start)
        values.append(registration.correlation)
        comparable += registration.comparable
    return {
        "n": len(values),
        "comparable": comparable,
        "p5": _p(values, 5),
        "median": _p(values, 50),
        "p95": _p(values, 95),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def _known(chests: list[Array], random: np.random.Generator) -> dict[str, float]:
    """Recover known transforms: shift up to 8 %, rotation up to 8 degrees, zoom 0.88 to 1.14, other contrast, noise."""
    errors = []
    for chest in chests:
        rows, columns = chest.shape
        angle, zoom = random.uniform(-8, 8), random.uniform(0.88, 1.14)
        shift = random.uniform(-0.08, 0.08, 2) * (columns, rows)
        warp = cv2.getRotationMatrix2D((columns / 2 - 0.5, rows / 2 - 0.5), angle, zoom)
        warp = np.column_stack([warp[:, :2], warp[:, 2] + shift])
        moved = cv2.warpAffine(chest, warp, (columns, rows), flags=cv2.INTER_LINEAR)
        moved = (0.15 + 0.7 * np.clip(moved, 0, 1) ** 1.4 + random.normal(0, 0.01, moved.shape)).astype(np.float32)
        registration = register(chest, moved)
        worst = 0.0
        for x, y in itertools.product((0.25, 0.5, 0.75), repeat=2):
            want = warp @ (x * columns - 0.5, y * rows - 0.5, 1.0)
            got = to_prior(registration, x, y)
            worst = max(worst, float(np.hypot(got[0] * columns - 0.5 - want[0], got[1] * rows - 0.5 - want[1])))
        errors.append(100 * worst / max(rows, columns))
    return {"n": len(errors)} | {f"p{percent}_percent": _p(errors, percent) for percent in (50, 95, 100)}


def _read(path: Path) -> Array:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise SystemExit(f"cannot read {path}")
    return (np.asarray(image, np.float32) / 255).astype(np.float32)


def _dicom(path: Path) -> Array:
    import pydicom

    pixels = pydicom.dcmread(path).pixel_array.astype(np.float32)
    low, high = np.percentile(pixels, (1, 99))
    return np.asarray(np.clip((pixels - low) / max(float(high - low), 1.0), 0, 1), np.float32)


def _sample(pairs: list[tuple[Path, Path]], most: int, random: np.random.Generator) -> list[tuple[Path, Path]]:
    order = random.permutation(len(pairs))[:most]
    return [pairs[index] for index in sorted(order)]


def _p(values: list[float], percent: float, scale: float = 1.0) -> float:
    return round(scale * float(np.percentile(values, percent)), 3)


def _show(result: dict[str, Any]) -> None:
    out = sys.stdout.write
    out(f"{'pairs':42} {'n':>4} {'comparable':>10} {'p5':>6} {'median':>6} {'p95':>6} {'min':>6} {'max':>6}\n")
    for name, row in result["kinds"].items():
        out(f"{name:42} {row['n']:4} {row['comparable']:10} {row['p5']:6.2f} {row['median']:6.2f} {row['p95']:6.2f} ")
        out(f"{row['min']:6.2f} {row['max']:6.2f}\n")
    out(f"known transforms: {result['known_transforms']}\nms of processor time, one thread: {result['ms']}\n")


if __name__ == "__main__":
    main()
