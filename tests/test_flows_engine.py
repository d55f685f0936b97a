"""Prefect is set up before it is imported: its state in our store, telemetry off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
        "engine.warm_up()\n"
        f"engine.prepare(Path({str(tmp_path)!r}))\n"
        "from prefect.settings import get_current_settings\n"
        "from prefect._internal.analytics.enabled import is_telemetry_enabled\n"
        "settings = get_current_settings()\n"
        "print(is_telemetry_enabled(), settings.server.analytics_enabled, settings.home)\n",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    assert out.split() == ["False", "False", str(tmp_path / "prefect")]
    assert (tmp_path / "prefect" / "prefect.db").stat().st_size > 100_000
    assert len(list((tmp_path / "cache" / "radpipe").iterdir())) == 1


def test_a_damaged_prefect_database_is_put_aside(tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    home.mkdir()
    (home / "prefect.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    in_a_process(
        f"from pathlib import Path\nfrom flows import engine\nengine.prepare(Path({str(tmp_path)!r}))\n",
        XDG_CACHE_HOME=str(tmp_path / "no-template"),
    )
    assert [path.name.split("-")[0] for path in home.iterdir()] == ["damaged"]


def test_a_site_with_a_prefect_server_of_its_own_keeps_it(tmp_path: Path) -> None:
    out = in_a_process(
        "import os\nfrom pathlib import Path\nfrom flows import engine\n"
        f"engine.prepare(Path({str(tmp_path)!r}))\n"
        "print(os.environ.get('PREFECT_HOME'), os.environ['PREFECT_API_URL'], os.environ['DO_NOT_TRACK'])\n",
        PREFECT_API_URL="http://127.0.0.1:4200/api",
    )
    assert out.split() == ["None", "http://127.0.0.1:4200/api", "1"]


def test_without_a_writable_cache_it_works_but_slower(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    out = in_a_process(
        "from pathlib import Path\nfrom flows import engine\n"
        f"engine.prepare(Path({str(tmp_path / 'store')!r}))\nprint(engine.warm_up())\n",
        XDG_CACHE_HOME=str(blocked),
    )
    assert out.strip() == "None"
