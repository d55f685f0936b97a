"""A report that contradicts itself or its examination is noticed; a sound one is left in peace."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radpipe.observation import (
    Assertion,
    Discrepancy,
    Location,
    Mention,
    Observation,
    Origin,
    Part,
    Size,
    Span,
    StructuredReport,
)
from radpipe.sinks import text as rendered
from radpipe.structure import open_lexicon, structure_report
from radpipe.structure.check import check
from radpipe.structure.check_examination import Examination
from radpipe.structure.text import parts
from tests.sample_reading import sample_reading, sample_report

CHEST = open_lexicon("chest")


def doubts(text: str, examination: Examination | None = None) -> tuple[Discrepancy, ...]:
    report = structure_report("R", text, CHEST)
    found = check(report, examination)
    for doubt in found:
        assert doubt.message.endswith((".", "?"))
        assert all(text[span.start : span.end] == span.quote for span in doubt.spans)
    return found


def kinds(text: str, examination: Examination | None = None) -> list[str]:
    return [doubt.kind for doubt in doubts(text, examination)]


SOUND = [
    "FINDINGS: Small left pleural effusion. The heart is normal in size.\nIMPRESSION: Small left pleural effusion.",
    "FINDINGS: No focal consolidation, large effusion or pneumothorax.\nIMPRESSION: Small left pleural effusion.",
    "FINDINGS: No acute fracture. Old fracture of the left sixth rib.\nIMPRESSION: Old rib fracture.",
    "FINDINGS: Nodule in the left upper lobe. Nodule in the right base.\nIMPRESSION: Two nodules, left and right.",
    "FINDINGS: Calcified granuloma in the left base.\nIMPRESSION: Calcified granuloma in the right upper lobe.",
    "FINDINGS: Opacity in the left base. Atelectasis on the right.\nIMPRESSION: Left basilar atelectasis.",
    "FINDINGS: The effusion has resolved. No pneumothorax.\nIMPRESSION: No effusion.",
    "FINDINGS: A PICC line ends in the SVC. No pacemaker.\nIMPRESSION: PICC line in the SVC.",
    "FINDINGS: No left effusion. Small right effusion.\nIMPRESSION: Small right effusion.",
    "FINDINGS: Possible left effusion.\nIMPRESSION: No acute disease.",
    "COMPARISON: Chest radiograph of last week.\nFINDINGS: Stable cardiomegaly.\nIMPRESSION: No change.",
    "FINDINGS: Stable cardiomegaly.\nIMPRESSION: Stable cardiomegaly.",
    "COMPARISON: None.\nFINDINGS: Left opacity.\nIMPRESSION: Left opacity. Recommend comparison with prior films, or CT.",
    "COMPARISON: None.\nFINDINGS: Small effusions, right larger than left.\nIMPRESSION: Developing infection at the base.",
    "FINDINGS: Small left pneumothorax.\nIMPRESSION: Small left pneumothorax, told to Dr. Example by telephone.",
    "FINDINGS: Small left apical pneumothorax, unchanged.\nIMPRESSION: Unchanged small pneumothorax.",
    "FINDINGS: Free air below the diaphragm, as expected after recent surgery.\nIMPRESSION: Postoperative free air.",
    "FINDINGS: Nodule of 12 mm in the left upper lobe.\nIMPRESSION: Nodule of 1.2 cm in the left upper lobe. CT is advised.",
    "FINDINGS: Nodule of 12 mm in the left upper lobe.\nIMPRESSION: Nodule of 1 cm in the left upper lobe. CT is advised.",
    "",
    "...",
]


@pytest.mark.parametrize("text", SOUND)
def test_a_sound_report_is_left_in_peace(text: str) -> None:
    assert kinds(text) == []


def test_left_above_and_right_below_is_a_conflict_with_both_quotes() -> None:
    text = "FINDINGS: Small left pleural effusion.\nIMPRESSION: Small right pleural effusion."
    [doubt] = doubts(text)
    assert doubt.kind == "laterality_conflict"
    assert doubt.message == "The findings describe pleural effusion on the left, the impression on the right."
    assert ["left" in span.quote for span in doubt.spans] == [True, False]


def test_the_same_place_on_two_sides_is_a_conflict_even_for_what_there_may_be_many_of() -> None:
    text = "FINDINGS: Nodule in the left upper lobe.\nIMPRESSION: Nodule in the right upper lobe. CT is advised."
    assert kinds(text) == ["laterality_conflict"]


def test_both_sides_against_one_is_said_to_be_weak() -> None:
    text = "FINDINGS: Small bilateral pleural effusions.\nIMPRESSION: Small right pleural effusion."
    [doubt] = doubts(text)
    assert doubt.kind == "laterality_partial"
    assert (
        doubt.message
        == "The findings describe pleural effusion on both sides, the impression only on the right: a weak sign."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("No effusion.\nIMPRESSION: Left effusion.", "The impression states pleural effusion, the findings deny it."),
        ("Left effusion.\nIMPRESSION: No effusion.", "The findings state pleural effusion, the impression denies it."),
        ("The heart is normal.\nIMPRESSION: Cardiomegaly.", "The impression states cardiomegaly, the findings deny it."),
    ],
)  # fmt: skip
def test_what_one_part_states_and_the_other_denies_is_told_both_ways(text: str, message: str) -> None:
    [doubt] = doubts(f"FINDINGS: {text}")
    assert (doubt.kind, doubt.message) == ("impression_denied_by_findings", message)
    assert doubt.spans[0].start < doubt.spans[1].start


def test_one_part_that_states_and_denies_the_same_is_told() -> None:
    text = "FINDINGS: Mild cardiomegaly. The lungs are clear. The heart is normal in size.\nIMPRESSION: No acute disease."
    [doubt] = doubts(text)
    assert (doubt.kind, doubt.message) == ("status_conflict_same_part", "The findings both state and deny cardiomegaly.")


@pytest.mark.parametrize(
    ("sex", "text", "kind"),
    [
        ("F", "INDICATION: 61-year-old man with cough.\nFINDINGS: Clear.", "sex_mismatch"),
        ("M", "INDICATION: 61-year-old woman with cough.\nFINDINGS: Clear.", "sex_mismatch"),
        ("F", "INDICATION: Prostate cancer.\nFINDINGS: Clear.", "sex_mismatch"),
        ("M", "INDICATION: Hysterectomy last year.\nFINDINGS: Clear.", "sex_mismatch"),
        ("M", "INDICATION: Cough. She has a fever.\nFINDINGS: Clear.", "sex_mismatch"),
        ("F", "INDICATION: Mr. Example has a fever.\nFINDINGS: Clear.", "sex_mismatch"),
        ("M", "FINDINGS: Breast implants. Clear lungs.", "sex_unlikely"),
        (None, "INDICATION: 61-year-old man.\nFINDINGS: The uterus is gravid.", "sex_mismatch"),
    ],
)
def test_words_of_the_other_sex_are_told(sex: str | None, text: str, kind: str) -> None:
    assert kinds(text, Examination(patient_sex=sex)) == [kind]


@pytest.mark.parametrize(
    ("sex", "text"),
    [
        ("M", "INDICATION: 61-year-old man.\nFINDINGS: Breast shadows overlie the bases. Nipple shadow."),
        ("M", "INDICATION: Breast cancer, mastectomy.\nFINDINGS: Clear."),
        ("M", "INDICATION: Mother with ovarian cancer.\nFINDINGS: Clear."),
        ("F", "INDICATION: Her husband has tuberculosis; he coughs.\nFINDINGS: Clear."),
        ("F", "FINDINGS: Clear.\nIMPRESSION: Discussed with Dr. Example; he will call the patient."),
        ("F", "FINDINGS: Clear.\nIMPRESSION: Dr. Example was informed. He will call the patient."),
        ("M", "INDICATION: HER-2 positive tumour. His bundle block. MR of the head; MS.\nFINDINGS: Clear."),
        ("F", "INDICATION: MR of the head. MS.\nFINDINGS: Clear. MR is advised."),
        ("O", "INDICATION: 61-year-old man. Hysterectomy.\nFINDINGS: Clear."),
        (None, "INDICATION: Hysterectomy.\nFINDINGS: Clear."),
    ],
)
def test_what_either_sex_can_have_and_other_people_are_not(sex: str | None, text: str) -> None:
    assert kinds(text, Examination(patient_sex=sex)) == []


@pytest.mark.parametrize(
    ("laterality", "body_part", "text", "found"),
    [
        ("L", "HAND", "FINDINGS: No fracture of the right hand.\nIMPRESSION: Normal right hand.", ["wrong_side"]),
        ("R", "KNEE", "TECHNIQUE: Left knee, two views.\nFINDINGS: Normal.", ["wrong_side"]),
        ("L", "HAND", "FINDINGS: No fracture of the left hand.", []),
        ("L", "HAND", "FINDINGS: No fracture.", []),
        ("L", "HAND", "FINDINGS: No fracture. The right hand was taken for comparison, the left is normal.", []),
        ("L", "HAND", "INDICATION: Right-handed; fall.\nCOMPARISON: Right hand.\nFINDINGS: Right-handed patient.", []),
        ("B", "HAND", "FINDINGS: Right hand normal.", []),
        ("L", "CHEST", "FINDINGS: Small right effusion.\nIMPRESSION: Small right effusion.", []),
        ("L", None, "FINDINGS: Right hand normal.", ["wrong_side"]),
    ],
)
def test_a_report_of_the_other_side_only_is_told(
    laterality: str, body_part: str | None, text: str, found: list[str]
) -> None:
    assert kinds(text, Examination(laterality=laterality, body_part=body_part)) == found


@pytest.mark.parametrize(
    ("body_part", "text", "found"),
    [
        ("HEAD", "TECHNIQUE: PA and lateral chest.\nFINDINGS: Clear.", ["body_part_mismatch"]),
        ("CHEST", "CT HEAD WITHOUT CONTRAST\nFINDINGS: No haemorrhage.", ["body_part_mismatch"]),
        ("CHEST", "TECHNIQUE: CT of chest and abdomen.\nFINDINGS: Clear.", []),
        ("Rib", "TECHNIQUE: Chest, two views.\nFINDINGS: Clear.", []),
        ("CHEST", "FINDINGS: Clear.\nIMPRESSION: Normal. CT of the head is advised.", []),
        ("UNKNOWNPART", "TECHNIQUE: Chest.\nFINDINGS: Clear.", []),
        ("CHEST", "FINDINGS: Clear.", []),
    ],
)
def test_a_title_of_another_body_part_is_told(body_part: str, text: str, found: list[str]) -> None:
    assert kinds(text, Examination(body_part=body_part)) == found


@pytest.mark.parametrize(
    ("text", "has_prior", "found"),
    [
        ("COMPARISON: None.\nFINDINGS: Stable cardiomegaly.", None, True),
        ("COMPARISON: None available.\nFINDINGS: The effusion has increased.", None, True),
        ("COMPARISON: No prior studies.\nFINDINGS: No significant interval change.", None, True),
        ("FINDINGS: Stable cardiomegaly. No prior studies are available.", None, True),
        ("FINDINGS: Stable cardiomegaly.", False, True),
        ("FINDINGS: Stable cardiomegaly.", True, False),
        ("COMPARISON: Radiograph.\nFINDINGS: Stable cardiomegaly.", None, False),
        ("COMPARISON: No prior radiograph. CT of 2 May 2026.\nFINDINGS: Stable cardiomegaly.", None, False),
        ("COMPARISON: None.\nFINDINGS: Cardiomegaly.", None, False),
    ],
)
def test_a_change_without_anything_to_compare_with_is_told(text: str, has_prior: bool | None, found: bool) -> None:
    assert kinds(text, Examination(has_prior=has_prior)) == ["change_without_comparison"] * found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FINDINGS: Small left pneumothorax.", True),
        ("FINDINGS: New left pneumothorax.\nIMPRESSION: New left pneumothorax.", True),
        ("FINDINGS: Left pneumothorax has increased.", True),
        ("FINDINGS: There is free air below the diaphragm.", True),
        ("FINDINGS: New large left pleural effusion.", True),
        ("FINDINGS: The endotracheal tube is malpositioned.", True),
        ("FINDINGS: Small left pleural effusion.", False),
        ("FINDINGS: No pneumothorax. No free air.", False),
        ("FINDINGS: Possible pneumothorax.", False),
        ("FINDINGS: Small residual pneumothorax.", False),
        ("FINDINGS: Left pneumothorax. Repeat film in 2 hours is recommended.", False),
        ("FINDINGS: The tube is malpositioned and should be withdrawn.", False),
        ("FINDINGS: The tube is no longer malpositioned.", False),
        ("FINDINGS: Tip of the endotracheal tube in the right mainstem bronchus.", True),
        ("FINDINGS: Tip of the Swan-Ganz catheter in the right main pulmonary artery.", False),
        ("CT HEAD\nFINDINGS: Acute subdural hematoma on the left.", True),
        ("CT HEAD\nFINDINGS: No acute subdural hematoma. Uncal herniation is not seen.", False),
    ],
)
def test_a_critical_finding_wants_a_word_that_somebody_was_told(text: str, found: bool) -> None:
    assert kinds(text) == ["critical_without_action"] * found


def test_a_site_s_own_categories_count_instead_of_ours() -> None:
    report = structure_report("R", "FINDINGS: Cardiomegaly. Small left pneumothorax.", CHEST)
    told = check(report, categories={"cardiomegaly": 1})
    assert [doubt.message for doubt in told] == [
        "Cardiomegaly is stated; there is neither a recommendation nor word that anybody was told."
    ]


@pytest.mark.parametrize(
    ("comparison", "study_date", "found"),
    [
        ("Chest of 2026-05-03", date(2026, 5, 1), True),
        ("Chest of May 3, 2026", date(2026, 5, 1), True),
        ("Chest of 3 May 2026", date(2026, 5, 1), True),
        ("Chest of 05/13/2026", date(2026, 5, 1), True),
        ("Chest of 01/05/2026", date(2026, 5, 1), False),  # 5 January or 1 May
        ("Chest of 2026-05-01 at 08:00", date(2026, 5, 1), False),
        ("Chest of 31/31/2026, 2026-02-31", date(2020, 5, 1), False),
        ("Chest of 2025-05-03", date(2026, 5, 1), False),
        ("Chest of 2027-05-03", None, False),
    ],
)
def test_a_comparison_from_the_future_is_told(comparison: str, study_date: date | None, found: bool) -> None:
    text = f"COMPARISON: {comparison}.\nFINDINGS: Clear."
    assert kinds(text, Examination(study_date=study_date)) == ["comparison_date_after_study"] * found


def test_the_date_of_the_examination_may_stand_in_the_report() -> None:
    text = "EXAM DATE: 2026-05-01\nCOMPARISON: Chest of 2026-06-01.\nFINDINGS: Clear."
    assert kinds(text) == ["comparison_date_after_study"]


def sized(text: str, *measured: tuple[str, float, str]) -> StructuredReport:
    """A report with nodules of these (quote, mm, place)."""
    mentions = []
    for quote, mm, place in measured:
        start = text.index(quote)
        part = Part.IMPRESSION if start > text.index("IMPRESSION") else Part.FINDINGS
        span = Span(start, start + len(quote), quote)
        places = (Location(place),) if place else ()
        mentions.append(Mention("nodule_mass", Assertion.PRESENT, span, part, locations=places, sizes=(Size((mm,)),)))
    first = mentions[0]
    whole = Observation(
        "nodule_mass", CHEST.codes["nodule_mass"], first.status, first.span, first.part, None, None, None, tuple(mentions)
    )
    return StructuredReport("R", text, CHEST.identity, parts(text), (whole,))


def test_sizes_that_differ_by_more_than_rounding_are_told() -> None:
    text = "FINDINGS: A 12 mm nodule.\nIMPRESSION: A 21 mm nodule."
    [doubt] = check(sized(text, ("12 mm nodule", 12, ""), ("21 mm nodule", 21, "")))
    assert doubt.kind == "size_conflict"
    assert doubt.message == "The findings give 12 mm for nodule or mass, the impression 21 mm."
    text = "FINDINGS: A 12 mm nodule.\nIMPRESSION: A 1 cm nodule."
    assert check(sized(text, ("12 mm nodule", 12, ""), ("1 cm nodule", 10, ""))) == ()
    text = "FINDINGS: A 12 mm nodule.\nIMPRESSION: A 1.0 cm nodule."
    assert [doubt.kind for doubt in check(sized(text, ("12 mm nodule", 12, ""), ("1.0 cm nodule", 10, "")))] == [
        "size_conflict"
    ]


def test_sizes_of_nodules_in_two_places_do_not_contradict() -> None:
    text = "FINDINGS: A 12 mm nodule.\nIMPRESSION: A 21 mm nodule."
    report = sized(text, ("12 mm nodule", 12, "left upper lobe"), ("21 mm nodule", 21, "right lower lobe"))
    assert check(report) == ()


def test_what_a_language_model_proposed_is_not_counted() -> None:
    text = "FINDINGS: Small left pleural effusion.\nIMPRESSION: Small right pleural effusion. Left pneumothorax."
    report = structure_report("R", text, CHEST)
    assert len(check(report)) == 2
    proposed = tuple(
        replace(one, mentions=tuple(replace(mention, origin=Origin.PROPOSED) for mention in one.mentions))
        for one in report.observations
    )
    assert check(replace(report, observations=proposed)) == ()


def test_a_draft_of_ours_as_text_is_checked_like_any_other() -> None:
    text = rendered.render(sample_reading(), sample_report()).decode()
    examination = Examination("F", None, "CHEST", date(2026, 1, 31), has_prior=True)
    assert kinds(text, examination) == []
    assert kinds(text.replace("Increased left", "Increased right"), examination) == ["laterality_conflict"]
    assert kinds(text.replace("of 2026-01-12", "of 2026-02-12"), examination) == ["comparison_date_after_study"]
    assert kinds(text, replace(examination, has_prior=False)) == ["change_without_comparison"]
    assert kinds(text, replace(examination, body_part="KNEE")) == ["body_part_mismatch"]


SENTENCES = st.sampled_from([
    "FINDINGS:", "IMPRESSION:", "COMPARISON: None.", "\n", "Small left effusion.", "No effusion.", "She", "prostate", "left",
    "Right effusion, increased.", "12/13/2026", "\u200f", "1. ", "tension pneumothorax", "((((", "jan" * 20,
    "9" * 50 + " mm mass",
])  # fmt: skip


@given(
    st.one_of(st.text(), st.lists(SENTENCES, max_size=30).map(" ".join)),
    st.sampled_from(["M", "F", None]),
    st.sampled_from(["L", None]),
)
def test_no_text_breaks_the_checks_and_every_span_is_verbatim(text: str, sex: str | None, side: str | None) -> None:
    report = structure_report("R", text, CHEST)
    found = check(report, Examination(sex, side, "HAND", date(2026, 5, 1), False))
    assert found == check(report, Examination(sex, side, "HAND", date(2026, 5, 1), False))
    for doubt in found:
        assert all(text[span.start : span.end] == span.quote for span in doubt.spans)


def test_a_long_report_is_checked_in_a_time_that_grows_with_its_length() -> None:
    text = "FINDINGS: " + "Small left effusion. No effusion. A 12 mm nodule. " * 8000
    report = structure_report("R", text, CHEST)
    began = time.perf_counter()
    check(report, Examination("M", "L", "HAND", date(2026, 5, 1), False))
    assert time.perf_counter() - began < 5
