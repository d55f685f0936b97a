"""Command: evaluate images."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from radpipe.cli import model_options
from radpipe.settings import Settings

Commands = Any  # argparse._SubParsersAction, which is private


def add_commands(commands: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """evaluate images."""
    evaluate = commands.add_parser(
        "evaluate",
        parents=[common],
        formatter_class=formatter,
        help="how well the model does on labelled images",
        description="Accuracy with confidence intervals, on images whose truth somebody has written down.",
        epilog="example:\n  radpipe evaluate images manifest.csv\n\nThe manifest has a column `file` and one a finding (0, "
        "1 or nothing); a column\n`patient` groups images for the confidence intervals.",
    )
    inner = evaluate.add_subparsers(title="evaluate commands", metavar="COMMAND", required=True)
    images = inner.add_parser(
        "images",
        parents=[common, model_options()],
        formatter_class=formatter,
        help="AUC, calibration and operating points",
        description="AUC with intervals by patient, calibration, sensitivity and specificity at the card's thresholds.",
        epilog="example:\n  radpipe evaluate images manifest.csv --json > accuracy.json",
    )
    images.add_argument("manifest", type=Path, metavar="MANIFEST.csv")
    images.set_defaults(command=_images)


def _images(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.assemble import LazyModel, card_of
    from radpipe.cli.pictures import load_picture
    from radpipe.evaluate.images import evaluate_images, read_manifest

    manifest = read_manifest(options.manifest)
    model = LazyModel(settings, card_of(settings))()
    result = evaluate_images(model, manifest, lambda path: load_picture(path).pixels)
    for file, reason in result.set_aside:
        sys.stderr.write(f"set aside: {file}: {reason}\n")
    if options.json:
        sys.stdout.write(json.dumps(_plain(result.to_json()), ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(
            f"{result.model} on {result.backend}, {result.provider}\n"
            f"{result.images} images of {result.patients} patients; {result.out_of_distribution} out of distribution; "
            f"mean AUC {result.mean_auc:.3f}\n"
        )
        for found in result.findings:
            low, high = found.auc_ci
            counts = f"n {found.n:>5}, {found.positives:>4} positive"
            sys.stdout.write(f"{found.finding:<20} {counts}   AUC {found.auc:.3f} ({low:.3f}-{high:.3f})\n")
    return 3 if result.set_aside else 0


def _plain(value: Any) -> Any:
    """NaN, which JSON does not know, as null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
