"""One sentence read: where it speaks of findings, and what it says of each.

A finding is named by a term ("effusion"), or told by the state of an anatomy ("the heart is enlarged", "costophrenic
angles are sharp"). Side, degree, change, place and size are taken from the words around it: what stands between two
findings belongs to the one on its side of the last comma, conjunction or cue. Items of a list share what is said once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from radpipe.codes import Laterality
from radpipe.finding import ChangeKind
from radpipe.observation import Assertion, Device, Location, Severity, Size
from radpipe.structure.lexicon import Kind, Lexicon, Rule
from radpipe.structure.measure import sizes
from radpipe.structure.positions import position
from radpipe.structure.scope import Event, Scope
from radpipe.structure.text import Sentence

_STATES = frozenset({Kind.NORMAL, Kind.ABNORMAL, Kind.BORDERLINE})
_ANCHORS = frozenset({Kind.TERM, Kind.ONLY_DENIED, *_STATES})
_TERMS = frozenset({Kind.TERM, Kind.ONLY_DENIED, Kind.OTHER})
_CUES = frozenset({Kind.DENIES, Kind.DOUBTS, Kind.LINKS, Kind.NAMES, Kind.STOP, Kind.CLAUSE, Kind.SUPPOSES, Kind.RECALLS, Kind.BETWEEN})
_ENDS_LIST = frozenset({Kind.STOP, Kind.DENIES, Kind.TERM, Kind.CLAUSE, Kind.DOUBTS, Kind.LINKS})
_BREAKS = _CUES - {Kind.BETWEEN, Kind.STOP}
_MODIFIERS = frozenset({Kind.SIDE, Kind.DEGREE, Kind.CHANGE, Kind.PLACE})
_JOINTS = frozenset({",", "and", "or", "with", "well", "/", ";", ":", "which", "that", "plus", "(", ")", "causing"})
_LIST = frozenset({",", "and", "or", "/", "nor"})
_PREPOSITIONS = frozenset({"in", "of", "at", "within", "on", "involving", "overlying", "along", "near", "over", "throughout", "projecting", "to", "from"})
_PRONOUNS = frozenset({"this", "these", "it", "they", "which", "findings", "finding", "appearance", "that", "those", "possibly", "probably", "likely", "may", "could", "might", "xxxx", "favor", "differential"})
_RANK = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(slots=True)
class Draft:
    """One mention while it is being read. Words are counted within its sentence."""

    finding: str
    first: int
    end: int
    status: Assertion | None
    sentence: Sentence
    supposed: bool = False
    named: bool = False  # the report goes on to say what it is
    from_words: int = 0  # of the quote
    to_words: int = 0
    sides: list[Laterality] = field(default_factory=list)
    severity: Severity | None = None
    change: ChangeKind | None = None
    places: list[Location] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    device: Device | None = None
    rules: list[str] = field(default_factory=list)
    subject: tuple[int, int] = (0, 0)  # the words of the anatomy whose state this is
    sign: bool = False
    source: str = ""  # the finding that this one may explain
    unlisted: bool = False  # no finding of the lexicon: it bounds the others' words, and may name them

    def widen(self, first: int, end: int) -> None:
        """Let the quote hold these words too."""
        self.from_words = min(self.from_words, first)
        self.to_words = max(self.to_words, end)


def read_sentence(sentence: Sentence, lexicon: Lexicon, previous: Sequence[Draft]) -> list[Draft]:
    """The mentions of a sentence, in order. `previous` are those of the sentence before, in the same part."""
    read = lexicon.spelling.read
    words = [read(word) for word in sentence.words]
    events = [Event(first, end, rule) for first, end, rules in lexicon.phrases.matches(words) for rule in rules]
    if not any(event.rule.kind in _ANCHORS for event in events):
        _change_alone(words, events, previous)
        return []
    scope = Scope(words, events, lexicon)
    drafts = _anchors(sentence, scope)
    if not drafts:
        _change_alone(words, events, previous)
        return []
    _alternatives(scope, drafts, lexicon)
    drafts = [draft for draft in drafts if _judge(scope, draft)]
    groups = _groups(drafts)
    _attributes(scope, groups, lexicon)
    _share(scope, groups)
    _silhouette(scope, drafts)
    _explain(scope, groups, previous, lexicon)
    return [draft for draft in drafts if not draft.unlisted]


def _anchors(sentence: Sentence, scope: Scope) -> list[Draft]:
    drafts: list[Draft] = []
    states = _states(sentence, scope)
    told = {(draft.finding, draft.subject) for draft in states}
    for event in scope.events:
        rule = event.rule
        if rule.kind in _TERMS and (rule.finding, (event.first, event.end)) not in told:
            draft = Draft(rule.finding, event.first, event.end, rule.status, sentence, from_words=event.first, to_words=event.end, device=rule.device,
                          severity=rule.severity, change=rule.change, rules=[rule.label])  # fmt: skip
            if rule.laterality:
                draft.sides.append(rule.laterality)
            if drafts and (drafts[-1].finding, drafts[-1].end, drafts[-1].status) == (rule.finding, event.first, rule.status):
                drafts[-1].end = drafts[-1].to_words = event.end  # "venous line catheter" is one device
                continue
            draft.sign = rule.sign
            draft.unlisted = rule.kind is Kind.OTHER
            if rule.kind is Kind.ONLY_DENIED:
                draft.status, draft.named = Assertion.ABSENT, True  # until a denial is found
            drafts.append(draft)
    drafts.extend(states)
    drafts.sort(key=lambda draft: (draft.first, draft.end))
    return drafts


def _states(sentence: Sentence, scope: Scope) -> list[Draft]:
    """Subjects joined with their states: "heart size and pulmonary vascularity are normal", "mildly enlarged heart"."""
    words, events, clause = scope.words, scope.events, scope.clause
    subjects = [
        event for event in events
        if event.rule.kind is Kind.SUBJECT
        or (event.rule.kind is Kind.ADJECTIVE and event.end < len(words) and words[event.end] in _LIST)
    ]  # fmt: skip
    states = [event for event in events if event.rule.kind in _STATES]
    drafts: list[Draft] = []
    if not subjects or not states:
        return drafts
    spans = sorted({(state.first, state.end) for state in states})
    floor = 0
    for number, (first, end) in enumerate(spans):
        here = [state.rule for state in states if state.first == first and state.end == end]
        left = [s for s in subjects if floor <= s.first and s.end <= first and _same_clause(scope, s, first) and _joined(scope, s.end, first)]
        ceiling = spans[number + 1][0] if number + 1 < len(spans) else len(words)
        right = _following(scope, subjects, end, ceiling)
        if left and right and right[0].first - end <= 1 and not any(scope.is_verb(i) for i in range(left[-1].end, first)) and left[-1].end < first:
            left = []
        chosen = left or right
        floor = max([end, *(s.end for s in (right if not left else ()))])
        for subject in chosen:
            for rule in here:
                if _fits(rule, subject.rule):
                    drafts.append(_state_draft(sentence, subject, first, end, rule))
    return drafts


def _same_clause(scope: Scope, subject: Event, state: int) -> bool:
    """Whether subject and state share a clause, or the state's clause is too short for a subject of its own ("..., but clear")."""
    if scope.clause[subject.first] == scope.clause[state]:
        return True
    return scope.clause[subject.first] == scope.clause[state] - 1 and state - scope.clause_start(state) <= 2


