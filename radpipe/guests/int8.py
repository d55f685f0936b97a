"""A quicker graph of the same weights: matrix products in 8-bit whole numbers, about twice as quick on a CPU, not as exact.

`model.int8.onnx` holds no weight of its own. It reads the same `model.safetensors`, and rounds: weights per output column,
in nodes that ONNX Runtime folds when it loads; activations row by row while it runs. Rows, because transformers have a few
tokens a hundred times larger than the rest, and one scale for all (as dynamic quantisation has it) costs the decisions:
a quarter of them moved, here 1.7 %. Products named in `twice` take their activations as two 8-bit terms, a coarse and a
fine one.

Only products with weights of the backbone are rounded: the heads stay as they are. Measured in benchmarks/backends.json.

Xiao et al., SmoothQuant (2022), arXiv:2211.10438, on where activations are hard to round.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from radpipe.models.onnx_model import INTEGER_GRAPH

LEAST = 1 << 16
"""Numbers of a weight from which its product is worth rounding."""

EVENING = 0.8
"""How much of a channel's spread goes into the weights (alpha of SmoothQuant)."""

_LEVELS = 127.0


def backbone(name: str) -> bool:
    """Weights of a transformer's blocks, in the reader that ships and in timm's and open_clip's towers."""
    return ".blocks." in name or ".resblocks." in name


def of_mlp(name: str) -> bool:
    """The products whose inputs spread most: the two layers after the attention, in the names of all three towers."""
    return name.endswith((".fc1.weight", ".fc2.weight", ".c_fc.weight", ".c_proj.weight"))


def all_but_projection(name: str) -> bool:
    """Those, and the queries, keys and values."""
    return not name.endswith((".proj.weight", ".out_proj.weight"))


def save_integer_graph(
    directory: Path, rounded: Callable[[str], bool] = backbone, twice: Callable[[str], bool] = all_but_projection
) -> int:
    """Write `model.int8.onnx` beside `model.onnx` of `directory`; returns how many products are rounded (0: no file)."""
    model = onnx.load(str(directory / "model.onnx"), load_external_data=False)
    made = _Rounding(model.graph, rounded, twice)
    if made.count == 0:
        return 0
    del model.graph.node[:]
    model.graph.node.extend(made.nodes)
    model.graph.initializer.extend(made.constants)
    path = directory / INTEGER_GRAPH
    path.write_bytes(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path))
    return made.count


class _Rounding:
    """The nodes of a graph with its large products replaced."""

    def __init__(self, graph: Any, rounded: Callable[[str], bool], twice: Callable[[str], bool]) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.count = 0
        self._norms = {node.output[0]: node.input[1:3] for node in graph.node if node.op_type == "LayerNormalization"}
        sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
        came_from = {tensor.name: tensor.name for tensor in graph.initializer}
        for node in graph.node:  # weights reach their product through casts and transposes
            if node.op_type in ("Cast", "Transpose", "Identity") and node.input[0] in came_from:
                came_from[node.output[0]] = came_from[node.input[0]]
        for node in graph.node:
            weight = came_from.get(node.input[1]) if node.op_type == "MatMul" else None
            if weight is None or not rounded(weight) or sizes[weight] < LEAST:
                self.nodes.append(node)
                continue
            if self.count == 0:
                self._shared()
            self._product(node, twice(weight))
            self.count += 1

    def _shared(self) -> None:
        self._constant("int8.levels", np.asarray(_LEVELS, np.float32))
        self._constant("int8.least", np.asarray(1e-12, np.float32))
        self._constant("int8.rows", np.asarray([0], np.int64))
        self._constant("int8.last", np.asarray([-1], np.int64))
        self._constant("int8.zero", np.asarray(0, np.int8))

    def _product(self, node: Any, twice: bool) -> None:
        """values @ weight, the weight rounded per column when the graph is loaded, the values row by row when it runs."""
        at = f"int8.{self.count}."
        values, weight, result = node.input[0], node.input[1], node.output[0]
        if values in self._norms and not twice:
            values, weight = self._evened(values, weight, at)
        scale = self._op("Div", self._peak(weight, "int8.rows", at + "column"), "int8.levels", result=at + "scale")
        whole = self._op("Cast", self._op("Round", self._op("Div", weight, scale, result=at + "w")), to=TensorProto.INT8)
        peak = self._peak(values, "int8.last", at + "row")
        unit = self._op("Div", values, peak, result=at + "unit")
        total, coarse = self._rounded(unit, whole, scale, at + "a")
        if twice:
            rest = self._op("Sub", unit, self._op("DequantizeLinear", *coarse))
            fine, _ = self._rounded(rest, whole, scale, at + "b")
            total = self._op("Add", total, fine)
        self.nodes.append(helper.make_node("Mul", [total, peak], [result], name=at + "out"))

    def _evened(self, values: str, weight: str, at: str) -> tuple[str, str]:
        """Channels that a layer norm makes large are divided by a factor that goes into the weights: the product stays, and
        its inputs are easier to round. The factor is told by the norm's own gain and offset, so no images are needed."""
        if not any(constant.name == "int8.evening" for constant in self.constants):
            self._constant("int8.evening", np.asarray(0.5 * EVENING, np.float32))  # of a square
            self._constant("int8.yielding", np.asarray(1 - EVENING, np.float32))
        gain, offset = self._norms[values]
        size = self._op("Add", self._op("Mul", gain, gain), self._op("Mul", offset, offset))
        spread = self._op("Pow", self._op("Max", size, "int8.least"), "int8.evening", result=at + "spread")
        reach = self._op(
            "Pow", self._op("Squeeze", self._peak(weight, "int8.last", at + "reach"), "int8.last"), "int8.yielding"
        )
        factor = self._op("Div", spread, reach, result=at + "factor")
        tall = self._op("Unsqueeze", factor, "int8.last")
        return self._op("Div", values, factor, result=at + "even"), self._op("Mul", weight, tall, result=at + "evened")

    def _rounded(self, values: str, whole: str, scale: str, at: str) -> tuple[str, tuple[str, str, str]]:
        """The product of values within -1 and 1, and what they were rounded to (numbers, scale, zero)."""
        parts = (at + ".q", at + ".s", at + ".z")
        self.nodes.append(helper.make_node("DynamicQuantizeLinear", [values], list(parts), name=at + ".round"))
        product = self._op("Cast", self._op("MatMulInteger", parts[0], whole, parts[2], "int8.zero"), to=TensorProto.FLOAT)
        return self._op("Mul", product, self._op("Mul", parts[1], scale)), parts

    def _peak(self, values: str, axes: str, at: str) -> str:
        """The largest size along an axis, which is kept; never 0."""
        largest = self._op("ReduceMax", self._op("Abs", values, result=at + ".abs"), axes, result=at + ".max", keepdims=1)
        return self._op("Max", largest, "int8.least", result=at)

    def _op(self, kind: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        result = result or f"int8.{kind}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [result], name=f"{result}.{kind}", **attributes))
        return result

    def _constant(self, name: str, value: Any) -> None:
        self.constants.append(numpy_helper.from_array(value, name))
