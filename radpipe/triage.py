"""Say how urgent a study is, why, and in which order studies are read. All clinical numbers are in rules/triage.toml.

A study's level is the most urgent one that any of its findings asks for; what a finding asks for follows from its ACR
category, from whether the model is sure of it, and from the prior. The order of the list is level, then waiting: a
study that has waited past its cap goes to the top of URGENT, whatever was or was not found in it, so that what a model
missed is not lost at the end of the list (Baltruschat et al., Eur Radiol 2021;31:3837, PMC8128725). See docs/triage.md.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from radpipe.codes import finding_words
from radpipe.errors import SettingsError
from radpipe.finding import Change, ChangeKind, Decision, Finding, Level, Priority, score_words
from radpipe.reading import Reading

RULES_PATH = Path(__file__).parent / "rules" / "triage.toml"
"""The rules that ship with radpipe."""

_RANK = {level: rank for rank, level in enumerate(Level)}  # 0 is the most urgent
_WITHIN = {1: "ACR category 1, tell within minutes", 2: "ACR category 2, tell within hours",
           3: "ACR category 3, tell within days", 0: "no ACR category"}  # fmt: skip
_BY_ARRIVAL = frozenset({Level.UNSURE, Level.NOT_READ})
_SITUATIONS = ("present", "new", "known", "unsure")


@dataclass(frozen=True, slots=True)
class FindingRule:
    """How urgent one finding is; the fields are explained in rules/triage.toml."""

    category: int  # 1 to 3, or 0
    present: Level
    new: Level
    known: Level
    unsure: Level
    unsure_from: float
    weight: float
    cap_minutes: int
    source: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The rule table, checked."""

    findings: Mapping[str, FindingRule]
    default: FindingRule
    cap_minutes: Mapping[Level, int]
    raised: float
    lowered: float
    known_needs_score: float

    def of(self, finding: str) -> FindingRule:
        """The finding's rule, or the default."""
        return self.findings.get(finding, self.default)


@dataclass(frozen=True, slots=True)
class _Contribution:
    """What one finding adds: its level, its weight there (0..1), its cap, and the words for it."""

    level: Level
    weight: float
    cap_minutes: int
    reason: str


def prioritise(
    findings: Sequence[Finding],
    changes: Sequence[Change],
    *,
    read: bool,
    in_distribution: bool,
    why_not: str | None,
    rules: Rules,
    prior_date: date | None = None,
    reported: Mapping[str, date] | None = None,
) -> Priority:
    """The study's place on the worklist, from the findings that the model assesses and what changed.

    `why_not`: why the study was not read, or why it is unlike what the model knows. `prior_date` is for the words only.
    `reported`: findings that an earlier report stated as present already, and of which day: they are not raised as new.
    """
    if not read:
        return _waiting(Level.NOT_READ, f"not read by a model: {why_not or 'no reason given'}", rules)
    contributions = [_contribution(finding, changes, rules, prior_date, reported or {}) for finding in findings]
    counted = sorted((one for one in contributions if one), key=lambda one: (_RANK[one.level], -one.weight))
    if not findings:
        counted.append(_Contribution(Level.UNSURE, 0.0, rules.cap_minutes[Level.UNSURE], "the model assessed nothing"))
    if not in_distribution:
        reason = f"unlike the images that the model knows: {why_not or 'no reason given'}; its findings may be wrong"
        counted.append(_Contribution(Level.UNSURE, 0.0, rules.cap_minutes[Level.UNSURE], reason))
    if not counted:
        doubtful = [finding_words(one.finding) for one in findings if one.decision is Decision.UNSURE]
        doubt = f"; unsure, which alone does not move a study: {', '.join(doubtful)}" if doubtful else ""
        return _waiting(Level.ROUTINE, f"none of the {len(findings)} findings assessed is present{doubt}", rules)
    level = min((one.level for one in counted), key=_RANK.__getitem__)
    # the chance that at least one of this level's findings is what it seems, weighted; 1 only if one is certain
    remaining = 1.0
    for one in counted:
        if one.level is level:
            remaining *= 1 - one.weight
    cap = min(rules.cap_minutes[level], *(one.cap_minutes for one in counted))
    return Priority(level, round(1 - remaining, 4), tuple(one.reason for one in counted), cap_s=60 * cap)


def reading_order(items: Sequence[tuple[Reading, datetime]], now: datetime) -> tuple[tuple[Reading, datetime], ...]:
    """The worklist (readings and when their studies arrived, as `Store.worklist` gives them) in reading order."""
    return tuple(sorted(items, key=lambda item: (*order_key(item[0].priority, item[1], now), item[0].study.study_key)))


