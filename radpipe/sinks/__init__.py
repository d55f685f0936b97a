"""The forms in which a report leaves: DICOM SR, FHIR, HL7 v2, JSON, text and a page.

Each module has `suffix` and a pure `render(reading, report, ...) -> bytes`: the same reading and report give the same
bytes. `text`, `json_report`, `fhir` and `hl7` are `ports.Sink`s as they stand; `dicom_sr` also needs the headers of the
source images and `html` their pictures, so those two are given them. Sending is not done here.

`radpipe.sinks.fhir` and the others are imported when first asked for: highdicom and fhir.resources load slowly.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from radpipe.sinks import dicom_sr, fhir, hl7, html, json_report, text

__all__ = ["dicom_sr", "fhir", "hl7", "html", "json_report", "text"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
