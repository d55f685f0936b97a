"""The report of an earlier study in the comparison: quoted, never made a change; where the images are at odds is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from radpipe import prior_report, review, structure
from radpipe.codes import FINDINGS, Laterality
from radpipe.draft import draft
from radpipe.finding import Change, ChangeKind, Decision
from radpipe.observation import Assertion, Mention, Observation, Part, Span, StructuredReport
from radpipe.reading import Reading, SignedReport
from radpipe.record import run_record
from radpipe.report import PRELIMINARY, Origin, Report, SectionName, Sentence, Stance
from radpipe.reported import OutsideReport, PriorReport, PriorStatement, ReportOrigin
from radpipe.sinks import structured_text, text
from radpipe.store import codec
from radpipe.study import Patient
from tests.sample_reading import RADIOLOGIST, SIGNED_AT, sample_reading, sample_report, signed
from tests.test_draft import IMAGE, PRIOR, finding, material

DAY = date(2025, 11, 2)
LEFT, RIGHT, BOTH = Laterality.LEFT, Laterality.RIGHT, Laterality.BILATERAL
PRESENT, ABSENT, UNCERTAIN = Assertion.PRESENT, Assertion.ABSENT, Assertion.UNCERTAIN


def outside(words: str, uid: str = "1.1", day: date | None = DAY, **changed: object) -> OutsideReport:
    base = OutsideReport(words, ReportOrigin.IMPORTED, uid, study_date=day, patient=Patient("P1"))
    return replace(base, **changed)  # type: ignore[arg-type]


def said(name: str, status: Assertion, side: Laterality | None = None, quote: str = "the words") -> PriorStatement:
    return PriorStatement(name, status, side, quote, "findings", 10, 10 + len(quote))


def report(*statements: PriorStatement, uid: str = PRIOR.study_instance_uid, day: date = DAY) -> PriorReport:
    return PriorReport("5f0c2a9b11d07e34", uid, day, "imported report 5f0c2a9b11d07e34", statements)


def change(name: str, kind: ChangeKind) -> Change:
    return Change(name, kind, 0.9, IMAGE.sop_instance_uid, PRIOR.sop_instance_uid, 0.9, 0.1)


def comparison(
    decisions: dict[str, Decision], told: PriorReport, kinds: dict[str, ChangeKind] | None = None
) -> tuple[Sentence, ...]:
    """The Comparison section's sentences after the first."""
    drafted = draft(replace(material(decisions, kinds), prior_report=told), "run")
    section = drafted.section(SectionName.COMPARISON)
    assert section is not None
    return section.sentences[1:]


def texts(sentences: Sequence[Sentence]) -> list[str]:
    return [sentence.text for sentence in sentences]


# -- what the draft says


def test_what_is_present_or_unsure_now_and_what_was_reported_present_is_said() -> None:
    now = {"pleural_effusion": Decision.PRESENT, "pneumothorax": Decision.UNSURE, "cardiomegaly": Decision.ABSENT}
    told = report(
        said("pleural_effusion", ABSENT),
        said("pneumothorax", UNCERTAIN, RIGHT),
        said("cardiomegaly", ABSENT),
        said("granuloma", PRESENT, LEFT),
        said("fracture", ABSENT),
        said("edema", UNCERTAIN),
    )
    assert texts(comparison(now, told)) == [
        "Pleural effusion was reported absent on 2025-11-02.",
        "Right pneumothorax was reported as uncertain on 2025-11-02.",
        "Left granuloma was reported present on 2025-11-02.",
    ]


def test_the_evidence_names_report_study_section_characters_and_the_words() -> None:
    told = report(said("pleural_effusion", ABSENT, quote="No pleural effusion"))
    (sentence,) = comparison({"pleural_effusion": Decision.PRESENT}, told)
    (evidence,) = sentence.evidence
    assert evidence.source == (
        'imported report 5f0c2a9b11d07e34 of study 1.1, findings, characters 10 to 29: "No pleural effusion"'
    )
    assert evidence.prior_sop_instance_uid is None
    assert evidence.model == ""


