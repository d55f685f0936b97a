"""Opening a store: fast, safe for two at once, honest about what it cannot open."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

import radpipe.store.database
from radpipe.errors import StoreError
from radpipe.ports import Store
from radpipe.store import open_store
from radpipe.store.tables import HEAD, metadata
from tests.store_cases import reading, sqlite_url, study

MIGRATIONS = Path(radpipe.store.database.__file__).parent / "migrations"


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(MIGRATIONS.parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_store_is_made_with_its_folders_and_found_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a' / 'b' / 'radpipe.db'}"
    with open_store(url) as store:
        store.add_study(study())
    with open_store(url) as store:
        assert store.study(study().study_key) == study()


def test_it_is_the_port(tmp_path: Path) -> None:
    with open_store(sqlite_url(tmp_path)) as opened:
        store: Store = opened
        assert store.worklist() == ()


def test_the_database_is_for_its_owner_only(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'store' / 'radpipe.db'}"):
        assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "store" / "radpipe.db").stat().st_mode) == 0o600


def test_sqlite_is_set_for_safety(tmp_path: Path) -> None:
    with open_store(sqlite_url(tmp_path)) as store, store._database.read() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_the_head_constant_is_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_the_migrations_make_just_the_tables_of_the_code(tmp_path: Path) -> None:
    open_store(sqlite_url(tmp_path)).close()
    engine = create_engine(sqlite_url(tmp_path))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_opening_a_current_store_is_fast_and_does_without_alembic(tmp_path: Path) -> None:
    open_store(sqlite_url(tmp_path)).close()
    code = (
        "import sys, time, sqlalchemy; from radpipe.store import open_store; open_store; start = time.perf_counter()\n"
        "store = open_store(sys.argv[1]); store.report_states(); print(time.perf_counter() - start)\n"
        "store.close(); assert 'alembic' not in sys.modules"
    )
    seconds = []
    for _ in range(3):
        process = python(code, sqlite_url(tmp_path))
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
        seconds.append(float(out))
    assert min(seconds) < 0.3


def test_importing_the_room_does_not_load_sqlalchemy() -> None:
    process = python("import sys, radpipe.store; assert 'sqlalchemy' not in sys.modules")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out


def test_many_processes_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    start = time.time() + 2.0
    code = (
        "import sys, time, alembic.command; from radpipe.store import open_store; from tests import store_cases\n"
        "open_store; time.sleep(max(0.0, float(sys.argv[2]) - time.time()))\n"
        "with open_store(sys.argv[1]) as store: store.add_study(store_cases.study(int(sys.argv[3])))"
    )
    processes = [python(code, sqlite_url(tmp_path), str(start), str(number)) for number in range(6)]
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out
    with open_store(sqlite_url(tmp_path)) as store:
        assert store.verify() == 6


def test_a_store_of_a_newer_radpipe_is_refused(tmp_path: Path) -> None:
    open_store(sqlite_url(tmp_path)).close()
    with sqlite3.connect(tmp_path / "radpipe.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    connection.close()
    with pytest.raises(StoreError, match=r"made by a newer radpipe \(schema 0999"):
        open_store(sqlite_url(tmp_path))


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "radpipe.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("INSERT INTO alembic_version VALUES ('a205b458d997')")
    connection.close()
    with pytest.raises(StoreError, match="belongs to another program"):
        open_store(sqlite_url(tmp_path))


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    content = b"not a database, but long enough to be looked at " * 40
    (tmp_path / "radpipe.db").write_bytes(content)
    with pytest.raises(StoreError, match="no radpipe store: restore the last backup"):
        open_store(sqlite_url(tmp_path))
    assert (tmp_path / "radpipe.db").read_bytes() == content


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made or written"):
        open_store(f"sqlite:///{tmp_path / 'file' / 'radpipe.db'}")


def test_a_url_that_is_none_and_a_missing_driver_give_one_line() -> None:
    with pytest.raises(StoreError, match="database URL cannot be read"):
        open_store("my database")
    with pytest.raises(StoreError, match="driver for nosuchsql"):
        open_store("nosuchsql://host/database")


def test_an_error_of_the_database_tells_nothing_of_the_patient(tmp_path: Path) -> None:
    with open_store(sqlite_url(tmp_path)) as store:
        with store._database.write() as connection:
            connection.exec_driver_sql("DROP TABLE instances")
        with pytest.raises(StoreError) as caught:
            store.save_reading(reading())
    chain = f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__cause__}"
    assert "instances" in str(caught.value)
    assert "Testperson" not in chain
    assert "PHANTOM" not in chain


def test_what_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    with open_store(sqlite_url(tmp_path)) as store:
        with store._database.write() as connection:
            connection.exec_driver_sql("DROP TABLE findings")
        with pytest.raises(StoreError):
            store.save_reading(reading())
        assert list(store.audit()) == []
        assert store.verify() == 0
