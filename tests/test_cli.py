"""The command line, as a process: the real flow, the real model on ONNX, real files, real exit statuses."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import MediaStorageDirectoryStorage

from radpipe.store import open_store

pytestmark = pytest.mark.xdist_group("cli")  # one Prefect server at a time


def radpipe(*arguments: str | Path, status: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("RADPIPE_")}, **environment}
    command = [sys.executable, "-m", "radpipe", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == status, f"{command} gave {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert "Traceback" not in done.stderr
    return done


def records(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def without_times(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in record.items() if name != "seconds"} for record in found]


@pytest.fixture(scope="module")
def first_run(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    store = tmp_path_factory.mktemp("cli") / "store"
    done = radpipe("run", samples, "--json", "--store", store, status=3)
    radpipe("people", "add", "lee", "--name", "Lee^Ann", "--role", "radiologist", "--store", store)
    radpipe("people", "add", "ray", "--name", "Ray^Sam", "--role", "resident", "--store", store)
    return store, done


def test_run_prints_one_json_line_a_study_with_every_field_of_the_contract(
    first_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, done = first_run
    found = records(done)
    assert len(found) >= 12
    fields = {
        "study_key", "study_instance_uid", "accession_number", "study_date", "modality", "body_part", "instances", "status",
        "not_read_reason", "priority", "findings", "prior", "changes", "report_key", "report_status", "model", "set_aside",
        "seconds",
    }  # fmt: skip
    for record in found:
        assert fields <= set(record)
        assert record["priority"]["level"] in {"STAT", "URGENT", "ROUTINE", "UNSURE", "NOT_READ"}
        assert record["priority"]["reasons"]
        assert (record["status"] == "read") == (record["not_read_reason"] is None) == (record["report_key"] is not None)
        if record["status"] == "read":
            assert record["model"]["backend"] == "onnx"
            assert record["model"]["provider"] == "CPUExecutionProvider"
        for finding in record["findings"]:
            assert finding["evidence"]
            assert finding["decision"] in {"present", "absent", "unsure"}


def test_what_was_set_aside_is_named_on_stderr_with_a_reason(
    first_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, done = first_run
    aside = [line for line in done.stderr.splitlines() if line.startswith("set aside: ")]
    assert aside
    assert all(re.fullmatch(r"set aside: .+?: .{10,}", line) for line in aside)


def test_running_again_prints_the_same_changes_nothing_and_says_so(
    first_run: tuple[Path, subprocess.CompletedProcess[str]], samples: Path
) -> None:
    store, done = first_run
    again = radpipe("run", samples, "--json", "--store", store, status=3)
    assert without_times(records(again)) == without_times(records(done))
    assert "Nothing was new" in again.stderr


def test_no_patient_name_or_id_is_on_stderr_or_in_the_prefect_database(
    first_run: tuple[Path, subprocess.CompletedProcess[str]], samples: Path
) -> None:
    store, done = first_run
    patients = set()
    for path in samples.rglob("*.dcm"):
        header = dcmread(path, stop_before_pixels=True, force=True)
        patients |= {str(header.get("PatientName", "")), str(header.get("PatientID", ""))} - {""}
    assert patients
    prefect = b"".join(path.read_bytes() for path in (store / "prefect").glob("prefect.db*"))
    assert prefect
    for name in patients:
        assert name not in done.stderr
        assert name.encode() not in prefect


def test_the_worklist_is_in_reading_order_with_waiting_times(
    first_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    store, done = first_run
    worklist = json.loads(radpipe("worklist", "--json", "--store", store).stdout)
    assert {record["study_key"] for record in worklist} == {record["study_key"] for record in records(done)}
    ranks = [["STAT", "URGENT", "UNSURE", "NOT_READ", "ROUTINE"].index(r["priority"]["level"]) for r in worklist]
    assert ranks == sorted(ranks)
    assert all(record["waiting_s"] >= 0 and record["cap_s"] > 0 and record["state"] for record in worklist)
    assert "ROUTINE" in radpipe("worklist", "--store", store).stdout


def test_a_draft_is_corrected_signed_sent_and_added_to(
    first_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    store, done = first_run
    record = next(r for r in records(done) if r["status"] == "read")
    key = record["report_key"]
    stated = record["findings"][0]["finding"]
    draft = radpipe("report", "show", key, "--store", store).stdout
    assert "PRELIMINARY" in draft
    radpipe("sign", key, "--user", "ray", "--store", store, status=1)
    refused = radpipe("sign", key, "--user", "nobody", "--store", store, status=1)
    assert "radpipe people add nobody" in refused.stderr
    radpipe("accept", key, stated, "--user", "ray", "--store", store)
    radpipe("report", "edit", key, stated, "In the reader's own words.", "--user", "lee", "--store", store)
    signed = radpipe("sign", key, "--user", "lee", "--store", store)
    assert "final" in signed.stdout
    sent = sorted(path.name for path in (store / "outbox").iterdir())
    assert [name.rsplit(".", 2)[1:] for name in sent] == [["fhir", "json"], ["sr", "dcm"]]
    sr = dcmread(next((store / "outbox").glob("*.dcm")))
    assert (sr.Modality, sr.VerificationFlag, sr.CompletionFlag) == ("SR", "VERIFIED", "COMPLETE")
    assert sr.StudyInstanceUID == record["study_instance_uid"]
    bundle = json.loads(next((store / "outbox").glob("*.json")).read_text())
    reports = [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "DiagnosticReport"]
    assert [report["status"] for report in reports] == ["final"]
    final = radpipe("report", "show", key, "--store", store).stdout
    assert "PRELIMINARY" not in final
    assert "In the reader's own words." in final
    assert "addendum" in radpipe("edit", key, stated, "x", "--user", "lee", "--store", store, status=1).stderr
    radpipe("addendum", key, "Discussed with the ward.", "--user", "lee", "--store", store)
    assert len(list((store / "outbox").iterdir())) == 4
    assert "0 files delivered" in radpipe("deliver", "--store", store).stdout
    assert "whole" in radpipe("audit", "verify", "--store", store).stdout
    listed = [json.loads(line) for line in radpipe("report", "list", "--json", "--store", store).stdout.splitlines()]
    assert {entry["report_key"]: entry["status"] for entry in listed}[key] == "amended"


@pytest.mark.parametrize("form", ["text", "json", "fhir", "sr", "hl7", "html"])
def test_a_draft_is_shown_in_every_form_and_says_that_it_is_preliminary(
    first_run: tuple[Path, subprocess.CompletedProcess[str]], form: str, tmp_path: Path
) -> None:
    store, done = first_run
    key = [r for r in records(done) if r["status"] == "read"][-1]["report_key"]
    output = tmp_path / "report"
    radpipe("report", "show", key, "--as", form, "-o", output, "--store", store)
    content = output.read_bytes()
    if form == "sr":
        assert dcmread(output).VerificationFlag == "UNVERIFIED"
    elif form == "hl7":
        assert re.search(rb"\|P(\||\r|$)", content)
    else:
        assert b"preliminary" in content.lower()


def test_a_changed_audit_trail_is_found(first_run: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    import sqlite3

    store, _ = first_run
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    with sqlite3.connect(copy / "radpipe.db") as connection:
        connection.execute("update audit set actor = 'somebody else' where sequence = 3")
    connection.close()
    found = radpipe("audit", "verify", "--store", copy, status=1).stderr
    assert "the audit trail is broken at entry 3: it was changed" in found


def test_predict_needs_no_store_and_gives_every_label_of_the_contract(tmp_path: Path) -> None:
    found = get_testdata_file("RG1_UNCI.dcm", download=False)
    assert isinstance(found, str)
    (line,) = records(radpipe("predict", found, "--store", tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    assert set(line["probabilities"]) == {
        "atelectasis", "cardiomegaly", "pleural_effusion", "lung_opacity", "mass", "nodule", "pneumonia", "pneumothorax",
        "consolidation", "edema", "hyperinflation", "scarring", "pleural_thickening", "hiatal_hernia", "abnormal",
    }  # fmt: skip
    assert all(0 <= p <= 1 for p in line["probabilities"].values())
    assert (line["view"], line["in_distribution"], line["backend"]) == ("PA", True, "onnx")


def test_compare_of_an_image_with_its_lossless_copy_finds_every_stated_finding_unchanged() -> None:
    from radpipe.cli.assemble import card_of
    from radpipe.settings import load_settings

    one, same = (get_testdata_file(name, download=False) for name in ("RG1_UNCI.dcm", "RG1_J2KR.dcm"))
    assert isinstance(one, str)
    assert isinstance(same, str)
    card = card_of(load_settings(environ={}))
    pair = [line["probabilities"] for line in records(radpipe("predict", one, same))]
    assert len(pair) == 2
    stated = [  # present or unsure on either; [] for a model that rules everything out, and then no change may be stated
        label.finding
        for label in card.labels
        if label.assessed and max(probabilities[label.finding] for probabilities in pair) >= label.rule_out
    ]
    (found,) = records(radpipe("compare", one, same))
    assert found["registration"]["comparable"]
    assert found["registration"]["correlation"] > 0.95
    assert found["out_of_distribution"] == []
    assert [(change["finding"], change["change"]) for change in found["changes"]] == [(name, "unchanged") for name in stated]
    for change in found["changes"]:
        probabilities = [found_by_predict[change["finding"]] for found_by_predict in pair]
        assert [change["current_probability"], change["prior_probability"]] == pytest.approx(probabilities, abs=1e-4)


def test_a_backend_that_is_not_there_is_one_clear_line(samples: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU: nothing to refuse")
    done = radpipe("predict", samples / "README.md", "--device", "cuda", status=1)
    assert len(done.stderr.strip().splitlines()) == 1


def test_wrong_usage_is_status_2(tmp_path: Path) -> None:
    assert "does not exist" in radpipe("run", tmp_path / "nothing", status=2).stderr
    assert "no store" in radpipe("worklist", "--store", tmp_path / "nothing", status=2).stderr
    assert "did you mean" in radpipe("worklist", status=2, RADPIPE_STOER="x").stderr
    radpipe(status=2)


def test_doctor_says_what_is_there(tmp_path: Path) -> None:
    done = radpipe("doctor", "--json", "--store", tmp_path / "none")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["onnx on cpu"]["ok"]
    assert checks["model"]["ok"]


def test_weights_are_as_their_card_says() -> None:
    assert "every file as its card says" in radpipe("weights", "verify").stdout
    cards = [json.loads(line) for line in radpipe("weights", "list", "--json").stdout.splitlines()]
    roles = {card["name"]: card["role"] for card in cards}
    assert roles == {"chest-dinov2s": "reader", "chest-lungs": "anatomy", "chest-text": "text"}


def test_every_command_has_help_with_its_store(capsys: pytest.CaptureFixture[str]) -> None:
    from radpipe.cli import build_parser

    commands = list(_leaf_commands(build_parser()))
    names = {" ".join(command) for command in commands}
    assert {
        "run", "predict", "compare", "samples", "worklist", "report show", "report list", "report sign", "sign", "addendum",
        "deliver", "people add", "people list", "evaluate images", "doctor", "weights verify", "audit verify", "audit list",
        "calibrate", "similar", "score", "report check", "volume", "weights import", "train reader", "train lungs",
        "train text",
    } <= names  # fmt: skip
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            build_parser().parse_args([*command, "--help"])
        assert ended.value.code == 0, command
        shown = capsys.readouterr()
        assert shown.err == "", command
        assert shown.out.startswith(f"usage: radpipe {' '.join(command)} "), command
        assert "--store DIR" in shown.out, command


def _leaf_commands(parser: argparse.ArgumentParser, *path: str) -> Iterator[tuple[str, ...]]:
    """Every command that has no commands of its own, as its words."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield path
    for action in below:
        for name, command in action.choices.items():
            yield from _leaf_commands(command, *path, name)


