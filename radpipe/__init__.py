"""radpipe: DICOM studies in; a prioritised worklist, evidence-bound drafts and signed structured reports out.

Not a medical device. Start reading at `radpipe.pipeline`; `docs/architecture.md` is the map.
"""

from __future__ import annotations

__version__ = "0.1.0"
