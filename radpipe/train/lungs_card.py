"""The card of the lung segmenter, from the recipe and what was measured."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from radpipe.train.lungs_record import PAINTED

FILES = ("model.onnx", "model.safetensors")

SUMMARY = "Lung fields of frontal chest radiographs, right and left, opaque parts completed; what anatomy is measured from"
LICENCE = (
    "Apache-2.0. Trained on ChestX-ray14 (NIH Clinical Center, free use with citation: Wang et al. 2017) and on the "
    "COVID-19 radiographs of Hannover Medical School (CC BY 3.0), from outlines that follow the answers of the "
    "network in the package cheXwhatsApp 0.1.5 (MIT)"
)
POPULATION = (
    "NIH Clinical Center, Bethesda, USA, 1992-2015: PA and AP, mostly adults, ill patients over-represented; a few "
    "portables of 20 COVID-19 patients of Hannover Medical School, Germany. Validated on other images: OpenIST, "
    "mostly PA films with little disease."
)
LIMITS = (
    "Not a medical device. Its masks place findings and give measurements for a radiologist to check.",
    "No mask that it learnt from was drawn by a person: the outlines are a network's answers, drawn in by a constant "
    "and laid on the edge that the picture shows. The drawn masks it is validated on follow the lungs' visible "
    "borders: the part of the lung behind the heart and below the dome of the diaphragm is no lung field here.",
    "Of an opaque lung it gives the likely outline, which cannot be seen. What is measured on such a border is no "
    "measurement; the anatomy stage checks the contrast of the heart's borders and gives no ratio without.",
    "Validated on opaque lungs only by painting opacities over known lungs, with the painter that it was also trained with.",
    "Where it is worst in validation, the left lung's outline reaches below the diaphragm, over the flank or bowel gas.",
    "An earlier network's errors on 46 of the validation images, bowel gas taken for lung, led to painting bowel gas in "
    "training: in that the validation is a little optimistic. Nothing else was chosen by it.",
    "Portables: no drawn masks were at hand; they were looked at.",
    "Not for lateral views, and not for anything that is no chest: there it may answer with noise.",
    "Children were few in training and are not in the validation by age.",
)


def write_card(directory: Path, recipe: dict[str, Any], figures: dict[str, Any]) -> None:
    """Write `card.toml` into `directory`, with the hashes of the files that are there."""
    lines = [
        "# Written by radpipe.train.lungs_segmenter; format and meaning: docs/anatomy.md",
        "",
        'role = "anatomy"',
        *(
            f"{name} = {json.dumps(value)}"
            for name, value in (
                ("name", recipe["name"]),
                ("version", recipe["version"]),
                ("summary", SUMMARY),
                ("strength", _strength(figures)),
                ("licence", LICENCE),
                ("training_data", _training(figures)),
                ("population", POPULATION),
            )
        ),
        "limits = [",
        *(f"    {json.dumps(limit)}," for limit in LIMITS),
        "]",
        "",
        "[input]",
        'modalities = ["CR", "DX"]',
        'body_part = "CHEST"',
        'views = ["PA", "AP"]',
        f"rows = {recipe['input']['rows']}",
        f"columns = {recipe['input']['columns']}",
        f"percentiles = {recipe['input']['percentiles']}",
        "",
        "[figures]",
        *_figures(figures),
        "",
        "[files]",
        *(f'"{name}" = "{hashlib.sha256((directory / name).read_bytes()).hexdigest()}"' for name in FILES),
    ]
    (directory / "card.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _strength(figures: dict[str, Any]) -> str:
    if "dice_both" not in figures:
        return "Not validated: OpenIST was not at hand"
    dice, ratio = figures["dice_both"], figures["ratio"]
    return (
        f"Dice {dice['value']:.3f} ({dice['ci'][0]:.3f}-{dice['ci'][1]:.3f}) over {dice['n']} radiographs of another origin "
        f"(OpenIST), 5th percentile {dice['percentile_5']:.2f}, least {dice['least']:.2f}; cardiothoracic ratio within "
        f"{ratio['limits'][0]:+.3f} to {ratio['limits'][1]:+.3f} (95 % limits of agreement, n = {ratio['n']}) of that "
        "by drawn lungs"
    )


def _training(figures: dict[str, Any]) -> str:
    material = figures.get("material", {})
    parts = [f"{entry['n']} of {name}/ ({entry['believed']} outlines believed)" for name, entry in material.items()]
    return (
        f"Radiographs: {', '.join(parts) or 'none'}. Outlines come from the network of cheXwhatsApp, drawn in and laid "
        "on the "
        "picture's edges; where they were not believed the first stage's network completed them. Opacities, effusions "
        "and white "
        "lungs were painted over lungs whose outline stays."
    )


def _figures(figures: dict[str, Any]) -> list[str]:
    lines = []
    words = {"both": "Dice of both lungs together", "right": "Dice of the right lung", "left": "Dice of the left lung"}
    words |= {what: f"Dice of both lungs with {what.replace('_', ' ')} painted over them" for what in PAINTED}
    for name, what in words.items():
        if entry := figures.get(f"dice_{name}"):
            ci = f"[{entry['ci'][0]:.4f}, {entry['ci'][1]:.4f}]"
            lines.append(
                f"dice_{name} = {{ value = {entry['value']:.4f}, ci = {ci}, n = {entry['n']}, "
                f'what = "{what}, OpenIST, mean over images" }}'
            )
    if ratio := figures.get("ratio"):
        for name, value in (("bias", ratio["bias"]), ("low", ratio["limits"][0]), ("high", ratio["limits"][1])):
            lines.append(
                f"ratio_{name} = {{ value = {value:.4f}, n = {ratio['n']}, "
                f'what = "cardiothoracic ratio, found less drawn lungs: {name} (95 % limits)" }}'
            )
    return lines
