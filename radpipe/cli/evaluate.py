"""Commands: evaluate images, evaluate structure."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radpipe.cli.evaluate_images import add_images, figure
from radpipe.errors import UsageError
from radpipe.settings import Settings

if TYPE_CHECKING:
    from radpipe.evaluate.structure import Evaluation as StructureEvaluation

Commands = Any  # argparse._SubParsersAction, which is private


def add_commands(commands: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """evaluate images, evaluate structure."""
    evaluate = commands.add_parser(
        "evaluate",
        parents=[common],
        formatter_class=formatter,
        help="how well the model does on labelled images, and the rules on annotated reports",
        description="Accuracy with confidence intervals, on images and reports whose truth somebody has written down.",
        epilog="examples:\n  radpipe evaluate images manifest.csv --page errors.html\n"
        "  radpipe evaluate structure gold.jsonl",
    )
    inner = evaluate.add_subparsers(title="evaluate commands", metavar="COMMAND", required=True)
    add_images(inner, common, formatter)

    structure = inner.add_parser(
        "structure",
        parents=[common],
        formatter_class=formatter,
        help="F1 of structured reports against annotated ones",
        description="F1, precision and recall of findings, status and attributes; intervals by a bootstrap over reports.",
        epilog="examples:\n  radpipe evaluate structure gold.jsonl --texts torchxrayvision-1.5.7-py3-none-any.whl\n"
        "  radpipe evaluate structure gold.jsonl --texts reports.jsonl --errors\n\n"
        'A line of GOLD: {"uid", "observations": [{"finding", "status", "laterality", "severity", "change"}],\n'
        '"disputed": [finding]}. What annotators disputed is not scored. Annotated reports without a text are named and\n'
        "left out (exit status 3).",
    )
    structure.add_argument("gold", type=Path, metavar="GOLD.jsonl")
    structure.add_argument(
        "--texts",
        type=Path,
        metavar="PATH",
        help="a folder of Open-I XML or of .txt files, NLMCXR_reports.tgz, the wheel of torchxrayvision, or JSON Lines with "
        "id and text (default: the installed torchxrayvision)",
    )
    structure.add_argument("--lexicon", default="auto", metavar="NAME", help="default auto, by the words of each text")
    structure.add_argument("--errors", action="store_true", help="also every difference, with the quotes")
    structure.add_argument(
        "--output", type=Path, metavar="FILE", help="also write the structured reports there, a line each"
    )
    structure.set_defaults(command=_structure)


def _structure(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.structure import must_be_lexicon
    from radpipe.evaluate.images import plain
    from radpipe.evaluate.openi import read_texts
    from radpipe.evaluate.structure import entries_of, evaluate_structure, read_gold
    from radpipe.structure import choose_lexicon, open_lexicon, structure_report

    must_be_lexicon(options.lexicon)
    gold = read_gold(options.gold)
    texts = read_texts(options.texts)
    known = [report for report in gold if report.uid in texts.texts]
    missing = [report.uid for report in gold if report.uid not in texts.texts]
    if not known:
        raise UsageError(f"{texts.source} has the text of none of the {len(gold)} annotated reports; give other --texts")
    for name, reason in texts.set_aside:
        sys.stderr.write(f"set aside: {name}: {reason}\n")
    for uid in missing:
        sys.stderr.write(f"set aside: {uid}: {texts.source} has no text for it; it counts in no figure\n")
    reports = []
    for report in known:
        text = texts.texts[report.uid]
        name = choose_lexicon(text) if options.lexicon == "auto" else options.lexicon
        reports.append(structure_report(report.uid, text, open_lexicon(name)))
    if options.output:
        from radpipe.sinks.structured_json import to_record

        lines = (json.dumps(to_record(report, explain=True, text=False)) + "\n" for report in reports)
        options.output.write_text("".join(lines), encoding="utf-8")
    result = evaluate_structure(known, {report.report_id: entries_of(report) for report in reports})
    record: dict[str, Any] = {
        **result.to_json(),
        "without_text": missing,
        "texts": {"source": texts.source, "sha256": texts.sha256(report.uid for report in known)},
        "lexicons": sorted({report.lexicon for report in reports}),
    }
    if options.json:
        if options.errors:
            record["differences"] = [asdict(difference) for difference in result.differences]
        sys.stdout.write(json.dumps(plain(record), ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_structure_words(result, record) + (_difference_lines(result) if options.errors else ""))
    return 3 if missing or texts.set_aside else 0


def _structure_words(result: StructureEvaluation, record: dict[str, Any]) -> str:
    source, digest = record["texts"]["source"], record["texts"]["sha256"][:12]
    lines = [f"{result.reports} reports; texts of {source} (sha256 {digest}); {', '.join(record['lexicons'])}"]
    for mark in result.marks:
        low, high = mark.f1_ci
        interval = "-" if math.isnan(low) else f"{low:.3f}-{high:.3f}"
        lines.append(
            f"{mark.name:11s} F1 {figure(mark.f1)} ({interval})  "
            f"precision {figure(mark.precision)} recall {figure(mark.recall)}  n={mark.n}"
        )
    lines += ["", f"{'finding':<22}{'n':>5} {'F1':>6} {'missed':>7} {'too many':>9} {'status':>7} {'attribute':>10}"]
    for row in result.findings:
        counts = f"{row.missed:>7} {row.too_many:>9} {row.other_status:>7} {row.other_attribute:>10}"
        lines.append(f"{row.finding:<22}{row.n:>5} {figure(row.f1):>6} {counts}")
    return "\n".join(lines) + "\n"


def _difference_lines(result: StructureEvaluation) -> str:
    lines = ["", "differences: status, laterality, severity, change"]
    for difference in result.differences:
        sides = [
            ", ".join(value or "-" for value in entry.says()) if entry else "nothing"
            for entry in (difference.annotated, difference.structured)
        ]
        both = (difference.annotated, difference.structured)
        quotes = [" ".join(entry.quote.split()) for entry in both if entry and entry.quote]
        lines.append(f"{difference.uid} {difference.finding}: gold {sides[0]}; got {sides[1]} | {' | '.join(quotes)}")
    return "\n".join(lines) + "\n"
