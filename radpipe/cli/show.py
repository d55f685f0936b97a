"""What a person sees on a terminal: tables, progress, colours. Plain text where stdout is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from radpipe.reading import Reading
from radpipe.settings import Settings
from radpipe.study import SetAside

if TYPE_CHECKING:
    from radpipe.pipeline import Run

LEVEL_STYLES = {
    "STAT": "bold white on red",
    "URGENT": "bold black on yellow",
    "UNSURE": "bold black on cyan",
    "NOT_READ": "bold white on blue",
    "ROUTINE": "green",
}


class Progress:
    """Bars on stderr while work goes on; nothing where stderr is not a terminal."""

    def __init__(self) -> None:
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self._files: TaskID | None = None
        self._studies: TaskID | None = None

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def file(self, name: str) -> None:
        """One more file was looked at."""
        del name
        if self._files is None:
            self._files = self._bars.add_task("looking at files", total=None)
        self._bars.advance(self._files)

    def found(self, studies: int) -> None:
        """So many studies will be read."""
        if self._files is not None:
            self._bars.update(self._files, visible=False)
        self._studies = self._bars.add_task("reading studies", total=studies)

    def starting(self) -> None:
        """Prefect starts: the first result takes some seconds."""
        self._bars.add_task("starting Prefect", total=1, visible=self._studies is None)

    def read(self, reading: Reading) -> None:
        """One more study was read."""
        del reading
        if self._studies is not None:
            self._bars.advance(self._studies)


def worklist_table(records: Sequence[Mapping[str, Any]], *, in_order: bool = False) -> None:
    """The worklist, most urgent first unless it is `in_order` already."""
    from radpipe.finding import Level

    rank = {level.value: place for place, level in enumerate(Level)}
    ordered = list(records)
    if not in_order:
        ordered.sort(key=lambda record: (rank[record["priority"]["level"]], -record["priority"]["score"]))
    console = Console()
    table = Table(show_lines=True, expand=console.is_terminal, pad_edge=False)
    for name, options in (
        ("level", {"no_wrap": True}),
        ("study", {"no_wrap": True}),
        ("date", {"no_wrap": True}),
        ("exam", {}),
        ("why here", {"ratio": 3}),
        ("compared with", {"ratio": 1}),
        ("report", {"no_wrap": True}),
    ):
        table.add_column(name, **options)
    for record in ordered:
        level = record["priority"]["level"]
        exam = " ".join((*record["modality"], record["body_part"])).strip()
        prior = record["prior"]
        report = f"{record['report_key']}\n{record['report_status']}" if record["report_key"] else "-"
        table.add_row(
            Text(f" {level} ", style=LEVEL_STYLES[level]),
            record["study_key"],
            record["study_date"] or "-",
            exam or "-",
            "\n".join(record["priority"]["reasons"]),
            (prior["study_date"] or "undated") if prior else "-",
            report,
        )
    if console.is_terminal:
        console.print(table)
    else:
        Console(width=150).print(table)


def run_summary(readings: Sequence[Reading], run: Run, aside: Sequence[SetAside], settings: Settings) -> str:
    """Lines for stderr: what was done, what was not, what to do next."""
    new = [
        reading for reading in readings if reading.run_key not in run.unchanged and reading.study.study_key not in run.held
    ]
    lines = [
        f"{len(readings)} studies: {sum(r.is_read for r in new)} read now, {sum(not r.is_read for r in new)} not read, "
        f"{len(readings) - len(new)} as they stood; {len(aside)} files set aside."
    ]
    if run.held:
        lines.append(
            f"A person has corrected or signed the reports of {', '.join(sorted(run.held))}: they stand. Something new was "
            "read beside them (radpipe audit list); look, and write an addendum if it matters."
        )
    elif readings and not new:
        lines.append("Nothing was new: the store is as it was.")
    model = next((reading.model for reading in readings if reading.model), None)
    if model is not None:
        lines.append(f"Model {model.name} {model.version} ({model.sha256[:12]}) on {model.backend}, {model.provider}.")
    drafted = next((reading.report for reading in readings if reading.report), None)
    if drafted is not None:
        where = f" --store {settings.store}"
        lines.append(f"Look at a draft: radpipe report show {drafted.report_key} --as html -o draft.html{where}")
    return "\n".join(lines) + "\n"
