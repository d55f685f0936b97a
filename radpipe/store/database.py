"""Connections and transactions: the engine, SQLite's settings, the schema's revision.

Writes are serialised: `BEGIN IMMEDIATE` on SQLite, a lock on the trail's head row on PostgreSQL. So a transaction that
has begun to write never finds that another one changed what it has just read.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, column, create_engine, event, func, inspect, select, table
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from radpipe.errors import StoreError
from radpipe.store.tables import HEAD, meta

BUSY_TIMEOUT_S = 30.0
"""How long a write waits for another process's write. Our transactions take milliseconds."""

_MIGRATION_LOCK = 7_236_473  # any number: names the PostgreSQL advisory lock that first openings queue for
_VERSION = table("alembic_version", column("version_num"))


class Database:
    """An open database whose schema is current. Safe to share between threads."""

    def __init__(self, url: str) -> None:
        """Open, and create or migrate the schema if needed. Raises StoreError."""
        self.url = _parsed(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            _make_private_file(self.url)
        self._engine = _engine(self.url, is_sqlite=self.is_sqlite)
        self._writer = self._engine.execution_options(radpipe_writes=True)
        # one snapshot a read, so that verify() sees trail and tables of one moment; SQLite's WAL gives that by itself
        self._reader = self._engine if self.is_sqlite else self._engine.execution_options(isolation_level="REPEATABLE READ")
        try:
            self._bring_up_to_date()
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view of the store."""
        with self._translated(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, after all others: it happens wholly, or (error, kill, power cut) not at all."""
        with self._translated(), self._writer.begin() as connection:
            connection.execute(select(meta.c.value).where(meta.c.name == "audit_head").with_for_update())
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        where = self.url.render_as_string(hide_password=True)
        try:
            yield
        except DBAPIError as error:
            raise StoreError(f"the store {where} failed: {_first_line(error.orig)}{_advice(error.orig)}") from error
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise StoreError(f"the store {where} failed: {_first_line(error)}{_advice(error)}") from error
        except UnicodeError as error:
            raise StoreError(f"the store {where} cannot keep text that is not Unicode") from error

    def _bring_up_to_date(self) -> None:
        with self._translated():
            with self._reader.begin() as connection:
                stored = _revision(connection)
            if _is_current(stored, self.url):
                return
            with self._writer.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
                if not _is_current(_revision(connection), self.url):  # another process may have been first
                    _migrate(connection)


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError as error:
        raise StoreError(
            "the database URL cannot be read; write sqlite:////folder/radpipe.db or "
            "postgresql+psycopg://user:password@host/database"
        ) from error


def _engine(url: URL, *, is_sqlite: bool) -> Engine:
    arguments: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S} if is_sqlite else {}
    try:
        # hide_parameters: rows hold patients' data, which must not get into an error's text
        engine = create_engine(url, connect_args=arguments, hide_parameters=True, pool_pre_ping=not is_sqlite)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise StoreError(
            f"the driver for {url.drivername} is not installed; for PostgreSQL: pip install 'psycopg[binary]'"
        ) from error
    if is_sqlite:
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_private_file(url: URL) -> None:
    """The database file holds patients' data: a new folder and file are for their owner only."""
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        return
    path = Path(url.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(f"the store {path} cannot be made or written: {error.strerror}") from error


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin_sqlite`, not by guessing from the SQL
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")  # a signature that was confirmed survives a power cut
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] not in ("wal", "memory"):
            _switch_to_wal(cursor)
    finally:
        cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    # SQLite does not wait for this lock, whatever busy_timeout says, when two processes open a new file at once
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("radpipe_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none()


def _is_current(stored: str | None, url: URL) -> bool:
    """True for our own revision, False for an older one or none. Raises StoreError for a newer or foreign one."""
    where = url.render_as_string(hide_password=True)
    if stored is None:
        return False
    if not stored.isdigit():
        raise StoreError(f"{where} belongs to another program (schema revision {stored}); give radpipe its own database")
    if int(stored) > int(HEAD):
        raise StoreError(
            f"{where} was made by a newer radpipe (schema {stored}; this one knows up to {HEAD}); "
            "install that version, or restore the backup made before the update"
        )
    return stored == HEAD


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _first_line(error: object) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _advice(error: object) -> str:
    text = str(error)
    if "locked" in text:
        return f"; another process has been writing for {BUSY_TIMEOUT_S:.0f} s: see what it does, then try again"
    if "disk is full" in text or "No space" in text:
        return "; free some space and try again: nothing was half written"
    if "not a database" in text or "malformed" in text:
        return "; this file is damaged or is no radpipe store: restore the last backup"
    return ""
