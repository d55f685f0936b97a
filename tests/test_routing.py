"""Which models read an image, and why not."""

from __future__ import annotations

import dataclasses
from typing import Any

from radpipe.card import ModelCard
from radpipe.models.fake import fake_card
from radpipe.models.routing import Facts, covers, route


def _card(name: str, *, sees: bool = True, **spec: Any) -> ModelCard:
    card = fake_card({"mass": (0.5, 0.2)})
    views = card.view_labels if sees else ()
    return dataclasses.replace(card, name=name, view_labels=views, input=dataclasses.replace(card.input, **spec))


CHEST = Facts("DX", "CHEST", "PA", 50)


def test_the_first_that_covers_an_image_is_its_primary_and_the_rest_stand_beside() -> None:
    found = route([_card("ct", modalities=("CT",)), _card("ours"), _card("guest", sees=False)], CHEST)
    assert found.primary is not None
    assert found.primary.name == "ours"
    assert [card.name for card in found.readers] == ["ours", "guest"]
    assert found.choices[0].why_not == "it reads CT, not DX"
    assert found.why_not is None


def test_a_guest_that_cannot_see_needs_a_gatekeeper() -> None:
    guest = _card("guest", sees=False)
    alone = route([guest], CHEST)
    assert alone.primary is None
    assert "no installed model does that for it" in str(alone.why_not)
    kept = route([guest], CHEST, gatekeepers=[_card("ours")])
    assert kept.primary is guest
    assert kept.gatekeeper is not None
    assert kept.gatekeeper.name == "ours"


def test_a_gatekeeper_must_cover_the_image_itself() -> None:
    kept = route([_card("hands", sees=False, body_part="HAND")], Facts("DX", "HAND"), gatekeepers=[_card("ours")])
    assert kept.gatekeeper is None
    assert kept.primary is None


def test_what_is_not_known_speaks_against_nothing() -> None:
    assert covers(_card("ours"), Facts()) is None


def test_every_fact_can_speak_against_a_model() -> None:
    card = _card("ours")
    for change, told in (
        ({"modality": "MG"}, "not MG"),
        ({"body_part": "HAND"}, "not HAND"),
        ({"view": "LATERAL"}, "not LATERAL"),
        ({"age_years": 4}, "younger than 18"),
    ):
        assert told in str(covers(card, dataclasses.replace(CHEST, **change)))
    assert "no model is installed" in str(route([], CHEST).why_not)
