"""The backbone learns what lesions look like: its last blocks are trained to find, patch by patch, what was painted into
normal chests.

No label of a patient is used, so that one adapted backbone serves every fold of the cross-validation. Each normal image is
shown as it is and with lesions painted into it (`paint`), some of both as other equipment may show them; where a painted
image differs from its own original is the truth. The heads that are fitted afterwards see real lesions only.

Axes: B images, P patches, K kinds of lesion.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from radpipe.card import InputSpec
from radpipe.models.dinov2 import Backbone
from radpipe.preprocess import model_input
from radpipe.train.collection import normal_files, read_grey
from radpipe.train.paint import TEACHES, paint, scene
from radpipe.train.repeats import processed_view, repeated_view

Floats = npt.NDArray[np.float32]
_log = logging.getLogger(__name__)

KINDS: tuple[str, ...] = tuple(TEACHES)

CURVE_STEPS = 20

VERSION = 1
"""Raise it when painting or training changes: a state of other making is not gone on from."""

TOUCHED = 0.03
"""A patch shows a lesion where the picture changed by more than this in the mean (of 0..1)."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Images of one scene: as it is, and painted."""

    batch: Floats  # (B, 1, rows, columns), ready for the network
    truth: npt.NDArray[np.float32]  # (B, P, K)
    number: int = 0  # of the scene in its stream


class LesionHead(nn.Module):
    """A logit per patch and kind; of the image, a soft maximum of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patch = nn.Linear(width, len(KINDS))
        nn.init.normal_(self.patch.weight, std=0.01)
        nn.init.constant_(self.patch.bias, -3.0)
        self.sharpness = 2.0

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(B, P, D) to (B, P, K) and (B, K)."""
        logits = self.patch(patches)
        image = torch.logsumexp(logits * self.sharpness, 1) - math.log(logits.shape[1])
        return logits, image / self.sharpness


def show(file: Path, spec: InputSpec, grid: tuple[int, int], paintings: int, random: np.random.Generator) -> Shown | None:
    """One normal chest and `paintings` of it; None where its lungs are not found."""
    grey = read_grey(file)
    if random.random() < 0.5:
        grey = repeated_view(grey, random)
    here = scene(grey)
    if here is None:
        return None
    images, truths = [grey], [np.zeros((grid[0] * grid[1], len(KINDS)), np.float32)]
    for _ in range(paintings):
        kind = int(random.integers(len(KINDS)))
        painted = paint(KINDS[kind], here, float(random.random()), random)
        touched = cv2.resize(np.abs(painted - grey), (grid[1], grid[0]), interpolation=cv2.INTER_AREA)
        truth = np.zeros((grid[0] * grid[1], len(KINDS)), np.float32)
        truth[:, kind] = np.clip(touched.reshape(-1) / TOUCHED, 0, 1) ** 2
        images.append(painted)
        truths.append(truth)
    if random.random() < 0.5:  # all alike: how it was processed must not tell
        state = int(random.integers(2**31))
        images = [_same_place(image, state) for image in images]
    return Shown(np.stack([model_input(image, spec)[0] for image in images]), np.stack(truths))


def _same_place(image: Floats, seed: int) -> Floats:
    """Processed as other equipment may, but neither cropped nor turned: the truth stays where it is."""
    view = processed_view(image, np.random.default_rng(seed))
    return view if view.shape == image.shape else image


