"""The words of a report that came as a DICOM SR document (PS3.3 A.35.1 to A.35.3, C.17.3).

Taken are documents that a person stands for: complete, not preliminary, verified unless no device is their observer, and not
written by radpipe itself, whose reports the store has in coded form. What stands in TEXT items becomes the text, under a
heading ("FINDINGS:") for each change of section; a section is named by the concept of its container, or of the TEXT itself
(PS3.16 CID 7001, CID 7002 and TID 2000). Context, modifiers and what sentences were inferred from are no part of the text.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from radpipe.dicom import text
from radpipe.dicom.parse import PYDICOM_ERRORS
from radpipe.reported import OutsideReport, ReportOrigin
from radpipe.study import Study

LONGEST = 1_000_000
"""Characters of one report; what comes after is left out."""

_DEEPEST = 32
_CLASSES = frozenset(f"1.2.840.10008.5.1.4.1.1.88.{end}" for end in ("11", "22", "33", "34", "35"))
"""Basic Text, Enhanced, Comprehensive, Comprehensive 3D and Extensible SR; not CAD, dose, key objects or procedure logs."""

_OURS = "radpipe"  # the Manufacturer that `sinks.dicom_sr` writes
_PERSON, _DEVICE = "121006", "121007"  # DCM, Observer Type
_NOT_TEXT = frozenset(
    {"HAS OBS CONTEXT", "HAS ACQ CONTEXT", "HAS CONCEPT MOD", "HAS PROPERTIES", "INFERRED FROM", "SELECTED FROM"}
)
"""Relationships to what is no part of the words: context, modifiers, what a sentence rests on."""

_HEADINGS = {
    "121060": "HISTORY", "121062": "REQUEST", "121109": "INDICATION", "121110": "HISTORY",
    "11329-0": "HISTORY", "55115-0": "REQUEST", "18785-6": "INDICATION", "55752-0": "CLINICAL INFORMATION",
    "121064": "TECHNIQUE", "121065": "TECHNIQUE", "55111-9": "TECHNIQUE",
    "121066": "COMPARISON", "121067": "COMPARISON", "121068": "COMPARISON", "121069": "COMPARISON", "55114-3": "COMPARISON",
    "18834-2": "COMPARISON",
    "121070": "FINDINGS", "121071": "FINDINGS", "59776-5": "FINDINGS", "18782-3": "FINDINGS",
    "121072": "IMPRESSION", "121073": "IMPRESSION", "19005-8": "IMPRESSION",
    "121076": "IMPRESSION", "121077": "IMPRESSION", "55110-1": "IMPRESSION", "121111": "IMPRESSION",
    "121074": "RECOMMENDATION", "121075": "RECOMMENDATION", "18783-1": "RECOMMENDATION",
    "121078": "ADDENDUM", "55107-7": "ADDENDUM",
}  # fmt: skip
"""Headings and elements of CID 7001 and CID 7002, DCM and LOINC, by the part of a report that they open."""


def outside_report(dataset: Dataset, sop_class_uid: str, study: Study) -> OutsideReport | None:
    """The report that a person wrote of `study` in this document; None where it is none, or has no words. Never raises."""
    if sop_class_uid not in _CLASSES or not _is_a_persons(dataset):
        return None
    try:
        words = _words(dataset)
    except PYDICOM_ERRORS:
        return None
    if not words:
        return None
    return OutsideReport(
        text=words,
        origin=ReportOrigin.DICOM_SR,
        study_instance_uid=study.study_instance_uid,
        accession_number=study.accession_number,
        study_date=study.study_date,
        patient=study.patient if study.patient.patient_id else None,
        sop_instance_uid=text.first(dataset, "SOPInstanceUID"),
        written=_written(dataset),
    )


def _is_a_persons(dataset: Dataset) -> bool:
    """Complete and signed, or at least not a machine's (PS3.3 C.17.2; a VERIFIED document names who stands for it)."""
    completion, preliminary, verification = (
        text.first(dataset, name).upper() for name in ("CompletionFlag", "PreliminaryFlag", "VerificationFlag")
    )
    if completion != "COMPLETE" or preliminary == "PRELIMINARY":
        return False
    for item in (dataset, *text.items(dataset, "ContributingEquipmentSequence")):
        if _OURS in (text.first(item, "Manufacturer").lower(), text.first(item, "ManufacturerModelName").lower()):
            return False
    context = text.items(dataset, "ContentSequence")
    observers = {code for item in context for code, _ in text.code_meanings(item, "ConceptCodeSequence")}
    return verification == "VERIFIED" or _DEVICE not in observers or _PERSON in observers


def _words(dataset: Dataset) -> str:
    lines: list[str] = []
    opened, length = "", 0
    for heading, words in _texts(dataset, "", 0):
        if heading and heading != opened:
            lines += [*([""] if lines else []), f"{heading}:"]
            opened = heading
        lines.append(words)
        length += len(words)
        if length > LONGEST:
            break
    return "\n".join(lines)[:LONGEST]


def _texts(item: Dataset, section: str, depth: int) -> Iterator[tuple[str, str]]:
    """(heading, words) of each TEXT item below `item`, in order. A container or TEXT whose concept is not known as a section
    stands in the section around it; outside all sections its own name is the heading, so that it falls into none."""
    if depth > _DEEPEST:
        return
    for child in text.items(item, "ContentSequence"):
        if text.first(child, "RelationshipType").upper() in _NOT_TEXT:
            continue
        names = text.code_meanings(child, "ConceptNameCodeSequence")
        code, meaning = names[0] if names else ("", "")
        heading = _HEADINGS.get(code) or section
        kind = text.first(child, "ValueType").upper()
        if kind == "CONTAINER":
            yield from _texts(child, heading or meaning.upper(), depth + 1)
        elif kind == "TEXT" and (words := text.text(child, "TextValue")):
            yield heading or meaning.upper(), words


def _written(dataset: Dataset) -> str:
    """When the document was verified or written, as DA + TM; "" if it does not say."""
    verified = [text.first(one, "VerificationDateTime") for one in text.items(dataset, "VerifyingObserverSequence")]
    if any(when[:8].isdigit() for when in verified):
        return max(verified)[:14]
    day, clock = text.day(dataset, "ContentDate"), text.clock(dataset, "ContentTime")
    return f"{day:%Y%m%d}{clock:%H%M%S}" if day and clock else ""
