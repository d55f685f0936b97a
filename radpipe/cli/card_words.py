"""A model's card in words and as a record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from radpipe.card import Label, ModelCard
    from radpipe.models import OtherCard


def card_record(card: ModelCard) -> dict[str, Any]:
    """For --json: all of the card."""
    spec = card.input
    return {
        "name": card.name,
        "version": card.version,
        "sha256": card.sha256,
        "role": card.role,
        "reads": reads(card),
        "strength": card.strength,
        "states": [label.finding for label in card.labels if label.assessed],
        "not_set": [label.finding for label in card.labels if not label.threshold_set],
        "not_assessed": [label.finding for label in card.labels if label.threshold_set and not label.assessed],
        "licence": card.licence,
        "summary": card.summary,
        "training_data": card.training_data,
        "population": card.population,
        "limits": card.limits,
        "not_covered": card.not_covered,
        "intended_use": card.intended_use,
        "excluded_use": card.excluded_use,
        "known_failures": card.known_failures,
        "origin": card.origin or None,
        "needs_gatekeeper": not card.sees,
        "input": {"rows": spec.rows, "columns": spec.columns, "fit": spec.fit, "patient_age_years": spec.patient_age_years},
        "subgroups": {g.name: {"n": g.n, "mean_auc": g.mean_auc, "abnormal_auc": g.abnormal_auc} for g in card.subgroups},
        "labels": {label.finding: _label_record(label) for label in card.labels},
        "parity": _parity(card.directory),
    }


def card_words(card: ModelCard, *, whole: bool = False) -> str:
    """What a person wants to know of it: a few lines, or all."""
    stated = [label.finding for label in card.labels if label.assessed]
    unset = [label.finding for label in card.labels if not label.threshold_set]
    lines = [
        f"{card.name} {card.version} ({card.sha256[:12]}), {card.licence}",
        f"  reads   {reads(card)}",
        f"  states  {', '.join(stated) or 'nothing yet'}",
    ]
    if unset:
        lines.append(f"  not set {', '.join(unset)}: no operating point; set them with `radpipe calibrate`")
    if not card.sees:
        lines.append("  needs   another reader that says which view an image is and whether it is one to be read")
    found = _parity(card.directory)
    if found is not None:
        lines.append(f"  parity  {_parity_words(found)}")
    if card.origin:
        lines.append(f"  made of {card.origin}")
    lines.append(f"  {card.strength}")
    return "\n".join(lines + (_rest(card) if whole else []))


def other_record(card: OtherCard) -> dict[str, Any]:
    """For --json: of a model that does not read images by itself."""
    return {
        "name": card.name,
        "version": card.version,
        "sha256": card.sha256,
        "role": card.role,
        "summary": card.summary,
        "strength": card.strength,
        "licence": card.licence,
    }


def other_words(card: OtherCard) -> str:
    """In three lines."""
    lines = [f"{card.name} {card.version} ({card.sha256[:12]}), {card.licence}", f"  role    {card.role}: {card.summary}"]
    return "\n".join([*lines, f"  {card.strength}"] if card.strength else lines)


def reads(card: ModelCard) -> str:
    """ "CR/DX CHEST PA/AP"."""
    spec = card.input
    return f"{'/'.join(spec.modalities)} {spec.body_part} {'/'.join(spec.views)}"


def _rest(card: ModelCard) -> list[str]:
    lines = [f"  learnt from {card.training_data}", f"  population {card.population}"]
    for title, sentences in (
        ("meant for", card.intended_use),
        ("not for", card.excluded_use),
        ("fails at", card.known_failures),
        ("limits", card.limits),
        ("does not look for", card.not_covered),
    ):
        lines += [f"  {title}", *(f"    - {sentence}" for sentence in sentences)] if sentences else []
    if card.subgroups:
        lines.append("  subgroups (n; mean AUC of the findings; normal against abnormal)")
        lines += [f"    {g.name:<24}{g.n:>6}  {_figure(g.mean_auc)}  {_figure(g.abnormal_auc)}" for g in card.subgroups]
    lines.append(f"  {'finding':<22}{'AUC (95 %)':<21}{'positive':>9}{'sens.':>7}{'spec.':>7}{'AP':>6}{'ECE':>7}  decided")
    return lines + [_label_words(label) for label in card.labels]


def _label_words(label: Label) -> str:
    measured = label.n > 0
    auc = f"{label.auc:.3f} ({label.auc_ci[0]:.3f}-{label.auc_ci[1]:.3f})" if measured else "not measured"
    counts = f"{label.positives}/{label.n}" if measured else "-"
    points = f"{label.sensitivity:>7.2f}{label.specificity:>7.2f}" if measured else f"{'-':>7}{'-':>7}"
    decided = (
        f"absent < {label.rule_out:.4g}, present >= {label.threshold:.4g}"
        if label.threshold_set
        else "never: no threshold set"
    )
    bounds = "".join(
        f", {words} <= {bound:.0%}"
        for words, bound in (("missed", label.miss_bound), ("false alarms", label.false_alarm_bound))
        if bound is not None
    )
    weak = "" if label.assessed or not label.threshold_set else "; too weak to be stated"
    return (
        f"  {label.finding:<22}{auc:<21}{counts:>9}{points}{_figure(label.average_precision):>6}"
        f"{_figure(label.calibration_error):>7}  {decided}{bounds}{weak}"
    )


def _label_record(label: Label) -> dict[str, Any]:
    return {
        "code": {"value": label.code.value, "scheme": label.code.scheme, "meaning": label.code.meaning},
        "assessed": label.assessed,
        "threshold_set": label.threshold_set,
        "threshold": label.threshold if label.threshold_set else None,
        "rule_out": label.rule_out if label.threshold_set else None,
        "auc": label.auc if label.n else None,
        "auc_ci": label.auc_ci if label.n else None,
        "positives": label.positives,
        "n": label.n,
        "sensitivity": label.sensitivity if label.n else None,
        "specificity": label.specificity if label.n else None,
        "average_precision": label.average_precision,
        "calibration_error": label.calibration_error,
        "miss_bound": label.miss_bound,
        "false_alarm_bound": label.false_alarm_bound,
        "source": label.source,
    }


def _parity(directory: Path) -> dict[str, Any] | None:
    """record/parity.json of an import, if there is one that can be read."""
    try:
        found = json.loads((directory / "record" / "parity.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _parity_words(found: dict[str, Any]) -> str:
    if not found.get("onnx"):
        return f"no ONNX: {found.get('why_not') or 'not said why'}"
    if found.get("largest_difference") is None:
        return "ONNX only"
    flipped = found.get("flipped", found.get("decided_otherwise"))
    return f"ONNX and torch differ by at most {found['largest_difference']:.1e}, {flipped} decided otherwise"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
