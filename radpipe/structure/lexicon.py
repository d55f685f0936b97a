"""A lexicon: the findings of one body part and the cues common to all, read from TOML and compiled once.

A lexicon is a folder with `lexicon.toml` (name, version, order), `locations.toml` and one file per finding; the cues of
denial, doubt, degree, side and change are in `common/`. docs/structuring.md explains the format. Clinical knowledge stands
in those files alone.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from radpipe.codes import Code, Laterality
from radpipe.errors import StructureError
from radpipe.finding import ChangeKind
from radpipe.observation import Assertion, Device, Location, Severity
from radpipe.structure.phrases import Phrases
from radpipe.structure.spelling import Spelling

M = TypeVar("M")

LEXICONS = Path(__file__).parent / "lexicon"
_COMMON = LEXICONS / "common"
_OTHER_FILES = frozenset({"lexicon", "locations", "positions", "words"})
_FINDING_KEYS = frozenset({
    "finding", "code", "meaning", "sides", "degrees", "terms", "signs", "hedged", "denied", "only_denied", "ignored",
    "subject", "term", "source",
})  # fmt: skip
_SUBJECT_KEYS = frozenset({"names", "adjectives", "abnormal", "hedged", "normal"})
_TERM_KEYS = frozenset({"phrases", "status", "severity", "laterality", "device", "code", "change", "unnamed"})


OTHER = "other"
"""The finding of an OTHER rule: never listed."""


class Kind(IntEnum):
    """What a phrase does."""

    TERM = 1  # names a finding
    ONLY_DENIED = 2  # names a finding where it is denied, and nothing where it is not ("no acute bony abnormality")
    SUBJECT = 3  # names the anatomy whose state tells of a finding
    ADJECTIVE = 4  # the same, where a list goes on ("cardiac and mediastinal contours")
    ABNORMAL = 5  # a state of a subject that is the finding
    BORDERLINE = 6  # a state that may be
    NORMAL = 7  # a state that excludes it
    IGNORED = 8
    OTHER = 24  # names something that is no finding of this lexicon, and may be what an opacity is
    DENIES = 9  # what follows
    DENIED = 10  # what stands before
    DOUBTS = 11  # what follows
    LINKS = 12  # doubts what follows, and says that the finding before it may be that
    DOUBTED = 13  # what stands before
    BETWEEN = 14  # alternatives
    NAMES = 15  # says without doubt what the finding before it is
    SUPPOSES = 16  # what follows is not said of the image
    RECALLS = 17  # what follows was so once
    STOP = 18
    CLAUSE = 19
    SIDE = 20
    DEGREE = 21
    CHANGE = 22
    PLACE = 23


CUES = frozenset({
    Kind.DENIES, Kind.DOUBTS, Kind.LINKS, Kind.NAMES, Kind.STOP, Kind.CLAUSE, Kind.SUPPOSES, Kind.RECALLS, Kind.BETWEEN,
})  # fmt: skip
"""What separates the words of one finding from those of the next."""

STATES = frozenset({Kind.NORMAL, Kind.ABNORMAL, Kind.BORDERLINE})
"""What can be said of a SUBJECT."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One phrase's meaning. `label` is what --explain prints: where the rule stands and its wording."""

    kind: Kind
    label: str
    finding: str = ""
    group: int = 0  # of a SUBJECT and its states
    status: Assertion | None = None
    laterality: Laterality | None = None
    severity: Severity | None = None
    change: ChangeKind | None = None
    location: Location | None = None
    device: Device | None = None
    unnamed: bool = False  # a device's mere part or heading ("tip", "lines"): a named one beside it is meant
    sign: bool = False  # a mere sign of the finding ("calcification"), or a weak word of change ("again")


