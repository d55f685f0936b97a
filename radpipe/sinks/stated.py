"""What every output says of a report's state: whether it is signed, as of when; and what it states (`radpipe.stated`)."""

from __future__ import annotations

from datetime import datetime

from radpipe.reading import Reading
from radpipe.report import PRELIMINARY, Report, Status
from radpipe.stated import Stated, stated_changes, stated_findings

__all__ = ["Stated", "as_of", "banner", "is_preliminary", "stated_changes", "stated_findings"]


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
