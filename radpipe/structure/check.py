"""Does a report agree with itself, and with the examination that it is about? Pure; nothing is ever corrected.

Every doubt is a Discrepancy: a kind, a sentence for the radiologist, and the pieces of text that it rests on. The checks
would rather miss one than cry wolf, so a denial that is narrower than the finding ("no large effusion"), findings that
stand in different places and names that cover several things are left alone. Wordings and lists are in
lexicon/common/check.toml; ACR categories in rules/triage.toml. Observations that a language model proposed are not
counted. See docs/structuring.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

from radpipe.codes import Laterality, finding_words
from radpipe.finding import ChangeKind
from radpipe.observation import Assertion, Discrepancy, Mention, Observation, Origin, Part, Span, StructuredReport
from radpipe.structure.check_examination import EXAMINATION_CHECKS, Examination
from radpipe.structure.check_text import ASSERTING, CheckText, check_table

IN_FINDINGS = frozenset({Part.FINDINGS, Part.UNHEADED})
IN_IMPRESSION = frozenset({Part.IMPRESSION})

_STATED = frozenset({Assertion.PRESENT, Assertion.UNCERTAIN})
_ONE_SIDE = frozenset({Laterality.LEFT, Laterality.RIGHT})
_BOTH_SIDES = "on both sides"
_NUMBER = r"\d{1,6}(?:\.\d{1,4})?"
_MEASURE = re.compile(
    rf"(?<![\d.])({_NUMBER})(?:\s{{0,3}}(?:x|by|-|to)\s{{0,3}}{_NUMBER}){{0,2}}\s{{0,3}}-?\s{{0,3}}(mm|cm|millim|centim)"
)


def check(
    report: StructuredReport, examination: Examination | None = None, *, categories: Mapping[str, int] | None = None
) -> tuple[Discrepancy, ...]:
    """What contradicts, in the order of the text. `categories`: ACR category of each finding, if not those that ship."""
    text = CheckText(report)
    found: list[Discrepancy] = list(_laterality_conflict(report))
    for observation in report.observations:
        for look in _FINDING_CHECKS:
            found += look(observation, text)
    found += _critical_without_action(report, text, categories or _acr_categories())
    for examine in EXAMINATION_CHECKS:
        found += examine(report, text, examination or Examination())
    return tuple(sorted(found, key=lambda item: (item.spans[0].start if item.spans else -1, item.kind)))


def _laterality_conflict(report: StructuredReport) -> Iterator[Discrepancy]:
    """Left in the findings, right in the impression; or both sides in one and one side in the other, which says less."""
    spoken: set[tuple[Span, Span]] = set()
    for observation in report.observations:
        above, below = _sided(observation, IN_FINDINGS), _sided(observation, IN_IMPRESSION)
        pairs = [(one, other) for one in above for other in below if _same_place(one, other)]
        sides_above, sides_below = _sides(one for one, _ in pairs), _sides(other for _, other in pairs)
        if not pairs or sides_above == sides_below or (pairs[0][0].span, pairs[0][1].span) in spoken:
            continue
        spans = (pairs[0][0].span, pairs[0][1].span)
        words = finding_words(observation.finding)
        if not sides_above & sides_below:
            related = _related(report, observation.finding, IN_FINDINGS)
            if _sides(one for one in related if any(_places_meet(one, other) for _, other in pairs)) & sides_below:
                continue  # "left opacity, right atelectasis", then "left atelectasis"
            message = f"The findings describe {words} {_where(sides_above)}, the impression {_where(sides_below)}."
            yield Discrepancy("laterality_conflict", message, spans)
            spoken.add(spans)
        elif observation.status is Assertion.PRESENT and observation.finding not in check_table()["many"]["findings"]:
            more, less = ("findings", "impression") if len(sides_above) > 1 else ("impression", "findings")
            fewer = sides_below if len(sides_above) > 1 else sides_above
            message = f"The {more} describe {words} on both sides, the {less} only {_where(fewer)}: a weak sign."
            yield Discrepancy("laterality_partial", message.replace("impression describe ", "impression describes "), spans)


def _related(report: StructuredReport, finding: str, parts: frozenset[Part]) -> list[Mention]:
    """What is stated on a side of findings whose names a report uses for this one."""
    names = {name for group in check_table()["related"].values() if finding in group for name in group}
    return [m for item in report.observations if item.finding in names for m in _sided(item, parts)]


def _impression_denied(observation: Observation, text: CheckText) -> Iterator[Discrepancy]:
    """Stated in the impression while the findings deny it, or the other way round."""
    words = finding_words(observation.finding)
    above, below = _in(observation, IN_FINDINGS), _in(observation, IN_IMPRESSION)
    for these, those, message in (
        (above, below, f"The impression states {words}, the findings deny it."),
        (below, above, f"The findings state {words}, the impression denies it."),
    ):
        if not these or any(mention.status in _STATED for mention in these):
            continue
        stated = [mention for mention in those if mention.status is Assertion.PRESENT and not _is_gone(mention)]
        if not stated or any(mention.status is Assertion.ABSENT for mention in those):
            continue
        pair = _contradiction(observation.finding, these, stated, text)
        if pair:
            denied, present = pair
            spans = (denied.span, present.span) if these is above else (present.span, denied.span)
            yield Discrepancy("impression_denied_by_findings", message, spans)


def _status_conflict(observation: Observation, text: CheckText) -> Iterator[Discrepancy]:
    """The same finding on the same side, stated and denied within one part."""
    for part, name in ((IN_FINDINGS, "findings"), (IN_IMPRESSION, "impression")):
        mentions = _in(observation, part)
        denied = [mention for mention in mentions if mention.status is Assertion.ABSENT]
        stated = [mention for mention in mentions if mention.status is Assertion.PRESENT and not _is_gone(mention)]
        pair = _contradiction(observation.finding, denied, stated, text)
        if pair:
            side = f" {_where({pair[1].laterality})}" if pair[1].laterality else ""
            spans = tuple(sorted((pair[0].span, pair[1].span), key=lambda span: span.start))
            yield Discrepancy(
                "status_conflict_same_part",
                f"The {name} both state and deny {finding_words(observation.finding)}{side}.",
                spans,
            )


def _size_conflict(observation: Observation, text: CheckText) -> Iterator[Discrepancy]:
    """The largest dimension differs between findings and impression by more than the rounding of the written numbers."""
    above = [mention for mention in _in(observation, IN_FINDINGS) if mention.sizes and mention.status in _STATED]
    below = [mention for mention in _in(observation, IN_IMPRESSION) if mention.sizes and mention.status in _STATED]
    pairs = [(a, b) for a in above for b in below if _same_place(a, b) and _sides_meet(a.laterality, b.laterality)]
    if not pairs:
        return
    sizes_above = {(max(size.mm), mention) for mention, _ in pairs for size in mention.sizes}
    sizes_below = {(max(size.mm), mention) for _, mention in pairs for size in mention.sizes}
    for one, first in sizes_above:
        for other, second in sizes_below:
            if abs(one - other) <= _rounding_mm(first, one, text) + _rounding_mm(second, other, text) + 0.01:
                return
    if len({size for size, _ in sizes_above}) == len({size for size, _ in sizes_below}) == 1:
        (one, first), (other, second) = next(iter(sizes_above)), next(iter(sizes_below))
        yield Discrepancy(
            "size_conflict",
            f"The findings give {one:g} mm for {finding_words(observation.finding)}, the impression {other:g} mm.",
            (first.span, second.span),
        )


_FINDING_CHECKS: tuple[Callable[[Observation, CheckText], Iterator[Discrepancy]], ...] = (
    _impression_denied, _status_conflict, _size_conflict,
)  # fmt: skip


def _critical_without_action(
    report: StructuredReport, text: CheckText, categories: Mapping[str, int]
) -> Iterator[Discrepancy]:
    """A finding that somebody must be told of at once, and no word that anybody was told or what to do."""
    if report.recommendations or report.communications:
        return
    if next(text.hits("action", parts=ASSERTING), None) is not None:
        return
    table = check_table()["critical"]
    named: set[str] = set()
    for observation in report.observations:
        if observation.status is not Assertion.PRESENT or observation.origin is not Origin.RULES:
            continue
        grade = categories.get(observation.finding, 0)
        known = _is_known(observation, text)
        if (0 < grade <= table["category"] and not known) or any(_is_asked(more, observation) for more in table["more"]):
            named.add(observation.finding)
            yield Discrepancy(
                "critical_without_action",
                f"{_capital(finding_words(observation.finding))} is stated; there is neither a recommendation nor word "
                "that anybody was told.",
                (observation.span,),
            )
    if named:
        return
    before, after = frozenset(table["not_before"]), frozenset(table["not_after"])
    for hit in text.hits("critical.words", parts=ASSERTING):
        said = text.sentences[hit.sentence].words
        if before.isdisjoint(said[: hit.first]) and after.isdisjoint(said[hit.end : hit.end + 5]):
            words = _capital(hit.name.replace("_", " "))
            message = f"{words}: there is neither a recommendation nor word that anybody was told."
            yield Discrepancy("critical_without_action", message, (text.sentence_span(hit.sentence),))
            return


def _is_known(observation: Observation, text: CheckText) -> bool:
    """Does the report say that it was there before, or is to be expected? One that grows is not."""
    if observation.change is not None and observation.change is not ChangeKind.NEW:
        return observation.change.value in check_table()["critical"]["changes_known"]
    spoken_of = {text.sentence_at(mention.span.start) for mention in observation.mentions}
    return any(next(text.hits_in(index, "critical", ("known",)), None) is not None for index in spoken_of if index >= 0)


def _is_asked(more: Mapping[str, object], observation: Observation) -> bool:
    """Does the observation meet an entry of [[critical.more]]? Every field that the entry names must agree."""
    severity, change = more.get("severity"), more.get("change")
    return (
        more["finding"] == observation.finding
        and (not isinstance(severity, list) or observation.severity in severity)
        and (not isinstance(change, list) or observation.change in change)
    )


@cache
def _acr_categories() -> Mapping[str, int]:
    from radpipe.triage import RULES_PATH, read_rules

    return {finding: rule.category for finding, rule in read_rules(RULES_PATH).findings.items()}


def _in(observation: Observation, parts: frozenset[Part]) -> list[Mention]:
    return [mention for mention in observation.mentions if mention.part in parts and mention.origin is Origin.RULES]


def _sided(observation: Observation, parts: frozenset[Part]) -> list[Mention]:
    """Mentions in these parts that state the finding on a side."""
    return [m for m in _in(observation, parts) if m.laterality is not None and m.status in _STATED and not _is_gone(m)]


def _sides(mentions: Iterable[Mention]) -> set[Laterality | None]:
    """The single sides that the mentions name."""
    named = {mention.laterality for mention in mentions}
    return set(_ONE_SIDE) if Laterality.BILATERAL in named else named


def _where(sides: set[Laterality] | set[Laterality | None]) -> str:
    one = next(iter(sides), None)
    return f"on the {one.value}" if len(sides) == 1 and one in _ONE_SIDE and one is not None else _BOTH_SIDES


def _is_gone(mention: Mention) -> bool:
    return mention.change is ChangeKind.RESOLVED


def _contradiction(
    finding: str, denied: Iterable[Mention], stated: Iterable[Mention], text: CheckText
) -> tuple[Mention, Mention] | None:
    """The first denial that leaves no room for a statement."""
    broad, many = (finding in check_table()[name]["findings"] for name in ("broad", "many"))
    for one in denied:
        if _is_gone(one) or text.narrow(one, broad=broad):
            continue
        for other in stated:
            if one.span == other.span or (one.laterality is not None and not _sides_meet(one.laterality, other.laterality)):
                continue
            if one.laterality is not None and other.laterality is None:
                continue
            if one.locations and many and not (other.locations and _same_place(one, other)):
                continue
            if not broad or (_term(one) == _term(other) and text.places(one) <= text.places(other)):
                return one, other
    return None


def _sides_meet(one: Laterality | None, other: Laterality | None) -> bool:
    return one is None or other is None or one is other or Laterality.BILATERAL in (one, other)


def _same_place(one: Mention, other: Mention) -> bool:
    """May both speak of the same thing? Yes where a single one exists; else where the places named agree."""
    if one.finding not in check_table()["many"]["findings"]:
        return True
    devices = {mention.device.kind for mention in (one, other) if mention.device is not None}
    if len(devices) > 1:
        return False
    return _places_meet(one, other)


def _places_meet(one: Mention, other: Mention) -> bool:
    places, others = _places(one), _places(other)
    return not places or not others or not places.isdisjoint(others)


def _places(mention: Mention) -> set[str]:
    """Names of places without their side: "left upper lobe" and "right upper lobe" are the same place of two sides."""
    return {_without_side(place.name) for place in mention.locations}


@cache
def _without_side(name: str) -> str:
    return re.sub(r"^(left|right|both|bilateral) ", "", name)


def _term(mention: Mention) -> str:
    """The term that fired, as the engine names it first; else the words themselves."""
    return mention.rules[0] if mention.rules else mention.span.quote.lower()


def _rounding_mm(mention: Mention, mm: float, text: CheckText) -> float:
    """Half of the last digit that was written: "2 cm" may be 15 to 25 mm, "2.0 cm" and "20 mm" not."""
    index = text.sentence_at(mention.span.start)
    words = text.sentence_span(index).quote if index >= 0 else mention.span.quote
    for number, unit in _MEASURE.findall(words):
        scale = 10.0 if unit.startswith("c") else 1.0
        if abs(float(number) * scale - mm) < 0.01:
            return 0.5 * scale * 10.0 ** -len(number.partition(".")[2])
    return 0.5


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
