"""The report of an earlier study in the comparison: which one, what it says of each finding, where the images are at odds
with it. Pure.

A report from elsewhere is structured from its words. Of our own signed reports the values are known: what was drafted and
signed counts as it stands; only words for which a person gave no value are structured. Words alone never make a change: they
are quoted beside what the images show, and where the two disagree that is said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from typing import TYPE_CHECKING

from radpipe.codes import Laterality
from radpipe.finding import Change, ChangeKind, Decision, Finding, Prior
from radpipe.observation import Assertion, StructuredReport
from radpipe.reading import SignedReport
from radpipe.report import Origin, SectionName, Sentence, Stance
from radpipe.reported import OutsideReport, PriorReport, PriorStatement, ReportOrigin
from radpipe.stated import stated_findings

if TYPE_CHECKING:
    from radpipe.structure import Lexicon

EarlierReport = OutsideReport | SignedReport

_REPORTED_AS = {"nodule": "nodule_mass", "mass": "nodule_mass"}
"""Findings of a model that reports' words do not tell apart (the guideline's names)."""

_ASSERTIONS = {Stance.PRESENT: Assertion.PRESENT, Stance.ABSENT: Assertion.ABSENT, Stance.UNSURE: Assertion.UNCERTAIN}
_DECIDED = {Decision.PRESENT: Assertion.PRESENT, Decision.ABSENT: Assertion.ABSENT, Decision.UNSURE: Assertion.UNCERTAIN}
_WAS_THERE = frozenset({ChangeKind.INCREASED, ChangeKind.DECREASED, ChangeKind.UNCHANGED, ChangeKind.RESOLVED})
_NO_FINDING = "abnormal"  # the model's overall score: no report states it


def content_key(reports: Sequence[EarlierReport]) -> str:
    """SHA-256 over what the reports say and which rules read it, "" without any: part of a run's key."""
    if not reports:
        return ""
    digest = hashlib.sha256()
    for report in reports:
        digest.update("\n".join(_identity(report)).encode("utf-8", "backslashreplace") + b"\0")
    return digest.hexdigest()


def choose(reports: Sequence[EarlierReport], findings: Collection[str], compared: str | None) -> PriorReport | None:
    """The report to compare with: of the study whose image was compared (its UID), else the latest, that speaks of one of
    the `findings` that the model reads; where none does, the first of them. `reports`: the latest study first."""
    read = {name for finding in findings for name in (finding, _REPORTED_AS.get(finding, finding))}
    first: PriorReport | None = None
    for report in sorted(reports, key=lambda one: study_of(one) != compared):  # stable: else the latest first
        told = prior_report(report)
        if told is not None and any(said.finding in read for said in told.statements):
            return told
        first = first or told
    return first


def study_of(report: EarlierReport) -> str:
    """The UID of the study reported on; "" when only its accession number is known."""
    return report.study_instance_uid if isinstance(report, OutsideReport) else report.reading.study.study_instance_uid


def speaks_of(report: EarlierReport, body_part: str) -> bool:
    """May the report be of this body part? No where its words are of another one: names mean other things there ("mass")."""
    return isinstance(report, SignedReport) or _lexicon(report.text).body_part in ("", body_part)


def prior_report(report: EarlierReport) -> PriorReport | None:
    """What a report says, finding by finding; None if its study has no date."""
    if isinstance(report, SignedReport):
        return _signed(report)
    if report.study_date is None:
        return None
    key = report.reported_key
    source = f"DICOM SR {report.sop_instance_uid}" if report.origin is ReportOrigin.DICOM_SR else f"imported report {key}"
    return PriorReport(key, report.study_instance_uid, report.study_date, source, statements_in(report))


def statements_in(report: OutsideReport) -> tuple[PriorStatement, ...]:
    """What the words of a report from elsewhere say, whenever its study was."""
    return statements_of(_structured(report.reported_key, report.text))


def statements_of(structured: StructuredReport) -> tuple[PriorStatement, ...]:
    """The observations of a structured report, each with its quote."""
    return tuple(
        PriorStatement(one.finding, one.status, one.laterality, one.span.quote, one.part.value, one.span.start, one.span.end)
        for one in structured.observations
    )


def statement_of(report: PriorReport, finding: str) -> PriorStatement | None:
    """What the report says of one of the model's findings, or None."""
    said = {statement.finding: statement for statement in report.statements}
    return said.get(finding) or said.get(_REPORTED_AS.get(finding, finding))


def worth_saying(report: PriorReport, findings: Sequence[Finding], odds: Collection[str]) -> tuple[PriorStatement, ...]:
    """The statements that matter to this reading: of what is present or unsure now, of what was reported present then, and
    of what the images are at odds with; in the report's order. `findings` are those that the model may state."""
    now = {
        name
        for finding in findings
        if finding.decision is not Decision.ABSENT or finding.finding in odds
        for name in (finding.finding, _REPORTED_AS.get(finding.finding, finding.finding))
    }
    return tuple(said for said in report.statements if said.status is Assertion.PRESENT or said.finding in now)