def test_a_sentence_about_a_report_claims_no_finding_and_no_change_of_this_study() -> None:
    told = report(said("pleural_effusion", PRESENT))
    kinds = {"pleural_effusion": ChangeKind.NEW}
    for sentence in comparison({"pleural_effusion": Decision.PRESENT}, told, kinds):
        assert (sentence.finding, sentence.change, sentence.stance) == (None, None, Stance.STATEMENT)


def test_it_stays_whatever_a_reader_makes_of_the_finding() -> None:
    told = report(said("pleural_effusion", PRESENT))
    drafted = draft(replace(material({"pleural_effusion": Decision.PRESENT}), prior_report=told), "run")
    words = "Pleural effusion was reported present on 2025-11-02."
    at = datetime(2026, 2, 2, tzinfo=UTC)
    rejected = review.reject(drafted, "pleural_effusion", RADIOLOGIST, at)
    edited = review.edit(drafted, "pleural_effusion", "Large effusion.", RADIOLOGIST, at, stance=Stance.PRESENT)
    for changed in (rejected, edited):
        assert words in texts(changed.sentences)


def test_a_nodule_or_mass_of_the_model_finds_the_reports_word_for_both() -> None:
    told = report(said("nodule_mass", ABSENT))
    assert texts(comparison({"nodule": Decision.PRESENT}, told)) == ["Nodule or mass was reported absent on 2025-11-02."]


def test_without_a_report_nothing_is_added() -> None:
    with_none = draft(material({"pleural_effusion": Decision.PRESENT}), "run")
    assert len(with_none.section(SectionName.COMPARISON).sentences) == 1  # type: ignore[union-attr]


# -- where images and report are at odds


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        (ChangeKind.NEW, PRESENT, "as new; the report of 2025-11-02 stated it present."),
        (ChangeKind.RESOLVED, ABSENT, "as resolved; the report of 2025-11-02 stated it absent."),
        (ChangeKind.UNCHANGED, ABSENT, "as unchanged; the report of 2025-11-02 stated it absent."),
        (ChangeKind.INCREASED, ABSENT, "as increased; the report of 2025-11-02 stated it absent."),
    ],
)
def test_a_disagreement_is_said_in_one_sentence_with_both_sources(kind: ChangeKind, status: Assertion, words: str) -> None:
    now = Decision.ABSENT if kind is ChangeKind.RESOLVED else Decision.PRESENT
    told = report(said("pleural_effusion", status))
    first, second = comparison({"pleural_effusion": now}, told, {"pleural_effusion": kind})
    assert "was reported" in first.text
    assert second.text == f"The image comparison reads the pleural effusion {words}"
    assert [item.prior_sop_instance_uid for item in second.evidence] == [PRIOR.sop_instance_uid, None]
    assert "the words" in second.evidence[1].source


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ChangeKind.NEW, ABSENT),
        (ChangeKind.NEW, UNCERTAIN),
        (ChangeKind.RESOLVED, PRESENT),
        (ChangeKind.UNCHANGED, PRESENT),
        (ChangeKind.NOT_COMPARABLE, ABSENT),
        (ChangeKind.NOT_COMPARABLE, PRESENT),
    ],
)
def test_what_agrees_or_cannot_be_compared_is_no_disagreement(kind: ChangeKind, status: Assertion) -> None:
    told = report(said("pleural_effusion", status))
    assert prior_report.disagreements(told, PRIOR, [], [change("pleural_effusion", kind)]) == {}


def test_the_report_of_another_study_than_the_compared_one_is_at_odds_with_nothing() -> None:
    told = report(said("pleural_effusion", PRESENT), uid="1.0")
    new = [change("pleural_effusion", ChangeKind.NEW)]
    assert prior_report.disagreements(told, PRIOR, [], new) == {}
    assert prior_report.disagreements(replace(told, study_instance_uid="1.1"), None, [], new) == {}


