"""Studies, readings and a ticking clock for the store's tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from radpipe.reading import Reading
from radpipe.report import Person, Role
from radpipe.study import Study, study_key
from tests.sample_reading import sample_reading, sample_study

RADIOLOGIST = Person("mlindqvist", "Lindqvist^Maja", Role.RADIOLOGIST, "Example Hospital")
RESIDENT = Person("jsilva", "Silva^Joana", Role.RESIDENT)


def ticking(start: datetime = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)) -> Callable[[], datetime]:
    """A clock that goes one second on with every look."""
    now = start

    def clock() -> datetime:
        nonlocal now
        now += timedelta(seconds=1)
        return now

    return clock


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'radpipe.db'}"


def study(number: int = 1, *, day: date | None = date(2026, 1, 31), patient_id: str | None = None) -> Study:
    """The sample study under its own UIDs; each its own patient unless a PatientID is given."""
    sample = sample_study(patient_id=patient_id if patient_id is not None else f"PHANTOM-{number}")
    uid = f"2.25.{number}"
    images = tuple(
        replace(image, sop_instance_uid=f"{uid}.{n}", sha256=digest(f"{uid}.{n}"), series_instance_uid=f"{uid}.0")
        for n, image in enumerate(sample.images, 1)
    )
    return replace(sample, study_instance_uid=uid, study_date=day, images=images, set_aside=())


def reading(number: int = 1, run: str = "a", of: Study | None = None) -> Reading:
    """A reading with its draft, of the numbered study; another `run` is another run of it."""
    sample = sample_reading()
    found = of or study(number)
    run_key = digest(f"run {found.study_instance_uid} {run}")[:24]
    assert sample.report is not None
    report = replace(
        sample.report,
        report_key=digest(run_key)[:20],
        study_instance_uid=found.study_instance_uid,
        run_key=run_key,
    )
    return replace(sample, run_key=run_key, study=found, report=report)


def key(number: int = 1) -> str:
    return study_key(f"2.25.{number}")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
