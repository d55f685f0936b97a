"""A reading: all that the pipeline said of one study in one run. It is what the store keeps and the JSON shows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from radpipe.finding import Change, Finding, Prior, Priority
from radpipe.report import Report
from radpipe.reported import PriorReport
from radpipe.study import Study


@dataclass(frozen=True, slots=True)
class ModelRun:
    """Which model ran, on what; the provider is read back from the session, not what was asked for."""

    name: str
    version: str
    sha256: str
    backend: str
    provider: str


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """What the pipeline did with one image, and why."""

    sop_instance_uid: str
    chosen: bool
    why: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One study, read or not read, with its draft. `not_read_reason` is None exactly when it was read."""

    run_key: str
    study: Study
    not_read_reason: str | None
    choices: tuple[ImageChoice, ...]
    findings: tuple[Finding, ...]
    prior: Prior | None
    why_no_prior: str | None
    changes: tuple[Change, ...]
    priority: Priority
    report: Report | None  # the first draft; the store has its later versions
    model: ModelRun | None
    seconds: tuple[tuple[str, float], ...] = ()  # decode, infer, total
    read_at: datetime | None = None
    prior_report: PriorReport | None = None  # what the report of an earlier study says

    @property
    def is_read(self) -> bool:
        """True when a model read the study."""
        return self.not_read_reason is None


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A report that a radiologist has signed here, with the reading that it was drafted from."""

    reading: Reading
    report: Report


def run_key(
    study: Study, model_sha256: str, configuration_sha256: str, prior_content_key: str = "", prior_reports_key: str = ""
) -> str:
    """The key of a run: 24 hex digits over the study's content, the model, the configuration, the priors compared with and
    the reports of earlier studies, if there are any. The same input gives the same key, so that running again changes
    nothing."""
    parts = [study.study_instance_uid, study.content_key, model_sha256, configuration_sha256, prior_content_key]
    if prior_reports_key:
        parts.append(prior_reports_key)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
