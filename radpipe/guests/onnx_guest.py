"""Any ONNX graph with a card: the card says what goes in and what comes out, the graph gets our outputs' names.

The user's card is as docs/model-card.md has it, with two additions: `[outputs]` names the graph's outputs, and a label may
say which column of them it is.

    [outputs]
    logits = "dense_2"          # or probabilities = "..."; further: maps, embedding, views, distance
    activation = "sigmoid"      # of the logits: sigmoid (default) or softmax

    [labels.pneumonia]
    output = 1                  # default: the labels in the order of the card
    threshold = 0.31
    source = "operating point of ..."

A graph is data, not a program, as long as it has only operators that ONNX Runtime brings: custom ones are refused. So are
weights in further files, whose paths a graph may choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from radpipe.card import FITS, InputSpec
from radpipe.codes import Code
from radpipe.errors import BackendUnavailable, UsageError, WeightsError
from radpipe.guests.guest_card import GuestCard, GuestLabel, sha256_of, write_card
from radpipe.guests.imported import Asked, Imported
from radpipe.guests.labels import code_of
from radpipe.guests.record import Report, write_record
from radpipe.guests.trial import trial_batch
from radpipe.models.answers import OUTPUTS

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
"""Operators that ONNX Runtime has without a library beside it."""

_AXES = {
    "probabilities": ["B", "L"], "maps": ["B", "L", "h", "w"], "embedding": ["B", "D"], "views": ["B", "V"],
    "distance": ["B"],
}  # fmt: skip

_OTHERS = ("maps", "embedding", "views", "distance")


def import_onnx(source: Path, directory: Path, name: str, asked: Asked) -> Imported:
    """Write the model into `directory`, which exists. Raises WeightsError or UsageError with the reason."""
    if not asked.card:
        raise UsageError(f"{source.name} is an ONNX graph: say with --card FILE.toml what its input and outputs are")
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise BackendUnavailable("importing ONNX needs the package onnx; install 'radpipe[gpu,train]'") from error
    try:
        model = onnx.load(str(source), load_external_data=False)
    except (OSError, DecodeError, ValueError, RuntimeError, TypeError) as error:
        raise WeightsError(f"{source.name} is no ONNX file ({' '.join(str(error).split())[:120]})") from error
    return _import(model, source, directory, name, asked)


def _import(model: Any, source: Path, directory: Path, name: str, asked: Asked) -> Imported:
    import onnx

    must_be_plain(model, source.name)
    spec = input_of(asked.card, source.name)
    labels, columns = labels_of(asked.card, source.name)
    outputs = dict(asked.card.get("outputs", {}))
    rename(model, outputs, columns, source.name)
    (directory / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    try:
        onnx.checker.check_model(str(directory / "model.onnx"))
    except onnx.checker.ValidationError as error:
        raise WeightsError(f"{source.name} is not a valid ONNX graph ({' '.join(str(error).split())[:200]})") from error
    card = _card(name, source, spec, labels, asked)
    try_out(directory, card)
    own = {key: value for key, value in asked.card.items() if key not in ("name", "role", "version")}
    write_card(card, directory, ("model.onnx",), own)
    report = Report(True, images=len(trial_batch(spec)))
    write_record(directory, report, {"source": source.name, "sha256": sha256_of(source), "as": "onnx", "outputs": outputs})
    to_fill = tuple(key for key in ("population", "training_data", "licence") if not asked.card.get(key))
    return Imported(directory, name, "reader", report, card.unset, to_fill, ())


def must_be_plain(model: Any, called: str) -> None:
    """Raises WeightsError for operators of others, and for weights outside the file."""
    from onnx import TensorProto

    strange = sorted({f"{node.domain}.{node.op_type}" for node in _nodes(model) if node.domain not in DOMAINS})
    local = {(function.domain, function.name) for function in model.functions}
    strange = [name for name in strange if tuple(name.rsplit(".", 1)) not in local]
    if strange:
        raise WeightsError(
            f"{called} is refused: it uses {', '.join(strange[:3])}, custom operators that need a library of their own; "
            "export it with ONNX's operators only"
        )
    outside = [tensor.name for tensor in _tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
    if outside:
        raise WeightsError(
            f"{called} is refused: {len(outside)} of its weights lie in other files (such as {outside[0]}); put them "
            "into it: onnx.save(onnx.load(FILE), 'whole.onnx')"
        )


def input_of(card: Mapping[str, Any], called: str) -> InputSpec:
    """[input] of the user's card, with what is usual where it is silent. Raises UsageError."""
    spec = card.get("input", {})
    try:
        channels = int(spec.get("channels", 1))
        made = InputSpec(
            tuple(spec.get("modalities", ("CR", "DX"))),
            str(spec.get("body_part", "CHEST")),
            tuple(spec.get("views", ("PA", "AP"))),
            int(spec["rows"]),
            int(spec["columns"]),
            channels,
            tuple(map(float, spec["mean"])),
            tuple(map(float, spec["std"])),
            tuple(map(float, spec.get("percentiles", (0.5, 99.5)))),  # type: ignore[arg-type]
            tuple(map(int, spec.get("patient_age_years", (18, 120)))),  # type: ignore[arg-type]
            str(spec.get("fit", "stretch")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"the card for {called} lacks or misstates {error} in [input]; see docs/model-card.md") from error
    if made.fit not in FITS or len(made.mean) not in (1, channels) or len(made.std) not in (1, channels) or 0 in made.std:
        raise UsageError(f"the card for {called}: [input] has an unknown fit, or not one mean and std a channel")
    return made


def labels_of(card: Mapping[str, Any], called: str) -> tuple[tuple[GuestLabel, ...], list[int] | None]:
    """The labels of the user's card, and which columns of the outputs they are (None: all, in order). Raises UsageError."""
    tables = card.get("labels", {})
    if not isinstance(tables, Mapping) or not tables:
        raise UsageError(f"the card for {called} has no [labels.FINDING]; see docs/model-card.md")
    labels, columns = [], []
    for number, (finding, entry) in enumerate(tables.items()):
        try:
            own = code_of(finding, entry.get("meaning", ""))
            code = Code.parse(entry["code"], entry.get("meaning", own.meaning)) if "code" in entry else own
            threshold = None if "threshold" not in entry else float(entry["threshold"])
            rule_out = None if "rule_out" not in entry else float(entry["rule_out"])
            columns.append(int(entry.get("output", number)))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(f"the card for {called} misstates [labels.{finding}]: {error}") from error
        if threshold is not None and not entry.get("source"):
            raise UsageError(f"[labels.{finding}] has a threshold without a `source`: say how it was set, and on whom")
        extra = {
            key: value for key, value in entry.items() if key not in ("code", "meaning", "output", "threshold", "rule_out")
        }
        if threshold is None:
            extra = {key: value for key, value in extra.items() if key not in ("assessed", "source", "threshold_set")}
            labels.append(GuestLabel(finding, code, extra=extra))
        else:
            labels.append(GuestLabel(finding, code, threshold, rule_out, entry["source"], extra))
    return tuple(labels), None if columns == list(range(len(columns))) else columns


def rename(model: Any, outputs: dict[str, Any], columns: list[int] | None, called: str) -> None:
    """Give the graph our outputs: sigmoid or softmax of logits, the columns that the labels are, our names."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    there = {value.name for value in graph.output}
    activation = outputs.pop("activation", "sigmoid")
    if "probabilities" not in outputs and "logits" not in outputs and len(there) == 1:
        raise UsageError(
            f"the card for {called}: say in [outputs] whether {next(iter(there))} is `probabilities` or `logits`"
        )
    known = {"probabilities", "logits", *_OTHERS}
    if unknown := [key for key in outputs if key not in known]:
        raise UsageError(
            f"the card for {called}: [outputs] has {unknown[0]}; known are {', '.join(sorted(known))}, activation"
        )
    if ("probabilities" in outputs) == ("logits" in outputs) or activation not in ("sigmoid", "softmax"):
        raise UsageError(
            f"the card for {called}: [outputs] names one of probabilities and logits; activation sigmoid or softmax"
        )
    for key, value in outputs.items():
        if value not in there:
            raise UsageError(
                f"the card for {called}: there is no output {value!r} ({key}); there are {', '.join(sorted(there))}"
            )
    inputs = [value for value in graph.input if value.name not in {tensor.name for tensor in graph.initializer}]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        raise WeightsError(
            f"{called} takes {len(inputs)} inputs or other numbers than float32; radpipe gives it one of images"
        )
    inner = {name: f"radpipe_inner_{name}" for name in {*there, *_values(graph)} & set(OUTPUTS)}
    _rename_values(graph, inner)
    made = []
    for ours, theirs in outputs.items():
        value = inner.get(theirs, theirs)
        name = "probabilities" if ours == "logits" else ours
        steps: list[tuple[str, dict[str, Any]]] = [("Cast", {"to": TensorProto.FLOAT})]
        if ours == "logits":
            steps.append(("Sigmoid", {}) if activation == "sigmoid" else ("Softmax", {"axis": -1}))
        if columns is not None and name in ("probabilities", "maps"):
            graph.initializer.append(numpy_helper.from_array(np.array(columns, np.int64), f"radpipe_columns_{name}"))
            steps.append(("Gather", {"axis": 1}))
        for number, (kind, attributes) in enumerate(steps):
            result = name if number == len(steps) - 1 else f"radpipe_{name}_{number}"
            more = [f"radpipe_columns_{name}"] if kind == "Gather" else []
            graph.node.append(
                helper.make_node(kind, [value, *more], [result], name=f"radpipe_{result}_{kind}", **attributes)
            )
            value = result
        made.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, _AXES[name]))
    del graph.output[:]
    graph.output.extend(made)


def try_out(directory: Path, card: GuestCard) -> None:
    """Run it once on images of all kinds. Raises WeightsError if it does not run or answers with what is no probability."""
    import onnxruntime

    from radpipe.models.session import FAILURES

    batch = trial_batch(card.input)
    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        session = onnxruntime.InferenceSession(str(directory / "model.onnx"), options, providers=["CPUExecutionProvider"])
        first = session.get_inputs()[0]
        count = first.shape[0] if isinstance(first.shape[0], int) else len(batch)
        answers = session.run(["probabilities"], {first.name: np.resize(batch, (count, *batch.shape[1:]))})[0]
    except FAILURES as error:
        words = " ".join(str(error).split())[:240]
        raise WeightsError(f"ONNX Runtime does not run it on {batch.shape[1:]}, as the card says ({words})") from error
    if answers.ndim != 2 or answers.shape[1] != len(card.labels):
        raise WeightsError(f"it gives {answers.shape[1:]} numbers an image, and the card has {len(card.labels)} labels")
    if not np.isfinite(answers).all() or answers.min() < -1e-4 or answers.max() > 1 + 1e-4:
        raise WeightsError("what the card calls probabilities is not within 0 and 1: are they `logits`?")


def _card(name: str, source: Path, spec: InputSpec, labels: tuple[GuestLabel, ...], asked: Asked) -> GuestCard:
    card = asked.card
    views = tuple(card.get("view", {}).get("labels", ())) if "views" in card.get("outputs", {}) else ()
    limit = card.get("distribution", {}).get("distance_limit") if "distance" in card.get("outputs", {}) else None
    return GuestCard(
        name=name,
        version=str(card.get("version", asked.version)),
        summary=str(card.get("summary", f"{len(labels)} findings, from {source.name}")),
        origin=f"{source.name} (sha256 {sha256_of(source)[:12]})",
        licence=str(card.get("licence", asked.licence)),
        training_data=str(card.get("training_data", "")),
        population=str(card.get("population", asked.population)),
        input=spec,
        labels=labels,
        view_labels=views,
        distance_limit=None if limit is None else float(limit),
    )


def _graphs(graph: Any) -> Any:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _graphs(inner)


def _nodes(model: Any) -> Any:
    for graph in _graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _tensors(model: Any) -> Any:
    for graph in _graphs(model.graph):
        yield from graph.initializer
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _values(graph: Any) -> set[str]:
    found = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        found.update(node.output)
    return found


def _rename_values(graph: Any, names: Mapping[str, str]) -> None:
    """Values by other names, at every place of the graph and of the graphs inside it."""
    if not names:
        return
    for inner in _graphs(graph):
        for node in inner.node:
            node.input[:] = [names.get(value, value) for value in node.input]
            node.output[:] = [names.get(value, value) for value in node.output]
        for tensor in inner.initializer:
            tensor.name = names.get(tensor.name, tensor.name)
