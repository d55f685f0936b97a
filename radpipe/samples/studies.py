"""The sample studies as data, and the writing of them: DICOM files, `expected.json` and the table of `README.md`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from radpipe.samples.dicom_write import ImageHeader, PatientHeader, StudyHeader, sample_uid, write_image
from radpipe.samples.lesions import LEFT, RIGHT, Band, Consolidation, Edema, Effusion, Nodule, Pneumothorax
from radpipe.samples.phantom import Exposure, Painted, radiograph
from radpipe.samples.readme import readme
from radpipe.samples.skeleton import Person

CARDIOMEGALY_RATIO = 0.5
"""Cardiothoracic ratio above which a heart in a PA view is called enlarged (Danzer 1919). Painted ratios keep away."""

TRUNCATED_TO_BYTES = 600_000
"""Length of the damaged file: a whole header, about a quarter of its pixels."""


@dataclass(frozen=True, slots=True)
class SampleImage:
    """One image to be made and written; `truncated` cuts the file."""

    exposure: Exposure
    header: ImageHeader
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class SampleStudy:
    """One study. `changes` says what is painted against the study named `prior`."""

    header: StudyHeader
    person: Person
    patient: PatientHeader
    images: tuple[SampleImage, ...]
    shows: str
    prior: str | None = None
    changes: tuple[tuple[str, str], ...] = ()  # (finding, change)
    set_aside: str = ""  # why the whole study is not read; "" where it is


def _pa(seed: int, *lesions: Any, **header: Any) -> SampleImage:
    return SampleImage(Exposure("PA", seed, lesions), ImageHeader(1, "PA", "CHEST", **header))


def _study(key: str, number: int, date: str, time: str, reason: str, description: str = "Chest PA") -> StudyHeader:
    return StudyHeader(key, f"PH2600{number:02d}", date, time, description, reason)


_ADA = (
    Person(11, female=True, scale=(0.94, 0.97, 1.04), wall_mm=24, cardiothoracic_ratio=0.45, kyphosis_mm=3),
    PatientHeader("PHANTOM-01", "Phantom^Ada", "19630412", "F"),
)
_BRUNO = (
    Person(12, scale=(0.98, 1.02, 1.12), cardiothoracic_ratio=0.44),
    PatientHeader("PHANTOM-02", "Phantom^Bruno", "19670923", "M"),
)
_SONJA = (
    Person(13, female=True, scale=(0.93, 0.96, 1.06), wall_mm=22, breast_mm=30, cardiothoracic_ratio=0.43),
    PatientHeader("PHANTOM-03", "Фантом^Соня", "19800205", "F", ("ISO_IR 192",)),
)
_DERMOT = (
    Person(14, scale=(1.0, 1.03, 1.08), wall_mm=28, cardiothoracic_ratio=0.63, kyphosis_mm=-4, bone=0.9),
    PatientHeader("PHANTOM-04", "O'Phantom^Dermot", "19541130", "M"),
)
_HANAKO = (
    Person(15, female=True, scale=(0.91, 0.94, 1.03), wall_mm=20, breast_mm=28, cardiothoracic_ratio=0.44),
    PatientHeader("PHANTOM-05", "Phantom^Hanako=模型^花子=もけい^はなこ", "19910718", "F", ("", "ISO 2022 IR 87")),
)
_EDGAR = (
    Person(16, scale=(1.0, 1.04, 1.08), wall_mm=30, cardiothoracic_ratio=0.57),
    PatientHeader("PHANTOM-06", "Phantom^Edgar", "19480301", "M"),
)
_FELIX = (
    Person(17, scale=(0.95, 0.95, 1.17), wall_mm=18, cardiothoracic_ratio=0.40),
    PatientHeader("PHANTOM-07", "Phantom^Felix", "20011009", "M"),
)
_GRETA = (
    Person(18, female=True, scale=(0.95, 0.98, 1.05), wall_mm=26, breast_mm=42, cardiothoracic_ratio=0.46),
    PatientHeader("PHANTOM-08", "Phantom^Greta", "19581221", "F"),
)
_HUGO = (
    Person(19, scale=(0.99, 1.02, 1.10), wall_mm=24, cardiothoracic_ratio=0.45),
    PatientHeader("PHANTOM-09", "Phantom^Hugo", "19720614", "M"),
)
_IDA = (Person(20, female=True), PatientHeader("PHANTOM-10", "Phantom^Ida", "19881102", "F"))

_SCAR = Band(LEFT, (62, 172), (112, 158), 5.0)

STUDIES: tuple[SampleStudy, ...] = (
    SampleStudy(
        _study("ada-2025", 1, "20250903", "101512", "Cough for two weeks"),
        *_ADA,
        (_pa(101),),
        "normal chest: the prior of the next study",
    ),
    SampleStudy(
        _study("ada-2026", 2, "20260112", "081005", "Increasing shortness of breath for five days"),
        *_ADA,
        (_pa(102, Effusion(RIGHT, 115)),),
        "new right pleural effusion",
        "ada-2025",
        (("pleural_effusion", "new"),),
    ),
    SampleStudy(
        _study("bruno-2025", 3, "20250217", "142230", "Pre-operative"),
        *_BRUNO,
        (_pa(103, Nodule((-78, 10, 98), 14.0)),),
        "a 14 mm nodule in the right upper zone: the prior of the next study",
    ),
    SampleStudy(
        _study("bruno-2026", 4, "20260112", "084110", "Follow-up of a pulmonary nodule, smoker"),
        *_BRUNO,
        (_pa(104, Nodule((-78, 10, 98), 27.0, lobulation=0.07)),),
        "the nodule has grown to 27 mm",
        "bruno-2025",
        (("nodule", "increased"),),
    ),
    SampleStudy(
        _study("sonja-2025", 5, "20251120", "190344", "Fever and productive cough, crackles on the right"),
        *_SONJA,
        (_pa(105, Consolidation(RIGHT, (74, 172), (54, 46)), monochrome1=True),),
        "right lower zone consolidation, MONOCHROME1: the prior of the next study",
    ),
    SampleStudy(
        _study("sonja-2026", 6, "20260112", "091850", "Control after pneumonia, eight weeks"),
        *_SONJA,
        (_pa(106),),
        "the consolidation has resolved",
        "sonja-2025",
        (("consolidation", "resolved"),),
    ),
    SampleStudy(
        _study("dermot-2024", 7, "20241008", "111745", "Known heart failure, annual control"),
        *_DERMOT,
        (_pa(107, _SCAR),),
        "enlarged heart and a band of atelectasis on the left: the prior of the next study",
    ),
    SampleStudy(
        _study("dermot-2026", 8, "20260112", "093322", "Known heart failure, annual control"),
        *_DERMOT,
        (_pa(108, _SCAR, jpeg2000=True),),
        "enlarged heart and band unchanged; JPEG 2000, lossless",
        "dermot-2024",
        (("cardiomegaly", "unchanged"), ("atelectasis", "unchanged")),
    ),
    SampleStudy(
        _study("hanako-2026", 9, "20260112", "100240", "Occupational health check", "Chest PA and lateral"),
        *_HANAKO,
        (_pa(109), SampleImage(Exposure("LL", 110), ImageHeader(2, "LL", "CHEST"))),
        "normal chest, two views",
    ),
    SampleStudy(
        _study("edgar-2026", 10, "20260112", "021715", "Acute dyspnea, orthopnea, intensive care", "Chest AP portable"),
        *_EDGAR,
        (
            SampleImage(
                Exposure(
                    "AP",
                    111,
                    (Edema(0.9), Effusion(LEFT, 42), Effusion(RIGHT, 36)),
                    -16.0,
                    0.9,
                    "L",
                    ("AP PORTABLE", "SEMI ERECT"),
                ),
                ImageHeader(1, "AP", "CHEST", "CR", portable=True),
            ),
        ),
        "bedside AP: pulmonary edema, effusions on both sides, enlarged heart",
    ),
    SampleStudy(
        _study("felix-2026", 11, "20260112", "110904", "Sudden pleuritic chest pain on the left"),
        *_FELIX,
        (_pa(112, Pneumothorax(LEFT, 44)),),
        "large left pneumothorax",
    ),
    SampleStudy(
        _study("greta-2026", 12, "20260112", "113020", "Weight loss, hemoptysis", "Radiograph"),
        *_GRETA,
        (
            SampleImage(
                Exposure("PA", 113, (Nodule((66, 20, 122), 52.0, "mass", 0.06),)),
                ImageHeader(
                    1, "", "", "CR", without=("ViewPosition", "BodyPartExamined", "SeriesDescription", "PatientOrientation")
                ),
            ),
        ),
        "left pulmonary mass; neither view nor body part in the header",
    ),
    SampleStudy(
        _study("hugo-2026", 13, "20260112", "115408", "Fever", "Chest PA and lateral"),
        *_HUGO,
        (
            _pa(114, Consolidation(LEFT, (86, 92), (46, 44))),
            SampleImage(Exposure("LL", 115), ImageHeader(2, "LL", "CHEST"), truncated=True),
        ),
        "left mid-zone consolidation; the lateral's file is cut short and must be set aside",
    ),
    SampleStudy(
        _study("ida-2026", 14, "20260112", "122236", "Fall on the outstretched hand", "Left hand PA"),
        *_IDA,
        (SampleImage(Exposure("HAND", 116), ImageHeader(1, "PA", "HAND", laterality="L")),),
        "a hand: no model for it, not read",
        set_aside="not a chest",
    ),
)


def write_samples(folder: Path, studies: Sequence[SampleStudy] = STUDIES) -> tuple[Path, ...]:
    """Write the studies, each in a folder of its own, with `expected.json` and `README.md`. Returns the DICOM files."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(study, image) for study in studies for image in study.images]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # two images at a time instead: most of the work is numpy's
    try:
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(lambda job: _write_one(folder, *job), jobs))
    finally:
        cv2.setNumThreads(threads)
    by_study: dict[str, list[_Written]] = {}
    for written in made:
        by_study.setdefault(written.key, []).append(written)
    expected = {
        "licence": "CC0-1.0",
        "note": "Phantoms: what is painted, not what a model must find.",
        "box_px": "top, left, bottom, right; 0-based, end-exclusive",
        "studies": [_expected(study, by_study) for study in studies],
    }
    text = json.dumps(expected, ensure_ascii=False, indent=1) + "\n"
    (folder / "expected.json").write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(readme(_rows()), encoding="utf-8")
    return tuple(written.path for written in made)


