"""How quick and how alike the backends are: torch, ONNX, ONNX in 8 bits; on a GPU torch in bfloat16 against its limit.

    python benchmarks/backends.py [--model NAME] [--weights DIR] [--images DIR] [--rounds N] [--output FILE]

One process, one run: each round times every variant once, in turn and in reverse turn, so that whatever else the machine
does meets all alike. Wall-clock and processor time; the ratios are of medians. With --images, probabilities and decisions of
every variant are compared with ONNX in float32. Target on a CPU: ONNX at least 1.5 times as quick as torch.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from radpipe.card import InputSpec, ModelCard, read_card
from radpipe.guests.int8 import all_but_projection, of_mlp, save_integer_graph
from radpipe.guests.trial import trial_batch
from radpipe.models import open_model
from radpipe.models.onnx_model import INTEGER_GRAPH, OnnxModel
from radpipe.models.torch_model import TorchModel
from radpipe.ports import ImageModel

ROOT = Path(__file__).resolve().parent.parent

GPU_BATCH = 256


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="chest-dinov2s")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights")
    parser.add_argument("--images", type=Path, help="folder of radiographs to compare answers on")
    parser.add_argument("--most", type=int, default=100, help="images of that folder, evenly spread")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    card = read_card(options.weights / options.model / "card.toml")
    result: dict[str, Any] = {
        "model": card.identity,
        "machine": {"processor": _processor(), "torch": torch.__version__, "python": platform.python_version()},
        "cpu": [],
    }
    with tempfile.TemporaryDirectory(prefix="radpipe-bench-") as folder:
        variants = rounded(card, Path(folder))
        for threads in options.threads:
            result["cpu"].append(cpu(card, variants, threads, options.rounds))
        if options.images is not None:
            result["alike"] = alike(card, variants, pictures(options.images, options.most, card.input))
    result["gpu"] = gpu(card) if torch.cuda.is_available() else "no CUDA here: not measured"
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def rounded(card: ModelCard, folder: Path) -> dict[str, ModelCard]:
    """The card with its graph in 8 bits, for each choice of what is taken as two terms; none if nothing can be rounded."""
    made = {}
    for name, twice in (("int8", lambda _: False), ("int8 mlp twice", of_mlp), ("int8 mlp qkv twice", all_but_projection)):
        copy = folder / name.replace(" ", "-") / card.name
        shutil.copytree(card.directory, copy, ignore=shutil.ignore_patterns("record"))
        if save_integer_graph(copy, twice=twice):
            made[name] = replace(card, directory=copy)
    return made


def cpu(card: ModelCard, variants: dict[str, ModelCard], threads: int, rounds: int) -> dict[str, Any]:
    """Milliseconds an image, and how many times as quick as torch in float32."""
    torch.set_num_threads(threads)
    image = trial_batch(card.input)[:1]
    models: dict[str, ImageModel] = {
        "torch fp32": open_model(card, "torch", "cpu", threads),
        "onnx fp32": open_model(card, "onnx", "cpu", threads),
    }
    for name, own in variants.items():
        models[f"onnx {name}"] = OnnxModel(own, device="cpu", threads=threads, graph=INTEGER_GRAPH)
    runs: dict[str, Callable[[], Any]] = {name: (lambda m=model: m.predict(image)) for name, model in models.items()}
    for run in runs.values():
        run(), run()
    wall: dict[str, list[float]] = {name: [] for name in runs}
    used: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs) if number % 2 == 0 else list(runs)[::-1]:
            began, spent = time.perf_counter(), time.process_time()
            runs[name]()
            wall[name].append(time.perf_counter() - began)
            used[name].append(time.process_time() - spent)
    base = np.median(wall["torch fp32"]), np.median(used["torch fp32"])
    return {"threads": threads, "batch": 1, "rounds": rounds} | {
        name: {
            "wall_ms": round(1e3 * float(np.median(wall[name])), 1),
            "processor_ms": round(1e3 * float(np.median(used[name])), 1),
            "times_torch": round(float(base[0] / np.median(wall[name])), 2),
            "times_torch_processor": round(float(base[1] / np.median(used[name])), 2),
        }
        for name in runs
    }


def alike(card: ModelCard, variants: dict[str, ModelCard], images: np.ndarray) -> dict[str, Any]:
    """How far probabilities, logits and decisions are from ONNX in float32."""
    edges = np.array([[label.rule_out, label.threshold] for label in card.labels], np.float32)
    wanted = _answers(open_model(card, "onnx", "cpu", 1), images)
    compared: dict[str, ImageModel] = {"torch fp32": open_model(card, "torch", "cpu", 1)}
    compared |= {f"onnx {n}": OnnxModel(c, device="cpu", threads=1, graph=INTEGER_GRAPH) for n, c in variants.items()}
    result: dict[str, Any] = {"images": len(images), "decisions": int(wanted.size)}
    for name, model in compared.items():
        found = _answers(model, images)
        decided = [(p[:, :, None] >= edges).sum(axis=2) for p in (wanted, found)]
        result[name] = {
            "largest_difference": round(float(np.abs(found - wanted).max()), 6),
            "mean_difference": round(float(np.abs(found - wanted).mean()), 6),
            "logit_rms": round(float(np.sqrt(np.square(_logit(found) - _logit(wanted)).mean())), 5),
            "decisions_moved": int((decided[0] != decided[1]).sum()),
            "present_for_absent": int((np.abs(decided[0] - decided[1]) == 2).sum()),
        }
    return result


def gpu(card: ModelCard) -> dict[str, Any]:
    """Images a second from decoded pixels (8-bit, at the network's size), prepared on the card, bf16; and the share of the
    card's own limit for matrix products, measured beside it. Untried where this was written: no CUDA there."""
    device = torch.device("cuda:0")
    spec = card.input
    model = TorchModel(card, device="cuda", bf16=True)
    network = torch.compile(model.network, mode="max-autotune-no-cudagraphs")
    pixels = torch.randint(0, 256, (GPU_BATCH, 1, spec.rows, spec.columns), dtype=torch.uint8).pin_memory()
    mean = torch.tensor(spec.mean, device=device).view(1, -1, 1, 1)
    std = torch.tensor(spec.std, device=device).view(1, -1, 1, 1)

    def read() -> torch.Tensor:
        grey = pixels.to(device, non_blocking=True).float()
        flat = grey.flatten(1)
        step = max(1, flat.shape[1] // 4096)
        low, high = torch.quantile(flat[:, ::step], torch.tensor(spec.percentiles, device=device) / 100, dim=1)
        stretched = ((grey - low.view(-1, 1, 1, 1)) / (high - low).clamp(min=1e-6).view(-1, 1, 1, 1)).clamp(0, 1)
        batch = ((stretched - mean) / std).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cuda", torch.bfloat16):
            answer: torch.Tensor = network(batch)[0]
        return answer

    with torch.inference_mode():
        seconds = _cuda_seconds(read, 20)
        left = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
        product_s = _cuda_seconds(lambda: left @ left, 20)
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            model.network(torch.zeros(1, spec.channels, spec.rows, spec.columns, device=device))
    limit = 2 * 8192**3 / product_s
    images_per_s = GPU_BATCH / seconds
    reference = open_model(card, "torch", "cuda")
    batch = trial_batch(spec)
    difference = float(np.abs(model.predict(batch).probabilities - reference.predict(batch).probabilities).max())
    return {
        "card": torch.cuda.get_device_name(0),
        "images_per_s": round(images_per_s, 1),
        "batch": GPU_BATCH,
        "matrix_product_tflops": round(limit / 1e12, 1),
        "share_of_limit": round(images_per_s * counter.get_total_flops() / limit, 3),
        "bf16_largest_difference": round(difference, 5),
    }


def pictures(folder: Path, most: int, spec: InputSpec) -> np.ndarray:
    """(B, C, H, W) of at most that many images, evenly spread over the folder."""
    from radpipe.cli.pictures import load_picture
    from radpipe.preprocess import model_input

    paths: Sequence[Path] = sorted(path for path in folder.rglob("*") if path.is_file())
    chosen = paths[:: max(1, len(paths) // most)][:most]
    return np.stack([model_input(load_picture(path).pixels, spec)[0] for path in chosen])


def _answers(model: ImageModel, images: np.ndarray) -> np.ndarray:
    return np.concatenate([model.predict(images[first : first + 4]).probabilities for first in range(0, len(images), 4)])


def _cuda_seconds(run: Callable[[], Any], rounds: int) -> float:
    """Median of the time of one call, the card's queue emptied."""
    for _ in range(5):
        run()
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def _logit(probabilities: np.ndarray) -> np.ndarray:
    clipped = np.clip(probabilities.astype(np.float64), 1e-6, 1 - 1e-6)
    logits: np.ndarray = np.log(clipped / (1 - clipped))
    return logits


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
