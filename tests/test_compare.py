"""Which prior is chosen, and what is said to have changed."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radpipe.card import InputSpec, Label, ModelCard
from radpipe.codes import FINDINGS, Laterality
from radpipe.compare import chances, changes, choose_prior, logit, why_no_prior
from radpipe.errors import DraftError
from radpipe.finding import Change, ChangeKind, Decision, Evidence, Finding, Registration
from radpipe.study import FileRef, Image, Patient, Study, View

ALIGNED = Registration(0.8, True, "aligned")
APART = Registration(0.1, False, "the two images do not match")


def _image(uid: str, **changed: object) -> Image:
    image = Image(
        sop_instance_uid=uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        series_instance_uid=uid + ".0",
        file=FileRef(Path("x.dcm")),
        sha256="0" * 64,
        modality="DX",
        rows=100,
        columns=100,
        body_part="CHEST",
        view=View.PA,
    )
    return replace(image, **changed)  # type: ignore[arg-type]


def _study(uid: str, on: date | None, at: time | None = None, **patient: object) -> Study:
    return Study(uid, replace(Patient("P1", "H"), **patient), study_date=on, study_time=at)  # type: ignore[arg-type]


NOW = _study("1.9", date(2026, 2, 1), time(12))
NOW_IMAGE = _image("1.9.1")


def _pair(uid: str, on: date | None, at: time | None = None, **image: object) -> tuple[Study, Image]:
    return _study(uid, on, at), _image(uid + ".1", **image)


def test_the_nearest_of_the_same_view_is_chosen_and_the_reason_says_so() -> None:
    earlier = [
        _pair("1.1", date(2024, 1, 1)),
        _pair("1.2", date(2025, 11, 2)),
        _pair("1.3", date(2025, 1, 1)),
        _pair("1.4", date(2026, 1, 30), view=View.AP),
    ]
    chosen = choose_prior(NOW, NOW_IMAGE, earlier)
    assert chosen is not None
    assert chosen[0].study_instance_uid == "1.2"
    assert chosen[2] == (
        "nearest earlier PA chest, 2025-11-02 (91 days before); 2 others were older; 1 other was in another view"
    )


def test_pa_is_compared_with_ap_only_as_second_best_and_it_is_said() -> None:
    chosen = choose_prior(NOW, NOW_IMAGE, [_pair("1.1", date(2026, 1, 31), view=View.AP)])
    assert chosen is not None
    assert chosen[2] == "nearest earlier AP chest, 2026-01-31 (1 day before); second best, for there is no earlier PA"


def test_an_unknown_view_is_the_last_choice_and_a_lateral_none() -> None:
    unknown = _pair("1.1", date(2026, 1, 31), view=None)
    chosen = choose_prior(NOW, NOW_IMAGE, [unknown, _pair("1.2", date(2020, 1, 1), view=View.AP)])
    assert chosen is not None
    assert chosen[0].study_instance_uid == "1.2"
    alone = choose_prior(NOW, NOW_IMAGE, [unknown])
    assert alone is not None
    assert "view of one of the two images is unknown" in alone[2]
    lateral = _pair("1.3", date(2026, 1, 31), view=View.LATERAL)
    assert choose_prior(NOW, NOW_IMAGE, [lateral]) is None
    assert choose_prior(NOW, replace(NOW_IMAGE, view=None), [lateral]) is None


def test_studies_of_one_day_are_ordered_by_time() -> None:
    today = date(2026, 2, 1)
    earlier = [_pair("1.1", today, time(8)), _pair("1.2", today, time(11)), _pair("1.3", today, time(13))]
    chosen = choose_prior(NOW, NOW_IMAGE, earlier)
    assert chosen is not None
    assert chosen[0].study_instance_uid == "1.2"
    assert "earlier the same day" in chosen[2]


def test_a_study_of_the_same_day_without_a_time_is_not_a_prior() -> None:
    earlier = [_pair("1.1", date(2026, 2, 1)), _pair("1.2", None)]
    assert choose_prior(NOW, NOW_IMAGE, earlier) is None
    assert why_no_prior(NOW, NOW_IMAGE, earlier) == "no comparable prior: 2 whose order in time is unknown"


@pytest.mark.parametrize(
    ("study", "image", "reason"),
    [
        (NOW, NOW_IMAGE, "is this study itself"),
        (_study("1.1", date(2027, 1, 1)), _image("1.1.1"), "not earlier"),
        (_study("1.1", date(2025, 1, 1), patient_id="P2"), _image("1.1.1"), "same patient"),
        (_study("1.1", date(2025, 1, 1), issuer_of_patient_id="G"), _image("1.1.1"), "same patient"),
        (_study("1.1", date(2025, 1, 1)), _image("1.1.1", body_part="HAND"), "body part"),
        (_study("1.1", date(2025, 1, 1)), _image("1.1.1", body_part=""), "body part"),
        (_study("1.1", date(2025, 1, 1)), _image("1.1.1", modality="CT"), "another kind of image (CT)"),
        (_study("1.1", date(2025, 1, 1)), _image("1.1.1", view=View.LATERAL), "another view (LATERAL)"),
    ],
)
def test_what_may_not_be_compared_is_refused_with_the_reason(study: Study, image: Image, reason: str) -> None:
    assert choose_prior(NOW, NOW_IMAGE, [(study, image)]) is None
    assert reason in why_no_prior(NOW, NOW_IMAGE, [(study, image)])


def test_a_patient_without_an_id_has_no_prior() -> None:
    nameless = _study("1.9", date(2026, 2, 1), patient_id="")
    assert choose_prior(nameless, NOW_IMAGE, [(_study("1.1", date(2025, 1, 1), patient_id=""), NOW_IMAGE)]) is None


def test_reasons_hold_no_patient_data() -> None:
    other = _study("1.1", date(2025, 1, 1), patient_id="SECRET", patient_name="DOE^JANE")
    assert "SECRET" not in why_no_prior(NOW, NOW_IMAGE, [(other, NOW_IMAGE)])


def test_an_empty_store_says_so_and_a_usable_prior_gives_no_reason_against_it() -> None:
    assert why_no_prior(NOW, NOW_IMAGE, []) == "no earlier study of this patient is in the store"
    assert why_no_prior(NOW, NOW_IMAGE, [_pair("1.1", date(2025, 1, 1))]) == ""


@given(
    st.lists(
        st.tuples(
            st.dates(date(2020, 1, 1), date(2030, 1, 1)),
            st.sampled_from([*View, None]),
            st.sampled_from(["CHEST", "HAND", ""]),
            st.sampled_from(["P1", "P2"]),
        ),
        max_size=8,
    )
)
def test_a_chosen_prior_is_always_earlier_of_the_same_patient_and_part(rows: list[tuple[date, View, str, str]]) -> None:
    earlier = [
        (_study(f"1.{n}", on, patient_id=who), _image(f"1.{n}.1", view=view, body_part=part))
        for n, (on, view, part, who) in enumerate(rows, start=10)
    ]
    chosen = choose_prior(NOW, NOW_IMAGE, earlier)
    assert (chosen is None) == bool(why_no_prior(NOW, NOW_IMAGE, earlier))
    assert chosen == choose_prior(NOW, NOW_IMAGE, earlier[::-1])
    if chosen is not None:
        study, image, why = chosen
        assert study.study_date is not None
        assert study.study_date < date(2026, 2, 1)
        assert (study.patient.patient_id, image.body_part) == ("P1", "CHEST")
        assert why


# --- changes ---------------------------------------------------------------------------------------------------------

THRESHOLD, RULE_OUT = 0.6, 0.3


def _label(finding: str, repeatability: float, *, assessed: bool = True) -> Label:
    return Label(
        finding, FINDINGS[finding], THRESHOLD, RULE_OUT, assessed, "made up", 0.8, (0.7, 0.9), 50, 100, 0.8, 0.8,
        repeatability,
    )  # fmt: skip


def _card(*labels: Label) -> ModelCard:
    spec = InputSpec(("DX",), "CHEST", ("PA", "AP"), 224, 224, 3, (0.5,), (0.2,), (1.0, 99.0), (18, 120))
    return ModelCard(
        name="m",
        version="1",
        summary="s",
        strength="weak",
        licence="none",
        files=(("a", "b"),),
        directory=Path("."),
        training_data="t",
        population="p",
        limits=(),
        not_covered=(),
        input=spec,
        labels=labels,
        view_labels=("PA", "AP"),
        distance_limit=1.0,
    )


def _finding(probability: float, *, side: Laterality | None = None, model: str = "m 1") -> Finding:
    decision = Decision.PRESENT if probability >= THRESHOLD else Decision.UNSURE
    decision = Decision.ABSENT if probability < RULE_OUT else decision
    return Finding(
        "pleural_effusion", FINDINGS["pleural_effusion"], decision, probability, THRESHOLD, RULE_OUT,
        (Evidence("1.9.1", model=model),), side,
    )  # fmt: skip


def _one(now: float, before: float, repeatability: float = 1.0, registration: Registration = ALIGNED) -> Change | None:
    card = _card(_label("pleural_effusion", repeatability))
    found = changes([_finding(now)], [_finding(before)], card, registration, "1.9.1", "1.1.1")
    return found[0] if found else None


@pytest.mark.parametrize(
    ("now", "before", "kind"),
    [
        (0.90, 0.10, ChangeKind.NEW),
        (0.62, 0.29, ChangeKind.NOT_COMPARABLE),  # present and absent, but within the repeatability of 1.5
        (0.95, 0.65, ChangeKind.INCREASED),
        (0.65, 0.95, ChangeKind.DECREASED),
        (0.80, 0.75, ChangeKind.UNCHANGED),
        (0.90, 0.40, ChangeKind.INCREASED),
        (0.61, 0.59, ChangeKind.UNCHANGED),
        (0.31, 0.90, ChangeKind.DECREASED),
        (0.45, 0.40, ChangeKind.UNCHANGED),
        (0.55, 0.01, ChangeKind.NOT_COMPARABLE),
        (0.31, 0.29, ChangeKind.NOT_COMPARABLE),
        (0.10, 0.90, ChangeKind.RESOLVED),
        (0.29, 0.62, ChangeKind.NOT_COMPARABLE),
        (0.01, 0.55, ChangeKind.NOT_COMPARABLE),
    ],
)
def test_the_table_of_decisions(now: float, before: float, kind: ChangeKind) -> None:
    change = _one(now, before, repeatability=1.5)
    assert change is not None
    assert change.change is kind
    assert (change.current_sop_instance_uid, change.prior_sop_instance_uid) == ("1.9.1", "1.1.1")
    assert change.why


def test_what_is_absent_on_both_has_no_entry() -> None:
    assert _one(0.1, 0.2) is None
    assert _one(0.1, 0.2, registration=APART) is None


def test_images_that_cannot_be_registered_are_not_compared() -> None:
    for now, before in ((0.9, 0.1), (0.1, 0.9), (0.9, 0.9), (0.4, 0.1)):
        change = _one(now, before, registration=APART)
        assert change is not None
        assert (change.change, change.why, change.score) == (ChangeKind.NOT_COMPARABLE, APART.why, 0.0)


def test_another_model_another_side_or_no_repeatability_is_not_compared() -> None:
    card = _card(_label("pleural_effusion", 1.0))
    here = _finding(0.9, side=Laterality.LEFT)
    for prior, words in (
        (_finding(0.7, side=Laterality.RIGHT), "now left, before right"),
        (_finding(0.7, model="m 0"), "different models"),
    ):
        (change,) = changes([here], [prior], card, ALIGNED, "1.9.1", "1.1.1")
        assert change.change is ChangeKind.NOT_COMPARABLE
        assert words in change.why
    (change,) = changes([here], [], card, ALIGNED, "1.9.1", "1.1.1")
    assert change.why == "the prior image was not read for this"
    for nothing in (0.0, math.inf, math.nan):
        change_or_none = _one(0.9, 0.1, repeatability=nothing)
        assert change_or_none is not None
        assert change_or_none.change is ChangeKind.NOT_COMPARABLE


def test_labels_that_the_card_does_not_assess_are_left_out() -> None:
    card = _card(_label("pleural_effusion", 1.0, assessed=False))
    assert changes([_finding(0.9)], [_finding(0.1)], card, ALIGNED, "1.9.1", "1.1.1") == ()


def test_a_change_without_both_images_cannot_be_built() -> None:
    card = _card(_label("pleural_effusion", 1.0))
    with pytest.raises(DraftError):
        changes([_finding(0.9)], [_finding(0.1)], card, ALIGNED, "1.9.1", "")


SWAPPED = {
    ChangeKind.NEW: ChangeKind.RESOLVED,
    ChangeKind.RESOLVED: ChangeKind.NEW,
    ChangeKind.INCREASED: ChangeKind.DECREASED,
    ChangeKind.DECREASED: ChangeKind.INCREASED,
}
PROBABILITY = st.floats(0, 1)


@given(PROBABILITY, PROBABILITY, st.floats(0.1, 4))
def test_swapping_the_two_images_mirrors_the_change(now: float, before: float, repeatability: float) -> None:
    forward, backward = _one(now, before, repeatability), _one(before, now, repeatability)
    assert (forward is None) == (backward is None)
    if forward is not None and backward is not None:
        assert backward.change is SWAPPED.get(forward.change, forward.change)
        assert backward.score == forward.score


@given(PROBABILITY, PROBABILITY, st.floats(0.1, 4))
def test_no_change_is_stated_within_the_repeatability(now: float, before: float, repeatability: float) -> None:
    change = _one(now, before, repeatability)
    if change is None:
        return
    assert 0 <= change.score <= 1
    within = abs(logit(now) - logit(before)) <= repeatability
    if within:
        assert change.change in (ChangeKind.UNCHANGED, ChangeKind.NOT_COMPARABLE)
    if change.change in SWAPPED:
        assert change.score >= 0.9499
    if change.change is ChangeKind.NEW:
        assert now >= THRESHOLD
        assert before < RULE_OUT


def test_swapping_the_two_images_swaps_the_chances_of_new_and_resolved() -> None:
    now, before = (_finding(0.9),), (_finding(0.2),)
    forwards, backwards = chances(now, before)[now[0].finding], chances(before, now)[now[0].finding]
    assert forwards == pytest.approx((0.72, 0.02))
    assert backwards == pytest.approx((0.02, 0.72))
    assert chances(now, ()) == {}