def disagreements(
    report: PriorReport, prior: Prior | None, findings: Sequence[Finding], changes: Sequence[Change]
) -> dict[str, Change]:
    """By the model's finding, the changes read from the images of just the reported study that the report contradicts: "new"
    of what it stated present, or seen there what it stated absent. Another place in the body is no contradiction."""
    if prior is None or prior.study_instance_uid != report.study_instance_uid:
        return {}
    sides = {finding.finding: finding.laterality for finding in findings}
    found = {}
    for change in changes:
        said = statement_of(report, change.finding)
        if said is None or change.finding == _NO_FINDING:
            continue
        new_but_reported = change.change is ChangeKind.NEW and said.status is Assertion.PRESENT
        there_but_denied = change.change in _WAS_THERE and said.status is Assertion.ABSENT
        if there_but_denied or (new_but_reported and not _elsewhere(sides.get(change.finding), said.laterality)):
            found[change.finding] = change
    return found


def known_before(
    report: PriorReport | None, prior: Prior | None, findings: Sequence[Finding], changes: Sequence[Change]
) -> Mapping[str, date]:
    """Findings that the images show as new and that were reported present already, with the day: not before the image that
    was compared with, for what had gone and came back is new; and not in another place."""
    if report is None or prior is None or prior.study_date is None or report.study_date < prior.study_date:
        return {}
    sides = {finding.finding: finding.laterality for finding in findings}
    known = {}
    for change in changes:
        said = statement_of(report, change.finding)
        if change.change is not ChangeKind.NEW or said is None or said.status is not Assertion.PRESENT:
            continue
        if not _elsewhere(sides.get(change.finding), said.laterality):
            known[change.finding] = report.study_date
    return known


def _elsewhere(now: Laterality | None, then: Laterality | None) -> bool:
    """True if what is seen now has a side that was not reported then."""
    return None not in (now, then) and now is not then and then is not Laterality.BILATERAL


def _identity(report: EarlierReport) -> tuple[str, ...]:
    if isinstance(report, SignedReport):
        return "signed", report.report.report_key, str(report.report.version)
    return study_of(report) or report.reported_key, str(report.study_date), report.text, _lexicon(report.text).identity


def _lexicon(text: str) -> Lexicon:
    """The rules for the body part that the words speak of. Loaded only where there are words to read."""
    from radpipe.structure import choose_lexicon

    return _opened(choose_lexicon(text))


@cache
def _opened(name: str) -> Lexicon:
    from radpipe.structure import open_lexicon

    return open_lexicon(name)


def _structured(key: str, text: str) -> StructuredReport:
    from radpipe.structure import structure_report

    return structure_report(key, text, _lexicon(text))


def _signed(signed: SignedReport) -> PriorReport | None:
    reading, report = signed.reading, signed.report
    if reading.study.study_date is None:
        return None
    told: dict[str, PriorStatement] = {}
    for said in (*_added(signed), *_values(signed)):
        if said.finding not in told and _REPORTED_AS.get(said.finding) not in told:
            told[said.finding] = said
    source = f"radpipe report {report.report_key} version {report.version}"
    return PriorReport(report.report_key, report.study_instance_uid, reading.study.study_date, source, tuple(told.values()))


def _added(signed: SignedReport) -> Iterator[PriorStatement]:
    """From addenda, the last first: they correct what stands before them."""
    section = signed.report.section(SectionName.ADDENDUM)
    for sentence in reversed(section.sentences if section else ()):
        yield from _from_words(sentence, SectionName.ADDENDUM)


def _values(signed: SignedReport) -> Iterator[PriorStatement]:
    stated = {one.finding.finding: one for one in stated_findings(signed.reading, signed.report)}
    for name in (SectionName.FINDINGS, SectionName.IMPRESSION):
        section = signed.report.section(name)
        for sentence in section.sentences if section else ():
            finding = sentence.finding
            if finding == _NO_FINDING:
                continue
            if finding in stated and not stated[finding].reworded:
                one = stated[finding].finding
                yield PriorStatement(one.finding, _DECIDED[one.decision], one.laterality, sentence.text, name.value.lower())
            elif sentence.origin is Origin.RADIOLOGIST and finding is not None and sentence.stance in _ASSERTIONS:
                # the person said what the words assert, not on which side: that stands in the words
                same = (said for said in _from_words(sentence, name) if said.finding in (finding, _REPORTED_AS.get(finding)))
                side = next((said.laterality for said in same), None)
                yield PriorStatement(finding, _ASSERTIONS[sentence.stance], side, sentence.text, name.value.lower())
            elif sentence.origin is Origin.RADIOLOGIST:
                yield from _from_words(sentence, name)


def _from_words(sentence: Sentence, section: SectionName) -> Iterator[PriorStatement]:
    for said in statements_of(_structured("", sentence.text)):
        yield replace(said, section=section.value.lower())
