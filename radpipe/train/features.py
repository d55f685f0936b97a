"""What the backbone sees in each image, and what is measured of its lungs and heart: the slow step, kept in a cache that a
broken-off run takes up again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from radpipe.card import InputSpec
from radpipe.examine import chests_of, grey_of, vectors
from radpipe.models.dinov2 import Backbone
from radpipe.ports import LungFinder
from radpipe.preprocess import model_input

CHUNK = 128
BATCH = 16

ANATOMY = 2
"""Raise it when `anatomy` measures otherwise: the cache knows a measure by its name."""

Floats = npt.NDArray[np.float32]
_log = logging.getLogger(__name__)


class Extractor:
    """What is known of images: of the tokens, as `dinov2.Reader` computes it, and the measures of lungs and heart. From a
    cache where it is there."""

    def __init__(
        self, backbone: Backbone, spec: InputSpec, cache: Path, lungs: LungFinder, measures: tuple[str, ...]
    ) -> None:
        self._backbone = backbone
        self._spec = spec
        self._cache = cache
        self._lungs = lungs
        self._measures = measures
        digest = hashlib.sha256(repr((spec, backbone.shape.grid, backbone.shape.taps)).encode())
        for name, tensor in backbone.state_dict().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
        self._tokens_identity = digest.hexdigest()
        self._measures_identity = repr((ANATOMY, spec, lungs.identity, measures))
        cache.mkdir(parents=True, exist_ok=True)

    def features(self, name: str, items: Sequence[str], load: Callable[[int], Floats], *, half: bool = False) -> Floats:
        """Of the tokens, (N, 2 T), of the images `load(0)`, `load(1)`, ... each (rows, columns). `name` and `items` say what
        they are: a chunk whose items and network are unchanged is taken from the cache. `half`: in bfloat16, twice as fast
        where the processor has it; for what only helps."""
        kind = f"{name}-half" if half else name
        return self._cached(kind, self._tokens_identity, items, load, lambda batch: self._tokens(batch, half))

    def measures(self, name: str, items: Sequence[str], load: Callable[[int], Floats]) -> Floats:
        """Of the lungs and the heart, (N, M), NaN where one could not be taken; cached like `features`."""
        return self._cached(f"{name}-measures", self._measures_identity, items, load, self._measured)

    def _cached(
        self,
        name: str,
        identity: str,
        items: Sequence[str],
        load: Callable[[int], Floats],
        compute: Callable[[Floats], Floats],
    ) -> Floats:
        parts = []
        for start in range(0, len(items), CHUNK):
            numbers = range(start, min(start + CHUNK, len(items)))
            key = "\n".join([identity, *(items[number] for number in numbers)])
            path = self._cache / f"{name}-{start:05d}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
            if not path.exists():
                part = compute(np.stack([model_input(load(number), self._spec)[0] for number in numbers]))
                partial = path.with_suffix(".partial.npy")
                np.save(partial, part)
                partial.replace(path)
                _log.info("%s: %d of %d", name, numbers[-1] + 1, len(items))
            parts.append(np.load(path))
        return np.concatenate(parts)

    def _tokens(self, batch: Floats, half: bool) -> Floats:
        answers = []
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            for part in torch.split(torch.from_numpy(batch), BATCH):
                cls, patches = self._backbone(part)
                answers.append(torch.cat([cls.float(), patches.float().mean(1)], dim=-1).numpy())
        return np.concatenate(answers)

    def _measured(self, batch: Floats) -> Floats:
        return vectors(chests_of(grey_of(batch, self._spec), self._lungs), self._measures)


def rounded_to_half(backbone: Backbone) -> Backbone:
    """The backbone with the weights that ship: rounded to half precision and widened again."""
    backbone.load_state_dict({name: tensor.half().float() for name, tensor in backbone.state_dict().items()})
    return backbone.eval().requires_grad_(False)
