"""Image-text models of open_clip, made into a reader by sentences: one pair of sets of prompts a finding, encoded once.

A directory has open_clip_config.json, open_clip_model.safetensors or open_clip_pytorch_model.bin, and, where the text tower
is a BERT (as BiomedCLIP's), its vocabulary: vocab.txt or tokenizer.json. Nothing is looked up on a hub unless the source is
named `hf-hub:ORG/NAME`; then its files are fetched first.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radpipe.card import InputSpec
from radpipe.errors import BackendUnavailable, UsageError, WeightsError
from radpipe.guests.bert import Bert
from radpipe.guests.checkpoint import read_checkpoint
from radpipe.guests.export import save_network, save_onnx
from radpipe.guests.guest_card import GuestCard, GuestLabel, sha256_of, thresholds_of, write_card
from radpipe.guests.imported import Asked, Imported
from radpipe.guests.labels import code_of
from radpipe.guests.record import NOT_ASKED, write_record
from radpipe.models.clip import ZeroShot, image_tower
from radpipe.models.text import Vocabulary

PROMPTS = Path(__file__).with_name("prompts.toml")

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")

CONFIG = "open_clip_config.json"

_FITS = {"shortest": "crop", "longest": "pad", "squash": "stretch"}
"""open_clip's resize modes."""

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of OpenAI's CLIP, which open_clip takes where a configuration says nothing."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """What is said of one finding where it is there, and where it is not."""

    finding: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]


def import_open_clip(source: str, directory: Path, name: str, asked: Asked) -> Imported:
    """Write the model into `directory`, which exists. Raises WeightsError, UsageError or BackendUnavailable."""
    folder = fetched(source) if source.startswith("hf-hub:") else Path(source)
    config, preprocess = read_config(folder)
    weights = next((folder / one for one in WEIGHTS if (folder / one).is_file()), None)
    if weights is None:
        raise WeightsError(f"{folder.name} has no weights: none of {', '.join(WEIGHTS)}")
    state = read_checkpoint(weights).tensors
    prompts = read_prompts(asked.prompts or PROMPTS)
    visual, directions = towers(folder, config, state, prompts)
    network = ZeroShot(visual, directions.shape[1], len(prompts)).eval().requires_grad_(False)
    network.directions.copy_(directions)
    kept = {key: config[key] for key in ("embed_dim", "vision_cfg", "quick_gelu") if key in config}
    metadata = {"network": "open_clip", "config": json.dumps(kept), "labels": str(len(prompts))}
    card = _card(source, folder, weights, name, config, preprocess, prompts, asked)
    save_network(network, metadata, directory)
    report = save_onnx(network, card.input, directory, thresholds_of(card)) if asked.onnx else NOT_ASKED
    write_card(card, directory, ("model.onnx", "model.safetensors") if report.onnx else ("model.safetensors",), asked.card)
    record = {
        "source": source if source.startswith("hf-hub:") else folder.name,
        "weights": weights.name,
        "sha256": sha256_of(weights),
        "as": "open_clip",
        "prompts": {one.finding: {"positive": one.positive, "negative": one.negative} for one in prompts},
    }
    write_record(directory, report, record)
    to_fill = tuple(
        key for key in ("population", "training_data", "licence") if not getattr(card, key) and key not in asked.card
    )
    note = "zero-shot: how well it does with these sentences is not known before `radpipe evaluate images` was run on it"
    return Imported(directory, name, "reader", report, card.unset, to_fill, (note,))


def read_prompts(path: Path) -> tuple[Prompts, ...]:
    """TOML: one table a finding, with `positive` and `negative` lists of sentences. Raises UsageError."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        made = tuple(Prompts(f, tuple(e["positive"]), tuple(e["negative"])) for f, e in tables.items())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise UsageError(f"the prompts in {path.name} cannot be used ({error}); see radpipe/guests/prompts.toml") from error
    if not made or not all(
        one.positive and one.negative and all(isinstance(s, str) and s.strip() for s in (*one.positive, *one.negative))
        for one in made
    ):
        raise UsageError(f"the prompts in {path.name} need sentences in `positive` and `negative` of every finding")
    return made


def read_config(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Model and preprocessing of open_clip_config.json. Raises WeightsError."""
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        config, preprocess = dict(found["model_cfg"]), dict(found.get("preprocess_cfg", {}))
        int(config["embed_dim"]), dict(config["vision_cfg"]), dict(config["text_cfg"])
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder.name} has no {CONFIG} of an open_clip model ({error})") from error
    if "multimodal_cfg" in config:
        raise WeightsError("it is a CoCa model, which also writes; radpipe imports models of two towers")
    return config, preprocess


