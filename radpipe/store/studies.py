"""Studies, their instances, and files that were set aside: what has arrived.

A study grows: what a later association, folder or re-send brings is added to what is there, and an instance that comes
again with other bytes replaces the one before (both stay in `instances`). Two patients are never mixed: when the same
StudyInstanceUID comes back for someone else, the study becomes what came last, and the trail says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, insert, select, update

from radpipe.errors import UnknownKey
from radpipe.store import audit, codec
from radpipe.store.tables import instances, set_aside, studies
from radpipe.study import Patient, SetAside, Study, study_key

Record = TypeVar("Record", Study, Patient)
_CHUNK = 500  # keys in one IN (...): SQLite allows 32,766 parameters, PostgreSQL as many


def add(connection: Connection, found: Study, at: datetime) -> bool:
    """Enter a study, or add to it. False when that changed nothing but where its files are."""
    keep_set_aside(connection, found.set_aside, at)
    row = connection.execute(select(studies).where(studies.c.study_key == found.study_key)).one_or_none()
    if row is None:
        _record(connection, "study.added", found, at, arrives=True)
        return True
    stored = codec.decode(Study, row.document)
    same_person = not _contradict(stored.patient, found.patient)
    study = merged(stored, found) if same_person else found
    document = codec.encode(study)
    if content_digest(document) == content_digest(row.document):
        if document != row.document:
            connection.execute(
                update(studies).where(studies.c.study_key == study.study_key).values(document=document, updated_at=at)
            )
            _keep_instances(connection, found, at)
        return False
    _record(connection, "study.updated" if same_person else "study.patient_changed", study, at, arrives=False)
    return True


def unread(connection: Connection) -> tuple[tuple[Study, datetime], ...]:
    """Studies without a reading, in order of arrival."""
    query = select(studies.c.document, studies.c.arrived_at).where(studies.c.newest_run_key.is_(None))
    rows = connection.execute(query.order_by(studies.c.arrival))
    return tuple((codec.decode(Study, row.document), row.arrived_at) for row in rows)


def get(connection: Connection, key: str) -> Study:
    """The study of this key. Raises UnknownKey."""
    document = connection.execute(select(studies.c.document).where(studies.c.study_key == key)).scalar_one_or_none()
    if document is None:
        raise UnknownKey(f"no study has the key {key}; `radpipe worklist` shows the keys there are")
    return codec.decode(Study, document)


def of_patient(connection: Connection, patient: Patient, before: Study) -> tuple[Study, ...]:
    """Studies that surely are this patient's and surely are earlier than `before`; the latest first."""
    key = patient_key(patient)
    if key is None or before.study_date is None:
        return ()
    query = select(studies.c.document).where(
        studies.c.patient_key == key,
        studies.c.study_date <= before.study_date,
        studies.c.study_key != before.study_key,
    )
    candidates = [codec.decode(Study, document) for document in connection.execute(query).scalars()]
    earlier = [study for study in candidates if same_patient(study.patient, patient) and _is_earlier(study, before)]
    return tuple(sorted(earlier, key=_when, reverse=True))


def same_patient(one: Patient, other: Patient) -> bool:
    """Same PatientID and issuer, and neither birth date nor sex contradict. An empty PatientID is nobody's."""
    return patient_key(one) is not None and patient_key(one) == patient_key(other) and not _contradict(one, other)


def patient_key(patient: Patient) -> str | None:
    """SHA-256 of PatientID and issuer without padding (PS3.5 6.2, LO: leading and trailing spaces mean nothing); None
    without a PatientID."""
    if not patient.patient_id.strip():
        return None
    return codec.sha256(codec.canonical([patient.patient_id.strip(), patient.issuer_of_patient_id.strip()]))


def by_accession_number(connection: Connection) -> dict[str, tuple[str, ...]]:
    """The UIDs of all studies that have an accession number, by it: one pass over the documents."""
    found: dict[str, list[str]] = {}
    query = select(studies.c.study_instance_uid, studies.c.document).order_by(studies.c.arrival)
    for uid, document in connection.execution_options(yield_per=500).execute(query):
        if number := json.loads(document).get("accession_number"):
            found.setdefault(number, []).append(uid)
    return {number: tuple(uids) for number, uids in found.items()}


def has_patient(connection: Connection, patient: Patient) -> bool:
    """True if a study of this PatientID and issuer is here."""
    key = patient_key(patient)
    query = select(studies.c.study_key).where(studies.c.patient_key == key).limit(1)
    return key is not None and connection.execute(query).first() is not None


def merged(stored: Study, found: Study) -> Study:
    """Both together: instances of both, newer bytes for the same UID, attributes of the newer where it has any."""
    images = {image.sop_instance_uid: image for image in (*stored.images, *found.images)}
    mended = {image.sop_instance_uid for image in found.images} | {image.file.name for image in found.images}
    now = {_aside_identity(item) for item in found.set_aside}
    before = tuple(
        item
        for item in stored.set_aside
        if _aside_identity(item) not in now and not {item.sop_instance_uid, item.file} & mended
    )
    return replace(
        _newer_where_known(stored, found),
        patient=_newer_where_known(stored.patient, found.patient),
        modalities=tuple(dict.fromkeys((*stored.modalities, *found.modalities))),
        images=tuple(images.values()),
        other_instances=tuple(dict.fromkeys((*stored.other_instances, *found.other_instances))),
        set_aside=(*before, *found.set_aside),  # without what was set aside before and could be read now
    )


