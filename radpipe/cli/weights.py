"""Commands about models: weights list, verify, parity, import."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radpipe.cli import DONE, FAILED, say
from radpipe.errors import BackendUnavailable, InputError, UsageError
from radpipe.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from radpipe.card import InputSpec, ModelCard
    from radpipe.guests import Imported
    from radpipe.models import OtherCard

Commands = Any  # argparse._SubParsersAction, which is private

IMPORT_WORDS = """\
Makes DIR/NAME/ with card.toml, model.safetensors, model.onnx where the network can be exported, and record/ with
the parity of the two. Nothing runs code of a file: a pickle that wants more than tensors is refused, with what it wanted.

  xrv        torchxrayvision's DenseNet and ResNet checkpoints, also whole pickled modules (read inertly)
  open_clip  a folder with open_clip_config.json, or hf-hub:ORG/NAME; reads by sentences (--prompts)
  onnx       any ONNX graph, with --card FILE.toml that says what its input and outputs are
  bundle     a MONAI bundle, folder or zip"""


def add_commands(commands: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """weights list, verify, parity, import."""
    weights = commands.add_parser(
        "weights",
        parents=[common],
        formatter_class=formatter,
        help="list, verify, compare and import models",
        description="Models with their cards.",
        epilog="examples:\n  radpipe weights list\n  radpipe weights verify\n  radpipe weights import model.pt --name guest",
    )
    inner = weights.add_subparsers(title="weights commands", metavar="COMMAND", required=True)
    parsers = {}
    for name, words, example, command in (
        ("list", "models, how strong, what they read", "list --json | jq .states", _list),
        ("verify", "compare every file with its card's sha256", "verify --weights /srv/models", _verify),
        ("parity", "compare torch and ONNX on the same images (needs both)", "parity --images validation.csv", _parity),
    ):
        parser = parsers[name] = inner.add_parser(
            name,
            parents=[common],
            formatter_class=formatter,
            help=words,
            description=words + ".",
            epilog=f"example:\n  radpipe weights {example}",
        )
        parser.add_argument("--weights", metavar="DIR", help="folder of models (default: those that ship)")
        parser.set_defaults(command=command)
    parsers["list"].add_argument("--all", action="store_true", help="each model's whole card in words")
    parsers["parity"].add_argument("--model", metavar="NAME", help="only this one")
    parsers["parity"].add_argument(
        "--images", type=Path, metavar="DIR|MANIFEST.csv", help="images to compare on (default: synthetic chests and noise)"
    )
    _add_import(inner, common, formatter)


def _add_import(inner: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    parser = inner.add_parser(
        "import",
        parents=[common],
        formatter_class=formatter,
        help="make a public checkpoint a model of this site",
        description=IMPORT_WORDS,
        epilog="examples:\n"
        "  radpipe weights import nih-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt --name xrv --weights models\n"
        "  radpipe weights import BiomedCLIP/ --as open_clip --name biomedclip --weights models\n"
        "  radpipe weights import ours.onnx --card ours.toml --name ours --weights models\n"
        "  radpipe weights import spleen_ct_segmentation.zip --name spleen --weights models\n\nSee docs/guests.md.",
    )
    from radpipe.guests import KINDS

    parser.add_argument("source", metavar="SOURCE", help="a file, a folder or hf-hub:ORG/NAME")
    parser.add_argument(
        "--as", dest="kind", choices=KINDS, default="auto", help="what it is (default: told from the source)"
    )
    parser.add_argument("--name", required=True, metavar="NAME", help="how it is to be called: a folder under --weights")
    parser.add_argument(
        "--weights", metavar="DIR", help="folder of models (default: $RADPIPE_WEIGHTS, else those that ship)"
    )
    parser.add_argument("--replace", action="store_true", help="write over an earlier import of this name")
    parser.add_argument("--card", type=Path, metavar="FILE.toml", help="entries of the card that you know; needed for onnx")
    parser.add_argument("--labels", metavar="A,B,,D", help="xrv: names of all outputs in order; empty for an unused one")
    parser.add_argument("--published-as", default="", metavar="NAME", help="xrv: as the library calls it, if renamed")
    parser.add_argument(
        "--size", type=int, default=0, metavar="PIXELS", help="xrv: side of the input (default: as published)"
    )
    parser.add_argument("--prompts", type=Path, metavar="FILE.toml", help="open_clip: your own sentences a finding")
    parser.add_argument(
        "--finding",
        action="append",
        default=[],
        metavar="[CHANNEL=]FINDING",
        help="bundle: what a channel draws; repeatable",
    )
    parser.add_argument("--body-part", default="", metavar="CHEST", help="bundle: BodyPartExamined of what it reads")
    parser.add_argument("--no-onnx", action="store_true", help="do not export to ONNX")
    parser.add_argument("--licence", default="", metavar="WORDS", help="how the weights are licensed")
    parser.set_defaults(command=_import)


def _import(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.card import read_table
    from radpipe.cli.assemble import weights_folder
    from radpipe.guests import Asked, import_guest

    card = {}
    if options.card is not None:
        if not options.card.is_file():
            raise UsageError(f"--card {options.card} is no file")
        card = read_table(options.card)
    findings = tuple((channel, finding) if sign else ("", channel) for channel, sign, finding in (
        text.partition("=") for text in options.finding
    ))  # fmt: skip
    asked = Asked(
        labels=tuple(part.strip() for part in options.labels.split(",")) if options.labels else (),
        variant=options.published_as,
        size=options.size,
        licence=options.licence,
        onnx=not options.no_onnx,
        prompts=options.prompts,
        card=card,
        findings=findings,
        body_part=options.body_part,
    )
    made = import_guest(options.source, weights_folder(settings), options.name, options.kind, asked, replace=options.replace)
    if options.json:
        record = dataclasses.asdict(made) | {"directory": str(made.directory)}
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_import_words(made, options.weights))
    return DONE


def _import_words(made: Imported, weights: str | None) -> str:
    """What was made, what is still open, how to use it."""
    files = ", ".join(path.name for path in sorted(made.directory.iterdir()) if path.is_file())
    lines = [f"{made.name}: {made.role}, in {made.directory} ({files})"]
    if made.report is not None:
        lines.append(f"  parity    {made.report.words}")
    lines += [f"  note      {note}" for note in made.notes]
    if made.to_fill:
        lines.append(f"  fill in   {', '.join(made.to_fill)} in {made.directory / 'card.toml'}: only you know them")
    if made.unset:
        lines.append(
            f"  not set   thresholds of {', '.join(made.unset)}: not assessed until `radpipe calibrate MANIFEST.csv "
            f"--model {made.name}` has set them"
        )
    where = f" --weights {weights}" if weights else ""
    command = "volume" if made.role == "segmenter" else "run"
    lines.append(f"  use it    radpipe {command} PATH --model {made.name}{where}")
    return "\n".join(lines) + "\n"


def _list(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.assemble import weights_folder
    from radpipe.cli.card_words import card_record, card_words, other_record, other_words
    from radpipe.models import list_cards, other_cards

    folder = weights_folder(settings)
    for card in list_cards(folder):
        say(options, card_record(card), card_words(card, whole=options.all))
    for other in other_cards(folder):
        say(options, other_record(other), other_words(other))
    return DONE


def _verify(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.assemble import weights_folder
    from radpipe.models import list_cards, other_cards, verify

    status, folder = DONE, weights_folder(settings)
    cards: list[ModelCard | OtherCard] = [*list_cards(folder), *other_cards(folder)]
    for card in cards:
        problems = verify(card)
        status = FAILED if problems else status
        record = {"name": card.name, "version": card.version, "ok": not problems, "problems": problems}
        say(options, record, f"{card.name} {card.version}: {'; '.join(problems) or 'every file as its card says'}")
    return status


def _parity(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.assemble import weights_folder
    from radpipe.models import list_cards, parity

    status = DONE
    cards = [card for card in list_cards(weights_folder(settings)) if options.model in (None, card.name)]
    if not cards:
        raise UsageError(f"there is no model {options.model!r} in {weights_folder(settings)}")
    for card in cards:
        batch = _images(card.input, options.images)
        try:
            result = parity(card, batch)
        except BackendUnavailable as error:
            if options.model is not None or len(cards) == 1:
                raise
            say(options, {"name": card.name, "version": card.version, "ok": None, "why_not": str(error)},
                f"{card.name} {card.version}: not compared: {error}")  # fmt: skip
            continue
        status = status if result.holds else FAILED
        record = {"name": card.name, "version": card.version, "ok": result.holds, **dataclasses.asdict(result)}
        words = "holds" if result.holds else "DOES NOT HOLD"
        say(
            options, record,
            f"{card.name} {card.version}: {words} on {result.images} images: largest difference of a probability "
            f"{result.largest_difference:.1e}, {result.flipped} decisions flipped",
        )  # fmt: skip
    return status


def _images(spec: InputSpec, source: Path | None) -> npt.NDArray[np.float32]:
    """(B, C, H, W) of the images of a folder, of the column `file` of a manifest, or of synthetic chests."""
    import numpy as np

    from radpipe.preprocess import model_input

    if source is None:
        from radpipe.guests.trial import trial_batch

        return trial_batch(spec)
    from radpipe.cli.pictures import load_picture

    if source.is_dir():
        paths = sorted(path for path in source.rglob("*") if path.is_file() and not path.name.startswith("."))
    elif source.is_file():
        import csv

        with source.open(newline="", encoding="utf-8") as stream:
            paths = [source.parent / row["file"] for row in csv.DictReader(stream) if row.get("file")]
    else:
        raise UsageError(f"--images {source} is neither a folder nor a manifest")
    tensors = []
    for path in paths:
        try:
            tensors.append(model_input(load_picture(path).pixels, spec)[0])
        except InputError as error:
            sys.stderr.write(f"set aside: {path.name}: {error}\n")
    if not tensors:
        raise UsageError(f"{source} names no image that can be read")
    return np.stack(tensors)
