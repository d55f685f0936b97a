"""Level, score, reasons and order of the worklist."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radpipe.codes import FINDINGS
from radpipe.errors import SettingsError
from radpipe.finding import Change, ChangeKind, Decision, Evidence, Finding, Level, Priority
from radpipe.reading import Reading
from radpipe.study import Patient, Study
from radpipe.triage import RULES_PATH, order_key, prioritise, read_rules, reading_order, urgency

RULES = read_rules()
THRESHOLD, RULE_OUT = 0.4, 0.2
NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)
RANK = {level: rank for rank, level in enumerate(Level)}


def _finding(name: str, probability: float) -> Finding:
    decision = Decision.PRESENT if probability >= THRESHOLD else Decision.UNSURE
    decision = Decision.ABSENT if probability < RULE_OUT else decision
    return Finding(name, FINDINGS[name], decision, probability, THRESHOLD, RULE_OUT, (Evidence("1.1"),))


def _change(name: str, kind: ChangeKind, score: float = 0.96) -> Change:
    return Change(name, kind, score, "1.1", "1.0")


def _priority(*findings: Finding, changed: tuple[Change, ...] = (), known: bool = True, read: bool = True) -> Priority:
    why = None if known and read else "no model for this"
    return prioritise(
        findings, changed, read=read, in_distribution=known, why_not=why, rules=RULES, prior_date=date(2025, 11, 2)
    )


def test_a_pneumothorax_is_stat_and_says_why() -> None:
    priority = _priority(_finding("pneumothorax", 0.83), _finding("cardiomegaly", 0.9))
    assert priority.level is Level.STAT
    assert priority.reasons[0] == "pneumothorax 0.83 (threshold 0.40): ACR category 1, tell within minutes"
    assert priority.cap_s == 15 * 60


def test_category_two_is_urgent_and_three_is_routine_but_before_the_normal() -> None:
    assert _priority(_finding("pneumonia", 0.6)).level is Level.URGENT
    mass, normal = _priority(_finding("mass", 0.6)), _priority(_finding("mass", 0.01))
    assert (mass.level, normal.level) == (Level.ROUTINE, Level.ROUTINE)
    assert mass.score > normal.score == 0
    assert normal.reasons == ("none of the 1 findings assessed is present",)


def test_doubt_moves_a_study_only_for_categories_one_and_two() -> None:
    assert _priority(_finding("pneumothorax", 0.21)).level is Level.UNSURE
    assert _priority(_finding("pneumonia", 0.38)).level is Level.UNSURE
    assert _priority(_finding("pneumonia", 0.25)).level is Level.ROUTINE  # doubt nearer to rule-out than to threshold
    assert _priority(_finding("nodule", 0.39)).level is Level.ROUTINE


def test_a_study_not_read_waits_by_arrival_and_says_why() -> None:
    priority = _priority(read=False)
    assert (priority.level, priority.reasons) == (Level.NOT_READ, ("not read by a model: no model for this",))


def test_an_image_unlike_the_training_images_is_unsure_but_keeps_what_is_worse() -> None:
    assert _priority(_finding("mass", 0.1), known=False).level is Level.UNSURE
    worse = _priority(_finding("pneumothorax", 0.9), known=False)
    assert worse.level is Level.STAT
    assert any("unlike the images" in reason for reason in worse.reasons)


def test_a_reading_without_any_finding_is_no_all_clear() -> None:
    assert _priority().level is Level.UNSURE


def test_what_is_new_is_more_urgent_and_what_is_known_less() -> None:
    effusion = _finding("pleural_effusion", 0.7)
    alone = _priority(effusion)
    new = _priority(effusion, changed=(_change("pleural_effusion", ChangeKind.NEW),))
    known = _priority(effusion, changed=(_change("pleural_effusion", ChangeKind.UNCHANGED, 0.9),))
    assert (alone.level, new.level, known.level) == (Level.URGENT, Level.URGENT, Level.ROUTINE)
    assert new.score > alone.score
    assert "unchanged since 2025-11-02: less urgent, ROUTINE instead of URGENT" in known.reasons[0]
    assert "; new since 2025-11-02" in new.reasons[0]


def test_a_new_opacity_is_urgent_and_one_without_prior_is_not() -> None:
    opacity = _finding("lung_opacity", 0.7)
    assert _priority(opacity).level is Level.ROUTINE
    assert _priority(opacity, changed=(_change("lung_opacity", ChangeKind.NEW),)).level is Level.URGENT


def test_an_unchanged_finding_of_category_one_stays_stat_with_words() -> None:
    changed = (_change("pneumothorax", ChangeKind.UNCHANGED, 1.0),)
    priority = _priority(_finding("pneumothorax", 0.83), changed=changed)
    assert priority.level is Level.STAT
    assert "unchanged since 2025-11-02: less urgent" in priority.reasons[0]


def test_unchanged_lowers_only_if_the_readings_agree() -> None:
    changed = (_change("pleural_effusion", ChangeKind.UNCHANGED, 0.1),)
    priority = _priority(_finding("pleural_effusion", 0.7), changed=changed)
    assert priority.level is Level.URGENT
    assert "not close enough to be less urgent" in priority.reasons[0]


def test_not_comparable_changes_nothing() -> None:
    effusion = _finding("pleural_effusion", 0.7)
    assert _priority(effusion, changed=(_change("pleural_effusion", ChangeKind.NOT_COMPARABLE),)) == _priority(effusion)


PROBABILITIES = st.lists(st.floats(0, 1), min_size=len(FINDINGS), max_size=len(FINDINGS))
CHANGES = st.dictionaries(st.sampled_from(sorted(FINDINGS)), st.tuples(st.sampled_from(ChangeKind), st.floats(0, 1)))


@given(PROBABILITIES, CHANGES, st.integers(0, len(FINDINGS) - 1), st.floats(0, 1), st.booleans())
def test_a_higher_probability_never_makes_a_study_less_urgent(
    probabilities: list[float], changed: dict[str, tuple[ChangeKind, float]], which: int, more: float, known: bool
) -> None:
    changes = tuple(_change(name, kind, score) for name, (kind, score) in changed.items())
    names = list(FINDINGS)
    low = [_finding(name, probability) for name, probability in zip(names, probabilities, strict=True)]
    high = list(low)
    high[which] = _finding(names[which], max(probabilities[which], more))
    before = _priority(*low, changed=changes, known=known)
    after = _priority(*high, changed=changes, known=known)
    assert (RANK[after.level], -after.score) <= (RANK[before.level], -before.score)
    for priority in (before, after):
        assert priority.reasons
        assert 0 <= priority.score <= 1
        assert priority.cap_s > 0
        assert (priority.level is Level.STAT) == any("category 1" in reason and "unsure" not in reason
                                                     for reason in priority.reasons)  # fmt: skip


# --- the order of the list -------------------------------------------------------------------------------------------


def _item(level: Level, minutes_ago: float, score: float = 0.0, cap_min: int | None = None) -> tuple[Reading, datetime]:
    uid = f"1.{level}.{minutes_ago}.{score}"
    cap = RULES.cap_minutes[level] if cap_min is None else cap_min
    reading = Reading(
        run_key=uid, study=Study(uid, Patient("P")), not_read_reason=None, choices=(), findings=(), prior=None,
        why_no_prior=None, changes=(), priority=Priority(level, score, ("made up",), 60 * cap), report=None, model=None,
    )  # fmt: skip
    return reading, NOW - timedelta(minutes=minutes_ago)


def _levels(items: list[tuple[Reading, datetime]]) -> list[tuple[Level, float]]:
    random.Random(3).shuffle(items)
    return [(reading.priority.level, (NOW - arrived).seconds / 60) for reading, arrived in reading_order(items, NOW)]


def test_the_list_is_by_level_then_score_then_arrival() -> None:
    order = _levels([
        _item(Level.ROUTINE, 9, 0.1), _item(Level.ROUTINE, 8, 0.1), _item(Level.ROUTINE, 1, 0.9), _item(Level.NOT_READ, 2),
        _item(Level.UNSURE, 3, 0.9), _item(Level.UNSURE, 4, 0.1), _item(Level.URGENT, 5), _item(Level.STAT, 6),
    ])  # fmt: skip
    assert order == [
        (Level.STAT, 6), (Level.URGENT, 5), (Level.UNSURE, 4), (Level.UNSURE, 3), (Level.NOT_READ, 2), (Level.ROUTINE, 1),
        (Level.ROUTINE, 9), (Level.ROUTINE, 8),
    ]  # fmt: skip


def test_a_study_past_its_cap_goes_to_the_top_of_urgent() -> None:
    order = _levels([
        _item(Level.ROUTINE, 1430, 0.9), _item(Level.ROUTINE, 500, 0.0, cap_min=480), _item(Level.URGENT, 10, 1.0),
        _item(Level.STAT, 1), _item(Level.NOT_READ, 300),
    ])  # fmt: skip
    assert order == [
        (Level.STAT, 1), (Level.NOT_READ, 300), (Level.ROUTINE, 500), (Level.URGENT, 10), (Level.ROUTINE, 1430),
    ]  # fmt: skip


ITEM = st.tuples(st.sampled_from(Level), st.floats(0, 3000), st.floats(0, 1))


@given(st.lists(ITEM, max_size=20))
def test_not_read_is_never_below_a_routine_study_that_came_later(rows: list[tuple[Level, float, float]]) -> None:
    order = reading_order([_item(*row) for row in rows], NOW)
    for place, (reading, arrived) in enumerate(order):
        if reading.priority.level in (Level.NOT_READ, Level.UNSURE):
            above = order[:place]
            assert not any(r.priority.level is Level.ROUTINE and came > arrived for r, came in above)


@given(st.sampled_from([level for level in Level if level is not Level.STAT]), st.lists(ITEM, max_size=20))
def test_nothing_starves(level: Level, rows: list[tuple[Level, float, float]]) -> None:
    """Once past its cap, no study that arrives later and is not itself STAT or overdue longer is read before it."""
    waiting = Priority(level, 0.0, ("made up",), 60 * RULES.cap_minutes[level])
    arrived = NOW - timedelta(minutes=RULES.cap_minutes[level] + 1)
    for other, minutes, score in rows:
        fresh = Priority(other, score, ("made up",), 60 * RULES.cap_minutes[other])
        came = NOW - timedelta(minutes=min(minutes, RULES.cap_minutes[other]))
        ahead = order_key(fresh, came, NOW) < order_key(waiting, arrived, NOW)
        assert ahead == (other is Level.STAT)


def test_the_order_works_without_time_zones_and_without_a_cap() -> None:
    local = datetime(2024, 2, 29, 12)
    never = Priority(Level.ROUTINE, 0.0, ("made up",))
    assert order_key(never, local - timedelta(days=400), local)[0] == RANK[Level.ROUTINE]


# --- the rule table --------------------------------------------------------------------------------------------------


def test_every_finding_has_a_rule_with_a_source_and_urgency_starts_with_category_one() -> None:
    assert set(RULES.findings) == set(FINDINGS)
    assert all(rule.source for rule in RULES.findings.values())
    assert urgency(RULES)[:2] == ("pneumothorax", "pneumoperitoneum")
    for name, rule in RULES.findings.items():
        assert (rule.present is Level.STAT) == (rule.category == 1), name
        quiet = Level.UNSURE if name == "abnormal" else Level.ROUTINE  # something is there: look before the routine
        assert rule.category or (rule.present is quiet and rule.unsure is quiet), name


def test_a_finding_without_a_rule_is_routine() -> None:
    strange = replace(_finding("mass", 0.9), finding="strange_thing")
    assert _priority(strange).level is Level.ROUTINE


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "format must be 1"),
        ("[levels]", "[level]", "unknown table or key 'level'"),
        ("STAT = 15", "STAT = 999", r"\[levels\] STAT may not wait longer \(999\) than URGENT"),
        ("STAT = 15", "STAT = 'soon'", r"\[levels\] STAT is a whole number of minutes"),
        ("NOT_READ = 240\n", "", r"\[levels\] must name"),
        ("category = 1", "category = 9", r"\[findings.pneumothorax\] category is 0, 1, 2 or 3, not 9"),
        ('present = "STAT"', 'present = "NOW"', r"\[findings.pneumothorax\] present is one of STAT, .* not 'NOW'"),
        ('new = "STAT"', 'new = "ROUTINE"', "must keep new"),
        ('unsure = "UNSURE"', 'unsure = "STAT"', "unsure is UNSURE or ROUTINE, not STAT"),
        ("weight = 1.0", "weight = 1.5", "weight is a number from 0 to 1, not 1.5"),
        ("weight = 1.0", "wieght = 1.0", "unknown key 'wieght'"),
        ("cap_minutes = 15", "cap_minutes = 20", "longer than STAT may wait"),
        ('cap_minutes = 1440\nsource = "no rule', 'cap_minutes = 60\nsource = "no rule', "before one not read"),
        ("raised = 1.25", "raised = 0.5", r"\[change\] raised is a number from 1 to 10"),
        ("lowered = 0.5", "lowered = 0.5\nlow = 1", r"\[change\] has an unknown key 'low'"),
        ("format = 1", "format = = 1", "not valid TOML"),
    ],
)
def test_a_faulty_rule_table_is_refused_with_the_place(old: str, new: str, message: str) -> None:
    text = RULES_PATH.read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(SettingsError, match=message):
        read_rules(text.replace(old, new, 1).encode())


def test_a_rule_without_a_source_is_refused() -> None:
    lines = RULES_PATH.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("source = "))
    lines[first] = 'source = " "'
    with pytest.raises(SettingsError, match="needs a source"):
        read_rules("\n".join(lines).encode())


def test_a_missing_rule_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"cannot read the triage rules .*nowhere.toml"):
        read_rules(RULES_PATH.with_name("nowhere.toml"))


def _reported(name: str, probability: float, *changed: Change, reported: dict[str, date]) -> Priority:
    return prioritise(
        [_finding(name, probability)], changed, read=True, in_distribution=True, why_not=None, rules=RULES,
        prior_date=date(2025, 11, 2), reported=reported,
    )  # fmt: skip


def test_what_an_earlier_report_stated_present_is_not_raised_as_new_and_says_so() -> None:
    day = {"lung_opacity": date(2025, 11, 20)}
    new = _change("lung_opacity", ChangeKind.NEW)
    raised = _reported("lung_opacity", 0.6, new, reported={})
    calm = _reported("lung_opacity", 0.6, new, reported=day)
    alone = _reported("lung_opacity", 0.6, reported=day)
    assert (raised.level, calm.level) == (Level.URGENT, Level.ROUTINE)
    assert (calm.level, calm.score, calm.cap_s) == (alone.level, alone.score, alone.cap_s)  # as with no prior: never calmer
    assert calm.reasons[0].endswith(
        "; new since 2025-11-02 by the images, but reported present on 2025-11-20: not raised as new"
    )


@pytest.mark.parametrize(
    "kind", [ChangeKind.INCREASED, ChangeKind.UNCHANGED, ChangeKind.DECREASED, ChangeKind.NOT_COMPARABLE]
)
def test_an_earlier_report_touches_nothing_but_what_is_new(kind: ChangeKind) -> None:
    changed = _change("pleural_effusion", kind)
    day = {"pleural_effusion": date(2025, 11, 20)}
    assert _reported("pleural_effusion", 0.6, changed, reported=day) == _reported(
        "pleural_effusion", 0.6, changed, reported={}
    )


def test_a_pneumothorax_stays_stat_whatever_was_reported() -> None:
    new = _change("pneumothorax", ChangeKind.NEW)
    assert _reported("pneumothorax", 0.6, new, reported={"pneumothorax": date(2025, 11, 20)}).level is Level.STAT