@pytest.mark.parametrize(
    ("now", "then", "at_odds"),
    [
        (LEFT, LEFT, True),
        (LEFT, None, True),
        (None, LEFT, True),
        (LEFT, BOTH, True),
        (LEFT, RIGHT, False),
        (BOTH, LEFT, False),
    ],
)
def test_a_new_finding_on_a_side_that_was_not_reported_is_no_disagreement(
    now: Laterality | None, then: Laterality | None, at_odds: bool
) -> None:
    told = report(said("pleural_effusion", PRESENT, then))
    seen = [finding("pleural_effusion", Decision.PRESENT, now)]
    new = [change("pleural_effusion", ChangeKind.NEW)]
    assert bool(prior_report.disagreements(told, PRIOR, seen, new)) is at_odds
    assert bool(prior_report.known_before(told, PRIOR, seen, new)) is at_odds


def test_only_a_report_not_before_the_compared_image_makes_a_finding_known() -> None:
    seen = [finding("pleural_effusion", Decision.PRESENT)]
    new = [change("pleural_effusion", ChangeKind.NEW)]
    later = report(said("pleural_effusion", PRESENT), uid="1.15", day=date(2026, 1, 5))
    assert prior_report.known_before(later, PRIOR, seen, new) == {"pleural_effusion": date(2026, 1, 5)}
    before = replace(later, study_date=date(2024, 1, 5))  # it had gone, and came back: that is new
    assert prior_report.known_before(before, PRIOR, seen, new) == {}
    assert prior_report.known_before(None, PRIOR, seen, new) == {}
    assert prior_report.known_before(later, PRIOR, seen, [change("pleural_effusion", ChangeKind.INCREASED)]) == {}


# -- what a report says


def test_observations_become_statements_with_their_places() -> None:
    quote = "No pleural effusion"
    span = Span(10, 10 + len(quote), quote)
    mention = Mention("pleural_effusion", ABSENT, span, Part.FINDINGS)
    observation = Observation(
        "pleural_effusion", FINDINGS["pleural_effusion"], ABSENT, span, Part.FINDINGS, None, None, None, (mention,)
    )
    structured = StructuredReport("x", f"FINDINGS: {quote}.", "chest 1.0", observations=(observation,))
    assert prior_report.statements_of(structured) == (said("pleural_effusion", ABSENT, quote=quote),)


def test_a_report_in_words_is_structured_and_quoted_verbatim() -> None:
    words = (
        "INDICATION: Pneumonia?\nFINDINGS: Heart size is normal. No left pleural effusion. Small right pneumothorax.\n"
        "IMPRESSION: Possible pneumonia in the left lower lobe."
    )
    told = prior_report.prior_report(outside(words))
    assert told is not None
    found = {one.finding: one for one in told.statements}
    assert (found["cardiomegaly"].status, found["pleural_effusion"].status) == (ABSENT, ABSENT)
    assert (found["pneumothorax"].status, found["pneumothorax"].laterality) == (PRESENT, RIGHT)
    assert (found["pneumonia"].status, found["pneumonia"].section) == (UNCERTAIN, "impression")
    assert all(words[one.start : one.end] == one.quote for one in told.statements)
    assert told.source == f"imported report {told.report_key}"
    assert prior_report.prior_report(outside(words, day=None)) is None


@pytest.mark.parametrize("words", ["\0", "\udcff\udcfe", "终 " * 500, "x" * 100_000, ":" * 999, "FINDINGS:\n" * 99])
def test_any_words_are_survived(words: str) -> None:
    told = prior_report.prior_report(outside(words))
    assert told is not None
    assert prior_report.content_key([outside(words)])


# -- our own signed reports


def own(report: Report, reading: Reading | None = None) -> dict[str, PriorStatement]:
    told = prior_report.prior_report(SignedReport(reading or sample_reading(), report))
    assert told is not None
    assert told.report_key == report.report_key
    return {one.finding: one for one in told.statements}


