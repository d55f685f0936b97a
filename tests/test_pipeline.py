"""The whole way, on real DICOM files and the sample studies, with a model that is a function."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from radpipe import review, triage
from radpipe.finding import ChangeKind, Decision, Level
from radpipe.models.fake import FakeModel, fake_card
from radpipe.pipeline import Ingested, Pipeline, Run, ingest
from radpipe.ports import Prediction
from radpipe.reading import Reading
from radpipe.record import run_record
from radpipe.report import PRELIMINARY, Person, Role, SectionName
from radpipe.sources.folder import FolderSource
from radpipe.store import open_store
from radpipe.store.keep import FolderKeep
from radpipe.study import Basis, View

CARD = fake_card({"pleural_effusion": (0.6, 0.3), "pneumothorax": (0.6, 0.3), "abnormal": (0.6, 0.3)})
Answer = Callable[[np.ndarray], np.ndarray | Prediction]


def bases_are_dense(batch: np.ndarray) -> np.ndarray:
    """An honest little reader: the denser the lowest quarter against the middle, the likelier an effusion."""
    low = batch[:, 0, 22:28, :].mean(axis=(1, 2)) - batch[:, 0, 8:18, :].mean(axis=(1, 2))
    p = 1 / (1 + np.exp(-3 * low))
    return np.stack([p, np.full_like(p, 0.05), p], axis=1).astype(np.float32)


def constant(*probabilities: float) -> Answer:
    return lambda batch: np.tile(np.array(probabilities, np.float32), (len(batch), 1))


@pytest.fixture
def assemble(tmp_path: Path) -> Callable[..., Pipeline]:
    def pipeline(*paths: Path, answer: Answer = bases_are_dense, store: str = "store", **changed: object) -> Pipeline:
        folder = tmp_path / store
        folder.mkdir(exist_ok=True)
        built = Pipeline(
            store=open_store(f"sqlite:///{folder / 'radpipe.db'}"),
            keep=FolderKeep(folder / "keep"),
            source=FolderSource(paths),
            model=lambda: FakeModel(CARD, answer),
            rules=triage.read_rules(triage.RULES_PATH),
            configuration_sha256="c" * 64,
            model_sha256=CARD.sha256,
            input_spec=CARD.input,
            batch_studies=3,
            clock=lambda: datetime(2026, 11, 23, tzinfo=UTC),
        )
        return replace(built, **changed)  # type: ignore[arg-type]

    return pipeline


def read(pipeline: Pipeline) -> tuple[Ingested, list[Reading], Run]:
    ingested = ingest(pipeline)
    run = Run(pipeline, ingested.studies)
    return ingested, list(run), run


def lines(readings: list[Reading]) -> list[str]:
    """As JSON, without times."""
    records = [run_record(reading, {}) for reading in readings]
    for record in records:
        record.pop("seconds")
    return [json.dumps(record) for record in records]


def bundled(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str)
    return Path(found)


def test_every_sample_study_is_read_or_says_why_not(assemble: Callable[..., Pipeline], samples: Path) -> None:
    _, readings, _ = read(assemble(samples))
    assert len(readings) >= 12
    for reading in readings:
        assert reading.is_read == (reading.report is not None)
        assert reading.is_read or reading.priority.level is Level.NOT_READ
        assert reading.priority.reasons
    assert any(reading.changes for reading in readings)


def test_every_sentence_of_every_draft_has_evidence_on_an_image_of_the_study_or_its_prior(
    assemble: Callable[..., Pipeline], samples: Path
) -> None:
    _, readings, _ = read(assemble(samples))
    sentences = 0
    for reading in readings:
        if reading.report is None:
            continue
        own = {image.sop_instance_uid for image in reading.study.images}
        for sentence in reading.report.sentences:
            sentences += 1
            assert sentence.evidence
            assert {item.sop_instance_uid for item in sentence.evidence} <= own
            if sentence.change is not None:
                assert reading.prior is not None
                assert {i.prior_sop_instance_uid for i in sentence.evidence if i.prior_sop_instance_uid} == {
                    reading.prior.sop_instance_uid
                }
    assert sentences > 100


def test_running_again_changes_nothing_and_gives_the_same_lines(assemble: Callable[..., Pipeline], samples: Path) -> None:
    first_pipeline = assemble(samples)
    _, first, _ = read(first_pipeline)
    entries = first_pipeline.store.verify()  # type: ignore[attr-defined]
    again = assemble(samples)
    ingested = ingest(again)
    run = Run(again, ingested.studies)
    known = run.known()
    assert not run.start()
    assert list(run) == []
    assert lines(known) == lines(first)
    assert again.store.verify() == entries  # type: ignore[attr-defined]


def test_two_stores_give_the_same_lines(assemble: Callable[..., Pipeline], samples: Path) -> None:
    assert lines(read(assemble(samples, store="one"))[1]) == lines(read(assemble(samples, store="two"))[1])


def test_a_part_that_arrives_later_is_read_with_what_came_before(
    assemble: Callable[..., Pipeline], samples: Path, tmp_path: Path
) -> None:
    both = next(folder for folder in sorted(samples.iterdir()) if len(list(folder.glob("*.dcm"))) == 2)
    parts = sorted(both.glob("*.dcm"))
    for number, part in enumerate(parts):
        _, (reading,), _ = read(assemble(part))
        assert reading.study.instances + len(reading.study.set_aside) == number + 1


def test_a_report_on_which_a_person_has_worked_stands(assemble: Callable[..., Pipeline]) -> None:
    path = bundled("RG1_UNCI.dcm")
    pipeline = assemble(path)
    _, (first,), _ = read(pipeline)
    assert first.report is not None
    lee = Person("lee", "Lee^Ann", Role.RADIOLOGIST)
    corrected = review.accept(first.report, "pneumothorax", lee, pipeline.clock())
    pipeline.store.save_report(corrected, action="accept", by=lee)
    _, (second,), run = read(assemble(path, model_sha256="d" * 64))
    assert second.run_key == first.run_key
    assert run.held == {first.study.study_key}
    assert pipeline.store.report(first.report.report_key) == corrected


def test_an_input_that_comes_back_stands_again(assemble: Callable[..., Pipeline]) -> None:
    path = bundled("RG1_UNCI.dcm")
    keys = [read(assemble(path, model_sha256=letter * 64))[1][0].run_key for letter in "aba"]
    assert keys[0] == keys[2] != keys[1]
    assert [reading.run_key for reading, _ in assemble(path).store.worklist()] == [keys[0]]


def test_a_file_that_cannot_be_reached_now_is_tried_again_and_takes_no_readings_place(
    assemble: Callable[..., Pipeline], tmp_path: Path
) -> None:
    path = tmp_path / "film.dcm"
    shutil.copy(bundled("RG1_UNCI.dcm"), path)
    pipeline = assemble(path)
    ingested = ingest(pipeline)
    path.rename(tmp_path / "away.dcm")
    (failed,) = list(Run(pipeline, ingested.studies))
    assert not failed.is_read
    (tmp_path / "away.dcm").rename(path)
    (again,) = list(Run(pipeline, ingest(pipeline).studies))
    assert again.is_read
    path.unlink()
    (later,) = list(Run(assemble(tmp_path, model_sha256="e" * 64), ingested.studies))
    assert not later.is_read
    assert [reading.run_key for reading, _ in pipeline.store.worklist()] == [again.run_key]


def test_studies_that_arrived_before_a_crash_are_known_as_unread(assemble: Callable[..., Pipeline], samples: Path) -> None:
    pipeline = assemble(samples)
    ingested = ingest(pipeline)  # and then the power fails
    unread = assemble(samples).store.unread_studies()
    assert {study.study_key for study, _ in unread} == {study.study_key for study in ingested.studies}
    list(Run(pipeline, [study for study, _ in unread]))
    assert pipeline.store.unread_studies() == ()


def test_a_comparison_that_had_to_wait_for_the_prior_is_made_up(assemble: Callable[..., Pipeline], samples: Path) -> None:
    pipeline = assemble(samples)
    ingested = ingest(pipeline)
    later = next(s for s in ingested.studies if pipeline.store.patient_studies(s.patient, before=s))
    (alone,) = list(Run(pipeline, [later]))
    assert alone.prior is None
    assert "not read by this model" in (alone.why_no_prior or "")
    readings = {reading.study.study_key: reading for reading in Run(pipeline, ingested.studies)}
    assert readings[later.study_key].prior is not None


def test_an_odd_image_stops_no_other(assemble: Callable[..., Pipeline], tmp_path: Path) -> None:
    from pydicom import dcmread
    from pydicom.uid import generate_uid

    odd = dcmread(bundled("RG1_UNCI.dcm"))
    odd.Rows, odd.Columns, odd.PixelData = 6240, 8, bytes(8 * 6240 * 2)
    odd.StudyInstanceUID, odd.SeriesInstanceUID, odd.SOPInstanceUID = generate_uid(), generate_uid(), generate_uid()
    odd.file_meta.MediaStorageSOPInstanceUID = odd.SOPInstanceUID
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    odd.save_as(inbox / "odd.dcm")
    shutil.copy(bundled("RG1_UNCI.dcm"), inbox)
    _, readings, _ = read(assemble(inbox))
    assert len(readings) == 2
    assert any(reading.is_read and reading.study.images[0].rows == 1955 for reading in readings)


def test_a_model_that_fails_on_one_image_reads_the_others(assemble: Callable[..., Pipeline], samples: Path) -> None:
    def picky(batch: np.ndarray) -> np.ndarray:
        if (np.abs(batch.mean(axis=(1, 2, 3)) - target) < 1e-6).any():
            raise RuntimeError("no")
        return bases_are_dense(batch)

    means: list[float] = []

    def measuring(batch: np.ndarray) -> np.ndarray:
        means.extend(float(mean) for mean in batch.mean(axis=(1, 2, 3)))
        return bases_are_dense(batch)

    _, usual, _ = read(assemble(samples, store="usual", answer=measuring))
    target = means[2]
    _, readings, _ = read(assemble(samples, answer=picky))
    assert sum(r.is_read for r in usual) - sum(r.is_read for r in readings) == 1


def test_another_model_reads_again(assemble: Callable[..., Pipeline]) -> None:
    path = bundled("RG1_UNCI.dcm")
    _, first, _ = read(assemble(path))
    _, second, run = read(assemble(path, model_sha256="d" * 64))
    assert first[0].run_key != second[0].run_key
    assert run.unchanged == frozenset()


def test_a_real_inverted_chest_radiograph_is_read(assemble: Callable[..., Pipeline]) -> None:
    _, (reading,), _ = read(assemble(bundled("RG1_UNCI.dcm")))
    assert reading.is_read
    assert reading.study.body_part == "CHEST"
    assert reading.study.images[0].view is View.PA
    assert reading.study.images[0].spacing_mm is None  # the file says 0.000 x 0.000
    assert reading.why_no_prior == "no earlier study of this patient is in the store"


@pytest.mark.parametrize("name", ["RG1_J2KI.dcm", "RG1_J2KR.dcm"])
def test_the_same_radiograph_compressed_gives_the_same_findings(assemble: Callable[..., Pipeline], name: str) -> None:
    _, (plain,), _ = read(assemble(bundled("RG1_UNCI.dcm"), store="plain"))
    _, (compressed,), _ = read(assemble(bundled(name), store="compressed"))
    for one, other in zip(plain.findings, compressed.findings, strict=True):
        assert one.decision is other.decision
        assert one.probability == pytest.approx(other.probability, abs=0.01)


def test_a_study_that_no_model_covers_is_not_read_and_says_so(assemble: Callable[..., Pipeline]) -> None:
    _, (reading,), _ = read(assemble(bundled("CT_small.dcm")))
    assert not reading.is_read
    assert reading.not_read_reason is not None
    assert "CT" in reading.not_read_reason
    assert reading.priority.level is Level.NOT_READ
    assert reading.report is None


def test_an_image_unlike_what_the_model_knows_is_not_read(assemble: Callable[..., Pipeline]) -> None:
    def strange(batch: np.ndarray) -> Prediction:
        usual = FakeModel(CARD, bases_are_dense).predict(batch)
        return replace(usual, distance=np.full(len(batch), 9.0, np.float32))

    _, (reading,), _ = read(assemble(bundled("RG1_UNCI.dcm"), answer=strange))
    assert reading.not_read_reason is not None
    assert "unlike" in reading.not_read_reason
    assert reading.findings == ()


def test_a_distance_that_is_not_a_number_is_never_taken_for_a_small_one(assemble: Callable[..., Pipeline]) -> None:
    def broken(batch: np.ndarray) -> Prediction:
        usual = FakeModel(CARD, bases_are_dense).predict(batch)
        return replace(usual, distance=np.full(len(batch), np.nan, np.float32))

    _, (reading,), _ = read(assemble(bundled("RG1_UNCI.dcm"), answer=broken))
    assert not reading.is_read


def test_files_that_are_no_images_are_set_aside_and_the_others_are_read(
    assemble: Callable[..., Pipeline], tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "letter.txt").write_text("Dear colleague")
    shutil.copy(bundled("RG1_UNCI.dcm"), inbox)
    (inbox / "half.dcm").write_bytes(bundled("RG3_UNCI.dcm").read_bytes()[:100_000])
    ingested, readings, _ = read(assemble(inbox))
    assert [reading.is_read for reading in readings if reading.study.patient.patient_id == "9RG1"] == [True]
    reasons = {Path(item.file).name: item.reason for item in ingested.set_aside} | {
        Path(item.file).name: item.reason for reading in readings for item in reading.study.set_aside
    }
    assert "export it as DICOM" in reasons["letter.txt"]
    assert "half.dcm" in reasons


def test_a_fault_of_ours_sets_one_study_aside_and_not_the_rest(
    assemble: Callable[..., Pipeline], samples: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = assemble(samples)

    class Keep(FolderKeep):
        def put(self, sha256: str, kind: str, content: bytes) -> None:
            if kind == "thumbnail.jpg" and sha256 == first_sha256:
                raise RuntimeError("disk on fire")
            super().put(sha256, kind, content)

    first = next(reading for reading in read(assemble(samples, store="other"))[1] if reading.is_read)
    chosen = {choice.sop_instance_uid for choice in first.choices if choice.chosen}
    first_sha256 = next(image.sha256 for image in first.study.images if image.sop_instance_uid in chosen)
    _, readings, _ = read(replace(pipeline, keep=Keep(samples.parent / "keep")))
    failed = [reading for reading in readings if reading.not_read_reason and "radpipe failed" in reading.not_read_reason]
    assert len(failed) == 1
    assert "RuntimeError" in (failed[0].not_read_reason or "")
    assert sum(reading.is_read for reading in readings) > 5
    assert failed[0].study.patient.patient_name not in caplog.text
    again = Run(replace(pipeline, keep=FolderKeep(samples.parent / "keep")), ingest(pipeline).studies)
    assert [reading.study.study_key for reading in again if reading.is_read and reading.run_key not in again.unchanged] == [
        failed[0].study.study_key
    ]


def test_a_change_is_stated_against_the_prior_read_before(assemble: Callable[..., Pipeline], samples: Path) -> None:
    def by_content(batch: np.ndarray) -> np.ndarray:
        return bases_are_dense(batch)

    _, readings, _ = read(assemble(samples, answer=by_content))
    with_prior = [reading for reading in readings if reading.prior is not None]
    assert with_prior
    for reading in with_prior:
        assert reading.prior is not None
        assert reading.prior.study_date is not None
        assert reading.study.study_date is not None
        assert reading.prior.study_date < reading.study.study_date
        for change in reading.changes:
            assert change.current_sop_instance_uid != change.prior_sop_instance_uid
            if change.change is ChangeKind.NEW:
                decided = {finding.finding: finding.decision for finding in reading.findings}
                assert decided[change.finding] is Decision.PRESENT


def test_the_view_is_told_from_the_image_where_the_tags_say_nothing(
    assemble: Callable[..., Pipeline], samples: Path
) -> None:
    _, readings, _ = read(assemble(samples))
    told = [i for r in readings if r.is_read for i in r.study.images if i.view_basis is Basis.IMAGE]
    assert told
    assert all(image.view is View.PA for image in told)  # the fake model's view is always its first


def test_an_image_that_looks_lateral_is_not_read_as_a_frontal(assemble: Callable[..., Pipeline], samples: Path) -> None:
    def lateral(batch: np.ndarray) -> Prediction:
        usual = FakeModel(CARD, bases_are_dense).predict(batch)
        return replace(usual, views=np.tile(np.array([0, 0, 1], np.float32), (len(batch), 1)))

    _, readings, _ = read(assemble(samples, answer=lateral))
    refused = [reading for reading in readings if reading.not_read_reason and "lateral view" in reading.not_read_reason]
    assert refused


def test_unread_studies_are_never_below_routine(assemble: Callable[..., Pipeline], samples: Path) -> None:
    pipeline = assemble(samples, answer=constant(0.05, 0.05, 0.05))
    read(pipeline)
    order = triage.reading_order(pipeline.store.worklist(), pipeline.clock())
    levels = [reading.priority.level for reading, _ in order]
    assert Level.NOT_READ in levels
    assert levels.index(Level.ROUTINE) > max(i for i, level in enumerate(levels) if level is Level.NOT_READ)


def test_the_draft_says_that_it_is_preliminary() -> None:
    assert "NOT VERIFIED" in PRELIMINARY


def test_what_the_card_does_not_cover_is_listed(assemble: Callable[..., Pipeline]) -> None:
    _, (reading,), _ = read(assemble(bundled("RG1_UNCI.dcm")))
    assert reading.report is not None
    section = reading.report.section(SectionName.NOT_ASSESSED)
    assert section is not None
    assert any("everything" in sentence.text for sentence in section.sentences)
