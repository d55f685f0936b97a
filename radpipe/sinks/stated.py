"""What a report states, in coded form, once people have corrected it: the one rule that all coded outputs follow.

The reading holds what the model said. A radiologist may have rejected or reworded a finding; a verified SR or a final
Observation that still carried the model's word would then contradict the signed text. And a label that the model's card
calls too weak to be stated has no sentence. So:

- spoken of in the report and not corrected, or accepted: the model's decision;
- never spoken of: nothing;
- rejected or edited, with a sentence of the radiologist that takes a stance on the finding: that stance;
- rejected or edited without one: nothing is stated in coded form; the text stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from radpipe.finding import Change, Decision, Finding
from radpipe.reading import Reading
from radpipe.report import PRELIMINARY, Correction, Origin, Report, Stance, Status, Verdict

_DECISIONS = {Stance.PRESENT: Decision.PRESENT, Stance.ABSENT: Decision.ABSENT, Stance.UNSURE: Decision.UNSURE}


@dataclass(frozen=True, slots=True)
class Stated:
    """A finding with the decision that the report stands for, and what a person did with it."""

    finding: Finding
    correction: Correction | None = None

    @property
    def verdict(self) -> Verdict | None:
        """None where nobody corrected the finding."""
        return self.correction.verdict if self.correction else None


def stated_findings(reading: Reading, report: Report) -> tuple[Stated, ...]:
    """The findings that the report stands for, each with its final decision; those it no longer states are left out."""
    last = {correction.finding: correction for correction in report.corrections}
    spoken = {sentence.finding for sentence in report.sentences}
    stated = []
    for finding in reading.findings:
        correction = last.get(finding.finding)
        if finding.finding not in spoken:
            continue
        if correction is None or correction.verdict is Verdict.ACCEPTED:
            stated.append(Stated(finding, correction))
        elif (decision := _radiologists_stance(finding.finding, report)) is not None:
            stated.append(Stated(replace(finding, decision=decision), correction))
    return tuple(stated)


def stated_changes(reading: Reading, report: Report) -> tuple[Change, ...]:
    """The changes of findings that nobody rejected or reworded."""
    kept = {s.finding.finding for s in stated_findings(reading, report) if s.verdict in {None, Verdict.ACCEPTED}}
    return tuple(change for change in reading.changes if change.finding in kept)


def is_preliminary(report: Report) -> bool:
    """True until the report is signed."""
    return report.status is Status.DRAFT


def banner(report: Report) -> str:
    """What stands at the head of an output; empty once the report is signed."""
    return PRELIMINARY if is_preliminary(report) else ""


def as_of(reading: Reading, report: Report) -> datetime | None:
    """When the report's content came to be: of its signature, its last correction or its reading, whichever is last."""
    times = [report.signed_at, reading.read_at, *(correction.at for correction in report.corrections)]
    return max((at for at in times if at is not None), key=datetime.timestamp, default=None)


def _radiologists_stance(finding: str, report: Report) -> Decision | None:
    for sentence in reversed(report.sentences):
        if sentence.finding == finding and sentence.origin is Origin.RADIOLOGIST and sentence.stance in _DECISIONS:
            return _DECISIONS[sentence.stance]
    return None
