"""Reports of earlier studies on the whole way: from folder, import and signature into reading, draft, triage, outputs."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from radpipe import review, structure, triage
from radpipe.demo import EARLIER_REPORT
from radpipe.desk import Desk
from radpipe.finding import ChangeKind
from radpipe.models.fake import FakeModel, fake_card
from radpipe.observation import Assertion
from radpipe.pipeline import Pipeline, Run, ingest
from radpipe.reading import Reading
from radpipe.record import run_record
from radpipe.report import Person, Report, Role, SectionName
from radpipe.reported import OutsideReport, ReportOrigin
from radpipe.samples.dicom_write import sample_uid
from radpipe.sources.folder import FolderSource
from radpipe.store import SqlStore, open_store
from radpipe.store.keep import FolderKeep
from radpipe.study import Patient
from tests.sr_documents import CONCLUSION, FINDING, FINDINGS, IMPRESSION, document, section

CARD = fake_card({"pleural_effusion": (0.6, 0.3), "pneumothorax": (0.6, 0.3), "abnormal": (0.6, 0.3)})
LEE = Person("lee", "Lee^Ann", Role.RADIOLOGIST)
ADA = Patient("PHANTOM-01", "RADPIPE PHANTOMS")
EFFUSION_THEN = [
    section(FINDINGS, FINDING, "Small right pleural effusion."),
    section(IMPRESSION, CONCLUSION, "No pneumothorax."),
]
NONE_THEN = [section(FINDINGS, FINDING, "No pleural effusion.")]


class Site:
    """A store, and two studies of one patient: 2025-09-03 and 2026-01-12."""

    def __init__(self, folder: Path, samples: Path) -> None:
        self.folder = folder
        self.then, self.now = folder / "then", folder / "now"
        shutil.copytree(samples / "ada-2025", self.then)
        shutil.copytree(samples / "ada-2026", self.now)
        self.store: SqlStore = open_store(f"sqlite:///{folder / 'radpipe.db'}")
        self.keep = FolderKeep(folder / "keep")

    def pipeline(self, effusion: float, *paths: Path) -> Pipeline:
        answer = np.array([effusion, 0.05, 0.2], np.float32)
        return Pipeline(
            store=self.store,
            keep=self.keep,
            source=FolderSource(paths),
            model=lambda: FakeModel(CARD, lambda batch: np.tile(answer, (len(batch), 1))),
            rules=triage.read_rules(triage.RULES_PATH),
            configuration_sha256="c" * 64,
            model_sha256=CARD.sha256,
            input_spec=CARD.input,
            clock=lambda: datetime(2026, 11, 23, tzinfo=UTC),
        )

    def read(self, effusion: float, *paths: Path) -> Reading:
        """Read what is there; the last study's reading. The model sees an effusion with this probability everywhere."""
        pipeline = self.pipeline(effusion, *paths)
        readings = list(Run(pipeline, ingest(pipeline).studies))
        return max(readings, key=lambda reading: str(reading.study.study_date))

    def put_report(self, content: Any = None, name: str = "report.dcm", **changed: Any) -> None:
        """An SR document beside the earlier study's image."""
        header = dcmread(next(self.then.glob("*-pa.dcm")), stop_before_pixels=True)
        names = ("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex",
                 "StudyDate", "StudyTime", "AccessionNumber")  # fmt: skip
        same = {keyword: header[keyword].value for keyword in names}
        (self.then / name).write_bytes(document(content, **{**same, **changed}))

    def desk(self) -> Desk:
        return Desk(self.store, self.keep, FolderSource([self.folder]).read, clock=lambda: datetime(2026, 2, 1, tzinfo=UTC))

    def report(self, reading: Reading) -> Report:
        assert reading.report is not None
        return self.store.report(reading.report.report_key)


@pytest.fixture
def site(tmp_path: Path, samples: Path) -> Site:
    return Site(tmp_path, samples)


def compared(reading: Reading) -> list[str]:
    assert reading.report is not None
    comparison = reading.report.section(SectionName.COMPARISON)
    assert comparison is not None
    return [sentence.text for sentence in comparison.sentences]


def imported(words: str, **changed: object) -> OutsideReport:
    base = OutsideReport(words, ReportOrigin.IMPORTED, "1.2.840.99.1", study_date=date(2025, 11, 2), patient=ADA)
    return replace(base, **changed)  # type: ignore[arg-type]


