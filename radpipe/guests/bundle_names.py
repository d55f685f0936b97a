"""What a bundle's output channels mean: finding or anatomy, code, side. From the names in channel_def, unless the user says.

Codes come from DICOM's own dictionary of SNOMED CT terms (PS3.16, as pydicom ships it); a name that is not there gets a code
of ours, 99RADPIPE, so that nobody mistakes it for a standard one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from pydicom.sr.codedict import codes as dictionary

from radpipe.codes import FINDINGS, Code, Laterality
from radpipe.errors import UsageError
from radpipe.segmenter import Channel, Kind

_BACKGROUND = frozenset({"background", "bg", "back", "other", "outside", "none", "everything else"})

_LESIONS = re.compile(
    r"nodule|tumou?r|lesion|mass\b|effusion|pneumothorax|ha?emorrhage|bleed|consolidation|infection|covid|cancer|carcinoma|"
    r"metastas|cyst|stone|calculus|thromb|embol|opacit|atelectasis|fracture|aneurysm|infarct|o?edema|abscess|emphysema|fibrosis"
)

_ALIASES = {
    "lung_nodule": "nodule", "pulmonary_nodule": "nodule", "lung_tumor": "mass", "lung_tumour": "mass",
    "lung_cancer": "mass",
    "effusion": "pleural_effusion", "pleural_fluid": "pleural_effusion", "emphysema": "hyperinflation",
    "pulmonary_edema": "edema", "opacity": "lung_opacity",
}  # fmt: skip

_TERMS = {
    "lungs": "Lung", "kidneys": "Kidney", "urinary_bladder": "Bladder", "postcava": "InferiorVenaCava",
    "clavicula": "Clavicle", "small_bowel": "SmallIntestine", "oesophagus": "Esophagus", "iliac_artery": "CommonIliacArtery",
    "iliac_vena": "CommonIliacVein", "lung_upper_lobe": "UpperLobeOfLung", "lung_lower_lobe": "LowerLobeOfLung",
    "lung_middle_lobe_right": "MiddleLobeOfRightLung", "heart_atrium_left": "LeftAtrium",
    "heart_atrium_right": "RightAtrium", "heart_ventricle_left": "LeftVentricle",
    "heart_ventricle_right": "RightVentricle", "tumor": "Neoplasm", "tumour": "Neoplasm",
}  # fmt: skip


def channels_of(
    names: Iterable[tuple[int, str]],
    out_channels: int,
    *,
    has_background: bool,
    findings: Mapping[str, str],
    anatomy: Iterable[str] = (),
    smallest_ml: float = 0.0,
) -> tuple[Channel, ...]:
    """The foreground channels. `findings`: channel (its name or number) -> finding; `anatomy`: channels that are organs.

    Raises UsageError for a channel that the bundle does not have.
    """
    called = {index: name for index, name in names if 0 <= index < out_channels}
    first = 1 if has_background else 0
    known = [(index, called.get(index, f"channel {index}")) for index in range(first, out_channels)]
    known = [(index, name) for index, name in known if name.strip().lower() not in _BACKGROUND]
    organs = set(anatomy)
    for asked in (*findings, *organs):
        if not any(asked in (name, str(index)) for index, name in known):
            listed = ", ".join(f"{index} = {name}" for index, name in known)
            raise UsageError(f"the bundle has no channel {asked!r}; it has {listed}")
    made = []
    for index, name in known:
        asked_finding = findings.get(name) or findings.get(str(index))
        is_organ = name in organs or str(index) in organs
        made.append(_channel(index, name, asked_finding, is_organ=is_organ, smallest_ml=smallest_ml))
    return tuple(made)


def _channel(index: int, name: str, asked: str | None, *, is_organ: bool, smallest_ml: float) -> Channel:
    plain = snake_case(name)
    finding = asked or _ALIASES.get(plain, plain)
    base, side = _without_side(finding)
    is_finding = not is_organ and (asked is not None or finding in FINDINGS or bool(_LESIONS.search(plain)))
    return Channel(
        index=index,
        name=name,
        finding=finding,
        code=code_of(finding, base, asked or name),
        kind=Kind.FINDING if is_finding else Kind.ANATOMY,
        laterality=side,
        smallest_ml=smallest_ml if is_finding else 0.0,
    )


def code_of(finding: str, base: str, words: str) -> Code:
    """The code of a finding or structure: ours, else DICOM's term of that name, with or without its side, else local."""
    if finding in FINDINGS:
        return FINDINGS[finding]
    for name in (finding, base):
        found = getattr(dictionary.SCT, _TERMS.get(name, _keyword(name)), None)
        if found is not None:
            return Code(found.value, found.scheme_designator, found.meaning)
    value = finding.upper()
    if len(value) > 16:  # SH, PS3.5 6.2
        value = f"{value[:9]}{hashlib.sha256(finding.encode()).hexdigest()[:7].upper()}"
    return Code(value, "99RADPIPE", words[:64])


def snake_case(name: str) -> str:
    """ "Lung Nodule" -> "lung_nodule"."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_") or "unnamed"


def _without_side(name: str) -> tuple[str, Laterality | None]:
    words = name.split("_")
    for side in (Laterality.LEFT, Laterality.RIGHT):
        if side.value in words:
            return "_".join(word for word in words if word != side.value), side
    return name, None


def _keyword(name: str) -> str:
    """As pydicom calls its terms: "adrenal_gland" -> AdrenalGland, "vertebrae_l5" -> L5Vertebra."""
    if match := re.fullmatch(r"vertebrae?_([ctl]\d{1,2})", name):
        return f"{match[1].upper()}Vertebra"
    return "".join(word.capitalize() for word in name.split("_"))
