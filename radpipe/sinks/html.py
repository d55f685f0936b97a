"""A report as one self-contained page: images with boxes, the draft with its evidence, scores, changes, provenance.

No script and no request: styles and pictures are inline, and the page's own policy forbids anything else. Light and dark
follow the reader's system; boxes, labels and the inverted image are switched with check boxes. Every value is escaped by the
template. The patient's name stands on the page but not in its title, because browsers offer the title as a file name.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from radpipe import __version__
from radpipe.codes import finding_words
from radpipe.finding import Change, ChangeKind, Decision, Evidence, Finding, Measurement, score_words
from radpipe.reading import Reading
from radpipe.report import Origin, Report, Section, SectionName, Sentence, Verdict
from radpipe.sinks import overlay, picture, text
from radpipe.sinks.identifiers import plain_name
from radpipe.sinks.stated import banner, stated_findings

suffix = ".html"

_TEMPLATES = Path(__file__).parent / "templates"
_DECISION_ORDER = (Decision.PRESENT, Decision.UNSURE, Decision.ABSENT)
_DECISION_WORDS = {Decision.PRESENT: "Present", Decision.UNSURE: "Uncertain", Decision.ABSENT: "Absent"}
_SIGNS = {
    ChangeKind.NEW: "+",
    ChangeKind.INCREASED: "▲",
    ChangeKind.DECREASED: "▼",
    ChangeKind.UNCHANGED: "=",
    ChangeKind.RESOLVED: "✓",
    ChangeKind.NOT_COMPARABLE: "?",
}
_BY = {Origin.RADIOLOGIST: "radiologist", Origin.REPORT: "earlier report"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture with its boxes. `size` is of the viewBox: columns, rows of the source image."""

    heading: str
    caption: str
    uid: str
    data_uri: str
    size: tuple[int, int]
    boxes: tuple[overlay.Box, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence on the page: its words, its evidence in short and in full, and which box it speaks of (or -1)."""

    text: str
    origin: str
    by: str  # the mark beside it, where it is neither the model's nor read off the tags
    stance: str
    key: int
    brief: tuple[str, ...]
    full: tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table of findings. Percentages place the bar and its ticks."""

    words: str
    key: int
    colour: str
    decision: str
    decision_words: str
    side: str
    probability: float
    threshold: float
    rule_out: float
    note: str
    struck: bool


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One line of the table of changes."""

    words: str
    kind: str
    kind_words: str
    sign: str
    before: str
    now: str
    score: str
    why: str


def render(
    reading: Reading,
    report: Report,
    pictures: Mapping[str, bytes],
    prior_pictures: Mapping[str, bytes] | None = None,
    *,
    now: datetime,
) -> bytes:
    """The page, UTF-8. `pictures`, `prior_pictures`: SOPInstanceUID -> PNG (see `picture.png`), of any size but of the whole
    image, since boxes are drawn in the source image's pixels. An image without a picture is shown as missing."""
    drawn = overlay.boxed(tuple(stated.finding for stated in stated_findings(reading, report)))
    page = _template().render(
        reading=reading,
        report=report,
        study=reading.study,
        banner=banner(report),
        signature=text.signature(report),
        name=plain_name(reading.study.patient.patient_name),
        referrer=plain_name(reading.study.referring_physician_name),
        age=_age(reading.study.patient_age),
        panels=_panels(reading, drawn, pictures, prior_pictures or {}),
        keys=range(len(drawn)),
        sections=[
            (section.name.value, [_statement(item, reading, drawn) for item in section.sentences])
            for section in _in_order(report)
            if section.name is not SectionName.NOT_ASSESSED
        ],
        not_assessed=[_statement(item, reading, drawn) for item in _not_assessed(report)],
        rows=_rows(reading, report, drawn),
        changes=[_change_row(change) for change in reading.changes if change.finding in _spoken(report)],
        choices=[(image_words(choice.sop_instance_uid, reading), choice) for choice in reading.choices],
        now=text.moment(now),
        read_at=text.moment(reading.read_at) if reading.read_at else "",
        software=__version__,
    )
    return page.encode()


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["score_words"] = score_words
    environment.globals["stylesheet"] = Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8"))
    return environment.get_template("report.html")


def image_words(uid: str, reading: Reading) -> str:
    """An image as a reader calls it: "PA", "lateral", "prior of 2026-01-12"."""
    if reading.prior and uid == reading.prior.sop_instance_uid:
        return f"prior of {reading.prior.study_date.isoformat()}" if reading.prior.study_date else "prior"
    for image in reading.study.images:
        if image.sop_instance_uid == uid:
            view = {"LATERAL": "lateral"}.get(image.view.value, image.view.value) if image.view else "image"
            alike = [other for other in reading.study.images if other.view is image.view]
            number = f" no. {image.instance_number}" if len(alike) > 1 and image.instance_number is not None else ""
            return f"{view}{number}"
    return f"image …{uid[-8:]}"


def _age(patient_age: str) -> str:
    """AS (PS3.5 6.2) in words: "068Y" -> "68 years"."""
    units = {"Y": "years", "M": "months", "W": "weeks", "D": "days"}
    if len(patient_age) == 4 and patient_age[:3].isdigit() and patient_age[3] in units:
        return f"{int(patient_age[:3])} {units[patient_age[3]]}"
    return ""


def _panels(
    reading: Reading, drawn: tuple[Finding, ...], pictures: Mapping[str, bytes], prior_pictures: Mapping[str, bytes]
) -> list[Panel]:
    """The images that were read, then the prior's; without one, any image that has a picture."""
    study, prior = reading.study, reading.prior
    chosen = [choice.sop_instance_uid for choice in reading.choices if choice.chosen]
    chosen = chosen or [image.sop_instance_uid for image in study.images if image.sop_instance_uid in pictures][:1]
    when = study.study_date.isoformat() if study.study_date else "date unknown"
    panels = []
    sizes = {image.sop_instance_uid: (image.columns, image.rows) for image in study.images}
    for uid in chosen:
        size = sizes.get(uid) or _size(pictures.get(uid))
        caption = image_words(uid, reading)
        panels.append(
            Panel("Current", f"{when} · {caption}", uid, _uri(pictures.get(uid)), size, overlay.boxes_on(uid, drawn, size))
        )
    if prior is not None:
        shown = prior_pictures.get(prior.sop_instance_uid)
        size = _size(shown)
        boxes: tuple[overlay.Box, ...] = ()
        upright = {image.sop_instance_uid: image.patient_orientation in ((), ("L", "F")) for image in study.images}
        # the registration is between upright pictures, the boxes are on the stored one
        if shown and chosen and upright.get(chosen[0]) and prior.registration and prior.registration.comparable:
            boxes = overlay.boxes_on_prior(chosen[0], drawn, sizes.get(chosen[0], size), size, prior.registration)
        when = prior.study_date.isoformat() if prior.study_date else "date unknown"
        days = (
            f" · {(study.study_date - prior.study_date).days} days before" if study.study_date and prior.study_date else ""
        )
        panels.append(Panel("Prior", f"{when}{days}", prior.sop_instance_uid, _uri(shown), size, boxes))
    return panels


def _uri(png: bytes | None) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}" if png else ""