def test_the_values_of_our_own_signed_report_are_taken_and_not_its_words() -> None:
    def reworded(sentence: Sentence) -> Sentence:
        return replace(sentence, text="Large right pneumothorax.") if sentence.finding == "mass" else sentence

    sections = tuple(replace(s, sentences=tuple(map(reworded, s.sentences))) for s in sample_report().sections)
    misleading = replace(sample_report(), sections=sections)
    found = own(signed(misleading))
    assert (found["mass"].status, found["mass"].quote) == (ABSENT, "Large right pneumothorax.")
    assert found["pneumothorax"].status is ABSENT
    assert (found["pleural_effusion"].status, found["pleural_effusion"].laterality) == (PRESENT, LEFT)
    assert found["pleural_effusion"].quote == "Left pleural effusion, increased since 2026-01-12."
    assert (found["pleural_effusion"].section, found["pleural_effusion"].start) == ("findings", None)


def test_what_a_radiologist_rejected_is_not_stated() -> None:
    assert "pneumonia" in own(review.sign(sample_report(), RADIOLOGIST, SIGNED_AT))
    assert "pneumonia" not in own(signed(sample_report()))


def test_what_a_radiologist_reworded_has_their_stance_and_the_side_of_their_words() -> None:
    edited = review.edit(
        sample_report(), "pleural_effusion", "Small right pleural effusion.", RADIOLOGIST, SIGNED_AT, stance=Stance.PRESENT
    )
    found = own(review.sign(edited, RADIOLOGIST, SIGNED_AT))
    assert (found["pleural_effusion"].status, found["pleural_effusion"].laterality) == (PRESENT, RIGHT)
    denied = review.edit(
        sample_report(), "lung_opacity", "Overlying breast tissue.", RADIOLOGIST, SIGNED_AT, stance=Stance.ABSENT
    )
    assert own(review.sign(denied, RADIOLOGIST, SIGNED_AT))["lung_opacity"].status is ABSENT


def test_words_without_a_value_are_structured() -> None:
    edited = review.edit(
        sample_report(), "pleural_effusion", "No pleural effusion; small left pneumothorax.", RADIOLOGIST, SIGNED_AT
    )
    found = own(review.sign(edited, RADIOLOGIST, SIGNED_AT))
    assert found["pleural_effusion"].status is ABSENT
    assert (found["pneumothorax"].status, found["pneumothorax"].laterality) == (PRESENT, LEFT)


def test_an_addendum_comes_before_what_it_corrects() -> None:
    final = review.sign(sample_report(), RADIOLOGIST, SIGNED_AT)
    amended = review.addendum(final, "On second look there is a small right pneumothorax.", RADIOLOGIST, SIGNED_AT)
    found = own(amended)
    assert (found["pneumothorax"].status, found["pneumothorax"].section) == (PRESENT, "addendum")


# -- which report


def choose(reports: Sequence[OutsideReport], compared: str | None = None) -> str | None:
    told = prior_report.choose(reports, ["pleural_effusion", "nodule"], compared)
    return told.study_instance_uid if told else None


def test_the_compared_studys_report_comes_first_then_the_latest_that_speaks_of_what_the_model_reads() -> None:
    latest = outside("No pleural effusion.", "1.3", date(2026, 1, 1))
    compared = outside("Small pleural effusion.", "1.2", date(2025, 6, 1))
    assert choose([latest, compared]) == "1.3"
    assert choose([latest, compared], "1.2") == "1.2"
    assert choose([latest, compared], "1.9") == "1.3"
    assert choose([]) is None


def test_a_report_of_other_things_is_passed_over_where_another_speaks_of_what_the_model_reads() -> None:
    hand = outside("Healing rib fracture.", "1.3", date(2026, 1, 1))
    nodule = outside("8 mm nodule in the left upper lobe.", "1.2", date(2025, 6, 1))
    assert choose([hand, nodule]) == "1.2"
    assert choose([hand]) == "1.3"


def test_the_words_of_another_body_part_are_told_from_those_of_the_chest() -> None:
    head = outside("CT HEAD. 2 cm mass in the left frontal lobe with midline shift. No intracranial hemorrhage.")
    chest = outside("There is a 2 cm mass in the left upper lobe. No pleural effusion.")
    assert not prior_report.speaks_of(head, "CHEST")
    assert prior_report.speaks_of(chest, "CHEST")
    assert prior_report.speaks_of(outside("Unremarkable."), "CHEST")
    assert prior_report.speaks_of(SignedReport(sample_reading(), signed(sample_report())), "CHEST")


