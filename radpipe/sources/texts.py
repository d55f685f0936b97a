"""Free-text reports out of a stream: JSON Lines, one report a line, or one report in plain text.

A report is handed on as soon as its line is read. Which of the two it is, the first line that is not blank says: a JSON
object is JSON Lines. Because a bad line may be the first, any later line that is a JSON object with a "text" says so too;
and a whole that is one JSON object or array of objects (pretty-printed, exported) is read as such.

Offsets count characters of the decoded text: without a byte order mark, with line ends as they stand. Bytes that are not
UTF-8 (or UTF-16 or UTF-32, where a byte order mark or the zeros between the letters say so) are read as U+FFFD, and told.
"""

from __future__ import annotations

import codecs
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

LARGEST_BYTES = 64 << 20
"""Of one line, or of one plain text. The longest real reports are a thousand times shorter; what is longer is none."""

EXAMINATION_KEYS = ("patient_sex", "laterality", "body_part", "study_date", "has_comparison")
"""What a line may say of the examination that the report belongs to."""

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ONE_A_LINE = 'write one object a line: {"id": "...", "text": "..."}'
_BEGINS_LIKE_JSON = re.compile(r'\ufeff?\s*\{\s*"')
_TOO_LONG = f"it is longer than {LARGEST_BYTES >> 20} MiB, which no report is; give one report a line"

Notice = Callable[[str], None]
_Numbered = tuple[int, str | None]  # line number, line with its end; None for a line that is too long


@dataclass(frozen=True, slots=True)
class ReportText:
    """One report to structure, with what its line says beside the text. `lexicon` is "" where it names none."""

    report_id: str | int | float
    text: str
    where: str  # "line 3"
    lexicon: str = ""
    examination: Mapping[str, Any] | None = None  # see EXAMINATION_KEYS; values as they came


@dataclass(frozen=True, slots=True)
class UnusableText:
    """A line that holds no report, and why; without a word of it."""

    where: str
    reason: str


def read_reports(stream: BinaryIO, name: str, notice: Notice) -> Iterator[ReportText | UnusableText]:
    """The reports of a stream, in order. `name` is the file's ("-": stdin): the id of a plain text; *.jsonl is JSON Lines.

    Nothing at all is no report, unless it is a file that is not called *.jsonl: that is an empty one. `notice` is called
    with what was wrong with the encoding, once.
    """
    json_lines = name.lower().endswith((".jsonl", ".ndjson"))
    numbered = enumerate(_lines(stream, notice), 1)
    held: list[_Numbered] = []
    size = 0
    undecided, array = True, False
    for number, line in numbered:
        held.append((number, line))
        size += len(line or "")
        record = None if line is None or array else _parse(line)[0]
        if json_lines or (isinstance(record, dict) and (undecided or "text" in record)):
            yield from _records(chain(held, numbered))
            return
        if size > LARGEST_BYTES:
            yield UnusableText("line 1", _TOO_LONG)
            return
        if undecided and (line is None or line.strip()):
            undecided, array = False, line is not None and line.lstrip().startswith("[")
    if any(line is None for _, line in held):
        yield UnusableText("line 1", _TOO_LONG)
    elif held or not (json_lines or name == "-"):
        yield from _whole("".join(line or "" for _, line in held), name)


def _records(numbered: Iterable[_Numbered]) -> Iterator[ReportText | UnusableText]:
    for number, line in numbered:
        where = f"line {number}"
        if line is None:
            yield UnusableText(where, _TOO_LONG)
        elif line.strip("\ufeff \t\r\n"):
            record, reason = _parse(line)
            yield UnusableText(where, reason) if reason else _report(record, where)


def _whole(text: str, name: str) -> Iterator[ReportText | UnusableText]:
    value, reason = _parse(text)
    if isinstance(value, dict):
        yield _report(value, "line 1")
    elif reason and _BEGINS_LIKE_JSON.match(text):
        yield UnusableText("line 1", reason)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        yield from (_report(item, f"item {number}") for number, item in enumerate(value, 1))
    else:
        yield ReportText(name, text, "line 1")


def _parse(line: str) -> tuple[Any, str]:
    """(value, "") of JSON, or (None, the reason why it is none). What cannot be an object or array is not even tried."""
    stripped = line.strip("\ufeff \t\r\n")
    if not stripped.startswith(("{", "[")):
        return None, f"it is not a JSON object; {_ONE_A_LINE}"
    try:
        return json.loads(stripped), ""
    except json.JSONDecodeError as error:
        return None, f"it is not JSON (character {error.pos + 1}); {_ONE_A_LINE}"
    except ValueError:  # a number of thousands of digits
        return None, f"it holds a number that no report has; {_ONE_A_LINE}"
    except RecursionError:
        return None, f"it is nested too deeply; {_ONE_A_LINE}"


def _report(record: Any, where: str) -> ReportText | UnusableText:
    if not isinstance(record, dict):
        return UnusableText(where, f"it is not a JSON object; {_ONE_A_LINE}")
    text, report_id, lexicon = record.get("text"), record.get("id"), record.get("lexicon") or ""
    if "text" not in record:
        return UnusableText(where, f'it has no "text"; {_ONE_A_LINE}')
    if not isinstance(text, str):
        return UnusableText(where, 'its "text" is not text; write it as a string, "" if the report is empty')
    if report_id is None:
        report_id = int(where.split()[1])
    elif not _is_id(report_id):
        return UnusableText(where, 'its "id" is neither text nor a number; leave it out, and the line number stands for it')
    if not isinstance(lexicon, str):
        return UnusableText(where, 'its "lexicon" is not a name; leave it out to choose by the words of the text')
    examination = {key: record[key] for key in EXAMINATION_KEYS if record.get(key) is not None}
    return ReportText(report_id, text, where, lexicon, examination or None)


def _is_id(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int) and not isinstance(value, bool)


def _lines(stream: BinaryIO, notice: Notice) -> Iterator[str | None]:
    """Decoded lines with their ends; None for one that is too long. A line of UTF-8 is handed on before the next is read."""
    head = stream.read(4)
    encoding, mark, is_marked = _encoding(head)
    told = False
    if not is_marked:
        told = True
        notice(
            f"read as {encoding.upper()}, which has no byte order mark here; if that is wrong, convert the input to UTF-8"
        )

    def decode(content: bytes) -> str:
        nonlocal told
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            if not told:
                notice(
                    f"bytes that are not {encoding.upper()} were read as \N{REPLACEMENT CHARACTER}; offsets count those; "
                    "if the input is of another encoding, convert it first: iconv -f latin1 -t utf-8"
                )
            told = True
            return content.decode(encoding, "replace")

    rest = head[mark:]
    if encoding != "utf-8":
        yield from io.StringIO(decode(rest + stream.read(LARGEST_BYTES)), newline="\n")
        if stream.read(1):
            yield None
        return
    while True:
        line, end, rest = rest.partition(b"\n")
        line += end or stream.readline(LARGEST_BYTES)
        if not line:
            return
        if len(line) >= LARGEST_BYTES and not line.endswith(b"\n"):
            while (more := stream.readline(1 << 20)) and not more.endswith(b"\n"):
                pass
            yield None
        else:
            yield decode(line)


def _encoding(head: bytes) -> tuple[str, int, bool]:
    """(encoding, length of the byte order mark, False if it was guessed from zeros between the letters)."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark), True
    if len(head) == 4 and head[0] and head[2] and head[1] == head[3] == 0:
        return "utf-16-le", 0, False
    if len(head) == 4 and head[1] and head[3] and head[0] == head[2] == 0:
        return "utf-16-be", 0, False
    return "utf-8", 0, True
