"""Drafts: every sentence has evidence, no change without a prior, uncertainty is said, negatives cite images."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radpipe.codes import FINDINGS, REPORT_ORDER, Laterality
from radpipe.draft import Material, draft
from radpipe.errors import DraftError
from radpipe.finding import Change, ChangeKind, Decision, Evidence, Finding, Measurement, Prior, Registration
from radpipe.models.fake import fake_card
from radpipe.report import Report, SectionName, Sentence, Stance
from radpipe.study import Basis, FileRef, Image, Patient, Study, View

NAMES = ("pneumothorax", "pleural_effusion", "cardiomegaly", "nodule", "abnormal")
CARD = fake_card(dict.fromkeys(NAMES, (0.6, 0.3)))
IMAGE = Image(
    sop_instance_uid="1.2.3.1",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    series_instance_uid="1.2.3",
    file=FileRef(Path("a.dcm")),
    sha256="0" * 64,
    modality="CR",
    rows=2048,
    columns=2048,
    body_part="CHEST",
    body_part_basis=Basis.TAGS,
    view=View.PA,
    view_basis=Basis.TAGS,
)
STUDY = Study("1.2", Patient("P1"), study_date=date(2026, 2, 1), images=(IMAGE,), reason_for_study="Cough for 3 weeks")
PRIOR = Prior("1.1", date(2025, 11, 2), "1.1.1", "nearest earlier PA chest", Registration(0.9, True, "aligned well"))
PROBABILITIES = {Decision.PRESENT: 0.9, Decision.UNSURE: 0.4, Decision.ABSENT: 0.1}


def finding(name: str, decision: Decision, side: Laterality | None = None) -> Finding:
    evidence = Evidence(IMAGE.sop_instance_uid, score=PROBABILITIES[decision], threshold=0.6, model=CARD.identity)
    return Finding(name, FINDINGS[name], decision, PROBABILITIES[decision], 0.6, 0.3, (evidence,), side)


def material(decisions: dict[str, Decision], kinds: dict[str, ChangeKind] | None = None) -> Material:
    kinds = kinds or {}
    changes = tuple(Change(name, kind, 0.9, "1.2.3.1", "1.1.1", 0.9, 0.4) for name, kind in kinds.items())
    return Material(
        study=STUDY,
        image=IMAGE,
        examined=(IMAGE,),
        findings=tuple(finding(name, decision) for name, decision in decisions.items()),
        changes=changes,
        prior=PRIOR if kinds else None,
        why_no_prior=None if kinds else "no earlier study of this patient is in the store",
        card=CARD,
        urgency=("pneumothorax", "pleural_effusion"),
    )


def texts(report: Report, name: SectionName) -> list[str]:
    section = report.section(name)
    return [sentence.text for sentence in section.sentences] if section else []


def test_present_unsure_and_absent_are_worded_apart() -> None:
    decisions = {"pneumothorax": Decision.UNSURE, "pleural_effusion": Decision.PRESENT, "nodule": Decision.ABSENT}
    report = draft(material(decisions), "run")
    findings = texts(report, SectionName.FINDINGS)
    assert "Pleural effusion detected (score 0.90, threshold 0.60)." in findings
    assert "Possible pneumothorax: uncertain (score 0.40, threshold 0.60; ruled out below 0.30)." in findings
    assert "No pulmonary nodule detected on the PA view (score 0.10, threshold 0.60)." in findings


def test_findings_stand_in_the_reports_order_and_the_impression_by_urgency() -> None:
    decisions = dict.fromkeys(("nodule", "cardiomegaly", "pleural_effusion", "pneumothorax"), Decision.PRESENT)
    report = draft(material(decisions), "run")
    order = [s.finding for s in report.section(SectionName.FINDINGS).sentences]  # type: ignore[union-attr]
    assert order == sorted(order, key=lambda name: REPORT_ORDER.index(name or ""))
    impression = [s.finding for s in report.section(SectionName.IMPRESSION).sentences]  # type: ignore[union-attr]
    assert impression[:2] == ["pneumothorax", "pleural_effusion"]


def test_a_change_is_said_with_the_priors_date_and_cites_its_image() -> None:
    report = draft(material({"pleural_effusion": Decision.PRESENT}, {"pleural_effusion": ChangeKind.INCREASED}), "run")
    said = [sentence for sentence in report.sentences if sentence.change is ChangeKind.INCREASED]
    assert any("has increased since 2025-11-02" in sentence.text for sentence in said)
    assert all(any(item.prior_sop_instance_uid == "1.1.1" for item in sentence.evidence) for sentence in said)


def test_without_a_prior_the_report_says_why_and_speaks_of_no_change() -> None:
    report = draft(material({"pleural_effusion": Decision.PRESENT}), "run")
    assert texts(report, SectionName.COMPARISON) == ["None: no earlier study of this patient is in the store."]
    assert all(sentence.change is None for sentence in report.sentences)


def test_a_label_too_weak_to_state_is_listed_and_never_worded_as_a_finding() -> None:
    weak = replace(CARD, labels=tuple(replace(lb, assessed=lb.finding != "nodule") for lb in CARD.labels))
    report = draft(replace(material({"nodule": Decision.PRESENT, "cardiomegaly": Decision.ABSENT}), card=weak), "run")
    assert all(sentence.finding != "nodule" for sentence in report.sentences)
    assert any("pulmonary nodule" in text for text in texts(report, SectionName.NOT_ASSESSED))


def test_the_same_material_gives_the_same_report() -> None:
    decisions = {"pleural_effusion": Decision.PRESENT}
    assert draft(material(decisions), "run") == draft(material(decisions), "run")
    assert draft(material(decisions), "run").report_key != draft(material(decisions), "other").report_key


def test_an_age_outside_the_studied_population_is_said() -> None:
    child = replace(STUDY, patient_age="009Y")
    report = draft(replace(material({"nodule": Decision.ABSENT}), study=child), "run")
    assert any("outside the 18 to 120 years" in text for text in texts(report, SectionName.TECHNIQUE))


decisions = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(list(Decision)), max_size=len(NAMES))
kinds = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(list(ChangeKind)))


@given(decided=decisions, changed=kinds)
def test_no_draft_has_a_sentence_without_evidence_or_a_change_without_a_prior(
    decided: dict[str, Decision], changed: dict[str, ChangeKind]
) -> None:
    report = draft(material(decided, {name: kind for name, kind in changed.items() if name in decided}), "run")
    for sentence in report.sentences:
        assert sentence.evidence
        assert all(item.sop_instance_uid for item in sentence.evidence)
        if sentence.change is not None:
            assert any(item.prior_sop_instance_uid for item in sentence.evidence)
        if sentence.finding and sentence.stance is Stance.PRESENT:
            assert decided[sentence.finding] is Decision.PRESENT


evidence = st.builds(Evidence, st.just("1.2"), prior_sop_instance_uid=st.none() | st.just("1.1"))


@given(
    text=st.text(max_size=20),
    cited=st.lists(evidence, max_size=3).map(tuple),
    stance=st.sampled_from(list(Stance)),
    change=st.none() | st.sampled_from(list(ChangeKind)),
)
def test_a_sentence_without_evidence_or_a_change_without_a_prior_cannot_be_built(
    text: str, cited: tuple[Evidence, ...], stance: Stance, change: ChangeKind | None
) -> None:
    lawful = bool(text.strip()) and bool(cited)
    lawful = lawful and (change is None or any(item.prior_sop_instance_uid for item in cited))
    if lawful:
        assert Sentence(text, cited, stance=stance, change=change).evidence == cited
    else:
        with pytest.raises(DraftError):
            Sentence(text, cited, stance=stance, change=change)


def test_a_finding_without_evidence_cannot_be_built() -> None:
    with pytest.raises(DraftError, match="no evidence"):
        Finding("nodule", FINDINGS["nodule"], Decision.PRESENT, 0.9, 0.6, 0.3, ())


def test_a_change_without_two_images_cannot_be_built() -> None:
    with pytest.raises(DraftError, match="prior image"):
        Change("nodule", ChangeKind.NEW, 0.9, "1.2.3", "")


def test_what_nobody_set_a_threshold_for_is_said_to_be_so_and_no_sensitivity_is_made_up() -> None:
    labels = tuple(replace(label, assessed=False, threshold_set=label.finding != "nodule", n=0) for label in CARD.labels)
    report = draft(replace(material({"nodule": Decision.PRESENT}), card=replace(CARD, labels=labels)), "run")
    said = texts(report, SectionName.NOT_ASSESSED)
    assert "Scored, but not stated, for nobody has set a threshold (radpipe calibrate): pulmonary nodule." in said
    assert not any("0%" in text for text in said)


def test_the_hearts_size_stands_as_a_number_with_its_evidence_or_with_the_reason_why_not() -> None:
    measured = Measurement("cardiothoracic_ratio", 0.573, "1", "from lung masks")
    here = replace(material({"cardiomegaly": Decision.PRESENT}), lungs="chest-lungs 1.0.0 abc", measured=measured)
    section = draft(here, "run").section(SectionName.FINDINGS)
    assert section is not None
    sentence = section.sentences[0]
    assert sentence.text == "Cardiothoracic ratio 0.57 on the PA view."
    assert sentence.evidence[0].measurement == measured
    assert sentence.evidence[0].model == "chest-lungs 1.0.0 abc"
    hidden = replace(here, measured=None, not_measured="the heart's left border was not found")
    assert "The cardiothoracic ratio was not measured: the heart's left border was not found." in texts(
        draft(hidden, "run"), SectionName.FINDINGS
    )


def test_a_zone_and_what_may_be_wrong_with_the_image_are_said() -> None:
    here = material({"nodule": Decision.PRESENT})
    placed = tuple(replace(one, laterality=Laterality.LEFT, zone="upper") for one in here.findings)
    report = draft(replace(here, findings=placed, quality=("the lungs are almost black",)), "run")
    assert texts(report, SectionName.IMPRESSION)[0] == "Left upper zone pulmonary nodule."
    assert "Image quality: the lungs are almost black." in texts(report, SectionName.TECHNIQUE)
