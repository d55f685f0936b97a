"""The parts that a run needs, put together once by whoever starts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from radpipe import triage
from radpipe.card import InputSpec
from radpipe.ports import ImageModel, Keep, Source, Store

HEADER, THUMBNAIL = "header.dcm", "thumbnail.jpg"
"""What is kept of each image."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The parts that a run needs, put together once by the caller."""

    store: Store
    keep: Keep
    source: Source
    model: Callable[[], ImageModel]  # opened when the first study needs it
    rules: triage.Rules
    configuration_sha256: str
    model_sha256: str
    input_spec: InputSpec
    lungs: str = ""  # the segmenter that measures with the model: "name version sha256[:12]"
    batch_studies: int = 4
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
