"""MONAI bundles become models: `import_bundle` reads a bundle as data, makes its network again and writes a card.

What is executed of a bundle: nothing. The configuration is resolved by `bundle_config`, networks and transforms are MONAI's
own from the tables of `models.bundle_parts`, weights are read as tensors by `bundle_weights` (TorchScript too: its program
is never loaded, so no flag to allow it is needed).

Written to OUT/NAME: card.toml, bundle.json (the plan), model.safetensors, model.onnx where the network can be exported, and
record/ (the bundle's own metadata and configuration, parity.json, import.json). A 3D segmentation becomes a card of
`role = "segmenter"`; a 2D classification becomes a reader, see `bundle_reader`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radpipe.errors import UsageError, WeightsError
from radpipe.guests.bundle_export import Exported, export_onnx
from radpipe.guests.bundle_names import channels_of
from radpipe.guests.bundle_plan import Layout, make_plan, read_layout
from radpipe.guests.bundle_source import BundleFiles, read_bundle
from radpipe.guests.bundle_weights import fit, read_state, to_arrays
from radpipe.guests.toml_text import toml_table, toml_value
from radpipe.models.bundle_parts import is_classifier, make_network
from radpipe.models.tensors import write_tensors
from radpipe.segmenter import ROLE, Channel, Plan

NOT_RUN = ("imports", "import", "initialize", "run", "evaluating", "handlers", "evaluator", "datalist", "dataset")
"""Entries of a bundle's configuration that MONAI would execute and radpipe does not look at."""


@dataclass(frozen=True, slots=True)
class ImportedBundle:
    """What an import made."""

    directory: Path
    role: str  # "segmenter" or "reader"
    channels: tuple[Channel, ...]  # of a segmenter; a reader's labels stand in its card
    onnx: Exported
    notes: tuple[str, ...]  # what the user should know, one sentence each


