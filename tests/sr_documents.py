"""Small DICOM SR documents for tests: a person's report of the sample radiograph's study, with anything changed."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset

from tests.dicom_instances import written

BASIC_TEXT, ENHANCED, COMPREHENSIVE = (f"1.2.840.10008.5.1.4.1.1.88.{end}" for end in ("11", "22", "33"))
FINDINGS, IMPRESSION, HISTORY = ("121070", "Findings"), ("121072", "Impressions"), ("121060", "History")
FINDING, CONCLUSION = ("121071", "Finding"), ("121077", "Conclusion")


def item(kind: str, name: tuple[str, str], value: Any = None, relation: str = "CONTAINS") -> Dataset:
    """A content item: TEXT with words, CONTAINER with items, CODE with (value, meaning)."""
    made = Dataset()
    made.RelationshipType, made.ValueType = relation, kind
    made.ConceptNameCodeSequence = [code(*name)]
    if kind == "TEXT":
        made.TextValue = value
    elif kind == "CODE":
        made.ConceptCodeSequence = [code(*value)]
    elif kind == "CONTAINER":
        made.ContinuityOfContent = "SEPARATE"
        made.ContentSequence = value
    return made


def code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
    return made


def section(name: tuple[str, str], element: tuple[str, str], *sentences: str) -> Dataset:
    return item("CONTAINER", name, [item("TEXT", element, words) for words in sentences])


def usual() -> list[Dataset]:
    """History, findings and impression, each in its container, and the context before them."""
    return [
        item("CODE", ("121005", "Observer Type"), ("121006", "Person"), "HAS OBS CONTEXT"),
        item("TEXT", ("121009", "Person Observer's Organization Name"), "A clinic with pneumothorax", "HAS OBS CONTEXT"),
        section(HISTORY, HISTORY, "Question of pneumonia."),
        section(FINDINGS, FINDING, "No pleural effusion.", "Heart size is normal."),
        section(IMPRESSION, CONCLUSION, "8 mm nodule in the left upper lobe."),
    ]


def document(content: list[Dataset] | None = None, **attributes: Any) -> bytes:
    """The document's file: complete and verified, of the study 1.2.3. An attribute given as None is left out."""
    stated: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": BASIC_TEXT,
        "SOPInstanceUID": "1.2.3.99",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.9",
        "Modality": "SR",
        "Manufacturer": "Some vendor",
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "PatientBirthDate": "19600101",
        "PatientSex": "F",
        "StudyDate": "20260102",
        "StudyTime": "101112",
        "ContentDate": "20260102",
        "ContentTime": "113000",
        "CompletionFlag": "COMPLETE",
        "VerificationFlag": "VERIFIED",
        "ValueType": "CONTAINER",
        "ContinuityOfContent": "SEPARATE",
    } | attributes
    made = Dataset()
    for keyword, value in stated.items():
        if value is not None:
            setattr(made, keyword, value)
    made.ConceptNameCodeSequence = [code("18748-4", "Diagnostic imaging report", "LN")]
    made.ContentSequence = usual() if content is None else content
    return written(made)
