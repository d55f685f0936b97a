"""Other people's tools on our SR: dicom3tools' dciodvfy and DCMTK's dsrdump. Skipped where they are not installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from radpipe.sinks import dicom_sr
from tests.sample_reading import (
    amended,
    not_read,
    not_read_report,
    sample_reading,
    sample_report,
    signed,
    source_headers,
)

REPORTS = {
    "draft": (sample_reading(), sample_report()),
    "final": (sample_reading(), signed(sample_report())),
    "amended": (sample_reading(), amended(signed(sample_report()))),
    "not read": (not_read(), not_read_report()),
}


@pytest.fixture(params=REPORTS)
def document(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    path = tmp_path / "report.dcm"
    path.write_bytes(dicom_sr.render(*REPORTS[request.param], source_headers()))
    return request.param, path


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: dicom3tools, dcmtk)")
    return found


def test_dciodvfy_finds_no_error(document):
    _, path = document
    run = subprocess.run([tool("dciodvfy"), str(path)], capture_output=True, timeout=60, check=False)
    lines = (run.stdout + run.stderr).decode(errors="replace").splitlines()
    assert "ComprehensiveSR" in lines
    assert [line for line in lines if line.startswith(("Error", "Abort"))] == []
    unexpected = [line for line in lines if line.startswith("Warning") and "99RADPIPE" not in line]
    assert unexpected == []


def test_dsrdump_reads_the_whole_tree(document):
    name, path = document
    run = subprocess.run([tool("dsrdump"), "+Pl", str(path)], capture_output=True, timeout=60, check=False)
    text = run.stdout.decode(errors="replace")
    assert run.returncode == 0, run.stderr.decode(errors="replace")
    assert run.stderr == b""
    reading, report = REPORTS[name]
    for sentence in report.sentences:
        assert sentence.text in text
    assert text.count('"Measurement Group"') == len(reading.findings) - (1 if report.corrections else 0)
    verified = "VERIFIED" if report.signed_by else "UNVERIFIED"
    assert f"Verification Flag   : {verified}" in text
