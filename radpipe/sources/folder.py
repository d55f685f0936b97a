"""Files on disk: folders, single files, zips and DICOMDIRs. Finds and reads bytes; what they mean is the dicom stage's work.

What is found does not depend on the order of the arguments: paths are sorted, links are followed once, and a file that is
reached twice comes once. Junk that systems leave behind (hidden files, __MACOSX, Thumbs.db) is passed over in silence.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from radpipe.errors import InputError, UsageError
from radpipe.sources.dicomdir import referenced_files
from radpipe.study import FileRef, SetAside

MAX_FILE_BYTES = 2 << 30
"""A file or member is read into memory whole: 2 GiB is far beyond any image that radpipe reads."""

MAX_MEMBERS = 100_000
MAX_RATIO = 200
"""A member that is larger than 16 MiB and grows by more than this factor is taken for a zip bomb."""

_RATIO_MATTERS_BYTES = 16 << 20

_JUNK = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "$recycle.bin", "system volume information"})
_OFFICE = frozenset({".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".jar", ".whl", ".epub", ".apk", ".npz"})
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_INDEX = re.compile(rb"1\.2\.840\.10008\.1\.3\.10[^0-9.]")
"""The SOP class Media Storage Directory, in a file's meta information."""
_UNZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError, ValueError)


class FolderSource:
    """Files below the given paths. Raises UsageError if there is no path, or one does not exist."""

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise UsageError("no path given: name a folder, file, zip or DICOMDIR")
        for path in paths:
            if not os.path.lexists(path):
                raise UsageError(f"{path} does not exist")
        # absolute: the store remembers where a file was, and the next command may be run from another folder
        self._paths = tuple(sorted({Path(os.path.abspath(path)) for path in paths}, key=str))
        self._zip: tuple[Path, zipfile.ZipFile] | None = None

    def files(self) -> Iterator[FileRef | SetAside]:
        """Every file, each once, in a stable order; or why one cannot be looked at."""
        seen: set[tuple[int, int]] = set()
        for path in self._paths:
            if path.is_dir():
                yield from _walk(path, seen)
            elif _is_new(path, seen):
                if _kind(path) == "dicomdir":
                    for found in referenced_files(path):
                        if isinstance(found, SetAside) or _is_new(found.path, seen):
                            yield found
                else:
                    yield from _file(path)

    def read(self, ref: FileRef) -> bytes:
        """The bytes of one file. Raises InputError."""
        try:
            if ref.member is not None:
                return self._member(ref.path, ref.member)
            size = ref.path.stat().st_size
            if size > MAX_FILE_BYTES:
                raise InputError(f"{ref.name} has {size >> 20} MiB: too large to be an image that radpipe reads")
            return ref.path.read_bytes()
        except _UNZIP_ERRORS as error:
            raise InputError(f"{ref.name} {_reason(error)}") from error
        except KeyError as error:
            raise InputError(f"{ref.name} is no longer in the zip: start again") from error

    def _member(self, path: Path, member: str) -> bytes:
        if self._zip is None or self._zip[0] != path:
            self.close()
            self._zip = (path, zipfile.ZipFile(path))
        info = self._zip[1].getinfo(member)
        if why := _why_not(info):
            raise InputError(f"{path}!{member} {why}")
        with self._zip[1].open(info) as stream:
            return stream.read(info.file_size + 1)

    def close(self) -> None:
        """Close the zip that was read last, if any."""
        if self._zip is not None:
            self._zip[1].close()
            self._zip = None

    def __enter__(self) -> FolderSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[FileRef | SetAside]:
    """A folder's files, then its folders' files; each folder once, so that links cannot go round in circles."""
    try:
        if not _is_new(folder, seen):
            return
        names = sorted(os.listdir(folder))
    except OSError as error:
        yield SetAside(str(folder), _reason(error))
        return
    paths = [folder / name for name in names if not _is_junk(name)]
    for path in paths:
        if not path.is_dir() and _is_new(path, seen) and _kind(path) != "dicomdir":
            yield from _file(path)
    for path in paths:
        if path.is_dir():
            yield from _walk(path, seen)


