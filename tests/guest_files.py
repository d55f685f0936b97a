"""Small checkpoints of other people's layouts, as their libraries would write them."""

from __future__ import annotations

import json
import sys
import types
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

LABELS = ("Atelectasis", "", "Effusion", "Infiltration", "Lung Opacity", "Lung Lesion", "Hernia")
POINTS = (0.3, float("nan"), 0.05, 0.4, 0.6, float("nan"), 0.02)


def warmed(network: nn.Module, channels: int = 1, size: int = 64) -> nn.Module:
    """With batch statistics of something like its input."""
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(4, channels, size, size) * 2048 - 1024)
    return network.eval()


class DenseLayer(nn.Sequential):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.add_module("norm1", nn.BatchNorm2d(channels))
        self.add_module("relu1", nn.ReLU(inplace=True))
        self.add_module("conv1", nn.Conv2d(channels, 4 * growth, 1, bias=False))
        self.add_module("norm2", nn.BatchNorm2d(4 * growth))
        self.add_module("relu2", nn.ReLU(inplace=True))
        self.add_module("conv2", nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False))
        self.drop_rate = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, super().forward(x)], 1)


class DenseNet(nn.Module):
    """As torchxrayvision.models.DenseNet, written from its description: small."""

    def __init__(self, labels: int = len(LABELS), growth: int = 4, blocks: tuple[int, ...] = (2, 3), first: int = 8) -> None:
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                conv0=nn.Conv2d(1, first, 7, stride=2, padding=3, bias=False),
                norm0=nn.BatchNorm2d(first),
                relu0=nn.ReLU(inplace=True),
                pool0=nn.MaxPool2d(3, 2, 1),
            )
        )
        channels = first
        for number, layers in enumerate(blocks, 1):
            block = nn.Sequential()
            for layer in range(layers):
                block.add_module(f"denselayer{layer + 1}", DenseLayer(channels + layer * growth, growth))
            self.features.add_module(f"denseblock{number}", block)
            channels += layers * growth
            if number < len(blocks):
                transition = nn.Sequential(
                    OrderedDict(
                        norm=nn.BatchNorm2d(channels),
                        relu=nn.ReLU(inplace=True),
                        conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
                        pool=nn.AvgPool2d(2, 2),
                    )
                )
                self.features.add_module(f"transition{number}", transition)
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, labels)
        self.register_buffer("op_threshs", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.features(x)).mean((2, 3))
        out = self.classifier(features)
        return out if self.op_threshs is None else op_norm(torch.sigmoid(out), self.op_threshs)


