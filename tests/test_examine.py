"""Lungs first, then the network; a gatekeeper for guests; and why a model abstains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pytest

from radpipe import sanity
from radpipe.anatomy import NAMES
from radpipe.card import InputSpec, ModelCard
from radpipe.detect import findings
from radpipe.examine import Examiner, Gated, clipped_of, grey_of
from radpipe.finding import Finding
from radpipe.models.fake import FakeModel, fake_card
from radpipe.ports import Prediction
from radpipe.preprocess import model_input, place
from radpipe.study import Patient, Study
from tests.drawn_chest import drawn_chest

Floats = npt.NDArray[np.float32]

CARD = fake_card({"cardiomegaly": (0.5, 0.2), "nodule": (0.5, 0.2)})


class Told(FakeModel):
    """A network that keeps what it was told."""

    def predict(self, batch: Floats, measures: Floats | None = None) -> Prediction:
        self.told = measures
        return super().predict(batch)


class DrawnLungs:
    """Finds the lungs of a drawn chest where they were drawn."""

    identity = "drawn 1 abc"

    def __init__(self, fields: Floats) -> None:
        self._fields = fields

    def fields(self, batch: Floats) -> Floats:
        return np.repeat(self._fields[None], len(batch), axis=0)


def _batch(grey: Floats, spec: InputSpec) -> Floats:
    return model_input(grey, spec)[0][None]


def _sure(card: ModelCard) -> Callable[[Floats], Floats]:
    return lambda images: np.full((len(images), len(card.labels)), 0.9, np.float32)


def _examined(heart_right: float = 22.0, heart_left: float = 50.0, card: ModelCard = CARD) -> tuple[Prediction, Told]:
    fields, grey = drawn_chest(heart_right, heart_left)
    card = replace(card, measures=("ctr", "no such measure", "heart_left"), input=replace(card.input, rows=224, columns=224))
    network = Told(card, _sure(card))
    return Examiner(network, DrawnLungs(fields)).predict(_batch(grey, card.input)), network


def test_the_network_is_told_what_was_measured_in_the_cards_order() -> None:
    answer, network = _examined()
    assert network.told is not None
    assert network.told.shape == (1, 3)
    assert network.told[0, 0] == pytest.approx(72 / 176, abs=0.03)
    assert np.isnan(network.told[0, 1])  # what is not known is not made up
    assert answer.chests[0].measures["ctr"] == pytest.approx(float(network.told[0, 0]))
    assert set(NAMES) >= {"ctr", "heart_left", "heart_left_share"}  # names that others rely on


def test_an_empty_batch_has_no_chests() -> None:
    network = Told(CARD, _sure(CARD))
    answer = Examiner(network, DrawnLungs(drawn_chest()[0])).predict(np.zeros((0, 1, 32, 32), np.float32))
    assert len(answer) == 0
    assert answer.chests == ()


def _located(maps: Floats, finding: str) -> Finding:
    answer, network = _examined()
    answer = replace(answer, maps=np.broadcast_to(maps, (1, 2, *maps.shape)).astype(np.float32))
    found = findings(answer, 0, network.card, "1.2.3", place(512, 512, network.card.input))
    return next(one for one in found if one.finding == finding)


def test_a_large_heart_is_shown_by_what_was_measured() -> None:
    evidence = _located(np.zeros((16, 16), np.float32), "cardiomegaly").evidence[0]
    assert evidence.measurement is not None
    assert evidence.measurement.name == "cardiothoracic_ratio"
    assert evidence.box_px is not None
    _, left, _, right = evidence.box_px
    assert left / 512 == pytest.approx((128 - 22) / 256, abs=0.03)
    assert right / 512 == pytest.approx((128 + 50) / 256, abs=0.03)


def test_side_and_zone_are_told_by_the_lungs_and_what_shines_outside_of_them_does_not_count() -> None:
    maps = np.zeros((16, 16), np.float32)
    maps[0, 0] = 9.0  # a letter in the corner
    maps[11, 11:13] = 5.0  # the patient's left base
    nodule = _located(maps, "nodule")
    assert nodule.laterality == "left"
    assert nodule.zone == "lower"
    top, left, _, _ = nodule.evidence[0].box_px or (0, 0, 0, 0)
    assert (top, left) == (11 * 32, 11 * 32)
    assert nodule.evidence[0].source == "patch map within the lungs"


def test_a_guest_is_told_view_and_distance_by_the_gatekeeper() -> None:
    fields, grey = drawn_chest()
    grey = grey * np.linspace(0.5, 1.0, grey.shape[0], dtype=np.float32)[:, None]  # evenly white tissue would be saturated
    gate_card = replace(CARD, distance_limit=1.5, view_labels=("PA", "AP"), orientation_labels=("upright", "turned 90"))

    def told(images: Floats) -> Prediction:
        count = len(images)
        return Prediction(
            np.zeros((count, 2), np.float32),
            np.zeros((count, 2, 0, 0), np.float32),
            np.zeros((count, 4), np.float32),
            np.tile(np.float32([0.1, 0.9]), (count, 1)),
            images.reshape(count, -1).std(axis=1) * 0 + 2.0,
            np.tile(np.float32([0.2, 0.8]), (count, 1)),
        )

    guest_card = replace(CARD, distance_limit=None, view_labels=(), input=replace(CARD.input, rows=64, columns=64))
    model = Gated(FakeModel(guest_card, _sure(guest_card)), Examiner(FakeModel(gate_card, told), DrawnLungs(fields)))
    answer = model.predict(_batch(grey, guest_card.input))
    assert answer.probabilities[0, 0] == np.float32(0.9)  # the guest's
    assert model.card.view_labels[int(answer.views[0].argmax())] == "AP"
    assert len(answer.chests) == 1
    why = sanity.why_not(answer, 0, model.card)
    assert why is not None
    assert "turned by 90 degrees" in why
    assert "distance 2.00, limit 1.50" in why


def test_a_model_that_cannot_tell_what_is_strange_does_not_abstain() -> None:
    card = replace(CARD, distance_limit=None)
    answer = FakeModel(card, _sure(card)).predict(np.zeros((1, 1, 32, 32), np.float32))
    assert sanity.why_not(answer, 0, card) is None
    assert sanity.orientation(answer, 0, card) is None
    assert sanity.notes(answer, 0) == ()


def test_a_mirrored_chest_is_pointed_out_and_not_refused() -> None:
    as_it_is, _ = _examined(22.0, 60.0)
    mirrored, _ = _examined(60.0, 22.0)
    assert not any("mirrored" in note for note in sanity.notes(as_it_is, 0))
    assert any("mirrored" in note for note in sanity.notes(mirrored, 0))


@pytest.mark.parametrize(
    ("age", "born", "refused"),
    [
        ("007Y", None, True),
        ("011M", None, True),
        ("018Y", None, False),
        ("", date(2015, 6, 1), True),
        ("", None, False),
        ("17Y", None, True),
        ("17", None, True),
        ("000Y", None, False),
        ("\u00b2\u00b2\u00b2Y", None, False),
        ("", date(2008, 1, 31), False),
        ("", date(2008, 2, 1), True),
    ],
)
def test_a_child_is_refused_where_the_card_says_adults(age: str, born: date | None, refused: bool) -> None:
    patient = Patient(patient_id="1", patient_birth_date=born)
    study = Study(study_instance_uid="1.2", patient=patient, study_date=date(2026, 1, 31), patient_age=age)
    why = sanity.too_young(study, CARD.input)
    assert (why is not None) is refused
    if why:
        assert "younger than 18 years" in why


@pytest.mark.parametrize(("white", "black", "word"), [(0.3, 0.1, "white"), (0.01, 0.7, "black"), (0.08, 0.41, None)])
def test_a_saturated_image_is_refused_with_its_reason(white: float, black: float, word: str | None) -> None:
    answer, network = _examined()
    answer = replace(answer, clipped=np.float32([[white, black]]))
    why = sanity.why_not(answer, 0, network.card)
    assert (why is None) is (word is None)
    if word:
        assert f"quite {word}" in str(why)


def test_a_guest_without_maps_states_findings_without_a_place() -> None:
    answer, network = _examined()
    answer = replace(answer, maps=np.zeros((1, 0, 0, 0), np.float32))
    found = findings(answer, 0, network.card, "1.2.3", place(512, 512, network.card.input))
    nodule = next(one for one in found if one.finding == "nodule")
    assert nodule.decision == "present"
    assert (nodule.laterality, nodule.zone, nodule.evidence[0].box_px) == (None, None, None)


def test_a_nodules_side_is_that_of_its_box_whatever_shines_weakly_elsewhere() -> None:
    maps = np.zeros((16, 16), np.float32)
    maps[9:12, 3:6] = 1.5  # a broad weak area in the right lung
    maps[5, 11] = 4.0
    nodule = _located(maps, "nodule")
    assert nodule.laterality == "left"
    assert nodule.evidence[0].box_px == (160, 352, 192, 384)


def test_padding_and_collimation_do_not_count_as_black() -> None:
    spec = replace(CARD.input, rows=64, columns=64)
    wide = np.full((20, 64), 0.4, np.float32)
    wide[:, ::7] = 0.8
    framed = np.zeros((64, 64), np.float32)
    framed[22:42] = wide
    assert clipped_of(grey_of(_batch(framed, spec), spec))[0, 1] < 0.2
    assert clipped_of(grey_of(_batch(np.zeros((64, 64), np.float32), spec), spec)).tolist() == [[0.0, 1.0]]
