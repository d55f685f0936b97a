"""Sign-off: roles, records per finding, and a signed report that does not change."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from radpipe import review
from radpipe.errors import AlreadySigned, NotAllowed, SignOffError
from radpipe.finding import ChangeKind, Decision
from radpipe.report import Origin, Person, Report, Role, SectionName, Stance, Status, Verdict
from tests.test_draft import draft, material

NOW = datetime(2026, 2, 1, 9, 30, tzinfo=UTC)
LEE = Person("lee", "Lee^Ann", Role.RADIOLOGIST)
RAY = Person("ray", "Ray^Sam", Role.RESIDENT)
VIEWER = Person("vi", "Viewer", Role.VIEWER)


def report() -> Report:
    decisions = {"pneumothorax": Decision.UNSURE, "pleural_effusion": Decision.PRESENT, "nodule": Decision.ABSENT}
    return draft(material(decisions, {"pleural_effusion": ChangeKind.NEW}), "run")


def test_accepting_records_who_and_when_and_changes_no_words() -> None:
    accepted = review.accept(report(), "pleural_effusion", RAY, NOW)
    assert accepted.sections == report().sections
    assert accepted.version == 2
    assert [(c.finding, c.verdict, c.by, c.at) for c in accepted.corrections] == [
        ("pleural_effusion", Verdict.ACCEPTED, RAY, NOW)
    ]


def test_rejecting_takes_the_finding_out_everywhere_and_keeps_the_record() -> None:
    rejected = review.reject(report(), "pleural_effusion", LEE, NOW, reason="breast shadow")
    assert all(sentence.finding != "pleural_effusion" for sentence in rejected.sentences)
    assert rejected.corrections[0].reason == "breast shadow"
    assert all(sentence.evidence for sentence in rejected.sentences)


def test_rejecting_the_only_impression_leaves_a_sentence_that_says_so() -> None:
    only = draft(material({"pleural_effusion": Decision.PRESENT}), "run")
    rejected = review.reject(only, "pleural_effusion", LEE, NOW)
    impression = rejected.section(SectionName.IMPRESSION)
    assert impression is not None
    assert [s.origin for s in impression.sentences] == [Origin.RADIOLOGIST]
    assert "rejected by the reader" in impression.sentences[0].text


def test_the_impression_follows_what_the_reader_says() -> None:
    normal = draft(material({"pleural_effusion": Decision.ABSENT, "nodule": Decision.ABSENT}), "run")
    seen = review.edit(normal, "pleural_effusion", "Large left effusion.", LEE, NOW, stance=Stance.PRESENT)
    assert [s.text for s in seen.section(SectionName.IMPRESSION).sentences] == ["Large left effusion."]  # type: ignore[union-attr]
    struck = review.reject(normal, "nodule", LEE, NOW)
    (sentence,) = struck.section(SectionName.IMPRESSION).sentences  # type: ignore[union-attr]
    assert "nodule" not in sentence.text
    assert "pleural effusion" in sentence.text
    denied = review.edit(report(), "pleural_effusion", "No effusion.", LEE, NOW, stance=Stance.ABSENT)
    assert all("ffusion" not in s.text for s in denied.section(SectionName.IMPRESSION).sentences)  # type: ignore[union-attr]


def test_a_reader_adds_what_the_draft_lacks_and_brings_back_what_was_rejected() -> None:
    added = review.edit(report(), "hiatal_hernia", "Large hiatal hernia.", LEE, NOW, stance=Stance.PRESENT)
    assert [s.finding for s in added.sentences if s.text == "Large hiatal hernia."] == ["hiatal_hernia"] * 2
    assert all(s.evidence[0].source == "radiologist lee" for s in added.sentences if s.finding == "hiatal_hernia")
    gone = review.reject(report(), "pleural_effusion", LEE, NOW)
    back = review.edit(gone, "pleural_effusion", "Small effusion after all.", LEE, NOW, stance=Stance.PRESENT)
    assert any(s.finding == "pleural_effusion" for s in back.sentences)
    with pytest.raises(SignOffError, match="no finding is called"):
        review.edit(report(), "left_big_toe", "x", LEE, NOW)


def test_an_edit_is_marked_as_the_readers_and_keeps_the_models_evidence() -> None:
    edited = review.edit(report(), "pleural_effusion", "Small left effusion.", LEE, NOW)
    words = [s for s in edited.sentences if s.finding == "pleural_effusion"]
    assert [s.text for s in words] == ["Small left effusion."] * 2  # findings and impression
    assert all(s.origin is Origin.RADIOLOGIST and s.change is None for s in words)
    assert words[0].evidence[0].source == "radiologist lee"
    assert words[0].evidence[1].model


def test_an_edit_may_say_what_its_words_assert() -> None:
    edited = review.edit(report(), "pleural_effusion", "No effusion: a fat pad.", LEE, NOW, stance=Stance.ABSENT)
    assert {s.stance for s in edited.sentences if s.finding == "pleural_effusion"} == {Stance.ABSENT}


def test_only_a_radiologist_signs_and_only_once() -> None:
    for person in (RAY, VIEWER):
        with pytest.raises(NotAllowed, match="only a radiologist signs"):
            review.sign(report(), person, NOW)
    signed = review.sign(report(), LEE, NOW)
    assert (signed.status, signed.signed_by, signed.signed_at) == (Status.FINAL, LEE, NOW)
    with pytest.raises(AlreadySigned, match="write an addendum"):
        review.sign(signed, LEE, NOW)


def test_a_viewer_corrects_nothing() -> None:
    with pytest.raises(NotAllowed):
        review.accept(report(), "pleural_effusion", VIEWER, NOW)


def test_a_signed_report_changes_only_by_addendum() -> None:
    signed = review.sign(report(), LEE, NOW)
    for step in (
        lambda: review.accept(signed, "pleural_effusion", LEE, NOW),
        lambda: review.reject(signed, "pleural_effusion", LEE, NOW),
        lambda: review.edit(signed, "pleural_effusion", "x", LEE, NOW),
    ):
        with pytest.raises(AlreadySigned):
            step()
    amended = review.addendum(review.addendum(signed, "First.", LEE, NOW), "Second.", LEE, NOW)
    section = amended.section(SectionName.ADDENDUM)
    assert section is not None
    assert [s.text for s in section.sentences] == ["First.", "Second."]
    assert amended.status is Status.AMENDED
    assert [s for s in amended.sections if s.name is not SectionName.ADDENDUM] == list(signed.sections)


def test_an_addendum_is_for_signed_reports_and_has_words() -> None:
    with pytest.raises(SignOffError, match="is a draft"):
        review.addendum(report(), "x", LEE, NOW)
    with pytest.raises(SignOffError, match="words"):
        review.addendum(review.sign(report(), LEE, NOW), " ", LEE, NOW)


def test_a_finding_of_which_the_report_says_nothing_is_named_with_what_it_does_say() -> None:
    with pytest.raises(SignOffError, match="it speaks of: "):
        review.accept(report(), "hernia", LEE, NOW)


def test_findings_without_a_verdict_are_known_before_signing() -> None:
    first = report()
    assert review.open_findings(first) == ("pleural_effusion", "pneumothorax")
    assert review.open_findings(review.accept(first, "pleural_effusion", LEE, NOW)) == ("pneumothorax",)
