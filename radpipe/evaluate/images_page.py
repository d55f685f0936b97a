"""The page of an evaluation: figures, curves, and for each finding the images that the model got most wrong.

One self-contained HTML file: styles, script, curves and pictures are inline, and its own policy forbids any request. It
holds patient images under the names that the manifest gives their files, and nothing else of them: no DICOM attribute is
written. The images shown are read, and run through the model, a second time, so that nothing but scores need be kept of the
many others.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from PIL import Image

from radpipe import __version__
from radpipe.card import Label, ModelCard
from radpipe.codes import finding_words
from radpipe.detect import decide, findings, patch_box
from radpipe.errors import InputError
from radpipe.evaluate import plots
from radpipe.evaluate.figures import FindingEvaluation
from radpipe.evaluate.images import BATCH, Answers, Evaluation, Read, Shared, shared
from radpipe.evaluate.manifest import Manifest
from radpipe.evaluate.metrics import Ranking, operating_point
from radpipe.finding import Decision, score_words
from radpipe.ports import ImageModel, Prediction
from radpipe.preprocess import Placement, model_input, window

Floats = npt.NDArray[np.float32]

LONGEST_SIDE_PX = 320
JPEG_QUALITY = 82
HEAT = (255, 96, 32)
"""Colour of a map's overlay (red, green, blue)."""

_TEMPLATES = Path(__file__).parent / "templates"
_DECISION_WORDS = {Decision.PRESENT: "present", Decision.UNSURE: "unsure", Decision.ABSENT: "absent"}


@dataclass(frozen=True, slots=True)
class Wrong:
    """One image that the model got wrong for one finding."""

    picture: str  # id of the picture on the page
    columns: int  # of the source image
    rows: int
    file: str  # as the manifest has it
    score: float
    decision: str
    map_uri: str
    map_at: tuple[float, float, float, float]  # x, y, width, height in source pixels
    box: tuple[int, int, int, int] | None  # x, y, width, height
    far: bool  # out of distribution


@dataclass(frozen=True, slots=True)
class Panel:
    """One finding's part of the page."""

    words: str
    figures: FindingEvaluation
    roc: Markup
    reliability: Markup
    scores: Markup
    forest: Markup
    alarms: tuple[Wrong, ...]
    misses: tuple[Wrong, ...]
    alarms_in_all: int
    misses_in_all: int


@dataclass(frozen=True, slots=True)
class _Looked:
    """An image looked at again."""

    jpeg_uri: str
    placement: Placement
    answer: Prediction  # of this image alone


