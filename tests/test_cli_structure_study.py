"""`radpipe structure --study`: a free-text report that belongs to a study of the store; and the site's own triage table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from io import BytesIO
from pathlib import Path

import pytest
from fhir.resources.R4B.bundle import Bundle
from pydicom import dcmread

from radpipe.cli.examination import examination
from radpipe.codes import Laterality
from radpipe.sinks import structured_sr
from radpipe.study import Study
from tests.sample_reading import sample_study
from tests.test_cli_structure import lines, structure
from tests.test_pipeline_reports import Site

pytestmark = pytest.mark.usefixtures("process_as_it_was")

TEXT = "FINDINGS:\nSmall right pleural effusion.\nIMPRESSION:\nSmall right pleural effusion."


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Site:
    site = Site(tmp_path_factory.mktemp("site"), samples)
    site.read(0.9, site.now)
    return site


def now(site: Site) -> Study:
    ((reading, _),) = site.store.worklist()
    return reading.study


@pytest.mark.parametrize(
    "name",
    [lambda s: s.study_instance_uid, lambda s: s.accession_number, lambda s: s.study_key],
    ids=["uid", "accession", "key"],
)
def test_the_sr_belongs_to_the_patient_and_study(site: Site, name: Callable[[Study], str]) -> None:
    study = now(site)
    arguments = ("--as", "sr", "--study", name(study), "--store", site.folder)
    status, out, err = structure(*arguments, stdin=TEXT.encode())
    assert (status, err) == (0, "")
    document = dcmread(BytesIO(out))
    image = dcmread(next(site.now.glob("*-pa.dcm")), stop_before_pixels=True)
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber", "StudyDate", "PatientBirthDate"):
        assert document[keyword].value == image[keyword].value
    assert document.SeriesInstanceUID != image.SeriesInstanceUID
    assert structured_sr.parse(out).text == TEXT
    assert structure(*arguments, stdin=TEXT.encode())[1] == out


def test_the_bundle_names_patient_and_study(site: Site) -> None:
    study = now(site)
    status, out, _ = structure(
        "--as", "fhir", "--study", study.study_key, "--store", site.folder, stdin=lines({"id": 1, "text": TEXT})
    )
    assert status == 0
    assert out.count(b"\n") == 1
    bundle = json.loads(out)
    Bundle.model_validate(bundle)
    found = {entry["resource"]["resourceType"]: entry["resource"] for entry in bundle["entry"]}
    assert found["Patient"]["identifier"][0]["value"] == study.patient.patient_id
    assert found["ImagingStudy"]["identifier"][0]["value"] == f"urn:oid:{study.study_instance_uid}"
    assert found["DiagnosticReport"]["subject"]["reference"] == f"urn:uuid:{found['Patient']['id']}"


def test_a_second_report_is_refused_before_anything_is_written(site: Site) -> None:
    given = lines({"id": 1, "text": TEXT}, {"id": 2, "text": TEXT})
    status, out, err = structure(
        "--as", "sr", "-o", site.folder / "sr", "--study", now(site).study_key, "--store", site.folder, stdin=given
    )
    assert (status, out) == (2, b"")
    assert "more were given" in err
    assert not list((site.folder / "sr").iterdir())


@pytest.mark.parametrize("name", ["1.2.3.4", "A0000", "0123456789abcdef", ""])
def test_a_study_that_is_not_here_is_wrong_usage_and_named_to_nobody(site: Site, name: str) -> None:
    status, out, err = structure("--as", "fhir", "--study", name, "--store", site.folder, stdin=TEXT.encode())
    assert (status, out, err.count("\n")) == (2, b"", 1)
    assert "--study names no study of the store" in err
    status, _, err = structure("--as", "fhir", "--study", "1.2.3", "--store", site.folder / "none", stdin=TEXT.encode())
    assert (status, "no store at" in err) == (2, True)


def test_a_form_that_names_no_study_takes_none(site: Site) -> None:
    for form in ("json", "text"):
        status, _, err = structure("--as", form, "--study", "1.2.3", "--store", site.folder, stdin=TEXT.encode())
        assert status == 2
        assert "--study goes with --as sr, --as fhir or --check" in err


def test_a_study_whose_header_is_no_longer_kept_is_told(site: Site) -> None:
    (site.folder / "keep").rename(site.folder / "elsewhere")
    status, out, err = structure("--as", "sr", "--study", now(site).study_key, "--store", site.folder, stdin=TEXT.encode())
    (site.folder / "elsewhere").rename(site.folder / "keep")
    assert (status, out) == (1, b"")
    assert "no image header" in err


def test_check_knows_the_examination_from_the_study(site: Site) -> None:
    """The phantom is a woman's, of 2026-01-12."""
    text = "COMPARISON: 14 February 2026.\nFINDINGS: His prostate was not imaged. Heart size is normal."
    arguments = ("--check", "--study", now(site).accession_number, "--store", site.folder)
    status, out, _ = structure(*arguments, stdin=lines({"id": 1, "text": text}))
    assert status == 0
    kinds = {item["kind"] for item in json.loads(out)["discrepancies"]}
    assert {"sex_mismatch", "comparison_date_after_study"} <= kinds
    said = lines({"id": 1, "text": text, "patient_sex": "M", "study_date": "2026-03-01"})
    assert json.loads(structure(*arguments, stdin=said)[1])["discrepancies"] == []


def test_the_examination_of_a_study_is_what_its_tags_say() -> None:
    study = sample_study()
    known, ignored = examination({}, study)
    assert (known.patient_sex, known.laterality, known.body_part, known.study_date, known.has_prior, ignored) == (
        "F", None, "CHEST", date(2026, 1, 31), None, [],
    )  # fmt: skip
    first, second = study.images
    left, right = replace(first, image_laterality=Laterality.LEFT), replace(second, image_laterality=Laterality.RIGHT)
    assert examination({}, replace(study, images=(left, second)))[0].laterality == "L"
    assert examination({}, replace(study, images=(left, right)))[0].laterality == "B"
    nobody = replace(study.patient, patient_sex="")
    assert examination({}, replace(study, images=(), patient=nobody))[0].patient_sex is None


def test_check_takes_the_categories_of_the_sites_triage_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = Path(__file__).parent.parent / "radpipe" / "rules" / "triage.toml"
    own = tmp_path / "triage.toml"
    own.write_text(critical(rules.read_text(), "hiatal_hernia"))
    text = lines({"id": 1, "text": "FINDINGS: Hiatal hernia."})
    assert json.loads(structure("--check", stdin=text)[1])["discrepancies"] == []
    monkeypatch.setenv("RADPIPE_TRIAGE_RULES", str(own))
    (found,) = json.loads(structure("--check", stdin=text)[1])["discrepancies"]
    assert found["kind"] == "critical_without_action"
    own.write_text("format = 2")
    assert structure("--check", stdin=text)[:2] == (2, b"")
    assert structure(stdin=text)[0] == 0  # a table that nobody asked for is not looked at


def critical(table: str, finding: str) -> str:
    """The table with this finding in ACR category 1."""
    head, tail = table.split(f"[findings.{finding}]")
    entry, *others = tail.split("\n[")
    changed = "\n".join("category = 1" if line.startswith("category") else line for line in entry.splitlines())
    return "\n[".join([f"{head}[findings.{finding}]{changed}\n", *others])