def _joined(scope: Scope, first: int, end: int) -> bool:
    """Whether a state at `end` can speak of a subject that ends at `first`: no denial or finding of its own lies between."""
    return not any(
        event.rule.kind in {Kind.TERM, Kind.STOP, Kind.LINKS, Kind.NAMES} and first <= event.first < end and Kind.SUBJECT not in scope.kinds(event.first)
        for event in scope.events
    )


def _following(scope: Scope, subjects: Sequence[Event], start: int, ceiling: int) -> list[Event]:
    """The subjects of a list that begins right after a state."""
    found: list[Event] = []
    index = start
    clause = scope.clause
    while index < ceiling and clause[index] == clause[start - 1]:
        here = [subject for subject in subjects if subject.first == index]
        kinds = scope.kinds(index)
        if here:
            found.extend(here)
            index = max(subject.end for subject in here)
            continue
        if scope.is_verb(index) or kinds & _ENDS_LIST or (found and Kind.CHANGE in kinds):
            break
        if not found and index - start >= 4:
            break
        index += 1
    return found


def _fits(state: Rule, subject: Rule) -> bool:
    return not state.finding or (state.finding == subject.finding and state.group == subject.group)


def _state_draft(sentence: Sentence, subject: Event, first: int, end: int, state: Rule) -> Draft:
    status = {Kind.NORMAL: Assertion.ABSENT, Kind.BORDERLINE: Assertion.UNCERTAIN}.get(state.kind)
    return Draft(
        subject.rule.finding, first, end, status, sentence, from_words=min(first, subject.first), to_words=max(end, subject.end),
        rules=[subject.rule.label, state.label], subject=(subject.first, subject.end),
    )  # fmt: skip


