"""Is this an image that the model may read? If not, why, in words that tell the user what to do. Pure.

A model abstains from what is unlike its training images (other body parts, CT and MR slices, photographs, blank and
saturated images), from chests that are turned or inverted, from lateral views where it reads frontal ones, and from children
where its card says adults. What only may be wrong (a mirrored picture, a rotated patient) is a note, not a refusal.
"""

from __future__ import annotations

import math
import re

from radpipe.card import InputSpec, ModelCard
from radpipe.ports import Prediction
from radpipe.study import Study

_LIES = {
    "turned 90": "it looks turned by 90 degrees",
    "turned 180": "it looks upside down",
    "turned 270": "it looks turned by 270 degrees",
    "inverted": "its grey values look inverted (check PhotometricInterpretation and PresentationLUTShape)",
}
"""card.orientation_labels -> words."""

_BY_HAND = "read it by hand; if it is an ordinary frontal chest radiograph, check its windowing and orientation"

MIRRORED_SHARE = 0.42
"""Share of the heart's width that lies left of the midline, below which the picture may be mirrored: 1 % of our radiographs
as they are, 81 % of them mirrored."""


CLIPPED_LIMITS = (0.15, 0.50)
"""Shares of the picture, without what is black around it, that may be quite white and quite black. Of 1,285 of our
radiographs the whitest has 0.08, the blackest (with its collimation) 0.41; of 40 whose grey values were doubled and cut half
have over 0.52."""


def why_not(prediction: Prediction, index: int, card: ModelCard) -> str | None:
    """Why image `index` of the batch must not be read, from the image alone; None where it may."""
    if prediction.clipped is not None:
        for share, limit, words in zip(prediction.clipped[index], CLIPPED_LIMITS, ("white", "black"), strict=True):
            if share > limit:
                return (
                    f"{share:.0%} of the image is quite {words}: it is saturated, or its window is wrong (check "
                    "WindowCenter and WindowWidth); read it by hand"
                )
    if card.distance_limit is None:
        return None
    distance = float(prediction.distance[index])
    if distance <= card.distance_limit:
        return None
    numbers = f"distance {distance:.2f}, limit {card.distance_limit:.2f}"
    lies = orientation(prediction, index, card)
    if lies in _LIES:
        return f"the image is not an upright chest radiograph: {_LIES[lies]} ({numbers}); correct it, or read it by hand"
    return f"the image is unlike those that the model learnt from ({numbers}): {_BY_HAND}"


def orientation(prediction: Prediction, index: int, card: ModelCard) -> str | None:
    """The likeliest of `card.orientation_labels`, None where the model does not say."""
    if prediction.orientation is None or not prediction.orientation.shape[1]:
        return None
    return card.orientation_labels[int(prediction.orientation[index].argmax())]


def notes(prediction: Prediction, index: int) -> tuple[str, ...]:
    """What may be wrong with an image that is read nevertheless."""
    if not prediction.chests:
        return ()
    chest = prediction.chests[index]
    share = chest.measures.get("heart_left_share", math.nan)
    mirrored = "the picture may be mirrored, or the heart lies on the right: check the side marker"
    return (*([mirrored] if share < MIRRORED_SHARE else []), *chest.faults)


def too_young(study: Study, spec: InputSpec) -> str | None:
    """Why the model's population excludes this patient: a child where the card says adults. None for an unknown age."""
    age, youngest = age_years(study), spec.patient_age_years[0]
    if age is None or age >= youngest:
        return None
    return (
        f"the patient is younger than {youngest} years, the youngest on whom the model was studied (PatientAge, "
        "PatientBirthDate): read it by hand"
    )


def age_years(study: Study) -> float | None:
    """From PatientAge (AS, PS3.5 6.2), else from the birth date."""
    said = re.fullmatch(r"(\d{1,3})([YMWD]?)", study.patient_age.strip().upper(), re.ASCII)
    if said and int(said[1]):  # 000Y is how some say that they do not know
        return int(said[1]) / {"Y": 1, "": 1, "M": 12, "W": 52, "D": 365}[said[2]]
    born, taken = study.patient.patient_birth_date, study.study_date
    if not (born and taken and taken >= born):
        return None
    return taken.year - born.year - ((taken.month, taken.day) < (born.month, born.day))