def _size(png: bytes | None) -> tuple[int, int]:
    return picture.png_size(png) if png else (4, 5)


def _in_order(report: Report) -> list[Section]:
    order = list(SectionName)
    return sorted(report.sections, key=lambda section: order.index(section.name))


def _not_assessed(report: Report) -> tuple[Sentence, ...]:
    section = report.section(SectionName.NOT_ASSESSED)
    return section.sentences if section else ()


def _statement(sentence: Sentence, reading: Reading, drawn: tuple[Finding, ...]) -> Statement:
    names = [finding.finding for finding in drawn]
    brief = tuple(dict.fromkeys(_brief(item, sentence.origin, reading) for item in sentence.evidence))
    return Statement(
        text=sentence.text,
        origin=sentence.origin.value,
        by=_BY.get(sentence.origin, ""),
        stance=sentence.stance.value,
        key=names.index(sentence.finding) if sentence.finding in names else -1,
        brief=brief[:3] + ((f"and {len(brief) - 3} more",) if len(brief) > 3 else ()),
        full=tuple(_full(item, reading) for item in sentence.evidence),
    )


def _brief(evidence: Evidence, origin: Origin, reading: Reading) -> str:
    parts = [image_words(evidence.sop_instance_uid, reading)]
    if evidence.score is not None and evidence.threshold is not None:
        relation = "≥" if evidence.score >= evidence.threshold else "<"
        parts.append(f"{score_words(evidence.score)} {relation} {score_words(evidence.threshold)}")
    elif evidence.score is not None:
        parts.append(f"score {score_words(evidence.score)}")
    if evidence.measurement:
        parts.append(_measured_words(evidence.measurement))
    if evidence.box_px:
        parts.append("box")
    if evidence.prior_sop_instance_uid:
        parts.append(image_words(evidence.prior_sop_instance_uid, reading))
    if origin is Origin.RADIOLOGIST or (evidence.source and evidence.score is None):
        parts.append(evidence.source or origin.value)
    elif evidence.model:
        parts.append(evidence.model.split()[0])
    return " · ".join(parts)


