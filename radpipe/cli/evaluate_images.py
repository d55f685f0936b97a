"""Command: evaluate images. Also how it and `calibrate` read a manifest's images with the model as it came."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radpipe.cli import model_options
from radpipe.errors import UsageError
from radpipe.settings import Settings

if TYPE_CHECKING:
    from radpipe.calibration import Rate, SiteCalibration
    from radpipe.card import ModelCard
    from radpipe.evaluate.figures import FindingEvaluation
    from radpipe.evaluate.images import Evaluation, Read
    from radpipe.ports import ImageModel

Commands = Any  # argparse._SubParsersAction, which is private

MANIFEST_WORDS = (
    "MANIFEST.csv has a column `file` (DICOM, PNG, JPEG; or a folder or zip of one study) and one a finding with 1,\n"
    "0 or nothing; `patient` groups images for intervals; sex, age, view and source make subgroups. ChestX-ray14's\n"
    "names of findings are understood."
)


MOST_LINES = 20
"""Of images out of distribution, in words."""


def add_images(inner: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """evaluate images."""
    images = inner.add_parser(
        "images",
        parents=[common, model_options()],
        formatter_class=formatter,
        help="AUC, calibration, operating points, decisions and subgroups; a page of the worst errors",
        description="How well the model reads images whose truth somebody has written down, with 95 % intervals by patient.",
        epilog="examples:\n  radpipe evaluate images manifest.csv --page errors.html\n"
        "  radpipe evaluate images manifest.csv --by scanner --json > accuracy.json\n\n"
        f"{MANIFEST_WORDS}\n\nThe page holds patient images: it must not leave the site.",
    )
    images.add_argument("manifest", type=Path, metavar="MANIFEST.csv")
    images.add_argument("--by", action="append", default=[], metavar="COLUMN", help="subgroups by this column too")
    add_reading_options(images)
    images.add_argument("--calibration", type=Path, metavar="FILE", help="as calibrated by this file of `radpipe calibrate`")
    images.add_argument(
        "--bounds",
        nargs=2,
        type=float,
        metavar=("MISS", "ALARM"),
        help="promised shares of missed findings and of false alarms, to check (default: the card's)",
    )
    images.add_argument(
        "--page",
        "--output",
        dest="page",
        type=Path,
        metavar="FILE.html",
        help="write the page there; into a folder: images.html",
    )
    images.add_argument(
        "--errors", type=int, default=6, metavar="N", help="worst images shown a finding and kind (default 6)"
    )
    images.set_defaults(command=_images)


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """What `evaluate images` and `calibrate` share."""
    parser.add_argument(
        "--believe-readers", action="store_true", help="images with reader_normal = 1 are normal, whatever else stands there"
    )


def model_as_it_came(settings: Settings) -> tuple[ImageModel, Read]:
    """The model without a site's calibration, and how to read a file or a study for it."""
    from radpipe.card import read_card
    from radpipe.cli.assemble import LazyModel, weights_folder

    card = read_card(weights_folder(settings) / settings.model / "card.toml")
    return LazyModel(settings, card)(), reader_for(card)


def reader_for(card: ModelCard) -> Read:
    """One file; of a folder or zip the image that `radpipe run` would read."""
    from radpipe.cli.pictures import load_best_picture, load_picture

    def read(path: Path) -> Any:
        if path.is_dir() or path.suffix.lower() == ".zip":
            return load_best_picture(path, card.input).pixels
        return load_picture(path).pixels

    return read


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr; nothing where stderr is not a terminal. Gives what to call with how many more are done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as bars:
        task = bars.add_task(what, total=total)
        yield lambda count: bars.advance(task, count)


def site_calibration(options: argparse.Namespace, settings: Settings) -> SiteCalibration | None:
    """The one of `--calibration`, else of the settings, else none. Raises WeightsError."""
    from radpipe.calibration import read_calibration
    from radpipe.cli.assemble import calibration_of

    return read_calibration(options.calibration) if options.calibration else calibration_of(settings)