@dataclass(frozen=True, slots=True)
class FindingEntry:
    """What the lexicon says of a finding as a whole."""

    finding: str
    code: Code
    sides: bool
    degrees: bool = True  # False: a word of degree describes it and grades nothing ("small surgical clips")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Compiled phrases and the facts about findings. `identity` names it: "chest 1.0 3fa9c1..."."""

    name: str
    title: str
    body_part: str
    identity: str
    order: tuple[str, ...]
    findings: Mapping[str, FindingEntry]
    named: Mapping[str, frozenset[str]]
    kinds_of: frozenset[str]  # findings whose "or" lists kinds ("screws or plates") and no alternatives
    standing: frozenset[str]  # findings that a text which only supposes still states ("evaluate line placement")
    diffuse: frozenset[str]  # findings that what lies beside them does not place
    described: frozenset[str]  # findings of which "increased" describes and does not compare
    cues: frozenset[str]
    verbs: frozenset[str]
    spelling: Spelling
    phrases: Phrases[Rule]
    modifiers: Phrases[Rule]  # side, degree and place alone: what a longer term holds ("biapical pleural thickening")
    folder: Path
    memory: dict[tuple[str, ...], Any] = field(default_factory=dict, repr=False, compare=False)  # see reader.py
    idle: set[tuple[object, ...]] = field(default_factory=set, repr=False, compare=False)  # see engine.py

    @property
    def codes(self) -> Mapping[str, Code]:
        """Finding -> code."""
        return {name: entry.code for name, entry in self.findings.items()}


@cache
def grammar(name: str) -> frozenset[str]:
    """A list of function words, from common/words.toml."""
    return frozenset(_table(_COMMON / "words.toml")["grammar"][name])


@cache
def lexicon_names() -> tuple[str, ...]:
    """The lexicons that ship with radpipe."""
    return tuple(sorted(path.parent.name for path in LEXICONS.glob("*/lexicon.toml")))


@cache
def open_lexicon(name: str = "chest") -> Lexicon:
    """A lexicon by name, or by the path of its folder. Raises StructureError when it is unknown or cannot be read."""
    folder = LEXICONS / name if name in lexicon_names() else Path(name)
    if not (folder / "lexicon.toml").is_file():
        raise StructureError(
            f"there is no lexicon {name!r}: choose {', '.join(lexicon_names())} or a folder with a lexicon.toml"
        )
    return _compile(folder)


@cache
def _cues() -> dict[str, frozenset[str]]:
    return {name: frozenset(_table(LEXICONS / name / "lexicon.toml").get("cues", ())) for name in lexicon_names()}


_LETTERS = re.compile(r"[a-z]+")


_PUNCTUATION = str.maketrans(dict.fromkeys(".,;:!?()[]/-*#\n\"'", " "))


def choose_lexicon(text: str) -> str:
    """The shipped lexicon whose words the text uses most; "chest" when none is used more than another."""
    words = set(text[:20_000].lower().translate(_PUNCTUATION).split())
    return max(("chest", *lexicon_names()), key=lambda name: len(words & _cues()[name]))


