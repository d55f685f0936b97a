"""`card.toml` of weights/chest-text, written from what was measured. Format and meaning: docs/multimodal.md."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from radpipe.card import ModelCard
from radpipe.train.dual_figures import Measured
from radpipe.train.dual_fit import Projections
from radpipe.train.sentences import prompt

FILES = ("model.onnx", "projections.safetensors", "vocab.txt")


def write_text_card(
    out: Path,
    recipe: dict[str, Any],
    reader: ModelCard,
    fitted: Projections,
    measured: dict[str, Measured],
    others: dict[str, Any],
) -> None:
    """Write the card beside its files."""
    means, found, sides = others["means"], others["retrieval"], others["sides_painted"]
    alone = others["retrieval_by_embedding_alone"]
    supported = [finding for finding, one in measured.items() if one.supported]
    count = next(iter(measured.values())).n
    strength = (
        f"Weak: mean cross-validated zero-shot AUC over {len(measured)} findings {_interval(means, 'same_source')} between "
        f"images of the same source, {_interval(means, 'enriched')} among mostly ill patients; {len(supported)} of "
        f"{len(measured)} findings fit their sentences well enough to be checked."
    )
    limits = [
        "Not a medical device. It points at sentences to look at again; it never changes one.",
        "It cannot tell a finding from its denial: polarity comes from radpipe.structure alone.",
        f"It does not know sides: left against right of lesions painted on one side, AUC {sides['auc']:.2f} "
        f"({sides['auc_ci'][0]:.2f}-{sides['auc_ci'][1]:.2f}), n = {sides['n']}; sizes are not known either. Real lesions "
        "of a known side were not at hand.",
        _unseen(others),
        f"Similar studies: of the nearest five {found['all']['precision_at_5']:.0%} share a finding (chance "
        f"{found['all']['chance']:.0%}; among mostly ill patients {found['enriched']['precision_at_5']:.0%}, chance "
        f"{found['enriched']['chance']:.0%}); by the reader's embedding alone {alone['all']['precision_at_5']:.0%} and "
        f"{alone['enriched']['precision_at_5']:.0%}.",
        "Scores are not calibrated. Percentiles are among the reference images, where ill patients are over-represented: at "
        "another hospital the same percentile means something else.",
        "It sees the image through the reader's embedding: agreement with the reader's own draft is no independent opinion.",
        "The recipe's few settings were chosen by the same cross-validation that is reported: a little optimistic.",
        "Labels were text-mined and are noisy; sentences were composed from them, no real report was learnt from.",
        "One hospital's adults only. English only.",
    ]
    lines = [
        "# Written by radpipe.train.dual; format and meaning: docs/multimodal.md",
        "",
        'role = "text"',
        f"name = {_text(recipe['name'])}",
        f"version = {_text(recipe['version'])}",
        'summary = "Sentences and chest radiographs in one space: all-MiniLM-L6-v2 and two linear maps, for one reader"',
        f"strength = {_text(strength)}",
        'licence = "Apache-2.0 (all-MiniLM-L6-v2, sentence-transformers, Apache-2.0; maps trained on ChestX-ray14, NIH '
        'Clinical Center, free use with citation: Wang et al. 2017)"',
        f"training_data = {_text(_training_data(count, recipe))}",
        f"tokens = {recipe['tokens']}",
        f"scale = {fitted.scale:.6g}",
        f"bias = {fitted.bias:.6g}",
        "limits = [",
        *(f"    {_text(limit)}," for limit in limits),
        "]",
        "",
        "[reader]",
        f"name = {_text(f'{reader.name} {reader.version}')}",
        f'sha256 = "{reader.sha256}"',
        "",
        "[files]",
        *(f'"{name}" = "{hashlib.sha256((out / name).read_bytes()).hexdigest()}"' for name in FILES),
        "",
        "[agreement]  # percentiles from which a sentence is pointed out, and of what share of right and wrong ones",
        *(f"{name} = {value:.4g}" for name, value in others["limits_of_agreement"].items()),
        "",
        "[side]  # left against right, of painted lesions",
        f"auc = {sides['auc']:.4f}",
        f"auc_ci = [{sides['auc_ci'][0]:.4f}, {sides['auc_ci'][1]:.4f}]",
        f"n = {sides['n']}",
    ]
    for finding, one in measured.items():
        lines += [
            "",
            f"[findings.{finding}]",
            f"prompt = {_text(prompt(finding))}",
            f"positives = {one.positives}",
            f"n = {one.n}",
            f"auc = {one.auc:.4f}",
            f"auc_ci = [{one.auc_ci[0]:.4f}, {one.auc_ci[1]:.4f}]",
            f"agreement_auc = {one.agreement_auc:.4f}",
            f"agreement_auc_ci = [{one.agreement_auc_ci[0]:.4f}, {one.agreement_auc_ci[1]:.4f}]",
            f"agreement_n = {one.agreement_n}",
        ]
    (out / "card.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _unseen(others: dict[str, Any]) -> str:
    advice = "do not score what is not among the findings of this card."
    if "unseen_finding" not in others:
        return f"What words score that were never trained on was not measured: {advice}"
    auc = _interval(others["unseen_finding"], "same_source")
    return f"A finding whose words and images were never seen has a mean AUC of {auc}, most of it ill from well: {advice}"


def _training_data(count: int, recipe: dict[str, Any]) -> str:
    painted = (
        " Pairs of a normal radiograph and its copy with a painted lesion teach sides and sizes."
        if recipe["painted"]["weight"]
        else " Painted lesions were only measured with."
    )
    return (
        f"The embeddings that the reader makes of {count} radiographs of ChestX-ray14 with text-mined labels, and of 839 "
        "more of other patients at 64 x 64 pixels; sentences composed from the labels by a program, in many wordings. The "
        f"sentence encoder is frozen.{painted} Final maps are trained on all folds; every figure, and every reference "
        "image's place, is by a map that had not seen the patient."
    )


def _interval(table: dict[str, Any], name: str) -> str:
    low, high = table[f"{name}_ci"]
    return f"{table[name]:.2f} ({low:.2f}-{high:.2f})"


def _text(value: str) -> str:
    """A TOML basic string: JSON's is one."""
    return json.dumps(value, ensure_ascii=False)
