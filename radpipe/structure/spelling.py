"""One spelling for all: variants, plurals and slips of the keyboard are read as the word that the lexicon knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

_REMEMBERED = 20_000  # words; a text of nonsense must not fill the memory
_LONGEST_SLIP = 30
_SHORTEST_SLIP = 8  # letters; shorter words have too many neighbours


class Spelling:
    """`read(word)` gives the lexicon's form of a word in lower case, or the word itself."""

    def __init__(
        self, variants: Mapping[str, str], vocabulary: set[str], keep: frozenset[str], distinct: frozenset[str]
    ) -> None:
        self._variants = dict(variants)
        self._vocabulary = vocabulary | set(variants.values())
        self._keep = keep
        self._distinct = distinct
        self.forms: dict[str, str] = {}  # of the words read so far

    def read(self, word: str) -> str:
        """The form under which the lexicon knows this word."""
        known = self.forms.get(word)
        if known is None:
            known = self._find(word)
            if len(self.forms) >= _REMEMBERED:
                self.forms.clear()
            self.forms[word] = known
        return known

    def _find(self, word: str) -> str:
        word = self._variants.get(word, word)
        if word in self._keep:
            return word
        if len(word) > 3 and word.endswith("s") and word[-2] not in "su" and word[:-1] in self._vocabulary:
            return word[:-1]
        if (
            word in self._vocabulary
            or not _SHORTEST_SLIP <= len(word) <= _LONGEST_SLIP
            or word in self._distinct
            or not word.isalpha()
        ):
            return word
        near = {known for cut in _cuts(word) for known in self._slips.get(cut, ()) if _one_slip(word, known)}
        return self._find(near.pop()) if len(near) == 1 else word

    @cached_property
    def _slips(self) -> dict[str, list[str]]:
        """Every word of the lexicon under itself and itself less one letter (Garbe's symmetric delete)."""
        slips: dict[str, list[str]] = {}
        for word in self._vocabulary:
            if len(word) >= _SHORTEST_SLIP:
                for cut in _cuts(word):
                    slips.setdefault(cut, []).append(word)
        return slips


def _cuts(word: str) -> Iterator[str]:
    yield word
    yield from (word[:at] + word[at + 1 :] for at in range(len(word)))


def _one_slip(written: str, known: str) -> bool:
    """One letter left out, put in, doubled or changed, or two neighbours swapped; the first letter is right."""
    if written[0] != known[0] or abs(len(written) - len(known)) > 1:
        return False
    at = next((i for i, (a, b) in enumerate(zip(written, known, strict=False)) if a != b), min(len(written), len(known)))
    a, b = written[at:], known[at:]
    return a[1:] == b or b[1:] == a or a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