def _images(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.calibration import CalibratedModel
    from radpipe.evaluate.images import evaluate, plain, read_answers, read_manifest

    if options.errors < 0:
        raise UsageError(f"--errors is a number of images from 0, not {options.errors}")
    calibration = site_calibration(options, settings)
    model, read = model_as_it_came(settings)
    own = [label.finding for label in model.card.labels]
    manifest = read_manifest(options.manifest, by=options.by, findings=own, believe_readers=options.believe_readers)
    bounds = _bounds(options, own)
    if calibration is not None:
        model = CalibratedModel(model, calibration)
    with counting("reading images", len(manifest)) as progress:
        answers = read_answers(model, manifest, read, progress=progress)
    for file, reason in answers.set_aside:
        sys.stderr.write(f"set aside: {file}: {reason}\n")
    result = evaluate(answers, manifest, bounds=bounds)
    if options.page:
        from radpipe.evaluate.images_page import render

        page = options.page / "images.html" if options.page.is_dir() else options.page
        with counting("drawing the page", len(result.findings)) as progress:
            page.write_bytes(render(result, answers, manifest, model, read, errors=options.errors, progress=progress))
        sys.stderr.write(f"{page}: holds patient images, must not leave the site\n")
    if options.json:
        sys.stdout.write(json.dumps(plain(result.to_json()), ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(words(result))
    return 3 if result.set_aside else 0


def _bounds(options: argparse.Namespace, findings: list[str]) -> dict[str, tuple[float, float]] | None:
    if not options.bounds:
        return None
    if not all(0 < bound < 1 for bound in options.bounds):
        raise UsageError("--bounds takes two shares between 0 and 1, such as 0.2 0.05")
    return dict.fromkeys(findings, (options.bounds[0], options.bounds[1]))


def words(result: Evaluation) -> str:
    """The figures as text."""
    low, high = result.mean_auc_ci
    far = f"; {result.out_of_distribution} unlike what the model knows" if result.out_of_distribution else ""
    lines = [
        f"{result.model} on {result.backend}, {result.provider}",
        f"{result.images} images of {result.patients} patients{far}; mean AUC {figure(result.mean_auc)} "
        f"({figure(low)}-{figure(high)})",
        "",
        f"{'finding':<20}{'n':>6}{'with':>6}  {'AUC (95 %)':<20}{'AP (chance)':<14}{'ECE (floor)':<14}"
        f"{'sens':>5}{'spec':>6}{'at 0.90':>9}{'unsure':>8}{'missed':>8}{'alarms':>8}",
        *(_finding_line(found) for found in result.findings),
        "",
        "sens, spec: at the card's threshold; at 0.90: sensitivity at specificity 0.90, chosen on these images;",
        "missed: called absent, of those with it; alarms: called present, of those without; * a promised bound is broken.",
    ]
    if result.subgroups:
        lines += [
            "",
            f"{'subgroup':<40}{'n':>6}  {'mean AUC (95 %), of findings':<34}{'abnormal':<20}{'missed':>8}{'alarms':>8}",
        ]
        for group in result.subgroups:
            mean = f"{figure(group.mean_auc)} {_range(group.mean_auc_ci)}, {group.findings}"
            overall = f"{figure(group.abnormal_auc)} {_range(group.abnormal_auc_ci)}"
            lines.append(
                f"{f'{group.column}: {group.value}':<40}{group.n:>6}  {mean:<34}{overall:<20}{_percent(group.miss):>8}"
                f"{_percent(group.false_alarm):>8}"
            )
    if result.unlike:
        lines += ["", *(f"would not be read: {file}: {why}" for file, why in result.unlike[:MOST_LINES])]
        if len(result.unlike) > MOST_LINES:
            lines.append(f"and {len(result.unlike) - MOST_LINES} more; --json names all")
    if result.not_compared:
        lines += ["", f"not read by this model: {', '.join(result.not_compared)}"]
    return "\n".join([*lines, "", *result.notes]) + "\n"


def _finding_line(found: FindingEvaluation) -> str:
    point = found.at_threshold
    at_90 = next((one.sensitivity for one in found.at_specificity if one.specificity == 0.9), float("nan"))
    precision = f"{figure(found.average_precision)} ({found.prevalence:.2f})"
    error = f"{figure(found.calibration_error)} ({figure(found.calibration_error_floor)})"
    return (
        f"{found.finding:<20}{found.n:>6}{found.positives:>6}  {figure(found.auc)} {_range(found.auc_ci):<14}"
        f"{precision:<14}{error:<14}{_two(point.sensitivity):>5}{_two(point.specificity):>6}{_two(at_90):>9}"
        f"{_percent(found.unsure):>8}{_against(found.miss, found.miss_bound):>8}"
        f"{_against(found.false_alarm, found.false_alarm_bound):>8}"
    )


def _against(found: Rate, bound: float | None) -> str:
    return _percent(found.value) + ("*" if bound is not None and not found.holds(bound) else "")


def _range(interval: tuple[float, float]) -> str:
    return "" if interval[0] != interval[0] else f"({figure(interval[0])}-{figure(interval[1])})"


def figure(value: float) -> str:
    """Three decimals, or "-" where there was nothing to count (null in the JSON)."""
    return "-" if value != value else f"{value:.3f}"


def _two(value: float) -> str:
    return "-" if value != value else f"{value:.2f}"


def _percent(value: float) -> str:
    return "-" if value != value else f"{value:.0%}"
