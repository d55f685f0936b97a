"""`radpipe calibrate`, with the model that ships on drawn pictures, and what it refuses."""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from radpipe.calibration import NEVER_ABSENT, calibrated_card, read_calibration
from radpipe.cli import calibrate, evaluate
from radpipe.errors import UsageError
from radpipe.evaluate.images import read_answers
from radpipe.evaluate.manifest import read_manifest
from radpipe.evaluate.site import calibrate_site
from radpipe.models.fake import FakeModel, fake_card
from radpipe.settings import load_settings
from tests.drawn_site import drawn_site, read_picture


def run(*arguments: str | Path) -> int:
    """The command without `main`: its errors are raised."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true")
    for module in (calibrate, evaluate):
        module.add_commands(commands, common, argparse.HelpFormatter)
    options = parser.parse_args([str(argument) for argument in arguments])
    overrides = {name: getattr(options, name, None) for name in ("model", "weights", "backend")}
    status: int = options.command(options, load_settings(environ={}, overrides=overrides))
    return status


def model(seed: int = 0) -> FakeModel:
    """Its probability is the picture's brightness, which is too high for what is there; a mass it cannot see at all."""
    card = fake_card({"pleural_effusion": (0.5, 0.2), "mass": (0.5, 0.2), "nodule": (0.5, 0.2)})

    def answer(batch: np.ndarray) -> np.ndarray:
        bright = (batch[:, 0] > 0).mean((1, 2)).clip(0.01, 0.99)
        return np.column_stack([bright, 1 - bright, np.full(len(batch), 0.3)])

    return FakeModel(card, answer)


def test_a_site_with_enough_of_a_finding_gets_its_own_thresholds_and_better_probabilities(tmp_path: Path) -> None:
    manifest = read_manifest(drawn_site(tmp_path, 400))
    made = calibrate_site(read_answers(model(), manifest, read_picture), manifest, made_on=date(2026, 11, 23), samples=50)
    effusion, mass, nodule = made.labels
    assert effusion.decided
    assert effusion.refitted
    assert effusion.ece_after < 0.5 * effusion.ece_before
    assert effusion.miss <= 0.3
    assert effusion.false_alarm <= 0.1
    assert 0 < effusion.rule_out <= effusion.threshold < 1
    assert mass.slope == 0  # there its score falls with the finding
    assert "not stated" in mass.why
    assert not nodule.decided
    assert "it takes 20 of each" in nodule.why
    assert made.weak == ""
    assert (made.images, made.manifest_sha256) == (400, manifest.sha256)
    card = calibrated_card(model().card, made)
    assert [label.assessed for label in card.labels] == [True, False, True]


def test_a_bound_that_the_patients_cannot_carry_is_never_called_absent(tmp_path: Path) -> None:
    manifest = read_manifest(drawn_site(tmp_path, 200))
    answers = read_answers(model(), manifest, read_picture)
    made = calibrate_site(answers, manifest, made_on=date(2026, 11, 23), miss_bound=0.005, samples=20)
    assert made.labels[0].rule_out == NEVER_ABSENT
    assert "never called absent" in made.labels[0].why


def test_few_images_are_refused_and_with_least_marked_as_weak(tmp_path: Path) -> None:
    manifest = read_manifest(drawn_site(tmp_path, 90))
    answers = read_answers(model(), manifest, read_picture)
    with pytest.raises(UsageError, match=r"90 labelled images can be used, and 200 are needed.*--least 90"):
        calibrate_site(answers, manifest, made_on=date(2026, 11, 23))
    made = calibrate_site(answers, manifest, made_on=date(2026, 11, 23), least=90, samples=20)
    assert made.weak == "90 labelled images, fewer than 200"


def test_the_command_reads_studies_and_writes_what_the_evaluation_then_uses(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = sorted(folder for folder in samples.iterdir() if folder.is_dir() and any(folder.iterdir()))[:8]
    manifest, output = tmp_path / "manifest.csv", tmp_path / "calibration.toml"
    rows = [f"{folder},{folder.name.split('-')[0]},{number % 2}" for number, folder in enumerate(studies)]
    manifest.write_text("\n".join(["file,patient,abnormal", *rows, "gone.png,gone,1"]) + "\n", encoding="utf-8")
    assert run("calibrate", manifest, "--output", output, "--least", "5") == 3
    said = capsys.readouterr()
    assert "set aside: gone.png: it cannot be read" in said.err
    assert "WEAK: " in said.out
    assert "Kept as the model's card has them" in said.out
    assert f"RADPIPE_CALIBRATION={output}" in said.out
    made = read_calibration(output)
    assert made.model_name == "chest-dinov2s"

    page = tmp_path / "errors.html"
    assert run("evaluate", "images", manifest, "--calibration", output, "--page", page, "--errors", "1", "--json") == 3
    record = json.loads(capsys.readouterr().out)
    assert f"+site.{made.sha256[:12]}" in record["model"]
    assert record["images"] == made.images
    assert page.read_bytes().startswith(b"<!DOCTYPE html>")


def test_the_command_refuses_before_it_reads_an_image(tmp_path: Path) -> None:
    manifest = drawn_site(tmp_path, 10)
    for arguments, what in (
        ([], "names 10 studies, and 200 are needed"),
        (["--least", "0"], "--least"),
        (["--miss-bound", "1.5"], "--miss-bound is a share between 0 and 1"),
        (["--output", str(tmp_path)], "is no file in a folder"),
    ):
        with pytest.raises(UsageError, match=what):
            run("calibrate", manifest, *arguments)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv"] + [".png"] * 10
