"""A made-up site: pictures that are the brighter the likelier an effusion is, with a manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def drawn_site(folder: Path, images: int, seed: int = 0) -> Path:
    """`images` pictures of two thirds as many patients; the share of a picture that is bright, to the third power, is the
    chance of an effusion, and who has that has a mass. Nodules are hardly ever there."""
    random = np.random.default_rng(seed)
    lines = ["file,patient,effusion,mass,nodule"]
    for number in range(images):
        columns = int(random.integers(2, 39))
        grey = np.zeros((40, 40), np.uint8)
        grey[:, :columns] = 200
        Image.fromarray(grey).save(folder / f"{number}.png")
        truth = int(random.random() < (columns / 40) ** 3)
        lines.append(f"{number}.png,p{number % max(images * 2 // 3, 1)},{truth},{truth},{int(number == 3)}")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_picture(path: Path) -> np.ndarray:
    """(rows, columns) 0..1."""
    with Image.open(path) as image:
        return np.asarray(image, np.float32) / np.float32(255)