def test_every_test_file_of_pydicom_is_read_or_set_aside_with_a_reason(tmp_path: Path) -> None:
    import pydicom.data

    bundled = Path(pydicom.data.__file__).parent
    found = get_testdata_file("RG1_UNCI.dcm", download=False)
    assert isinstance(found, str)
    _sweep([bundled, Path(found).parent], tmp_path)


def test_every_file_of_the_shared_corpus_is_read_or_set_aside_with_a_reason(shared: Path, tmp_path: Path) -> None:
    _sweep([shared / "dicom"], tmp_path)


def test_two_contents_of_one_uid_given_again_leave_the_audit_trail_as_it_was(tmp_path: Path) -> None:
    found = get_testdata_file("CT_small.dcm", download=False)
    assert isinstance(found, str)
    folder, store = tmp_path / "in", tmp_path / "store"
    folder.mkdir()
    shutil.copy(found, folder / "1.dcm")
    other = dcmread(found)
    other.ImageComments = "other bytes"
    other.save_as(folder / "2.dcm")
    heads = []
    for _ in range(2):
        done = radpipe("run", folder, "--json", "--store", store, status=3)
        assert [Path(file).name for file, _ in _set_aside(done)] == ["2.dcm"]
        with open_store(f"sqlite:///{store / 'radpipe.db'}") as opened:
            heads.append(opened.head())
    assert heads[0] == heads[1]


