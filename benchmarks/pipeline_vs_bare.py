"""The whole pipeline against a bare loop of decode + preprocess + infer, on the same files, in the same run.

    python benchmarks/pipeline_vs_bare.py [--studies 100] [--rounds 3] [--output FILE]

The files: one 2048 x 2048 radiograph a study; half of the patients have an earlier study, so that for a third of the
studies a prior is found, registered and compared. The pipeline does all of it: files to saved drafts, through Prefect.
Both are warm: model loaded, Prefect started, files in the page cache. Each round measures the bare loop one by one, the
bare loop in batches of the pipeline's size, and the pipeline with a fresh store, in an order that turns with the rounds.

ratio_median         pipeline / bare loop one by one: the headline. Target: <= 1.5 (later 1.15)
ratio_to_batched     pipeline / bare loop in batches: what the pipeline costs beside its gain from batches. The bare loops
                     use one thread of Python, the pipeline decodes in a second: either ratio may be below 1
profile_s            one more pipeline run, without Prefect: seconds by stage of the main and of the decode thread, which
                     run beside each other (stages.py)

Writes benchmarks/pipeline_vs_bare.json when it measured 100 studies or more, else only the file that --output names.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.radiographs import FULL_SIZE, studies_with_prior, write_radiographs, write_result
from benchmarks.stages import stopwatches
from flows import engine
from radpipe import pipeline as stages
from radpipe import preprocess
from radpipe.cli.assemble import LazyModel, card_of, open_pipeline
from radpipe.dicom import presentation
from radpipe.pipeline import Pipeline, Run
from radpipe.reading import Reading
from radpipe.settings import load_settings


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--studies", type=int, default=FULL_SIZE)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="where to write the result (default: beside this file, if full size)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="radpipe-bench-") as folder:
        work = Path(folder)
        paths = write_radiographs(work, options.studies)
        settings = load_settings(environ={}, overrides={"store": str(work / "prefect-store"), "backend": "onnx"})
        size = settings.batch_studies
        engine.prepare(settings.store)
        model = LazyModel(settings, card_of(settings))
        bare_loop(paths[:2], model)
        bare_loop(paths[:size], model, size)
        through_pipeline(work / "warm", paths[:3], model)
        seconds: dict[str, list[float]] = {"bare": [], "batched": [], "pipeline": []}
        for number in range(options.rounds):
            ways: dict[str, Callable[[], float]] = {
                "bare": lambda: bare_loop(paths, model),
                "batched": lambda: bare_loop(paths, model, size),
                "pipeline": lambda number=number: through_pipeline(work / f"round{number}", paths, model),  # type: ignore[misc]
            }
            names = list(ways)
            for name in names[number % 3 :] + names[: number % 3]:
                seconds[name].append(ways[name]())
            last = {name: values[-1] for name, values in seconds.items()}
            print(f"round {number + 1}: " + ", ".join(f"{name} {value:.2f} s" for name, value in last.items()))
        with stopwatches() as watched:
            profiled_s = through_pipeline(work / "profiled", paths, model, direct=True)
    to_bare, to_batched = _ratios(seconds, "bare"), _ratios(seconds, "batched")
    result: dict[str, Any] = {
        "studies": options.studies,
        "studies_with_prior": studies_with_prior(options.studies),
        "batch_studies": size,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d"),
        "bare_s": [round(s, 3) for s in seconds["bare"]],
        "bare_batched_s": [round(s, 3) for s in seconds["batched"]],
        "pipeline_s": [round(s, 3) for s in seconds["pipeline"]],
        "ratio_median": round(statistics.median(to_bare), 3),
        "ratio_all": [round(r, 3) for r in to_bare],
        "ratio_to_batched": round(statistics.median(to_batched), 3),
        "ratio_to_batched_all": [round(r, 3) for r in to_batched],
        "profiled_run_s": round(profiled_s, 3),
        "profile_s": {thread: {words: round(s, 3) for words, s in spent.items()} for thread, spent in watched.items()},
    }
    write_result(result, options.studies, Path(__file__).with_suffix(".json"), options.output)


def bare_loop(paths: list[Path], model: LazyModel, batch: int = 1) -> float:
    """Seconds to decode, preprocess and infer every file, `batch` at a time; nothing else."""
    started = time.perf_counter()
    opened = model()
    for first in range(0, len(paths), batch):
        pixels = (presentation(path.read_bytes()) for path in paths[first : first + batch])
        opened.predict(np.stack([preprocess.model_input(one, opened.card.input)[0] for one in pixels]))
    return time.perf_counter() - started


def through_pipeline(store: Path, paths: list[Path], model: LazyModel, *, direct: bool = False) -> float:
    """Seconds from files to saved drafts, through the Prefect flow (or, to profile, straight through the same run)."""
    settings = load_settings(environ={}, overrides={"store": str(store), "backend": "onnx"})
    opened = open_pipeline(settings, paths)
    pipeline = Pipeline(**{name: getattr(opened, name) for name in Pipeline.__dataclass_fields__} | {"model": model})
    readings: list[Reading] = []
    started = time.perf_counter()
    run = Run(pipeline, stages.ingest(pipeline).studies)
    if direct:
        readings.extend(run)
    else:
        from flows.read import Job, drain

        ready: Future[Run] = Future()
        ready.set_result(run)
        run.start()
        drain(f"bench-{store.name}", Job(ready, readings.append))
    seconds = time.perf_counter() - started
    read = sum(reading.is_read and reading.report is not None for reading in readings)
    registered = sum(reading.prior is not None and reading.prior.registration is not None for reading in readings)
    if (read, registered) != (len(paths), studies_with_prior(len(paths))):
        raise SystemExit(
            f"the pipeline drafted {read} of {len(paths)} studies, "
            f"{registered} with a prior instead of {studies_with_prior(len(paths))}: nothing was measured"
        )
    return seconds


def _ratios(seconds: dict[str, list[float]], name: str) -> list[float]:
    return [whole / bare for whole, bare in zip(seconds["pipeline"], seconds[name], strict=True)]


if __name__ == "__main__":
    print(f"pydicom {pydicom.__version__}")
    main()