def test_what_a_report_said_comes_from_that_report() -> None:
    told = report(said("pleural_effusion", PRESENT))
    kinds = {"pleural_effusion": ChangeKind.NEW}
    sentences = comparison({"pleural_effusion": Decision.PRESENT}, told, kinds)
    assert [sentence.origin for sentence in sentences] == [Origin.REPORT, Origin.REPORT]
    assert codec.decode(Sentence, codec.encode(sentences[0])) == sentences[0]


def test_the_key_follows_the_words_the_day_and_the_version() -> None:
    one = outside("No pleural effusion.")
    reports = [
        [one],
        [replace(one, text="No effusion.")],
        [replace(one, study_date=date(2025, 11, 3))],
        [one, outside("Clear.", "1.0")],
        [SignedReport(sample_reading(), signed(sample_report()))],
        [SignedReport(sample_reading(), replace(signed(sample_report()), version=3))],
    ]
    keys = [prior_report.content_key(found) for found in reports]
    assert len(set(keys)) == len(keys)
    assert keys == [prior_report.content_key(found) for found in reports]
    assert prior_report.content_key([]) == ""
    assert prior_report.content_key([replace(one, sop_instance_uid="1.9", written="20260101000000")]) == keys[0]


# -- what is kept and printed


def test_a_reading_keeps_its_prior_report_and_one_without_is_stored_as_before() -> None:
    reading = sample_reading()
    assert "prior_report" not in codec.encode(reading)
    with_report = replace(reading, prior_report=report(said("pleural_effusion", ABSENT, quote="No \udcff effusion")))
    assert codec.decode(Reading, codec.encode(with_report)) == with_report


def test_the_record_has_the_prior_report_or_null() -> None:
    reading = sample_reading()
    assert run_record(reading, {})["prior_report"] is None
    record = run_record(replace(reading, prior_report=report(said("pleural_effusion", ABSENT, LEFT))), {})["prior_report"]
    assert record["study_instance_uid"] == PRIOR.study_instance_uid
    assert (record["study_date"], record["source"]) == ("2025-11-02", "imported report 5f0c2a9b11d07e34")
    assert record["findings"] == [
        {"finding": "pleural_effusion", "status": "absent", "laterality": "left", "quote": "the words",
         "section": "findings", "start": 10, "end": 19}
    ]  # fmt: skip


# -- what may enter a comparison, and what was there


RESOLVED = ChangeKind.RESOLVED


def resolved(status: Assertion) -> StructuredReport:
    span = Span(0, 8, "effusion")
    mention = Mention("pleural_effusion", status, span, Part.FINDINGS, LEFT, None, RESOLVED)
    code = FINDINGS["pleural_effusion"]
    seen = Observation("pleural_effusion", code, status, span, Part.FINDINGS, LEFT, None, RESOLVED, (mention,))
    return StructuredReport("x", "effusion has resolved", "chest 1.0", observations=(seen,))


@pytest.mark.parametrize(("status", "then"), [(PRESENT, ABSENT), (ABSENT, ABSENT), (UNCERTAIN, UNCERTAIN)])
def test_what_had_resolved_was_not_there(status: Assertion, then: Assertion) -> None:
    told = report(*prior_report.statements_of(resolved(status)))
    assert [one.status for one in told.statements] == [then]
    new = [change("pleural_effusion", ChangeKind.NEW)]
    assert prior_report.known_before(told, PRIOR, [], new) == {}
    assert prior_report.disagreements(told, PRIOR, [], new) == {}
    assert prior_report.worth_saying(told, [], {}) == ()


