"""From findings to a drafted report: sections of sentences, each with the evidence that it rests on. Pure.

Wording follows the decision: present is stated as detected, unsure as possible with the score beside it, absent names the
images examined. The model's findings are "detected", never "diagnosed". Findings stand in a chest report's usual order
(`codes.REPORT_ORDER`), the impression by urgency. Nothing here can write a sentence about change without a prior image:
`report.Sentence` refuses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from radpipe import prior_report
from radpipe.card import ModelCard
from radpipe.codes import REPORT_ORDER, Laterality, finding_words
from radpipe.finding import Change, ChangeKind, Decision, Evidence, Finding, Measurement, Prior, score_words
from radpipe.observation import Assertion
from radpipe.report import Origin, Report, Section, SectionName, Sentence, Stance
from radpipe.reported import PriorReport, PriorStatement
from radpipe.sanity import age_years
from radpipe.study import Basis, Image, Study, View

VIEW_WORDS = {View.PA: "posteroanterior (PA)", View.AP: "anteroposterior (AP)", View.LATERAL: "lateral"}

CHANGE_WORDS = {
    ChangeKind.NEW: "is new",
    ChangeKind.INCREASED: "has increased",
    ChangeKind.DECREASED: "has decreased",
    ChangeKind.UNCHANGED: "is unchanged within the model's repeatability",
    ChangeKind.RESOLVED: "is no longer detected",
    ChangeKind.NOT_COMPARABLE: "cannot be compared",
}

_REPORTED_STATUS = {
    Assertion.PRESENT: "reported present",
    Assertion.ABSENT: "reported absent",
    Assertion.UNCERTAIN: "reported as uncertain",
}

_STANCES = {Decision.PRESENT: Stance.PRESENT, Decision.ABSENT: Stance.ABSENT, Decision.UNSURE: Stance.UNSURE}


@dataclass(frozen=True, slots=True)
class Material:
    """What a draft is written from. `image` is the one that the model read; `examined` are all images chosen."""

    study: Study
    image: Image
    examined: tuple[Image, ...]
    findings: tuple[Finding, ...]  # decided labels, assessed or not
    changes: tuple[Change, ...]
    prior: Prior | None
    why_no_prior: str | None
    card: ModelCard
    urgency: tuple[str, ...]  # finding names, most urgent first
    prior_report: PriorReport | None = None
    quality: tuple[str, ...] = ()  # what may be wrong with the image, in words
    measured: Measurement | None = None  # the cardiothoracic ratio
    not_measured: str = ""  # why there is none, where the lungs were looked for
    lungs: str = ""  # by which segmenter


def draft(material: Material, run_key: str) -> Report:
    """The report of one read study, as a draft. The same material gives the same report."""
    sections = (
        Section(SectionName.INDICATION, (_indication(material),)),
        Section(SectionName.TECHNIQUE, _technique(material)),
        Section(SectionName.COMPARISON, (_comparison(material), *_reported(material))),
        Section(SectionName.FINDINGS, _findings(material)),
        Section(SectionName.IMPRESSION, _impression(material)),
        Section(SectionName.NOT_ASSESSED, _not_assessed(material)),
    )
    return Report(
        report_key=report_key(run_key),
        study_instance_uid=material.study.study_instance_uid,
        run_key=run_key,
        sections=tuple(section for section in sections if section.sentences),
    )


def report_key(run_key: str) -> str:
    """The key of a run's report: 16 hex digits, the same for the same run."""
    return hashlib.sha256(f"report {run_key}".encode()).hexdigest()[:16]


def change_words(change: Change, prior_date: date | None) -> str:
    """A change as the end of a sentence: "has increased since 2025-11-02 (0.44 to 0.81)"."""
    words = CHANGE_WORDS[change.change]
    since = f" since {prior_date.isoformat()}" if prior_date else ""
    if change.change is ChangeKind.NOT_COMPARABLE:
        return f"{words} with the prior: {change.why}" if change.why else f"{words} with the prior"
    scores = ""
    if change.prior_probability is not None and change.current_probability is not None:
        scores = f" (score {score_words(change.prior_probability)} then, {score_words(change.current_probability)} now)"
    return f"{words}{since}{scores}"