@dataclass(frozen=True, slots=True)
class _Written:
    key: str
    path: Path
    image: SampleImage
    study_instance_uid: str
    sop_instance_uid: str
    painted: tuple[Painted, ...]


def _file_name(image: SampleImage) -> str:
    view = {"HAND": "hand", "LL": "lateral"}.get(image.exposure.view, image.exposure.view.lower())
    return f"{image.header.number}-{view}.dcm"


def _write_one(folder: Path, study: SampleStudy, image: SampleImage) -> _Written:
    path = folder / study.header.key / _file_name(image)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = radiograph(study.person, image.exposure)
    study_uid, instance_uid = write_image(path, picture, study.patient, study.header, image.header)
    if image.truncated:
        with path.open("r+b") as file:
            file.truncate(TRUNCATED_TO_BYTES)
    painted = picture.painted
    frontal = image.exposure.view in ("PA", "AP")
    if frontal and study.person.cardiothoracic_ratio > CARDIOMEGALY_RATIO:
        painted = (*painted, Painted("cardiomegaly", "", None, None))
    return _Written(study.header.key, path, image, study_uid, instance_uid, painted)


def _expected(study: SampleStudy, by_study: dict[str, list[_Written]]) -> dict[str, Any]:
    written = by_study[study.header.key]
    prior = str(sample_uid("study", study.prior)) if study.prior else None
    truth = sorted({finding.finding for one in written for finding in one.painted})
    return {
        "study": study.header.key,
        "study_instance_uid": written[0].study_instance_uid,
        "patient_id": study.patient.patient_id,
        "study_date": study.header.date,
        "accession_number": study.header.accession_number,
        "shows": study.shows,
        "painted": truth,
        "status": "not_read" if study.set_aside else "read",
        "not_read_because": study.set_aside or None,
        "prior": study.prior,
        "prior_study_instance_uid": prior,
        "changes": [{"finding": finding, "change": change} for finding, change in study.changes],
        "cardiothoracic_ratio": None if study.set_aside else study.person.cardiothoracic_ratio,
        "images": [_expected_image(one) for one in written],
    }


