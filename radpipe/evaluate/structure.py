"""`radpipe evaluate structure GOLD.jsonl`: how structured reports agree with annotated ones.

GOLD: JSON Lines {"uid", "observations": [{"finding", "status", "laterality", "severity", "change", "quote"}, ...],
"disputed": [finding, ...]}, one entry a finding. Findings that two annotators disputed are left out on both sides.

Micro figures over reports and findings: `mention` (the finding is spoken of), `status` (finding and status), `present`,
`negation` and `uncertain` (that status alone); `laterality`, `severity` and `change` over the findings whose status agrees.
Intervals are 95 %, by a bootstrap over whole reports: findings of one report are no independent witnesses. A seed that stays
and the standard library's generator, so that the same figures come out everywhere.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radpipe.errors import UsageError
from radpipe.observation import Assertion, StructuredReport

STATUS_MARKS = {"present": Assertion.PRESENT, "negation": Assertion.ABSENT, "uncertain": Assertion.UNCERTAIN}
ATTRIBUTES = ("laterality", "severity", "change")
MARKS = ("mention", "status", *STATUS_MARKS, *ATTRIBUTES)
SAMPLES = 400
NAN = float("nan")

_Counts = tuple[int, int, int]  # found, too many, missed


@dataclass(frozen=True, slots=True)
class Entry:
    """What is said of one finding, by an annotator or by radpipe. "" where it is not said."""

    finding: str
    status: str
    laterality: str = ""
    severity: str = ""
    change: str = ""
    quote: str = ""

    def says(self) -> tuple[str, ...]:
        """Status and attributes: what is compared."""
        return (self.status, self.laterality, self.severity, self.change)


Entries = Mapping[str, Entry]  # by finding


@dataclass(frozen=True, slots=True)
class Annotated:
    """One annotated report."""

    uid: str
    entries: Entries
    disputed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Mark:
    """One figure with its interval and its counts; nan where there is nothing to count."""

    name: str
    f1: float
    f1_ci: tuple[float, float]
    precision: float
    recall: float
    n: int  # in the annotation
    found: int
    too_many: int
    missed: int


@dataclass(frozen=True, slots=True)
class FindingMarks:
    """One finding over all reports. The counts add up: n = same status + other status + missed."""

    finding: str
    n: int
    f1: float  # of finding and status
    missed: int
    too_many: int
    other_status: int
    other_attribute: int  # of those with the same status: entries with a wrong laterality, severity or change


@dataclass(frozen=True, slots=True)
class Difference:
    """One finding of one report on which radpipe and the annotation differ; None on the side that has no entry."""

    uid: str
    finding: str
    annotated: Entry | None
    structured: Entry | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `radpipe evaluate structure` prints."""

    reports: int
    marks: tuple[Mark, ...]
    findings: tuple[FindingMarks, ...]
    differences: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """As nested dicts, without the differences."""
        return {
            "reports": self.reports,
            "marks": {
                mark.name: {key: value for key, value in asdict(mark).items() if key != "name"} for mark in self.marks
            },
            "findings": [asdict(row) for row in self.findings],
        }


def read_gold(path: Path) -> tuple[Annotated, ...]:
    """The annotated reports of a JSON Lines file. Raises UsageError, which names the line, if one cannot be used."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise UsageError(f"the annotations {path.name} cannot be read: {reason}") from error
    found: dict[str, Annotated] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            report = _annotated(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(
                f"{path.name} line {number} is no annotated report; one is written "
                '{"uid": "...", "observations": [{"finding": "...", "status": "present|absent|uncertain", ...}]}'
            ) from error
        if report.uid in found:
            raise UsageError(f"{path.name} line {number} annotates {report.uid} again (line {lines[report.uid]} does)")
        found[report.uid], lines[report.uid] = report, number
    if not found:
        raise UsageError(f"{path.name} holds no annotated report")
    return tuple(found.values())


def entries_of(report: StructuredReport) -> dict[str, Entry]:
    """What radpipe says, in the annotation's words."""
    return {
        item.finding: Entry(
            finding=item.finding,
            status=item.status.value,
            laterality=item.laterality.value if item.laterality else "",
            severity=item.severity.value if item.severity else "",
            change=item.change.value if item.change else "",
            quote=item.span.quote,
        )
        for item in report.observations
    }


def evaluate_structure(
    gold: Sequence[Annotated], structured: Mapping[str, Entries], *, samples: int = SAMPLES, seed: int = 0
) -> Evaluation:
    """Compare, by uid. A report that is not in `structured` counts as one in which nothing was found."""
    pairs = [_undisputed(report, structured.get(report.uid, {})) for report in gold]
    counts = {name: [_COUNT[name](annotated, entries) for annotated, entries in pairs] for name in MARKS}
    draws = random.Random(seed)
    numbers = range(len(pairs))
    drawn = [draws.choices(numbers, k=len(pairs)) for _ in range(samples)]
    names = sorted({finding for annotated, entries in pairs for finding in (*annotated, *entries)})
    return Evaluation(
        reports=len(pairs),
        marks=tuple(_mark(name, counts[name], drawn) for name in MARKS),
        findings=tuple(_finding_marks(name, pairs) for name in names),
        differences=tuple(
            Difference(report.uid, finding, annotated.get(finding), entries.get(finding))
            for report, (annotated, entries) in zip(gold, pairs, strict=True)
            for finding in sorted({*annotated, *entries})
            if _says(annotated.get(finding)) != _says(entries.get(finding))
        ),
    )


