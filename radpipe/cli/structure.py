"""Command: structure. Free-text reports in, coded observations out, one report at a time.

What a report says is never written to stderr: lines, ids, kinds and offsets are.
"""

from __future__ import annotations

import argparse
import codecs
import gc
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from radpipe.errors import RadpipeError, UsageError
from radpipe.settings import Settings

if TYPE_CHECKING:
    from radpipe.cli.about import About
    from radpipe.cli.outlets import Outlet
    from radpipe.cli.propose import Proposer
    from radpipe.observation import Discrepancy, StructuredReport
    from radpipe.sources.texts import ReportText, UnusableText
    from radpipe.structure import Lexicon

Commands = Any  # argparse._SubParsersAction, which is private

_MARKED_UP = (b"%PDF", b"{\\rtf", b"MSH|")  # text by its bytes, and no report

SUFFIXES = {"json": ".json", "fhir": ".json", "sr": ".dcm", "text": ".txt"}

EPILOG = """\
examples:
  radpipe structure report.txt --as text
  radpipe structure reports.jsonl > observations.jsonl
  echo 'Small left effusion.' | radpipe structure | jq '.observations[] | {finding, status, laterality}'
  radpipe structure reports.jsonl --check > checked.jsonl
  radpipe structure reports.jsonl --as sr -o sr/
  radpipe structure report.txt --as sr --study A2026-0113 --store /srv/radpipe -o report.dcm

A line of JSON: {"id": "A17", "text": "FINDINGS: ..."}; with --check it may also name patient_sex, laterality,
body_part, study_date and has_comparison of the examination, and always a lexicon. Anything else is one report
in plain text. start and end count characters of the text, from 0, end exclusive: text[start:end] is the quote.

Exit status 3: done, but some lines were set aside; each is named on stderr with what to do about it.
"""


def add_commands(commands: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """structure."""
    parser = commands.add_parser(
        "structure",
        parents=[common],
        formatter_class=formatter,
        help="free-text reports to coded observations, each with its verbatim quote",
        description="Read reports (JSON Lines, or one plain text) and write what they say of each finding: status, "
        "side,\nseverity, change, place, size, with the verbatim quote, its offsets and a code. One line a report.",
        epilog=EPILOG,
    )
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="reports; - or nothing reads stdin")
    parser.add_argument("--as", dest="form", choices=tuple(SUFFIXES), help="default json; sr is a DICOM file a report")
    parser.add_argument(
        "-o", "--output", metavar="PATH", help="write to this file; into a folder (or PATH/, or --as sr) one file a report"
    )
    parser.add_argument("--explain", action="store_true", help="add the rules that fired to every mention (json, text)")
    parser.add_argument(
        "--check", action="store_true", help="add what contradicts itself or the examination; each is named on stderr too"
    )
    parser.add_argument(
        "--lexicon", default="auto", metavar="NAME", help="default auto, by the words of each text; else a name or a folder"
    )
    parser.add_argument(
        "--propose", action="store_true", help="ask the language model that the settings name what the rules missed"
    )
    parser.add_argument(
        "--study",
        metavar="STUDY",
        help="the study in the store that the one report is about (StudyInstanceUID, accession number or study key): sr and "
        "fhir then name its patient, and --check knows the examination",
    )
    parser.add_argument("--sections", action="store_true", help="only how each text is cut into sections, with their words")
    parser.set_defaults(command=_structure)