def _sweep(folders: list[Path], tmp_path: Path) -> None:
    """Every file is accounted for, exactly once by content; and the same again changes nothing."""
    store = tmp_path / "store"
    given = dict(_items(folders))
    done = radpipe("run", *folders, "--json", "--store", store, status=3)
    for record in records(done):
        assert (record["status"] == "not_read") == (len(record["not_read_reason"] or "") > 10)
        assert record["priority"]["reasons"]
    _every_item_is_accounted_for(given, done, store)
    again = radpipe("run", *folders, "--json", "--store", store, status=3)
    assert sorted(map(str, without_times(records(again)))) == sorted(map(str, without_times(records(done))))
    assert "Nothing was new" in again.stderr
    assert sorted(_set_aside(again)) == sorted(_set_aside(done))
    assert "whole" in radpipe("audit", "verify", "--store", store).stdout


def _every_item_is_accounted_for(given: dict[str, bytes], done: subprocess.CompletedProcess[str], store: Path) -> None:
    """Each content is an image or another instance of one study, or an index, or named as set aside with a reason.

    `given`: bytes by place. A place that is none of these must be a byte-identical double of one that is.
    """
    with open_store(f"sqlite:///{store / 'radpipe.db'}") as opened:
        studies = [reading.study for reading, _ in opened.worklist()]
    assert sorted(study.study_key for study in studies) == sorted(record["study_key"] for record in records(done))
    assert sum(record["instances"] for record in records(done)) == sum(study.instances for study in studies)

    digests = {place: hashlib.sha256(content).hexdigest() for place, content in given.items()}
    images = {_place(image.file.name): image for study in studies for image in study.images}
    assert len(images) == sum(len(study.images) for study in studies)  # one place holds one image
    assert {place: image.sha256 for place, image in images.items()} == {place: digests.get(place) for place in images}

    named = _set_aside(done)
    assert all(len(reason) > 10 for _, reason in named)
    aside = {_place(file) for file, _ in named}
    assert len(aside) == len(named)  # each once
    assert aside <= set(given)
    tried = {_place(item.file) for study in studies for item in study.set_aside if item.sop_instance_uid is not None}
    assert aside & set(images) <= tried  # an image that could not be decoded is named too; no other is both

    instances, indexes = {}, set()  # by content
    for place, content in given.items():
        if place in aside or digests[place] in {image.sha256 for image in images.values()}:
            continue
        header = dcmread(BytesIO(content), stop_before_pixels=True, force=True)
        if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            indexes.add(digests[place])
        else:
            names = ("StudyInstanceUID", "SOPClassUID", "SOPInstanceUID")  # a file without them was lost: it shows its place
            instances[digests[place]] = tuple(str(header.get(name, place)) for name in names)
    others = [(study.study_instance_uid, *other) for study in studies for other in study.other_instances]
    assert sorted(instances.values()) == sorted(others)  # as many contents as instances, and the same ones

    of_aside = {digests[place] for place in aside - set(images)}
    assert len(images) + len(others) + len(indexes) + len(of_aside) == len(set(digests.values()))


def _items(folders: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Every regular file that is not hidden, by its resolved path, and in place of a zip that opens its members."""
    for folder in folders:
        for path in folder.rglob("*"):
            if not path.is_file() or any(part.startswith(".") for part in path.relative_to(folder).parts):
                continue
            if path.suffix == ".zip" and zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    members = [name for name in archive.namelist() if not name.endswith("/")]
                    yield from ((f"{path.resolve()}!{name}", archive.read(name)) for name in members)
            else:
                yield str(path.resolve()), path.read_bytes()


def _set_aside(done: subprocess.CompletedProcess[str]) -> list[tuple[str, str]]:
    """(file, reason) of each line on stderr that names one."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("set aside: ")]
    found = [match for line in lines if (match := re.fullmatch(r"set aside: (.+?): (.+)", line))]
    assert len(found) == len(lines)
    return [(match[1], match[2]) for match in found]


def _place(file: str) -> str:
    """A file's name as `_items` gives it."""
    path, mark, member = file.partition("!")
    return f"{Path(path).resolve()}{mark}{member}"
