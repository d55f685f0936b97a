"""The whole pipeline against a bare loop of decode + preprocess + infer, on the same files, in the same run.

    python benchmarks/pipeline_vs_bare.py [--studies 100] [--rounds 3]

Both are warm: model loaded, Prefect started, files in the page cache; rounds alternate, each pipeline round with a fresh
store. Target: ratio <= 1.5 (later 1.15). Then a profile of where the rest goes. Writes benchmarks/pipeline_vs_bare.json.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import platform
import pstats
import statistics
import sys
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path

import pydicom

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.radiographs import write_radiographs
from flows import engine
from radpipe import preprocess
from radpipe.cli.assemble import LazyModel, card_of, open_pipeline
from radpipe.dicom import presentation
from radpipe.pipeline import Pipeline, Run, ingest
from radpipe.settings import load_settings

STAGES = {
    "read files and headers, hash, group, enter": ("ingest", "pipeline.py"),
    "decode and preprocess (beside the model)": ("_prepare", "pipeline.py"),
    "infer": ("predict", "onnx_model.py"),
    "register with the prior": ("register", "register.py"),
    "draft": ("draft", "draft.py"),
    "save readings": ("save_reading", "store.py"),
    "plan, look up priors": ("_plan", "pipeline.py"),
}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="radpipe-bench-") as folder:
        work = Path(folder)
        paths = write_radiographs(work, options.studies)
        settings = load_settings(environ={}, overrides={"store": str(work / "prefect-store"), "backend": "onnx"})
        engine.prepare(settings.store)
        model = LazyModel(settings, card_of(settings))
        bare_loop(paths[:2], model)
        through_pipeline(work / "warm", paths[:2], model)
        bare, whole = [], []
        for number in range(options.rounds):
            bare.append(bare_loop(paths, model))
            whole.append(through_pipeline(work / f"round{number}", paths, model))
            print(f"round {number + 1}: bare {bare[-1]:.2f} s, pipeline {whole[-1]:.2f} s, ratio {whole[-1] / bare[-1]:.3f}")
        profile = cProfile.Profile()
        profile.enable()
        through_pipeline(work / "profiled", paths, model, direct=True)
        profile.disable()
    ratios = [w / b for w, b in zip(whole, bare, strict=True)]
    result = {
        "studies": options.studies,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d"),
        "bare_s": [round(s, 3) for s in bare],
        "pipeline_s": [round(s, 3) for s in whole],
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_all": [round(r, 3) for r in ratios],
        "profile_s": _stages(profile),
    }
    print(json.dumps(result, indent=1))
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")


def bare_loop(paths: list[Path], model: LazyModel) -> float:
    """Seconds to decode, preprocess and infer every file, one by one; nothing else."""
    started = time.perf_counter()
    opened = model()
    for path in paths:
        tensor, _ = preprocess.model_input(presentation(path.read_bytes()), opened.card.input)
        opened.predict(tensor[None])
    return time.perf_counter() - started


def through_pipeline(store: Path, paths: list[Path], model: LazyModel, *, direct: bool = False) -> float:
    """Seconds from files to saved drafts, through the Prefect flow (or, to profile, straight through the same run)."""
    settings = load_settings(environ={}, overrides={"store": str(store), "backend": "onnx"})
    opened = open_pipeline(settings, paths)
    pipeline = Pipeline(**{name: getattr(opened, name) for name in Pipeline.__dataclass_fields__} | {"model": model})
    count = 0
    started = time.perf_counter()

    def one_more(reading: object) -> None:
        nonlocal count
        count += 1

    run = Run(pipeline, ingest(pipeline).studies)
    if direct:
        for reading in run:
            one_more(reading)
    else:
        from flows.read import Job, drain

        ready: Future[Run] = Future()
        ready.set_result(run)
        run.start()
        drain(f"bench-{store.name}", Job(ready, one_more))
    seconds = time.perf_counter() - started
    if count != len(paths):
        raise SystemExit(f"the pipeline read {count} of {len(paths)} studies")
    return seconds


def _stages(profile: cProfile.Profile) -> dict[str, float]:
    """Cumulative seconds by stage, of the main thread."""
    found = {}
    table = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for words, (function, file) in STAGES.items():
        seconds = [row[3] for (path, _, name), row in table.items() if name == function and path.endswith(file)]
        if seconds:
            found[words] = round(max(seconds), 3)
    return found


if __name__ == "__main__":
    print(f"pydicom {pydicom.__version__}")
    main()
