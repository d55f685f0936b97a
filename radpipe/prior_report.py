"""The report of an earlier study in the comparison: which one, what it says of each finding, where the images are at odds
with it. Pure.

A report from elsewhere is structured from its words. Of our own signed reports the values are known: what was drafted and
signed counts as it stands; only words for which a person gave no value are structured. Words alone never make a change: they
are quoted beside what the images show, and where the two disagree that is said.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from typing import TYPE_CHECKING

from radpipe.codes import Laterality
from radpipe.finding import Change, ChangeKind, Decision, Finding, Prior
from radpipe.observation import Assertion, Observation, Part, StructuredReport
from radpipe.reading import SignedReport
from radpipe.report import PRELIMINARY, Origin, SectionName, Sentence, Stance
from radpipe.reported import OutsideReport, PriorReport, PriorStatement, ReportOrigin
from radpipe.stated import stated_changes, stated_findings

if TYPE_CHECKING:
    from radpipe.structure import Lexicon

EarlierReport = OutsideReport | SignedReport

_REPORTED_AS = {"nodule": "nodule_mass", "mass": "nodule_mass"}
"""Findings of a model that reports' words do not tell apart (the guideline's names)."""

_ASSERTIONS = {Stance.PRESENT: Assertion.PRESENT, Stance.ABSENT: Assertion.ABSENT, Stance.UNSURE: Assertion.UNCERTAIN}
_DECIDED = {Decision.PRESENT: Assertion.PRESENT, Decision.ABSENT: Assertion.ABSENT, Decision.UNSURE: Assertion.UNCERTAIN}
_WAS_THERE = frozenset({ChangeKind.INCREASED, ChangeKind.DECREASED, ChangeKind.UNCHANGED, ChangeKind.RESOLVED})
_NO_FINDING = "abnormal"  # the model's overall score: no report states it
_LONGEST_TITLE = 10  # words

_DRAFT = PRELIMINARY.partition(",")[0].casefold()
_STRUCTURED = "structured by machine"  # the banner of `sinks.structured_text`
_NOT_SIGNED = re.compile(r"^\s*(?:Not signed\.|Report:\s+[0-9a-f]+, version \d+, draft)\s*$", re.MULTILINE)
"""Lines of `sinks.text` that a draft keeps where its banner was cut off."""


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
    """May a comparison of this body part use the report? Not where its words, or its title or technique, are of another one
    (names mean other things there: "mass"), nor where a machine wrote it and nobody signed."""
    if isinstance(report, SignedReport):
        return True
    return (
        not unsigned(report.text)
        and _lexicon(report.text).body_part in ("", body_part)
        and not _is_of_another_region(report.text, body_part)
    )


def unsigned(text: str) -> str:
    """What the text is and what to do, where it is radpipe's own and nobody stands for it; else ""."""
    words = " ".join(text.casefold().split())
    if _STRUCTURED in words:
        return "is radpipe's structuring of a report, not the report: give the text that the radiologist wrote"
    if _DRAFT in words or _NOT_SIGNED.search(text):
        return (
            "is a draft of radpipe's that nobody has signed, not a person's report: sign it (`radpipe sign`), then it takes "
            "part in comparisons by itself; or give the text that the radiologist wrote"
        )
    return ""


def _is_of_another_region(text: str, body_part: str) -> bool:
    """Do title or technique name regions of the body, and not that of `body_part`? Stricter than the check of a report
    against its examination: an image of the breast shows the chest, and is no image to compare a chest with."""
    from radpipe.structure.check_text import check_phrases, check_table

    regions: Mapping[str, Mapping[str, Sequence[str]]] = check_table()["region"]
    own = {name for name in regions if name.upper() == body_part}
    own = own or {name for name, region in regions.items() if body_part in region["body_parts"]}
    named = {
        name
        for words in _title_and_technique(text)
        for name in regions
        if any(True for _ in check_phrases(f"region.{name}", ("words",)).matches(words))
    }
    return bool(own and named) and named.isdisjoint(own)


