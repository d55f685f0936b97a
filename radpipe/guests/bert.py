"""BERT's encoder with a pooler and a projection, as open_clip's image-text models use it (`HFTextEncoder`).

Written out because it runs once, at import, and the library that has it (transformers) looks models up on a hub.
Devlin et al., BERT (2018), arXiv:1810.04805; the names of the parameters are those of transformers' `BertModel`, and all but
the number of heads is told by the tensors themselves.

Axes: N sentences, T tokens, W width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from radpipe.errors import WeightsError

_HEAD_WIDTH = 64
"""Of BERT and all that was made from it, unless its configuration says otherwise."""

POOLERS = ("cls_pooler", "cls_last_hidden_state_pooler", "mean_pooler")


class _Layer(nn.Module):
    def __init__(self, width: int, inner: int, heads: int, epsilon: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.mixed = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.inner, self.outer = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm2 = nn.LayerNorm(width, eps=epsilon)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(N, T, W) and (N, T) bool to (N, T, W)."""
        count, length, width = tokens.shape
        q, k, v = (
            part(tokens).reshape(count, length, self.heads, -1).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        tokens = self.norm1(tokens + self.mixed(attended.transpose(1, 2).reshape(count, length, width)))
        after: Tensor = self.norm2(tokens + self.outer(functional.gelu(self.inner(tokens))))
        return after


class Bert(nn.Module):
    """Tokens in, one vector a sentence out."""

    def __init__(self, state: Mapping[str, Tensor], heads: int | None, pooler: str, epsilon: float = 1e-12) -> None:
        """`state` is the text tower's part of the checkpoint, without its prefix. Raises WeightsError if it is no BERT's."""
        super().__init__()
        if pooler not in POOLERS:
            raise WeightsError(f"the text tower pools by {pooler!r}; radpipe knows {', '.join(POOLERS)}")
        try:
            vocabulary, width = state["transformer.embeddings.word_embeddings.weight"].shape
            positions = state["transformer.embeddings.position_embeddings.weight"].shape[0]
            inner = state["transformer.encoder.layer.0.intermediate.dense.weight"].shape[0]
        except KeyError as error:
            raise WeightsError(f"the text tower is no BERT: it has no {error}") from error
        kinds = state["transformer.embeddings.token_type_embeddings.weight"].shape[0]
        depth = 1 + max(
            int(found[1]) for name in state if (found := re.match(r"transformer\.encoder\.layer\.(\d+)\.", name))
        )
        self.pooler = pooler
        self.words, self.places = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        self.kinds = nn.Embedding(kinds, width)
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.layers = nn.ModuleList(_Layer(width, inner, heads or width // _HEAD_WIDTH, epsilon) for _ in range(depth))
        self.pooled: nn.Module = nn.Identity()
        if pooler == "cls_pooler" and "transformer.pooler.dense.weight" in state:
            self.pooled = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.projection = _projection(state)
        try:
            self.load_state_dict({ours: tensor.float() for name, tensor in state.items() if (ours := _ours(name))})
        except RuntimeError as error:
            raise WeightsError(
                f"the text tower is no BERT as radpipe knows it: {' '.join(str(error).split())[:240]}"
            ) from error

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(N, T) numbers and (N, T) 1 where there is a token, to (N, D)."""
        known = mask.bool()
        places = torch.arange(tokens.shape[1])
        values = self.norm(self.words(tokens) + self.places(places) + self.kinds.weight[0])
        for layer in self.layers:
            values = layer(values, known)
        if self.pooler == "mean_pooler":
            one = (values * known[..., None]).sum(1) / known.sum(1, keepdim=True)
        else:
            one = self.pooled(values[:, 0])
        projected: Tensor = self.projection(one)
        return projected


def _projection(state: Mapping[str, Tensor]) -> nn.Module:
    if "proj.weight" in state:
        out, width = state["proj.weight"].shape
        return nn.Linear(width, out, bias=False)
    if "proj.0.weight" in state:
        (inner, width), out = state["proj.0.weight"].shape, state["proj.2.weight"].shape[0]
        return nn.Sequential(nn.Linear(width, inner, bias=False), nn.GELU(), nn.Linear(inner, out, bias=False))
    return nn.Identity()


_PARTS = {
    "attention.self.query": "query", "attention.self.key": "key", "attention.self.value": "value",
    "attention.output.dense": "mixed", "attention.output.LayerNorm": "norm1", "intermediate.dense": "inner",
    "output.dense": "outer", "output.LayerNorm": "norm2",
}  # fmt: skip

_WHOLE = {
    "transformer.embeddings.word_embeddings": "words", "transformer.embeddings.position_embeddings": "places",
    "transformer.embeddings.token_type_embeddings": "kinds", "transformer.embeddings.LayerNorm": "norm",
    "transformer.pooler.dense": "pooled.0",
}  # fmt: skip


def _ours(name: str) -> str:
    """The name of a parameter here; "" for a buffer that only counts positions."""
    stem, _, kind = name.rpartition(".")
    if kind in ("position_ids", "token_type_ids"):
        return ""
    if stem in _WHOLE:
        return f"{_WHOLE[stem]}.{kind}"
    if found := re.fullmatch(r"transformer\.encoder\.layer\.(\d+)\.(.+)", stem):
        return f"layers.{found[1]}.{_PARTS.get(found[2], found[2])}.{kind}"
    return f"projection.{name.removeprefix('proj.')}" if name.startswith("proj.") else name
