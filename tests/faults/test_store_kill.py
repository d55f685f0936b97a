"""A process that is killed (SIGKILL) loses nothing and doubles nothing, wherever it was.

The tests start this file as a program. It forks one child after the other: the first is killed at the first line that it
runs in `radpipe.store`, the next some lines further, until one lives through. After each death the store is looked at,
the step is repeated, and the store is looked at again. The last test kills a busy process from outside, at any moment.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from radpipe import review
from radpipe.errors import UnknownKey
from radpipe.report import Report
from radpipe.store import Delivery, SqlStore, open_store
from tests.store_cases import RADIOLOGIST, reading, sqlite_url, study, ticking

HERE = Path(__file__).resolve()
ROOM = str(HERE.parents[2] / "radpipe" / "store") + os.sep
AT = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)
MANY = 400  # reports that the busy process signs, if it is let live

Step = Callable[[Path], None]


def draft(number: int = 1) -> Report:
    found = reading(number).report
    assert found is not None
    return found


def deliveries(number: int = 1) -> tuple[Delivery, ...]:
    forms = (("sr", b"\0SR" * 30_000), ("fhir", b'{"resourceType":"Bundle"}'), ("hl7", b"MSH|"))
    return tuple(Delivery("folder", kind, f"{number}.{kind}", content) for kind, content in forms)


def sign_in(store: SqlStore, number: int = 1) -> None:
    signed = review.sign(draft(number), RADIOLOGIST, AT)
    store.save_report(signed, action="sign", by=RADIOLOGIST, deliveries=deliveries(number))


def opened(folder: Path) -> SqlStore:
    return open_store(sqlite_url(folder), clock=ticking())


# -- the steps, and what must hold whatever became of them


def step_open(folder: Path) -> None:
    opened(folder).close()


def step_read(folder: Path) -> None:
    with opened(folder) as store:
        store.add_study(study())
        store.save_reading(reading())


def step_sign(folder: Path) -> None:
    with opened(folder) as store:
        sign_in(store)


def step_deliver(folder: Path) -> None:
    with opened(folder) as store:
        store.deliver_to_folder(folder / "outbox")


def after_open(folder: Path, *, done: bool) -> None:
    if done:
        with opened(folder) as store:
            assert store.verify() == 0


def after_read(folder: Path, *, done: bool) -> None:
    with opened(folder) as store:
        entries = store.verify()
        found = store.reading(reading().run_key)
        assert found is None or found == reading()
        if done:
            assert found == reading()
            assert store.report(draft().report_key) == draft()
            assert entries == 3
        elif found is None:
            assert entries in (0, 1)
            with pytest.raises(UnknownKey):
                store.report(draft().report_key)


def after_sign(folder: Path, *, done: bool) -> None:
    with opened(folder) as store:
        store.verify()
        state = (store.report(draft().report_key).version, len(store.pending()))
        assert state == (2, 3) if done else state in ((1, 0), (2, 3))
        assert [e.action for e in store.audit()].count("sign") == state[0] - 1


def after_deliver(folder: Path, *, done: bool) -> None:
    wanted = {item.name: item.content for item in deliveries()}
    outbox = folder / "outbox"
    visible = [path for path in outbox.glob("*") if not path.name.startswith(".")] if outbox.is_dir() else []
    with opened(folder) as store:
        store.verify()
        assert all(path.read_bytes() == wanted[path.name] for path in visible)
        delivered = [item.name for item in store.deliveries(draft().report_key) if item.delivered_at]
        assert set(delivered) <= {path.name for path in visible}
        recorded = [e for e in store.audit() if e.action == "delivery.delivered"]
        assert len(recorded) == len(delivered) == len(set(delivered))
        if done:
            assert sorted(delivered) == sorted(wanted)
            assert store.pending() == ()


# name: the steps that prepare, the step, the check, lines between two deaths
CASES: dict[str, tuple[tuple[Step, ...], Step, Callable[..., None], int]] = {
    "open": ((), step_open, after_open, 7),
    "read": ((step_open,), step_read, after_read, 29),
    "sign": ((step_read,), step_sign, after_sign, 17),
    "deliver": ((step_read, step_sign), step_deliver, after_deliver, 5),
}


def kill_everywhere(name: str, folder: Path) -> int:
    """How many children died at different lines before one lived through the step."""
    prepare, step, check, stride = CASES[name]
    template = folder / "template"
    template.mkdir()
    for earlier in prepare:
        earlier(template)
    import alembic.command  # noqa: F401  # before forking, so that children need not load it

    line = 1
    while True:
        place = folder / f"{line}"
        shutil.copytree(template, place)
        if not _dies_at(line, step, place):
            check(place, done=True)
            return line // stride
        check(place, done=False)
        step(place)
        check(place, done=True)
        shutil.rmtree(place)
        line += stride


def _dies_at(line: int, step: Step, folder: Path) -> bool:
    child = os.fork()
    if child == 0:
        _trace(line)
        step(folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def _trace(line: int) -> None:
    """Kill this process at its `line`-th line in the store room (not counting the codec, which only computes)."""
    left = line

    def at_line(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return at_line

    def at_call(frame: FrameType, event: str, argument: object) -> Any:
        file = frame.f_code.co_filename
        return at_line if file.startswith(ROOM) and not file.endswith("codec.py") else None

    sys.settrace(at_call)


def be_busy(folder: Path) -> None:
    """Read, sign and deliver until done or killed; safe to start again."""
    with opened(folder) as store:
        for number in range(MANY):
            if store.reading(reading(number).run_key) is None:
                store.save_reading(reading(number))
            if store.report(draft(number).report_key).version == 1:
                sign_in(store, number)
            store.deliver_to_folder(folder / "outbox")


# -- tests


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE), *arguments],
        env=os.environ | {"PYTHONPATH": str(HERE.parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(("case", "deaths"), [("open", 8), ("read", 8), ("sign", 8), ("deliver", 30)])
def test_a_process_killed_at_any_line_neither_loses_nor_doubles(tmp_path: Path, case: str, deaths: int) -> None:
    process = start(case, str(tmp_path))
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert int(out.split()[-1]) >= deaths, out


def test_a_busy_process_killed_at_any_moment_neither_loses_nor_doubles(tmp_path: Path) -> None:
    opened(tmp_path).close()
    moments = random.Random(20260131)
    for _ in range(6):
        process = start("busy", str(tmp_path))
        deadline = time.monotonic() + 60
        before = _entries(tmp_path)
        while _entries(tmp_path) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0.0, 0.3))
        process.kill()
        process.communicate(timeout=60)
    with opened(tmp_path) as store:
        assert store.verify() > 0
        store.deliver_to_folder(tmp_path / "outbox")
        signed = [key for key, (version, _) in store.report_states().items() if version == 2]
        assert len(signed) >= 6
        assert store.pending() == ()
        trail = [(e.action, e.object_key) for e in store.audit()]
        for key in signed:
            assert trail.count(("sign", key)) == 1
            assert trail.count(("delivery.queued", key)) == 3
            assert trail.count(("delivery.delivered", key)) == 3
            for item in store.deliveries(key):
                assert (tmp_path / "outbox" / item.name).read_bytes() == store.content(item.delivery_id)
        visible = [path for path in (tmp_path / "outbox").iterdir() if not path.name.startswith(".")]
        assert len(visible) == 3 * len(signed)


def _entries(folder: Path) -> int:
    with opened(folder) as store:
        return store.head().count


if __name__ == "__main__":
    if sys.argv[1] == "busy":
        be_busy(Path(sys.argv[2]))
    else:
        sys.stdout.write(f"{kill_everywhere(sys.argv[1], Path(sys.argv[2]))}\n")
