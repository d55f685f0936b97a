"""Which models read an image, and why the others do not: by modality, body part, view and age, as their cards say.

The first model that may read an image is its primary: its decisions stand. What the others say is evidence beside it, never
a vote. A model that does not tell views and foreign images apart by itself (`card.sees`) needs a gatekeeper, one that does:
then the gatekeeper says whether the image is one to be read, and which view it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from radpipe.card import ModelCard


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an image before a model looked at it; "" and None where nothing is."""

    modality: str = ""
    body_part: str = ""  # as BodyPartExamined has it
    view: str = ""  # PA, AP, LATERAL
    age_years: float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One model, and why it does not read the image; None where it does."""

    card: ModelCard
    why_not: str | None


@dataclass(frozen=True, slots=True)
class Route:
    """Every model that was offered, in the order of preference."""

    choices: tuple[Choice, ...]
    gatekeeper: ModelCard | None  # who says view and in-distribution for those that cannot

    @property
    def primary(self) -> ModelCard | None:
        """Whose decisions stand."""
        return self.readers[0] if self.readers else None

    @property
    def readers(self) -> tuple[ModelCard, ...]:
        """The models that read it, the primary first."""
        return tuple(choice.card for choice in self.choices if choice.why_not is None)

    @property
    def why_not(self) -> str | None:
        """Why none reads it; None where one does."""
        if self.readers:
            return None
        return "; ".join(f"{choice.card.name}: {choice.why_not}" for choice in self.choices) or "no model is installed"


def route(cards: Sequence[ModelCard], image: Facts, gatekeepers: Sequence[ModelCard] = ()) -> Route:
    """Who reads `image`, of `cards` in the order of preference. `gatekeepers`: readers that are asked only for its view
    and whether it is one to be read (the one that ships); the first that sees and fits is taken."""
    keeper = next((card for card in (*cards, *gatekeepers) if card.sees and covers(card, image) is None), None)
    choices = []
    for card in cards:
        why = covers(card, image)
        if why is None and not card.sees and keeper is None:
            why = "it does not tell by itself whether an image is one to be read, and no installed model does that for it"
        choices.append(Choice(card, why))
    return Route(tuple(choices), keeper)


def covers(card: ModelCard, image: Facts) -> str | None:
    """Why the card does not cover an image, in words; None where it does. What is not known speaks against nothing."""
    spec = card.input
    youngest, _ = spec.patient_age_years
    if image.modality and image.modality not in spec.modalities:
        return f"it reads {', '.join(spec.modalities)}, not {image.modality}"
    if image.body_part and spec.body_part and image.body_part.upper() != spec.body_part.upper():
        return f"it reads {spec.body_part}, not {image.body_part}"
    if image.view and spec.views and image.view not in spec.views:
        return f"it reads the views {', '.join(spec.views)}, not {image.view}"
    if image.age_years is not None and image.age_years < youngest:
        return f"the patient is younger than {youngest} years, the youngest whom it was studied on"
    return None
