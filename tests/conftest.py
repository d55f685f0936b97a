"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """`../shared`: data that may not be copied into the project. Absent on a user's machine: the test skips."""
    path = ROOT.parent / "shared"
    if not (path / "dicom").is_dir():
        pytest.skip("../shared is absent: this test reads data that may not be redistributed")
    return path


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample studies, written once for all test processes. Read only."""
    from radpipe.samples import write_samples

    base = tmp_path_factory.getbasetemp()
    shared_base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder, lock = shared_base / "sample_dicoms", shared_base / "sample_dicoms.lock"
    try:
        lock.mkdir()
    except FileExistsError:
        deadline = time.monotonic() + 300
        while not (folder / "done").exists():
            assert time.monotonic() < deadline, "the process that writes the samples died"
            time.sleep(0.2)
    else:
        write_samples(folder)
        (folder / "done").mkdir()
    return folder


@pytest.fixture
def process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`main` sets up its process: what it sets is put back, and the settings of whoever runs the tests do not count."""
    for name in [name for name in os.environ if name.startswith("RADPIPE_")]:
        monkeypatch.delenv(name)
    mask = os.umask(0o022)
    handler, level = signal.getsignal(signal.SIGTERM), logging.getLogger("pydicom").level
    yield
    os.umask(mask)
    signal.signal(signal.SIGTERM, handler)
    logging.getLogger("pydicom").setLevel(level)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where CI runs, a test that skips for want of a package or tool is a fault of CI's set-up: say so loudly."""
    if os.environ.get("CI_NO_SKIPS") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("CI tolerates no skip: install what the skipped tests lack", red=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn skips into a failure in CI (on the controller, where the reports are)."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI_NO_SKIPS") and reporter is not None and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = 1
