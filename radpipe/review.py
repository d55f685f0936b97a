"""What people do with a draft: accept, reject, edit, sign, add. Pure: a report in, a new report out.

Every step checks the role and is recorded per finding; a signed report does not change, it gets an addendum. The wording
that a person gives is marked as theirs, and keeps the evidence that the model gave, so that both can be compared later.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from radpipe.codes import finding_words
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

    An impression left empty says that its findings were struck. Raises as `accept`.
    """
    _may_correct(report, by)
    struck = _sentences_of(report, finding)
    sections = []
    for section in report.sections:
        kept = tuple(sentence for sentence in section.sentences if sentence.finding != finding)
        if not kept and section.name in (SectionName.IMPRESSION, SectionName.FINDINGS):
            evidence = _by(struck[0], by)
            text = f"The drafted {finding_words(finding)} was rejected by the reader; nothing else was drafted here."
            kept = (Sentence(text, evidence, Origin.RADIOLOGIST),)
        if kept:
            sections.append(replace(section, sentences=kept))
    corrected = replace(report, sections=tuple(sections))
    return _recorded(corrected, Correction(finding, Verdict.REJECTED, by, at, reason=reason))


def edit(report: Report, finding: str, text: str, by: Person, at: datetime, *, stance: Stance = Stance.STATEMENT) -> Report:
    """Put the reader's words in place of the draft's for one finding, in Findings and, where it stands there, Impression.

    What the words assert is not guessed: `stance` says it; without one the finding leaves the coded outputs and stays in
    words. A drafted change is dropped. Raises as `accept`.
    """
    _may_correct(report, by)
    _sentences_of(report, finding)
    if not text.strip():
        raise SignOffError("an edit needs words; to strike a finding use reject")
    sections = []
    for section in report.sections:
        sentences: list[Sentence] = []
        placed = False
        for sentence in section.sentences:
            if sentence.finding != finding:
                sentences.append(sentence)
            elif not placed:
                placed = True
                sentences.append(Sentence(text.strip(), _by(sentence, by), Origin.RADIOLOGIST, stance, finding))
        sections.append(replace(section, sentences=tuple(sentences)))
    corrected = replace(report, sections=tuple(sections))
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