def subject(finding: str, laterality: Laterality | None, zone: str | None = None) -> str:
    """ "left pleural effusion", "right lower zone consolidation", "cardiomegaly"."""
    words = [laterality.value] if laterality is not None else []
    return " ".join([*words, *([f"{zone} zone"] if zone else []), finding_words(finding)])


def _indication(material: Material) -> Sentence:
    reason = material.study.reason_for_study.strip()
    text = _closed(reason) if reason else "No indication was given with the study."
    source = "ReasonForTheRequestedProcedure" if reason else "no reason for study in the attributes"
    return Sentence(text, (_seen(material.image, source),), Origin.TAGS)


def _technique(material: Material) -> tuple[Sentence, ...]:
    sentences = []
    for image in material.examined:
        view = f", {VIEW_WORDS[image.view]} view" if image.view else ", view not known"
        told = {Basis.IMAGE: " (told from the image)", Basis.DESCRIPTION: " (from the description)"}
        basis = told.get(image.view_basis, "") if image.view_basis else ""
        spacing = f", pixel spacing {image.spacing_mm[0]:.3g} x {image.spacing_mm[1]:.3g} mm ({image.spacing_source})" if (
            image.spacing_mm) else ", pixel spacing not known: no size is stated"  # fmt: skip
        text = (
            f"{_capital(image.body_part.lower() or 'unnamed region')} radiograph ({image.modality}){view}{basis}, "
            f"{image.columns} x {image.rows} pixels{spacing}."
        )
        sentences.append(Sentence(text, (_seen(image, "Modality, ViewPosition, Rows, Columns, PixelSpacing"),), Origin.TAGS))
    age = age_years(material.study)
    youngest, oldest = material.card.input.patient_age_years
    if age is not None and not youngest <= age <= oldest:
        text = f"The patient's age lies outside the {youngest} to {oldest} years on which the model was studied."
        sentences.append(Sentence(text, (_seen(material.image, "PatientAge, PatientBirthDate"),), Origin.TAGS))
    if material.quality:
        evidence = Evidence(material.image.sop_instance_uid, model=material.lungs, source="borders of the lungs")
        sentences.append(Sentence(f"Image quality: {'; '.join(material.quality)}.", (evidence,), Origin.MODEL))
    return tuple(sentences)


def _comparison(material: Material) -> Sentence:
    prior = material.prior
    if prior is None:
        text = f"None: {material.why_no_prior or 'no earlier study of this patient is in the store'}."
        return Sentence(_closed(text), (_seen(material.image, "search of the store"),), Origin.TAGS)
    when = prior.study_date.isoformat() if prior.study_date else "unknown date"
    text = f"Study of {when}: {prior.why}"
    if prior.registration is not None:
        text += f"; {prior.registration.why}"
    return Sentence(_closed(text), (_seen(material.image, "search of the store", prior.sop_instance_uid),), Origin.TAGS)


def _reported(material: Material) -> tuple[Sentence, ...]:
    """What the report of an earlier study said of what matters now, and where the images are at odds with it. Facts of that
    report: they carry no finding and no change of this one, and stay whatever a reader makes of the draft's findings."""
    report = material.prior_report
    if report is None:
        return ()
    odds = prior_report.disagreements(report, material.prior, material.findings, material.changes)
    sentences = []
    for said in prior_report.worth_saying(report, _assessed(material), odds):
        words, status = finding_words(said.finding), _REPORTED_STATUS[said.status]
        evidence = _quoted(report, said, material.image)
        text = f"{_capital(subject(said.finding, said.laterality))} was {status} on {report.study_date.isoformat()}."
        sentences.append(Sentence(text, (evidence,), Origin.REPORT))
        change = next((c for c in odds.values() if prior_report.statement_of(report, c.finding) is said), None)
        if change is not None:
            text = (
                f"The image comparison reads the {words} as {change.change.value}; the report of "
                f"{report.study_date.isoformat()} stated it {said.status.value}."
            )
            compared = _seen(material.image, "comparison of scores with the prior", change.prior_sop_instance_uid)
            sentences.append(Sentence(text, (compared, evidence), Origin.REPORT))
    return tuple(sentences)