def content_digest(document: str) -> str:
    """SHA-256 of a study's document without where its files are: a study that was moved is the same study."""
    study = json.loads(document)
    for image in study.get("images", ()):
        image.pop("file", None)
    for item in study.get("set_aside", ()):
        item["file"] = _file_name(item["file"])
    return codec.sha256(codec.canonical(study))


def keep_set_aside(connection: Connection, items: Iterable[SetAside], at: datetime) -> tuple[str, ...]:
    """Keep files that were not used; the keys of those that were not known yet."""
    documents = {codec.sha256(document): document for document in (codec.encode(item) for item in items)}
    keys = list(documents)
    for start in range(0, len(keys), _CHUNK):
        known = select(set_aside.c.item_key).where(set_aside.c.item_key.in_(keys[start : start + _CHUNK]))
        for key in connection.execute(known).scalars():
            del documents[key]
    rows = [
        {
            "item_key": key,
            "study_key": study_key(item.study_instance_uid) if item.study_instance_uid else None,
            "document": document,
            "seen_at": at,
            "position": position,
        }
        for position, (key, document) in enumerate(documents.items())
        for item in [codec.decode(SetAside, document)]
    ]
    if rows:
        connection.execute(insert(set_aside), rows)
    return tuple(documents)


def all_set_aside(connection: Connection) -> tuple[SetAside, ...]:
    """Everything that was set aside, oldest first."""
    query = select(set_aside.c.document).order_by(set_aside.c.seen_at, set_aside.c.position)
    return tuple(codec.decode(SetAside, document) for document in connection.execute(query).scalars())


def _record(connection: Connection, action: str, study: Study, at: datetime, *, arrives: bool) -> None:
    document = codec.encode(study)
    counts = f"images={len(study.images)} other={len(study.other_instances)} set_aside={len(study.set_aside)}"
    sequence = audit.append(
        connection,
        at=at,
        actor=audit.MACHINE,
        action=action,
        object_key=study.study_key,
        detail=audit.detail_of("study", content_digest(document), counts),
    )
    values = {
        "patient_key": patient_key(study.patient),
        "study_date": study.study_date,
        "content_key": study.content_key,
        "document": document,
        "updated_at": at,
    }
    if arrives:
        key = {"study_key": study.study_key, "study_instance_uid": codec.storable(study.study_instance_uid)}
        connection.execute(insert(studies).values(**key, **values, arrived_at=at, arrival=sequence))
    else:
        connection.execute(update(studies).where(studies.c.study_key == study.study_key).values(**values))
    _keep_instances(connection, study, at)


def _keep_instances(connection: Connection, study: Study, at: datetime) -> None:
    of_study = instances.c.study_key == study.study_key
    known: dict[tuple[str, str], Row[Any]] = {
        (row.sop_instance_uid, row.sha256): row for row in connection.execute(select(instances).where(of_study))
    }
    found = [
        (
            codec.storable(image.sop_instance_uid),
            image.sha256,
            codec.storable(image.sop_class_uid),
            True,
            codec.storable(image.file.name),
        )
        for image in study.images
    ]
    found += [
        (codec.storable(uid), "", codec.storable(sop_class_uid), False, "") for sop_class_uid, uid in study.other_instances
    ]
    fresh = {}
    for uid, digest, sop_class_uid, is_image, file in found:
        values = {"sop_class_uid": sop_class_uid, "is_image": is_image, "file": file, "seen_at": at}
        row = known.get((uid, digest))
        if row is None:
            fresh[uid, digest] = {"study_key": study.study_key, "sop_instance_uid": uid, "sha256": digest, **values}
        elif row.file != file:
            this = (instances.c.sop_instance_uid == uid) & (instances.c.sha256 == digest)
            connection.execute(update(instances).where(of_study, this).values(**values))
    if fresh:
        connection.execute(insert(instances), list(fresh.values()))


def _contradict(one: Patient, other: Patient) -> bool:
    pairs = (
        (one.patient_id.strip(), other.patient_id.strip()),
        (one.issuer_of_patient_id.strip(), other.issuer_of_patient_id.strip()),
        (one.patient_birth_date, other.patient_birth_date),
        (one.patient_sex, other.patient_sex),
    )
    return any(mine and theirs and mine != theirs for mine, theirs in pairs)


def _is_earlier(study: Study, before: Study) -> bool:
    if study.study_date is None or before.study_date is None:
        return False
    if study.study_date != before.study_date:
        return study.study_date < before.study_date
    return study.study_time is not None and before.study_time is not None and study.study_time < before.study_time


def _when(study: Study) -> tuple[str, str, str]:
    return str(study.study_date), str(study.study_time or ""), study.study_instance_uid


def _newer_where_known(stored: Record, found: Record) -> Record:
    known = {field.name: getattr(found, field.name) for field in fields(found)}
    return replace(stored, **{name: value for name, value in known.items() if value})


def _aside_identity(item: SetAside) -> tuple[str | None, str, str]:
    return item.sop_instance_uid, _file_name(item.file), item.reason


def _file_name(file: str) -> str:
    return file.replace("\\", "/").rsplit("/", 1)[-1]
