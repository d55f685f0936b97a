"""What is known of the examination that a report is about: from the line that holds it, and from the store's study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from radpipe.codes import Laterality

if TYPE_CHECKING:
    from radpipe.structure.check_examination import Examination
    from radpipe.study import Study


def examination(said: Mapping[str, Any], study: Study | None = None) -> tuple[Examination, list[str]]:
    """The examination, and the reasons why some of what is `said` cannot be used. What is said wins over the study.

    That the store has no earlier study says nothing: there may be one elsewhere.
    """
    from radpipe.structure.check_examination import Examination

    known = _of_study(study) if study else {}
    ignored: list[str] = []
    for key, value in said.items():
        field, read, expected = _FACTS[key]
        try:
            known[field] = read(value)
        except (KeyError, ValueError, TypeError, AttributeError):
            ignored.append(f'its "{key}" is not {expected}')
    return Examination(**known), ignored


def _of_study(study: Study) -> dict[str, Any]:
    sides = {image.image_laterality for image in study.images if image.image_laterality}
    side = {Laterality.LEFT: "L", Laterality.RIGHT: "R", Laterality.BILATERAL: "B"}
    sex = study.patient.patient_sex
    return {
        "patient_sex": sex if sex in ("M", "F", "O") else None,
        "laterality": side[sides.pop()] if len(sides) == 1 else "B" if sides else None,
        "body_part": study.body_part or None,
        "study_date": study.study_date,
    }


def _date(value: str) -> date:
    return datetime.strptime(value, "%Y%m%d" if value.isdecimal() else "%Y-%m-%d").date()


def _truth(value: bool) -> bool:
    return {True: True, False: False}[value] if isinstance(value, bool) else {"true": True, "false": False}[value]


_SEXES = {"M": "M", "F": "F", "O": "O", "MALE": "M", "FEMALE": "F", "OTHER": "O"}
_SIDES = {"L": "L", "R": "R", "B": "B", "LEFT": "L", "RIGHT": "R", "BOTH": "B", "BILATERAL": "B", "U": None, "": None}
_FACTS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "patient_sex": ("patient_sex", lambda value: _SEXES[value.upper()], "M, F or O"),
    "laterality": ("laterality", lambda value: _SIDES[value.upper()], "L, R or B"),
    "body_part": ("body_part", str.strip, "text such as CHEST"),
    "study_date": ("study_date", _date, "a date such as 2026-01-31"),
    "has_comparison": ("has_prior", _truth, "true or false"),
}
"""What a line calls it -> the field of an Examination, how it is read, what it must be."""
