"""The engine against annotated Open-I reports, where their texts are at hand (OPENI_TEXTS, set by .ci/run)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from radpipe.evaluate.openi import read_texts
from radpipe.evaluate.structure import entries_of, evaluate_structure, read_gold
from radpipe.structure import open_lexicon, structure_report

BARS = {
    "mention": 0.97, "status": 0.95, "negation": 0.975, "uncertain": 0.88, "present": 0.95,
    "laterality": 0.94, "severity": 0.94, "change": 0.90,
}  # fmt: skip
"""The marks that issue 3 asks for (micro F1)."""

FEW = 15
"""A mark on fewer annotated entries than this is not held against its bar: one slip moves it by 0.03 or more."""


@pytest.fixture(scope="module")
def openi() -> dict[str, str]:
    """Text of each Open-I report; CC BY-NC-ND, so it is never in the project."""
    source = os.environ.get("OPENI_TEXTS")
    if not source:
        pytest.skip("OPENI_TEXTS is not set: it names the torchxrayvision wheel, which holds the Open-I texts")
    return dict(read_texts(Path(source)).texts)


@pytest.fixture(scope="module")
def gold(request: pytest.FixtureRequest, root: Path) -> Path:
    """One of the annotated sets."""
    if request.param == "shared":
        path = request.getfixturevalue("shared") / "gold" / "structuring_dev.jsonl"
        assert isinstance(path, Path)
        return path
    return root / "tests" / "gold" / str(request.param)


@pytest.mark.parametrize("gold", ["shared", "openi_development_420.jsonl", "openi_held_out_40.jsonl"], indirect=True)
def test_the_marks_reach_the_bars_of_the_issue(gold: Path, openi: dict[str, str]) -> None:
    chest = open_lexicon("chest")
    annotated = read_gold(gold)
    structured = {report.uid: entries_of(structure_report(report.uid, openi[report.uid], chest)) for report in annotated}
    marks = evaluate_structure(annotated, structured, samples=2).marks
    low = {mark.name: round(mark.f1, 3) for mark in marks if mark.n >= FEW and mark.f1 < BARS[mark.name]}
    assert not low


def test_other_hospitals_ways_of_writing_are_read_as_well(root: Path) -> None:
    chest = open_lexicon("chest")
    path = root / "tests" / "gold" / "styles_72.jsonl"
    texts = {report["uid"]: report["text"] for report in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    structured = {uid: entries_of(structure_report(uid, text, chest)) for uid, text in texts.items()}
    marks = evaluate_structure(read_gold(path), structured, samples=2).marks
    assert {mark.name: round(mark.f1, 3) for mark in marks if mark.f1 < BARS[mark.name]} == {}


def test_every_quote_of_all_3955_reports_is_verbatim(openi: dict[str, str]) -> None:
    chest = open_lexicon("chest")
    assert len(openi) == 3955
    for uid, text in openi.items():
        report = structure_report(uid, text, chest)
        spans = [mention.span for item in report.observations for mention in item.mentions]
        assert all(text[span.start : span.end] == span.quote for span in spans), uid
