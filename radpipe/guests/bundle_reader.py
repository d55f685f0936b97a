"""A 2D classification bundle as a reader's files: card.toml, model.safetensors, model.onnx, record/."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from radpipe.card import InputSpec
from radpipe.errors import UsageError, WeightsError
from radpipe.guests.bundle_source import BundleFiles
from radpipe.guests.export import save_network, save_onnx
from radpipe.guests.guest_card import ALWAYS_UNSURE, GuestCard, GuestLabel, write_card
from radpipe.guests.labels import code_of, meanings
from radpipe.guests.record import Report, write_record
from radpipe.models.bundle_reader import INTENSITIES, TURNS, BundleReader
from radpipe.segmenter import Plan, Step

Layout = Any  # bundle_plan.Layout

_MODALITIES = {
    "cr": ("CR", "DX"), "dx": ("CR", "DX"), "xr": ("CR", "DX"), "cxr": ("CR", "DX"), "x-ray": ("CR", "DX"),
    "xray": ("CR", "DX"), "radiograph": ("CR", "DX"), "chest x-ray": ("CR", "DX"), "mg": ("MG",), "mammogram": ("MG",),
    "mammography": ("MG",),
}  # fmt: skip
_NOT_TRANSPOSING = ("NumpyReader",)


def write_reader(
    work: Path,
    name: str,
    files: BundleFiles,
    layout: Layout,
    plan: Plan,
    state: Mapping[str, Any],
    *,
    findings: Mapping[str, str],
    body_part: str,
    licence: str,
    onnx: bool,
    texts: Mapping[str, str],
) -> tuple[Report, tuple[str, ...]]:
    """Write the reader into `work`, which exists; the parity report and what the user should know.

    Raises WeightsError for what is not supported; UsageError for a channel that the bundle does not have.
    """
    if plan.spatial_dims != 2:
        raise WeightsError("the bundle classifies volumes (3D); radpipe classifies 2D images and segments volumes")
    steps, (rows, columns), percentiles, notes = _frame(plan, layout, files)
    modalities = _MODALITIES.get(layout.modality.lower())
    if modalities is None:
        if layout.modality.lower() not in ("", "none"):
            raise WeightsError(f"the bundle reads {layout.modality}; radpipe classifies CR, DX and MG images")
        modalities = ("CR", "DX")
        notes.append("the bundle does not name its modality: taken as CR and DX; change `input.modalities` if it is not so")
    part = body_part.upper() or ("BREAST" if modalities == ("MG",) else "CHEST")
    if not body_part:
        notes.append(f"the bundle does not name a body part: taken as {part}; change `input.body_part` if it is not so")
    labels, more = _labels(layout, plan, findings)
    transposed = not _loads_untransposed(files)
    network = BundleReader(replace(plan, preprocessing=steps), [index for index, _ in labels], transposed=transposed)
    network.network.load_state_dict(dict(state))
    network.eval().requires_grad_(False)
    save_network(network, network.to_metadata(), work)
    spec = InputSpec(
        modalities, part, ("PA", "AP"), rows, columns, plan.in_channels, (0.0,) * plan.in_channels,
        (1.0,) * plan.in_channels, percentiles, (18, 120), "stretch",
    )  # fmt: skip
    points = np.array([ALWAYS_UNSURE[::-1]] * len(labels), np.float32)
    report = save_onnx(network, spec, work, points) if onnx else Report(False, "not asked for")
    card = GuestCard(
        name=name,
        version=texts["version"],
        summary=texts["summary"],
        origin=f"MONAI bundle, {files.weights_name} sha256 {files.weights_sha256[:12]}",
        licence=licence or files.licence,
        training_data=texts["training_data"],
        population="",
        input=spec,
        labels=tuple(label for _, label in labels),
        limits=(
            f"Its makers' intended use: {texts['intended_use']}",
            "Pictures are stretched between their darkest and brightest value after the VOI LUT, before its own transforms.",
        ),
        strength=texts["strength"],
    )
    named = ("model.onnx", "model.safetensors") if report.onnx else ("model.safetensors",)
    write_card(card, work, named)
    all_notes = (*notes, *more)
    write_record(work, report, {
        "source": files.weights_name, "sha256": files.weights_sha256, "as": "bundle", "configuration": files.config_name,
        "labels": [{"output": index, "finding": label.finding} for index, label in labels], "notes": list(all_notes),
    })  # fmt: skip
    for original, content in files.originals.items():
        (work / "record" / original).write_bytes(content)
    return report, all_notes


def _labels(layout: Layout, plan: Plan, findings: Mapping[str, str]) -> tuple[list[tuple[int, GuestLabel]], tuple[str, ...]]:
    names = dict(layout.channel_names)
    called = [names.get(index, f"output {index}") for index in range(plan.out_channels)]
    for asked in findings:
        if asked not in called and not (asked.isdigit() and int(asked) < len(called)):
            raise UsageError(f"the bundle has no output {asked!r}; it has {', '.join(called)}")
    said = [findings.get(name, findings.get(str(index), name)) for index, name in enumerate(called)]
    kept, notes = meanings(said)
    if not kept:
        raise WeightsError(f"none of the bundle's outputs states a finding ({', '.join(called)})")
    return [(m.index, GuestLabel(m.finding, code_of(m.finding, m.label))) for m in kept], notes


def _frame(
    plan: Plan, layout: Layout, files: BundleFiles
) -> tuple[tuple[Step, ...], tuple[int, int], tuple[float, float], list[str]]:
    """Steps that the network does itself; rows and columns of its input; percentiles; notes."""
    notes: list[str] = []
    size: list[int] = [n for n in layout.spatial_shape if n > 1]
    percentiles = (0.0, 100.0)
    steps: list[Step] = []
    for number, step in enumerate(plan.preprocessing):
        arguments = dict(step.arguments)
        if step.target == "Resized":
            asked = arguments.get("spatial_size")
            size = [asked, asked] if isinstance(asked, int) else list(asked or ())
        elif step.target == "ScaleIntensityRangePercentilesd" and number == 0 and not arguments.get("relative"):
            percentiles = (float(arguments["lower"]), float(arguments["upper"]))
            low, high = float(arguments.get("b_min") or 0.0), float(arguments.get("b_max") or 1.0)
            if (low, high) != (0.0, 1.0):
                steps.append(
                    Step("NormalizeIntensityd", (("subtrahend", -low / (high - low)), ("divisor", 1.0 / (high - low))))
                )
        elif step.target in INTENSITIES | TURNS:
            steps.append(step)
        elif step.target != "RepeatChanneld":
            raise WeightsError(f"{step.target} is not supported for 2D bundles; it changes what the network sees")
    if len(size) != 2 or not all(isinstance(n, int) and 16 <= n <= 4096 for n in size):
        raise WeightsError(f"the bundle does not say what size of picture its network reads ({size})")
    # MONAI's first axis is the column
    return tuple(steps), (size[1], size[0]) if not _loads_untransposed(files) else (size[0], size[1]), percentiles, notes


def _loads_untransposed(files: BundleFiles) -> bool:
    """Whether LoadImaged is told to give rows first; by default MONAI's readers of pictures give columns first."""
    config = files.config
    for part in config.parts("preprocessing#transforms") if "preprocessing" in config else ():
        target = str(config.literal_or_none(f"{part}#_target_") or "")
        if re.search(r"(^|\.)LoadImaged$", target):
            if config.literal_or_none(f"{part}#reverse_indexing") is False:
                return True
            return str(config.literal_or_none(f"{part}#reader") or "").rpartition(".")[2] in _NOT_TRANSPOSING
    return False