def op_norm(outputs: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """torchxrayvision's scaling, one number after the other; where there is no point the number stays."""
    made = outputs.clone()
    for row in range(outputs.shape[0]):
        for column, t in enumerate(points.tolist()):
            p = float(outputs[row, column])
            if t == t:
                made[row, column] = p / (2 * t) if p < t else 1 - (1 - p) / (2 * (1 - t))
    return made


@contextmanager
def as_module_of(name: str, *classes: type) -> Iterator[None]:
    """While a file is written: these classes are of the module `name`, which is not installed here."""
    before = {one: one.__module__ for one in classes}
    made = {name.rsplit(".", n)[0]: types.ModuleType(name.rsplit(".", n)[0]) for n in range(name.count(".") + 1)}
    sys.modules.update(made)
    for one in classes:
        setattr(made[name], one.__name__, one)
        one.__module__ = name
    try:
        yield
    finally:
        for one, module in before.items():
            one.__module__ = module
        for key in made:
            del sys.modules[key]


def write_xrv(path: Path, *, legacy: bool = False, whole: bool = True) -> DenseNet:
    """A checkpoint as torchxrayvision publishes it: the pickled module. Returns the network, with its operating points."""
    torch.manual_seed(0)
    network = warmed(DenseNet())
    assert isinstance(network, DenseNet)
    network.op_threshs = torch.tensor(POINTS)
    network.targets = network.pathologies = list(LABELS)
    network.input_resolution = 64
    save_as_xrv(network if whole else network.state_dict(), path, legacy=legacy)
    return network


def save_as_xrv(what: Any, path: Path, *, legacy: bool = False) -> None:
    """Pickled as where torchxrayvision is installed."""
    with as_module_of("torchxrayvision.models", DenseNet, DenseLayer), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old format keeps the sources of classes, which these do not have
        torch.save(what, path, _use_new_zipfile_serialization=not legacy)


def write_open_clip(folder: Path) -> tuple[dict[str, Any], nn.Module]:
    """A small CLIP as open_clip saves it. Returns its configuration and the model."""
    from open_clip.model import CLIP

    torch.manual_seed(0)
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    model = CLIP(**config).eval()
    folder.mkdir(parents=True)
    preprocess = {"size": [32, 32], "mean": [0.5, 0.4, 0.3], "std": [0.3, 0.3, 0.2], "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return config, model


WORDS = str.split(
    """[PAD] [UNK] [CLS] [SEP] the lungs are clear there is a pleural effusion heart size normal enlarged no chest
    radio ##graph showing opacity of in with . , ##s ##al atelectasis pneumo ##thorax mass nodule and lung left right"""
)


def write_biomed_clip(folder: Path) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """BiomedCLIP's layout, small: a timm ViT trunk with a linear head, a BERT text tower with an mlp projection. Returns the
    image tower and the whole state."""
    from open_clip.timm_model import TimmModel

    torch.manual_seed(0)
    vision = {"timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": False, "timm_pool": "",
              "timm_proj": "linear", "image_size": 224}  # fmt: skip
    visual = TimmModel("vit_tiny_patch16_224", embed_dim=16, pool="", proj="linear").eval()
    width, inner, depth = 64, 96, 2
    state = {f"visual.{name}": tensor for name, tensor in visual.state_dict().items()}
    text: dict[str, torch.Tensor] = {
        "embeddings.position_ids": torch.arange(64)[None],
        "embeddings.word_embeddings.weight": torch.randn(len(WORDS), width),
        "embeddings.position_embeddings.weight": torch.randn(64, width),
        "embeddings.token_type_embeddings.weight": torch.randn(2, width),
    }

    def norm(name: str) -> None:
        text[f"{name}.weight"], text[f"{name}.bias"] = torch.rand(width) + 0.5, torch.randn(width) * 0.1

    def linear(name: str, out: int, into: int) -> None:
        text[f"{name}.weight"], text[f"{name}.bias"] = torch.randn(out, into) / into**0.5, torch.randn(out) * 0.1

    norm("embeddings.LayerNorm")
    for layer in range(depth):
        at = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            linear(f"{at}.attention.self.{part}", width, width)
        linear(f"{at}.attention.output.dense", width, width)
        norm(f"{at}.attention.output.LayerNorm")
        linear(f"{at}.intermediate.dense", inner, width)
        linear(f"{at}.output.dense", width, inner)
        norm(f"{at}.output.LayerNorm")
    state |= {f"text.transformer.{name}": tensor for name, tensor in text.items()}
    hidden = (width + 16) // 2
    state["text.proj.0.weight"], state["text.proj.2.weight"] = torch.randn(hidden, width), torch.randn(16, hidden)
    state["logit_scale"] = torch.tensor(3.0)
    folder.mkdir(parents=True)
    config = {
        "embed_dim": 16,
        "vision_cfg": vision,
        "text_cfg": {"hf_model_name": "nowhere/bert", "hf_tokenizer_name": "nowhere/bert", "hf_proj_type": "mlp",
                     "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 256},
    }  # fmt: skip
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    return visual, state


def library_models(wheel: Path, folder: Path) -> Any:
    """torchxrayvision's module `models` from its wheel, without the packages that its data sets need."""
    import importlib
    import importlib.machinery
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        for name in ("torchxrayvision/models.py", "torchxrayvision/utils.py"):
            archive.extract(name, folder)
    package, datasets = types.ModuleType("torchxrayvision"), types.ModuleType("torchxrayvision.datasets")
    package.__path__ = [str(folder / "torchxrayvision")]
    datasets.default_pathologies = [""] * 18  # type: ignore[attr-defined]
    package.datasets = datasets  # type: ignore[attr-defined]
    sys.modules.update({"torchxrayvision": package, "torchxrayvision.datasets": datasets})
    for missing in ("skimage", "skimage.io", "imageio", "pandas", "requests", "tqdm"):
        if importlib.util.find_spec(missing.split(".")[0]) is None:
            stand_in = types.ModuleType(missing)
            stand_in.__spec__ = importlib.machinery.ModuleSpec(missing, None)
            sys.modules[missing] = stand_in
    return importlib.import_module("torchxrayvision.models")
