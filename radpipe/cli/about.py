"""`radpipe structure --study`: the study of the store that a free-text report is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from radpipe.errors import UsageError
from radpipe.settings import Settings

if TYPE_CHECKING:
    from pydicom import Dataset

    from radpipe.study import Study


@dataclass(frozen=True, slots=True)
class About:
    """The study, and the kept header of one of its images if it was asked for."""

    study: Study
    header: Dataset | None


def find_study(settings: Settings, name: str, *, with_header: bool) -> About:
    """Raises UsageError where the store has no study of this name, or several, and InputError where no header is kept."""
    from radpipe.cli.assemble import open_desk
    from radpipe.cli.studies import Studies, StudyName

    desk = open_desk(settings)
    study = Studies(desk.store).find(StudyName.of(name), "--study")
    if study is None:
        raise UsageError(f"--study names no study of the store {settings.store}; `radpipe worklist --json` lists them")
    return About(study, desk.study_header(study) if with_header else None)
