"""A DICOMDIR (PS3.3 Annex F): the files that it names, found beside it whatever the case of their names."""

from __future__ import annotations

import logging
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError

from radpipe.study import FileRef, SetAside

_DAMAGED = (
    InvalidDicomError, BytesLengthException, OSError, ValueError, TypeError, AttributeError, LookupError, EOFError,
    NotImplementedError, RecursionError, struct.error,
)  # fmt: skip


def referenced_files(path: Path) -> list[FileRef | SetAside]:
    """The files that the DICOMDIR at `path` names, sorted, each once; what is missing or outside is set aside."""
    quiet = logging.getLogger("pydicom")
    level = quiet.level
    try:
        quiet.setLevel(logging.CRITICAL + 1)  # its messages quote values
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            named = list(_named(dcmread(path, force=True)))
    except _DAMAGED:
        return [SetAside(str(path), "a damaged DICOMDIR: give the folder that its files are in instead")]
    finally:
        quiet.setLevel(level)
    if not named:
        return [SetAside(str(path), "a DICOMDIR that names no file: give the folder that its files are in instead")]
    found: dict[str, FileRef | SetAside] = {}
    for parts, study_uid, sop_uid in named:
        name = str(path.parent.joinpath(*parts))
        file = _beside(path.parent, parts)
        if any(part in ("..", ".", "") or "/" in part for part in parts):
            reason = "its DICOMDIR names a file outside the folder: give the file itself if you trust it"
            found[name] = SetAside(name, reason, study_uid, sop_uid)
        elif file is None:
            reason = "named by the DICOMDIR but not there: copy the whole disc, or have it sent again"
            found[name] = SetAside(name, reason, study_uid, sop_uid)
        else:
            found[str(file)] = FileRef(file)
    return [found[name] for name in sorted(found)]


def _named(index: Any) -> Iterator[tuple[list[str], str | None, str | None]]:
    """(path's parts, StudyInstanceUID, SOPInstanceUID) of each record that names a file.

    Records of one study follow its STUDY record, by offset (PS3.3 F.3.2.2); where offsets are out of order, the study
    is not said.
    """
    records = list(getattr(index, "DirectoryRecordSequence", None) or [])
    studies = _study_of_each(records)
    for number, record in enumerate(records):
        reference = record.get("ReferencedFileID")
        if not reference:
            continue
        parts = [reference] if isinstance(reference, str) else [str(part) for part in reference]
        sop_uid = record.get("ReferencedSOPInstanceUIDInFile")
        yield parts, studies.get(number), str(sop_uid) if sop_uid else None


def _study_of_each(records: list[Any]) -> dict[int, str]:
    """By number of the record, the StudyInstanceUID of the study it is in: down and along the records' offsets."""
    number_at = {int(getattr(record, "seq_item_tell", -1) or -1): number for number, record in enumerate(records)}
    result: dict[int, str] = {}

    def chain(offset: int) -> Iterator[int]:
        seen: set[int] = set()
        while offset in number_at and offset not in seen:
            seen.add(offset)
            yield number_at[offset]
            offset = int(records[number_at[offset]].get("OffsetOfTheNextDirectoryRecord") or 0)

    def lower(number: int) -> int:
        return int(records[number].get("OffsetOfReferencedLowerLevelDirectoryEntity") or 0)

    for record_number, record in enumerate(records):
        uid = record.get("StudyInstanceUID")
        if record.get("DirectoryRecordType") != "STUDY" or not uid:
            continue
        for series in chain(lower(record_number)):
            for instance in chain(lower(series)):
                result[instance] = str(uid)
    return result


def _beside(folder: Path, parts: list[str]) -> Path | None:
    """The file below `folder`: discs come with names in either case, and with version numbers (";1")."""
    for part in parts:
        if (folder / part).exists():
            folder = folder / part
            continue
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            return None
        wanted = part.casefold()
        match = next((name for name in names if name.casefold().split(";")[0].rstrip(".") == wanted), None)
        if match is None:
            return None
        folder = folder / match
    return folder if folder.is_file() else None
