"""Report structuring: free text in, coded observations with verbatim quotes out."""

from __future__ import annotations

from radpipe.structure.engine import structure_report
from radpipe.structure.lexicon import Lexicon, choose_lexicon, lexicon_names, open_lexicon

FORMAT = 1
"""Raised when the engine reads the same text with the same lexicon otherwise: it stands in the key of what was read."""

__all__ = ["FORMAT", "Lexicon", "choose_lexicon", "lexicon_names", "open_lexicon", "structure_report"]
