"""Command: calibrate."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radpipe.cli import model_options
from radpipe.cli.evaluate_images import MANIFEST_WORDS, add_reading_options, counting, model_as_it_came
from radpipe.errors import UsageError
from radpipe.settings import Settings

if TYPE_CHECKING:
    from radpipe.calibration import LabelCalibration, SiteCalibration

Commands = Any  # argparse._SubParsersAction, which is private


def add_commands(commands: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """calibrate."""
    calibrate = commands.add_parser(
        "calibrate",
        parents=[common, model_options()],
        formatter_class=formatter,
        help="fit a model's probabilities and thresholds to this site, from labelled studies",
        description="Refits probabilities and sets present / unsure / absent thresholds with bounded error rates, for each "
        "finding that enough of this site's patients have and have not.",
        epilog="examples:\n  radpipe calibrate labelled.csv --output calibration.toml\n"
        "  RADPIPE_CALIBRATION=calibration.toml radpipe run inbox\n\n"
        f"{MANIFEST_WORDS}\n\n"
        "Take studies as they come (consecutive, not picked): the probabilities are fitted to how common findings are\n"
        "among them. See docs/calibration.md.",
    )
    calibrate.add_argument("manifest", type=Path, metavar="MANIFEST.csv")
    calibrate.add_argument(
        "--output", type=Path, default=Path("calibration.toml"), metavar="FILE", help="default calibration.toml"
    )
    calibrate.add_argument(
        "--miss-bound", type=float, default=0.2, metavar="SHARE",
        help="at most this share of those who have a finding is called absent (default 0.2)",
    )  # fmt: skip
    calibrate.add_argument(
        "--false-alarm-bound", type=float, default=0.05, metavar="SHARE",
        help="at most this share of those who have it not is called present (default 0.05)",
    )  # fmt: skip
    calibrate.add_argument(
        "--least", type=int, default=200, metavar="N", help="refuse fewer labelled studies than this (default 200)"
    )
    add_reading_options(calibrate)
    calibrate.set_defaults(command=_calibrate)


def _calibrate(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.calibration import write_calibration
    from radpipe.evaluate.images import plain, read_answers, read_manifest
    from radpipe.evaluate.site import calibrate_site, must_be_shares

    must_be_shares(options.miss_bound, options.false_alarm_bound)
    if options.least < 1:
        raise UsageError(f"--least is a number of studies from 1, not {options.least}")
    if options.output.is_dir() or not options.output.parent.is_dir():
        raise UsageError(f"--output {options.output} is no file in a folder that is there")
    model, read = model_as_it_came(settings)
    manifest = read_manifest(
        options.manifest,
        findings=[label.finding for label in model.card.labels],
        believe_readers=options.believe_readers,
    )
    if len(manifest) < options.least:
        raise UsageError(
            f"{options.manifest.name} names {len(manifest)} studies, and {options.least} are needed: thresholds set on "
            f"fewer may be far off. Label more; or take --least {len(manifest)}, and the calibration is marked as weak"
        )
    with counting("reading images", len(manifest)) as progress:
        answers = read_answers(model, manifest, read, progress=progress)
    for file, reason in answers.set_aside:
        sys.stderr.write(f"set aside: {file}: {reason}\n")
    made = calibrate_site(
        answers,
        manifest,
        made_on=date.today(),
        miss_bound=options.miss_bound,
        false_alarm_bound=options.false_alarm_bound,
        least=options.least,
    )
    write_calibration(made, options.output)
    if options.json:
        sys.stdout.write(json.dumps(plain(_record(made, options.output)), ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(words(made, options.output, manifest.has_patients))
    return 3 if answers.set_aside else 0


def _record(made: SiteCalibration, output: Path) -> dict[str, Any]:
    from dataclasses import asdict

    return {"file": str(output), "sha256": made.sha256, **asdict(made)}


def words(made: SiteCalibration, output: Path, has_patients: bool) -> str:
    """What was fitted, before and after, and how to turn it on."""
    from radpipe.evaluate.site import LEAST_PATIENTS

    done = [label for label in made.labels if label.decided]
    kept = [label for label in made.labels if not label.decided]
    lines = [
        f"{made.model_name} {made.model_version} ({made.model_sha256[:12]}), {made.images} labelled images of "
        f"{made.patients} patients: {len(done)} of {len(made.labels)} findings calibrated"
    ]
    if made.weak:
        lines.append(f"WEAK: {made.weak}. The file says so, and so will the model's card.")
    if not has_patients:
        lines.append(
            "The manifest has no column `patient`: each image counts as a patient. Where that is wrong, bounds are too."
        )
    if done:
        lines += [
            "",
            f"{'finding':<20}{'with':>6}{'n':>7}  {'AUC (95 %)':<20}{'ECE':<16}{'absent below':>13}{'present from':>13}"
            f"{'missed':>16}{'alarms':>8}{'unsure':>8}",
            *(_line(label) for label in done),
            "",
            "ECE: the model's own -> refitted; missed, alarms, unsure: what happened to patients held out (5-fold).",
            f"At most {done[0].miss_bound:.0%} of those with a finding are called absent, and at most "
            f"{done[0].false_alarm_bound:.0%} of those without it present: on average over",
            "sites. In brackets: where this site's true share of missed ones lies, 95 % sure.",
        ]
        lines += [f"{label.finding}: {label.why}" for label in done if label.why]
    if kept:
        counts = ", ".join(f"{label.finding} ({label.patients_with}, {label.patients_without})" for label in kept)
        lines += ["", f"Kept as the model's card has them, for want of {LEAST_PATIENTS} patients with and without: {counts}"]
    lines += [
        "",
        f'Written to {output}. To use it: calibration = "{output}" in the settings, or RADPIPE_CALIBRATION={output}',
    ]
    return "\n".join(lines) + "\n"


def _line(label: LabelCalibration) -> str:
    from radpipe.calibration import NEVER_ABSENT, NEVER_PRESENT, spread

    low, high = label.auc_ci
    never = {True: "never", False: ""}
    rule_out = never[label.rule_out <= NEVER_ABSENT] or f"{label.rule_out:.4f}"
    threshold = never[label.threshold >= NEVER_PRESENT] or f"{label.threshold:.4f}"
    least, most = spread(label.miss_bound, label.patients_with)
    missed = f"{label.miss:.0%} ({least:.0%}-{most:.0%})"
    return (
        f"{label.finding:<20}{label.patients_with:>6}{label.n:>7}  {label.auc:.3f} ({low:.3f}-{high:.3f})  "
        f"{label.ece_before:.3f} -> {label.ece_after:.3f}  {rule_out:>13}{threshold:>13}{missed:>16}"
        f"{label.false_alarm:>8.0%}{label.unsure:>8.0%}"
    )