def _annotated(record: Mapping[str, Any]) -> Annotated:
    entries: dict[str, Entry] = {}
    for item in record["observations"]:
        texts = {key: item.get(key) or "" for key in (*ATTRIBUTES, "quote")}
        if not all(isinstance(value, str) for value in (item["finding"], *texts.values())):
            raise TypeError("a value that is not text")
        entries.setdefault(item["finding"], Entry(item["finding"], Assertion(item["status"]).value, **texts))
    uid = record["uid"] if record.get("uid") else record["id"]
    if not isinstance(uid, str | int):
        raise TypeError("an identifier that is neither text nor a number")
    return Annotated(str(uid), entries, frozenset(record.get("disputed") or ()))


def _undisputed(report: Annotated, structured: Entries) -> tuple[Entries, Entries]:
    annotated = {finding: entry for finding, entry in report.entries.items() if finding not in report.disputed}
    return annotated, {finding: entry for finding, entry in structured.items() if finding not in report.disputed}


def _says(entry: Entry | None) -> tuple[str, ...] | None:
    return entry.says() if entry else None


def _compared(annotated: Iterable[object], structured: Iterable[object]) -> _Counts:
    wanted, got = set(annotated), set(structured)
    return len(wanted & got), len(got - wanted), len(wanted - got)


def _by_status(status: Assertion) -> Callable[[Entries, Entries], _Counts]:
    return lambda annotated, structured: _compared(
        (finding for finding, entry in annotated.items() if entry.status == status),
        (finding for finding, entry in structured.items() if entry.status == status),
    )


def _by_attribute(name: str) -> Callable[[Entries, Entries], _Counts]:
    def count(annotated: Entries, structured: Entries) -> _Counts:
        both = [x for x, entry in annotated.items() if x in structured and structured[x].status == entry.status]
        wanted = ((x, getattr(annotated[x], name)) for x in both)
        got = ((x, getattr(structured[x], name)) for x in both)
        return _compared((pair for pair in wanted if pair[1]), (pair for pair in got if pair[1]))

    return count


_COUNT: dict[str, Callable[[Entries, Entries], _Counts]] = {
    "mention": _compared,
    "status": lambda annotated, structured: _compared(
        ((finding, entry.status) for finding, entry in annotated.items()),
        ((finding, entry.status) for finding, entry in structured.items()),
    ),
    **{name: _by_status(status) for name, status in STATUS_MARKS.items()},
    **{name: _by_attribute(name) for name in ATTRIBUTES},
}


def _f1(found: int, too_many: int, missed: int) -> float:
    return 2 * found / (2 * found + too_many + missed) if found + too_many + missed else NAN


def _sum(counts: Sequence[_Counts], numbers: Iterable[int]) -> _Counts:
    found = too_many = missed = 0
    for number in numbers:
        one, two, three = counts[number]
        found, too_many, missed = found + one, too_many + two, missed + three
    return found, too_many, missed


def _mark(name: str, counts: Sequence[_Counts], drawn: Sequence[Sequence[int]]) -> Mark:
    found, too_many, missed = _sum(counts, range(len(counts)))
    f1s = sorted(f1 for f1 in (_f1(*_sum(counts, numbers)) for numbers in drawn) if f1 == f1)
    return Mark(
        name=name,
        f1=_f1(found, too_many, missed),
        f1_ci=(f1s[int(0.025 * len(f1s))], f1s[int(0.975 * len(f1s)) - 1]) if f1s else (NAN, NAN),
        precision=found / (found + too_many) if found + too_many else 0.0,
        recall=found / (found + missed) if found + missed else 0.0,
        n=found + missed,
        found=found,
        too_many=too_many,
        missed=missed,
    )


def _finding_marks(name: str, pairs: Sequence[tuple[Entries, Entries]]) -> FindingMarks:
    both = [(a[name], b[name]) for a, b in pairs if name in a and name in b]
    same = [(a, b) for a, b in both if a.status == b.status]
    missed = sum(name in a and name not in b for a, b in pairs)
    too_many = sum(name in b and name not in a for a, b in pairs)
    other_status = len(both) - len(same)
    return FindingMarks(
        finding=name,
        n=len(both) + missed,
        f1=_f1(len(same), too_many + other_status, missed + other_status),
        missed=missed,
        too_many=too_many,
        other_status=other_status,
        other_attribute=sum(a.says() != b.says() for a, b in same),
    )
