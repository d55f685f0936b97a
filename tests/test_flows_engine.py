"""Prefect is set up before it is imported: its state in our store, telemetry off."""

from __future__ import annotations

import contextlib
import importlib.util
import lzma
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

from flows import engine

ROOT = Path(__file__).resolve().parent.parent


def in_a_process(code: str, **environment: str) -> str:
    hidden = {"DO_NOT_TRACK", "CI"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_") and name not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**kept, **environment}, check=True
    )
    return done.stdout


def test_telemetry_is_off_and_the_state_lies_in_the_store(tmp_path: Path) -> None:
    out = in_a_process(
        "from pathlib import Path\n"
        "from flows import engine\n"
        f"engine.prepare(Path({str(tmp_path)!r}))\n"
        "from prefect.settings import get_current_settings\n"
        "from prefect._internal.analytics.enabled import is_telemetry_enabled\n"
        "settings = get_current_settings()\n"
        "print(is_telemetry_enabled(), settings.server.analytics_enabled, settings.home)\n",
    )
    assert out.split() == ["False", "False", str(tmp_path / "prefect")]
    assert (tmp_path / "prefect" / "prefect.db").stat().st_size > 100_000


def test_a_damaged_prefect_database_is_put_aside(tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    home.mkdir()
    (home / "prefect.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    in_a_process(
        f"from pathlib import Path\nfrom flows import engine\nengine.prepare(Path({str(tmp_path)!r}))\n",
    )
    assert sorted(path.name.split("-")[0] for path in home.iterdir()) == ["damaged", "prefect.db"]


def test_a_site_with_a_prefect_server_of_its_own_keeps_it(tmp_path: Path) -> None:
    out = in_a_process(
        "import os\nfrom pathlib import Path\nfrom flows import engine\n"
        f"engine.prepare(Path({str(tmp_path)!r}))\n"
        "print(os.environ.get('PREFECT_HOME'), os.environ['PREFECT_API_URL'], os.environ['DO_NOT_TRACK'])\n",
        PREFECT_API_URL="http://127.0.0.1:4200/api",
    )
    assert out.split() == ["None", "http://127.0.0.1:4200/api", "1"]


def test_the_database_that_ships_is_that_of_the_prefect_that_we_pin(tmp_path: Path) -> None:
    shipped = engine.template_file()
    assert shipped.exists(), "run `python -m flows.engine` and commit the file"
    database = tmp_path / "prefect.db"
    database.write_bytes(lzma.decompress(shipped.read_bytes()))
    with contextlib.closing(sqlite3.connect(database)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        filled = [name for name in tables if connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]]
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert filled == ["alembic_version"]  # nothing of anybody's machine
    prefect = importlib.util.find_spec("prefect")
    assert prefect is not None
    assert prefect.origin is not None
    migrations = Path(prefect.origin).parent / "server" / "database" / "_migrations" / "versions" / "sqlite"
    texts = [path.read_text() for path in migrations.glob("*.py")]
    made = {found for text in texts for found in re.findall(r'^revision(?:: str)? = "(\w+)"', text, re.MULTILINE)}
    followed = {found for text in texts for found in re.findall(r'^down_revision(?:: str)? = "(\w+)"', text, re.MULTILINE)}
    assert made - followed == {revision}, "run `python -m flows.engine` and commit the file"


def test_two_runs_that_begin_at_once_use_one_database(tmp_path: Path) -> None:
    code = f"from pathlib import Path\nfrom flows import engine\nengine.prepare(Path({str(tmp_path)!r}))\n"
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert [path.name for path in (tmp_path / "prefect").iterdir()] == ["prefect.db"]
