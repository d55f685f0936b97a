"""What the dual encoder learns from: the reader's embedding of each image, and what is known of the image.

Only `Prediction.embedding` is used, so that any reader with a card will do. Radiographs tell which findings they show;
neither their side nor their size is known. Painted copies of normal radiographs tell both: the side is read off the
difference between the two pictures, the size is what the painter was asked for. Embeddings are cached by the model's
hash and the image's name: a run that was broken off goes on from there.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.card import ModelCard
from radpipe.models import open_model
from radpipe.preprocess import model_input
from radpipe.train.collection import COLUMNS, Radiographs, normal_files, read_grey, read_radiographs
from radpipe.train.paint import TEACHES, Scene, paint, scene

Floats = npt.NDArray[np.float32]
_log = logging.getLogger(__name__)

CHUNK = 64
VERSION = 1
"""Raise it when painting changes: the cache knows images by name."""

ONE_SIDED = 3.0
"""A painted lesion is of one side where that side holds so many times more of the change than the other."""


@dataclass(frozen=True, slots=True)
class Painted:
    """P pairs of a normal radiograph and its copy with one painted lesion; arrays are P long."""

    what: npt.NDArray[np.str_]  # findings
    sides: npt.NDArray[np.str_]  # of the patient: "left", "right", "bilateral"
    sizes: npt.NDArray[np.float64]  # 0..1
    patients: npt.NDArray[np.str_]  # of nih; for images of `normal`, where no patient is known, the file
    before: Floats  # (P, E)
    after: Floats

    def __len__(self) -> int:
        return len(self.what)


@dataclass(frozen=True, slots=True)
class Images:
    """All that is trained on and measured with. E is the width of the reader's embedding."""

    radiographs: Radiographs
    embeddings: Floats  # (N, E)
    small: Radiographs
    small_embeddings: Floats
    painted: Painted


class Embedder:
    """The reader's embeddings of images, from a cache where they are there."""

    def __init__(self, card: ModelCard, cache: Path, threads: int = 1) -> None:
        self._card, self._cache, self._threads = card, cache / card.sha256[:16], threads
        self._cache.mkdir(parents=True, exist_ok=True)
        self._model: Any = None

    @property
    def folder(self) -> Path:
        """Where the cache lies."""
        return self._cache

    def __call__(self, name: str, items: Sequence[str], load: Callable[[int], Floats | None]) -> Floats:
        """(N, E) of the images `load(0)`, `load(1)`, ...; `name` and `items` say what they are. nan where there is none."""
        parts = []
        for start in range(0, len(items), CHUNK):
            numbers = range(start, min(start + CHUNK, len(items)))
            key = hashlib.sha256("\n".join(items[n] for n in numbers).encode()).hexdigest()[:16]
            path = self._cache / f"{name}-{start:05d}-{key}.npy"
            if not path.exists():
                partial = path.with_suffix(".partial.npy")
                np.save(partial, self._compute([load(n) for n in numbers]))
                partial.replace(path)
                _log.info("%s: %d of %d", name, numbers[-1] + 1, len(items))
            parts.append(np.load(path))
        return np.concatenate(parts)

    def _compute(self, images: Sequence[Floats | None]) -> Floats:
        if self._model is None:
            self._model = open_model(self._card, "onnx", "cpu", self._threads)
        there = [number for number, image in enumerate(images) if image is not None]
        batch = [model_input(image, self._card.input)[0] for image in images if image is not None]
        found = [self._model.predict(np.stack(batch[n : n + 16])).embedding for n in range(0, len(batch), 16)]
        answer = np.full((len(images), found[0].shape[1] if found else 1), np.nan, np.float32)
        if found:
            answer[there] = np.concatenate(found)
        return answer


def gather(data: Path, recipe: dict[str, Any], embed: Embedder) -> Images:
    """The collections under `data` (`../shared/data`) and painted copies of normal ones, with their embeddings."""
    radiographs, small = read_radiographs(data, "nih"), read_radiographs(data, "nih64")
    embeddings = embed("nih", _names(radiographs.files), lambda n: read_grey(radiographs.files[n]))
    painted = _paint(data, radiographs, embeddings, recipe, embed)
    small_embeddings = embed("nih64", _names(small.files), lambda n: read_grey(small.files[n]))
    return Images(radiographs, embeddings, small, small_embeddings, painted)


def _paint(data: Path, radiographs: Radiographs, known: Floats, recipe: dict[str, Any], embed: Embedder) -> Painted:
    """Half of the pairs from the radiographs called normal, half from `normal`; each kind of lesion equally often."""
    settings, seed = recipe["painted"], int(recipe["seed"])
    kinds = [kind for kind in TEACHES if kind not in settings["left_out"]]
    count = int(settings["each"]) * len(kinds)
    healthy = np.flatnonzero(~radiographs.truth[:, -1])
    chosen = np.random.default_rng([seed, 2]).permutation(healthy)[np.arange(count) // 2 % len(healthy)]
    others = normal_files(data, count // 2 + 1, seed=1)
    files = [others[n // 2] if n % 2 else radiographs.files[int(chosen[n])] for n in range(count)]
    what = [kinds[n // 2 % len(kinds)] for n in range(count)]
    sizes = np.random.default_rng([seed, 3]).random(count)
    drawn: dict[int, tuple[Scene, Floats] | None] = {}

    def draw(number: int) -> tuple[Scene, Floats] | None:
        if number not in drawn:
            here = scene(read_grey(files[number]))
            random = np.random.default_rng([seed, 4, number])
            drawn[number] = None if here is None else (here, paint(what[number], here, float(sizes[number]), random))
            if len(drawn) > 2 * CHUNK:
                del drawn[next(iter(drawn))]
        return drawn[number]

    def load(number: int) -> Floats | None:
        made = draw(number)
        return None if made is None else made[1]

    names = [f"{VERSION} {seed} {n} {what[n]} {files[n].parent.name}/{files[n].name}" for n in range(count)]
    after = embed("painted", names, load)
    normal = [n for n in range(count) if n % 2]
    before_normal = embed("normal", [files[n].name for n in normal], lambda n: read_grey(files[normal[n]]))
    before = known[chosen].copy()
    before[normal] = before_normal
    side_file = embed.folder / f"sides-{hashlib.sha256(chr(10).join(names).encode()).hexdigest()[:16]}.npy"
    if not side_file.exists():
        np.save(side_file, np.array([_side(draw(n)) for n in range(count)]))
    sides = np.load(side_file)
    patients = np.array(
        [f"normal/{files[n].name}" if n % 2 else str(radiographs.patients[int(chosen[n])]) for n in range(count)]
    )
    kept = np.flatnonzero((sides != "") & np.isfinite(after).all(axis=1))
    return Painted(np.array(what)[kept], sides[kept], sizes[kept], patients[kept], before[kept], after[kept])


def _side(made: tuple[Scene, Floats] | None) -> str:
    """On which side of the patient the picture was changed; the picture's left is the patient's right."""
    if made is None:
        return ""
    here, after = made
    change = np.abs(after - here.grey)
    right, left = float(change[:, : here.lungs.middle].sum()), float(change[:, here.lungs.middle :].sum())
    if left + right < 1.0:
        return ""
    if left > ONE_SIDED * right:
        return "left"
    return "right" if right > ONE_SIDED * left else "bilateral"


def truth_of(finding: str, radiographs: Radiographs) -> npt.NDArray[np.bool_]:
    """(N,) whether the finding is there."""
    return np.asarray(radiographs.truth[:, list(COLUMNS).index(finding)])


def _names(files: tuple[Path, ...]) -> list[str]:
    return [file.name for file in files]
