"""The sample studies are proper DICOM, say that they are phantoms, and hold what expected.json says they hold."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from radpipe.codes import FINDINGS
from radpipe.samples import studies, write_samples
from radpipe.samples.lesions import RIGHT, Effusion, Nodule, Pneumothorax
from radpipe.samples.phantom import Exposure, radiograph
from radpipe.samples.skeleton import Person
from radpipe.samples.studies import STUDIES

INCOMPLETE = {"greta-2026", "hugo-2026/2-lateral.dcm"}
"""What is meant to be invalid: one lacks type 2 attributes, one is cut short."""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return folder


@pytest.fixture(scope="module")
def expected(samples: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((samples / "expected.json").read_text(encoding="utf-8"))
    return found


def _good_files(samples: Path) -> list[Path]:
    return [path for path in sorted(samples.glob("*/*.dcm")) if f"{path.parent.name}/{path.name}" not in INCOMPLETE]


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_bytes_are_written_every_time(samples: Path, tmp_path: Path) -> None:
    some = [study for study in STUDIES if study.header.key in ("ada-2026", "dermot-2026", "edgar-2026", "ida-2026")]
    studies.write_samples(tmp_path, some)
    again = _digests(tmp_path)
    first = _digests(samples)
    images = [name for name in again if name.endswith(".dcm")]
    assert len(images) == 4
    assert {name: again[name] for name in images} == {name: first[name] for name in images}


def test_the_committed_table_and_truth_are_those_of_the_generator(samples: Path, root: Path) -> None:
    committed = root / "sample_dicoms"
    assert (committed / "README.md").read_text(encoding="utf-8") == (samples / "README.md").read_text(encoding="utf-8")
    ours = json.loads((committed / "expected.json").read_text(encoding="utf-8"))
    theirs = json.loads((samples / "expected.json").read_text(encoding="utf-8"))
    for one, other in zip(ours["studies"], theirs["studies"], strict=True):
        for image, same in zip(one["images"], other["images"], strict=True):
            for finding, again in zip(image["painted"], same["painted"], strict=True):
                # Another machine's arithmetic may move an edge by a pixel or two.
                np.testing.assert_allclose(finding.pop("box_px") or 0, again.pop("box_px") or 0, atol=3)
    assert ours == theirs


def test_a_good_sample_has_no_error_for_dciodvfy(samples: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    for path in _good_files(samples):
        if path.parent.name in INCOMPLETE:
            continue
        ran = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in (ran.stdout + ran.stderr).splitlines() if line.startswith("Error")]
        assert errors == [], f"{path.parent.name}/{path.name}"


def test_every_sample_says_that_it_is_a_phantom(samples: Path) -> None:
    for path in sorted(samples.glob("*/*.dcm")):
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        name = str(ds.PatientName)
        assert "Phantom" in name or "Фантом" in name
        assert "phantom" in ds.PatientComments
        assert ds.Manufacturer == "radpipe phantom generator"
        assert ds.StudyInstanceUID.startswith("2.25.")
        assert ds.BurnedInAnnotation == "NO"


def test_names_beyond_ascii_come_back_as_they_were_written(samples: Path) -> None:
    assert pydicom.dcmread(samples / "sonja-2026/1-pa.dcm").PatientName == "Фантом^Соня"
    assert pydicom.dcmread(samples / "hanako-2026/1-pa.dcm").PatientName.ideographic == "模型^花子"
    assert pydicom.dcmread(samples / "dermot-2026/1-pa.dcm").PatientName.family_name == "O'Phantom"


def test_every_good_sample_decodes_to_twelve_bits_of_a_chest_or_hand(samples: Path) -> None:
    for path in _good_files(samples):
        ds = pydicom.dcmread(path)
        pixels = ds.pixel_array
        assert pixels.shape == (ds.Rows, ds.Columns)
        assert pixels.max() <= 4095
        shown = 4095 - pixels if ds.PhotometricInterpretation == "MONOCHROME1" else pixels
        middle = shown[ds.Rows // 4 : -ds.Rows // 4, ds.Columns // 4 : -ds.Columns // 4]
        corner = shown[8:40, 8:40]
        assert middle.mean() > corner.mean() + 500, path.parent.name  # bright is dense, the air beside the neck is dark


def test_the_truth_uses_known_findings_and_names_real_files_and_priors(samples: Path, expected: dict[str, Any]) -> None:
    by_key = {study["study"]: study for study in expected["studies"]}
    assert len(by_key) == 14
    for study in by_key.values():
        assert set(study["painted"]) <= set(FINDINGS)
        if study["prior"]:
            prior = by_key[study["prior"]]
            assert prior["study_date"] < study["study_date"]
            assert prior["patient_id"] == study["patient_id"]
            assert prior["study_instance_uid"] == study["prior_study_instance_uid"]
        for image in study["images"]:
            ds = pydicom.dcmread(samples / image["file"], stop_before_pixels=True)
            assert (ds.StudyInstanceUID, ds.SOPInstanceUID) == (study["study_instance_uid"], image["sop_instance_uid"])
    kinds = {change["change"] for study in by_key.values() for change in study["changes"]}
    assert kinds == {"new", "increased", "unchanged", "resolved"}


def test_the_damaged_file_has_a_header_but_not_its_pixels(samples: Path) -> None:
    path = samples / "hugo-2026/2-lateral.dcm"
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    assert ds.SOPInstanceUID
    assert path.stat().st_size < ds.Rows * ds.Columns * 2


def test_a_nodule_of_27_mm_measures_27_mm_with_the_pixel_spacing(samples: Path, expected: dict[str, Any]) -> None:
    study = next(study for study in expected["studies"] if study["study"] == "bruno-2026")
    top, left, bottom, right = study["images"][0]["painted"][0]["box_px"]
    spacing = float(pydicom.dcmread(samples / "bruno-2026/1-pa.dcm").PixelSpacing[0])
    assert (bottom - top) * spacing == pytest.approx(27.0, rel=0.08)
    assert (right - left) * spacing == pytest.approx(27.0, rel=0.08)


@pytest.mark.parametrize(
    ("lesion", "brighter"),
    [(Effusion(RIGHT, 85.0), True), (Nodule((-78.0, 10.0, 98.0), 30.0), True), (Pneumothorax(RIGHT, 44.0), False)],
)
def test_a_lesion_changes_the_picture_where_its_box_is_and_on_its_side(lesion: Any, brighter: bool) -> None:
    person = Person(12)
    without = radiograph(person, Exposure("PA", 5))
    with_lesion = radiograph(person, Exposure("PA", 5, (lesion,)))
    (painted,) = with_lesion.painted
    assert painted.laterality == "right"
    assert painted.box_px is not None
    top, left, bottom, right = painted.box_px
    assert right <= with_lesion.pixels.shape[1] * 0.56  # the patient's right is at the viewer's left
    change = with_lesion.pixels.astype(float) - without.pixels
    # The outer half of the box, where free air collects; against the other side, since the display curve follows the whole
    # picture.
    outer = (slice(top, bottom), slice(left, (left + right) // 2))
    here, there = change[outer].mean(), change[:, ::-1][outer].mean()
    assert (here > there + 100) if brighter else (here < there - 100)


def test_the_heart_of_a_bedside_exposure_is_magnified() -> None:
    def heart_mm(view: str) -> float:
        from radpipe.samples.phantom import _projection
        from radpipe.samples.torso import heart

        projection = _projection(Exposure(view, 1), np.random.default_rng(0))
        columns = np.nonzero(heart(projection, Person(3)).max(axis=0) > 1)[0]
        return float((columns.max() - columns.min()) * projection.pixel_mm)

    assert heart_mm("AP") > 1.08 * heart_mm("PA")
