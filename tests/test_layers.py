"""The architecture is a test: who may import whom, how long a file may be, what may not be imported at start."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

VALUES = {"errors", "codes", "study", "finding", "report", "card", "reading", "observation", "reported", "stated",
          "segmenter"}  # fmt: skip
PORTS = {"ports"}
SETTINGS = {"settings"}
STAGES = {
    "dicom", "preprocess", "detect", "compare", "register", "triage", "draft", "review", "record", "settle", "thumbnail",
    "structure", "prior_report", "anatomy", "calibration", "sanity", "volume", "retrieve",
    "examine",
}  # fmt: skip
EDGES = {"sources", "models", "sinks", "store", "language"}
PIPELINE = {"pipeline", "parts", "prepare", "guard"}
COMPOSITION = {"desk", "cli", "__main__", "flows", "demo"}
WORKBENCH = {"train", "evaluate", "samples", "guests"}

MAY_IMPORT = {
    **dict.fromkeys(VALUES, VALUES),
    **dict.fromkeys(SETTINGS, VALUES | SETTINGS),
    **dict.fromkeys(PORTS, VALUES | PORTS),
    **dict.fromkeys(STAGES, VALUES | PORTS | STAGES),
    **{edge: VALUES | PORTS | {edge} for edge in EDGES},
    **dict.fromkeys(PIPELINE, VALUES | PORTS | STAGES | PIPELINE),
    **dict.fromkeys(COMPOSITION, VALUES | PORTS | SETTINGS | STAGES | EDGES | PIPELINE | COMPOSITION | WORKBENCH),
    **dict.fromkeys(WORKBENCH, VALUES | PORTS | STAGES | EDGES | WORKBENCH),
}

HEAVY = {"torch", "monai", "open_clip", "prefect", "highdicom", "fhir", "sqlalchemy", "cv2", "onnxruntime", "torchvision"}
"""Libraries that only one room each may know."""

HOMES = {
    "torch": {"models", "train", "guests"},
    "torchvision": {"models", "train", "guests"},
    "monai": {"models", "train", "guests"},
    "open_clip": {"models", "train", "guests"},
    "onnxruntime": {"models", "train", "guests"},
    "prefect": {"flows"},
    "highdicom": {"sinks"},
    "fhir": {"sinks"},
    "sqlalchemy": {"store"},
    "cv2": {"register", "samples", "train", "anatomy"},
}


def python_files() -> list[Path]:
    return sorted(path for top in ("radpipe", "flows") for path in (ROOT / top).rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "flows" if parts[0] == "flows" else parts[1]


def imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports from the top"
            module = node.module or ""
            yield from (f"{module}.{alias.name}" for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    rooms = set()
    for name in imported_names(path):
        parts = name.split(".")
        if parts[0] == "flows":
            rooms.add("flows")
        elif parts[0] == "radpipe" and len(parts) > 1 and not parts[1].startswith("__"):
            rooms.add(parts[1])
    return rooms


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_the_rooms_that_it_may(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert rooms_imported(path) == set()
        return
    assert room in MAY_IMPORT, f"{room} is in no layer: add it to docs/architecture.md and to this test"
    assert rooms_imported(path) <= MAY_IMPORT[room] | {room}


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_heavy_library_is_known_to_one_room_only(path: Path) -> None:
    heavy = {name.split(".")[0] for name in imported_names(path)} & HEAVY
    for library in heavy:
        assert room_of(path) in HOMES[library], f"{path.name} imports {library}"


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_have_a_name_that_says_something(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= 400
    assert path.stem not in {"utils", "util", "helpers", "common", "misc", "manager", "base"}


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_private_to_a_module_is_imported_by_no_other(path: Path) -> None:
    private = [name for name in imported_names(path) if name.startswith(("radpipe.", "flows.")) and "._" in name]
    assert [name for name in private if not name.endswith("__")] == []


def test_only_the_command_line_and_the_workbench_print() -> None:
    for path in python_files():
        if room_of(path) in {"cli", "train", "evaluate"}:
            continue
        calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        assert not [n for n in calls if isinstance(n.func, ast.Name) and n.func.id == "print"], path


def test_a_blanket_except_stands_in_one_place_only() -> None:
    places = []
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"})
            ):
                places.append(str(path.relative_to(ROOT)))
    assert places == ["radpipe/guard.py"]


def test_help_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys, io, contextlib\n"
        "from radpipe.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main(['--help'])\n"
        "print(sorted(m.split('.')[0] for m in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(re.findall(r"'(\w+)'", done.stdout))
    assert not loaded & (HEAVY | {"numpy", "pydicom", "PIL"})


def test_architecture_document_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {room_of(path) for path in python_files()} - {"__init__", "__main__"}
    missing = {room for room in rooms if not re.search(rf"\b{room}\b", text)}
    assert not missing
