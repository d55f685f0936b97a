"""What the frozen backbone sees in each image: the slow step, kept in a cache that a broken-off run takes up again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from radpipe.card import InputSpec
from radpipe.models.dinov2 import Backbone
from radpipe.preprocess import model_input

CHUNK = 128
BATCH = 16

Floats = npt.NDArray[np.float32]
_log = logging.getLogger(__name__)


class Extractor:
    """Features (N, 2 T) of images, as `dinov2.Reader` computes them, from a cache where they are there."""

    def __init__(self, backbone: Backbone, spec: InputSpec, cache: Path) -> None:
        self._backbone = backbone
        self._spec = spec
        self._cache = cache
        digest = hashlib.sha256(repr((spec, backbone.shape)).encode())
        for name, tensor in backbone.state_dict().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
        self._identity = digest.hexdigest()
        cache.mkdir(parents=True, exist_ok=True)

    def features(self, name: str, items: Sequence[str], load: Callable[[int], Floats]) -> Floats:
        """Of the images `load(0)`, `load(1)`, ... each (rows, columns). `name` and `items` say what they are: a chunk whose
        items and network are unchanged is taken from the cache."""
        parts = []
        for start in range(0, len(items), CHUNK):
            numbers = range(start, min(start + CHUNK, len(items)))
            key = "\n".join([self._identity, *(items[number] for number in numbers)])
            path = self._cache / f"{name}-{start:05d}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
            if not path.exists():
                part = self._compute([load(number) for number in numbers])
                partial = path.with_suffix(".partial.npy")
                np.save(partial, part)
                partial.replace(path)
                _log.info("%s: %d of %d", name, numbers[-1] + 1, len(items))
            parts.append(np.load(path))
        return np.concatenate(parts)

    def _compute(self, images: Sequence[Floats]) -> Floats:
        batch = torch.from_numpy(np.stack([model_input(image, self._spec)[0] for image in images]))
        answers = []
        with torch.inference_mode():
            for part in torch.split(batch, BATCH):
                cls, patches = self._backbone(part)
                answers.append(torch.cat([cls, patches.mean(1)], dim=-1).numpy())
        return np.concatenate(answers)


def rounded_to_half(backbone: Backbone) -> Backbone:
    """The backbone with the weights that ship: rounded to half precision and widened again."""
    backbone.load_state_dict({name: tensor.half().float() for name, tensor in backbone.state_dict().items()})
    return backbone.eval().requires_grad_(False)
