"""`radpipe structure --propose`: the site's language model is asked what the rules missed; the rules decide."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from radpipe.errors import UsageError
from radpipe.settings import Settings

if TYPE_CHECKING:
    from radpipe.observation import StructuredReport
    from radpipe.structure import Lexicon

Proposer = Callable[["StructuredReport", "Lexicon"], "StructuredReport"]


def open_proposer(settings: Settings) -> Proposer:
    """What adds proposals to a report, telling on stderr how many were added and why others were not.

    Raises UsageError when the settings name no model, and what `open_language_model` raises.
    """
    from radpipe.cli.assemble import open_site_language_model
    from radpipe.language import Fuse, Question, ask
    from radpipe.structure.proposals import apply_answer, asserting_text

    model = open_site_language_model(settings)
    if model is None:
        raise UsageError(
            "--propose needs a language model: set RADPIPE_LANGUAGE_URL and RADPIPE_LANGUAGE_MODEL, or RADPIPE_LANGUAGE_FILE"
        )
    _tell(f"language model: {model.name}; the reports' findings and impressions go to {model.where}")
    fused = Fuse(model)

    def propose(report: StructuredReport, lexicon: Lexicon) -> StructuredReport:
        found = tuple(observation.finding for observation in report.observations)
        answer, why_not = ask(fused, Question(asserting_text(report), lexicon.order, found))
        if why_not:
            _tell(f"propose: {report.report_id}: nothing added: {why_not}")
            return report
        extended, rejected = apply_answer(report, answer, lexicon, by=model.name)
        for refused in rejected:
            _tell(f"propose: {report.report_id}: {refused.finding or 'answer'} refused: {refused.reason}")
        return extended

    return propose


def _tell(words: str) -> None:
    """A line on stderr, without signs that steer a terminal: ids and model names are other people's."""
    sys.stderr.write("".join(letter if letter.isprintable() else "?" for letter in words) + "\n")
