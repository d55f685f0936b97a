"""What a network's outputs become: a ports.Prediction, whatever of it the network has. The same for both backends."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from radpipe.card import ModelCard
from radpipe.errors import WeightsError
from radpipe.ports import Prediction

OUTPUTS = ("probabilities", "maps", "embedding", "views", "distance", "orientation")
"""Names of a network's outputs, in the order in which a torch network gives them. Only the first must be there."""


def prediction(answers: Mapping[str, npt.NDArray[np.float32]], count: int, card: ModelCard) -> Prediction:
    """The answer for `count` images; what the network does not say has no columns, and its distance is 0.

    Raises WeightsError if the probabilities are not one a label of the card.
    """
    labels = len(card.labels)
    empty = {
        "probabilities": (count, labels),
        "maps": (count, 0, 0, 0),
        "embedding": (count, 0),
        "views": (count, 0),
        "distance": (count,),
        "orientation": (count, 0),
    }
    arrays = []
    for name in OUTPUTS:
        array = answers.get(name)
        values = np.zeros(empty[name], np.float32) if array is None else np.asarray(array, np.float32)
        values.setflags(write=False)
        arrays.append(values)
    if arrays[0].shape != (count, labels):
        raise WeightsError(f"{card.name} gave {arrays[0].shape[1:]} probabilities an image, its card has {labels} labels")
    probabilities, maps, embedding, views, distance, orientation = arrays
    return Prediction(probabilities, maps, embedding, views, distance, orientation)
