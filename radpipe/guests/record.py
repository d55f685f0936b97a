"""What is written down of an import: where it came from, and how far the backends are apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radpipe.models import PARITY_LIMIT


@dataclass(frozen=True, slots=True)
class Report:
    """Whether there is a `model.onnx`, why not if so, and how far it is from torch."""

    onnx: bool
    why_not: str = ""
    images: int = 0
    largest_difference: float | None = None  # of a probability
    flipped: int | None = None  # decisions that differ
    limit: float = PARITY_LIMIT
    images_are: str = "synthetic chests (radpipe.samples), noise, black, white"

    @property
    def words(self) -> str:
        """In one sentence."""
        if not self.onnx:
            return f"no ONNX: {self.why_not}"
        if self.largest_difference is None:
            return "ONNX only: there is no torch network to compare it with"
        return f"ONNX and torch differ by at most {self.largest_difference:.1e}, {self.flipped} decisions flipped"


NOT_ASKED = Report(False, "it was not asked for (--no-onnx)")


def write_record(directory: Path, report: Report, more: Mapping[str, Any]) -> None:
    """record/parity.json and record/import.json."""
    record = directory / "record"
    record.mkdir(exist_ok=True)
    (record / "parity.json").write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    (record / "import.json").write_text(json.dumps(more, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
