"""Reports out of a stream: which are lines of JSON, which is plain text, what is set aside, how bytes become characters."""

from __future__ import annotations

import io
import json
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radpipe.sources import texts
from radpipe.sources.texts import ReportText, UnusableText, read_reports


def read(content: bytes, name: str = "-") -> tuple[list[ReportText | UnusableText], list[str]]:
    notices: list[str] = []
    return list(read_reports(io.BytesIO(content), name, notices.append)), notices


def kept(content: bytes, name: str = "-") -> list[tuple[str | int | float, str]]:
    return [(item.report_id, item.text) for item in read(content, name)[0] if isinstance(item, ReportText)]


def aside(content: bytes, name: str = "-") -> dict[str, str]:
    return {item.where: item.reason for item in read(content, name)[0] if isinstance(item, UnusableText)}


# -- JSON Lines or plain text


def test_each_line_of_json_is_a_report() -> None:
    assert kept(b'{"id": "a", "text": "x"}\n\n{"id": 7, "text": "y"}\r\n{"text": "z"}') == [("a", "x"), (7, "y"), (4, "z")]


def test_anything_else_is_one_report_with_its_line_ends_as_they_stand() -> None:
    assert kept(b"FINDINGS:\r\nHeart normal.\r\n", "r.txt") == [("r.txt", "FINDINGS:\r\nHeart normal.\r\n")]
    assert kept(b"\n\n[Name] Heart normal.") == [("-", "\n\n[Name] Heart normal.")]


def test_a_bad_first_line_does_not_make_lines_of_json_plain_text() -> None:
    content = b'{"id": "a", "text": "cut o\nnoise\n{"id": "b", "text": "y"}\n'
    assert kept(content) == [("b", "y")]
    assert set(aside(content)) == {"line 1", "line 2"}


def test_half_an_object_alone_is_set_aside_and_not_read_as_a_report() -> None:
    assert kept(b'{"id": "a", "text": "Small effus') == []
    assert "it is not JSON" in aside(b'{"id": "a", "text": "Small effus')["line 1"]


def test_json_over_several_lines_is_read_as_a_whole() -> None:
    assert kept(json.dumps({"id": "a", "text": "x"}, indent=1).encode()) == [("a", "x")]
    assert kept(b'[\n{"id": "a", "text": "x"},\n{"text": "y"}\n]\n') == [("a", "x"), (2, "y")]


def test_nothing_is_no_report_but_an_empty_file_of_text_is_an_empty_one() -> None:
    assert kept(b"") == []
    assert kept(b"", "a.jsonl") == kept(b"\n \n", "a.jsonl") == []
    assert kept(b"", "a.txt") == [("a.txt", "")]
    assert kept(b" \n") == [("-", " \n")]


def test_a_report_is_handed_on_before_the_next_line_is_there() -> None:
    class Slow(io.RawIOBase):
        def __init__(self) -> None:
            self.lines = [b'{"id": 1, "text": "x"}\n', b'{"id": 2, "text": "y"}\n']

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            line = self.lines.pop(0) if self.lines else b""
            buffer[: len(line)] = line
            return len(line)

    slow = Slow()
    stream: BinaryIO = io.BufferedReader(slow)  # type: ignore[assignment]
    first = next(read_reports(stream, "-", lambda words: None))
    assert isinstance(first, ReportText)
    assert (first.report_id, len(slow.lines)) == (1, 1)


# -- what is set aside


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("effusion", "it is not a JSON object"),
        ('{"id": "b", "text": "x"', "it is not JSON (character 24)"),
        ('["b", "x"]', "it is not a JSON object"),
        ('{"id": "b"}', 'it has no "text"'),
        ('{"id": "b", "text": null}', 'its "text" is not text'),
        ('{"id": "b", "text": 5}', 'its "text" is not text'),
        ('{"id": true, "text": "x"}', 'its "id" is neither text nor a number'),
        ('{"id": NaN, "text": "x"}', 'its "id" is neither text nor a number'),
        ('{"id": 1e999, "text": "x"}', 'its "id" is neither text nor a number'),
        ('{"id": {}, "text": "x"}', 'its "id" is neither text nor a number'),
        ('{"id": ' + "1" * 5000 + ', "text": "x"}', "it holds a number that no report has"),
        ('{"id": "b", "text": "x", "lexicon": 3}', 'its "lexicon" is not a name'),
        ('{"text": ' + "[" * 100_000, "it is nested too deeply"),
    ],
)
def test_a_bad_line_is_named_and_the_others_go_on(line: str, reason: str) -> None:
    content = f'{{"id": "a", "text": "x"}}\n{line}\n{{"id": "c", "text": "y"}}\n'.encode()
    assert kept(content) == [("a", "x"), ("c", "y")]
    assert list(aside(content)) == ["line 2"]
    assert aside(content)["line 2"].startswith(reason)
    assert "effusion" not in aside(content)["line 2"]


def test_what_is_longer_than_any_report_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "LARGEST_BYTES", 1000)
    long_line = b'{"text": "' + b"x" * 2000 + b'"}\n'
    assert kept(b'{"text": "a"}\n' + long_line + b'{"text": "b"}\n') == [(1, "a"), (3, "b")]
    assert list(aside(long_line)) == list(aside(b"x" * 1001)) == list(aside(b"x\n" * 600)) == ["line 1"]
    assert list(aside(("x" * 600).encode("utf-16"))) == ["line 1"]


def test_what_a_line_says_of_its_examination_comes_along() -> None:
    item = read(b'{"text": "x", "patient_sex": "F", "has_comparison": false, "lexicon": "chest", "other": 1}')[0][0]
    assert isinstance(item, ReportText)
    assert (item.lexicon, item.examination) == ("chest", {"patient_sex": "F", "has_comparison": False})


# -- bytes to characters


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-8"])
def test_a_byte_order_mark_is_obeyed_and_is_no_character(encoding: str) -> None:
    assert read("Herz größer.".encode(encoding)) == ([ReportText("-", "Herz größer.", "line 1")], [])
    assert kept('{"id": 1, "text": "größer"}\n{"id": 2, "text": "x"}\n'.encode(encoding)) == [(1, "größer"), (2, "x")]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_read_and_told(encoding: str) -> None:
    items, notices = read("Herz größer.".encode(encoding))
    assert items == [ReportText("-", "Herz größer.", "line 1")]
    assert encoding.upper() in notices[0]


def test_marks_between_joined_files_are_passed_over() -> None:
    line = '{"id": 1, "text": "x"}\n'.encode("utf-8-sig")
    assert kept(line + line) == [(1, "x"), (1, "x")]


def test_bytes_that_are_not_utf_8_are_replaced_and_told_once() -> None:
    items, notices = read(b'{"text": "gr\xf6\xdfer"}\n{"text": "gr\xf6\xdfer"}\n')
    assert [item.text for item in items if isinstance(item, ReportText)] == ["gr\ufffd\ufffder"] * 2
    assert len(notices) == 1
    assert "iconv" in notices[0]


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,\n\ufeffidtex \\u1', max_size=60).map(str.encode))
def test_any_bytes_are_read(content: bytes) -> None:
    for item in read(content)[0]:
        assert isinstance(item, UnusableText) or isinstance(item.text, str)


@given(st.lists(st.tuples(st.text(max_size=20) | st.integers(), st.text(max_size=50)), max_size=5))
def test_what_json_writes_is_what_is_read(reports: list[tuple[str | int, str]]) -> None:
    lines = "".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in reports)
    assert kept(lines.encode()) == reports
