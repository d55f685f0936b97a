"""Commands that read images: run, predict, compare, samples."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radpipe.cli import model_options, say
from radpipe.errors import InputError, UsageError
from radpipe.settings import Settings

if TYPE_CHECKING:
    from radpipe.pipeline import Pipeline, Run
    from radpipe.reading import Reading
    from radpipe.study import SetAside

Commands = Any  # argparse._SubParsersAction, which is private

WAIT_FOR_INGEST_S = 3.0
"""A small or known input is ingested within this: then Prefect is started only if there is something to read."""


def add_commands(commands: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """run, predict, compare, samples."""
    backend = model_options()
    run = commands.add_parser(
        "run",
        parents=[common, backend],
        formatter_class=formatter,
        help="read DICOM folders, files, DICOMDIRs and zips; print the worklist",
        description="Read DICOM through the Prefect flow: findings, priors, priority, drafts. Safe to run again.",
        epilog="examples:\n  radpipe run /mnt/cdrom/DICOMDIR studies.zip\n  radpipe run inbox --json > readings.jsonl\n\n"
        "Exit status 3: done, but some inputs were set aside; each is named on stderr with what to do about it.",
    )
    run.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    run.set_defaults(command=_run)

    predict = commands.add_parser(
        "predict",
        parents=[common, backend],
        formatter_class=formatter,
        help="a model's probabilities for single images; no store, no flow",
        description="One JSON line an image (DICOM, PNG, JPEG), for evaluation by others.",
        epilog="example:\n  radpipe predict chest.png film.dcm | jq .probabilities.pleural_effusion",
    )
    predict.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    predict.set_defaults(command=_predict)

    compare = commands.add_parser(
        "compare",
        parents=[common, backend],
        formatter_class=formatter,
        help="compare two images or studies, finding by finding",
        description="One JSON object: changes from PRIOR to CURRENT and how well the prior could be registered.",
        epilog="example:\n  radpipe compare today.dcm last-year.dcm",
    )
    compare.add_argument("current", type=Path, metavar="CURRENT")
    compare.add_argument("prior", type=Path, metavar="PRIOR")
    compare.set_defaults(command=_compare)

    samples = commands.add_parser(
        "samples",
        parents=[common],
        formatter_class=formatter,
        help="write a dozen synthetic chest studies to try radpipe with",
        description="Write synthetic DICOM studies (phantoms, no patients) with priors and expected findings.",
        epilog="example:\n  radpipe samples sample_dicoms && radpipe run sample_dicoms",
    )
    samples.add_argument("folder", type=Path, metavar="FOLDER")
    samples.set_defaults(command=_samples)


def _run(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli import memory
    from radpipe.cli.assemble import card_of, open_pipeline
    from radpipe.cli.show import Progress, run_summary, worklist_table

    for path in options.paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist")
    memory.keep_flat()
    pipeline = open_pipeline(settings, options.paths)
    assessed = {label.finding: label.assessed for label in card_of(settings).labels}
    readings: list[Reading] = []
    with Progress() as progress:
        listening = options.json

        def tell(reading: Reading) -> None:
            nonlocal listening
            readings.append(reading)
            progress.read(reading)
            if listening:
                try:
                    _print_line(_run_line(pipeline, reading, assessed))
                except BrokenPipeError:  # `radpipe run | head`: nobody listens any more, but the studies are still read
                    listening = False
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

        orphans, run = _read_all(settings, pipeline, progress, tell)
    aside = [*orphans, *(item for reading in readings for item in reading.study.set_aside)]
    for item in aside:
        sys.stderr.write(f"set aside: {item.file}: {item.reason}\n")
    if not options.json:
        worklist_table([_run_line(pipeline, reading, assessed) for reading in readings])
    sys.stderr.write(run_summary(readings, run, aside, settings))
    return 3 if aside else 0


def _read_all(settings: Settings, pipeline: Pipeline, progress: Any, tell: Any) -> tuple[tuple[SetAside, ...], Run]:
    """Ingest and model start-up beside Prefect's start-up, then the flow; no flow where nothing is new.

    What earlier runs entered but did not come to read (killed, switched off) is read as well.
    """
    from flows import engine

    orphans: list[SetAside] = []
    known: list[Reading] = []

    def make_ready() -> Run:
        from radpipe.pipeline import Run, ingest

        ingested = ingest(pipeline, progress.file)
        orphans.extend(ingested.set_aside)
        here = {study.study_key for study in ingested.studies}
        left = [study for study, _ in pipeline.store.unread_studies() if study.study_key not in here]
        run = Run(pipeline, [*left, *ingested.studies])
        known.extend(run.known())
        if run.start():
            progress.found(len(ingested.studies) + len(left))
        return run

    with ThreadPoolExecutor(2, thread_name_prefix="radpipe-ingest") as background:
        ready: Future[Run] = background.submit(make_ready)
        model = background.submit(pipeline.model)
        engine.prepare(settings.store)
        model.result()  # a model that does not load is said before Prefect starts
        nothing_new = False
        with contextlib.suppress(NotYet):
            nothing_new = not ready.result(timeout=WAIT_FOR_INGEST_S).start()
        if not nothing_new:
            progress.starting()
            from flows.read import Job, drain

            told_known = False

            def on_reading(reading: Reading) -> None:
                nonlocal told_known
                if not told_known:
                    told_known = True
                    for earlier in known:
                        tell(earlier)
                tell(reading)

            drain(f"run-{pipeline.clock():%Y%m%dT%H%M%S}", Job(ready, on_reading))
            if told_known:
                known.clear()
        for reading in known:
            tell(reading)
        return tuple(orphans), ready.result()


def _run_line(pipeline: Pipeline, reading: Reading, assessed: dict[str, bool]) -> dict[str, Any]:
    from radpipe.record import run_record
    from radpipe.report import Status

    if reading.report is None:
        return run_record(reading, assessed)
    report = pipeline.store.report(reading.report.report_key)
    return run_record(reading, assessed, report_key=report.report_key, status=Status(report.status))


def _predict(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe import sanity
    from radpipe.cli.assemble import LazyModel, card_of
    from radpipe.cli.pictures import load_picture
    from radpipe.preprocess import model_input

    model = LazyModel(settings, card_of(settings))()
    card = model.card
    aside = 0
    for path in options.images:
        try:
            picture = load_picture(path)
            tensor, _ = model_input(picture.pixels, card.input)
        except InputError as error:
            aside += 1
            sys.stderr.write(f"set aside: {path}: {error}\n")
            continue
        answer = model.predict(tensor[None])
        why = sanity.why_not(answer, 0, card)
        if why is None and picture.study is not None:
            why = sanity.too_young(picture.study, card.input)
        measured = answer.chests[0].measurement if answer.chests else None
        told = card.view_labels[int(answer.views[0].argmax())] if card.view_labels else None
        probabilities = zip(card.labels, answer.probabilities[0], strict=True)
        _print_line(
            {
                "file": str(path),
                "model": f"{card.name} {card.version}",
                "model_sha256": card.sha256,
                "backend": model.backend,
                "provider": model.provider,
                "view": picture.view.value if picture.view else told,
                "view_basis": "tags" if picture.view else "image",
                "in_distribution": why is None,
                "why_not": why,
                "orientation": sanity.orientation(answer, 0, card),
                "cardiothoracic_ratio": measured.value if measured else None,
                "quality": list(sanity.notes(answer, 0)),
                "probabilities": {label.finding: round(float(p), 6) for label, p in probabilities},
            }
        )
    return 3 if aside else 0


def _compare(options: argparse.Namespace, settings: Settings) -> int:
    import numpy as np

    from radpipe import compare, detect, sanity
    from radpipe.cli.assemble import LazyModel, card_of
    from radpipe.cli.pictures import load_best_picture
    from radpipe.preprocess import model_input
    from radpipe.record import change_record, registration_record
    from radpipe.register import register

    card = card_of(settings)
    pair = [load_best_picture(path, card.input) for path in (options.current, options.prior)]
    tensors, placements = zip(*(model_input(picture.pixels, card.input) for picture in pair), strict=True)
    model = LazyModel(settings, card)()
    answer = model.predict(np.stack(tensors))
    current, prior = (
        detect.findings(answer, number, card, picture.sop_instance_uid, placements[number])
        for number, picture in enumerate(pair)
    )
    registration = register(pair[0].pixels, pair[1].pixels)
    changes = compare.changes(current, prior, card, registration, pair[0].sop_instance_uid, pair[1].sop_instance_uid)
    strange = [str(picture.path) for number, picture in enumerate(pair) if sanity.why_not(answer, number, model.card)]
    _print_line(
        {
            "current": {"file": str(pair[0].path), "sop_instance_uid": pair[0].sop_instance_uid},
            "prior": {"file": str(pair[1].path), "sop_instance_uid": pair[1].sop_instance_uid},
            "changes": [change_record(change) for change in changes],
            "chances": {
                finding: {"new": round(new, 6), "resolved": round(resolved, 6)}
                for finding, (new, resolved) in compare.chances(current, prior).items()
            },
            "registration": registration_record(registration),
            "out_of_distribution": strange,
            "model": {
                "name": card.name,
                "version": card.version,
                "sha256": card.sha256,
                "backend": model.backend,
                "provider": model.provider,
            },
        }
    )
    return 0


def _samples(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.samples import write_samples

    written = write_samples(options.folder)
    words = f"{len(written)} files in {options.folder}: synthetic studies, no patients"
    say(options, {"folder": str(options.folder), "files": [str(path) for path in written]}, words)
    return 0


def _print_line(record: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    sys.stdout.flush()