def test_the_sr_in_the_earlier_studys_folder_takes_part_in_the_comparison(site: Site) -> None:
    site.put_report(NONE_THEN)
    site.read(0.1, site.then)
    reading = site.read(0.9, site.now)
    told = reading.prior_report
    assert told is not None
    assert reading.prior is not None
    assert told.study_instance_uid == reading.prior.study_instance_uid
    assert (told.study_date, told.source) == (date(2025, 9, 3), "DICOM SR 1.2.3.99")
    assert [(one.finding, one.status, one.quote) for one in told.statements] == [
        ("pleural_effusion", Assertion.ABSENT, "No pleural effusion")
    ]
    assert compared(reading)[1:] == ["Pleural effusion was reported absent on 2025-09-03."]
    assert [change.change for change in reading.changes if change.finding == "pleural_effusion"] == [ChangeKind.NEW]


def test_running_again_changes_nothing(site: Site) -> None:
    site.put_report(NONE_THEN)
    site.read(0.1, site.then)
    first = site.read(0.9, site.now)
    entries = site.store.verify()
    pipeline = site.pipeline(0.9, site.then, site.now)
    run = Run(pipeline, ingest(pipeline).studies)
    known = run.known()
    assert first in known
    assert not run.start()
    assert site.store.verify() == entries


def test_a_report_that_comes_later_makes_a_new_reading_and_the_same_again_does_not(site: Site) -> None:
    first = site.read(0.9, site.now)
    assert first.prior_report is None
    site.store.save_reported(imported("FINDINGS: No pleural effusion."))
    second = site.read(0.9, site.now)
    assert second.run_key != first.run_key
    assert compared(second) == [
        "None: no earlier study of this patient is in the store.",
        "Pleural effusion was reported absent on 2025-11-02.",
    ]
    site.store.save_reported(imported("FINDINGS: No pleural effusion."))
    assert site.read(0.9, site.now).run_key == second.run_key
    assert site.store.study_reading(first.study.study_instance_uid) == second


def test_a_report_that_waited_for_its_study_is_used_once_both_are_there(site: Site) -> None:
    of_study = str(sample_uid("study", "ada-2025"))
    site.store.save_reported(OutsideReport(EARLIER_REPORT, ReportOrigin.IMPORTED, of_study))
    assert site.read(0.9, site.now).prior_report is None
    reading = site.read(0.9, site.then, site.now)
    assert "Pleural effusion was reported absent on 2025-09-03." in compared(reading)


def test_a_report_on_which_a_person_has_worked_stands(site: Site) -> None:
    first = site.read(0.9, site.now)
    corrected = review.accept(site.report(first), "pleural_effusion", LEE, datetime(2026, 2, 1, tzinfo=UTC))
    site.store.save_report(corrected, action="accept", by=LEE)
    site.store.save_reported(imported("FINDINGS: No pleural effusion."))
    pipeline = site.pipeline(0.9, site.now)
    run = Run(pipeline, ingest(pipeline).studies)
    (reading,) = list(run)
    assert run.held == {first.study.study_key}
    assert reading.run_key == first.run_key
    assert site.report(first) == corrected


def test_other_rules_read_the_reports_anew_but_never_under_what_a_person_has_worked_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.store.save_reported(imported("FINDINGS: No pleural effusion."))
    first = site.read(0.9, site.now)
    monkeypatch.setattr("radpipe.structure.FORMAT", structure.FORMAT + 1)
    second = site.read(0.9, site.now)
    assert second.run_key != first.run_key
    final = review.sign(site.report(second), LEE, datetime(2026, 2, 1, tzinfo=UTC))
    site.store.save_report(final, action="sign", by=LEE)
    monkeypatch.setattr("radpipe.structure.FORMAT", structure.FORMAT + 2)
    assert site.read(0.9, site.now).run_key == second.run_key
    assert site.report(second) == final


def test_what_the_report_stated_present_is_not_raised_as_new_and_the_disagreement_is_said(site: Site) -> None:
    site.put_report(EFFUSION_THEN)
    site.read(0.1, site.then)
    reading = site.read(0.9, site.now)
    assert compared(reading)[1:] == [
        "Right pleural effusion was reported present on 2025-09-03.",
        "The image comparison reads the pleural effusion as new; the report of 2025-09-03 stated it present.",
    ]
    reason = reading.priority.reasons[0]
    assert "new since 2025-09-03 by the images, but reported present on 2025-09-03: not raised as new" in reason


def test_our_own_signed_report_takes_part_without_its_words_being_read(site: Site) -> None:
    earlier = site.read(0.1, site.then)
    before = site.read(0.9, site.now)
    assert before.prior_report is None
    desk = site.desk()
    site.store.add_person(LEE)
    key = site.report(earlier).report_key
    desk.edit(key, "pleural_effusion", "Trace on the left, if anything.", "lee", review.Stance.UNSURE)
    desk.sign(key, "lee")
    reading = site.read(0.9, site.now)
    told = reading.prior_report
    assert told is not None
    assert reading.run_key != before.run_key
    assert told.source == f"radpipe report {key} version 3"
    assert {one.finding: one.status for one in told.statements} == {
        "pleural_effusion": Assertion.UNCERTAIN,
        "pneumothorax": Assertion.ABSENT,
    }
    assert compared(reading)[1:] == ["Pleural effusion was reported as uncertain on 2025-09-03."]


