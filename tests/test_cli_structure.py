"""`radpipe structure`: reports in, one result each out, in order; whatever is wrong is named and never quoted."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpipe.cli import main

pytestmark = pytest.mark.usefixtures("process_as_it_was")

EFFUSION = "FINDINGS:\nSmall left pleural effusion, unchanged.\nIMPRESSION:\nNo pneumothorax."
SECRET = "Zebraspotting"


def structure(*arguments: str | Path, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """(exit status, stdout, stderr) of the command in this process."""
    out, err, before = io.TextIOWrapper(io.BytesIO(), "ascii"), io.StringIO(), sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["structure", *map(str, arguments)])
    finally:
        sys.stdin = before
    out.flush()
    return status, out.buffer.getvalue(), err.getvalue()  # type: ignore[attr-defined]


def records(*arguments: str | Path, stdin: bytes = b"") -> list[dict[str, Any]]:
    status, out, err = structure(*arguments, stdin=stdin)
    assert (status, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def lines(*reports: dict[str, object]) -> bytes:
    return "".join(json.dumps(report) + "\n" for report in reports).encode()


def start(*arguments: str | Path, **named: Any) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RADPIPE_")}
    command = [sys.executable, "-m", "radpipe", "structure", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, **named)


# -- what comes out


def test_lines_of_json_come_out_in_order_with_their_ids_as_they_were() -> None:
    given_ = lines({"id": "b", "text": EFFUSION}, {"id": 7, "text": ""}, {"id": 1.5, "text": "x"}, {"text": "x"})
    found = records(stdin=given_)
    assert [record["id"] for record in found] == ["b", 7, 1.5, 4]
    assert [record["observations"] for record in found[1:]] == [[], [], []]


def test_a_plain_text_is_one_report_named_for_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a report.txt"
    path.write_text(EFFUSION)
    (found,) = records(path)
    assert found["id"] == "a report.txt"
    assert records("-", stdin=EFFUSION.encode())[0]["observations"] == found["observations"]
    assert records(stdin=EFFUSION.encode())[0]["id"] == "-"


def test_the_record_has_the_fields_of_the_contract() -> None:
    (found,) = records(stdin=EFFUSION.encode())
    effusion = next(item for item in found["observations"] if item["finding"] == "pleural_effusion")
    fields = ("status", "laterality", "severity", "change", "location", "size_mm", "section")
    assert [effusion[field] for field in fields] == ["present", "left", "small", "unchanged", None, None, "findings"]
    assert effusion["code"] == {"value": "60046008", "scheme": "SCT", "meaning": "Pleural effusion"}
    assert EFFUSION[effusion["start"] : effusion["end"]] == effusion["quote"]
    assert {item["finding"]: item["status"] for item in found["observations"]}["pneumothorax"] == "absent"
    assert all("rules" not in mention for item in found["observations"] for mention in item["mentions"])


def test_explain_adds_the_rules() -> None:
    (found,) = records("--explain", stdin=EFFUSION.encode())
    assert all(mention["rules"] for item in found["observations"] for mention in item["mentions"])
    status, out, _ = structure("--explain", "--as", "text", stdin=EFFUSION.encode())
    assert status == 0
    assert b"\nRULES\n" in out
    assert f"    {found['observations'][0]['mentions'][0]['rules'][0]}\n".encode() in out


def test_offsets_count_characters_of_the_decoded_text() -> None:
    text = "Größe der Läsion 😀 \r\nSmall left effusion."
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (found,) = records(stdin=text.encode(encoding))
        item = found["observations"][0]
        assert text[item["start"] : item["end"]] == item["quote"]


def test_half_a_surrogate_pair_is_written_as_it_came() -> None:
    (found,) = records(stdin=b'{"id": "\\ud83d", "text": "Small \\ud83d left effusion."}\n')
    assert found["id"] == "\ud83d"
    item = found["observations"][0]
    assert "Small \ud83d left effusion."[item["start"] : item["end"]] == item["quote"]


def test_sections_alone() -> None:
    (found,) = records("--sections", stdin=lines({"id": 3, "text": EFFUSION}))
    assert found["id"] == 3
    assert [(part["section"], part["text"].strip()) for part in found["sections"]] == [
        ("findings", "Small left pleural effusion, unchanged."),
        ("impression", "No pneumothorax."),
    ]
    assert all(EFFUSION[part["start"] : part["end"]] == part["text"] for part in found["sections"])


def test_one_line_of_fhir_a_report() -> None:
    status, out, _ = structure("--as", "fhir", stdin=lines({"id": 1, "text": EFFUSION}, {"id": 2, "text": ""}))
    assert status == 0
    assert [json.loads(line)["resourceType"] for line in out.splitlines()] == ["Bundle", "Bundle"]


def test_text_is_for_people_with_a_blank_line_between_two() -> None:
    status, out, _ = structure("--as", "text", stdin=lines({"id": "A1", "text": EFFUSION}, {"id": "A2", "text": "\x1b[31m"}))
    assert status == 0
    assert b"A1" in out
    assert b"\n\nSTRUCTURED REPORT A2" in out
    assert b"\x1b" not in out


def test_the_same_text_gives_the_same_whatever_stands_before_it() -> None:
    alone = records(stdin=lines({"id": "a", "text": EFFUSION}))
    after = records(stdin=lines({"id": "x", "text": "Large right effusion. CT in 3 months."}, {"id": "a", "text": EFFUSION}))
    assert after[1:] == alone


# -- files and folders


def test_the_result_into_a_file_but_not_over_the_one_that_is_read(tmp_path: Path) -> None:
    path, content = tmp_path / "reports.jsonl", lines({"id": 1, "text": EFFUSION})
    path.write_bytes(content)
    assert structure(path, "-o", tmp_path / "out.jsonl")[:2] == (0, b"")
    assert json.loads((tmp_path / "out.jsonl").read_text())["id"] == 1
    status, _, err = structure(path, "-o", path)
    assert (status, path.read_bytes()) == (2, content)
    assert "is both read and written" in err


def test_a_file_stands_as_it_was_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out, one = tmp_path / "out.jsonl", tmp_path / "one.dcm"
    out.write_text("yesterday's")
    one.write_text("yesterday's")
    two = lines({"id": 1, "text": EFFUSION}, {"id": 2, "text": EFFUSION})
    assert structure("--as", "sr", "-o", one, stdin=two)[0] == 2
    assert one.read_text() == "yesterday's"
    process = start("-o", out, stdin=subprocess.PIPE, bufsize=0)
    assert process.stdin is not None
    process.stdin.write(two)
    ends = time.monotonic() + 20
    while not list(tmp_path.glob(".out.jsonl.*")) and time.monotonic() < ends:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1].decode() == f"interrupted; {out} is as it was\n"
    assert (process.returncode, out.read_text()) == (130, "yesterday's")
    assert structure("-o", out, stdin=two)[0] == 0
    assert len(out.read_text().splitlines()) == 2
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert not list(tmp_path.glob(".*"))


def test_what_comes_from_stdin_is_not_written_over(tmp_path: Path) -> None:
    path, content = tmp_path / "reports.jsonl", lines({"id": 1, "text": EFFUSION})
    path.write_bytes(content)
    with path.open("rb") as stream:
        process = start("-o", path, stdin=stream)
        _, err = process.communicate()
    assert (process.returncode, path.read_bytes()) == (2, content)
    assert b"is both read and written" in err


def test_a_link_does_not_lead_the_result_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    for name, target in (("link", "kept"), ("open", "not-there"), ("one.dcm", "kept")):
        (tmp_path / name).symlink_to(tmp_path / target)
        form = "sr" if name == "one.dcm" else "json"
        status, _, err = structure("--as", form, "-o", tmp_path / name, stdin=lines({"id": 1, "text": EFFUSION}))
        assert (status, err.count("\n")) == (2, 1)
        assert "is a link" in err
    assert (tmp_path / "kept").read_text() == "kept"
    assert not (tmp_path / "not-there").exists()
    assert "does not exist" in structure("-o", tmp_path / "no" / "out.jsonl", stdin=lines())[2]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"%PDF-1.7\nNo pleural effusion.", "a PDF document"),
        (b"{\\rtf1 No pleural effusion.}", "an RTF document"),
        (b"<html><p>No pleural effusion.</p>", "a web page"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture"),
        (b"PK\x03\x04\x14\0\0\0\x08\0", "a zip archive"),
        (bytes(128) + b"DICM" + b"\x02\0\0\0UL", "a DICOM object"),
        (b"\x01\x02\x03\x04\0\x05\x06 no effusion", "a binary file"),
    ],
)
def test_what_looks_like_no_text_is_told_and_read(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "report.txt").write_bytes(content)
    status, out, err = structure(tmp_path / "report.txt")
    assert (status, json.loads(out)["id"]) == (0, "report.txt")
    assert err.splitlines()[0].startswith(f"report.txt: it looks like {kind}, and is read as plain text")


@pytest.mark.parametrize(
    "content",
    [b"BMI 30. No effusion.", "No effusion.".encode("utf-16"), b"<5 mm nodule", b"MZ", b"", lines({"text": EFFUSION})],
)
def test_text_is_not_doubted(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "report.txt").write_bytes(content)
    assert structure(tmp_path / "report.txt")[2] == ""


def test_sr_files_have_safe_names_and_two_of_one_id_are_both_kept(tmp_path: Path) -> None:
    folder = tmp_path / "sr"
    ids = ["A 17", "../../evil", "A 17", "", "/etc/passwd", "..", "a\n\0b"]
    given_ = lines(*({"id": name, "text": f"{EFFUSION} {number}"} for number, name in enumerate(ids)))
    assert structure("--as", "sr", "-o", folder, stdin=given_)[0] == 0
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"A_17.dcm", "A_17-2.dcm", "evil.dcm", "report.dcm", "etc_passwd.dcm", "report-2.dcm", "a_b.dcm"}
    assert all(path.parent == folder for path in tmp_path.rglob("*.dcm"))
    assert {pydicom.dcmread(path).Modality for path in folder.iterdir()} == {"SR"}


def test_running_again_adds_nothing_and_writes_over_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    given_ = lines({"id": "a", "text": EFFUSION}, {"id": "a", "text": "Large right effusion."}, {"id": "b", "text": ""})
    folder.mkdir()
    (folder / "b.dcm").write_text("somebody else's")
    for _ in range(2):
        assert structure("--as", "sr", "-o", f"{folder}/", stdin=given_)[0] == 0
        assert sorted(path.name for path in folder.iterdir()) == ["a-2.dcm", "a.dcm", "b-2.dcm", "b.dcm"]
        assert (folder / "b.dcm").read_text() == "somebody else's"


def test_a_link_in_the_folder_does_not_lead_out_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.json").symlink_to(tmp_path / "elsewhere.json")
    assert structure("-o", folder, stdin=lines({"id": "a", "text": EFFUSION}))[0] == 0
    assert not (tmp_path / "elsewhere.json").exists()
    assert json.loads((folder / "a-2.json").read_text())["id"] == "a"


def test_one_sr_goes_to_stdout_or_into_one_file_and_two_do_not(tmp_path: Path) -> None:
    one, two = lines({"id": "a", "text": EFFUSION}), lines({"id": "a", "text": EFFUSION}, {"id": "b", "text": EFFUSION})
    status, out, _ = structure("--as", "sr", stdin=one)
    assert (status, out[128:132]) == (0, b"DICM")
    assert structure("--as", "sr", "-o", tmp_path / "one.dcm", stdin=one)[0] == 0
    assert (tmp_path / "one.dcm").read_bytes() == out
    for more in ((), ("-o", tmp_path / "two.dcm")):
        status, out, err = structure("--as", "sr", *more, stdin=two)
        assert (status, out) == (2, b"")
        assert "name a folder" in err
    assert not (tmp_path / "two.dcm").exists()


# -- what is wrong


def test_a_bad_line_is_named_without_its_words_and_the_others_go_on() -> None:
    bad = [f'{{"id": "x", "text": "{SECRET} ', f'{{"id": "{SECRET}"}}', f'{{"text": ["{SECRET}"]}}', SECRET, f'"{SECRET}"']
    content = lines({"id": "a", "text": EFFUSION}) + "\n".join(bad).encode() + b"\n" + lines({"id": "b", "text": EFFUSION})
    status, out, err = structure(stdin=content)
    assert status == 3
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["a", "b"]
    assert [line.split(":")[1] for line in err.splitlines()[:-1]] == [f" - line {number}" for number in range(2, 7)]
    assert err.splitlines()[-1] == "reports structured: 2, lines set aside: 5, discrepancies: 0"
    assert SECRET not in err


def test_a_lexicon_that_a_line_names_must_be_one_that_ships(tmp_path: Path) -> None:
    content = lines(
        {"id": 1, "text": EFFUSION, "lexicon": "chest"},
        {"id": 2, "text": "x", "lexicon": str(tmp_path)},
        {"id": 3, "text": ""},
    )
    status, out, err = structure(stdin=content)
    assert (status, [json.loads(line)["id"] for line in out.splitlines()]) == (3, [1, 3])
    assert 'line 2: its "lexicon" must be auto or one of' in err


def test_bytes_that_are_not_utf_8_are_told() -> None:
    status, out, err = structure(stdin=b"Small left effusion \xff.")
    assert status == 0
    assert json.loads(out)["observations"][0]["quote"] == "Small left effusion"
    assert err.startswith("-: bytes that are not UTF-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.jsonl"], "does not exist"),
        (["/"], "is a folder"),
        (["--lexicon", "knee"], "there is no lexicon knee; choose auto, chest"),
        (["--json", "--as", "sr"], "exclude each other"),
        (["--explain", "--as", "fhir"], "--explain goes with json and text"),
        (["--sections", "--check"], "--sections only cuts the text"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: list[str], says: str) -> None:
    status, out, err = structure(*arguments)
    assert (status, out, err.count("\n")) == (2, b"", 1)
    assert says in err


# -- checks


def test_discrepancies_are_in_the_record_and_named_without_quoting() -> None:
    text = "FINDINGS:\nModerate left pleural effusion.\nIMPRESSION:\nModerate right pleural effusion."
    status, out, err = structure("--check", stdin=lines({"id": "A\x1b17", "text": text}))
    assert status == 0
    (found,) = json.loads(out)["discrepancies"]
    assert found["kind"] == "laterality_conflict"
    assert err.startswith("check: A?17: laterality_conflict: ")
    assert "(characters " in err
    assert "Moderate" not in err
    assert json.loads(structure(stdin=lines({"text": text}))[1])["discrepancies"] == []


def test_the_examination_that_a_line_names_is_checked_against() -> None:
    text = "FINDINGS:\nHis prostate was not imaged. Heart size is normal."
    facts = {"patient_sex": "female", "laterality": "left", "study_date": "20260131", "has_comparison": True}
    status, out, err = structure("--check", stdin=lines({"id": 1, "text": text, "body_part": "CHEST", **facts}))
    assert status == 0
    assert "sex_mismatch" in {item["kind"] for item in json.loads(out)["discrepancies"]}
    assert "rostate" not in err


@pytest.mark.parametrize(
    ("key", "value"),
    [("patient_sex", "?"), ("laterality", 3), ("study_date", "31.1.2026"), ("has_comparison", "perhaps"), ("body_part", [])],
)
def test_what_a_line_says_amiss_of_the_examination_is_told_and_the_report_still_read(key: str, value: object) -> None:
    status, out, err = structure("--check", stdin=lines({"id": 1, "text": EFFUSION, key: value}))
    assert status == 3
    assert json.loads(out)["observations"]
    assert f'line 1: its "{key}" is not ' in err


# -- a stream


def test_a_report_comes_out_before_the_next_goes_in() -> None:
    process = start(stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for number in range(3):
        process.stdin.write(lines({"id": number, "text": EFFUSION}))
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == number
    assert process.communicate() == (b"", b"")
    assert process.returncode == 0


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    path.write_bytes(lines(*({"id": number, "text": EFFUSION} for number in range(2000))))
    process = start(path)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["id"] == 0
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait() == 0
    process.stderr.close()


def test_an_interrupted_run_says_how_far_it_came() -> None:
    process = start(stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(lines({"id": 1, "text": EFFUSION}))
    process.stdin.flush()
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert re.fullmatch(rb"interrupted; [01] reports were written\n", process.communicate()[1])
    assert process.returncode == 130


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    process = start("-o", "/dev/full", stdin=subprocess.PIPE)
    assert process.communicate(lines({"id": 1, "text": EFFUSION})) == (b"", b"radpipe: No space left on device\n")
    assert process.returncode == 1


def test_it_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys\nfrom radpipe.cli import main\nstatus = main(['structure', '--check', '--explain'])\n"
        "heavy = {'numpy', 'pydicom', 'highdicom', 'fhir', 'rich', 'sqlalchemy', 'torch', 'prefect', 'httpx'}\n"
        "sys.exit(status or ' '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], input=EFFUSION.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert time.perf_counter() - begun < 5.0  # 0.4 s on an idle machine; benchmarks/structure_vs_medspacy.py measures it


# -- any input


ODD = {
    "nothing": b"",
    "blank": b"\n \n",
    "zeros": b"\0" * 1000,
    "every byte": bytes(range(256)) * 20,
    "brackets": b"[" * 1_000_000,
    "braces": b"{" * 1_000_000,
    "one long word": b"x" * 100_000,
    "one long line": b"No effusion. Small nodule, 5 mm. " * 10_000,
    "line ends": b"\r\n" * 100_000,
    "right to left": "\u202eNo effusion\u202c \u05d0\u05d1 \u200fSmall left effusion.".encode(),
    "mixed scripts": "Плевральный выпот. 胸水なし。 Small left effusion. ⠿\U0001f9ec".encode(),
    "items in items": b"\n".join(b" " * n + b"- " * n + b"No effusion" for n in range(200)),
}


@pytest.mark.parametrize("name", list(ODD))
def test_odd_input_survives(name: str) -> None:
    status, out, _ = structure(stdin=ODD[name])
    assert status == 0
    text = ODD[name].decode("utf-8", "replace")
    for line in out.splitlines():
        for item in json.loads(line)["observations"]:
            assert text[item["start"] : item["end"]] == item["quote"]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["json", "fhir", "text"]))
def test_any_bytes_survive_in_any_form(content: bytes, form: str) -> None:
    status, out, err = structure("--as", form, stdin=content)
    assert status in (0, 3)
    assert (status == 3) == ("set aside" in err)
    out.decode()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=60) | st.sampled_from([EFFUSION, "no effusion", "\ud800 effusion \n"]), max_size=4))
def test_any_text_keeps_its_place_and_its_quotes(reports: list[str]) -> None:
    found = records(stdin=lines(*({"id": text, "text": text} for text in reports)))
    assert [record["id"] for record in found] == reports
    for text, record in zip(reports, found, strict=True):
        for item in record["observations"]:
            for mention in [item, *item["mentions"]]:
                assert text[mention["start"] : mention["end"]] == mention["quote"]
