"""A realistic reading for tests: two findings present, one unsure, the rest absent, an effusion that grew since the prior, a
lateral that was not chosen and a file set aside. All names and numbers are made up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from radpipe.codes import FINDINGS, REPORT_ORDER, Laterality, finding_words
from radpipe.finding import (
    Change,
    ChangeKind,
    Decision,
    Evidence,
    Finding,
    Level,
    Measurement,
    Prior,
    Priority,
    Registration,
)
from radpipe.reading import ImageChoice, ModelRun, Reading
from radpipe.report import (
    Correction,
    Origin,
    Person,
    Report,
    Role,
    Section,
    SectionName,
    Sentence,
    Stance,
    Status,
    Verdict,
)
from radpipe.study import Basis, FileRef, Image, Patient, SetAside, Study, View

DX = "1.2.840.10008.5.1.4.1.1.1.1"
CR = "1.2.840.10008.5.1.4.1.1.1"
ROOT = "2.25.329800735698586629295641978511506172"
STUDY, FRONTAL, LATERAL = f"{ROOT}1", f"{ROOT}11", f"{ROOT}12"
PRIOR_STUDY, PRIOR_FRONTAL = f"{ROOT}2", f"{ROOT}21"
ROWS, COLUMNS = 2140, 1760
MODEL = ModelRun("chest-dinov2s", "1.0.0", "3f9ac1d27be04455" * 4, "onnx", "CPUExecutionProvider")
IDENTITY = f"{MODEL.name} {MODEL.version} {MODEL.sha256[:12]}"
READ_AT = datetime(2026, 1, 31, 8, 16, 2, tzinfo=UTC)
SIGNED_AT = datetime(2026, 1, 31, 8, 41, 30, tzinfo=UTC)
RADIOLOGIST = Person("mlindqvist", "Lindqvist^Maja", Role.RADIOLOGIST, "Example Hospital")

# finding: probability, threshold, rule-out, side, box (top, left, bottom, right)
_SCORES: dict[str, tuple[float, float, float, Laterality | None, tuple[int, int, int, int] | None]] = {
    "lung_opacity": (0.61, 0.42, 0.20, Laterality.LEFT, (1120, 980, 1590, 1450)),
    "consolidation": (0.08, 0.35, 0.15, None, None),
    "pneumonia": (0.29, 0.38, 0.17, Laterality.LEFT, (1140, 1010, 1560, 1420)),
    "atelectasis": (0.11, 0.40, 0.18, None, None),
    "mass": (0.02, 0.33, 0.10, None, None),
    "nodule": (0.06, 0.36, 0.12, None, None),
    "edema": (0.05, 0.37, 0.14, None, None),
    "pleural_effusion": (0.91, 0.40, 0.16, Laterality.LEFT, (1480, 930, 1900, 1560)),
    "pneumothorax": (0.03, 0.31, 0.09, None, None),
    "cardiomegaly": (0.14, 0.44, 0.21, None, None),
}


def sample_study(*, patient_name: str = "Testperson^Åsa", patient_id: str = "PHANTOM-0042") -> Study:
    """The current study: a frontal and a lateral radiograph and one damaged file."""
    frontal = Image(
        sop_instance_uid=FRONTAL, sop_class_uid=DX, transfer_syntax_uid="1.2.840.10008.1.2.1",
        series_instance_uid=f"{STUDY}.1", file=FileRef(Path("inbox/frontal.dcm")), sha256="a" * 64, modality="DX", rows=ROWS,
        columns=COLUMNS, instance_number=1, photometric_interpretation="MONOCHROME2", image_type=("ORIGINAL", "PRIMARY"),
        body_part="CHEST", body_part_basis=Basis.TAGS, view=View.PA, view_basis=Basis.TAGS, spacing_mm=(0.194, 0.194),
        spacing_source="ImagerPixelSpacing, at the detector", patient_orientation=("L", "F"), series_description="Chest PA",
        acquisition_time="20260131081022",
    )  # fmt: skip
    lateral = replace(
        frontal, sop_instance_uid=LATERAL, file=FileRef(Path("inbox/study.zip"), "lateral.dcm"), sha256="b" * 64,
        instance_number=2, view=View.LATERAL, patient_orientation=("A", "F"), series_description="Chest lateral",
    )  # fmt: skip
    return Study(
        study_instance_uid=STUDY,
        patient=Patient(patient_id, "Example Hospital", patient_name, date(1957, 3, 9), "F"),
        accession_number="A2026-000131", study_date=date(2026, 1, 31), study_time=time(8, 9, 40),
        study_description="XR Thorax 2 views", reason_for_study="Dyspnoea for three days, fever. Effusion?",
        referring_physician_name="Okafor^Chidi", study_id="131", patient_age="068Y", institution_name="Example Hospital",
        modalities=("DX",), images=(frontal, lateral),
        set_aside=(
            SetAside("inbox/study.zip!scan0003.dcm", "its pixel data ends after 1,024 of 7,532,800 bytes: send it "
                     "again from the modality", STUDY, f"{ROOT}13"),
        ),
    )  # fmt: skip


def sample_findings() -> tuple[Finding, ...]:
    """Effusion and opacity present, pneumonia unsure, the rest absent; in the report's order."""
    return tuple(_finding(name) for name in REPORT_ORDER if name in _SCORES)


