"""Images to compare two backends on where there are none of patients."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from radpipe.card import InputSpec
from radpipe.preprocess import model_input
from radpipe.samples.phantom import Exposure, radiograph
from radpipe.samples.skeleton import Person


@cache
def _chests() -> tuple[npt.NDArray[np.float32], ...]:
    """Drawing one takes a second."""
    return tuple(radiograph(Person(seed), Exposure("PA", seed)).pixels.astype(np.float32) for seed in (11, 12))


def trial_batch(spec: InputSpec) -> npt.NDArray[np.float32]:
    """(8, C, rows, columns): four synthetic chests, two noises, black, white; as the card says."""
    rng = np.random.default_rng(0)
    chests = _chests()
    pictures = [*chests, chests[0][:, ::-1], np.sqrt(chests[1]), rng.random((300, 300), np.float32)]
    pictures += [rng.normal(size=(64, 90)).astype(np.float32), np.zeros((50, 50), np.float32)]
    prepared = [model_input(np.ascontiguousarray(picture), spec)[0] for picture in pictures]
    mean, std = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)
    white = np.broadcast_to((1 - mean) / std, (spec.rows, spec.columns, spec.channels))
    return np.stack([*prepared, np.ascontiguousarray(white.transpose(2, 0, 1), np.float32)])