def towers(
    folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], prompts: Sequence[Prompts]
) -> tuple[torch.nn.Module, Tensor]:
    """The image tower with its weights, and one direction a finding (L, D) at the model's scale."""
    if "logit_scale" not in state:
        raise WeightsError("the weights have no logit_scale: they are no image-text model's")
    scale = state["logit_scale"].float().exp().reshape(())
    text = dict(config["text_cfg"])
    with torch.inference_mode():
        if text.get("hf_model_name"):
            visual = _built(image_tower, config)
            _load(visual, {n.removeprefix("visual."): t for n, t in state.items() if n.startswith("visual.")})
            encode = _bert(folder, text, {n.removeprefix("text."): t for n, t in state.items() if n.startswith("text.")})
        else:
            visual, encode = _own_text(config, text, state)
        rows = []
        for one in prompts:
            positive, negative = (_direction(encode(sentences)) for sentences in (one.positive, one.negative))
            rows.append(scale * (positive - negative))
    return visual, torch.stack(rows).clone()


def _direction(vectors: Tensor) -> Tensor:
    """The mean direction of sentences that say one thing."""
    mean = torch.nn.functional.normalize(vectors.float(), dim=-1).mean(0)
    return torch.nn.functional.normalize(mean, dim=-1)


def _bert(folder: Path, text: Mapping[str, Any], state: Mapping[str, Tensor]) -> Any:
    """A function from sentences to vectors."""
    settings: dict[str, Any] = {}
    for name in ("text_config.json", "config.json"):  # of the text tower, where the directory has one
        if (folder / name).is_file():
            settings = json.loads((folder / name).read_text(encoding="utf-8"))
            break
    kind = settings.get("model_type", "bert")
    if kind != "bert":
        raise WeightsError(f"the text tower is a {kind}; radpipe knows BERT's (as BiomedCLIP's) and open_clip's own")
    bert = Bert(
        state, settings.get("num_attention_heads"), text.get("hf_pooler_type") or "cls_pooler",
        settings.get("layer_norm_eps", 1e-12),
    ).eval()  # fmt: skip
    vocabulary = Vocabulary(_tokens(folder))
    most = min(int(text.get("context_length") or 77), bert.places.num_embeddings)

    def encode(sentences: Sequence[str]) -> Tensor:
        tokens, mask = vocabulary.batch(sentences, most)
        made: Tensor = bert(torch.from_numpy(tokens), torch.from_numpy(mask))
        return made

    return encode


def _tokens(folder: Path) -> list[str]:
    """The word pieces, in the order of their numbers. Raises WeightsError."""
    try:
        if (folder / "tokenizer_config.json").is_file():
            told = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
            if told.get("do_lower_case") is False:
                raise WeightsError(f"the vocabulary of {folder.name} is cased; radpipe reads uncased ones")
        if (folder / "vocab.txt").is_file():
            return (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
        if model.get("type", "WordPiece") != "WordPiece":
            raise WeightsError(f"the tokenizer of {folder.name} is {model['type']}; radpipe knows BERT's WordPiece")
        return sorted(model["vocab"], key=model["vocab"].__getitem__)
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"the text tower is a BERT, and {folder.name} has neither vocab.txt nor tokenizer.json of it ({error}); copy it "
            "there from the model that text_cfg.hf_model_name names"
        ) from error


