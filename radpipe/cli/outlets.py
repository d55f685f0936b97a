"""Where a command's results go that come one by one: a stream, a file, a folder; and the bar that counts them."""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from radpipe.errors import UsageError


def open_outlet(output: str | None, form: str, suffix: str) -> Outlet:
    """Stdout where `output` is None; a folder where it is one, ends like one, or the form is "sr" and it is no *.dcm.

    Raises UsageError where that cannot be.
    """
    one_only = "one DICOM file holds one report, and more were given; name a folder: -o sr/"
    if output is None:
        if sys.stdout is None:
            raise UsageError("stdout is closed; give -o PATH")
        if form == "sr":
            if sys.stdout.isatty():
                raise UsageError("a DICOM SR is binary: give -o PATH, or pipe it")
            return OneOnly(None, one_only)
        return StreamOutlet(sys.stdout.buffer, owned=False, between=b"\n" if form == "text" else b"")
    path = Path(output)
    if path.is_dir() or output.endswith(os.sep) or (form == "sr" and path.suffix.lower() != ".dcm"):
        return FolderOutlet(path, suffix)
    _must_be_writable(path)
    if form == "sr":
        return OneOnly(path, one_only)
    between = b"\n" if form == "text" else b""
    if path.exists() and not path.is_file():  # a pipe, a device: there is nothing to replace
        return StreamOutlet(path.open("wb"), owned=True, between=between)
    return FileOutlet(path, between)


def is_written_to(stream: BinaryIO, output: str | None) -> bool:
    """Is the stream that is read (stdin, say) the very file that `output` names?"""
    try:
        read, written = os.fstat(stream.fileno()), os.stat(output or "")
    except (OSError, ValueError):  # a stream of this process without a file; no such file yet; no name at all
        return False
    return stat.S_ISREG(read.st_mode) and os.path.samestat(read, written)


def _must_be_writable(path: Path) -> None:
    """Before anything is read. Raises UsageError for a link to a file: who made it chooses what is written over."""
    if path.is_symlink() and (path.is_file() or not path.exists()):
        raise UsageError(f"{path} is a link; give -o the name of the file itself (without -o it goes to stdout)")
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist; make it, or give -o another name")


class Replacement:
    """A file written beside `path` under another name, the owner's alone, and given its name once it is whole: what stood
    there stays until then, and for good if it never is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        number, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        self._name = Path(name)
        self.stream: BinaryIO = os.fdopen(number, "wb")

    def close(self, *, whole: bool) -> None:
        """`whole`: it takes its place; else it goes. Also where the disk is full at the last byte."""
        try:
            self.stream.close()
            if whole:
                self._name.replace(self._path)
        finally:
            self._name.unlink(missing_ok=True)


class Outlet:
    """Where the results go."""

    on_terminal = False
    at_once = True  # what was written stays, even if the rest never comes

    def __enter__(self) -> Outlet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def write(self, report_id: str, content: bytes) -> None:
        """One report's result."""
        raise NotImplementedError


class StreamOutlet(Outlet):
    """One after the other, each at once where somebody may be waiting: a file alone is written in blocks."""

    def __init__(self, stream: BinaryIO, *, owned: bool, between: bytes = b"") -> None:
        self._stream, self._owned, self._between = stream, owned, between
        self._first = True
        self.on_terminal = stream.isatty()
        try:
            self._at_once = not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
        except OSError:  # a stream of this process, without a file
            self._at_once = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._owned:
            self._stream.close()

    def write(self, report_id: str, content: bytes) -> None:
        self._stream.write(content if self._first else self._between + content)
        self._first = False
        if self._at_once:
            self._stream.flush()


class FileOutlet(StreamOutlet):
    """A file that takes the place of what stood there, once all is written."""

    at_once = False

    def __init__(self, path: Path, between: bytes = b"") -> None:
        self._file = Replacement(path)
        super().__init__(self._file.stream, owned=True, between=between)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close(whole=error is None)


class OneOnly(Outlet):
    """A binary document, to a file or to stdout (None): a second one after it could not be told from the first."""

    at_once = False

    def __init__(self, path: Path | None, hint: str) -> None:
        self._path, self._hint = path, hint
        self._content: bytes | None = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None or self._content is None:
            return
        if self._path is None:
            sys.stdout.buffer.write(self._content)
        elif self._path.exists() and not self._path.is_file():
            self._path.write_bytes(self._content)
        else:
            file, whole = Replacement(self._path), False
            try:
                file.stream.write(self._content)
                whole = True
            finally:
                file.close(whole=whole)

    def write(self, report_id: str, content: bytes) -> None:
        if self._content is not None:
            raise UsageError(self._hint)
        self._content = content


class FolderOutlet(Outlet):
    """One file a report, named for its id. What is there already is never written over: the same bytes stay as they are,
    beside others the next free number is taken. So two reports of one id are both kept, and running again adds nothing."""

    def __init__(self, folder: Path, suffix: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._suffix = folder, suffix
        self._next: dict[str, int] = {}

    def write(self, report_id: str, content: bytes) -> None:
        for path in self._names(report_id):
            try:
                stream = path.open("xb")  # x: neither over another file nor through a link out of the folder
            except FileExistsError:
                if path.is_file() and not path.is_symlink() and path.read_bytes() == content:
                    return
                continue
            whole = False
            try:
                with stream:
                    stream.write(content)
                whole = True
            finally:
                if not whole:  # a full disk: half a document is none
                    path.unlink()
            return

    def _names(self, report_id: str) -> Iterator[Path]:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", report_id)[:100].strip("._-") or "report"
        while True:
            number = self._next.get(stem, 1)
            self._next[stem] = number + 1
            yield self._folder / f"{stem}{f'-{number}' if number > 1 else ''}{self._suffix}"


class Bar:
    """Reports counted on stderr once the work has lasted a while; a short one does not load the library for it."""

    AFTER_S = 1.0

    def __init__(self, stream: BinaryIO, *, shown: bool) -> None:
        self._stream, self._shown = stream, shown
        self._begun = time.monotonic()
        self._bars: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, reports: int) -> None:
        """So many reports are done."""
        if not self._shown:
            return
        if self._bars is None:
            if time.monotonic() - self._begun < self.AFTER_S:
                return
            self._bars = self._start()
        at = self._stream.tell() if self._stream.seekable() else None
        self._bars.update(self._bars.task_ids[0], completed=at, description=f"{reports} reports")

    def _start(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        bars = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
        bars.add_task("reports", total=os.fstat(self._stream.fileno()).st_size if self._stream.seekable() else None)
        bars.start()
        return bars
