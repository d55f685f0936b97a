"""The words and the TOML of the card that a training run writes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from radpipe.anatomy import NAMES
from radpipe.card import InputSpec
from radpipe.codes import FINDINGS
from radpipe.evaluate.metrics import wilson
from radpipe.train.sanity import ORIENTATIONS, DistanceFigures
from radpipe.train.validate import LabelFigures, Means

NOT_COVERED = (
    "fractures and other bone lesions",
    "tubes, lines, pacemakers and other support devices, and their position",
    "free air under the diaphragm (pneumoperitoneum)",
    "mediastinal widening, masses and shift",
    "hilar enlargement",
    "the aorta and the great vessels",
    "the spine, shoulders and upper abdomen",
    "cavities, calcifications and the pattern of interstitial disease",
    "soft-tissue and surgical emphysema",
    "foreign bodies",
)

FOREIGN = ("ct", "extremity", "mr", "no image", "nuclear", "photograph", "ultrasound")

LIMITS = (
    "Not a medical device. Its findings are a draft for a radiologist who looks at the image.",
    "The recipe's few settings were chosen by the same cross-validation that is reported: a little optimistic.",
    "Trained and validated on one hospital's images only; how it does elsewhere is not known.",
    "The labels were text-mined from reports and are noisy; cross-validation measures agreement with them, not "
    "with the truth.",
    "The share of ill patients in the training images is artificial: PPV and NPV cannot be read from this card, and the "
    "probabilities are calibrated to that share, not to yours.",
    "Much of the pooled AUC comes from telling healthy from ill; among ill patients it is much weaker.",
    "Reads one frontal image of 224 x 224 pixels: small nodules, fine lines and small pneumothoraces are below "
    "its resolution.",
    "Absent means below the rule-out threshold, which is set to miss at most 30 % of those who have the finding, on "
    "average over patients (held out: see each finding). It does not rule a finding out.",
    "AP portables and PA films differ in how ill the patients are; part of what it knows is that difference.",
    "Patients under 18 were not among the labelled images.",
    "The lateral view was learnt from projections of one CT; no real lateral radiograph was seen.",
    "Repeatability was measured on shifted, turned and re-exposed copies, not on repeated exposures: a lower bound.",
)


INTENDED = (
    "A second look at frontal chest radiographs of adults, CR or DX, PA or AP, for a draft that a radiologist corrects "
    "and signs.",
    "Reordering a worklist, where every study is read all the same.",
)

EXCLUDED = (
    "Children; lateral and other views; other body parts.",
    "Stating anything to a patient or a referrer unsigned; ruling a finding out.",
)

FAILURES = (
    "Early pneumothorax, small nodules and pneumonia among ill patients are found little better than by chance.",
    "The cardiothoracic ratio is not measured where a lung or a border of the heart is hidden.",
    "Where a lung is white, side and zone are told by the picture's halves.",
    "A well-formed chest of a child, or one exposed in an odd projection, is not refused by its look; the age in the "
    "tags is used.",
)


def strength(means: Means, figures: tuple[LabelFigures, ...]) -> str:
    """One honest sentence."""
    assessed = sum(figure.assessed for figure in figures[:-1])
    return (
        f"Weak: mean cross-validated AUC over 14 findings {means.enriched:.2f} ({means.enriched_ci[0]:.2f}-"
        f"{means.enriched_ci[1]:.2f}) among mostly ill patients, which is what to expect of new ones; "
        f"{means.same_source:.2f} ({means.same_source_ci[0]:.2f}-{means.same_source_ci[1]:.2f}) between images of the "
        f"same source, {means.pooled:.2f} pooled with many healthy ones; {assessed} of 14 findings are good enough to "
        f"be stated; normal against abnormal is {means.abnormal:.2f}, {means.abnormal_enriched:.2f} among the mostly ill."
    )


def source(figure: LabelFigures, folds: int) -> str:
    """Where a label's figures come from, and what they rest on."""
    point, check = figure.at_threshold, figure.check
    low, high = wilson(point.true_positives, point.positives)
    return (
        f"ChestX-ray14 excerpt, {folds}-fold cross-validation by patient, n = {figure.n} ({figure.positives} positive); "
        f"AUC between images of the same source; pooled {figure.auc_pooled:.2f} "
        f"({figure.auc_pooled_ci[0]:.2f}-{figure.auc_pooled_ci[1]:.2f}), among mostly ill patients "
        f"{figure.auc_enriched:.2f} ({figure.auc_enriched_ci[0]:.2f}-{figure.auc_enriched_ci[1]:.2f}, "
        f"{figure.positives_enriched} positive); conformal: of those who have it at most {check.miss_bound:.0%} are "
        f"called absent (held out {check.miss.value:.0%}, {check.miss.low:.0%}-{check.miss.high:.0%}), of those who "
        f"have it not at most {check.false_alarm_bound:.0%} present (held out {check.false_alarm.value:.1%}, "
        f"{check.false_alarm.low:.1%}-{check.false_alarm.high:.1%}); at the threshold sensitivity "
        f"{point.sensitivity:.2f} ({low:.2f}-{high:.2f}, {point.true_positives} of {point.positives}), specificity "
        f"{point.specificity:.2f}; unsure in {check.unsure:.0%} of the images"
        + (f"; {figure.decisions.why}" if figure.decisions.why else "")
    )


