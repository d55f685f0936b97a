"""The manifest: a CSV in which somebody has written down what each image shows.

A header, then a line an image: `file` (DICOM, PNG, JPEG, or a folder or zip of one study; relative to the manifest) and one
column a finding with 1, 0, or nothing where it is not known, under radpipe's names or those of ChestX-ray14. `no_finding`
is the opposite of `abnormal`. Optional: `patient` (what groups images for intervals and thresholds), `sex`, `age` (years, or
as DICOM writes it), `view`, `source`: the figures are also given by these, and by any other column that is asked for.

`reader_normal` = 1 (of the project's own data) says that readers called the image normal whatever its text-mined labels
say. It is believed only when asked: a manifest's findings are its author's word, and nothing overrules them silently.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from radpipe.codes import FINDINGS
from radpipe.errors import UsageError

ALIASES = {
    "effusion": "pleural_effusion",
    "infiltration": "lung_opacity",
    "emphysema": "hyperinflation",
    "fibrosis": "scarring",
    "hernia": "hiatal_hernia",
}
"""ChestX-ray14's names of findings that radpipe calls otherwise (docs/contract.md)."""

NO_FINDING = "no_finding"
READER_NORMAL = "reader_normal"
BANDS = ((18, "under 18 years"), (40, "18 to 39 years"), (65, "40 to 64 years"), (200, "65 years and over"))
"""Upper end (exclusive) and name."""

MOST_VALUES = 20
"""A column with more different values than this makes no subgroups."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says. N images; truth is nan where it is not known. Arrays are read-only."""

    sha256: str
    folder: Path
    files: tuple[str, ...]  # as given
    findings: tuple[str, ...]
    truth: npt.NDArray[np.float64]  # (N, findings)
    patients: npt.NDArray[np.str_]  # (N,)
    has_patients: bool  # else each image is its own
    attributes: tuple[tuple[str, npt.NDArray[np.str_]], ...]  # (column, value of each image; "" where not given)
    reader_normal: int  # images so marked
    readers_believed: bool

    def __len__(self) -> int:
        return len(self.files)

    def path(self, number: int) -> Path:
        """Where image `number` lies."""
        return self.folder / self.files[number]


def read_manifest(
    path: Path, *, by: Collection[str] = (), findings: Collection[str] = (), believe_readers: bool = False
) -> Manifest:
    """`by`: further columns to make subgroups of. `findings`: names beyond radpipe's that a column may have.

    Raises UsageError if there is no column `file`, none of a finding, a column of `by` that is not there or has too many
    values, a file twice, a finding twice, or a truth other than 0, 1 and nothing.
    """
    try:
        content = path.read_bytes()
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        header = [column for column in reader.fieldnames or () if column]
        columns = _finding_columns(header, {*FINDINGS, *findings}, path)
        groups = _group_columns(header, by, path)
        files: list[str] = []
        truth: list[list[float]] = []
        patients: list[str] = []
        values: dict[str, list[str]] = {column: [] for column in groups}
        normal: list[bool] = []
        for row in reader:
            files.append((row["file"] or "").strip())
            truth.append([_truth(row[column], path, column) for column in columns])
            patients.append((row.get("patient") or "").strip() or files[-1])
            normal.append((row.get(READER_NORMAL) or "").strip() == "1")
            for column in groups:
                text = (row.get(column) or "").strip()
                values[column].append(age_band(text) if column == "age" else text)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the manifest {path.name} cannot be read ({error}); give a CSV file with a header") from error
    if not files:
        raise UsageError(f"the manifest {path.name} has a header and no row")
    if len(set(files)) < len(files):
        twice = next(file for number, file in enumerate(files) if file in files[:number])
        raise UsageError(f"the manifest {path.name} names {twice} twice; an image may count once")
    known = np.array(truth, np.float64)
    for number, column in enumerate(columns):
        if column.strip().lower() == NO_FINDING:
            known[:, number] = 1 - known[:, number]
    if believe_readers:
        known[np.array(normal)] = 0.0
    attributes = tuple((column, np.array(values[column])) for column in groups)
    manifest = Manifest(
        sha256=hashlib.sha256(content).hexdigest(),
        folder=path.parent,
        files=tuple(files),
        findings=tuple(columns.values()),
        truth=known,
        patients=np.array(patients),
        has_patients="patient" in header,
        attributes=attributes,
        reader_normal=sum(normal),
        readers_believed=believe_readers,
    )
    for column, array in attributes:
        if column in by and len(set(array)) > MOST_VALUES:
            raise UsageError(f"--by {column} has {len(set(array))} values; a subgroup needs a column of few")
        array.setflags(write=False)
    for numbers in (manifest.truth, manifest.patients):
        numbers.setflags(write=False)
    return manifest


def age_band(text: str) -> str:
    """ "57", "57.5", "057Y" or "006M" as a band of ages; "" for what is no age."""
    found = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*([YMWDymwd]?)", text)
    if not found:
        return ""
    years = float(found[1]) / {"Y": 1.0, "M": 12.0, "W": 52.0, "D": 365.0}[found[2].upper() or "Y"]
    return next((name for end, name in BANDS if years < end), "")


def _finding_columns(header: list[str], known: set[str], path: Path) -> dict[str, str]:
    """Column -> finding."""
    if "file" not in header:
        raise UsageError(f"the manifest {path.name} has no column `file`, or no row; see `radpipe evaluate images --help`")
    columns: dict[str, str] = {}
    for column in header:
        name = column.strip().lower().replace(" ", "_")
        finding = "abnormal" if name == NO_FINDING else ALIASES.get(name, name)
        if finding not in known:
            continue
        if finding in columns.values():
            raise UsageError(f"the manifest {path.name} has two columns of {finding}; keep one")
        columns[column] = finding
    if not columns:
        raise UsageError(f"the manifest {path.name} has no column of a finding, such as pleural_effusion")
    return columns


def _group_columns(header: list[str], by: Collection[str], path: Path) -> list[str]:
    for column in by:
        if column not in header:
            raise UsageError(f"the manifest {path.name} has no column {column!r}; it has {', '.join(header)}")
    return list(dict.fromkeys([*(c for c in ("sex", "age", "view", "source") if c in header), *by]))


def _truth(text: str | None, path: Path, column: str) -> float:
    if text is None or not text.strip():
        return float("nan")
    if text.strip() not in ("0", "1", "0.0", "1.0"):
        raise UsageError(f"the manifest {path.name} has {text!r} in the column {column}; write 0, 1 or nothing")
    return float(text)
