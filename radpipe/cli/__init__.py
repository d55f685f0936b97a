"""The command line. Results go to stdout, progress and reasons to stderr; the exit status says how it went.

0 done; 3 done, but some inputs were set aside; 2 wrong usage; 1 failed. Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from radpipe import __version__
from radpipe.errors import RadpipeError, UsageError
from radpipe.settings import Settings, load_settings

DONE, FAILED, USAGE, SET_ASIDE = 0, 1, 2, 3

Command = Callable[[argparse.Namespace, Settings], int]

EPILOG = """\
examples:
  radpipe samples sample_dicoms            write a dozen synthetic chest studies
  radpipe run sample_dicoms                read them; print the worklist
  radpipe run /mnt/inbox --json | jq .     one JSON line a study
  radpipe report show KEY --as html -o draft.html
  radpipe sign KEY --user lee              sign a draft; SR and FHIR go to the outbox
  radpipe structure report.txt --as text   what a free-text report says, coded, with its quotes

Not a medical device. Nothing that radpipe writes is final until a radiologist has signed it.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    os.umask(0o077)  # headers, pictures and pages hold patient data: what we and our children write is the owner's alone
    parser = build_parser()
    options = parser.parse_args(arguments)
    command: Command | None = getattr(options, "command", None)
    if command is None:
        parser.print_help(sys.stderr)
        return USAGE
    signal.signal(signal.SIGTERM, _stop)  # leave by the door: Prefect's server is ended with us
    level = logging.DEBUG if options.verbose else logging.WARNING
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    try:
        status = command(options, _settings(options))
        if sys.stdout is not None:
            sys.stdout.flush()  # here, and not at the interpreter's end, a full disk can still be told in words
        return status
    except UsageError as error:
        return _fail(error, USAGE)
    except RadpipeError as error:
        return _fail(error, FAILED)
    except KeyboardInterrupt:
        sys.stderr.write("radpipe: interrupted; what was read is in the store, run again to go on\n")
        return 130
    except BrokenPipeError:  # the reader of our output went away: `radpipe run | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (OSError, UnicodeError) as error:  # what no module foresaw: a full disk, a folder that cannot be written
        logging.getLogger(__name__).debug("where it came from", exc_info=True)
        sys.stderr.write(f"radpipe: {_in_one_line(error)}\n")
        _drop_output_that_cannot_be_written()
        return FAILED


def build_parser() -> argparse.ArgumentParser:
    """All commands, with examples."""
    from radpipe.cli import admin, calibrate, evaluate, people, reading, reports, similar, structure, train, volume, weights

    formatter = _formatter()
    parser = argparse.ArgumentParser(
        prog="radpipe",
        description="Read DICOM studies, order the worklist, draft structured reports for a radiologist to sign.",
        epilog=EPILOG,
        formatter_class=formatter,
    )
    parser.add_argument("--version", action="version", version=f"radpipe {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    common = _common()
    for module in (reading, volume, reports, similar, structure, people, evaluate, calibrate, train, weights, admin):
        module.add_commands(commands, common, formatter)
    return parser


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="the result as JSON: one line a record (worklist: one array)")
    group = common.add_argument_group("settings")
    group.add_argument("--store", metavar="DIR", help="the store (default: $RADPIPE_STORE, else ./radpipe-store)")
    group.add_argument("--config", metavar="FILE", type=Path, help="settings from a TOML file (also $RADPIPE_CONFIG)")
    group.add_argument("-v", "--verbose", action="store_true", help="say more on stderr")
    return common


def model_options() -> argparse.ArgumentParser:
    """Which model, where: the same for every command that runs one."""
    options = argparse.ArgumentParser(add_help=False)
    group = options.add_argument_group("model")
    group.add_argument("--backend", choices=("auto", "onnx", "torch"), help="default auto: torch on a GPU, else onnx")
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default auto; cuda fails if there is none")
    group.add_argument("--model", metavar="NAME", help="a folder under weights/ (default chest-dinov2s)")
    group.add_argument("--weights", metavar="DIR", help="folder of models (default: those that ship)")
    return options


def _settings(options: argparse.Namespace) -> Settings:
    overrides = {name: getattr(options, name, None) for name in ("store", "backend", "device", "user", "weights", "model")}
    return load_settings(config=options.config, overrides=overrides)


def _formatter() -> type[argparse.HelpFormatter]:
    """Coloured help on a terminal; plain text elsewhere, where rich need not be loaded."""
    if sys.stdout is None or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return argparse.RawDescriptionHelpFormatter
    from rich_argparse import RawDescriptionRichHelpFormatter

    return RawDescriptionRichHelpFormatter


def say(options: argparse.Namespace, record: Mapping[str, object], words: str) -> None:
    """A result on stdout: as a JSON line with --json, else in words."""
    sys.stdout.write((json.dumps(record, ensure_ascii=False) if options.json else words) + "\n")


def read_words(text: str) -> str:
    """The words of a TEXT argument; for "-" those on stdin. Raises UsageError if there is no stdin, or it is not UTF-8."""
    try:
        if text == "-":
            if sys.stdin is None:
                raise UsageError("- reads the words from stdin, which is closed; give them as an argument, or pipe them in")
            text = sys.stdin.read()
        text.encode()  # in a C locale, and on the command line, Python hides bytes that it cannot decode in surrogates
    except UnicodeError as error:
        raise UsageError("the words are not UTF-8 text; set a UTF-8 locale, or convert them") from error
    return text


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _in_one_line(error: OSError | UnicodeError) -> str:
    """ "file: what is wrong": without an errno, which helps nobody, and in one line even if the file's name is not."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    names = [getattr(error, "filename", None), getattr(error, "filename2", None)]
    files = " -> ".join(
        os.fsdecode(name) if isinstance(name, bytes) else str(name) for name in names if name and not isinstance(name, int)
    )
    return " ".join((f"{files}: {words}" if files else words).splitlines())


def _drop_output_that_cannot_be_written() -> None:
    """Else the interpreter tries once more as it ends, and prints a traceback of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: RadpipeError, status: int) -> int:
    sys.stderr.write(f"radpipe: {error}\n")
    return status
