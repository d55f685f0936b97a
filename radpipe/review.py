"""What people do with a draft: accept, reject, edit, sign, add. Pure: a report in, a new report out.

Every step checks the role and is recorded per finding; a signed report does not change, it gets an addendum. The wording
that a person gives is marked as theirs, and keeps the evidence that the model gave, so that both can be compared later.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from radpipe.codes import FINDINGS, finding_words
from radpipe.errors import AlreadySigned, NotAllowed, SignOffError
from radpipe.finding import Evidence
from radpipe.report import (
    Correction,
    Origin,
    Person,
    Report,
    Role,
    Section,
    SectionName,
    Sentence,
    Stance,
    Status,
    Verdict,
)

MAY_CORRECT = frozenset({Role.RADIOLOGIST, Role.RESIDENT})
MAY_SIGN = frozenset({Role.RADIOLOGIST})


def accept(report: Report, finding: str, by: Person, at: datetime) -> Report:
    """Confirm one finding as drafted. Raises NotAllowed, AlreadySigned, or SignOffError if the draft has no such finding."""
    _may_correct(report, by)
    _sentences_of(report, finding)
    return _recorded(report, Correction(finding, Verdict.ACCEPTED, by, at))


def reject(report: Report, finding: str, by: Person, at: datetime, *, reason: str = "") -> Report:
    """Strike one finding: its sentences leave the report, the record keeps that they stood there.

    The impression follows. Raises as `accept`.
    """
    _may_correct(report, by)
    struck = _sentences_of(report, finding)
    sections = tuple(
        replace(section, sentences=tuple(s for s in section.sentences if s.finding != finding))
        for section in report.sections
    )
    corrected = _with_impression(replace(report, sections=sections), struck[0], by)
    return _recorded(corrected, Correction(finding, Verdict.REJECTED, by, at, reason=reason))


def edit(report: Report, finding: str, text: str, by: Person, at: datetime, *, stance: Stance = Stance.STATEMENT) -> Report:
    """Put the reader's words in place of the draft's for one finding, in Findings and, where it stands there, Impression.

    A finding of which the draft says nothing, or which was rejected, is added. What the words assert is not guessed:
    `stance` says it; without one the finding leaves the coded outputs and stays in words. A drafted change is dropped. The
    impression follows. Raises NotAllowed, AlreadySigned; SignOffError for no words or an unknown finding.
    """
    _may_correct(report, by)
    if not text.strip():
        raise SignOffError("an edit needs words; to strike a finding use reject")
    before = [sentence for sentence in report.sentences if sentence.finding == finding]
    if not before and finding not in FINDINGS:
        raise SignOffError(f"no finding is called {finding!r}; known: {', '.join(sorted(FINDINGS))}")
    model = before[0] if before else _examined(report)
    words = Sentence(text.strip(), _by(model, by), Origin.RADIOLOGIST, stance, finding)
    in_impression = stance is not Stance.ABSENT
    sections = []
    for section in report.sections:
        sentences = [sentence for sentence in section.sentences if sentence.finding != finding]
        if section.name is SectionName.FINDINGS or (section.name is SectionName.IMPRESSION and in_impression):
            place = next(
                (n for n, s in enumerate(section.sentences) if s.finding == finding), 0 if before else len(sentences)
            )
            sentences.insert(place, words)
        sections.append(replace(section, sentences=tuple(sentences)))
    corrected = _with_impression(replace(report, sections=tuple(sections)), model, by)
    return _recorded(corrected, Correction(finding, Verdict.EDITED, by, at, text=text.strip()))


def sign(report: Report, radiologist: Person, at: datetime) -> Report:
    """Make a draft final. Raises NotAllowed for any other role, AlreadySigned unless it is a draft."""
    if radiologist.role not in MAY_SIGN:
        raise NotAllowed(f"{radiologist.user} has the role {radiologist.role.value}; only a radiologist signs")
    _must_be_draft(report)
    return replace(report, status=Status.FINAL, signed_by=radiologist, signed_at=at, version=report.version + 1)


def addendum(report: Report, text: str, by: Person, at: datetime) -> Report:
    """Add to a signed report. Raises NotAllowed for other roles, SignOffError for a draft (edit that) or no words."""
    if by.role not in MAY_SIGN:
        raise NotAllowed(f"{by.user} has the role {by.role.value}; only a radiologist adds to a signed report")
    if report.status is Status.DRAFT:
        raise SignOffError(f"report {report.report_key} is a draft: edit it, an addendum is for signed reports")
    if not text.strip():
        raise SignOffError("an addendum needs words")
    image = report.sentences[0].evidence[0].sop_instance_uid
    evidence = (Evidence(sop_instance_uid=image, source=f"{by.role.value} {by.user}, {at.isoformat()}"),)
    sentence = Sentence(text.strip(), evidence, Origin.RADIOLOGIST)
    before = report.section(SectionName.ADDENDUM)
    section = Section(SectionName.ADDENDUM, (*(before.sentences if before else ()), sentence))
    others = tuple(section for section in report.sections if section.name is not SectionName.ADDENDUM)
    return replace(
        report,
        status=Status.AMENDED,
        sections=(*others, section),
        signed_by=by,
        signed_at=at,
        version=report.version + 1,
    )


def open_findings(report: Report) -> tuple[str, ...]:
    """Findings stated as present or unsure on which nobody has given a verdict yet: shown before signing."""
    judged = {correction.finding for correction in report.corrections}
    stated = (s.finding for s in report.sentences if s.finding and s.stance in (Stance.PRESENT, Stance.UNSURE))
    return tuple(finding for finding in dict.fromkeys(stated) if finding not in judged)


def _with_impression(report: Report, changed: Sentence, by: Person) -> Report:
    """The impression after a correction: the drafted "none detected" names only what still stands as absent, and goes where
    a finding is stated."""
    findings, impression = report.section(SectionName.FINDINGS), report.section(SectionName.IMPRESSION)
    if impression is None:
        return report
    stated = tuple(sentence for sentence in impression.sentences if sentence.finding is not None)
    if not stated:
        absent = [
            s for s in (findings.sentences if findings else ()) if s.stance is Stance.ABSENT and s.finding != "abnormal"
        ]
        if absent:
            names = ", ".join(finding_words(s.finding or "") for s in absent)
            evidence = tuple(sentence.evidence[0] for sentence in absent)
            stated = (Sentence(f"Of the findings assessed none of these was detected: {names}.", evidence, Origin.MODEL),)
        else:
            text = "What was drafted here was rejected by the reader."
            stated = (Sentence(text, _by(changed, by), Origin.RADIOLOGIST),)
    sections = (replace(s, sentences=stated) if s.name is SectionName.IMPRESSION else s for s in report.sections)
    kept = tuple(section for section in sections if section.sentences)
    return replace(report, sections=kept)


def _examined(report: Report) -> Sentence:
    """A sentence of which the evidence is the image examined: what a reader adds rests on having looked at it."""
    section = report.section(SectionName.TECHNIQUE)
    return (section.sentences if section else report.sentences)[0]


def _recorded(report: Report, correction: Correction) -> Report:
    return replace(report, corrections=(*report.corrections, correction), version=report.version + 1)


def _may_correct(report: Report, by: Person) -> None:
    if by.role not in MAY_CORRECT:
        raise NotAllowed(f"{by.user} has the role {by.role.value}; a radiologist or resident corrects drafts")
    _must_be_draft(report)


def _must_be_draft(report: Report) -> None:
    if report.status is not Status.DRAFT:
        raise AlreadySigned(f"report {report.report_key} is {report.status.value}; write an addendum instead")


def _sentences_of(report: Report, finding: str) -> tuple[Sentence, ...]:
    sentences = tuple(sentence for sentence in report.sentences if sentence.finding == finding)
    if not sentences:
        named = ", ".join(dict.fromkeys(s.finding for s in report.sentences if s.finding)) or "none"
        raise SignOffError(f"report {report.report_key} says nothing of {finding!r}; it speaks of: {named}")
    return sentences


def _by(sentence: Sentence, by: Person) -> tuple[Evidence, ...]:
    """The drafted evidence with, first, who changed the words."""
    first = sentence.evidence[0]
    return (replace(first, source=f"{by.role.value} {by.user}"), *sentence.evidence)
