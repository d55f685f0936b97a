"""`radpipe report import` and `withdraw`: reports from elsewhere, kept with what is known of their study."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from radpipe.cli import DONE, FAILED, SET_ASIDE, USAGE, main
from radpipe.sinks import structured_text, text
from radpipe.store import open_store
from radpipe.study import study_key
from tests.sample_reading import sample_reading, sample_report, signed
from tests.store_cases import sqlite_url, study
from tests.test_cli import radpipe, records, without_times

pytestmark = [
    pytest.mark.usefixtures("process_as_it_was"),
    pytest.mark.xdist_group("cli"),  # one Prefect server at a time
]

THEN = replace(study(1, patient_id="PHANTOM-1", day=date(2025, 11, 2)), accession_number="A2025-1")
WORDS = "FINDINGS: No pleural effusion.\nIMPRESSION: Small right pneumothorax.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with open_store(sqlite_url(tmp_path)) as store:
        store.add_study(THEN)
    (tmp_path / "old.txt").write_text(WORDS)
    return tmp_path


def act(folder: Path, *arguments: str, status: int = DONE) -> None:
    assert main(["report", *arguments, "--store", str(folder)]) == status


def taken(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    act(folder, "import", str(folder / "old.txt"), "--json", *arguments)
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str, status: int = USAGE) -> str:
    capsys.readouterr()
    act(folder, *arguments, status=status)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("name", [THEN.study_instance_uid, "A2025-1", THEN.study_key], ids=["uid", "accession", "key"])
def test_a_study_in_the_store_is_found_by_any_of_its_names(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    record = taken(folder, capsys, "--study", name)
    assert (record["study_key"], record["study_date"]) == (THEN.study_key, "2025-11-02")
    assert (record["new"], record["withdrawn"], record["waits_for"]) == (True, False, None)
    assert {(said["finding"], said["status"], said["laterality"]) for said in record["findings"]} == {
        ("pleural_effusion", "absent", None),
        ("pneumothorax", "present", "right"),
    }
    assert all(said["quote"] in WORDS for said in record["findings"])


def test_the_same_file_twice_changes_nothing_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = taken(folder, capsys, "--study", "A2025-1")
    with open_store(sqlite_url(folder)) as store:
        entries = store.verify()
    second = taken(folder, capsys, "--study", THEN.study_instance_uid)
    assert second == first | {"new": False}
    with open_store(sqlite_url(folder)) as store:
        assert store.verify() == entries
    act(folder, "import", str(folder / "old.txt"), "--study", "A2025-1")
    assert "kept before: nothing changed" in capsys.readouterr().out


def test_a_study_that_is_not_here_needs_its_date_and_patient_or_waits(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = taken(folder, capsys, "--study", "1.2.3.4")
    assert "once the study arrives" in record["waits_for"]
    assert [said["finding"] for said in record["findings"]] == ["pleural_effusion", "pneumothorax"]
    whose = ("--patient-id", "PHANTOM-1", "--date", "2024-05-01")
    assert "ID and issuer" in taken(folder, capsys, "--study", "1.2.3.4", *whose)["waits_for"]
    assert taken(folder, capsys, "--study", "1.2.3.4", *whose, "--issuer", "Example Hospital")["waits_for"] is None
    assert taken(folder, capsys, "--study", "B7", *whose, "--issuer", "Example Hospital")["study_key"] is None
    assert "does not say whose it is" in refused(folder, capsys, "import", str(folder / "old.txt"), "--study", "B7")


def test_what_contradicts_the_study_in_the_store_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = ("import", str(folder / "old.txt"), "--study", "A2025-1")
    assert "another patient's" in refused(folder, capsys, *old, "--patient-id", "PHANTOM-2")
    assert "another patient's" in refused(folder, capsys, *old, "--patient-id", "PHANTOM-1", "--issuer", "Elsewhere")
    assert "another date" in refused(folder, capsys, *old, "--date", "2025-11-03")
    assert "YYYY-MM-DD" in refused(folder, capsys, *old, "--date", "yesterday", status=FAILED)


def test_two_studies_of_one_accession_number_are_not_guessed_between(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(sqlite_url(folder)) as store:
        store.add_study(replace(study(2), accession_number="A2025-1"))
    said = refused(folder, capsys, "import", str(folder / "old.txt"), "--study", "A2025-1")
    assert "2 studies have this accession number" in said
    assert "A2025-1" not in said


def test_json_lines_are_taken_one_by_one_and_what_cannot_be_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[Any] = [
        {"study_instance_uid": THEN.study_instance_uid, "text": WORDS, "study_date": "2025-11-02"},
        {"accession_number": "A2025-1", "text": "FINDINGS: Cardiomegaly."},
        {"accession_number": "B7", "text": "x", "study_date": "20240501", "patient_id": "P", "issuer_of_patient_id": "I"},
        {"accession_number": "B8", "text": "x"},
        {"text": "Nobody's"},
        {"accession_number": "A2025-1", "text": ""},
        {"accession_number": 5, "text": "x"},
        {"accession_number": "A2025-1", "text": "x", "study_date": "soon"},
        [],
    ]
    content = "\n".join(json.dumps(line) for line in lines) + "\n\n{\n"
    (folder / "all.jsonl").write_text(content)
    act(folder, "import", str(folder / "all.jsonl"), "--jsonl", "--json", status=SET_ASIDE)
    captured = capsys.readouterr()
    assert [json.loads(line)["new"] for line in captured.out.splitlines()] == [True, True, True]
    reasons = captured.err.splitlines()
    assert [int(line.split("line ")[1].split(":")[0]) for line in reasons] == [4, 5, 6, 7, 8, 9, 11]
    act(folder, "import", str(folder / "all.jsonl"), "--jsonl", "--json", status=SET_ASIDE)
    assert not any(json.loads(line)["new"] for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    "content",
    [WORDS.encode("utf-16"), b"\xef\xbb\xbf" + WORDS.encode(), "FINDINGS: No pleural effusion. Größe".encode("cp1252")],
    ids=["utf-16", "mark", "windows"],
)
def test_text_as_other_programs_write_it_is_read(folder: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    (folder / "old.txt").write_bytes(content)
    record = taken(folder, capsys, "--study", "A2025-1")
    assert "pleural_effusion" in {said["finding"] for said in record["findings"]}


@pytest.mark.parametrize("content", [b"%PDF-1.7", b"PK\x03\x04", b"a\0b", b" \n"])
def test_what_is_no_text_is_refused(folder: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    (folder / "old.txt").write_bytes(content)
    status = USAGE if not content.strip() else FAILED
    said = refused(folder, capsys, "import", str(folder / "old.txt"), "--study", "A2025-1", status=status)
    assert "text" in said or "no words" in said


def test_our_own_draft_is_no_report_to_import_and_our_signed_one_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, drafted = sample_reading(), sample_report()
    (folder / "old.txt").write_bytes(text.render(reading, drafted))
    said = refused(folder, capsys, "import", str(folder / "old.txt"), "--study", "A2025-1", status=FAILED)
    assert "a draft of radpipe's that nobody has signed" in said
    assert "radpipe sign" in said
    line = json.dumps({"accession_number": "A2025-1", "text": f"*** {structured_text.BANNER} ***\nPresent: effusion"})
    (folder / "all.jsonl").write_text(f"{line}\n{json.dumps({'accession_number': 'A2025-1', 'text': WORDS})}\n")
    act(folder, "import", str(folder / "all.jsonl"), "--jsonl", "--json", status=SET_ASIDE)
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert "all.jsonl line 1 is radpipe's structuring of a report" in captured.err
    (folder / "old.txt").write_bytes(text.render(reading, signed(drafted)))
    assert taken(folder, capsys, "--study", "A2025-1")["new"] is True


def test_a_report_of_another_region_is_kept_for_its_own_study_and_that_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "old.txt").write_text("US ABDOMEN\nFINDINGS: Small right pleural effusion.")
    act(folder, "import", str(folder / "old.txt"), "--study", "A2025-1")
    captured = capsys.readouterr()
    assert "kept; findings: pleural_effusion present" in captured.out
    assert "not of the chest: kept for its own study, not used in comparisons" in captured.err
    taken(folder, capsys, "--study", "A2025-1")
    (folder / "old.txt").write_text(WORDS)
    act(folder, "import", str(folder / "old.txt"), "--study", "A2025-1")
    assert capsys.readouterr().err == ""


def test_damaged_lines_stop_none_of_the_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whose = {"accession_number": "A2025-1"}
    wrong: list[dict[str, str]] = [
        {"study_instance_uid": "1.2.x", "text": WORDS},
        {"study_instance_uid": "1." * 33, "text": WORDS},
        {"study_instance_uid": "1.2.\ud800", "text": WORDS},
        {"accession_number": "B\ud800", "text": WORDS, "patient_id": "P", "issuer_of_patient_id": "I"},
        {"accession_number": "B7", "text": WORDS, "patient_id": "P\udfff", "issuer_of_patient_id": "I"},
    ]
    lines = [*wrong, whose | {"text": "Small \ud800 left pleural effusion."}, whose | {"text": WORDS}]
    content = "".join(json.dumps(line) + "\n" for line in lines) + "[" * 100_000 + "\n"
    (folder / "all.jsonl").write_text(content)
    act(folder, "import", str(folder / "all.jsonl"), "--jsonl", "--json", status=SET_ASIDE)
    captured = capsys.readouterr()
    kept = [json.loads(line) for line in captured.out.splitlines()]
    assert [record["new"] for record in kept] == [True, True]
    assert [said["finding"] for said in kept[0]["findings"]] == ["pleural_effusion"]
    captured.out.encode()
    reasons = captured.err.splitlines()
    assert [int(line.split("line ")[1].split(":")[0]) for line in reasons] == [1, 2, 3, 4, 5, 8]
    assert "digits and dots, at most 64" in reasons[0]


def test_the_same_words_under_another_patient_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = ("import", str(folder / "old.txt"), "--study", "1.2.3.4", "--date", "2024-05-01")
    act(folder, *old, "--patient-id", "PHANTOM-1")
    said = refused(folder, capsys, *old, "--patient-id", "PHANTOM-2")
    assert "is kept for another patient" in said
    assert "radpipe report withdraw" in said
    assert "PHANTOM" not in said
    line = {"study_instance_uid": "1.2.3.4", "text": WORDS, "patient_id": "PHANTOM-2"}
    (folder / "all.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line | {"text": "Clear."}) + "\n")
    act(folder, "import", str(folder / "all.jsonl"), "--jsonl", status=SET_ASIDE)
    assert "set aside: the report" in capsys.readouterr().err


def test_a_report_may_come_by_stdin(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(WORDS.encode())))
    act(folder, "import", "-", "--study", "A2025-1")
    assert "pneumothorax present" in capsys.readouterr().out


def test_a_report_is_withdrawn_and_restored(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = taken(folder, capsys, "--study", "A2025-1")["report_key"]
    act(folder, "withdraw", key)
    assert taken(folder, capsys, "--study", "A2025-1")["withdrawn"] is True
    act(folder, "withdraw", key, "--undo", "--json")
    assert json.loads(capsys.readouterr().out) == {"report_key": key, "changed": True, "withdrawn": False}
    assert "no report from elsewhere" in refused(folder, capsys, "withdraw", "0" * 16, status=FAILED)


def test_wrong_use_is_said_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "whose report" in refused(folder, capsys, "import", str(folder / "old.txt"))
    assert "whose report" in refused(folder, capsys, "import", str(folder / "old.txt"), "--jsonl", "--study", "1.2.3")
    assert "cannot read" in refused(folder, capsys, "import", str(folder / "none.txt"), "--study", "1.2.3")
    assert "is not known here" in refused(
        folder, capsys, "import", str(folder / "old.txt"), "--study", "1.2.3", "--user", "nobody"
    )


def test_the_next_run_reads_the_later_study_anew_with_the_report(tmp_path: Path, samples: Path) -> None:
    store = tmp_path / "store"
    (first,) = records(radpipe("run", samples / "felix-2026", "--json", "--store", store))
    assert first["prior_report"] is None
    (tmp_path / "old.txt").write_text("FINDINGS: Small left pneumothorax.\n")
    whose = ("--patient-id", "PHANTOM-07", "--issuer", "RADPIPE PHANTOMS", "--date", "2025-11-02")
    done = radpipe("report", "import", tmp_path / "old.txt", "--study", "1.2.3.4", *whose, "--store", store)
    assert "PHANTOM" not in done.stdout + done.stderr
    (second,) = records(radpipe("run", samples / "felix-2026", "--json", "--store", store))
    told = second["prior_report"]
    assert (told["study_instance_uid"], told["study_date"]) == ("1.2.3.4", "2025-11-02")
    assert [(said["finding"], said["status"], said["laterality"]) for said in told["findings"]] == [
        ("pneumothorax", "present", "left")
    ]
    assert second["report_key"] != first["report_key"]
    again = radpipe("run", samples / "felix-2026", "--json", "--store", store)
    assert without_times(records(again)) == without_times([second])
    assert "Nothing was new" in again.stderr
    (listed,) = json.loads(radpipe("worklist", "--json", "--store", store).stdout)
    assert listed["prior_report"] == told
    shown = radpipe("report", "show", study_key(second["study_instance_uid"]), "--store", store).stdout
    assert "Left pneumothorax was reported present on 2025-11-02." in " ".join(shown.split())
    radpipe("audit", "verify", "--store", store)
