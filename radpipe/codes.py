"""Coded terms: the findings radpipe speaks of, body parts, sides, and the concepts its outputs need.

Schemes are DICOM's coding scheme designators (PS3.16 section 8): SCT (SNOMED CT), DCM, LN (LOINC), RADLEX.
Where no published code could be verified the scheme is 99RADPIPE, so that nobody mistakes it for a standard one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept: code value, coding scheme designator, code meaning (PS3.3 section 8)."""

    value: str
    scheme: str
    meaning: str

    @classmethod
    def parse(cls, text: str, meaning: str) -> Code:
        """From "SCHEME:VALUE" as model cards write it. Raises ValueError without a colon."""
        scheme, _, value = text.partition(":")
        if not (scheme and value):
            raise ValueError(f"a code is written SCHEME:VALUE, not {text!r}")
        return cls(value, scheme, meaning)


class Laterality(StrEnum):
    """Side of the patient, not of the picture."""

    LEFT = "left"
    RIGHT = "right"
    BILATERAL = "bilateral"


FINDINGS: dict[str, Code] = {
    "pneumothorax": Code("36118008", "SCT", "Pneumothorax"),
    "pneumoperitoneum": Code("48661000", "SCT", "Pneumoperitoneum"),
    "edema": Code("19242006", "SCT", "Pulmonary edema"),
    "pneumonia": Code("233604007", "SCT", "Pneumonia"),
    "consolidation": Code("95436008", "SCT", "Lung consolidation"),
    "pleural_effusion": Code("60046008", "SCT", "Pleural effusion"),
    "mass": Code("309529002", "SCT", "Lung mass"),
    "nodule": Code("427359005", "SCT", "Solitary nodule of lung"),
    "lung_opacity": Code("112001", "DCM", "Opacity"),
    "atelectasis": Code("46621007", "SCT", "Atelectasis"),
    "cardiomegaly": Code("8186001", "SCT", "Cardiomegaly"),
    "hyperinflation": Code("87433001", "SCT", "Pulmonary emphysema"),
    "scarring": Code("51615001", "SCT", "Fibrosis of lung"),
    "pleural_thickening": Code("PLEURALTHICK", "99RADPIPE", "Pleural thickening"),
    "hiatal_hernia": Code("84089009", "SCT", "Hiatal hernia"),
    "abnormal": Code("263654008", "SCT", "Abnormal"),
}
"""Finding name (as in the annotation guideline; else snake_case of the meaning) -> code."""

REPORT_ORDER: tuple[str, ...] = (
    "lung_opacity", "consolidation", "pneumonia", "atelectasis", "mass", "nodule", "edema", "hyperinflation", "scarring",
    "pleural_effusion", "pneumothorax", "pleural_thickening", "cardiomegaly", "hiatal_hernia", "pneumoperitoneum",
    "abnormal",
)  # fmt: skip
"""Order in which a chest report names findings: lungs, pleura, heart and mediastinum, the rest (RSNA RadReport RPT2)."""

SIDES: dict[Laterality, Code] = {
    Laterality.LEFT: Code("7771000", "SCT", "Left"),
    Laterality.RIGHT: Code("24028007", "SCT", "Right"),
    Laterality.BILATERAL: Code("51440002", "SCT", "Right and left"),
}
"""PS3.16 CID 244."""

CHEST = Code("43799004", "SCT", "Chest")
"""Region that BodyPartExamined CHEST stands for (PS3.16 Annex L)."""


_WORDS = {
    "edema": "pulmonary edema",
    "nodule": "pulmonary nodule",
    "mass": "pulmonary mass",
    "nodule_mass": "nodule or mass",
    "scarring": "pulmonary scarring",
    "degenerative_spine": "degenerative change of the spine",
    "abnormal": "abnormality",
}
"""Findings whose name is not yet how one says it."""


def finding_words(finding: str) -> str:
    """The finding's name as a report's words: "pleural_effusion" -> "pleural effusion"."""
    return _WORDS.get(finding) or finding.replace("_", " ")


PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("2667000", "SCT", "Absent")
INDETERMINATE = Code("82334004", "SCT", "Indeterminate")

NEW = Code("7147002", "SCT", "New")
INCREASED = Code("35105006", "SCT", "Increased")
DECREASED = Code("1250004", "SCT", "Decreased")
UNCHANGED = Code("260388006", "SCT", "No status change")
RESOLVED = Code("723506003", "SCT", "Resolved")
