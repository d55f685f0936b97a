"""How Prefect is set up before it is imported: its state in our store, telemetry off, a quick first start.

A fresh Prefect database takes some 6 s of migrations on two cores. So an empty one, migrated for the Prefect version that we
pin, ships as `prefect-VERSION.db.xz` beside this module (10 kB) and is unpacked into each new store. With another version
Prefect migrates in the store, which is only slower; `python -m flows.engine` makes the file anew for the version installed.
A site with a Prefect server of its own sets PREFECT_API_URL, and then nothing of this applies but the telemetry.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import lzma
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
}

LOCAL = {
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # what goes wrong is said once, by us
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
}


def prepare(store: Path) -> None:
    """Point Prefect at `store`/prefect. Call before anything imports prefect. What the user has set stays."""
    os.environ.update(TELEMETRY_OFF)
    if os.environ.get("PREFECT_API_URL"):
        return
    for name, value in LOCAL.items():
        os.environ.setdefault(name, value)
    home = store.resolve() / "prefect"
    os.environ["PREFECT_HOME"] = str(home)
    database = home / "prefect.db"
    if database.exists() and not _is_whole(database):
        # it holds no truth of ours: put aside, a fresh one takes its place
        database.replace(database.with_name(f"damaged-{int(time.time())}.db"))
        for rest in ("-wal", "-shm"):
            database.with_name(database.name + rest).unlink(missing_ok=True)
    if not database.exists():
        home.mkdir(parents=True, exist_ok=True)
        template = template_file()
        if template.exists():
            part = home / f".prefect.db.{os.getpid()}"
            part.write_bytes(lzma.decompress(template.read_bytes()))
            with contextlib.suppress(FileExistsError):  # another run was quicker
                os.link(part, database)
            part.unlink()


def _is_whole(database: Path) -> bool:
    """A look at its schema: quick however large it has grown."""
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection:
            return connection.execute("SELECT count(*) FROM sqlite_master").fetchone() is not None
    except sqlite3.DatabaseError as error:
        return "locked" in str(error) or "busy" in str(error)  # in use by another run: not damaged


def template_file() -> Path:
    """Where the empty database of the installed Prefect is, or would be."""
    return Path(__file__).with_name(f"prefect-{importlib.metadata.version('prefect')}.db.xz")


def make_template() -> Path:
    """Migrate an empty database with the installed Prefect and pack it beside this module."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **TELEMETRY_OFF, "PREFECT_HOME": folder}
        command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
        made = Path(folder) / "prefect.db"
        with contextlib.closing(sqlite3.connect(made)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # fold the write-ahead log in: one file is shipped
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("VACUUM")
        template_file().write_bytes(lzma.compress(made.read_bytes(), preset=9))
    return template_file()


if __name__ == "__main__":
    make_template()
