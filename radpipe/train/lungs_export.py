"""The trained lung segmenter as files: batch normalisation folded into the convolutions, `model.safetensors` with weights in
halves, and a `model.onnx` whose initializers point into it.

The graph is written by walking through the modules, so that it holds no weight of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from monai.networks.blocks.convolutions import Convolution, ResidualUnit
from monai.networks.layers.simplelayers import SkipConnection
from monai.networks.nets.unet import UNet
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from radpipe.models.lungs_torch import Folded
from radpipe.models.tensors import read_tensors, tensor_offsets, write_tensors

OPSET = 20


def save_network(network: nn.Module, recipe: dict[str, Any], directory: Path) -> None:
    """Write both files of a trained network (`models.lungs_torch.unet` with normalisation) into `directory`."""
    plan = recipe["network"]
    metadata = {name: ",".join(map(str, plan[name])) for name in ("channels", "strides")} | {"units": str(plan["units"])}
    tensors = {}
    for name, tensor in folded(network).items():
        kind = np.float16 if tensor.ndim == 4 else np.float32
        tensors[f"unet.{name}"] = np.ascontiguousarray(tensor.astype(kind))
    write_tensors(directory / "model.safetensors", tensors, metadata)
    save_graph(directory, recipe["input"]["rows"], recipe["input"]["columns"])


def folded(network: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """The weights of the same network without batch normalisation, which answers the same."""
    state = {name: tensor.detach().double().numpy() for name, tensor in network.state_dict().items()}
    modules = dict(network.named_modules())
    tensors = {}
    for name, module in modules.items():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            continue
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        norm = f"{name.removesuffix('conv')}adn.N"
        if name.endswith("conv") and f"{norm}.weight" in state:
            scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + modules[norm].eps)
            along = (1, -1, 1, 1) if isinstance(module, nn.ConvTranspose2d) else (-1, 1, 1, 1)
            weight = weight * scale.reshape(along)
            bias = (bias - state[f"{norm}.running_mean"]) * scale + state[f"{norm}.bias"]
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = weight.astype(np.float32), bias.astype(np.float32)
    return tensors


def save_graph(directory: Path, rows: int, columns: int) -> None:
    """Write `model.onnx` for the `model.safetensors` in `directory`."""
    weights = directory / "model.safetensors"
    arrays, metadata = read_tensors(weights)
    graph = _Graph()
    shown = graph.op("Add", graph.op("Mul", "batch", graph.number(4.0)), graph.number(-2.0))
    logits = graph.walk(Folded(metadata).unet, "unet", shown)
    graph.nodes.append(helper.make_node("Sigmoid", [logits], ["fields"]))
    offsets = tensor_offsets(weights)
    initializers = [_external(name, arrays[name], *offsets[name], location=weights.name) for name in graph.used]
    widened = []
    for name in graph.used:
        if arrays[name].dtype == np.float16:
            widened.append(helper.make_node("Cast", [name], [f"{name}.wide"], to=TensorProto.FLOAT))
        else:
            widened.append(helper.make_node("Identity", [name], [f"{name}.wide"]))
    model = helper.make_model(
        helper.make_graph(
            widened + graph.nodes,
            "radpipe-lungs",
            [helper.make_tensor_value_info("batch", TensorProto.FLOAT, ["B", 1, rows, columns])],
            [helper.make_tensor_value_info("fields", TensorProto.FLOAT, ["B", 2, rows, columns])],
            initializer=initializers + graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=9,
        producer_name="radpipe",
    )
    (directory / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(directory / "model.onnx"))


class _Graph:
    """Collects nodes; each method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.used: list[str] = []
        self._count = 0

    def walk(self, module: nn.Module, name: str, shown: str) -> str:
        """The nodes of a module and what is inside it."""
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            return self._convolved(module, name, shown)
        if isinstance(module, nn.ReLU):
            return self.op("Relu", shown)
        if isinstance(module, nn.Identity | nn.Dropout):
            return shown
        if isinstance(module, SkipConnection):
            return self.op("Concat", shown, self.walk(module.submodule, f"{name}.submodule", shown), axis=1)
        if isinstance(module, ResidualUnit):
            beside = self.walk(module.residual, f"{name}.residual", shown)
            return self.op("Add", self.walk(module.conv, f"{name}.conv", shown), beside)
        if isinstance(module, nn.Sequential | Convolution | UNet):
            for part, child in module.named_children():
                shown = self.walk(child, f"{name}.{part}", shown)
            return shown
        raise TypeError(f"{name} is a {type(module).__name__}, which this graph cannot hold")

    def _convolved(self, module: nn.Conv2d | nn.ConvTranspose2d, name: str, shown: str) -> str:
        self.used += [f"{name}.weight", f"{name}.bias"]
        pads = [int(p) for p in module.padding] * 2
        settings: dict[str, Any] = {
            "kernel_shape": list(module.kernel_size), "strides": list(module.stride), "pads": pads,
        }  # fmt: skip
        kind = "Conv"
        if isinstance(module, nn.ConvTranspose2d):
            kind, settings["output_padding"] = "ConvTranspose", list(module.output_padding)
        return self.op(kind, shown, f"{name}.weight.wide", f"{name}.bias.wide", **settings)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        self._count += 1
        result = f"v{self._count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [result], **attributes))
        return result

    def number(self, value: float) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, np.float32), name))
        return name


def _external(name: str, array: npt.NDArray[Any], offset: int, length: int, *, location: str) -> onnx.TensorProto:
    tensor = TensorProto()
    tensor.name = name
    tensor.data_type = TensorProto.FLOAT16 if array.dtype == np.float16 else TensorProto.FLOAT
    tensor.dims.extend(array.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor
