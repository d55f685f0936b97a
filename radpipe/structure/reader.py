"""One sentence read: its phrases found, its mentions judged, and given what is said of them. Read this first."""

from __future__ import annotations

from collections.abc import Sequence

from radpipe.structure.assertion import alternatives, judge
from radpipe.structure.lexicon import Kind, Lexicon
from radpipe.structure.mentions import Draft, anchors
from radpipe.structure.modifiers import attribute, groups_of
from radpipe.structure.scope import Event, Scope
from radpipe.structure.sharing import change_alone, explain, share, silhouette
from radpipe.structure.text import Sentence

_ANCHORS = frozenset({Kind.TERM, Kind.ONLY_DENIED, Kind.NORMAL, Kind.ABNORMAL, Kind.BORDERLINE})


def read_sentence(sentence: Sentence, lexicon: Lexicon, previous: Sequence[Draft]) -> list[Draft]:
    """The mentions of a sentence, in order. `previous` are those of the sentence before, in the same part."""
    read = lexicon.spelling.read
    words = [read(word) for word in sentence.words]
    events = [Event(first, end, rule) for first, end, rules in lexicon.phrases.matches(words) for rule in rules]
    if not any(event.rule.kind in _ANCHORS for event in events):
        change_alone(words, events, previous)
        return []
    scope = Scope(words, events, lexicon)
    drafts = anchors(sentence, scope)
    if not drafts:
        change_alone(words, events, previous)
        return []
    alternatives(scope, drafts, lexicon)
    drafts = [draft for draft in drafts if judge(scope, draft)]
    groups = groups_of(drafts)
    attribute(scope, groups, lexicon)
    share(scope, groups)
    silhouette(scope, drafts)
    explain(scope, groups, previous, lexicon)
    return [draft for draft in drafts if not draft.unlisted]
