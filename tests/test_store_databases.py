"""The store is the same on every database: SQLite always, PostgreSQL too where a server is given for it.

TEST_POSTGRES_URL=postgresql+psycopg://user@host/database    needs the driver psycopg; this database is emptied
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from radpipe import review
from radpipe.errors import AuditBroken, StoreError
from radpipe.store import Delivery, open_store
from radpipe.store.tables import metadata
from radpipe.study import SetAside
from tests.store_cases import RADIOLOGIST, reading, sqlite_url, study, ticking

AT = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)


POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "")


@pytest.fixture(params=["sqlite", "postgresql"] if POSTGRES_URL else ["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield sqlite_url(tmp_path)
        return
    engine = create_engine(POSTGRES_URL)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    yield POSTGRES_URL


def test_the_whole_way_of_a_report(url: str, tmp_path: Path) -> None:
    first, draft = reading(), reading().report
    assert draft is not None
    with open_store(url, clock=ticking()) as store:
        store.add_person(RADIOLOGIST)
        assert store.add_study(first.study)
        assert not store.add_study(first.study)
        store.save_set_aside([SetAside(b"R\xf6ntgen.dcm".decode("utf-8", "surrogateescape"), "a\0b")])
        store.save_reading(first)
        store.save_reading(first)
        signed = review.sign(review.accept(draft, "pleural_effusion", RADIOLOGIST, AT), RADIOLOGIST, AT)
        store.save_report(
            review.accept(draft, "pleural_effusion", RADIOLOGIST, AT), action="accept", by=RADIOLOGIST, detail="a\0b"
        )
        store.save_report(signed, action="sign", by=RADIOLOGIST, deliveries=[Delivery("folder", "sr", "1.dcm", b"\0SR")])
        assert store.deliver_to_folder(tmp_path / "outbox") == 1
        assert (tmp_path / "outbox" / "1.dcm").read_bytes() == b"\0SR"
    with open_store(url, clock=ticking()) as store:
        assert store.report(signed.report_key) == signed
        assert store.report_key(first.study.study_key[:6]) == signed.report_key
        ((again, arrived_at),) = store.worklist()
        assert again == first
        assert arrived_at.utcoffset() == AT.utcoffset()
        assert store.worklist_rows()[0].report_version == 3
        assert store.patient_studies(first.study.patient, before=study(2, patient_id="PHANTOM-1")) == ()
        assert store.verify(store.head()) == 9
        with store._database.write() as connection:
            connection.execute(text("UPDATE reports SET document = replace(document, 'pleural', 'plural')"))
        with pytest.raises(AuditBroken, match="version=1 is not what entry"):
            store.verify()


def test_the_migrations_make_just_the_tables_of_the_code(url: str) -> None:
    open_store(url).close()
    engine = create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_many_may_open_a_new_store_and_write_at_once(url: str) -> None:
    failures: list[Exception] = []

    def enter(first: int) -> None:
        try:
            with open_store(url) as store:
                for number in range(first, first + 10):
                    store.save_reading(reading(number))
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=enter, args=(first,)) for first in range(0, 60, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with open_store(url) as store:
        assert store.verify() == 180
        assert len(store.worklist()) == 60