def _finding(name: str) -> Finding:
    probability, threshold, rule_out, laterality, box = _SCORES[name]
    decision = (
        Decision.PRESENT if probability >= threshold else Decision.UNSURE if probability >= rule_out else Decision.ABSENT
    )
    measurement = None
    if name == "pleural_effusion":
        measurement = Measurement("height", 81.5, "mm", "box height x ImagerPixelSpacing, at the detector")
    evidence = Evidence(FRONTAL, None, box, probability, threshold, IDENTITY, measurement=measurement)
    return Finding(name, FINDINGS[name], decision, probability, threshold, rule_out, (evidence,), laterality)


def sample_changes() -> tuple[Change, ...]:
    """The effusion grew, the opacity is new, pneumonia cannot be compared."""
    return (
        Change("lung_opacity", ChangeKind.NEW, 0.72, FRONTAL, PRIOR_FRONTAL, 0.61, 0.12, "0.12 before, 0.61 now"),
        Change("pneumonia", ChangeKind.NOT_COMPARABLE, 0.0, FRONTAL, PRIOR_FRONTAL, 0.29, 0.25, "unsure on both images"),
        Change("pleural_effusion", ChangeKind.INCREASED, 0.83, FRONTAL, PRIOR_FRONTAL, 0.91, 0.55, "0.55 before, 0.91 now"),
    )


def sample_report() -> Report:
    """The draft: every section but an addendum."""
    findings = {finding.finding: finding for finding in sample_findings()}
    tags = Evidence(FRONTAL, source="ReasonForTheRequestedProcedure")
    view = Evidence(FRONTAL, source="ViewPosition")
    lateral = Evidence(LATERAL, source="ViewPosition")
    prior = Evidence(FRONTAL, source="StudyDate", prior_sop_instance_uid=PRIOR_FRONTAL)

    def said(name: str, text: str, stance: Stance, change: ChangeKind | None = None) -> Sentence:
        evidence = findings[name].evidence[0]
        if change is not None:
            evidence = replace(evidence, prior_sop_instance_uid=PRIOR_FRONTAL)
        return Sentence(text, (evidence,), Origin.MODEL, stance, name, change)

    absent = tuple(
        said(name, f"No {finding_words(name)}.", Stance.ABSENT)
        for name, finding in findings.items()
        if finding.decision is Decision.ABSENT
    )
    effusion = said(
        "pleural_effusion", "Left pleural effusion, increased since 2026-01-12.", Stance.PRESENT, ChangeKind.INCREASED
    )
    opacity = said("lung_opacity", "Opacity in the left lung, new since 2026-01-12.", Stance.PRESENT, ChangeKind.NEW)
    pneumonia = said("pneumonia", "Pneumonia cannot be excluded (uncertain).", Stance.UNSURE)
    fact = Origin.TAGS
    return Report(
        report_key="7c1e0d5a42b94f0ea1c3",
        study_instance_uid=STUDY,
        run_key="5b0cbb9f6d2f4f6f8a0e11d2",
        sections=(
            Section(SectionName.INDICATION, (Sentence("Dyspnoea for three days, fever. Effusion?", (tags,), fact),)),
            Section(SectionName.TECHNIQUE, (
                Sentence("Frontal (PA) radiograph of the chest, digital radiography.", (view,), fact),
                Sentence("A lateral radiograph was not read by the model.", (lateral,), fact),
            )),
            Section(SectionName.COMPARISON, (Sentence("Chest radiograph (PA) of 2026-01-12.", (prior,), fact),)),
            Section(SectionName.FINDINGS, (opacity, pneumonia, effusion, *absent)),
            Section(SectionName.IMPRESSION, (
                replace(effusion, text="Increased left pleural effusion."),
                replace(opacity, text="New left lung opacity; pneumonia is possible (uncertain)."),
            )),
            Section(SectionName.NOT_ASSESSED, (
                Sentence("Bones, soft tissues, lines, tubes and devices.",
                         (Evidence(FRONTAL, model=IDENTITY, source="model card"),)),
            )),
        ),
    )  # fmt: skip