def _quoted(report: PriorReport, said: PriorStatement, image: Image) -> Evidence:
    """Where the words stand: the report, its study, the section, the characters, the quote as it is written."""
    study = f" of study {report.study_instance_uid}" if report.study_instance_uid else ""
    where = f", characters {said.start} to {said.end}" if said.start is not None else ""
    return _seen(image, f'{report.source}{study}, {said.section}{where}: "{said.quote}"')


def _findings(material: Material) -> tuple[Sentence, ...]:
    changes = {change.finding: change for change in material.changes}
    sentences = []
    for finding in sorted(_assessed(material), key=_report_place):
        if finding.finding == "cardiomegaly" and material.lungs:
            sentences.append(_ratio_sentence(material))
        sentences.append(_finding_sentence(finding, material))
        change = changes.get(finding.finding)
        if change is not None and material.prior is not None and _is_worth_saying(finding, change):
            sentences.append(_change_sentence(finding, change, material.prior))
    return tuple(sentences)


def _is_worth_saying(finding: Finding, change: Change) -> bool:
    """That what is absent now could not be compared is in the table of changes; as a sentence it would only be noise."""
    return finding.decision is not Decision.ABSENT or change.change is ChangeKind.RESOLVED


def _finding_sentence(finding: Finding, material: Material) -> Sentence:
    words = subject(finding.finding, finding.laterality, finding.zone)
    numbers = f"score {score_words(finding.probability)}, threshold {score_words(finding.threshold)}"
    if finding.finding == "abnormal":
        text = {
            Decision.PRESENT: f"The image as a whole scores as abnormal ({numbers}).",
            Decision.UNSURE: f"Whether the image as a whole is abnormal is uncertain ({numbers}).",
            Decision.ABSENT: f"The image as a whole scores below the threshold for abnormal ({numbers}).",
        }[finding.decision]
    elif finding.decision is Decision.PRESENT:
        text = f"{_capital(words)} detected ({numbers})."
    elif finding.decision is Decision.UNSURE:
        text = f"Possible {words}: uncertain ({numbers}; ruled out below {score_words(finding.rule_out)})."
    else:
        text = f"No {words} detected on the {_examined_words(material)} ({numbers})."
    return Sentence(text, finding.evidence, Origin.MODEL, _STANCES[finding.decision], finding.finding)


def _ratio_sentence(material: Material) -> Sentence:
    """The heart's size as a number, or why there is none. AP views and a low inspiration make it look larger."""
    evidence = Evidence(
        material.image.sop_instance_uid, model=material.lungs, source="borders of the lungs", measurement=material.measured
    )
    if material.measured is None:
        return Sentence(f"The cardiothoracic ratio was not measured: {material.not_measured}.", (evidence,), Origin.MODEL)
    view = f" on the {material.image.view.value} view" if material.image.view else ""
    return Sentence(f"Cardiothoracic ratio {material.measured.value:.2f}{view}.", (evidence,), Origin.MODEL)


def _change_sentence(finding: Finding, change: Change, prior: Prior) -> Sentence:
    evidence = Evidence(
        sop_instance_uid=change.current_sop_instance_uid,
        box_px=finding.evidence[0].box_px,
        score=change.score,
        model=finding.evidence[0].model,
        source="comparison of scores with the prior",
        prior_sop_instance_uid=change.prior_sop_instance_uid,
    )
    text = _closed(f"The {finding_words(finding.finding)} {change_words(change, prior.study_date)}")
    return Sentence(text, (evidence,), Origin.MODEL, _STANCES[finding.decision], finding.finding, change.change)