def render(
    result: Evaluation,
    answers: Answers,
    manifest: Manifest,
    model: ImageModel,
    read: Read,
    *,
    errors: int = 6,
    progress: Callable[[int], None] | None = None,
    now: datetime | None = None,
) -> bytes:
    """The page, UTF-8. `errors`: worst images a finding and kind. `progress` is told of each finding. An image that can no
    longer be read is left out."""
    both = shared(answers, manifest)
    chosen = [_worst(both, column, errors) for column in range(len(both.labels))]
    looked = _look_again(
        sorted({k for alarms, misses in chosen for k in (*alarms, *misses)}), answers, manifest, model, read
    )
    panels = []
    evaluated = {found.finding: found for found in result.findings}
    for column, label in enumerate(both.labels):
        if label.finding in evaluated:
            panels.append(_panel(evaluated[label.finding], label, column, chosen[column], both, answers, manifest, looked))
        if progress:
            progress(1)
    script = (_TEMPLATES / "images.js").read_text(encoding="utf-8")
    page = _template().render(
        result=result,
        panels=panels,
        pictures=[(f"i{k}", image) for k, image in looked.items()],
        subgroups=[(group, plots.bar(group.mean_auc, group.mean_auc_ci)) for group in result.subgroups],
        strength=model.card.strength,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        errors=errors,
        now=(now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
        software=__version__,
    )
    return page.encode()


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["score_words"] = score_words
    environment.filters["figure"] = _figure
    environment.filters["percent"] = _percent
    environment.filters["range"] = _range
    environment.filters["finding_words"] = finding_words
    environment.globals["stylesheet"] = Markup((_TEMPLATES / "images.css").read_text(encoding="utf-8"))
    return environment.get_template("images.html")


def _worst(both: Shared, column: int, errors: int) -> tuple[list[int], list[int]]:
    """Images (places in the answers) that were wrongly called present, highest score first; and those that have it and were
    not called, lowest first."""
    score, truth, label = both.scores[:, column], both.truth[:, column], both.labels[column]
    alarms = np.flatnonzero((truth == 0) & (score >= label.threshold))
    misses = np.flatnonzero((truth == 1) & (score < label.threshold))
    return (
        alarms[np.argsort(-score[alarms], kind="stable")][:errors].tolist(),
        misses[np.argsort(score[misses], kind="stable")][:errors].tolist(),
    )


def _look_again(
    places: Sequence[int], answers: Answers, manifest: Manifest, model: ImageModel, read: Read
) -> dict[int, _Looked]:
    looked: dict[int, _Looked] = {}
    waiting: list[tuple[int, str, Placement, Floats]] = []

    def answer() -> None:
        whole = model.predict(np.stack([tensor for *_, tensor in waiting]))
        for number, (k, uri, placement, _) in enumerate(waiting):
            looked[k] = _Looked(uri, placement, whole[number : number + 1])
        waiting.clear()

    for k in places:
        try:
            pixels = read(manifest.path(int(answers.rows[k])))
            tensor, placement = model_input(pixels, model.card.input)
        except InputError:
            continue
        waiting.append((k, _jpeg(pixels, model.card.input.percentiles), placement, tensor))
        if len(waiting) == BATCH:
            answer()
    if waiting:
        answer()
    return looked


def _panel(
    figures: FindingEvaluation,
    label: Label,
    column: int,
    chosen: tuple[list[int], list[int]],
    both: Shared,
    answers: Answers,
    manifest: Manifest,
    looked: dict[int, _Looked],
) -> Panel:
    known = np.isfinite(both.truth[:, column])
    score, truth = both.scores[known, column], both.truth[known, column] == 1
    ranking = Ranking.of(score, truth)
    place = [one.finding for one in answers.card.labels].index(label.finding)

    def wrong(k: int) -> Wrong:
        image = looked[k]
        box = _box(image, place, answers.card)
        return Wrong(
            picture=f"i{k}",
            columns=image.placement.source_columns,
            rows=image.placement.source_rows,
            file=manifest.files[int(answers.rows[k])],
            score=float(both.scores[k, column]),
            decision=_DECISION_WORDS[decide(float(both.scores[k, column]), label)],
            map_uri=_heat(image.answer.maps[0, place]) if image.answer.maps.size else "",
            map_at=_frame(image.placement),
            box=(box[1], box[0], box[3] - box[1], box[2] - box[0]) if box else None,
            far=bool(answers.far[k]),
        )

    alarms, misses = ([wrong(k) for k in places if k in looked] for places in chosen)
    return Panel(
        words=finding_words(label.finding),
        figures=figures,
        roc=plots.roc(ranking, figures.at_threshold, operating_point(score, truth, label.rule_out)),
        reliability=plots.reliability(figures.reliability),
        scores=plots.scores(score, truth, label.threshold, label.rule_out),
        forest=plots.bar(figures.auc, figures.auc_ci),
        alarms=tuple(alarms),
        misses=tuple(misses),
        alarms_in_all=figures.without_finding.present,
        misses_in_all=figures.with_finding.unsure + figures.with_finding.absent,
    )


def _box(image: _Looked, place: int, card: ModelCard) -> tuple[int, int, int, int] | None:
    """Top, left, bottom, right in source pixels: as the report would draw it; of what was called absent the map's peak."""
    stated = findings(image.answer, 0, card, "", image.placement)[place]
    if stated.decision is not Decision.ABSENT or stated.finding == "abnormal" or not image.answer.maps.size:
        return stated.evidence[0].box_px
    return patch_box(image.answer.maps[0, place], image.placement)


def _jpeg(pixels: Floats, percentiles: tuple[float, float]) -> str:
    """The image as the network sees its grey values, small."""
    low, high = window(pixels, percentiles)
    step = max(1, min(pixels.shape) // (2 * LONGEST_SIDE_PX))
    grey = np.nan_to_num(pixels[::step, ::step], nan=low)
    shown = np.clip((grey - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    picture = Image.fromarray(shown)
    picture.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _heat(patches: Floats) -> str:
    """A map (h, w) as a small PNG: clear up to its median, then the more opaque the nearer to its peak."""
    base, peak = float(np.median(patches)), float(patches.max())
    share = np.clip((patches - base) / (peak - base), 0, 1) if peak > base else np.zeros(patches.shape)
    pixels = np.empty((*patches.shape, 4), np.uint8)
    pixels[..., :3] = HEAT
    pixels[..., 3] = (200 * share**1.5).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _frame(placement: Placement) -> tuple[float, float, float, float]:
    """Where the network's frame lies in source pixels: x, y, width, height."""
    top, left = placement.to_source(0, 0)
    bottom, right = placement.to_source(placement.rows, placement.columns)
    return left, top, right - left, bottom - top


def _figure(value: float) -> str:
    return "–" if value != value else f"{value:.2f}"


def _percent(value: float) -> str:
    return "–" if value != value else f"{value:.0%}"


def _range(interval: tuple[float, float]) -> str:
    return "" if interval[0] != interval[0] else f"{interval[0]:.2f}–{interval[1]:.2f}"