def order_key(priority: Priority, arrived: datetime, now: datetime) -> tuple[int, float, float, float]:
    """Sorts studies into reading order, first to be read first.

    Level; then those past their cap, the one due longest ago first, whose level is URGENT at least; then score, but for
    UNSURE and NOT_READ, which keep their order of arrival; then arrival. A cap of 0 is none.
    """
    waited_s = (now - arrived).total_seconds()
    overdue_s = waited_s - priority.cap_s if priority.cap_s else 0.0
    if overdue_s > 0:
        return min(_RANK[priority.level], _RANK[Level.URGENT]), -overdue_s, 0.0, -waited_s
    return _RANK[priority.level], 0.0, 0.0 if priority.level in _BY_ARRIVAL else -priority.score, -waited_s


def urgency(rules: Rules) -> tuple[str, ...]:
    """The names of all findings that have a rule, most urgent first: by level when present, then weight."""
    return tuple(sorted(rules.findings, key=lambda name: (_RANK[rules.of(name).present], -rules.of(name).weight, name)))


def read_rules(source: bytes | Path = RULES_PATH) -> Rules:
    """Read and check a rule table (TOML). Raises SettingsError that names the entry and says what it must be."""
    name = "the triage rules" if isinstance(source, bytes) else f"the triage rules {source}"
    try:
        table = tomllib.loads((source if isinstance(source, bytes) else source.read_bytes()).decode("utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {name}: {error.strerror}; start from radpipe/rules/triage.toml") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{name}: not valid TOML in UTF-8: {error}") from error
    try:
        return _rules(table)
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from error


def _contribution(
    finding: Finding, changes: Sequence[Change], rules: Rules, prior_date: date | None, reported: Mapping[str, date]
) -> _Contribution | None:
    """What this finding adds; None if it is absent or its doubt does not count."""
    rule = rules.of(finding.finding)
    change = next((one for one in changes if one.finding == finding.finding), None)
    if finding.decision is Decision.ABSENT:
        return None
    factor, situation, words = _against_prior(change, rules, prior_date, reported.get(finding.finding))
    name = (
        f"{finding_words(finding.finding)} {score_words(finding.probability)} (threshold {score_words(finding.threshold)})"
    )
    if finding.decision is Decision.UNSURE:
        how_far = _share(finding.probability, finding.rule_out, finding.threshold)
        if how_far < rule.unsure_from or rule.unsure is Level.ROUTINE:
            return None
        # doubt about what would be routine even if it were certain does not move the study either
        level = Level.ROUTINE if situation == "known" and rule.known is Level.ROUTINE else rule.unsure
        weight = min(1.0, rule.weight * factor) * 0.5 * how_far
        return _Contribution(level, weight, rules.cap_minutes[level], f"{name}: unsure; {_WITHIN[rule.category]}{words}")
    level = {"present": rule.present, "new": rule.new, "known": rule.known}[situation]
    cap = rule.cap_minutes if _RANK[level] <= _RANK[rule.present] else rules.cap_minutes[level]
    if _RANK[level] > _RANK[rule.present]:
        words += f", {level} instead of {rule.present}"
    weight = min(1.0, rule.weight * factor) * (0.5 + 0.5 * _share(finding.probability, finding.threshold, 1.0))
    return _Contribution(level, weight, cap, f"{name}: {_WITHIN[rule.category]}{words}")


def _against_prior(
    change: Change | None, rules: Rules, prior_date: date | None, reported: date | None
) -> tuple[float, str, str]:
    """Factor of the weight, which of the rule's levels holds, and the words for it."""
    since = f" since {prior_date}" if prior_date else " since the prior"
    if change is None:
        return 1.0, "present", ""
    if change.change is ChangeKind.NEW and reported is not None:
        words = f"; new{since} by the images, but reported present on {reported}: not raised as new"
        return 1.0, "present", words
    if change.change in (ChangeKind.NEW, ChangeKind.INCREASED):
        return rules.raised, "new", f"; {change.change}{since}"
    if change.change is ChangeKind.DECREASED:
        return rules.lowered, "known", f"; decreased{since}: less urgent"
    if change.change is ChangeKind.UNCHANGED:
        if change.score >= rules.known_needs_score:
            return rules.lowered, "known", f"; unchanged{since}: less urgent"
        return 1.0, "present", f"; no change shown{since}, but not close enough to be less urgent"
    return 1.0, "present", ""


def _share(value: float, low: float, high: float) -> float:
    """Where `value` lies between `low` (0) and `high` (1), kept within."""
    return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 1.0


def _waiting(level: Level, reason: str, rules: Rules) -> Priority:
    return Priority(level, 0.0, (reason,), cap_s=60 * rules.cap_minutes[level])


def _rules(table: dict[str, Any]) -> Rules:
    if table.get("format") != 1:
        raise SettingsError("format must be 1")
    if unknown := sorted(set(table) - {"format", "change", "levels", "default", "findings"}):
        raise SettingsError(f"unknown table or key {unknown[0]!r}")
    change, levels = _table(table, "change"), _table(table, "levels")
    if extra := sorted(set(levels) ^ {level.value for level in Level}):
        raise SettingsError(f"[levels] must name {', '.join(Level)} and nothing else; see {extra[0]!r}")
    caps = {level: _minutes(levels, level.value, "levels") for level in Level}
    for urgent, calm in zip(list(Level)[:-1], list(Level)[1:], strict=True):
        if caps[urgent] > caps[calm]:
            raise SettingsError(f"[levels] {urgent} may not wait longer ({caps[urgent]}) than {calm} ({caps[calm]})")
    findings = _table(table, "findings")
    rules = Rules(
        findings={name: _finding_rule(_table(findings, name), f"findings.{name}", caps) for name in findings},
        default=_finding_rule(_table(table, "default"), "default", caps),
        cap_minutes=caps,
        raised=_number(change, "raised", "change", 1.0, 10.0),
        lowered=_number(change, "lowered", "change", 0.0, 1.0),
        known_needs_score=_number(change, "known_needs_score", "change", 0.0, 1.0),
    )
    if extra := sorted(set(change) - {"raised", "lowered", "known_needs_score"}):
        raise SettingsError(f"[change] has an unknown key {extra[0]!r}")
    return rules


def _finding_rule(entry: dict[str, Any], where: str, caps: Mapping[Level, int]) -> FindingRule:
    names = tuple(FindingRule.__dataclass_fields__)
    if extra := sorted(set(entry) - set(names)):
        raise SettingsError(f"[{where}] has an unknown key {extra[0]!r}; known: {', '.join(names)}")
    category = entry.get("category")
    if type(category) is not int or category not in (0, 1, 2, 3):
        raise SettingsError(f"[{where}] category is 0, 1, 2 or 3, not {category!r}")
    source = entry.get("source")
    if not isinstance(source, str) or not source.strip():
        raise SettingsError(f"[{where}] needs a source: which guideline or study, or that it is the site's own choice")
    present, new, known, unsure = (_level(entry, situation, where) for situation in _SITUATIONS)
    if not _RANK[new] <= _RANK[present] <= _RANK[known]:
        raise SettingsError(f"[{where}] must keep new ({new}) as urgent as present ({present}) at least, and that as known")
    if Level.NOT_READ in {present, new, known}:
        raise SettingsError(f"[{where}] present, new and known are STAT, URGENT, UNSURE or ROUTINE")
    if unsure not in (Level.UNSURE, Level.ROUTINE):
        raise SettingsError(f"[{where}] unsure is UNSURE or ROUTINE, not {unsure}")
    cap = _minutes(entry, "cap_minutes", where)
    if cap > caps[present]:
        raise SettingsError(f"[{where}] cap_minutes {cap} is longer than {present} may wait ({caps[present]})")
    if present is Level.ROUTINE and cap < caps[Level.NOT_READ]:
        raise SettingsError(
            f"[{where}] cap_minutes {cap} would put a routine study before one not read ({caps[Level.NOT_READ]})"
        )
    return FindingRule(
        category, present, new, known, unsure,
        unsure_from=_number(entry, "unsure_from", where, 0.0, 1.0),
        weight=_number(entry, "weight", where, 0.0, 1.0),
        cap_minutes=cap,
        source=source,
    )  # fmt: skip


def _table(table: dict[str, Any], name: str) -> dict[str, Any]:
    entry = table.get(name)
    if not isinstance(entry, dict):
        raise SettingsError(f"the table [{name}] is missing")
    return entry


def _level(entry: dict[str, Any], key: str, where: str) -> Level:
    value = entry.get(key)
    if value not in [level.value for level in Level]:
        raise SettingsError(f"[{where}] {key} is one of {', '.join(Level)}, not {value!r}")
    return Level(value)


def _number(entry: dict[str, Any], key: str, where: str, low: float, high: float) -> float:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise SettingsError(f"[{where}] {key} is a number from {low:g} to {high:g}, not {value!r}")
    return float(value)


def _minutes(entry: dict[str, Any], key: str, where: str) -> int:
    value = entry.get(key)
    if type(value) is not int or not 1 <= value <= 60 * 24 * 31:
        raise SettingsError(f"[{where}] {key} is a whole number of minutes from 1 to 44640, not {value!r}")
    return value
