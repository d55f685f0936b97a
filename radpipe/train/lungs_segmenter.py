"""`python -m radpipe.train.lungs_segmenter --data ../shared/data --teacher cheXwhatsApp-0.1.5.tar.gz --out
weights/chest-lungs`

Trains the lung segmenter that ships: the teacher's answers, outlines, two stages, export, validation, card, record. The
state is saved every few steps under `--cache`: a run that was broken off goes on, step for step as it would have gone.

Stage "trusted" learns from the radiographs whose outlines are believed, with opacities painted over known lungs. Stage
"mended" learns from all: where the outline is not believed, from what the first stage's network makes of it."""

from __future__ import annotations

import argparse
import copy
import csv
import hashlib
import json
import logging
import math
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from radpipe.models.lungs_torch import unet
from radpipe.train.lungs_augment import varied
from radpipe.train.lungs_material import Collection, collected, listed
from radpipe.train.lungs_outline import SIDE
from radpipe.train.lungs_teacher import open_teacher

_log = logging.getLogger("radpipe.train.lungs")

Floats = npt.NDArray[np.float32]


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m radpipe.train.lungs_segmenter", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with cxr/")
    parser.add_argument("--teacher", type=Path, required=True, help="source archive of cheXwhatsApp 0.1.5, or its weights")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights, e.g. weights/chest-lungs")
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("lungs_recipe.toml"))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "radpipe-train-lungs", help="to go on from")
    options = parser.parse_args(arguments)
    record = options.out / "record"
    record.mkdir(parents=True, exist_ok=True)
    log = logging.FileHandler(record / "train.log", "a", encoding="utf-8")
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", handlers=[log, logging.StreamHandler(sys.stderr)]
    )
    shutil.copyfile(options.recipe, record / "recipe.toml")
    recipe = tomllib.loads(options.recipe.read_text(encoding="utf-8"))
    train_lungs(options.data, options.teacher, options.out, recipe, options.cache)
    return 0


def train_lungs(data: Path, teacher: Path, out: Path, recipe: dict[str, Any], cache: Path) -> None:
    """Do everything; leaves the weights, the card and the record in `out`."""
    from radpipe.train.lungs_card import write_card
    from radpipe.train.lungs_export import save_network
    from radpipe.train.lungs_record import plot_curves, validated

    torch.set_num_threads(recipe["threads"])
    network = fresh(recipe)
    names = list(dict.fromkeys(name for stage in recipe["stages"].values() for name in stage["collections"]))
    read: dict[str, Collection] = {}
    losses: list[tuple[str, int, float]] = []
    answer: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]] | None = None
    for stage, plan in recipe["stages"].items():
        for name in plan["collections"]:
            if name not in read:
                answer = answer or open_teacher(teacher).probability
                files = listed(data, name, recipe["material"]["normal_images"])
                asked = answer if name in recipe["material"]["taught"] else None
                read[name] = collected(files, name, asked, recipe["trust"], cache)
        collections = [read[name] for name in plan["collections"]]
        mended = stage != next(iter(recipe["stages"]))
        pictures, targets = _examples(collections, network if mended else None, recipe)
        _log.info("stage %s: %d radiographs", stage, len(pictures))
        losses += [(stage, step, loss) for step, loss in run_stage(network, pictures, targets, stage, recipe, cache)]
    out.mkdir(parents=True, exist_ok=True)
    record = out / "record"
    record.mkdir(exist_ok=True)
    save_network(network, recipe, out)
    write_card(out, recipe, {})  # the reader checks the files against it
    figures = validated(out, data, recipe)
    figures["material"] = {name: {"n": len(c.files), "believed": int(c.believed.sum())} for name, c in read.items()}
    (record / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    with (record / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "use"])
        for name in names:
            for file, believed in zip(read[name].files, read[name].believed, strict=True):
                writer.writerow([f"{name}/{file}", "outline" if believed else "completed"])
        writer.writerows([f"lungs/{path.name}", "validation only"] for path in listed(data, "lungs", 0))
    plot_curves(record, losses, figures)
    write_card(out, recipe, figures)


def fresh(recipe: dict[str, Any]) -> nn.Module:
    """The network before training, with the recipe's seed."""
    torch.manual_seed(recipe["seed"])
    plan = recipe["network"]
    return unet(plan["channels"], plan["strides"], plan["units"], normalised=True).to(memory_format=torch.channels_last)