def _compile(folder: Path) -> Lexicon:
    head = _table(folder / "lexicon.toml")
    words = _table(_COMMON / "words.toml")
    local = _table(folder / "words.toml") if (folder / "words.toml").is_file() else {}
    alternatives = {**words["alternatives"], **local.get("alternatives", {})}
    files = [path for path in sorted(folder.glob("*.toml")) if path.stem not in _OTHER_FILES]
    entries: dict[str, FindingEntry] = {}
    rules: list[tuple[str, Rule]] = [*_common_rules(), *_places(folder / "locations.toml")]
    for name, phrases_of in head.get("unlisted", {}).items():
        rules.extend((phrase, Rule(Kind.OTHER, f"{name}: {phrase}", name)) for phrase in phrases_of)
    for path in files:
        table = _table(path)
        _refuse_unknown(table, _FINDING_KEYS, path)
        try:
            entry = FindingEntry(
                table["finding"],
                Code.parse(table["code"], table["meaning"]),
                bool(table.get("sides", True)),
                bool(table.get("degrees", True)),
            )
        except (KeyError, ValueError) as error:
            raise StructureError(f"{path.name}: needs finding, code (SCHEME:VALUE) and meaning ({error})") from error
        if entry.finding in entries:
            raise StructureError(f"{path.name}: the finding {entry.finding} has a file already")
        entries[entry.finding] = entry
        rules.extend(_finding_rules(table, path))
    for phrase, rule in rules:
        if not isinstance(phrase, str):
            raise StructureError(f"a phrase of {rule.label.split(':')[0]} is {phrase!r}: write it between quotation marks")
    if missing := [key for key in ("name", "version", "title") if not isinstance(head.get(key), str)]:
        raise StructureError(f"{folder.name}/lexicon.toml: needs {', '.join(missing)}, each a text")
    texts = [phrase for phrase, _ in rules] + list(alternatives.values())
    spelling = Spelling(
        {**words["spelling"], **local.get("spelling", {})},
        {word for text in texts for word in _LETTERS.findall(text.lower())},
        frozenset(words["keep"]["words"]),
        frozenset(words["distinct"]["words"]) | frozenset(local.get("distinct", {}).get("words", ())),
    )
    phrases: Phrases[Rule] = Phrases(alternatives, spelling.read, _meaning)
    modifiers: Phrases[Rule] = Phrases(alternatives, spelling.read, _meaning)
    for phrase, rule in rules:
        phrases.add(phrase, rule)
        if rule.kind in {Kind.SIDE, Kind.DEGREE, Kind.PLACE}:
            modifiers.add(phrase, rule)
    order = tuple(head.get("order", sorted(entries)))
    if set(order) != set(entries):
        raise StructureError(
            f"{folder.name}/lexicon.toml: `order` and the files differ in {sorted(set(order) ^ set(entries))}"
        )
    digest = hashlib.sha256(
        b"".join(path.read_bytes() for path in [*sorted(folder.glob("*.toml")), *sorted(_COMMON.glob("*.toml"))])
    )
    return Lexicon(
        head["name"], head["title"], head.get("body_part", ""),
        f"{head['name']} {head['version']} {digest.hexdigest()[:12]}", order, entries,
        {name: frozenset(targets) for name, targets in head.get("named", {}).items()},
        frozenset(head.get("kinds_of", ())), frozenset(head.get("standing", ())), frozenset(head.get("diffuse", ())),
        frozenset(head.get("described", ())), frozenset(head.get("cues", ())),
        frozenset(words["verbs"]["words"]), spelling, phrases, modifiers, folder,
    )  # fmt: skip


def _meaning(rule: Rule) -> Hashable:
    """Two phrases of one meaning over the same words are one mention."""
    place = rule.location.name if rule.location else ""
    return rule.kind, rule.finding, rule.group, rule.status, rule.laterality, rule.severity, rule.change, place, rule.sign


def _finding_rules(table: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Rule]]:
    finding = table["finding"]

    def rule(kind: Kind, phrase: str, **more: Any) -> tuple[str, Rule]:
        return phrase, Rule(kind, f"{finding}: {phrase}", finding, **more)

    yield from (rule(Kind.TERM, phrase) for phrase in table.get("terms", ()))
    yield from (rule(Kind.TERM, phrase, sign=True) for phrase in table.get("signs", ()))
    yield from (rule(Kind.TERM, phrase, status=Assertion.UNCERTAIN) for phrase in table.get("hedged", ()))
    yield from (rule(Kind.TERM, phrase, status=Assertion.ABSENT) for phrase in table.get("denied", ()))
    yield from (rule(Kind.ONLY_DENIED, phrase) for phrase in table.get("only_denied", ()))
    yield from ((phrase, Rule(Kind.OTHER, f"not {finding}: {phrase}", OTHER)) for phrase in table.get("ignored", ()))
    for term in table.get("term", ()):
        _refuse_unknown(term, _TERM_KEYS, path)
        code = Code.parse(term["code"], term["device"].capitalize()) if "code" in term else None
        more = {
            "status": _member(Assertion, term.get("status"), path),
            "severity": _member(Severity, term.get("severity"), path),
            "laterality": _member(Laterality, term.get("laterality"), path),
            "change": _member(ChangeKind, term.get("change"), path),
            "device": Device(term["device"], code) if "device" in term else None,
            "unnamed": bool(term.get("unnamed", False)),
        }
        yield from (rule(Kind.TERM, phrase, **more) for phrase in term["phrases"])
    for group, subject in enumerate(table.get("subject", ())):
        _refuse_unknown(subject, _SUBJECT_KEYS, path)
        kinds = {
            "names": Kind.SUBJECT,
            "adjectives": Kind.ADJECTIVE,
            "abnormal": Kind.ABNORMAL,
            "hedged": Kind.BORDERLINE,
            "normal": Kind.NORMAL,
        }
        for key, kind in kinds.items():
            yield from (rule(kind, phrase, group=group) for phrase in subject.get(key, ()))