def sample_reading(*, patient_name: str = "Testperson^Åsa") -> Reading:
    """The study above, read, compared and drafted."""
    report = sample_report()
    return Reading(
        run_key=report.run_key,
        study=sample_study(patient_name=patient_name),
        not_read_reason=None,
        choices=(
            ImageChoice(FRONTAL, True, "PA chest, original, the larger of the frontal images"),
            ImageChoice(LATERAL, False, "lateral; the model reads PA and AP"),
        ),
        findings=sample_findings(),
        prior=Prior(PRIOR_STUDY, date(2026, 1, 12), PRIOR_FRONTAL,
                    "same body part and view, 19 days before, the nearest of 2",
                    Registration(0.87, True, "aligned, correlation 0.87", (1.02, 0.0, -0.01, 0.0, 1.01, 0.02))),
        why_no_prior=None,
        changes=sample_changes(),
        priority=Priority(Level.URGENT, 0.91, ("pleural effusion 0.91, increased since 2026-01-12 (ACR category 2)",
                                               "new lung opacity 0.61"), 3600),
        report=report,
        model=MODEL,
        seconds=(("decode", 0.112), ("infer", 0.094), ("total", 0.271)),
        read_at=READ_AT,
    )  # fmt: skip


def not_read() -> Reading:
    """A study that no model covers: no findings, no draft sentences of a model."""
    reading = sample_reading()
    return replace(
        reading, not_read_reason="no model reads a radiograph of the HAND", findings=(), changes=(), prior=None,
        why_no_prior="the study was not read", model=None, report=None,
        choices=tuple(replace(choice, chosen=False, why="not a chest") for choice in reading.choices),
        priority=Priority(Level.NOT_READ, 0.0, ("not read: no model reads a radiograph of the HAND",)),
    )  # fmt: skip


def not_read_report() -> Report:
    """A draft that only says that the study was not read."""
    why = Sentence(
        "Not read: no model reads a radiograph of the HAND.",
        (Evidence(FRONTAL, source="BodyPartExamined"),),
        Origin.TAGS,
    )
    return replace(sample_report(), sections=(Section(SectionName.FINDINGS, (why,)),))


def signed(report: Report, *, by: Person = RADIOLOGIST) -> Report:
    """The report as signed: one finding accepted, one rejected, the next version."""
    sections = tuple(
        replace(section, sentences=kept)
        for section in report.sections
        if (kept := tuple(sentence for sentence in section.sentences if sentence.finding != "pneumonia"))
    )
    corrections = (
        Correction("pleural_effusion", Verdict.ACCEPTED, by, SIGNED_AT),
        Correction("pneumonia", Verdict.REJECTED, by, SIGNED_AT, reason="no consolidation on the lateral"),
    )
    return replace(
        report,
        sections=sections,
        corrections=corrections,
        status=Status.FINAL,
        version=2,
        signed_by=by,
        signed_at=SIGNED_AT,
    )