def _structure(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.outlets import Bar, open_outlet
    from radpipe.cli.propose import open_proposer
    from radpipe.sources.texts import UnusableText, read_reports

    form = _form(options)
    proposer = open_proposer(settings) if options.propose else None
    reader = Reader(options, form, proposer, _about(options, form, settings), _categories(options, settings))
    done = aside = 0
    outlet: Outlet | None = None
    try:
        with ExitStack() as stack:
            stream, name = _input(options, stack)
            outlet = stack.enter_context(open_outlet(options.output, form, SUFFIXES[form]))
            bar = stack.enter_context(Bar(stream, shown=sys.stderr.isatty() and not outlet.on_terminal))
            _doubt(stream, name)
            items = read_reports(stream, name, lambda words: _tell(f"{name}: {words}"))
            for item in items if options.study is None else _only_one(items):
                if isinstance(item, UnusableText):
                    aside += 1
                    _tell(f"set aside: {name} {item.where}: {item.reason}")
                    continue
                try:
                    content = reader.read(item)
                except RadpipeError as error:
                    aside += 1
                    _tell(f"set aside: {name} {item.where}: {error}")
                    continue
                outlet.write(str(item.report_id), content)
                done += 1
                bar.show(done)
    except KeyboardInterrupt:
        is_kept = outlet is None or outlet.at_once
        unchanged = f"{options.output} is as it was" if options.output else "nothing was written"
        _tell(f"interrupted; {done} reports were written" if is_kept else f"interrupted; {unchanged}")
        return 130
    if aside or reader.doubts or reader.ignored:
        _tell(f"reports structured: {done}, lines set aside: {aside}, discrepancies: {reader.doubts}")
    return 3 if aside or reader.ignored else 0


class Reader:
    """One report's text to the bytes of the form that was asked for; lexicons are opened once."""

    def __init__(
        self,
        options: argparse.Namespace,
        form: str,
        proposer: Proposer | None = None,
        about: About | None = None,
        categories: Mapping[str, int] | None = None,
    ) -> None:
        self.doubts = 0
        self.ignored = 0
        self._check: bool = options.check
        self._study = about.study if about else None
        self._categories = categories
        self._proposer = proposer
        self._lexicon: str = options.lexicon
        self._lexicons: dict[str, Lexicon] = {}
        self._render = None if options.sections else _renderer(form, options.explain, about)
        if self._render and self._lexicon != "auto":
            must_be_lexicon(self._lexicon)
            self._open(self._lexicon)  # one that cannot be read is said before anything is

    def read(self, item: ReportText) -> bytes:
        """Raises RadpipeError where this report cannot be structured or written so."""
        if self._render is None:
            return _sections(item)
        from radpipe.structure import choose_lexicon, lexicon_names, structure_report

        name = item.lexicon or self._lexicon
        if item.lexicon and item.lexicon not in ("auto", *lexicon_names()):
            raise UsageError(f'its "lexicon" must be auto or one of {", ".join(lexicon_names())}')
        lexicon = self._open(choose_lexicon(item.text) if name == "auto" else name)
        report = structure_report(str(item.report_id), item.text, lexicon)
        if self._proposer is not None:
            report = self._proposer(report, lexicon)
        if self._check:
            report = replace(report, discrepancies=self._discrepancies(report, item))
        return self._render(report, item)

    def _open(self, name: str) -> Lexicon:
        from radpipe.structure import open_lexicon

        if name not in self._lexicons:
            self._lexicons[name] = open_lexicon(name)
            gc.freeze()  # a lexicon stays: the collector need not look through its automaton again and again
        return self._lexicons[name]

    def _discrepancies(self, report: StructuredReport, item: ReportText) -> tuple[Discrepancy, ...]:
        from radpipe.cli.examination import examination
        from radpipe.structure.check import check

        known, ignored = examination(item.examination or {}, self._study)
        for reason in ignored:
            _tell(f"set aside: {item.where}: {reason}; the report was checked without it")
        self.ignored += len(ignored)
        found = check(report, known, categories=self._categories)
        self.doubts += len(found)
        for doubt in found:
            places = ", ".join(f"{span.start}-{span.end}" for span in doubt.spans)
            message = re.sub(r'"[^"]*"', '"..."', doubt.message)  # what is quoted stands in the text, and stays there
            _tell(
                f"check: {_short(str(item.report_id))}: {doubt.kind}: {message}{f' (characters {places})' if places else ''}"
            )
        return found


def must_be_lexicon(name: str) -> None:
    """Raises UsageError where --lexicon names none."""
    from radpipe.structure import lexicon_names

    if name not in ("auto", *lexicon_names()) and not (Path(name) / "lexicon.toml").is_file():
        choice = ", ".join(lexicon_names())
        raise UsageError(f"there is no lexicon {name}; choose auto, {choice}, or a folder with a lexicon.toml")


def _form(options: argparse.Namespace) -> str:
    """Raises UsageError where options do not go together."""
    if options.json and options.form not in (None, "json"):
        raise UsageError(f"--json and --as {options.form} exclude each other")
    form: str = options.form or "json"
    if options.sections and (form != "json" or options.explain or options.check or options.propose):
        raise UsageError("--sections only cuts the text: it goes with neither --as, --explain, --check nor --propose")
    if options.study is not None and form not in ("sr", "fhir") and not options.check:
        raise UsageError("--study goes with --as sr, --as fhir or --check; the other forms name no study")
    if options.explain and form not in ("json", "text"):
        raise UsageError(
            f"--explain goes with json and text; the {form.upper()} form has the rules in it already, or no place"
        )
    return form


def _about(options: argparse.Namespace, form: str, settings: Settings) -> About | None:
    """The study that --study names. Raises UsageError where the store has none of that name."""
    if options.study is None:
        return None
    from radpipe.cli.about import find_study

    return find_study(settings, options.study, with_header=form == "sr")


def _categories(options: argparse.Namespace, settings: Settings) -> Mapping[str, int] | None:
    """The ACR category of each finding by the site's triage table; None where the one that ships holds."""
    if not options.check or settings.triage_rules == Path(""):
        return None
    from radpipe.cli.assemble import rules_of

    return {finding: rule.category for finding, rule in rules_of(settings).findings.items()}


def _only_one(items: Iterable[ReportText | UnusableText]) -> list[ReportText | UnusableText]:
    """The items with just one report. Raises UsageError at the second, so that nothing is written under a wrong patient."""
    from radpipe.sources.texts import UnusableText

    held: list[ReportText | UnusableText] = []
    reports = 0
    for item in items:
        held.append(item)
        reports += not isinstance(item, UnusableText)
        if reports > 1:
            raise UsageError("--study names the study of one report, and more were given; give them one by one")
    return held


def _renderer(form: str, explain: bool, about: About | None) -> Callable[[StructuredReport, ReportText], bytes]:
    if form == "json":
        from radpipe.sinks.structured_json import to_record

        return lambda report, item: _json_line({**to_record(report, explain=explain, text=False), "id": item.report_id})
    if form == "fhir":
        from radpipe.sinks import structured_fhir

        study = about.study if about else None
        return lambda report, item: structured_fhir.render(report, study=study).strip().replace(b"\n", b" ") + b"\n"
    if form == "sr":
        from radpipe.sinks import structured_sr

        header = about.header if about else None
        return lambda report, item: structured_sr.render(report, header=header)
    from radpipe.sinks import structured_text

    return lambda report, item: structured_text.render(report) + (_rules(report) if explain else b"")


def _rules(report: StructuredReport) -> bytes:
    """Which rules fired, mention by mention, in the order of the text."""
    from radpipe.sinks.text import printable

    mentions = [mention for observation in report.observations for mention in observation.mentions]
    lines = ["", "RULES"]
    for mention in sorted(mentions, key=lambda mention: mention.span.start):
        lines += [f"  {mention.finding} {mention.status.value} (characters {mention.span.start}-{mention.span.end})"]
        lines += [f"    {rule}" for rule in mention.rules]
    return (printable("\n".join(lines)) + "\n").encode()


def _sections(item: ReportText) -> bytes:
    from radpipe.sinks.structured_json import section_record
    from radpipe.structure.text import parts

    sections = [section_record(part) | {"text": item.text[part.start : part.end]} for part in parts(item.text)]
    return _json_line({"id": item.report_id, "sections": sections})


_ENCODER = json.JSONEncoder(ensure_ascii=False)


def _json_line(record: dict[str, Any]) -> bytes:
    try:
        return _ENCODER.encode(record).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair in the text: UTF-8 cannot write it, JSON can
        return json.dumps(record).encode() + b"\n"


def _input(options: argparse.Namespace, stack: ExitStack) -> tuple[BinaryIO, str]:
    from radpipe.cli.outlets import is_written_to

    if options.file == "-":
        if sys.stdin is None:
            raise UsageError("stdin is closed; name a FILE, or pipe the reports in")
        if is_written_to(sys.stdin.buffer, options.output):
            raise UsageError(f"{options.output} is both read and written; give -o another name")
        if sys.stdin.isatty():
            _tell("reading a report from the terminal; end it with Ctrl-D")
        return sys.stdin.buffer, "-"
    path = Path(options.file)
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name one file, or join them: cat {path}/*.jsonl | radpipe structure")
    if options.output and os.path.exists(options.output) and os.path.samefile(path, options.output):
        raise UsageError(f"{path} is both read and written; give -o another name")
    return stack.enter_context(path.open("rb")), path.name


def _is_wide(head: bytes) -> bool:
    """UTF-16 or UTF-32, with its mark or by the zeros between its letters: text with zero bytes."""
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
    return head.startswith(marks) or any(head[:8:2]) != any(head[1:8:2])


def _doubt(stream: BinaryIO, name: str) -> None:
    """Say so where the input looks like no text; it is read all the same."""
    head = stream.peek(1024) if isinstance(stream, io.BufferedReader) else b""
    is_zeroed = b"\0" in head and not _is_wide(head)
    if not (is_zeroed or head.lstrip().startswith((b"<", *_MARKED_UP))):
        return
    from radpipe.dicom.sniff import appearance  # brings pydicom with it: only where there is a doubt

    kind = "a DICOM object" if head[128:132] == b"DICM" else appearance(head) or ("a binary file" if is_zeroed else "")
    if kind not in ("", "text", "a JSON file"):
        _tell(f"{name}: it looks like {kind}, and is read as plain text all the same; save the report as text")


def _short(name: str) -> str:
    """An id as it may stand in one line."""
    return name if len(name) <= 60 else name[:57] + "..."


def _tell(words: str) -> None:
    """A line on stderr, without signs that steer a terminal: ids and file names are other people's."""
    sys.stderr.write("".join(letter if letter.isprintable() else "?" for letter in words) + "\n")