def _own_text(
    config: Mapping[str, Any], text: Mapping[str, Any], state: Mapping[str, Tensor]
) -> tuple[torch.nn.Module, Any]:
    """open_clip's own text tower."""
    if text.get("hf_tokenizer_name"):
        raise WeightsError(f"the text tower wants the tokenizer {text['hf_tokenizer_name']!r}, which radpipe does not have")
    try:
        import open_clip
        from open_clip.model import CLIP, CustomTextCLIP
    except ImportError as error:
        raise BackendUnavailable("importing this model needs open_clip; install 'radpipe[gpu,train]'") from error
    custom = bool(config.get("custom_text")) or any(name.startswith("text.") for name in state)
    kind = CustomTextCLIP if custom else CLIP
    plain = {key: value for key, value in config.items() if key not in ("custom_text", "vision_cfg")}
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}
    model = _built(lambda entries: kind(vision_cfg=vision, **entries), plain)
    _load(model, state)
    model.eval()
    tokenizer = open_clip.SimpleTokenizer(context_length=int(text.get("context_length", 77)))
    return model.visual, lambda sentences: model.encode_text(tokenizer(list(sentences)))


def _built(make: Any, config: Mapping[str, Any]) -> Any:
    try:
        return make(config)
    except (TypeError, ValueError, RuntimeError, KeyError, AssertionError) as error:
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise WeightsError(f"open_clip makes no network of this configuration ({words})") from error


def _load(network: torch.nn.Module, state: Mapping[str, Tensor]) -> None:
    found = network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith("attn_mask")]
    left = [name for name in found.unexpected_keys if not name.endswith(("attn_mask", "position_ids"))]
    if missing or left:
        what = f"{len(missing)} weights are missing, {len(left)} left over (such as {(missing + left)[0]})"
        raise WeightsError(f"the weights do not fit the configuration: {what}")


def fetched(source: str) -> Path:
    """The files of a model on the hub, in its cache. Raises BackendUnavailable if it cannot be reached."""
    try:
        import httpx
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise BackendUnavailable("fetching from the hub needs huggingface_hub; install 'radpipe[gpu]'") from error
    name = source.removeprefix("hf-hub:")
    if name.count("/") != 1:
        raise UsageError(f"a model on the hub is named hf-hub:ORG/NAME, not {source}")
    try:
        return Path(
            snapshot_download(name, allow_patterns=[CONFIG, *WEIGHTS[:2], "vocab.txt", "*token*.json", "config.json"])
        )
    except (OSError, ValueError, httpx.HTTPError, HfHubHTTPError) as error:
        raise BackendUnavailable(
            f"{name} cannot be fetched from the hub ({type(error).__name__}); download its files elsewhere into a folder "
            "and import that"
        ) from error


def _card(
    source: str, folder: Path, weights: Path, name: str, config: Mapping[str, Any], preprocess: Mapping[str, Any],
    prompts: Sequence[Prompts], asked: Asked,
) -> GuestCard:  # fmt: skip
    size = preprocess.get("size") or config["vision_cfg"].get("image_size", 224)
    rows, columns = (int(size), int(size)) if isinstance(size, int | float) else (int(size[0]), int(size[1]))
    called = source.removeprefix("hf-hub:") if source.startswith("hf-hub:") else folder.name
    tower = config["vision_cfg"].get("timm_model_name") or "ViT" if "width" in config["vision_cfg"] else "image tower"
    tower = config["vision_cfg"].get("timm_model_name") or tower
    unset = "zero-shot, by sentences: no operating point until one is set with `radpipe calibrate`"
    labels = tuple(GuestLabel(one.finding, code_of(one.finding, ""), source=unset) for one in prompts)
    mean, std = tuple(preprocess.get("mean") or _MEAN), tuple(preprocess.get("std") or _STD)
    return GuestCard(
        name=name,
        version=asked.version,
        summary=f"{len(prompts)} findings by sentences: {tower} of the image-text model {called}",
        origin=f"{called}, {weights.name} (sha256 {sha256_of(weights)[:12]}), read by open_clip",
        licence=asked.licence,
        training_data="",
        population=asked.population,
        input=InputSpec(
            ("CR", "DX"), "CHEST", ("PA", "AP"), rows, columns, len(mean), mean, std, (0.0, 100.0), asked.ages,
            _FITS.get(str(preprocess.get("resize_mode", "shortest")), "crop"),
        ),
        labels=labels,
        limits=(
            "Zero-shot: it was never trained to find these; its scores compare an image with sentences: no frequencies.",
            "Image-text models do not read negations reliably: sentences of absence say the normal state in other words.",
        ),
    )  # fmt: skip
