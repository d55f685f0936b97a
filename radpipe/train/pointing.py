"""Does a map point at the lesion? On painted ones, of which the place is known: in radiographs that no lesion was learnt
from.

A flattering check, since the painter is the one that taught. Of the 984 boxes that radiologists drew on ChestX-ray14
(BBox_List_2017.csv) none lies on an image that we have.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from radpipe.card import InputSpec
from radpipe.evaluate.metrics import wilson
from radpipe.models.dinov2 import Reader
from radpipe.preprocess import model_input
from radpipe.train.collection import LABELS, Radiographs, read_grey
from radpipe.train.lesions import KINDS
from radpipe.train.paint import paint, scene

Floats = npt.NDArray[np.float32]


def painted_pointing(reader: Reader, spec: InputSpec, radiographs: Radiographs, images: int, seed: int) -> dict[str, Any]:
    """By kind and size: how often the strongest patch touches the painted lesion, of n, with its interval; and how often a
    patch chosen at random from the lungs would."""
    normal = np.flatnonzero(~radiographs.truth[:, -1])
    order = np.random.default_rng([seed, 11]).permutation(normal)
    hits: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    done = 0
    for image in order:
        if done >= images:
            break
        here = scene(read_grey(radiographs.files[int(image)]))
        if here is None:
            continue
        random = np.random.default_rng([seed, 12, int(image)])
        kind, size = KINDS[done % len(KINDS)], float(random.random())
        done += 1
        painted = paint(kind, here, size, random)
        touched = cv2.resize(np.abs(painted - here.grey), reader.shape.grid[::-1], interpolation=cv2.INTER_AREA) > 0.02
        lungs = cv2.resize((here.lungs.left | here.lungs.right).astype(np.float32), reader.shape.grid[::-1]) > 0.5
        if not touched.any():
            continue
        found = _map(reader, painted, spec, kind)
        row, column = np.unravel_index(int(found.argmax()), found.shape)
        hits.setdefault((kind, "small" if size < 0.5 else "large"), []).append(
            (bool(touched[row, column]), float(touched[lungs].mean()) if lungs.any() else 0.0)
        )
    return {
        f"{kind}, {size}": {
            "n": len(found),
            "hits": sum(hit for hit, _ in found),
            "share": float(np.mean([hit for hit, _ in found])),
            "share_ci": wilson(sum(hit for hit, _ in found), len(found)),
            "by_chance": float(np.mean([chance for _, chance in found])),
        }
        for (kind, size), found in sorted(hits.items())
    }


def _map(reader: Reader, grey: Floats, spec: InputSpec, finding: str) -> Floats:
    with torch.inference_mode():
        maps = reader(torch.from_numpy(model_input(grey, spec)[0][None].copy()))[1]
    return np.asarray(maps[0, LABELS.index(finding)].numpy(), np.float32)