def _judge(scope: Scope, draft: Draft) -> bool:
    """Set the draft's status from the cues that cover it; False drops it."""
    denial, doubt, supposed = scope.denied[draft.first], scope.doubted[draft.first], scope.supposed[draft.first]
    if supposed is not None and draft.finding != "support_device":
        draft.supposed = True
        return False
    needs_denial = draft.named
    draft.named = False
    if denial is not None and draft.status is not Assertion.UNCERTAIN and not (doubt is not None and _nearer(doubt, denial, draft)):
        if draft.status is Assertion.ABSENT and not needs_denial:  # "not normal" is no diagnosis; a normal state stays one
            return words_before(scope, draft.first) != "not"
        draft.status = Assertion.ABSENT
        draft.rules.append(denial.rule.label)
        draft.widen(denial.first, denial.end)
        return True
    if needs_denial:
        return False
    if draft.status is None:
        if doubt is not None:
            draft.status = Assertion.UNCERTAIN
            draft.rules.append(doubt.rule.label)
            draft.widen(doubt.first, doubt.end)
        else:
            draft.status = Assertion.PRESENT
    elif draft.status is Assertion.UNCERTAIN and denial is not None:
        draft.status = Assertion.ABSENT
        draft.rules.append(denial.rule.label)
        draft.widen(denial.first, denial.end)
    return True


def words_before(scope: Scope, at: int) -> str:
    """The word before this one, or ""."""
    return scope.words[at - 1] if at else ""


def _nearer(doubt: Event, denial: Event, draft: Draft) -> bool:
    """Whether the doubt governs: it stands between the denial and the finding, and does not carry the denial on ("no
    opacity to suggest pneumonia")."""
    if doubt.rule.kind is Kind.LINKS:
        return False
    return denial.first < doubt.first < draft.first


def _alternatives(scope: Scope, drafts: Sequence[Draft], lexicon: Lexicon) -> None:
    """ "Scarring or atelectasis": neither is certain. "No effusion or pneumothorax" denies both, by its own cue."""
    for event in scope.events:
        if event.rule.kind is not Kind.BETWEEN:
            continue
        left = [d for d in drafts if d.end <= event.first and _plain(scope, d.end, event.first)]
        right = [d for d in drafts if d.first >= event.end and _plain(scope, event.end, d.first)]
        if not left or not right:
            continue
        nearest_left = [d for d in left if d.end == left[-1].end]
        nearest_right = [d for d in right if d.first == right[0].first]
        if {d.finding for d in nearest_left} == {d.finding for d in nearest_right}:
            continue
        for draft in (*nearest_left, *nearest_right):
            if draft.status is None and scope.denied[draft.first] is None and draft.finding not in lexicon.kinds_of:
                draft.status = Assertion.UNCERTAIN
                draft.rules.append(event.rule.label)
                draft.widen(event.first, event.end)


def _plain(scope: Scope, first: int, end: int) -> bool:
    """Only describing words between: no verb, comma, "and" or cue."""
    return not any(
        scope.is_verb(index) or scope.words[index] in {",", "and", "with"} or scope.kinds(index) & (_CUES | {Kind.TERM})
        for index in range(first, end)
    )


def _groups(drafts: Sequence[Draft]) -> list[list[Draft]]:
    """Drafts that rest on the same words, in order."""
    groups: list[list[Draft]] = []
    for draft in drafts:
        if groups and (groups[-1][0].first, groups[-1][0].end) == (draft.first, draft.end):
            groups[-1].append(draft)
        else:
            groups.append([draft])
    return groups


