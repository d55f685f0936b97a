"""People and their roles, on record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from radpipe.errors import UsageError
from radpipe.report import Role
from radpipe.store import SqlStore, open_store
from tests.store_cases import RADIOLOGIST, RESIDENT, sqlite_url, ticking


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with open_store(sqlite_url(tmp_path), clock=ticking()) as opened:
        yield opened


def test_a_person_is_known_after_being_entered(store: SqlStore) -> None:
    assert store.person("mlindqvist") is None
    assert store.add_person(RADIOLOGIST) is True
    assert store.add_person(RADIOLOGIST) is False
    assert store.person("mlindqvist") == RADIOLOGIST
    assert [(e.actor, e.action, e.object_key) for e in store.audit()] == [("radpipe", "person.added", "mlindqvist")]


def test_a_new_role_is_on_record_with_who_gave_it(store: SqlStore) -> None:
    store.add_person(RESIDENT)
    promoted = replace(RESIDENT, role=Role.RADIOLOGIST)
    assert store.add_person(promoted, by=RADIOLOGIST) is True
    assert store.person(RESIDENT.user) == promoted
    last = list(store.audit())[-1]
    assert (last.actor, last.action) == ("mlindqvist", "person.changed")
    assert last.detail.endswith("role=radiologist")
    assert store.verify() == 2


def test_everyone_is_listed_by_user_name(store: SqlStore) -> None:
    store.add_person(RADIOLOGIST)
    store.add_person(RESIDENT)
    assert store.people() == (RESIDENT, RADIOLOGIST)


def test_a_person_without_a_user_name_is_refused(store: SqlStore) -> None:
    with pytest.raises(UsageError, match="needs a user name"):
        store.add_person(replace(RESIDENT, user=" "))
