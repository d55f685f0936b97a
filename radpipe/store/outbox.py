"""The outbox: what a signature sends out, queued in the transaction of the signature, delivered afterwards.

A delivery is one (report, version, destination, kind); the first content queued for it is the one that is sent, and
its name is its own at its destination. Delivering to a folder is safe to repeat and to interrupt: a file appears whole
under its name or not at all, and one that is there already with the same bytes counts as delivered.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, insert, select, update

from radpipe.errors import AuditBroken, StoreError, UnknownKey, UsageError
from radpipe.store import audit, codec
from radpipe.store.tables import outbox, reports

FOLDER = "folder"
"""The destination that `SqlStore.deliver_to_folder` serves."""

STALE_PART_S = 3600.0
"""A temporary file this old was left by a process that died: a delivery takes well under a minute."""

_TOKEN = re.compile(r"[\w.:/@+-]{1,64}", re.ASCII)
_NAME = re.compile(r"\w[\w.+-]{0,199}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One form of a report for one destination. `name` is a plain file name, without anything of the patient's."""

    destination: str  # "folder", or what a sender of its own looks for with `pending`
    kind: str  # "sr", "fhir", ...: the form
    name: str
    content: bytes

    def __post_init__(self) -> None:
        if not (_TOKEN.fullmatch(self.destination) and _TOKEN.fullmatch(self.kind)):
            raise UsageError("destination and kind of a delivery are short words without blanks")
        if not _NAME.fullmatch(self.name):
            raise UsageError("the name of a delivery is a plain file name: letters, digits, . _ + -, at most 200")


@dataclass(frozen=True, slots=True)
class Queued:
    """A delivery in the outbox; `SqlStore.content` has its bytes."""

    delivery_id: int
    report_key: str
    version: int
    destination: str
    kind: str
    name: str
    sha256: str
    queued_at: datetime
    delivered_at: datetime | None
    attempts: int
    last_error: str


_QUEUED = [outbox.c[name] for name in Queued.__dataclass_fields__]


def enqueue(connection: Connection, report_key: str, version: int, delivery: Delivery, *, by: str, at: datetime) -> bool:
    """Queue a delivery of this report's version. False if it was queued before."""
    of_report = (reports.c.report_key == report_key) & (reports.c.version == version)
    if connection.execute(select(reports.c.version).where(of_report)).first() is None:
        raise UnknownKey(f"no report has the key {report_key} in version {version}: nothing can be delivered of it")
    this = (
        (outbox.c.report_key == report_key)
        & (outbox.c.version == version)
        & (outbox.c.destination == delivery.destination)
        & (outbox.c.kind == delivery.kind)
    )
    if connection.execute(select(outbox.c.delivery_id).where(this)).first() is not None:
        return False
    namesake = (outbox.c.destination == delivery.destination) & (outbox.c.name == delivery.name)
    if connection.execute(select(outbox.c.delivery_id).where(namesake)).first() is not None:
        raise StoreError(
            f"{delivery.name} is the name of another delivery to {delivery.destination}; "
            "put the report key and the version into the name"
        )
    digest = codec.sha256(delivery.content)
    keys = {"version": version, "destination": delivery.destination, "kind": delivery.kind}
    audit.append(
        connection,
        at=at,
        actor=by,
        action="delivery.queued",
        object_key=report_key,
        detail=audit.detail_of("delivery", digest, parts=keys),
    )
    connection.execute(
        insert(outbox).values(
            report_key=report_key,
            name=delivery.name,
            content=delivery.content,
            sha256=digest,
            queued_at=at,
            delivered_at=None,
            attempts=0,
            last_error="",
            **keys,
        )
    )
    return True


def queued(connection: Connection, *, destination: str | None = None, undelivered: bool = True) -> tuple[Queued, ...]:
    """Deliveries, oldest first."""
    query = select(*_QUEUED).order_by(outbox.c.delivery_id)
    if destination is not None:
        query = query.where(outbox.c.destination == destination)
    if undelivered:
        query = query.where(outbox.c.delivered_at.is_(None))
    return tuple(Queued(*row) for row in connection.execute(query))


def content(connection: Connection, delivery_id: int) -> bytes:
    """The bytes to deliver. Raises UnknownKey; AuditBroken if they are not the ones that were queued."""
    query = select(outbox.c.content, outbox.c.sha256).where(outbox.c.delivery_id == delivery_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UnknownKey(f"the outbox has no delivery {delivery_id}")
    if codec.sha256(bytes(row.content)) != row.sha256:
        raise AuditBroken(f"the content of delivery {delivery_id} was changed in the outbox; it is not sent")
    return bytes(row.content)


def mark_delivered(connection: Connection, delivery_id: int, *, at: datetime, detail: str = "") -> bool:
    """Record that the destination has it. False if that was recorded before."""
    waiting = (outbox.c.delivery_id == delivery_id) & outbox.c.delivered_at.is_(None)
    row = connection.execute(select(*_QUEUED).where(waiting)).one_or_none()
    if row is None:
        return False
    values = {"delivered_at": at, "attempts": row.attempts + 1, "last_error": ""}
    connection.execute(update(outbox).where(waiting).values(**values))
    said = f"version={row.version} destination={row.destination} kind={row.kind}" + (f"; {detail}" if detail else "")
    audit.append(connection, at=at, actor=audit.MACHINE, action="delivery.delivered", object_key=row.report_key, detail=said)
    return True


def mark_failed(connection: Connection, delivery_id: int, why: str) -> None:
    """Count an attempt that failed; the delivery stays queued."""
    waiting = (outbox.c.delivery_id == delivery_id) & outbox.c.delivered_at.is_(None)
    connection.execute(update(outbox).where(waiting).values(attempts=outbox.c.attempts + 1, last_error=why))


def place(folder: Path, name: str, content: bytes) -> Path:
    """Write a file so that it is there whole and for good, or not at all.

    Raises FileExistsError if another file has the name, OSError if it cannot be written.
    """
    target = folder / name
    if _holds(target, content):
        _sync(folder)  # whoever put it there may have died before this
        return target
    part = folder / f".{name}.{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        with part.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if not _holds(target, content):  # another process may have placed it meanwhile: the same bytes, so no harm
            part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    _sync(folder)
    return target


def clear_parts(folder: Path) -> None:
    """Remove temporary files that died with their process."""
    for part in folder.glob(".*.part"):
        try:
            if time.time() - part.stat().st_mtime > STALE_PART_S:
                part.unlink()
        except FileNotFoundError:
            continue  # another process was first


def _holds(target: Path, content: bytes) -> bool:
    try:
        present = target.read_bytes()
    except FileNotFoundError:
        return False
    if present != content:
        raise FileExistsError(f"{target.name} is there with other content; move it away")
    return True


def _sync(folder: Path) -> None:
    """Make the folder's entries durable, where the system lets a folder be opened (not on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