def _title_and_technique(text: str) -> Iterator[list[str]]:
    """The words of the technique's sentences, and of the short ones above the first heading (without headings: of the first)
    that state no finding."""
    from radpipe.structure.text import parts, sentences

    spans = parts(text)
    headings = [span.start for span in spans if span.heading]
    for number, sentence in enumerate(sentences(text, spans)):
        if sentence.part is Part.TECHNIQUE:
            yield sentence.words
        elif (sentence.end <= headings[0]) if headings else number == 0:
            is_short = len(sentence.words) <= _LONGEST_TITLE
            if is_short and not _structured("", text[sentence.start : sentence.end], _lexicon(text)).observations:
                yield sentence.words


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
    return statements_of(_structured(report.reported_key, report.text, _lexicon(report.text)))


def statements_of(structured: StructuredReport) -> tuple[PriorStatement, ...]:
    """The observations of a structured report, each with its quote. What has resolved was absent then."""
    return tuple(
        PriorStatement(one.finding, *_state(one), one.span.quote, one.part.value, one.span.start, one.span.end)
        for one in structured.observations
    )


def _state(said: Observation) -> tuple[Assertion, Laterality | None]:
    """Status and side; a side only of what is, or may be, there."""
    is_gone = said.status is Assertion.PRESENT and said.change is ChangeKind.RESOLVED
    return (Assertion.ABSENT, None) if is_gone else (said.status, said.laterality)


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
    """What the report says and the rules that read it: those of a signed one too, for a person's words may be in it."""
    from radpipe import structure

    if isinstance(report, SignedReport):
        said: tuple[str, ...] = "signed", report.report.report_key, str(report.report.version)
        lexicon = _lexicon_of(report)
    else:
        said = study_of(report) or report.reported_key, str(report.study_date), report.text
        lexicon = _lexicon(report.text)
    return *said, lexicon.identity, f"format {structure.FORMAT}"


def _lexicon(text: str) -> Lexicon:
    """The rules for the body part that the words speak of. Loaded only where there are words to read."""
    from radpipe.structure import choose_lexicon

    return _opened(choose_lexicon(text))


def _lexicon_of(signed: SignedReport) -> Lexicon:
    """The rules for the body part of the study: a sentence alone is too short to tell it."""
    from radpipe.structure import lexicon_names

    body_part = signed.reading.study.body_part or "CHEST"
    for name in lexicon_names() if body_part != "CHEST" else ():
        if _opened(name).body_part == body_part:
            return _opened(name)
    return _opened("chest")


@cache
def _opened(name: str) -> Lexicon:
    from radpipe.structure import open_lexicon

    return open_lexicon(name)


def _structured(key: str, text: str, lexicon: Lexicon) -> StructuredReport:
    from radpipe.structure import structure_report

    return structure_report(key, text, lexicon)


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
        yield from _from_words(signed, sentence, SectionName.ADDENDUM)


def _values(signed: SignedReport) -> Iterator[PriorStatement]:
    stated = {one.finding.finding: one for one in stated_findings(signed.reading, signed.report)}
    changes = stated_changes(signed.reading, signed.report)
    gone = {change.finding for change in changes if change.change is ChangeKind.RESOLVED}
    for name in (SectionName.FINDINGS, SectionName.IMPRESSION):
        section = signed.report.section(name)
        for sentence in section.sentences if section else ():
            finding, where = sentence.finding, name.value.lower()
            if finding == _NO_FINDING:
                continue
            if finding in stated and not stated[finding].reworded:
                one = stated[finding].finding
                status, side = _DECIDED[one.decision], one.laterality
                if finding in gone and status is Assertion.PRESENT:
                    status, side = Assertion.ABSENT, None
                yield PriorStatement(one.finding, status, side, sentence.text, where)
            elif sentence.origin is Origin.RADIOLOGIST and finding is not None and sentence.stance in _ASSERTIONS:
                # the person said what the words assert, not on which side, nor that it was there and has gone: that
                # stands in the words
                status, side = _ASSERTIONS[sentence.stance], None
                for said in _structured("", sentence.text, _lexicon_of(signed)).observations:
                    if said.finding in (finding, _REPORTED_AS.get(finding)):
                        side = _state(said)[1]
                        if said.change is ChangeKind.RESOLVED and status is Assertion.PRESENT:
                            status = Assertion.ABSENT
                        break
                yield PriorStatement(finding, status, side, sentence.text, where)
            elif sentence.origin is Origin.RADIOLOGIST:
                yield from _from_words(signed, sentence, name)


def _from_words(signed: SignedReport, sentence: Sentence, section: SectionName) -> Iterator[PriorStatement]:
    for said in statements_of(_structured("", sentence.text, _lexicon_of(signed))):
        yield replace(said, section=section.value.lower())
