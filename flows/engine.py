"""How Prefect is set up before it is imported: its state in our store, telemetry off, a quick first start.

A fresh Prefect database takes some 6 s of migrations on two cores. `warm_up` (`radpipe doctor --warm-up`, which `make`
runs) makes them once per machine and Prefect version, into a template in the user's cache folder; it is copied into each
new store. Without it Prefect migrates in the store, which is only slower. A site with a Prefect server of its own sets
PREFECT_API_URL, and then nothing of this applies but the telemetry.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
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
            shutil.copyfile(template, part)
            part.replace(database)


def _is_whole(database: Path) -> bool:
    """A look at its schema: quick however large it has grown."""
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection:
            return connection.execute("SELECT count(*) FROM sqlite_master").fetchone() is not None
    except sqlite3.DatabaseError as error:
        return "locked" in str(error) or "busy" in str(error)  # in use by another run: not damaged


def warm_up() -> Path | None:
    """Make the migrated template database if it is not there yet. None where no cache folder can be written."""
    template = template_file()
    if template.exists():
        return template
    try:
        template.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=template.parent) as folder:
            made = _migrated(Path(folder))
            made.replace(template)
    except (OSError, subprocess.SubprocessError, sqlite3.Error):
        return None
    return template


def template_file() -> Path:
    """In $XDG_CACHE_HOME/radpipe, else ~/.cache/radpipe."""
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "radpipe"
    return folder / f"prefect-{importlib.metadata.version('prefect')}.db"


def _migrated(folder: Path) -> Path:
    environment = {**os.environ, **TELEMETRY_OFF, "PREFECT_HOME": str(folder)}
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    made = folder / "prefect.db"
    with sqlite3.connect(made) as connection:  # fold the write-ahead log in: one file is copied
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    return made