def _full(evidence: Evidence, reading: Reading) -> tuple[tuple[str, str], ...]:
    """All of one piece of evidence, as pairs of a name and a value."""
    pairs = [("Image", image_words(evidence.sop_instance_uid, reading)), ("SOP Instance UID", evidence.sop_instance_uid)]
    if evidence.frame:
        pairs.append(("Frame", str(evidence.frame)))
    if evidence.box_px:
        top, left, bottom, right = evidence.box_px
        pairs.append(("Box", f"rows {top} to {bottom}, columns {left} to {right} px"))
    if evidence.score is not None:
        pairs.append(("Score", f"{evidence.score:.3f}"))
    if evidence.threshold is not None:
        pairs.append(("Threshold", f"{evidence.threshold:.3f}"))
    if evidence.measurement:
        pairs.append(("Measured", f"{_measured_words(evidence.measurement)} ({evidence.measurement.basis})"))
    if evidence.prior_sop_instance_uid:
        pairs.append(("Prior image", evidence.prior_sop_instance_uid))
    if evidence.source:
        pairs.append(("Source", evidence.source))
    if evidence.model:
        pairs.append(("Model", evidence.model))
    return tuple(pairs)


def _measured_words(measured: Measurement) -> str:
    """ "cardiothoracic ratio 0.514"; a ratio's unit, "1" in UCUM, is not written."""
    unit = "" if measured.unit == "1" else f" {measured.unit}"
    return f"{measured.name.replace('_', ' ')} {measured.value:g}{unit}"


def _rows(reading: Reading, report: Report, drawn: tuple[Finding, ...]) -> list[Row]:
    """Present, uncertain, absent; last, without a decision, the labels that the report does not speak of."""
    names = [finding.finding for finding in drawn]
    spoken = _spoken(report)
    last = {correction.finding: correction for correction in report.corrections}
    rows = []
    for finding in sorted(
        reading.findings, key=lambda f: (f.finding not in spoken, _DECISION_ORDER.index(f.decision), -f.probability)
    ):
        correction = last.get(finding.finding)
        key = names.index(finding.finding) if finding.finding in names else -1
        if correction:
            note = f"{correction.verdict.value} by {plain_name(correction.by.name) or correction.by.user}"
            note += f": {correction.reason}" if correction.reason else ""
        else:
            note = ""
        silent = finding.finding not in spoken
        rows.append(
            Row(
                words=finding_words(finding.finding),
                key=key,
                colour=overlay.colour(key) if key >= 0 else "",
                decision="silent" if silent else finding.decision.value,
                decision_words="–" if silent else _DECISION_WORDS[finding.decision],
                side="" if silent else " ".join(filter(None, (finding.laterality, finding.zone and f"{finding.zone} zone"))),
                probability=finding.probability,
                threshold=finding.threshold,
                rule_out=finding.rule_out,
                note=note,
                struck=correction is not None and correction.verdict is Verdict.REJECTED,
            )
        )
    return rows


def _spoken(report: Report) -> set[str | None]:
    """Findings of which the report says something, or said it until a person struck it."""
    return {sentence.finding for sentence in report.sentences} | {correction.finding for correction in report.corrections}


def _change_row(change: Change) -> ChangeRow:
    def number(value: float | None) -> str:
        return "–" if value is None else score_words(value)

    return ChangeRow(
        words=finding_words(change.finding),
        kind=change.change.value,
        kind_words=change.change.value.replace("_", " "),
        sign=_SIGNS[change.change],
        before=number(change.prior_probability),
        now=number(change.current_probability),
        score="–" if change.change is ChangeKind.NOT_COMPARABLE else number(change.score),
        why=change.why,
    )