def import_bundle(
    source: Path,
    out: Path,
    name: str,
    *,
    finding: str | None = None,
    findings: Mapping[str, str] | None = None,
    anatomy: Iterable[str] = (),
    body_part: str = "",
    licence: str = "",
    smallest_ml: float = 0.0,
    overrides: Mapping[str, Any] | None = None,
    onnx: bool = True,
    replace: bool = False,
) -> ImportedBundle:
    """Import the bundle at `source` (folder or zip) as OUT/NAME.

    finding      what the only foreground channel (3D) draws; shorthand for `findings` where there is one channel
    findings     channel -> finding name; a channel is meant by its name in channel_def or its number as text
    anatomy      channels that are organs, measured and never stated as findings; by default told from their names
    body_part    as BodyPartExamined has it ("CHEST"): series that show another part are not read; "" reads all
    licence      how the weights are licensed; by default the first line of the bundle's LICENSE
    smallest_ml  connected parts of a finding below this volume are not stated
    overrides    "a#b" -> literal, in the place of the bundle's own entries ("displayable_configs#highres" -> False)
    onnx         also export to ONNX, with a parity report
    replace      write over an earlier import of this name

    Nothing is left behind when it fails. Raises WeightsError with a reason that names the entry or file that is refused;
    UsageError for a channel that the bundle does not have or a name that is taken.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UsageError(f"{name!r} is no name for a model: use letters, digits, - and _")
    target = out / name
    if target.exists() and not replace:
        raise UsageError(f"{target} is there already; choose another name, or have it replaced")
    files = read_bundle(source, overrides)
    layout = read_layout(files.metadata)
    plan, notes = make_plan(files.config, layout)
    network = make_network(plan.network)
    state = fit(
        network, read_state(files.weights, files.weights_name) if not files.weights_name.endswith(".safetensors")
        else _of_safetensors(files.weights), files.weights_name, exact=not files.weights_name.endswith(".ts"),
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=out))
    try:
        if is_classifier(plan.network.target):
            made = _write_reader(
                work, name, files, layout, plan, state, findings or {}, body_part, licence, notes, onnx=onnx
            )
        else:
            made = _write_segmenter(
                work, name, files, layout, plan, network, state, _asked(finding, findings), anatomy, body_part, licence,
                smallest_ml, notes, onnx=onnx,
            )  # fmt: skip
        if target.exists():
            shutil.rmtree(target)
        work.chmod(0o755)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return ImportedBundle(target, made.role, made.channels, made.onnx, made.notes)


def _asked(finding: str | None, findings: Mapping[str, str] | None) -> Mapping[str, str]:
    asked = dict(findings or {})
    return asked | ({"": finding} if finding else {})


def _write_segmenter(
    work: Path,
    name: str,
    files: BundleFiles,
    layout: Layout,
    plan: Plan,
    network: Any,
    state: Mapping[str, Any],
    asked: Mapping[str, str],
    anatomy: Iterable[str],
    body_part: str,
    licence: str,
    smallest_ml: float,
    notes: tuple[str, ...],
    *,
    onnx: bool,
) -> ImportedBundle:
    if plan.spatial_dims != 3:
        raise WeightsError("the bundle segments 2D pictures; radpipe segments CT volumes (3D) and classifies 2D images")
    if plan.in_channels != 1:
        raise WeightsError(f"the network takes {plan.in_channels} channels; radpipe gives it one CT volume")
    modality = layout.modality.upper()
    if modality not in ("CT", ""):
        raise WeightsError(f"the bundle reads {layout.modality}; radpipe makes volumes of CT series only")
    has_background = plan.decision == "argmax"
    if "" in asked:
        indices = [index for index, _ in layout.channel_names or ()] or list(range(plan.out_channels))
        only = [index for index in indices if not (has_background and index == 0)]
        if len(only) != 1 and plan.out_channels - has_background != 1:
            raise UsageError(f"the bundle has {len(only)} foreground channels: say which one draws {asked['']} (findings)")
        asked = {key: value for key, value in asked.items() if key} | {str(int(has_background)): asked[""]}
    channels = channels_of(
        layout.channel_names, plan.out_channels, has_background=has_background, findings=asked, anatomy=anatomy,
        smallest_ml=smallest_ml,
    )  # fmt: skip
    if not channels:
        raise WeightsError("the bundle has no foreground channel")
    write_weights(work, plan, state)
    roi = dict(plan.inferer.arguments).get("roi_size")
    if not onnx:
        exported = Exported(False, "not asked for")
    elif roi is None:
        exported = Exported(False, "the bundle reads whole volumes of any size, which an ONNX of fixed size cannot")
    else:
        exported = export_onnx(network, (1, plan.in_channels, *(int(size) for size in roi)), work / "model.onnx", plan)
    write_record(work, files, exported, notes)
    text = _card_text(work, name, files, layout, plan, channels, body_part, licence)
    (work / "card.toml").write_text(text, encoding="utf-8")
    return ImportedBundle(work, ROLE, channels, exported, notes)


def _write_reader(
    work: Path,
    name: str,
    files: BundleFiles,
    layout: Layout,
    plan: Plan,
    state: Mapping[str, Any],
    findings: Mapping[str, str],
    body_part: str,
    licence: str,
    notes: tuple[str, ...],
    *,
    onnx: bool,
) -> ImportedBundle:
    from radpipe.guests.bundle_reader import write_reader

    metadata = files.metadata
    texts = {
        "version": stated(metadata, "version", "0"),
        "summary": stated(metadata, "description", stated(metadata, "task", "A MONAI bundle")),
        "training_data": stated(metadata, "data_source", ""),
        "intended_use": stated(metadata, "intended_use", "not stated"),
        "strength": strength_of(metadata),
    }
    report, more = write_reader(
        work,
        name,
        files,
        layout,
        plan,
        state,
        findings=findings,
        body_part=body_part,
        licence=licence,
        onnx=onnx,
        texts=texts,
    )
    shape = () if report.largest_difference is None else (report.images,)
    exported = Exported(report.onnx, report.why_not, shape, report.largest_difference, None, report.flipped)
    return ImportedBundle(work, "reader", (), exported, (*notes, *more))


def write_weights(work: Path, plan: Plan, state: Mapping[str, Any]) -> None:
    """bundle.json and model.safetensors."""
    (work / "bundle.json").write_text(json.dumps(plan.to_json(), indent=1) + "\n", encoding="utf-8")
    write_tensors(work / "model.safetensors", to_arrays(dict(state)), {"format": "pt"})


def write_record(work: Path, files: BundleFiles, exported: Exported, notes: tuple[str, ...]) -> None:
    """record/: the bundle's own words, where the weights came from, how far ONNX and torch are apart."""
    record = work / "record"
    record.mkdir()
    for original, content in files.originals.items():
        (record / original).write_bytes(content)
    facts = {
        "weights": files.weights_name,
        "weights_sha256": files.weights_sha256,
        "configuration": files.config_name,
        "not_run": [entry for entry in NOT_RUN if entry in files.config],
        "notes": list(notes),
    }
    (record / "import.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    (record / "parity.json").write_text(json.dumps(exported.to_json(), indent=1) + "\n", encoding="utf-8")


def file_hashes(work: Path) -> dict[str, str]:
    """sha256 of the files that the card names, in the order of their names."""
    names = sorted(name for name in ("bundle.json", "model.onnx", "model.safetensors") if (work / name).exists())
    return {name: hashlib.sha256((work / name).read_bytes()).hexdigest() for name in names}


def stated(metadata: Mapping[str, Any], key: str, otherwise: str) -> str:
    """A text of metadata.json in one line."""
    value = metadata.get(key)
    return " ".join(value.split()) if isinstance(value, str) and value.strip() else otherwise


def strength_of(metadata: Mapping[str, Any]) -> str:
    """What the bundle says of itself, as what it says of itself."""
    metrics = metadata.get("eval_metrics")
    if isinstance(metrics, dict) and metrics:
        figures = ", ".join(f"{key} {value}" for key, value in metrics.items() if isinstance(value, (int, float, str)))
        return f"Not validated here. Its makers state {figures}, on their own data."
    return "Not validated here, and its makers state no figure."


def limits_of(metadata: Mapping[str, Any]) -> list[str]:
    """What every imported bundle must say."""
    return [
        "Not a medical device. What it draws is a draft for a radiologist who looks at the images.",
        "Imported from a MONAI bundle; radpipe has not measured how well it does. Measure it on your own studies first.",
        f"Its makers' intended use: {stated(metadata, 'intended_use', 'not stated')}",
    ]


def _card_text(
    work: Path, name: str, files: BundleFiles, layout: Layout, plan: Plan, channels: tuple[Channel, ...], body_part: str,
    licence: str,
) -> str:  # fmt: skip
    metadata = files.metadata
    arguments = dict(plan.inferer.arguments)
    top = {
        "role": ROLE,
        "name": name,
        "version": stated(metadata, "version", "0"),
        "summary": stated(metadata, "description", stated(metadata, "task", "A MONAI bundle")),
        "strength": strength_of(metadata),
        "licence": licence or files.licence or "not stated by the bundle: ask its makers before using it",
        "training_data": stated(metadata, "data_source", "not stated by the bundle"),
        "population": "Not stated by the bundle.",
        "limits": limits_of(metadata),
    }
    bundle = {
        "task": stated(metadata, "task", ""),
        "authors": stated(metadata, "authors", ""),
        "copyright": stated(metadata, "copyright", ""),
        "monai_version": stated(metadata, "monai_version", ""),
        "modality": "CT",
        "body_part": body_part.upper(),
        "network": plan.network.target,
        "transforms": [_in_words(step.target, step.arguments) for step in plan.preprocessing],
        "inferer": _in_words(plan.inferer.target, tuple(arguments.items())),
        "decision": f"{plan.activation or 'no activation'}, {plan.decision}"
        + (f" {plan.threshold:g}" if plan.decision == "threshold" else "")
        + (
            ", probabilities interpolated on the original slices" if plan.interpolate else ", nearest on the original slices"
        ),
    }
    parts = ["# Written by radpipe.guests.bundle; format and meaning: docs/ct-bundles.md\n"]
    parts.append("".join(f"{key} = {toml_value(value)}\n" for key, value in top.items()))
    parts.append(toml_table("bundle", bundle))
    parts.append(toml_table("files", file_hashes(work)))
    for channel in channels:
        entry = {
            "index": channel.index,
            "name": channel.name,
            "finding": channel.finding,
            "kind": channel.kind.value,
            "code": f"{channel.code.scheme}:{channel.code.value}",
            "meaning": channel.code.meaning,
            "laterality": channel.laterality.value if channel.laterality else "",
            "smallest_ml": channel.smallest_ml,
        }
        parts.append(toml_table("channels", entry, array=True))
    return "\n".join(parts)


def _in_words(target: str, arguments: tuple[tuple[str, Any], ...]) -> str:
    return f"{target}({', '.join(f'{key}={value}' for key, value in arguments)})"


def _of_safetensors(content: bytes) -> dict[str, Any]:
    import torch

    from radpipe.models.tensors import read_tensors

    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(content)
        file.flush()
        arrays, _ = read_tensors(Path(file.name))
        return {key: torch.from_numpy(value.copy()) for key, value in arrays.items()}