def _attributes(scope: Scope, groups: list[list[Draft]], lexicon: Lexicon) -> None:
    """Give each group the modifiers of its zone."""
    words = scope.words
    modifiers = [event for event in scope.events if event.rule.kind in _MODIFIERS]
    measured = sizes(words)
    for number, group in enumerate(groups):
        anchor = group[0]
        inner = min(draft.from_words for draft in group)
        start = scope.clause_start(anchor.first)
        end = scope.clause_end(anchor.first)
        if number and scope.clause[groups[number - 1][0].first] == scope.clause[anchor.first]:
            start = max(start, _split(scope, groups[number - 1][0].end, anchor.first))
        else:
            start = _opening(scope, start, anchor.first)
        if number + 1 < len(groups) and scope.clause[groups[number + 1][0].first] == scope.clause[anchor.first]:
            end = min(end, _split(scope, anchor.end, groups[number + 1][0].first))
        else:
            end = min(end, _tail(scope, anchor.end, end))
        after = _afterthought(scope, anchor.end, end, groups[number + 1][0].first if number + 1 < len(groups) else len(words))
        start, end = min(start, inner), max(end, anchor.end)
        inside = _inside(scope, anchor, lexicon)
        for event in (*inside, *modifiers):
            if start <= event.first < end:
                for draft in group:
                    _modify(scope, draft, event)
        for event in modifiers:
            if event.rule.kind is Kind.CHANGE and end <= event.first < after:
                for draft in group:
                    _modify(scope, draft, event)
        for first, last, size in measured:
            if start <= first < end:
                for draft in group:
                    draft.sizes.append(size)
                    draft.widen(first, last)
        for draft in group:
            if draft.device is not None:
                placed = position(words, draft.first, draft.end)
                if placed is not None:
                    draft.device = Device(draft.device.kind, draft.device.code, placed[2])
                    draft.widen(placed[0], placed[1])


def _opening(scope: Scope, first: int, end: int) -> int:
    """Where the words before a clause's first finding begin to speak of it ("improved aeration of the bases with ...")."""
    placed = False
    for index in range(end - 1, first - 1, -1):
        if scope.words[index] == "with":
            return index if placed else first
        placed = placed or bool(scope.kinds(index) & {Kind.SIDE, Kind.PLACE})
    return first


def _tail(scope: Scope, first: int, end: int) -> int:
    """Where the words after the last finding begin to speak of another subject ("..., stable mediastinal contours")."""
    for index in range(first, end):
        if scope.words[index] == "with":
            return index
        if scope.words[index] in {",", "and"}:
            for later in range(index + 1, end):
                if scope.words[later] in _PREPOSITIONS or scope.words[later] == ",":
                    break
                if Kind.SUBJECT in scope.kinds(later):
                    return index
    return end


def _afterthought(scope: Scope, first: int, end: int, ceiling: int) -> int:
    """The end of the clauses that follow and name nothing: "at the upper limits of normal, but stable"."""
    if end < len(scope.words) and scope.clause[end - 1] == scope.clause[min(end, len(scope.words) - 1)]:
        return end
    index = end
    while index < ceiling and not scope.kinds(index) & {Kind.SUBJECT, Kind.OTHER}:
        index += 1
    return index if index == len(scope.words) else end


def _inside(scope: Scope, anchor: Draft, lexicon: Lexicon) -> list[Event]:
    """Modifiers that are part of a term's own words: "biapical pleural thickening"."""
    if anchor.end - anchor.first < 2:
        return []
    found = lexicon.modifiers.matches(scope.words, anchor.first, anchor.end)
    return [Event(first, end, rule) for first, end, rules in found for rule in rules]


def _split(scope: Scope, first: int, end: int) -> int:
    """Where, between two findings, the words of the second begin: at a cue or "with", else at the last comma or conjunction."""
    for index in range(end - 1, first - 1, -1):
        if scope.words[index] == "with" or scope.kinds(index) & _BREAKS:
            return index
    for index in range(end - 1, first - 1, -1):
        if scope.words[index] in _JOINTS or scope.kinds(index) & _CUES:
            return index
    if first < end and scope.words[first] in _PREPOSITIONS:
        return end
    return first


