"""Fixtures shared by all tests."""

from __future__ import annotations

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