def test_our_own_sr_that_comes_back_from_the_archive_is_not_read_as_a_report(site: Site) -> None:
    earlier = site.read(0.1, site.then)
    desk = site.desk()
    (site.then / "draft.dcm").write_bytes(desk.render(earlier, site.report(earlier), "sr"))
    assert site.read(0.1, site.then).prior_report is None
    assert site.read(0.9, site.now).prior_report is None


def test_a_report_of_another_patient_in_the_same_study_is_set_aside_and_not_taken(site: Site) -> None:
    site.put_report(EFFUSION_THEN, PatientID="PHANTOM-77")
    site.read(0.1, site.then)
    reading = site.read(0.9, site.now)
    assert reading.prior_report is None
    assert "reported.added" not in [entry.action for entry in site.store.audit()]


def test_a_report_of_another_body_part_is_passed_over(site: Site) -> None:
    hand = next(site.then.glob("*-pa.dcm"))
    image = dcmread(hand)
    image.BodyPartExamined, image.SeriesDescription, image.StudyDescription = "HAND", "Hand", "Hand"
    image.save_as(hand)
    site.put_report(EFFUSION_THEN)
    site.read(0.1, site.then)
    assert site.read(0.9, site.now).prior_report is None


def test_a_report_of_another_body_part_whose_study_is_not_here_is_passed_over(site: Site) -> None:
    site.store.save_reported(imported("CT HEAD. Left frontal mass with midline shift. No intracranial hemorrhage."))
    assert site.read(0.9, site.now).prior_report is None


def test_an_earlier_study_of_which_only_the_report_is_there_counts(site: Site) -> None:
    site.put_report(NONE_THEN)
    next(site.then.glob("*-pa.dcm")).unlink()
    site.read(0.1, site.then)
    reading = site.read(0.9, site.now)
    assert reading.prior is None
    assert compared(reading)[1:] == ["Pleural effusion was reported absent on 2025-09-03."]


def test_a_study_that_is_not_read_has_no_prior_report(site: Site, samples: Path) -> None:
    site.store.save_reported(imported("No pleural effusion.", patient=Patient("PHANTOM-10", "RADPIPE PHANTOMS")))
    reading = site.read(0.9, samples / "ida-2026")
    assert not reading.is_read
    assert run_record(reading, {})["prior_report"] is None


@pytest.fixture
def told(site: Site) -> tuple[Site, Reading, Report]:
    site.put_report(EFFUSION_THEN)
    site.read(0.1, site.then)
    reading = site.read(0.9, site.now)
    return site, reading, site.report(reading)


def words(item: Dataset) -> list[str]:
    """All text values of a document."""
    return [item.get("TextValue", ""), *(text for child in item.get("ContentSequence", ()) for text in words(child))]


@pytest.mark.parametrize("form", ["text", "json", "fhir", "hl7", "html", "sr"])
def test_every_output_carries_the_sentences(told: tuple[Site, Reading, Report], form: str) -> None:
    site, reading, report = told
    content = site.desk().render(reading, report, form)
    if form == "sr":
        text = " ".join(words(dcmread(BytesIO(content))))
    elif form == "fhir":
        bundle = json.loads(content)
        text = bundle["entry"][0]["resource"]["text"]["div"]
    else:
        text = content.decode()
    joined = " ".join(text.split())
    assert "Right pleural effusion was reported present on 2025-09-03." in joined
    assert "the report of 2025-09-03 stated it present." in joined


def test_the_page_and_the_json_show_the_words_and_where_they_stand(told: tuple[Site, Reading, Report]) -> None:
    site, reading, report = told
    page = site.desk().render(reading, report, "html").decode()
    assert "DICOM SR 1.2.3.99" in page
    assert '<em class="by">earlier report</em>' in page
    assert "Small right pleural effusion" in page
    found = json.loads(site.desk().render(reading, report, "json"))["prior_report"]
    assert found["statements"][0]["quote"]


def test_dciodvfy_finds_no_error_in_the_sr(told: tuple[Site, Reading, Report], tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    site, reading, report = told
    path = tmp_path / "report.sr.dcm"
    path.write_bytes(site.desk().render(reading, report, "sr"))
    ran = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert [line for line in (ran.stdout + ran.stderr).splitlines() if line.startswith("Error")] == []


def test_nothing_of_a_report_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    site.put_report([section(FINDINGS, FINDING, "Xylophagous effusion.")])
    site.read(0.1, site.then)
    site.read(0.9, site.now)
    assert "Xylophagous" not in caplog.text
    assert not any("Xylophagous" in entry.detail for entry in site.store.audit())
