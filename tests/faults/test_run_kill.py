"""A run that is killed is gone on with: nothing lost, nothing read twice, the same answers as without the kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_cli import radpipe, records, without_times

pytestmark = pytest.mark.xdist_group("cli")


@pytest.fixture(scope="module")
def undisturbed(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    done = radpipe("run", samples, "--json", "--store", tmp_path_factory.mktemp("undisturbed"), status=3)
    return {record["study_key"]: record for record in without_times(records(done))}


@pytest.mark.parametrize("lines_before_the_kill", [0, 3])
def test_a_killed_run_goes_on_to_the_same_result(
    samples: Path, tmp_path: Path, undisturbed: dict[str, dict[str, Any]], lines_before_the_kill: int
) -> None:
    store = tmp_path / "store"
    command = [sys.executable, "-m", "radpipe", "run", str(samples), "--json", "--store", str(store)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    assert process.stdout is not None
    if lines_before_the_kill:
        for _ in range(lines_before_the_kill):
            assert process.stdout.readline()
    else:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2.0)  # during ingest or start-up
    os.killpg(process.pid, signal.SIGKILL)  # and Prefect's server with it
    process.wait()
    process.stdout.close()

    gone_on = radpipe("run", samples, "--json", "--store", store, status=3)
    by_study = {record["study_key"]: record for record in without_times(records(gone_on))}
    assert by_study == undisturbed
    assert "whole" in radpipe("audit", "verify", "--store", store).stdout
    again = radpipe("run", samples, "--json", "--store", store, status=3)
    assert "Nothing was new" in again.stderr
