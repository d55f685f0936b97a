"""Sentences as radiologists write them, composed from what is known of an image: finding, side, size, view, or nothing ill.

Wordings are our own; no report was copied. Each finding's wordings are split: those of `TAUGHT` are trained on, those of
`HELD_OUT` are only measured with, so that a figure says whether the meaning was learnt and not the words. Denials are
composed for tests alone: sentence vectors cannot tell them from what they deny, and nothing is trained on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TAUGHT: dict[str, tuple[str, ...]] = {
    "atelectasis": (
        "atelectasis", "subsegmental atelectasis", "volume loss", "linear atelectasis", "discoid atelectasis",
        "plate-like atelectasis", "partial collapse", "atelectatic change", "basilar atelectasis",
    ),
    "cardiomegaly": (
        "cardiomegaly", "enlarged heart", "enlarged cardiac silhouette", "cardiac enlargement", "increased heart size",
        "enlargement of the cardiac silhouette", "widened cardiac silhouette", "heart is enlarged",
    ),
    "pleural_effusion": (
        "pleural effusion", "effusion", "pleural fluid", "blunting of the costophrenic angle", "layering effusion",
        "fluid in the pleural space", "blunted costophrenic sulcus", "subpulmonic effusion", "loculated effusion",
    ),
    "lung_opacity": (
        "opacity", "infiltrate", "airspace opacity", "interstitial opacities", "patchy infiltrates", "hazy opacity",
        "opacification", "pulmonary infiltrate", "airspace disease", "increased density",
    ),
    "mass": (
        "lung mass", "mass", "mass lesion", "pulmonary mass", "large rounded mass", "perihilar mass", "mass-like opacity",
        "tumor",
    ),
    "nodule": (
        "pulmonary nodule", "nodule", "lung nodules", "rounded nodular density", "nodular opacity", "small round nodule",
        "multiple nodules", "coin lesion",
    ),
    "pneumonia": (
        "pneumonia", "infectious infiltrate", "pneumonic consolidation", "bronchopneumonia", "infectious process",
        "changes of pneumonia", "focal pneumonia",
    ),
    "pneumothorax": (
        "pneumothorax", "apical pneumothorax", "visible pleural line", "collapsed lung with pleural air",
        "hydropneumothorax", "air in the pleural space",
    ),
    "consolidation": (
        "consolidation", "lobar consolidation", "airspace consolidation", "dense consolidation", "consolidated lung",
        "consolidation with air bronchograms",
    ),
    "edema": (
        "pulmonary edema", "interstitial edema", "vascular congestion", "congestive heart failure", "edema",
        "pulmonary venous congestion", "cephalization of the vessels", "alveolar edema",
    ),
    "hyperinflation": (
        "emphysema", "hyperinflation", "hyperinflated lungs", "flattened diaphragms", "emphysematous change",
        "hyperexpanded lungs", "bullous disease",
    ),
    "scarring": (
        "fibrosis", "scarring", "pulmonary fibrosis", "fibrotic change", "parenchymal scarring", "apical scarring",
        "interstitial fibrosis",
    ),
    "pleural_thickening": (
        "pleural thickening", "thickening of the pleura", "apical pleural thickening", "pleural scarring",
        "thickened pleura", "pleural plaque",
    ),
    "hiatal_hernia": (
        "hiatal hernia", "hernia", "hiatus hernia", "retrocardiac hernia with an air-fluid level",
        "herniated stomach",
    ),
}  # fmt: skip
"""Finding -> noun phrases that are trained on."""

HELD_OUT: dict[str, tuple[str, ...]] = {
    "atelectasis": ("bandlike atelectasis", "atelectases", "collapse of lung segments"),
    "cardiomegaly": ("large heart", "heart size is increased", "cardiac size is enlarged"),
    "pleural_effusion": ("pleural effusions", "pleural fluid collection", "obscured costophrenic angle"),
    "lung_opacity": ("infiltration", "lung opacity", "ill-defined opacities"),
    "mass": ("tumorous mass", "lung tumor", "space-occupying lung lesion"),
    "nodule": ("nodular lesion", "solitary pulmonary nodule", "nodules in the lung"),
    "pneumonia": ("lobar pneumonia", "lung infection", "pneumonic infiltrate"),
    "pneumothorax": ("pneumothoraces", "pleural air with partial collapse of the lung", "tension pneumothorax"),
    "consolidation": ("consolidations", "consolidative change", "lobe is consolidated"),
    "edema": ("fluid overload", "pulmonary oedema", "congested pulmonary vessels"),
    "hyperinflation": ("emphysematous lungs", "COPD with overinflation", "overinflated lungs"),
    "scarring": ("fibrotic scarring", "chronic fibrotic lung disease", "scar tissue in the lung"),
    "pleural_thickening": ("thick pleura", "pleural rind", "pleural thickenings"),
    "hiatal_hernia": ("large hiatal hernia", "stomach herniated into the chest", "sliding hiatus hernia"),
}
"""Finding -> noun phrases that are only measured with."""

NORMAL = (
    "normal chest radiograph", "lungs are clear", "normal heart and clear lungs", "unremarkable chest radiograph",
    "clear lung fields and sharp costophrenic angles", "heart, lungs and pleura appear normal", "healthy lungs",
)  # fmt: skip
ABNORMAL = (
    "abnormal chest radiograph", "chest radiograph with pathologic findings", "diseased lungs",
    "acute cardiopulmonary disease",
)  # fmt: skip
VIEWS: dict[str, tuple[str, ...]] = {
    "AP": ("AP portable view", "portable chest radiograph, AP", "anteroposterior projection", "bedside AP film"),
    "PA": ("PA view", "upright PA chest radiograph", "posteroanterior projection", "standing PA film"),
}

SIDES: dict[str, tuple[str, ...]] = {
    "left": ("left {x}", "left-sided {x}", "{x} on the left", "{x} of the left lung", "{x} in the left hemithorax"),
    "right": ("right {x}", "right-sided {x}", "{x} on the right", "{x} of the right lung", "{x} in the right hemithorax"),
    "bilateral": ("bilateral {x}", "{x} on both sides", "{x} in both lungs", "{x} bilaterally"),
}
SIZES: dict[str, tuple[str, ...]] = {
    "small": ("small {x}", "minimal {x}", "mild {x}", "subtle {x}", "trace {x}"),
    "moderate": ("moderate {x}", "moderate-sized {x}"),
    "large": ("large {x}", "massive {x}", "marked {x}", "extensive {x}", "severe {x}"),
}
FRAMES = (
    "{x}", "{x}.", "There is {x}.", "{x} is seen.", "{x} is present.", "Evidence of {x}.",
    "Findings are consistent with {x}.", "The radiograph shows {x}.", "{x} is noted.", "Impression: {x}.",
)  # fmt: skip
DENIALS = ("No {x}.", "There is no {x}.", "No evidence of {x}.", "Without {x}.", "{x} is not seen.")

WITHOUT_SIDE = frozenset({"cardiomegaly", "hiatal_hernia", "edema", "hyperinflation"})
"""Findings of which no side is said."""


@dataclass(frozen=True, slots=True)
class Concept:
    """What a sentence says: one finding, with side, size or view where they are known; or that all is normal, or not."""

    finding: str  # a key of TAUGHT, or "normal", "abnormal", "view"
    side: str = ""
    size: str = ""
    view: str = ""


def compose(concept: Concept, random: np.random.Generator, *, held_out: bool = False, loose: float = 0.0) -> str:
    """One of the concept's many wordings. `held_out`: of those that are not trained on. `loose`: how often a side and a size
    are named that the concept does not fix, so that "small left effusion" counts as an effusion."""
    words = str(random.choice(_nouns(concept, held_out)))
    frames: list[tuple[str, ...]] = [FRAMES]
    free = concept.finding in TAUGHT
    size = concept.size or (str(random.choice(list(SIZES))) if free and random.random() < loose else "")
    side = concept.side or (
        str(random.choice(list(SIDES))) if free and concept.finding not in WITHOUT_SIDE and random.random() < loose else ""
    )
    if size:
        frames.insert(0, SIZES[size])
    if side:
        frames.insert(0, SIDES[side])
    if concept.view and concept.finding != "view":
        frames.append(tuple(f"{{x}} {view}" for view in VIEWS[concept.view]))
    for options in frames:
        words = str(random.choice(options)).format(x=words)
    return words[:1].upper() + words[1:]


def wordings(concept: Concept, count: int, seed: int, *, held_out: bool = False, loose: float = 0.0) -> tuple[str, ...]:
    """`count` wordings, drawn with the seed; there may be the same among them."""
    random = np.random.default_rng([seed, *concept_seed(concept)])
    return tuple(compose(concept, random, held_out=held_out, loose=loose) for _ in range(count))


def prompt(finding: str, side: str = "") -> str:
    """The plain wording that stands for a finding, a key of TAUGHT or "normal": "There is left pleural effusion." """
    if finding == "normal":
        return f"{NORMAL[0].capitalize()}."
    return f"There is {side + ' ' if side else ''}{TAUGHT[finding][0]}."


def denial(finding: str, random: np.random.Generator) -> str:
    """A sentence that denies the finding by its usual names. For tests: nothing is trained on it."""
    return str(random.choice(DENIALS)).format(x=str(random.choice(TAUGHT[finding][:2]))).capitalize()


def concept_seed(concept: Concept) -> list[int]:
    """Numbers that stand for the concept, the same on every machine."""
    return list("|".join((concept.finding, concept.side, concept.size, concept.view)).encode())


def _nouns(concept: Concept, held_out: bool) -> tuple[str, ...]:
    if concept.finding == "normal":
        return NORMAL
    if concept.finding == "abnormal":
        return ABNORMAL
    if concept.finding == "view":
        return VIEWS[concept.view]
    return (HELD_OUT if held_out else TAUGHT)[concept.finding]