def stream(files: tuple[Path, ...], spec: InputSpec, grid: tuple[int, int], recipe: dict[str, Any], seed: int, first: int
           ) -> Iterator[Shown]:  # fmt: skip
    """Scenes without end, the same for the same seed; begins at scene number `first`."""
    number = first
    while True:
        order = np.random.default_rng([seed, 7, number // len(files)]).permutation(len(files))
        shown = show(
            files[int(order[number % len(files)])],
            spec,
            grid,
            int(recipe["paintings"]),
            np.random.default_rng([seed, 8, number]),
        )
        if shown is not None:
            yield replace(shown, number=number)
        number += 1


def adapt(
    backbone: Backbone, data: Path, spec: InputSpec, recipe: dict[str, Any], seed: int, cache: Path
) -> tuple[Backbone, LesionHead, list[tuple[int, float, float]]]:
    """Train the last blocks; goes on from `cache` where a run was broken off. Returns a new backbone, the head, and the
    curve: step, patch loss and image loss, each the mean of `CURVE_STEPS`.

    `recipe`: first_block, scenes, paintings, scenes_a_step, learning_rate, weight_decay, minutes_between_states.
    """
    files = normal_files(data, 10**9, seed=0)
    first, shape = int(recipe["first_block"]), backbone.shape
    frozen, adapted = backbone.eval(), copy.deepcopy(backbone).train().requires_grad_(False)
    for block in adapted.blocks[first:]:
        block.requires_grad_(True)
    adapted.norm.requires_grad_(True)
    torch.manual_seed(seed)
    head = LesionHead(shape.width)
    trained = [p for p in (*adapted.parameters(), *head.parameters()) if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=float(recipe["learning_rate"]), weight_decay=float(recipe["weight_decay"]))
    steps = int(recipe["scenes"]) // int(recipe["scenes_a_step"])
    made_of = repr((VERSION, recipe, seed, spec, shape.grid)).encode()
    state_file = cache / f"lesions-{hashlib.sha256(made_of).hexdigest()[:16]}.pt"
    done, following, started = 0, 0, time.monotonic()
    curve: list[Any] = []
    cache.mkdir(parents=True, exist_ok=True)
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        adapted.load_state_dict(state["adapted"])
        head.load_state_dict(state["head"])
        optimiser.load_state_dict(state["optimiser"])
        done, following = int(state["done"]), int(state["following"])
        curve = [tuple(point) for point in state["curve"]]
        _log.info("lesions: %d of %d steps are done", done, steps)
    scenes = stream(files, spec, shape.grid, recipe, seed, following)
    saved, recent = time.monotonic(), []
    for step in range(done, steps):
        for group in optimiser.param_groups:
            group["lr"] = float(recipe["learning_rate"]) * _schedule(step, steps)
        shown = [next(scenes) for _ in range(int(recipe["scenes_a_step"]))]
        batch = torch.from_numpy(np.concatenate([one.batch for one in shown]))
        truth = torch.from_numpy(np.concatenate([one.truth for one in shown]))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            tokens = frozen.embed(batch)
            for block in frozen.blocks[:first]:
                tokens = block(tokens)
        with torch.autocast("cpu", torch.bfloat16):
            for block in adapted.blocks[first:]:
                tokens = block(tokens)
            patches = adapted.norm(tokens)[:, 1 + shape.registers :]
        logits, image = head(patches.float())
        dense = functional.binary_cross_entropy_with_logits(logits, truth, pos_weight=torch.tensor(4.0))
        whole = functional.binary_cross_entropy_with_logits(image, (truth.amax(1) > 0.5).float())
        loss = 4 * dense + whole
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        recent.append((float(dense.detach()), float(whole.detach())))
        if (step + 1) % CURVE_STEPS == 0:
            means = np.mean(recent[-CURVE_STEPS:], axis=0)
            curve.append((step + 1, float(means[0]), float(means[1])))
            _log.info("lesions: step %d of %d, patch loss %.4f, image loss %.4f, %.0f s", step + 1, steps, *means,
                      time.monotonic() - started)  # fmt: skip
        if time.monotonic() - saved > 60 * float(recipe["minutes_between_states"]) or step + 1 == steps:
            partial = state_file.with_suffix(".partial")
            torch.save({"adapted": adapted.state_dict(), "head": head.state_dict(), "optimiser": optimiser.state_dict(),
                        "done": step + 1, "following": shown[-1].number + 1, "curve": curve}, partial)  # fmt: skip
            partial.replace(state_file)
            saved = time.monotonic()
    return adapted.eval().requires_grad_(False), head.eval().requires_grad_(False), curve


def _schedule(step: int, steps: int) -> float:
    """Warm-up over the first twentieth, then a cosine to a twentieth."""
    warm = max(steps // 20, 1)
    if step < warm:
        return (step + 1) / warm
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))