def _impression(material: Material) -> tuple[Sentence, ...]:
    changes = {change.finding: change for change in material.changes}
    ranked = sorted(
        _assessed(material),
        key=lambda finding: (_urgency_place(finding.finding, material.urgency), -finding.probability),
    )
    stated = [finding for finding in ranked if finding.decision is Decision.PRESENT and finding.finding != "abnormal"]
    unsure = [finding for finding in ranked if finding.decision is Decision.UNSURE and finding.finding != "abnormal"]
    sentences = []
    for finding in (*stated, *unsure):
        words = subject(finding.finding, finding.laterality, finding.zone)
        text = _capital(words) if finding.decision is Decision.PRESENT else f"Possible {words}"
        change = changes.get(finding.finding)
        evidence, kind = finding.evidence, None
        if change is not None and material.prior is not None and change.change is not ChangeKind.NOT_COMPARABLE:
            text += f", {change.change.value.replace('_', ' ')}"
            text += f" since {material.prior.study_date.isoformat()}" if material.prior.study_date else " since the prior"
            evidence = (*evidence, *_change_sentence(finding, change, material.prior).evidence)
            kind = change.change
        sentences.append(Sentence(f"{text}.", evidence, Origin.MODEL, _STANCES[finding.decision], finding.finding, kind))
    for finding in ranked:
        change = changes.get(finding.finding)
        if change is not None and change.change is ChangeKind.RESOLVED and material.prior is not None:
            sentences.append(_change_sentence(finding, change, material.prior))
    if not sentences:
        sentences.append(_nothing_found(material))
    return tuple(sentences)


def _nothing_found(material: Material) -> Sentence:
    evidence = tuple(finding.evidence[0] for finding in _assessed(material))
    names = ", ".join(
        finding_words(f.finding) for f in sorted(_assessed(material), key=_report_place) if f.finding != "abnormal"
    )
    if not evidence:
        return Sentence("The model assesses no finding well enough to state one.", (_seen(material.image, "model card"),))
    overall = next((finding for finding in material.findings if finding.finding == "abnormal"), None)
    beside = {
        Decision.PRESENT: "; the image as a whole scores as abnormal",
        Decision.UNSURE: "; whether the image as a whole is abnormal is uncertain",
        Decision.ABSENT: "",
    }[overall.decision if overall else Decision.ABSENT]
    text = f"None of the findings assessed by this model was detected ({names}){beside}."
    return Sentence(text, evidence, Origin.MODEL, Stance.STATEMENT)


def _not_assessed(material: Material) -> tuple[Sentence, ...]:
    stated = [label for label in material.card.labels if label.assessed and label.n and label.finding != "abnormal"]
    weak = [finding_words(label.finding) for label in material.card.labels if not label.assessed and label.threshold_set]
    unset = [finding_words(label.finding) for label in material.card.labels if not label.threshold_set]
    card = Evidence(sop_instance_uid=material.image.sop_instance_uid, model=material.card.identity, source="model card")
    sentences = []
    if stated:
        low, high = min(label.sensitivity for label in stated), max(label.sensitivity for label in stated)
        text = (
            f'"Not detected" does not exclude a finding: at its thresholds the model found {low:.0%} to {high:.0%} of '
            "those labelled in its validation."
        )
        sentences.append(Sentence(text, (card,), Origin.MODEL))
    if weak:
        text = f"Too weak in validation to be stated: {', '.join(weak)}."
        sentences.append(Sentence(text, (card,), Origin.MODEL))
    if unset:
        text = f"Scored, but not stated, for nobody has set a threshold (radpipe calibrate): {', '.join(unset)}."
        sentences.append(Sentence(text, (card,), Origin.MODEL))
    if material.card.not_covered:
        sentences.append(Sentence(f"Not covered: {', '.join(material.card.not_covered)}.", (card,), Origin.MODEL))
    return tuple(sentences)


def _assessed(material: Material) -> Sequence[Finding]:
    strong = {label.finding for label in material.card.labels if label.assessed}
    return [finding for finding in material.findings if finding.finding in strong]


def _examined_words(material: Material) -> str:
    views = [image.view.value if image.view else "frontal" for image in material.examined]
    return f"{' and '.join(dict.fromkeys(views))} view{'s' if len(set(views)) > 1 else ''}"


def _seen(image: Image, source: str, prior: str | None = None) -> Evidence:
    return Evidence(sop_instance_uid=image.sop_instance_uid, source=source, prior_sop_instance_uid=prior)


def _report_place(finding: Finding) -> int:
    return REPORT_ORDER.index(finding.finding) if finding.finding in REPORT_ORDER else len(REPORT_ORDER)


def _urgency_place(finding: str, urgency: Sequence[str]) -> int:
    return urgency.index(finding) if finding in urgency else len(urgency)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _closed(text: str) -> str:
    text = text.rstrip()
    return text if text.endswith((".", "?", "!")) else f"{text}."
