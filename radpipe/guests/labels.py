"""What other people's labels mean here: finding and code. A label that has none of ours gets a code of scheme 99RADPIPE.

Two outputs may mean one finding ("Infiltration" and "Lung Opacity"); then the one whose name says it best has it, and the
other keeps a name of its own, so that no output is lost and none is taken for another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from radpipe.codes import FINDINGS, Code

_NAMES: dict[str, tuple[str, ...]] = {
    "abnormal": ("abnormal", "abnormality", "any finding", "any abnormality"),
    "atelectasis": ("atelectasis",),
    "cardiomegaly": ("cardiomegaly", "enlarged heart"),
    "consolidation": ("consolidation", "lung consolidation"),
    "edema": ("edema", "oedema", "pulmonary edema"),
    "fracture": ("fracture", "rib fracture"),
    "hiatal_hernia": ("hiatal hernia", "hernia", "hiatus hernia"),
    "hyperinflation": ("emphysema", "hyperinflation", "copd", "pulmonary emphysema"),
    "lung_lesion": ("lung lesion",),
    "lung_opacity": ("lung opacity", "opacity", "airspace opacity", "infiltration", "infiltrate"),
    "mass": ("mass", "lung mass", "pulmonary mass"),
    "mediastinal_widening": ("enlarged cardiomediastinum", "mediastinal widening", "widened mediastinum"),
    "nodule": ("nodule", "lung nodule", "pulmonary nodule"),
    "nodule_mass": ("nodule/mass", "nodule mass", "nodule or mass"),
    "pleural_effusion": ("pleural effusion", "effusion"),
    "pleural_other": ("pleural other",),
    "pleural_thickening": ("pleural thickening",),
    "pneumonia": ("pneumonia",),
    "pneumoperitoneum": ("pneumoperitoneum", "free air"),
    "pneumothorax": ("pneumothorax",),
    "scarring": ("fibrosis", "pulmonary fibrosis", "scarring"),
    "support_device": ("support devices", "support device"),
    "tuberculosis": ("tuberculosis", "tb"),
}
"""Finding -> what others call it, the best name first."""

_CODES = {
    "fracture": Code("125605004", "SCT", "Fracture of bone"),
    "tuberculosis": Code("56717001", "SCT", "Tuberculosis"),
}
"""Published codes of findings that `codes.FINDINGS` has not."""

_NOTHING = frozenset({"", "none", "no finding", "normal", "unknown", "no findings", "background"})
"""Outputs that state no finding."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """One output that is kept."""

    index: int  # of the network's output
    label: str  # as the model calls it
    finding: str
    code: Code


def meanings(labels: Sequence[str]) -> tuple[tuple[Meaning, ...], tuple[str, ...]]:
    """What the outputs mean, in their order, and one sentence for each that is left out or keeps a name of its own."""
    best: dict[str, tuple[int, int]] = {}  # finding -> (rank of its name, output)
    for index, label in enumerate(labels):
        finding, rank = _finding(label)
        if finding and (finding not in best or rank < best[finding][0]):
            best[finding] = rank, index
    kept, notes, taken = [], [], set[str]()
    for index, label in enumerate(labels):
        finding, _ = _finding(label)
        if not finding:
            if label.strip():
                notes.append(f"output {index} ({label}) is left out: it states no finding")
            continue
        if best[finding][1] != index:
            own = snake_case(label)
            notes.append(f"output {index} is kept as {own}: {finding} is what {labels[best[finding][1]]} says")
            finding = own
        if finding in taken:
            notes.append(f"output {index} ({label}) is left out: another output has that name")
            continue
        taken.add(finding)
        kept.append(Meaning(index, label, finding, code_of(finding, label)))
    if dropped := sum(not label.strip() for label in labels):
        notes.append(f"{dropped} of {len(labels)} outputs have no label and are left out")
    return tuple(kept), tuple(notes)


def snake_case(name: str) -> str:
    """ "Lung Opacity" -> "lung_opacity"."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_") or "unnamed"


def code_of(finding: str, words: str) -> Code:
    """Ours, a published one, else a local one that nobody can take for a standard one."""
    known = FINDINGS.get(finding) or _CODES.get(finding)
    if known is not None:
        return known
    value = re.sub(r"[^A-Z0-9]", "", finding.upper())
    if len(value) > 16:  # SH, PS3.5 6.2
        value = f"{value[:9]}{hashlib.sha256(finding.encode()).hexdigest()[:7].upper()}"
    meaning = words.replace("_", " ").strip() or finding.replace("_", " ")
    return Code(value, "99RADPIPE", meaning[:1].upper() + meaning[1:64])


def _finding(label: str) -> tuple[str, int]:
    """The finding and how good a name for it this is (0 is best); "" for what states none."""
    words = " ".join(re.split(r"[\s_\-]+", label.strip().lower()))
    if words in _NOTHING:
        return "", 0
    for finding, names in _NAMES.items():
        if words in names:
            return finding, names.index(words)
    return snake_case(label), 0
