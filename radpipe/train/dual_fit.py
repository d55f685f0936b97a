"""The dual encoder's trained part: two linear maps into one space, by open_clip's sigmoid loss with many positives.

Zhai et al., Sigmoid Loss for Language Image Pre-Training (2023), arXiv:2303.15343, as `open_clip.loss.SigLipLoss`. There an
image has one sentence. Here a sentence ("left pleural effusion") is true of many images, false of others, and of others
again nobody knows whether it is (the labels have no side): targets are +1, -1 and 0, and what is 0 teaches nothing.

Axes: N images, E the reader's embedding, K concepts, W wordings of each, T the sentence encoder's vector, D shared space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from open_clip.loss import SigLipLoss
from torch import Tensor, nn
from torch.nn import functional

Floats = npt.NDArray[np.float32]


class ManyPositives(SigLipLoss):  # type: ignore[misc]
    """open_clip's SigLipLoss for targets (N, K) of +1, -1 and 0 (not known), each pair with a weight."""

    def pairs(self, images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Mean over the known pairs, weighted. Images (N, D) and texts (K, D) have unit length."""
        logits = self.get_logits(images, texts, scale, bias)
        known = (targets != 0) * weights
        losses: Tensor = -(functional.logsigmoid(targets * logits) * known).sum() / known.sum()
        return losses


@dataclass(frozen=True, slots=True)
class Taught:
    """What is fitted: images, and which concepts are true of them."""

    embeddings: Floats  # (N, E)
    targets: npt.NDArray[np.int8]  # (N, K) +1, -1, 0
    weights: Floats  # (N,)


@dataclass(frozen=True, slots=True)
class Projections:
    """Both maps. A similarity is scale * cosine + bias, a logit."""

    image_centre: Floats  # (E,)
    image_projection: Floats  # (E, D)
    text_centre: Floats  # (T,)
    text_projection: Floats  # (T, D)
    scale: float
    bias: float

    def images(self, embeddings: Floats) -> Floats:
        """(N, E) to unit vectors (N, D)."""
        return unit((embeddings - self.image_centre) @ self.image_projection)

    def texts(self, vectors: Floats) -> Floats:
        """(N, T) to unit vectors (N, D)."""
        return unit((vectors - self.text_centre) @ self.text_projection)


def fit_text(vectors: Floats, width: int, recipe: dict[str, Any], seed: int) -> tuple[Floats, Floats]:
    """Centre (T,) and projection (T, D) of sentences alone, so that wordings of one concept come together.

    `vectors` (K, W, T). No image is looked at: the shared space is the same in every fold, and images that were projected
    by different folds can be compared.
    """
    torch.manual_seed(seed)
    concepts, count, _ = vectors.shape
    centre = vectors.mean((0, 1))
    rows = torch.from_numpy((vectors - centre).reshape(concepts * count, -1))
    owner = torch.arange(concepts).repeat_interleave(count)
    start = torch.linalg.svd(rows, full_matrices=False).Vh[:width].T.contiguous()
    if not recipe["steps"]:
        return centre, start.numpy()
    projection = nn.Parameter(start * float(recipe["start"]))
    optimiser = torch.optim.AdamW([projection], lr=float(recipe["rate"]), weight_decay=float(recipe["decay"]))
    same = (owner[:, None] == owner[None, :]).float()
    same = same / same.sum(1, keepdim=True)
    for _ in range(int(recipe["steps"])):
        shared = functional.normalize(rows @ projection, dim=-1)
        logits = shared @ shared.T / float(recipe["temperature"])
        loss = -(same * functional.log_softmax(logits, dim=-1)).sum(1).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return centre, projection.detach().numpy()


def fit_images(
    taught: Taught, vectors: Floats, text: tuple[Floats, Floats], recipe: dict[str, Any], seed: int
) -> tuple[Projections, list[float]]:
    """The image's map for a given text map; `vectors` (K, W, T). Also the loss of every step."""
    torch.manual_seed(seed)
    random = np.random.default_rng([seed, 1])
    centre = np.average(taught.embeddings, axis=0, weights=taught.weights).astype(np.float32)
    images = torch.from_numpy(taught.embeddings - centre)
    text_centre, text_projection = text
    shared = torch.from_numpy(unit((vectors - text_centre) @ text_projection))  # (K, W, D)
    targets = torch.from_numpy(taught.targets.astype(np.float32))
    weights = pair_weights(taught, float(recipe["balance"]))
    width = text_projection.shape[1]
    projection = nn.Parameter(torch.zeros(images.shape[1], width))
    nn.init.normal_(projection, std=float(recipe["start"]))
    scale = nn.Parameter(torch.tensor(float(np.log(recipe["scale"]))))
    bias = nn.Parameter(torch.tensor(float(recipe["bias"])))
    optimiser = torch.optim.AdamW(
        [
            {"params": [projection], "weight_decay": float(recipe["decay"])},
            {"params": [scale, bias], "weight_decay": 0.0},
        ],
        lr=float(recipe["rate"]),
    )
    steps = int(recipe["steps"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    loss_of, losses = ManyPositives(), []
    noise = float(recipe["noise"]) * images.std(0) * torch.randn(min(len(images), 2 * int(recipe["batch"])), images.shape[1])
    batch = int(recipe["batch"])
    for _ in range(steps):
        pick = torch.from_numpy(random.integers(0, shared.shape[1], shared.shape[0]))
        texts = shared[torch.arange(len(shared)), pick]
        chosen = torch.from_numpy(random.permutation(len(images))[:batch])
        # noise is drawn once, and laid on other images at every step
        shown = images[chosen] + noise[torch.from_numpy(random.integers(0, len(noise), len(chosen)))]
        vectors_of = functional.normalize(shown @ projection, dim=-1)
        loss = loss_of.pairs(vectors_of, texts, scale.exp(), bias, targets[chosen], weights[chosen])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    fitted = Projections(
        centre, projection.detach().numpy(), text_centre, text_projection, float(scale.detach().exp()), float(bias.detach())
    )
    return fitted, losses


def pair_weights(taught: Taught, balance: float) -> Tensor:
    """(N, K): the image's weight; of a concept's positives raised so that they count `balance` of the way to as much as its
    negatives."""
    weights = torch.from_numpy(taught.weights)[:, None].expand(taught.targets.shape)
    positive = torch.from_numpy(taught.targets > 0)
    negative = torch.from_numpy(taught.targets < 0)
    ratio = (weights * negative).sum(0) / (weights * positive).sum(0).clamp(min=1e-6)
    return torch.where(positive, weights * ratio.clamp(1.0, 100.0) ** balance, weights).contiguous()


def unit(vectors: npt.NDArray[np.floating[Any]]) -> Floats:
    """Rows (last axis) of length one."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9), np.float32)
