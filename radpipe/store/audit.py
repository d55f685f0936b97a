"""The audit trail: a hash chain, written in the same transaction as what it records.

Each entry's digest is SHA-256 over its fields and the digest before it, as canonical JSON. The number of entries and
the last digest (the head) are kept apart, in `meta`, so that cutting off the end shows; a site that writes the head
down elsewhere is safe from someone who rewrites both.

The trail holds keys, user names and counts; no patient data. Where an entry records a document it starts its detail
with the document's SHA-256, so that a change of the document shows too (see `verify`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select, update

from radpipe.errors import AuditBroken, UsageError
from radpipe.report import AuditEntry
from radpipe.store.codec import canonical, sha256, storable
from radpipe.store.tables import audit, meta

START = "0" * 64
"""The digest before the first entry."""

MACHINE = "radpipe"
"""The actor of what no person did."""

_HEAD_ROW = "audit_head"
_PAGE = 1000
_DOCUMENTS = "study|reading|reported|report|person|delivery"
_RECORDED = re.compile(rf"({_DOCUMENTS})((?: \w+=\S+)*) sha256=([0-9a-f]{{64}})(?:; .*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AuditHead:
    """How long the trail is and its last digest. `str()` and `parse` give and take "count:digest" to write down."""

    count: int
    digest: str

    def __str__(self) -> str:
        return f"{self.count}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> AuditHead:
        """From "count:digest". Raises UsageError."""
        count, _, digest = text.strip().partition(":")
        if not (count.isdigit() and re.fullmatch(r"[0-9a-f]{64}", digest)):
            raise UsageError("the head of an audit trail is written COUNT:DIGEST, as `radpipe audit verify` prints it")
        return cls(int(count), digest)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What an entry says of a document: which one, and its SHA-256."""

    subject: str
    sha256: str


def subject(kind: str, key: str, parts: Mapping[str, object] | None = None) -> str:
    """The name of a document in the trail: "report 3fa1 version=2"."""
    return f"{kind} {key}" + "".join(f" {name}={part}" for name, part in (parts or {}).items())


def detail_of(kind: str, digest: str, detail: str = "", *, parts: Mapping[str, object] | None = None) -> str:
    """An entry's detail that records a document; `recorded` reads it back."""
    keys = "".join(f" {name}={part}" for name, part in (parts or {}).items())
    return f"{kind}{keys} sha256={digest}" + (f"; {detail}" if detail else "")


def recorded(entry: AuditEntry) -> Recorded | None:
    """The document that an entry records, or None."""
    match = _RECORDED.fullmatch(entry.detail)
    return Recorded(f"{match[1]} {entry.object_key}{match[2]}", match[3]) if match else None


def append(connection: Connection, *, at: datetime, actor: str, action: str, object_key: str, detail: str) -> int:
    """Add an entry within a write transaction; its sequence number."""
    last = head(connection)
    fields = {
        "sequence": last.count + 1,
        "at": at.astimezone(UTC),
        "actor": storable(actor),
        "action": storable(action),
        "object_key": storable(object_key),
        "detail": storable(detail),
        "previous_digest": last.digest,
    }
    entry = AuditEntry(**fields, digest="")  # type: ignore[arg-type]  # one value a field, named
    digest = digest_of(entry)
    connection.execute(insert(audit).values(**fields, digest=digest))
    new_head = str(AuditHead(entry.sequence, digest))
    connection.execute(update(meta).where(meta.c.name == _HEAD_ROW).values(value=new_head))
    return entry.sequence


def digest_of(entry: AuditEntry) -> str:
    """SHA-256 over the entry's fields and the digest before it."""
    at = entry.at.astimezone(UTC).isoformat(timespec="microseconds")
    return sha256(
        canonical([entry.sequence, at, entry.actor, entry.action, entry.object_key, entry.detail, entry.previous_digest])
    )


def head(connection: Connection) -> AuditHead:
    """The head as kept in `meta`. Raises AuditBroken if it is gone."""
    stored = connection.execute(select(meta.c.value).where(meta.c.name == _HEAD_ROW)).scalar_one_or_none()
    try:
        return AuditHead.parse(stored or "")
    except UsageError:
        raise AuditBroken("the audit trail's head is gone from the table meta; restore a backup") from None


def entries(connection: Connection, after: int = 0, limit: int | None = _PAGE) -> Iterator[AuditEntry]:
    """Entries with a higher sequence than `after`, oldest first."""
    query = select(audit).where(audit.c.sequence > after).order_by(audit.c.sequence)
    for row in connection.execute(query if limit is None else query.limit(limit)):
        yield AuditEntry(*row)


def verify_chain(connection: Connection, expected: AuditHead | None) -> Iterator[AuditEntry]:
    """Every entry, once proven to follow from the one before. Raises AuditBroken naming the first that does not."""
    count, digest = 0, START
    expected_digest = START if expected is not None and expected.count == 0 else ""
    for entry in entries(connection, after=-(2**31), limit=None):
        if entry.sequence != count + 1:
            raise AuditBroken(_gap(count + 1, entry.sequence))
        if entry.previous_digest != digest:
            raise AuditBroken(
                f"the audit trail is broken at entry {entry.sequence}: it does not follow from the entry before it "
                "(inserted, removed or moved)"
            )
        if entry.digest != digest_of(entry):
            raise AuditBroken(f"the audit trail is broken at entry {entry.sequence}: it was changed")
        count, digest = entry.sequence, entry.digest
        if expected is not None and count == expected.count:
            expected_digest = digest
        yield entry
    kept = head(connection)
    if kept.count > count:
        raise AuditBroken(f"the audit trail is broken at entry {count + 1}: it and all after it, to {kept.count}, are gone")
    if kept != AuditHead(count, digest):
        first = min(count, kept.count + 1) or 1
        raise AuditBroken(f"the audit trail is broken at entry {first}: it is not the one that the kept head names")
    if expected is not None and expected.digest != expected_digest:
        what = f"it is gone ({count} entries are left)" if expected.count > count else "it is not the one written down"
        raise AuditBroken(f"the audit trail is broken at or before entry {expected.count}: {what}")


def _gap(wanted: int, found: int) -> str:
    if found < wanted:
        return f"the audit trail is broken at entry {found}: it was inserted"
    return f"the audit trail is broken at entry {wanted}: it is gone (the next one is {found})"
