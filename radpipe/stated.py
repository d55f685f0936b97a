"""What a report states, in coded form, once people have corrected it: the one rule that all coded outputs follow, and the
comparison with a signed report.

The reading holds what the model said. A radiologist may have rejected or reworded a finding; a verified SR or a final
Observation that still carried the model's word would then contradict the signed text. And a label that the model's card
calls too weak to be stated has no sentence. So:

- never spoken of, or rejected: nothing is stated in coded form;
- spoken of in a radiologist's own words: the stance of the last such sentence, or nothing if it takes none (the text
  stands alone), even if the wording was accepted afterwards;
- else: the model's decision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from radpipe.finding import Change, Decision, Finding
from radpipe.reading import Reading
from radpipe.report import Correction, Origin, Report, Stance, Verdict

DECISIONS = {Stance.PRESENT: Decision.PRESENT, Stance.ABSENT: Decision.ABSENT, Stance.UNSURE: Decision.UNSURE}


@dataclass(frozen=True, slots=True)
class Stated:
    """A finding with the decision that the report stands for, and what a person did with it."""

    finding: Finding
    correction: Correction | None = None
    reworded: bool = False  # the decision is the radiologist's, taken from their sentence


def stated_findings(reading: Reading, report: Report) -> tuple[Stated, ...]:
    """The findings that the report stands for, each with its final decision; those it no longer states are left out."""
    last = {correction.finding: correction for correction in report.corrections}
    stated = []
    for finding in reading.findings:
        sentences = [sentence for sentence in report.sentences if sentence.finding == finding.finding]
        correction = last.get(finding.finding)
        if not sentences or (correction is not None and correction.verdict is Verdict.REJECTED):
            continue
        own = [sentence for sentence in sentences if sentence.origin is Origin.RADIOLOGIST]
        if not own:
            stated.append(Stated(finding, correction))
        elif own[-1].stance in DECISIONS:
            stated.append(Stated(replace(finding, decision=DECISIONS[own[-1].stance]), correction, reworded=True))
    return tuple(stated)


def stated_changes(reading: Reading, report: Report) -> tuple[Change, ...]:
    """The changes of findings that nobody rejected or reworded."""
    kept = {stated.finding.finding for stated in stated_findings(reading, report) if not stated.reworded}
    return tuple(change for change in reading.changes if change.finding in kept)