def run_stage(
    network: nn.Module,
    pictures: npt.NDArray[np.uint8],
    targets: npt.NDArray[np.uint8],
    stage: str,
    recipe: dict[str, Any],
    cache: Path,
) -> list[tuple[int, float]]:
    """Train `network` in place; at the end it holds the averaged weights. Returns (step, mean loss) along the way."""
    plan, training = recipe["stages"][stage], recipe["training"]
    averaged = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan["rate"], weight_decay=training["weight_decay"])
    said = json.dumps([plan, *(recipe[part] for part in ("seed", "network", "training", "painting"))], sort_keys=True)
    mark = hashlib.sha256(said.encode() + pictures[::37].tobytes() + targets[::37].tobytes())
    saved = cache / f"state_{stage}_{mark.hexdigest()[:12]}.pt"
    first, curve = 0, []
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        first, curve = state["step"], [(int(step), float(loss)) for step, loss in state["curve"]]
        _log.info("stage %s goes on at step %d", stage, first)
    network.train()
    recent: list[float] = []
    started = time.monotonic()
    for step, grey, truth in _batches(pictures, targets, stage, first, recipe):
        rate = plan["rate"] * min((step + 1) / training["warm_up"], 0.5 + 0.5 * math.cos(math.pi * step / plan["steps"]))
        for group in optimiser.param_groups:
            group["lr"] = max(rate, 1e-5)
        batch = (torch.from_numpy(grey) * 4 - 2).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            answer = network(batch)
        loss = _loss(answer.float(), torch.from_numpy(truth))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        keep = min(training["averaging"], (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, now in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - keep)
        recent.append(float(loss.detach()))
        if (step + 1) % training["save_every"] == 0 or step + 1 == plan["steps"]:
            curve.append((step + 1, float(np.mean(recent))))
            recent.clear()
            cache.mkdir(parents=True, exist_ok=True)
            state = {
                "network": network.state_dict(),
                "averaged": averaged.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step + 1,
                "curve": curve,
            }
            torch.save(state, saved.with_suffix(".part"))
            saved.with_suffix(".part").replace(saved)
            _log.info("stage %s step %d loss %.4f, %.0f s", stage, step + 1, curve[-1][1], time.monotonic() - started)
    network.load_state_dict(averaged.state_dict())
    network.eval()
    return curve


def completed(network: nn.Module, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(N, 2, SIDE, SIDE): what the network makes of these pictures, 255 = sure, the mean with their mirror images."""
    import cv2

    network.eval()
    answers = np.zeros((len(pictures), 2, SIDE, SIDE), np.uint8)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for index, picture in enumerate(pictures):
            grey = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
            low, high = np.percentile(grey, (0.5, 99.5))
            grey = np.clip((grey - low) / max(float(high - low), 1e-3), 0, 1).astype(np.float32)
            both = torch.from_numpy(np.stack([grey, grey[:, ::-1]])[:, None] * 4 - 2)
            answer = torch.sigmoid(network(both).float()).numpy()
            answers[index] = np.round(255 * (answer[0] + answer[1, ::-1, :, ::-1]) / 2)
    return answers


def _examples(
    collections: list[Collection], network: nn.Module | None, recipe: dict[str, Any]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Pictures (N, P, P) and targets (N, 2, SIDE, SIDE): the believed ones, and with a network also the others,
    completed."""
    pictures, targets = [], []
    for collection in collections:
        firm = collection.believed
        pictures.append(collection.pictures[firm])
        targets.append(collection.targets[firm])
        if network is not None and not firm.all():
            pictures.append(collection.pictures[~firm])
            targets.append(completed(network, collection.pictures[~firm]))
    return np.concatenate(pictures), np.concatenate(targets)


def _batches(
    pictures: npt.NDArray[np.uint8], targets: npt.NDArray[np.uint8], stage: str, first: int, recipe: dict[str, Any]
) -> Iterator[tuple[int, Floats, Floats]]:
    """Batches from step `first` on, each drawn from the seed, the stage and the step alone; the next is made meanwhile."""
    size, steps = recipe["training"]["batch"], recipe["stages"][stage]["steps"]
    which = list(recipe["stages"]).index(stage)

    def made(step: int) -> tuple[Floats, Floats]:
        random = np.random.default_rng([recipe["seed"], which, step])
        drawn = random.integers(0, len(pictures), size)
        pairs = [varied(pictures[k], targets[k], SIDE, recipe["painting"], random) for k in drawn]
        return np.stack([grey for grey, _ in pairs])[:, None], np.stack([fields for _, fields in pairs])

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(made, first) if first < steps else None
        for step in range(first, steps):
            assert ahead is not None
            grey, truth = ahead.result()
            ahead = pool.submit(made, step + 1) if step + 1 < steps else None
            yield step, grey, truth


def _loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy and soft Dice over both lungs, (B, 2, H, W)."""
    probability = torch.sigmoid(logits)
    overlap = (probability * truth).sum((2, 3))
    dice = 1 - (2 * overlap + 50) / (probability.sum((2, 3)) + truth.sum((2, 3)) + 50)
    return functional.binary_cross_entropy_with_logits(logits, truth) + dice.mean()


if __name__ == "__main__":
    raise SystemExit(main())