def _file(path: Path) -> Iterator[FileRef | SetAside]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield SetAside(str(path), _reason(error))
        return
    if not stat.S_ISREG(mode):
        yield SetAside(str(path), "not a regular file (a pipe, socket or device): give the file itself")
        return
    kind = _kind(path)
    if kind == "zip":
        yield from _members(path)
    elif kind == "file":
        yield FileRef(path)
    else:
        yield SetAside(str(path), kind)


def _members(path: Path) -> Iterator[FileRef | SetAside]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = sorted(archive.infolist(), key=lambda info: info.filename)
            if len(infos) > MAX_MEMBERS:
                yield SetAside(str(path), f"a zip of {len(infos)} members: unpack it and give the folder")
                return
            previous = ""
            for info in infos:
                name = PurePosixPath(info.filename.replace("\\", "/"))
                if info.is_dir() or info.filename == previous or any(_is_junk(part) for part in name.parts):
                    continue
                previous = info.filename
                ref = FileRef(path, info.filename)
                if why := _why_not(info) or _why_not_member(archive, info):
                    yield SetAside(ref.name, why)
                elif not _is_index(archive, info):
                    yield ref
    except _UNZIP_ERRORS as error:
        yield SetAside(str(path), _reason(error))


def _why_not(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 0x1:
        return "is encrypted: unpack the zip with its password and give the folder"
    if info.file_size > MAX_FILE_BYTES:
        return f"unpacks to {info.file_size >> 20} MiB: too large to be an image that radpipe reads"
    if info.file_size > _RATIO_MATTERS_BYTES and info.file_size > MAX_RATIO * max(1, info.compress_size):
        return f"unpacks to {info.file_size // max(1, info.compress_size)} times its size: it looks like a zip bomb"
    return ""


def _why_not_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    try:
        with archive.open(info) as stream:
            head = stream.read(4)
    except _UNZIP_ERRORS as error:
        return _reason(error)
    if head in _ZIP_MAGIC and PurePosixPath(info.filename).suffix.lower() not in _OFFICE:
        return "is a zip within a zip: unpack the outer one and give the inner one"
    return ""


def _is_index(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    """A DICOMDIR within a zip is an index of files that are in the zip themselves."""
    with archive.open(info) as stream:
        return _INDEX.search(stream.read(512)) is not None


def _kind(path: Path) -> str:
    """ "zip", "dicomdir", "file", or why the file cannot be used."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "file"  # never opened: `_file` says why
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        return _reason(error)
    if head.startswith(_ZIP_MAGIC) and path.suffix.lower() not in _OFFICE:
        return "zip"
    if path.suffix.lower() == ".zip":
        return "is empty: copy it again" if not head else "is not a zip, or a damaged one: copy or download it again"
    if head[128:132] == b"DICM" and _INDEX.search(head):
        return "dicomdir"
    return "file"


def _is_new(path: Path, seen: set[tuple[int, int]]) -> bool:
    """False for a file or folder that was met before, by any name. A path that cannot be looked at is new."""
    try:
        status = path.stat()
    except OSError:
        return True
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return False
    seen.add(identity)
    return True


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK


def _reason(error: Exception) -> str:
    """An error of the system in words, with what to do; without paths, which the caller names."""
    if isinstance(error, PermissionError):
        return "may not be read: give this user the right to read it"
    if isinstance(error, FileNotFoundError):
        return "is not there, or a link that leads nowhere: check the path, or copy the file again"
    if isinstance(error, zipfile.BadZipFile | zlib.error | EOFError):
        return "is damaged within its zip: copy or download it again"
    if isinstance(error, NotImplementedError):
        return "is packed in a way that is not supported: unpack it and give the folder"
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or type(error).__name__}): check the disk or copy the file again"
    return "cannot be unpacked: unpack it and give the folder"
