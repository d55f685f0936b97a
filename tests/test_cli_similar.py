"""The commands of the shared space: similar studies, scored texts, a report beside its image."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from radpipe.card import read_card
from radpipe.cli import similar
from radpipe.errors import UnknownKey, UsageError, WeightsError
from radpipe.models.text import TextModel, open_text
from radpipe.reading import Reading
from radpipe.settings import load_settings
from radpipe.store import open_store
from tests.dicom_instances import bundled
from tests.store_cases import key, reading, sqlite_url


@pytest.fixture(scope="module")
def text(root: Path) -> TextModel:
    return open_text(root / "weights" / "chest-text", threads=1)


def width(text: TextModel) -> int:
    return len(text._tensors["image_centre"])


def toward(text: TextModel, words: str) -> np.ndarray:
    """An embedding whose image looks like these words more than like a normal chest."""
    wanted, normal = text.encode([words, "Normal chest radiograph."])
    projection = text._tensors["image_projection"]
    return np.asarray(text._tensors["image_centre"] + np.linalg.pinv(projection.T) @ (wanted - normal), np.float32)


def of_model(one: Reading, sha256: str) -> Reading:
    assert one.model is not None
    return replace(one, model=replace(one.model, sha256=sha256))


@pytest.fixture
def store(tmp_path: Path, text: TextModel) -> Path:
    """Five studies: 1 and 2 look alike, 3 does not, 4 was read by another model, 5 before embeddings were kept."""
    edema, normal = toward(text, "Pulmonary edema."), -toward(text, "Pulmonary edema.")
    with open_store(sqlite_url(tmp_path)) as opened:
        for number, vector in ((1, edema), (2, edema + 0.01), (3, normal)):
            one = of_model(reading(number), text.reader_sha256)
            opened.save_reading(one, embeddings={one.study.images[0].sop_instance_uid: vector})
        other = of_model(reading(4), "f" * 64)
        opened.save_reading(other, embeddings={other.study.images[0].sop_instance_uid: edema})
        opened.save_reading(of_model(reading(5), text.reader_sha256))
    return tmp_path


def run(arguments: Sequence[str | Path], store: Path) -> int:
    parser, common = argparse.ArgumentParser(), argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true")
    commands = parser.add_subparsers()
    similar.add_commands(commands, common, argparse.RawDescriptionHelpFormatter)
    report = commands.add_parser("report").add_subparsers()
    similar.add_report_commands(report, common, argparse.RawDescriptionHelpFormatter)
    options = parser.parse_args([str(argument) for argument in arguments])
    given = {name: getattr(options, name, None) for name in ("weights", "backend", "device", "model")}
    status: int = options.command(options, load_settings(overrides={"store": store, "threads": 1, **given}))
    return status


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.usefixtures("process_as_it_was")
def test_similar_studies_are_shown_with_their_reports_and_what_was_left_out(
    store: Path, text: TextModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["similar", key(1), "--json"], store) == 0
    found = result(capsys)
    assert [one["study_key"] for one in found["similar"]] == [key(2), key(3)]
    first, last = found["similar"]
    assert first["similarity"] > 0.99 > last["similarity"]
    assert first["report_status"] == "draft"
    assert first["impression"]
    assert not first["same_patient"]
    assert found["left_out"] == {"read_by_other_models": 1, "without_embedding": 1}
    assert found["studies_compared"] == 2
    assert found["compared_by"] == text.identity


@pytest.mark.usefixtures("process_as_it_was")
def test_no_name_and_no_id_is_shown(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = reading(2).study.patient
    for form in ([], ["--json"]):
        run(["similar", key(1), "--count", "9", *form], store)
        shown = capsys.readouterr()
        for secret in (one.patient_id, one.patient_name):
            assert secret
            assert secret not in shown.out + shown.err


@pytest.mark.usefixtures("process_as_it_was")
def test_without_a_text_model_for_the_reader_embeddings_are_compared_as_they_are(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["similar", key(1), "--json", "--weights", store / "nowhere"], store) == 0
    assert result(capsys)["compared_by"] == "the reader's embedding alone"


@pytest.mark.usefixtures("process_as_it_was")
def test_a_study_without_an_embedding_says_so(store: Path) -> None:
    with pytest.raises(UsageError, match="no embedding of study"):
        run(["similar", key(5)], store)
    with pytest.raises(UnknownKey):
        run(["similar", "404"], store)
    with pytest.raises(UsageError, match="at least 1"):
        run(["similar", key(1), "--count", "0"], store)


@pytest.mark.usefixtures("process_as_it_was")
def test_words_at_odds_with_the_image_are_pointed_out_and_nothing_changes(
    store: Path, text: TextModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert text.figures["edema"].supported
    with open_store(sqlite_url(store)) as opened:
        before = opened.head()
    for number, words, at_odds in (
        (1, "There is pulmonary edema.", False),
        (1, "No pulmonary edema.", True),
        (3, "There is pulmonary edema.", True),
        (3, "No pulmonary edema.", False),
        (3, "Possible pulmonary edema.", False),
    ):
        assert run(["report", "check", key(number), "--words", words, "--json"], store) == 0
        found = result(capsys)
        (one,) = found["statements"]
        assert one["finding"] == "edema"
        assert one["at_odds"] is at_odds, (number, words, one)
        assert "AUC" in one["why"]
        assert found["text_model"] == text.identity
    with open_store(sqlite_url(store)) as opened:
        assert opened.head() == before


@pytest.mark.usefixtures("process_as_it_was")
def test_a_report_is_checked_as_it_stands(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "check", key(1)], store) == 0
    shown = capsys.readouterr().out
    assert "percentile" in shown
    assert "Weak: a reason to look again" in shown


@pytest.mark.usefixtures("process_as_it_was")
def test_another_readers_study_is_refused(store: Path) -> None:
    with pytest.raises(WeightsError, match="was made for"):
        run(["report", "check", key(4)], store)


@pytest.mark.usefixtures("process_as_it_was")
def test_images_are_scored_and_what_is_no_image_is_set_aside(
    root: Path, tmp_path: Path, text: TextModel, capsys: pytest.CaptureFixture[str]
) -> None:
    readers = [path.parent for path in (root / "weights").glob("chest-dino*/card.toml")]
    reader = next((folder.name for folder in readers if read_card(folder / "card.toml").sha256 == text.reader_sha256), None)
    assert reader is not None, "weights/chest-text was made for another reader: run radpipe.train.dual again"
    image = tmp_path / "chest.dcm"
    image.write_bytes(bundled("RG1_UNCI.dcm"))
    (tmp_path / "not.png").write_bytes(b"no image")
    words = ["--text", "No pleural effusion", "--text", "enlarged heart", "--json", "--model", reader]
    assert run(["score", image, tmp_path / "not.png", *words], tmp_path) == 3
    found = result(capsys)
    assert found["calibrated"] is False
    assert found["in_distribution"] is True
    effusion, heart = found["texts"]
    assert effusion["denied_but_not_understood"] == ["pleural_effusion"]
    assert heart["denied_but_not_understood"] == []
    assert 0 <= heart["percentile"] <= 100
    assert found["reference_images"] == len(text.reference)
    with pytest.raises(UsageError, match="no words"):
        run(["score", image, "--text", " "], tmp_path)