def _modify(scope: Scope, draft: Draft, event: Event) -> None:
    rule = event.rule
    if rule.kind is Kind.SIDE or rule.kind is Kind.PLACE:
        if rule.laterality is not None:
            draft.sides.append(rule.laterality)
        if rule.location is not None:
            draft.places.append(rule.location)
    elif rule.kind is Kind.DEGREE:
        before = event.first < draft.end
        if draft.first <= event.first and event.end <= draft.end and event.end - event.first == draft.end - draft.first:
            return  # "the heart is large": the word is the finding itself
        if not before and not _predicative(scope, draft.end, event.first):
            return
        if rule.severity is not None and (draft.severity is None or _RANK[rule.severity] > _RANK[draft.severity]):
            draft.severity = rule.severity
    elif rule.kind is Kind.CHANGE:
        if rule.change is ChangeKind.RESOLVED:
            if draft.status is Assertion.ABSENT and draft.change is None and scope.denied[draft.first] is not None and "no longer" not in rule.label:
                return
            draft.status = Assertion.ABSENT
        if draft.change is None or draft.change is ChangeKind.UNCHANGED:
            draft.change = rule.change
    draft.rules.append(rule.label)
    draft.widen(event.first, event.end)


def _predicative(scope: Scope, first: int, end: int) -> bool:
    """Whether a word of degree after the finding speaks of it: "the effusion is small", "arthritis is present, severe"."""
    return any(scope.is_verb(index) or scope.words[index] in {",", "("} for index in range(first, end)) or end - first <= 1


def _share(scope: Scope, groups: list[list[Draft]]) -> None:
    """Items of a list share what is said once, before the first or after the last."""
    for number in range(1, len(groups)):
        before, after = groups[number - 1], groups[number]
        if not _coordinated(scope, before[0].end, after[0].first):
            continue
        for a in before:
            for b in after:
                if a.unlisted or b.unlisted:
                    continue
                bare = not _leads(scope, b, Kind.SIDE, Kind.PLACE, Kind.DEGREE)
                if bare and b.severity is None and a.severity is not None and b.status is a.status and _leads(scope, a, Kind.DEGREE):
                    b.severity = a.severity
                if not b.sides and not b.places and _leads(scope, a, Kind.SIDE, Kind.PLACE):
                    b.sides, b.places = list(a.sides), list(a.places)
                if b.change is None and a.change is not None and b.status is not Assertion.ABSENT and _leads(scope, a, Kind.CHANGE):
                    b.change = a.change
    for number in range(1, len(groups)):  # "an effusion on the left with atelectasis"
        for a in groups[number - 1]:
            for b in groups[number]:
                if a.sides and not b.sides and not b.places and not b.unlisted and Assertion.ABSENT not in {a.status, b.status} and _with(scope, a.end, b.first):
                    b.sides = list(a.sides)
    for number in range(len(groups) - 1, 0, -1):
        before, after = groups[number - 1], groups[number]
        if not _coordinated(scope, before[0].end, after[0].first):
            continue
        for a in before:
            for b in after:
                if not a.sides and not a.places and _trails(scope, b, Kind.SIDE, Kind.PLACE):
                    a.sides, a.places = list(b.sides), list(b.places)
                if a.change is None and b.change is not None and a.status is not Assertion.ABSENT and _trails(scope, b, Kind.CHANGE):
                    a.change = b.change
                    if b.change is ChangeKind.RESOLVED:
                        a.status = Assertion.ABSENT


def _silhouette(scope: Scope, drafts: Sequence[Draft]) -> None:
    """ "Cardiomegaly; cardiac silhouette similar to prior": what is said of the anatomy's change holds for its finding."""
    for subject in scope.events:
        if subject.rule.kind is not Kind.SUBJECT:
            continue
        of_subject = [d for d in drafts if d.finding == subject.rule.finding and d.status is not Assertion.ABSENT and d.change is None]
        if not of_subject or any(d.subject == (subject.first, subject.end) for d in drafts):
            continue
        for event in scope.events:
            if event.rule.kind is Kind.CHANGE and scope.clause[event.first] == scope.clause[subject.first] and (
                0 <= event.first - subject.end <= 2 or 0 <= subject.first - event.end <= 1
            ):
                for draft in of_subject:
                    draft.change = event.rule.change
                    draft.rules.append(event.rule.label)


def _coordinated(scope: Scope, first: int, end: int) -> bool:
    """Whether two findings are neighbours in one list: a joint and describing words alone lie between them."""
    joints = 0
    for index in range(first, end):
        if scope.is_verb(index) or scope.words[index] in {"with", "in", "of", ";", "which"}:
            return False
        if scope.kinds(index) & (_CUES - {Kind.BETWEEN}):
            return False
        joints += scope.words[index] in _LIST
    return joints > 0


