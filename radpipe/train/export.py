"""The trained reader as files: `model.safetensors`, and `model.onnx` whose initializers point into it.

The graph is written node by node, so that it is small, the same each time, and holds no weight of its own: both backends
read the same halves, widened to float32. ONNX Runtime folds the widening and the transposes when it loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from radpipe.models.dinov2 import MEASURE_LIMIT, Reader, Shape
from radpipe.models.onnx_model import OUTPUTS
from radpipe.models.tensors import read_tensors, tensor_offsets, write_tensors

OPSET = 20
EPSILON = 1e-6


def save_reader(reader: Reader, directory: Path) -> None:
    """Write both files into `directory`. The backbone is kept in halves, the heads in float32."""
    tensors = {}
    for name, tensor in reader.state_dict().items():
        kind = np.float16 if name.startswith("backbone.") else np.float32
        tensors[name] = np.ascontiguousarray(tensor.detach().cpu().numpy().astype(kind))
    write_tensors(directory / "model.safetensors", tensors, reader.shape.to_metadata())
    save_graph(directory)


def save_graph(directory: Path) -> None:
    """Write `model.onnx` for the `model.safetensors` in `directory`."""
    weights = directory / "model.safetensors"
    arrays, metadata = read_tensors(weights)
    graph = _Graph(Shape.from_metadata(metadata))
    graph.build()
    offsets = tensor_offsets(weights)
    initializers = [
        _external(name, arrays[name].dtype, arrays[name].shape, *offsets[name], location=weights.name) for name in graph.used
    ]
    shape = graph.shape
    side = [shape.grid[0] * shape.patch, shape.grid[1] * shape.patch]
    sizes: dict[str, list[str | int]] = {
        "probabilities": ["B", shape.labels],
        "maps": ["B", shape.labels, *shape.grid],
        "embedding": ["B", 2 * shape.width],
        "views": ["B", shape.views],
        "distance": ["B"],
        "orientation": ["B", shape.orientations],
    }
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "radpipe-dinov2-reader",
            [
                helper.make_tensor_value_info("batch", TensorProto.FLOAT, ["B", 1, *side]),
                helper.make_tensor_value_info("measures", TensorProto.FLOAT, ["B", shape.measures]),
            ],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes[name]) for name in OUTPUTS],
            initializer=initializers + graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=9,
        producer_name="radpipe",
    )
    (directory / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(directory / "model.onnx"))


def _external(
    name: str, kind: np.dtype[np.generic], shape: Sequence[int], offset: int, length: int, *, location: str
) -> onnx.TensorProto:
    tensor = TensorProto()
    tensor.name = name
    tensor.data_type = TensorProto.FLOAT16 if kind == np.float16 else TensorProto.FLOAT
    tensor.dims.extend(shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


class _Graph:
    """Collects nodes. Methods mirror `dinov2.Reader`; each returns the name of its result."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.used: list[str] = []

    def build(self) -> None:
        shape = self.shape
        cls, patches = self.backbone()
        by_cls = self.add(self.linear(cls, "label_cls"), self.weight("label_bias"))  # (B, L)
        if shape.measures:
            by_cls = self.add(by_cls, self.linear(self.measured(), "measure_weight"))
        by_patch = self.linear(patches, "label_patch")  # (B, P, L)
        maps = self.op("Transpose", self.add(by_patch, self.reshape(by_cls, [0, 1, shape.labels])), perm=[0, 2, 1])
        self.op("Sigmoid", self.mean(maps, -1), result="probabilities")
        self.reshape(self.with_lesions(maps, patches), [0, 0, *shape.grid], result="maps")
        features = self.op("Concat", cls, self.mean(patches, 1), axis=-1)
        self.op("Softmax", self.add(self.linear(features, "view_weight"), self.weight("view_bias")), result="views", axis=-1)
        lies = self.add(self.linear(features, "orientation_weight"), self.weight("orientation_bias"))
        self.op("Softmax", lies, result="orientation", axis=-1)
        last = self.op(
            "Concat",
            self.slice(features, shape.channels - shape.width, shape.channels, -1),
            self.slice(features, 2 * shape.channels - shape.width, 2 * shape.channels, -1),
            axis=-1,
        )
        standard = self.op("Mul", self.op("Sub", last, self.weight("centre")), self.weight("scale"))
        along = self.op("MatMul", standard, self.weight("axes"))
        weighted = self.op("Mul", self.op("Mul", along, along), self.weight("axis_precision"))
        total = self.add(self.sum(self.op("Mul", standard, standard)), self.sum(weighted))
        squares = self.op("Max", self.op("Mul", total, self.weight("residual_precision")), self.number(0.0))
        refusal = self.op("Relu", self.add(self.linear(features, "refusal_weight"), self.weight("refusal_bias")))
        refusal = self.op("Squeeze", refusal, self.integers([-1]))
        self.op("Sqrt", self.add(squares, self.op("Mul", refusal, refusal)), result="distance")
        length = self.op("ReduceL2", standard, self.integers([-1]), keepdims=1)
        self.op("Div", standard, self.op("Max", length, self.number(1e-6)), result="embedding")

    def with_lesions(self, maps: str, patches: str) -> str:
        """The maps (B, L, P), those of painted labels from the lesion head."""
        shape = self.shape
        if not shape.painted:
            return maps
        last = self.slice(patches, shape.channels - shape.width, shape.channels, -1)
        lesions = self.add(self.linear(last, "lesion_weight"), self.weight("lesion_bias"))
        every = self.op("Concat", maps, self.op("Transpose", lesions, perm=[0, 2, 1]), axis=1)
        order = [
            shape.labels + shape.painted.index(label) if label in shape.painted else label for label in range(shape.labels)
        ]
        return self.op("Gather", every, self.integers(order), axis=1)

    def measured(self) -> str:
        """The measures in standard deviations, 0 where there is none."""
        centre = self.weight("measure_centre")
        known = self.op("Where", self.op("IsNaN", "measures"), centre, "measures")
        standard = self.op("Mul", self.op("Sub", known, centre), self.weight("measure_scale"))
        return self.op("Clip", standard, self.number(-MEASURE_LIMIT), self.number(MEASURE_LIMIT))

    def backbone(self) -> tuple[str, str]:
        shape = self.shape
        conv = self.op(
            "Conv",
            "batch",
            self.weight("backbone.patch_embed.weight"),
            self.weight("backbone.patch_embed.bias"),
            kernel_shape=[shape.patch, shape.patch],
            strides=[shape.patch, shape.patch],
        )
        patches = self.op("Transpose", self.reshape(conv, [0, shape.width, shape.grid[0] * shape.grid[1]]), perm=[0, 2, 1])
        patches = self.add(patches, self.weight("backbone.position"))
        images = self.op("Shape", "batch", start=0, end=1)
        size = self.op("Concat", images, self.integers([1, 1]), axis=0)
        prefix = self.op("Expand", self.weight("backbone.prefix"), size)
        tokens = self.op("Concat", prefix, patches, axis=1)
        seen = []
        for index in range(shape.depth):
            tokens = self.block(tokens, f"backbone.blocks.{index}.")
            if index in shape.taps:
                seen.append(tokens)
        seen.append(self.norm(tokens, "backbone.norm"))
        first = 1 + shape.registers
        last = first + shape.grid[0] * shape.grid[1]
        cls = [self.reshape(self.slice(t, 0, 1, 1), [0, shape.width]) for t in seen]
        rest = [self.slice(t, first, last, 1) for t in seen]
        return self.op("Concat", *cls, axis=-1), self.op("Concat", *rest, axis=-1)

    def block(self, tokens: str, path: str) -> str:
        shape = self.shape
        normed = self.norm(tokens, path + "norm1")
        qkv = self.add(self.linear(normed, path + "qkv.weight"), self.weight(path + "qkv.bias"))
        self.nodes.append(
            helper.make_node(
                "Split", [qkv], [path + "q", path + "k", path + "v"], name=path + "split", axis=2, num_outputs=3
            )
        )
        split = [0, 0, shape.heads, shape.width // shape.heads]
        query = self.op("Transpose", self.reshape(path + "q", split), perm=[0, 2, 1, 3])
        key = self.op("Transpose", self.reshape(path + "k", split), perm=[0, 2, 3, 1])
        value = self.op("Transpose", self.reshape(path + "v", split), perm=[0, 2, 1, 3])
        attention = self.op("Softmax", self.op("MatMul", query, key), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", attention, value), perm=[0, 2, 1, 3])
        mixed = self.reshape(mixed, [0, 0, shape.width])
        projected = self.add(self.linear(mixed, path + "proj.weight"), self.weight(path + "proj.bias"))
        tokens = self.add(tokens, projected)
        hidden = self.add(
            self.linear(self.norm(tokens, path + "norm2"), path + "fc1.weight"), self.weight(path + "fc1.bias")
        )
        out = self.linear(self.op("Gelu", hidden), path + "fc2.weight")
        return self.add(tokens, self.add(out, self.weight(path + "fc2.bias")))

    def op(self, kind: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        result = result or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [result], name=f"node_{len(self.nodes)}", **attributes))
        return result

    def weight(self, name: str) -> str:
        """A tensor of the weights file as float32."""
        self.used.append(name)
        if not name.startswith("backbone."):
            return name
        return self.op("Cast", name, result=name + ".wide", to=TensorProto.FLOAT)

    def linear(self, values: str, name: str) -> str:
        """values @ weight.T, the weight as torch keeps it: (outputs, inputs)."""
        return self.op("MatMul", values, self.op("Transpose", self.weight(name), perm=[1, 0]))

    def norm(self, tokens: str, path: str) -> str:
        return self.op(
            "LayerNormalization",
            tokens,
            self.weight(path + ".weight"),
            self.weight(path + ".bias"),
            axis=-1,
            epsilon=EPSILON,
        )

    def add(self, left: str, right: str) -> str:
        return self.op("Add", left, right)

    def mean(self, values: str, axis: int) -> str:
        return self.op("ReduceMean", values, self.integers([axis]), keepdims=0)

    def sum(self, values: str) -> str:
        return self.op("ReduceSum", values, self.integers([-1]), keepdims=0)

    def reshape(self, values: str, shape: Sequence[int], result: str = "") -> str:
        return self.op("Reshape", values, self.integers(shape), result=result)

    def slice(self, values: str, first: int, last: int, axis: int) -> str:
        return self.op("Slice", values, self.integers([first]), self.integers([last]), self.integers([axis]))

    def integers(self, numbers: Sequence[int]) -> str:
        return self._constant(np.asarray(numbers, np.int64))

    def number(self, value: float) -> str:
        return self._constant(np.asarray(value, np.float32))

    def _constant(self, array: npt.NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name
