"""Report structuring: free text in, coded observations with verbatim quotes out."""

from __future__ import annotations

from radpipe.structure.engine import structure_report
from radpipe.structure.lexicon import Lexicon, choose_lexicon, lexicon_names, open_lexicon

__all__ = ["Lexicon", "choose_lexicon", "lexicon_names", "open_lexicon", "structure_report"]
