"""One sentence read: its phrases found, its mentions judged, and given what is said of them. Read this first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from radpipe.structure.assertion import alternatives, judge
from radpipe.structure.lexicon import STATES, Kind, Lexicon
from radpipe.structure.mentions import Draft, anchors
from radpipe.structure.modifiers import attribute, groups_of
from radpipe.structure.scope import Event, Scope
from radpipe.structure.sharing import change_alone, explain, refers_back, share, silhouette, trail
from radpipe.structure.text import Sentence

_ANCHORS = STATES | {Kind.TERM, Kind.ONLY_DENIED}


REMEMBERED = 10_000  # sentences
_LONGEST = 40  # words of a sentence that is remembered


@dataclass(frozen=True, slots=True)
class _Known:
    """A sentence that was read before: what it says does not depend on the sentence before it, but for a change alone."""

    words: list[str]
    events: list[Event]
    drafts: tuple[Draft, ...]


def read_sentence(sentence: Sentence, lexicon: Lexicon, previous: Sequence[Draft]) -> list[Draft]:
    """The mentions of a sentence, in order. `previous` are those of the sentence before, in the same part.

    Radiologists repeat themselves: three sentences in five stand word for word in an earlier report, so sentences that
    were read are remembered by their words. What is remembered never changes what is read.
    """
    key = tuple(sentence.words)
    known = lexicon.memory.get(key)
    if known is None:
        known, lasting = _read(sentence, lexicon, previous)
        if not lasting or len(key) > _LONGEST:
            return list(known.drafts)
        if len(lexicon.memory) >= REMEMBERED:
            lexicon.memory.clear()
        lexicon.memory[key] = known
    if not known.drafts:
        change_alone(known.words, known.events, previous)
    return [draft.again(sentence) for draft in known.drafts]


def _read(sentence: Sentence, lexicon: Lexicon, previous: Sequence[Draft]) -> tuple[_Known, bool]:
    """Read a sentence; and whether it would be read the same after any other."""
    read, forms = lexicon.spelling.read, lexicon.spelling.forms
    words = [forms.get(word) or read(word) for word in sentence.words]
    events = [Event(first, end, rule) for first, end, rules in lexicon.phrases.matches(words) for rule in rules]
    if not any(event.rule.kind in _ANCHORS for event in events):
        return _Known(words, events, ()), True
    scope = Scope(words, events, lexicon)
    drafts = anchors(sentence, scope)
    if not drafts:
        return _Known(words, events, ()), True
    alternatives(scope, drafts, lexicon)
    drafts = [draft for draft in drafts if judge(scope, draft, lexicon)]
    groups = groups_of(drafts)
    attribute(scope, groups, lexicon)
    share(scope, groups)
    trail(scope, groups)
    silhouette(scope, drafts)
    explain(scope, groups, previous, lexicon)
    listed = tuple(draft for draft in drafts if not draft.unlisted)
    lasting = not groups or not refers_back(scope, groups[0][0].first)
    return _Known(words, events, listed), lasting