def test_what_a_radiologist_wrote_as_resolved_was_not_there() -> None:
    edited = review.edit(
        sample_report(), "pleural_effusion", "The left pleural effusion has resolved.", RADIOLOGIST, SIGNED_AT,
        stance=Stance.PRESENT,
    )  # fmt: skip
    assert own(review.sign(edited, RADIOLOGIST, SIGNED_AT))["pleural_effusion"].status is ABSENT


@pytest.mark.parametrize(
    "words",
    [
        "MAMMOGRAM, BILATERAL SCREENING\nFINDINGS: No mass.",
        "Bilateral screening mammogram. No suspicious mass is seen.",
        "EXAM: Ultrasound of the abdomen\nFINDINGS: Small right pleural effusion.",
        "CITY HOSPITAL\nUS ABDOMEN\nFINDINGS: Small right pleural effusion.",
        "FINDINGS: Small effusion.\nTECHNIQUE: Two views of the left knee.",
        "XR right knee\nSmall effusion. No fracture.",
    ],
)
def test_a_report_of_another_region_does_not_speak_of_the_chest(words: str) -> None:
    assert not prior_report.speaks_of(outside(words), "CHEST")


@pytest.mark.parametrize(
    "words",
    [
        "CT CHEST AND ABDOMEN\nFINDINGS: Small right pleural effusion.",
        "TECHNIQUE: PA and lateral chest.\nFINDINGS: Degenerative changes of the spine.",
        "Degenerative changes of the thoracic spine. No effusion.",
        "PA AND LATERAL\nFINDINGS: No pleural effusion.",
        "FINDINGS: Clips in the left breast. Free air in the abdomen.",
        "INDICATION: Knee surgery.\nFINDINGS: Clear.",
    ],
)
def test_a_report_of_the_chest_that_names_other_regions_speaks_of_it(words: str) -> None:
    assert prior_report.speaks_of(outside(words), "CHEST")


def test_radpipes_own_words_are_told_until_somebody_signed() -> None:
    reading = sample_reading()
    drafted, final = sample_report(), signed(sample_report())
    shown = text.render(reading, drafted).decode()
    assert "nobody has signed" in prior_report.unsigned(shown)
    assert "nobody has signed" in prior_report.unsigned(shown.replace("***", "").replace("PRELIMINARY", ""))
    assert "nobody has signed" in prior_report.unsigned(PRELIMINARY.lower().replace(" ", "\n"))
    assert "structuring" in prior_report.unsigned(structured_text.BANNER)
    assert "structuring" in prior_report.unsigned(structured_text.render(resolved(ABSENT)).decode())
    assert prior_report.unsigned(text.render(reading, final).decode()) == ""
    assert prior_report.unsigned("FINDINGS: Consent was not signed. No pleural effusion.") == ""
    assert not prior_report.speaks_of(outside(shown), "CHEST")


def test_a_sentence_of_a_signed_report_is_read_by_the_rules_of_its_studys_body_part() -> None:
    words = "There is a mass of the brain with midline shift."  # by its words alone: of the head
    edited = review.edit(sample_report(), "pleural_effusion", words, RADIOLOGIST, SIGNED_AT)
    final = review.sign(edited, RADIOLOGIST, SIGNED_AT)
    assert "midline_shift" not in own(final)
    reading = sample_reading()
    images = tuple(replace(image, body_part="HEAD") for image in reading.study.images)
    head = replace(reading, study=replace(reading.study, images=images))
    assert own(final, head)["midline_shift"].status is PRESENT


def test_the_key_follows_the_rules_under_a_signed_report_too(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = sample_reading()
    images = tuple(replace(image, body_part="HEAD") for image in reading.study.images)
    head = replace(reading, study=replace(reading.study, images=images))
    final = signed(sample_report())
    sets: list[list[OutsideReport | SignedReport]] = [[outside("No effusion.")], [SignedReport(reading, final)]]
    before = [prior_report.content_key(found) for found in sets]
    assert prior_report.content_key([SignedReport(head, final)]) != before[1]  # other lexicon, other key
    monkeypatch.setattr("radpipe.structure.FORMAT", structure.FORMAT + 1)
    assert not set(before) & {prior_report.content_key(found) for found in sets}
