"""Described instances to studies: ordered, without doubles, with what cannot be used set aside in its study."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import date
from typing import Any

from radpipe.dicom.describe import Described
from radpipe.study import Image, Patient, SetAside, Study


def group(described: Iterable[Described], set_aside: Iterable[SetAside]) -> tuple[tuple[Study, ...], tuple[SetAside, ...]]:
    """The studies, by date then UID, and what was set aside outside any of them.

    The same instance twice is one. Of different bytes under one SOP Instance UID the first is used; instances of another
    patient than most of the study's are set aside. "First" is by file name, so that the order of arrival changes nothing.
    """
    by_study: dict[str, list[Described]] = {}
    for one in sorted(described, key=lambda found: (found.file.name, found.sha256)):
        by_study.setdefault(one.study.study_instance_uid, []).append(one)
    aside: dict[str | None, list[SetAside]] = {}
    for reason in set_aside:
        known = reason.study_instance_uid if reason.study_instance_uid in by_study else None
        aside.setdefault(known, []).append(reason)
    withdrawn = {uid: why for found in by_study.values() for one in found for uid, why in one.rejects}
    studies = [_study(uid, found, aside.get(uid, []), withdrawn) for uid, found in by_study.items()]
    studies.sort(key=lambda study: (study.study_date or date.max, study.study_instance_uid))
    return tuple(studies), tuple(sorted(aside.get(None, []), key=lambda one: (one.file, one.reason)))


def _study(uid: str, found: list[Described], aside: list[SetAside], withdrawn: dict[str, str]) -> Study:
    kept, others = _of_one_patient(uid, found)
    unique: dict[str, Described] = {}
    for one in kept:
        first = unique.setdefault(one.sop_instance_uid, one)
        if first.sha256 != one.sha256:
            reason = (
                f"the same SOP Instance UID as {first.file.name} but different bytes: that one is used; "
                "have the sender give each instance its own UID"
            )
            others.append(SetAside(one.file.name, reason, uid, one.sop_instance_uid))
    instances = list(unique.values())
    images = [_withdrawn(one.image, withdrawn) for one in instances if one.image is not None]
    return replace(
        _merged(instances),
        modalities=tuple(sorted({one.modality for one in instances if one.modality})),
        images=tuple(sorted(images, key=_image_order)),
        other_instances=tuple(sorted((one.sop_class_uid, one.sop_instance_uid) for one in instances if one.image is None)),
        set_aside=tuple(sorted([*aside, *others], key=lambda one: (one.file, one.reason))),
    )


def _withdrawn(image: Image, withdrawn: dict[str, str]) -> Image:
    why = withdrawn.get(image.sop_instance_uid)
    return replace(image, rejected=why) if why else image


def _image_order(image: Image) -> tuple[int, str, int, str]:
    """Series number, series, instance number, instance; what has no number comes last."""
    last = 1 << 40
    series = last if image.series_number is None else image.series_number
    instance = last if image.instance_number is None else image.instance_number
    return series, image.series_instance_uid, instance, image.sop_instance_uid


def _of_one_patient(uid: str, found: list[Described]) -> tuple[list[Described], list[SetAside]]:
    """The instances of the patient that most of them name (of equals, the first), and the others set aside."""
    patients = [one.study.patient for one in found]
    reference = max(patients, key=lambda patient: sum(not _contradiction(patient, other) for other in patients))
    kept: list[Described] = []
    others: list[SetAside] = []
    for one in found:
        if what := _contradiction(reference, one.study.patient):
            reason = f"it belongs to another {what} than the rest of its study: check the merge at the PACS"
            others.append(SetAside(one.file.name, reason, uid, one.sop_instance_uid))
        else:
            kept.append(one)
    return kept, others


def _contradiction(one: Patient, other: Patient) -> str:
    """In what two identities contradict each other: what one leaves out does not. Names are no identity."""
    if one.patient_id and other.patient_id and one.patient_id != other.patient_id:
        return "patient ID"
    issuers = one.issuer_of_patient_id, other.issuer_of_patient_id
    if all(issuers) and issuers[0] != issuers[1]:
        return "issuer of patient ID"
    births = one.patient_birth_date, other.patient_birth_date
    if all(births) and births[0] != births[1]:
        return "birth date"
    return "sex" if {one.patient_sex, other.patient_sex} == {"M", "F"} else ""


def _merged(instances: list[Described]) -> Study:
    """The study's attributes, each from the first instance that states it."""
    merged = instances[0].study
    patient = merged.patient
    for one in instances[1:]:
        merged = replace(merged, **_missing(merged, one.study))
        patient = replace(patient, **_missing(patient, one.study.patient))
    return replace(merged, patient=patient)


def _missing(known: Study | Patient, other: Study | Patient) -> dict[str, Any]:
    names = (field.name for field in fields(known))
    return {name: getattr(other, name) for name in names if getattr(known, name) in ("", None) and getattr(other, name)}