def _common_rules() -> Iterator[tuple[str, Rule]]:
    def cues(stem: str, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, Rule]]:
        table = _table(_COMMON / f"{stem}.toml")
        for key, kind in kinds.items():
            yield from ((phrase, Rule(kind, f"{stem}, {key}: {phrase}")) for phrase in table[key])

    yield from cues(
        "negation",
        {"before": Kind.DENIES, "after": Kind.DENIED, "false": Kind.IGNORED, "stop": Kind.STOP, "clause": Kind.CLAUSE},
    )
    yield from cues("uncertainty", {
        "before": Kind.DOUBTS, "link": Kind.LINKS, "after": Kind.DOUBTED, "between": Kind.BETWEEN, "definite": Kind.NAMES,
        "hypothetical": Kind.SUPPOSES, "recalled": Kind.RECALLS,
    })  # fmt: skip
    yield "{normal}", Rule(Kind.NORMAL, "normal")
    degrees = _table(_COMMON / "degree.toml")
    for severity in Severity:
        yield from (
            (phrase, Rule(Kind.DEGREE, f"degree, {severity}: {phrase}", severity=severity)) for phrase in degrees[severity]
        )
    yield from ((phrase, Rule(Kind.IGNORED, f"not a degree: {phrase}")) for phrase in degrees["none"])
    sides = _table(_COMMON / "side.toml")
    for side in Laterality:
        yield from ((phrase, Rule(Kind.SIDE, f"side, {side}: {phrase}", laterality=side)) for phrase in sides[side])
    yield from ((phrase, Rule(Kind.IGNORED, f"not a side: {phrase}")) for phrase in sides["none"])
    changes = _table(_COMMON / "change.toml")
    for name, table in changes.items():
        change = None if name == "blanket" else _member(ChangeKind, name, _COMMON / "change.toml")
        kind = Kind.IGNORED if change is None else Kind.CHANGE
        for key in ("words", "still", "than", "weak"):
            for phrase in table.get(key, ()):
                yield phrase, Rule(kind, f"change, {name}: {phrase}", change=change, sign=key == "weak")


def _places(path: Path) -> Iterator[tuple[str, Rule]]:
    table = _table(path) if path.is_file() else {}
    for letter, count in table.get("levels", {}).items():
        for level in range(1, count + 1):
            yield f"{letter} {level}", Rule(Kind.PLACE, f"location: {letter}{level}", location=Location(f"{letter}{level}"))
    for entry in table.get("location", ()):
        side = _member(Laterality, entry.get("side"), path)
        code = Code.parse(entry["code"], entry["name"].capitalize()) if "code" in entry else None
        place = Location(entry["name"], code, side)
        for phrase in entry["words"]:
            yield phrase, Rule(Kind.PLACE, f"location: {phrase}", laterality=side, location=place)


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise StructureError(f"{path.name}: cannot be read as TOML: {error}") from error


def _refuse_unknown(table: Iterable[str], known: frozenset[str], path: Path) -> None:
    if unknown := sorted(set(table) - known):
        raise StructureError(f"{path.name}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _member(members: Callable[[str], M], value: str | None, path: Path) -> M | None:
    try:
        return None if value is None else members(value)
    except ValueError as error:
        raise StructureError(f"{path.name}: {error}") from error
