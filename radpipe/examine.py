"""One look at a batch of radiographs: the lungs found and measured first, then the network, which is told what was measured.

An `Examiner` is an ImageModel like the one that it is made of. The lungs are looked for in the network's own input, so that
training and reading measure the same picture. A guest that cannot say what it should not read gets a gatekeeper (`Gated`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from radpipe.anatomy import Anatomy, anatomy
from radpipe.card import InputSpec, ModelCard
from radpipe.ports import Chest, ImageModel, LungFinder, Prediction
from radpipe.preprocess import model_input

Floats = npt.NDArray[np.float32]

QUITE = 0.005
"""Of the grey range: what is nearer to its end has lost its detail."""


class Examiner:
    """A network that wants measures, and the lung segmenter that they are taken with. See ports.ImageModel."""

    def __init__(self, network: ImageModel, lungs: LungFinder) -> None:
        self._network, self._lungs = network, lungs

    @property
    def card(self) -> ModelCard:
        """The network's."""
        return self._network.card

    @property
    def backend(self) -> str:
        """The network's."""
        return self._network.backend

    @property
    def provider(self) -> str:
        """The network's."""
        return self._network.provider

    @property
    def lungs(self) -> str:
        """Which segmenter: "name version sha256[:12]"."""
        return self._lungs.identity

    def predict(self, batch: Floats, measures: Floats | None = None) -> Prediction:
        """(B, C, H, W) float32, preprocessed. `measures` are taken here unless they are given."""
        grey = grey_of(batch, self.card.input)
        chests: tuple[Chest, ...] = chests_of(grey, self._lungs)
        if measures is None:
            measures = vectors(chests, self.card.measures)
        answer = self._network.predict(batch, measures)
        return replace(answer, chests=chests, clipped=clipped_of(grey))


class Gated:
    """A guest that knows neither views nor what is unlike its training images, with a reader that does.

    The gatekeeper looks at the picture as the guest sees it, and tells view, orientation, distance and anatomy.
    """

    def __init__(self, guest: ImageModel, gate: ImageModel) -> None:
        self._guest, self._gate = guest, gate
        told = gate.card
        self._card = replace(
            guest.card,
            view_labels=told.view_labels,
            distance_limit=told.distance_limit,
            orientation_labels=told.orientation_labels,
        )

    @property
    def card(self) -> ModelCard:
        """The guest's, with what the gatekeeper tells."""
        return self._card

    @property
    def backend(self) -> str:
        """The guest's."""
        return self._guest.backend

    @property
    def provider(self) -> str:
        """The guest's."""
        return self._guest.provider

    def predict(self, batch: Floats, measures: Floats | None = None) -> Prediction:
        """(B, C, H, W) float32, preprocessed as the guest's card says."""
        answer = self._guest.predict(batch, measures)
        spec, seen = self._guest.card.input, self._gate.card.input
        grey = batch[:, 0] * np.float32(spec.std[0]) + np.float32(spec.mean[0])
        shown = [model_input(_resized(picture, seen.rows, seen.columns), seen)[0] for picture in grey]
        told = self._gate.predict(
            np.stack(shown) if shown else np.zeros((0, seen.channels, seen.rows, seen.columns), np.float32)
        )
        return replace(
            answer,
            views=told.views,
            distance=told.distance,
            orientation=told.orientation,
            chests=told.chests,
            clipped=told.clipped,
        )


def chests_of(grey: Floats, lungs: LungFinder) -> tuple[Anatomy, ...]:
    """The anatomy of each picture (B, 1, H, W), 0..1."""
    if len(grey) == 0:
        return ()
    return tuple(anatomy(fields, picture[0]) for fields, picture in zip(lungs.fields(grey), grey, strict=True))


def vectors(chests: tuple[Chest, ...], names: tuple[str, ...]) -> Floats:
    """(B, M) measures by name, NaN for those that could not be taken."""
    return np.array([[chest.measures.get(name, np.nan) for name in names] for chest in chests], np.float32).reshape(
        len(chests), len(names)
    )


def clipped_of(grey: Floats) -> Floats:
    """(B, 2): the shares of each picture (B, 1, H, W), 0..1, that are as white, and as black, as can be."""
    shares = np.ones((len(grey), 2), np.float32)
    for index, (picture,) in enumerate(grey):
        rows, columns = (np.flatnonzero((picture > QUITE).any(axis=axis)) for axis in (1, 0))
        if len(rows):  # padding and collimation around it do not count
            inside = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            shares[index] = (inside >= 1 - QUITE).mean(), (inside <= QUITE).mean()
        else:
            shares[index, 0] = 0.0
    return shares


def _resized(picture: Floats, rows: int, columns: int) -> Floats:
    """The whole frame of one network as that of another: no padding, so that fractions of the frame stay."""
    image = Image.fromarray(np.ascontiguousarray(picture, np.float32))
    return np.asarray(image.resize((columns, rows), Image.Resampling.BICUBIC), np.float32)


def grey_of(batch: Floats, spec: InputSpec) -> Floats:
    """(B, 1, H, W), 0..1, of a network's input."""
    return np.asarray(np.clip(batch[:, :1] * np.float32(spec.std[0]) + np.float32(spec.mean[0]), 0, 1), np.float32)
