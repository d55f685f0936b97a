from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from radpipe import review
from radpipe.finding import Decision
from radpipe.report import PRELIMINARY, Origin, Section, Sentence, Stance
from radpipe.sinks.stated import as_of, banner, stated_changes, stated_findings
from tests.sample_reading import RADIOLOGIST, READ_AT, SIGNED_AT, sample_reading, sample_report, signed


def decisions(reading, report):
    return {stated.finding.finding: stated.finding.decision for stated in stated_findings(reading, report)}


def test_without_corrections_the_report_states_what_the_model_said():
    reading = sample_reading()
    expected = {finding.finding: finding.decision for finding in reading.findings}
    assert decisions(reading, sample_report()) == expected


def test_a_finding_that_no_sentence_speaks_of_is_not_stated_in_coded_form():
    report = sample_report()
    silent = replace(
        report,
        sections=tuple(
            replace(section, sentences=tuple(s for s in section.sentences if s.finding != "cardiomegaly"))
            for section in report.sections
        ),
    )
    assert "cardiomegaly" not in decisions(sample_reading(), silent)


def test_a_rejected_finding_and_its_change_are_no_longer_stated():
    reading = sample_reading()
    report = review.reject(sample_report(), "pleural_effusion", RADIOLOGIST, SIGNED_AT)
    assert "pleural_effusion" not in decisions(reading, report)
    assert "pleural_effusion" not in {change.finding for change in stated_changes(reading, report)}


def test_an_edited_finding_is_stated_only_as_the_radiologist_put_it():
    reading = sample_reading()
    edited = review.edit(sample_report(), "pleural_effusion", "Blunted angle, probably a scar.", RADIOLOGIST, SIGNED_AT)
    assert "pleural_effusion" not in decisions(reading, edited)

    def denied(sentence: Sentence) -> Sentence:
        mine = sentence.origin is Origin.RADIOLOGIST
        return replace(sentence, stance=Stance.ABSENT) if mine else sentence

    sections = tuple(Section(section.name, tuple(map(denied, section.sentences))) for section in edited.sections)
    assert decisions(reading, replace(edited, sections=sections))["pleural_effusion"] is Decision.ABSENT
    assert "pleural_effusion" not in {change.finding for change in stated_changes(reading, edited)}


def test_accepting_ones_own_wording_does_not_bring_the_models_word_back():
    edited = review.edit(sample_report(), "pneumonia", "Looks like a scar.", RADIOLOGIST, SIGNED_AT)
    accepted = review.accept(edited, "pneumonia", RADIOLOGIST, SIGNED_AT)
    assert "pneumonia" not in decisions(sample_reading(), accepted)


def test_the_banner_stands_until_the_report_is_signed():
    assert banner(sample_report()) == PRELIMINARY
    assert banner(signed(sample_report())) == ""


def test_the_report_is_as_old_as_its_last_act():
    reading = sample_reading()
    assert as_of(reading, sample_report()) == READ_AT
    late = SIGNED_AT + timedelta(hours=1)
    assert as_of(reading, review.accept(sample_report(), "pneumonia", RADIOLOGIST, late)) == late
    assert as_of(replace(reading, read_at=None), sample_report()) is None