def _with(scope: Scope, first: int, end: int) -> bool:
    """ "With", "with associated": what follows lies where the finding before lies."""
    between = scope.words[first:end]
    return "with" in between and not any(scope.is_verb(index) or scope.kinds(index) & {Kind.DENIES, Kind.NAMES} for index in range(first, end))


def _leads(scope: Scope, draft: Draft, *kinds: Kind) -> bool:
    return any(event.rule.kind in kinds and draft.from_words <= event.first < draft.first for event in scope.events)


def _trails(scope: Scope, draft: Draft, *kinds: Kind) -> bool:
    return any(event.rule.kind in kinds and draft.end <= event.first < draft.to_words for event in scope.events)


def _explain(scope: Scope, groups: list[list[Draft]], previous: Sequence[Draft], lexicon: Lexicon) -> None:
    """What an opacity may be, or is, lies where the opacity lies; one that is named is no longer an opacity of its own."""
    for number, group in enumerate(groups):
        if number:
            sources = groups[number - 1]
            gap = range(sources[0].end, group[0].first)
            kinds = {kind for index in gap for kind in scope.kinds(index)}
            named = Kind.NAMES in kinds or (
                any(scope.words[index] == "xxxx" for index in gap) and not any(scope.words[index] in {"and", "or", "with", "no", "/"} for index in gap)
            )
            if not (named or Kind.LINKS in kinds or (Kind.DOUBTS in kinds and "and" not in scope.words[gap.start : gap.stop])):
                continue
            if Kind.STOP in kinds and not named and Kind.LINKS not in kinds:
                continue
        elif previous and _refers_back(scope, group[0].first):
            named = False
            sources = [draft for draft in previous if draft.status is not Assertion.ABSENT][-1:]
        else:
            continue
        listed = [draft for later in groups[number:] for draft in later if later is group or _listed(scope, groups, number, later)]
        for target in listed:
            for source in sources:
                if source.finding == target.finding and source.sign:
                    source.named = True
                    _inherit(source, target, change=True)
                if source.finding == target.finding or source.status is Assertion.ABSENT or target.status is Assertion.ABSENT:
                    continue
                _inherit(source, target, change=named)
                allowed = lexicon.named.get(source.finding, frozenset())
                if named and scope.doubted[target.first] is None and (target.finding in allowed or "*" in allowed):
                    source.named = True


def _listed(scope: Scope, groups: list[list[Draft]], number: int, later: list[Draft]) -> bool:
    """Whether `later` goes on the list that group `number` begins."""
    for before, after in pairwise(groups[number : groups.index(later) + 1]):
        if not _coordinated(scope, before[0].end, after[0].first):
            return False
        doubt = scope.doubted[before[0].first]
        if scope.doubted[after[0].first] is not doubt or (doubt is None and "," in scope.words[before[0].end : after[0].first]):
            return False
    return True


def _refers_back(scope: Scope, end: int) -> bool:
    """ "This may represent ...": a pronoun and then a cue, before the sentence's first finding."""
    cue = next((index for index in range(end) if scope.kinds(index) & {Kind.LINKS, Kind.NAMES, Kind.DOUBTS}), None)
    return cue is not None and (scope.words[0] in _PRONOUNS or any(word in {"this", "these", "it"} for word in scope.words[:cue]))


def _inherit(source: Draft, target: Draft, *, change: bool) -> None:
    if not target.sides and not target.places:
        target.sides, target.places = list(source.sides), list(source.places)
    if target.severity is None:
        target.severity = source.severity
    if change and target.change is None:
        target.change = source.change
    target.source = target.source or source.finding


def _change_alone(words: Sequence[str], events: Sequence[Event], previous: Sequence[Draft]) -> None:
    """ "Small right effusion. No change.": a sentence of change alone speaks of the finding before it."""
    changes = [event for event in events if event.rule.kind is Kind.CHANGE]
    if not changes or not previous or len(words) > 12:
        return
    rest = len(words) - sum(event.end - event.first for event in changes)
    if rest > 2 and words[0] not in _PRONOUNS:
        return
    last = previous[-1]
    for draft in previous:
        if draft.end == last.end and draft.status is not Assertion.ABSENT and draft.change is None:
            draft.change = changes[0].rule.change
            draft.rules.append(changes[0].rule.label)