def pointing_words(pointing: dict[str, Any]) -> str:
    """What was measured of the maps, for the card's limits."""
    large = {name: entry for name, entry in pointing.items() if name.endswith("large")}
    hits, n = sum(entry["hits"] for entry in large.values()), sum(entry["n"] for entry in large.values())
    small_hits = sum(entry["hits"] for name, entry in pointing.items() if name not in large)
    small_n = sum(entry["n"] for name, entry in pointing.items() if name not in large)
    chance = sum(entry["by_chance"] * entry["n"] for entry in pointing.values()) / max(n + small_n, 1)
    return (
        f"The maps point at a painted lesion in {hits} of {n} large and {small_hits} of {small_n} small ones (by chance "
        f"{chance:.0%}), by the painter that taught them; they were not checked against boxes drawn by people, for of the "
        "public ones none lies on an image at hand."
    )


def write_card(
    directory: Path,
    recipe: dict[str, Any],
    spec: InputSpec,
    figures: tuple[LabelFigures, ...],
    means: Means,
    far: DistanceFigures,
    counts: dict[str, Any],
    groups: dict[str, dict[str, float]],
    pointing: dict[str, Any],
) -> None:
    """Write `card.toml` beside the weights, whose hashes it takes."""
    texts = {
        "name": recipe["name"],
        "version": recipe["version"],
        "summary": "Frontal chest radiographs: 14 findings and normal against abnormal, from DINOv2 ViT-S/14 whose "
        "last blocks learnt painted lesions, measures of lungs and heart, and linear heads",
        "strength": strength(means, figures),
        "licence": "Apache-2.0 (DINOv2 weights, Meta AI, Apache-2.0; trained on ChestX-ray14, NIH Clinical Center, free use "
        "with citation: Wang et al. 2017)",
        "training_data": f"Heads: {counts['images']} radiographs of {counts['patients']} patients of ChestX-ray14 with "
        f"text-mined labels, of which {counts['reader_normal']} that readers called normal were taken as normal; "
        f"{counts['small']} more of {counts['small_patients']} other patients at 64 x 64 pixels; {counts['normal']} "
        "radiographs inferred to be the RSNA challenge's normals, for how normal chests vary, without labels. Last "
        f"four blocks: {counts['scenes']} of these normal images, each as it is and with two lesions that a program "
        "painted into it (nine kinds), without any patient's label. Measures: by weights/chest-lungs. Figures are of "
        f"real lesions only, of patients that the heads had not seen; final heads are trained on all folds. Mostly ill "
        f"patients: {counts['enriched']} images "
        "of sources enriched for positives, without those that readers called normal.",
        "population": f"NIH Clinical Center, Bethesda, USA, 1992-2015; ages {counts['youngest']} to "
        f"{counts['oldest']} among the "
        f"labelled images, {counts['female']} % female, {counts['ap']} % AP; about 6 % of the normal images are "
        "of minors by "
        "inference; ill patients are over-represented by design of the excerpt.",
    }
    lines = ["# Written by radpipe.train; format and meaning: docs/model-card.md", ""]
    lines += [f"{key} = {_text(value)}" for key, value in texts.items()]
    lines += [_list("limits", (*LIMITS, pointing_words(pointing), _refused(far))), _list("not_covered", NOT_COVERED)]
    lines += [
        _list("intended_use", INTENDED),
        _list("excluded_use", EXCLUDED),
        _list("known_failures", FAILURES),
        "",
        "[input]",
    ]
    lines += [
        f"modalities = {_array(spec.modalities)}",
        f"body_part = {_text(spec.body_part)}",
        f"views = {_array(spec.views)}",
        f"rows = {spec.rows}",
        f"columns = {spec.columns}",
        f"channels = {spec.channels}",
        f"mean = {_array(spec.mean)}",
        f"std = {_array(spec.std)}",
        f"percentiles = {_array(spec.percentiles)}",
        f"patient_age_years = {_array(spec.patient_age_years)}",
        "",
        "[view]",
        f"labels = {_array(('PA', 'AP', 'LATERAL'))}",
        "",
        "[orientation]",
        f"labels = {_array(ORIENTATIONS)}",
        "",
        "[anatomy]",
        f"lungs = {_text(recipe['measures']['lungs'])}",
        f"measures = {_array(NAMES)}",
        "",
        "[distribution]",
        f"distance_limit = {far.limit:.4f}",
        "",
        "[files]",
    ]
    segmenter = f"../{recipe['measures']['lungs']}"
    for name in ("model.onnx", "model.safetensors", f"{segmenter}/model.onnx", f"{segmenter}/model.safetensors"):
        lines.append(f'"{name}" = "{hashlib.sha256((directory / name).read_bytes()).hexdigest()}"')
    for figure in figures:
        code = FINDINGS[figure.finding]
        lines += [
            "",
            f"[labels.{figure.finding}]",
            f"code = {_text(f'{code.scheme}:{code.value}')}",
            f"meaning = {_text(code.meaning)}",
            f"threshold = {figure.at_threshold.threshold:.9f}",
            f"rule_out = {figure.at_rule_out.threshold:.9f}",
            f"assessed = {'true' if figure.assessed else 'false'}",
            f"auc = {figure.auc:.4f}",
            f"auc_ci = [{figure.auc_ci[0]:.4f}, {figure.auc_ci[1]:.4f}]",
            f"positives = {figure.positives}",
            f"n = {figure.n}",
            f"sensitivity = {figure.at_threshold.sensitivity:.4f}",
            f"specificity = {figure.at_threshold.specificity:.4f}",
            f"repeatability_logit = {figure.repeatability_logit:.4f}",
            f"average_precision = {figure.average_precision:.4f}",
            f"calibration_error = {figure.calibration_error:.4f}",
            f"miss_bound = {figure.decisions.miss_bound:.2f}",
            f"false_alarm_bound = {figure.decisions.false_alarm_bound:.2f}",
            f"source = {_text(source(figure, recipe['folds']))}",
        ]
    for name, group in groups.items():
        lines += [
            "",
            f"[subgroups.{_text(name)}]",
            f"n = {group['n']}",
            f"mean_auc = {group['mean_auc']:.4f}",
            f"abnormal_auc = {group['abnormal_auc']:.4f}",
        ]
    (directory / "card.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _refused(far: DistanceFigures) -> str:
    above = far.figures["above"]
    foreign = [above[name] for name in FOREIGN if name in above]
    turned = [above[name] for name in above if name.startswith(("turned", "inverted"))]
    return (
        "Refused as unlike its training images: "
        f"{_percent([above['held-out radiographs'], above['held-out normal images']])} of "
        f"held-out chests, {_percent([above['Hannover']])} of a second hospital's portables (other patients of it "
        "were learnt "
        f"from), {_percent([above['OpenIST']])} of a third's; {_percent(foreign)} of other body parts, CT, MR, ultrasound, "
        f"photographs and non-images; {_percent(turned)} of turned or inverted chests. "
        "Small samples, and the margin for turned ones was set on them; a well-formed chest of a child or an odd "
        "projection is not refused."
    )


def _percent(groups: list[dict[str, Any]]) -> str:
    count = sum(group["n"] for group in groups)
    above = sum(round(group["n"] * group["above"]) for group in groups)
    return f"{100 * above / count:.1f} % ({above} of {count})"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML basic string


def _array(values: tuple[Any, ...]) -> str:
    return json.dumps(list(values))


def _list(key: str, values: tuple[str, ...]) -> str:
    return "\n".join([f"{key} = [", *(f"    {_text(value)}," for value in values), "]"])
