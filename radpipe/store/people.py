"""Named users and their roles: who may correct and sign."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from radpipe.errors import UsageError
from radpipe.report import Person
from radpipe.store import audit, codec
from radpipe.store.tables import people


def add(connection: Connection, person: Person, *, by: str, at: datetime) -> bool:
    """Enter a person, or change name, role or organisation. False if nothing changed."""
    if not person.user.strip():
        raise UsageError("a person needs a user name")
    document = codec.encode(person)
    this = people.c.user == person.user
    stored = connection.execute(select(people.c.document).where(this)).scalar_one_or_none()
    if stored == document:
        return False
    audit.append(
        connection,
        at=at,
        actor=by,
        action="person.added" if stored is None else "person.changed",
        object_key=person.user,
        detail=audit.detail_of("person", codec.sha256(document), f"role={person.role.value}"),
    )
    values = {"role": person.role.value, "document": document, "saved_at": at}
    if stored is None:
        connection.execute(insert(people).values(user=person.user, **values))
    else:
        connection.execute(update(people).where(this).values(**values))
    return True


def get(connection: Connection, user: str) -> Person | None:
    """The person of this user name, or None."""
    document = connection.execute(select(people.c.document).where(people.c.user == user)).scalar_one_or_none()
    return None if document is None else codec.decode(Person, document)


def everyone(connection: Connection) -> tuple[Person, ...]:
    """All people, by user name."""
    documents = connection.execute(select(people.c.document).order_by(people.c.user)).scalars()
    return tuple(codec.decode(Person, document) for document in documents)