def amended(report: Report) -> Report:
    """A signed report with an addendum."""
    addendum = Sentence(
        "Findings discussed with the ward by telephone at 08:45.",
        (Evidence(FRONTAL, source="addendum"),),
        Origin.RADIOLOGIST,
    )
    return replace(
        report,
        sections=(*report.sections, Section(SectionName.ADDENDUM, (addendum,))),
        status=Status.AMENDED,
        version=report.version + 1,
    )


def header(image: Image, study: Study, *, charset: str | list[str] = "ISO_IR 100") -> Dataset:
    """A header-only dataset of an image, as the pipeline hands it over."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(image.transfer_syntax_uid)
    dataset.SpecificCharacterSet = charset
    dataset.SOPClassUID, dataset.SOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study.study_instance_uid, image.series_instance_uid
    dataset.PatientName, dataset.PatientID = study.patient.patient_name, study.patient.patient_id
    dataset.IssuerOfPatientID = study.patient.issuer_of_patient_id
    dataset.PatientBirthDate, dataset.PatientSex = "19570309", study.patient.patient_sex
    dataset.PatientAge = study.patient_age
    dataset.AccessionNumber, dataset.StudyID = study.accession_number, study.study_id
    dataset.StudyDate = study.study_date.strftime("%Y%m%d") if study.study_date else ""
    dataset.StudyTime = "080940"
    dataset.StudyDescription = study.study_description
    dataset.ReferringPhysicianName = study.referring_physician_name
    dataset.Modality, dataset.Rows, dataset.Columns = image.modality, image.rows, image.columns
    dataset.InstanceNumber = image.instance_number
    return dataset


def source_headers(study: Study | None = None) -> dict[str, Dataset]:
    """Headers of both images of the study and of the prior's image."""
    study = study or sample_study()
    prior = replace(study, study_instance_uid=PRIOR_STUDY, study_date=date(2026, 1, 12), accession_number="A2026-000058")
    prior_image = replace(study.images[0], sop_instance_uid=PRIOR_FRONTAL, series_instance_uid=f"{PRIOR_STUDY}.1")
    headers = {image.sop_instance_uid: header(image, study) for image in study.images}
    return headers | {PRIOR_FRONTAL: header(prior_image, prior)}


def phantom(*, effusion: float = 0.5) -> npt.NDArray[np.uint8]:
    """(ROWS // 4, COLUMNS // 4) a picture that looks a little like a chest, for pages."""
    y, x = np.mgrid[0 : 1 : complex(0, ROWS // 4), 0 : 1 : complex(0, COLUMNS // 4)]
    body = np.exp(-((((x - 0.5) / 0.46) ** 2) ** 3) - (((y - 0.55) / 0.56) ** 2) ** 4)
    lungs = sum(np.exp(-((((x - cx) / 0.15) ** 2 + ((y - 0.47) / 0.29) ** 2) ** 2)) for cx in (0.29, 0.71))
    heart = np.exp(-((((x - 0.56) / 0.17) ** 2 + ((y - 0.68) / 0.15) ** 2) ** 2))
    fluid = effusion * np.exp(-((((x - 0.71) / 0.17) ** 2 + ((y - 0.80) / 0.11) ** 2) ** 2))
    spine = 0.22 * np.exp(-(((x - 0.5) / 0.05) ** 2))
    ribs = 0.05 * np.sin(44 * (y + 0.8 * (x - 0.5) ** 2)) * lungs
    grey = 0.62 * body - 0.5 * lungs * body + 0.34 * heart + 0.6 * fluid + spine * body + ribs
    noise = np.random.default_rng(7).normal(0, 0.012, grey.shape)
    picture: npt.NDArray[np.uint8] = (np.clip(grey + noise, 0, 1) * 255).astype(np.uint8)
    return picture