def _expected_image(one: _Written) -> dict[str, Any]:
    header = one.image.header
    return {
        "file": f"{one.key}/{one.path.name}",
        "sop_instance_uid": one.sop_instance_uid,
        "view": {"LL": "LATERAL", "HAND": None}.get(one.image.exposure.view, one.image.exposure.view),
        "modality": header.modality,
        "photometric_interpretation": "MONOCHROME1" if header.monochrome1 else "MONOCHROME2",
        "transfer_syntax": "JPEG 2000 lossless" if header.jpeg2000 else "Explicit VR Little Endian",
        "set_aside": "the file is cut short" if one.image.truncated else None,
        "painted": [
            {
                "finding": finding.finding,
                "laterality": finding.laterality or None,
                "size_mm": finding.size_mm,
                "box_px": list(finding.box_px) if finding.box_px else None,
            }
            for finding in one.painted
        ],
    }


def _rows() -> Iterator[tuple[str, str, str, str, str]]:
    for study in STUDIES:
        views = " + ".join("hand" if one.exposure.view == "HAND" else one.exposure.view for one in study.images)
        form = ", ".join(dict.fromkeys(_form(one.header) for one in study.images))
        yield study.header.key, study.header.date, views, form, study.shows


def _form(header: ImageHeader) -> str:
    kinds = ((True, header.modality), (header.monochrome1, "MONOCHROME1"), (header.jpeg2000, "JPEG 2000"))
    return " ".join(word for holds, word in kinds if holds)


__all__ = ["STUDIES", "SampleImage", "SampleStudy", "write_samples"]
