"""Boxes over a picture: their places in source pixels, colours and labels that do not lie on each other."""

from __future__ import annotations

from dataclasses import dataclass

from radpipe.codes import finding_words
from radpipe.finding import Decision, Finding, Registration, score_words

COLOURS = ("#56b4e9", "#e69f00", "#f0e442", "#cc79a7", "#00c896", "#ff7f50")
"""Okabe and Ito's palette for colour-blind readers, green and vermilion lightened to stand on a dark image. Colour is never
the only sign: every box carries its name, and an uncertain one is dashed."""

_GLYPH_WIDTH = 0.6  # mean, of the font size


@dataclass(frozen=True, slots=True)
class Box:
    """One outline and its label, in the coordinates of the picture's viewBox."""

    key: int  # which finding, by its place in `shown`; the page's class f0, f1, ...
    x: float
    y: float
    width: float
    height: float
    colour: str
    label: str
    label_x: float
    label_y: float  # baseline
    font_size: float
    dashed: bool = False

    @property
    def label_width(self) -> float:
        """An estimate, for the plate behind the text."""
        return (len(self.label) + 1) * _GLYPH_WIDTH * self.font_size


def boxed(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The findings that have something to draw: present or unsure, with a box; the most probable first."""
    drawn = [f for f in findings if f.decision is not Decision.ABSENT and any(e.box_px for e in f.evidence)]
    return tuple(sorted(drawn, key=lambda finding: -finding.probability))


def colour(key: int) -> str:
    """The colour of the finding with this place."""
    return COLOURS[key % len(COLOURS)]


def boxes_on(uid: str, drawn: tuple[Finding, ...], size: tuple[int, int]) -> tuple[Box, ...]:
    """Boxes on the image `uid` of `size` (columns, rows)."""
    placed: list[Box] = []
    for key, finding in enumerate(drawn):
        for evidence in finding.evidence:
            if evidence.box_px and evidence.sop_instance_uid == uid:
                top, left, bottom, right = evidence.box_px
                label = f"{finding_words(finding.finding)} {score_words(evidence.score or finding.probability)}"
                dashed = finding.decision is Decision.UNSURE
                _place(placed, key, (left, top, right - left, bottom - top), label + (" ?" if dashed else ""), size, dashed)
    return tuple(placed)


def boxes_on_prior(
    uid: str, drawn: tuple[Finding, ...], size: tuple[int, int], prior_size: tuple[int, int], registration: Registration
) -> tuple[Box, ...]:
    """The same places on the prior, through the registration (current to prior, normalised coordinates). Not what was seen
    there, only where to look: drawn dotted, without a label."""
    a, b, c, d, e, f = registration.transform
    placed: list[Box] = []
    for key, finding in enumerate(drawn):
        for evidence in finding.evidence:
            if not evidence.box_px or evidence.sop_instance_uid != uid:
                continue
            top, left, bottom, right = evidence.box_px
            corners = [(x / size[0], y / size[1]) for x in (left, right) for y in (top, bottom)]
            xs = [min(max(a * x + b * y + c, 0.0), 1.0) * prior_size[0] for x, y in corners]
            ys = [min(max(d * x + e * y + f, 0.0), 1.0) * prior_size[1] for x, y in corners]
            rectangle = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
            _place(placed, key, rectangle, "", prior_size, True)
    return tuple(placed)


def _place(
    placed: list[Box],
    key: int,
    rectangle: tuple[float, float, float, float],
    label: str,
    size: tuple[int, int],
    dashed: bool,
) -> None:
    """Add a box; its label, if any, goes above the outline, and down past labels that are already there."""
    x, y, width, height = rectangle
    font_size = max(size) / 48
    line = font_size * 1.35
    wide = (len(label) + 1) * _GLYPH_WIDTH * font_size
    label_x = max(0.0, min(x, size[0] - wide))
    baseline = max(y - 0.35 * font_size, line)
    while any(
        abs(other.label_y - baseline) < line
        and label_x < other.label_x + other.label_width
        and other.label_x < label_x + wide
        for other in placed
        if other.label and label
    ):
        baseline += line * 0.5
    numbers = (round(value, 2) for value in (x, y, width, height, label_x, baseline, font_size))
    left, top, across, down, text_x, text_y, em = numbers
    placed.append(Box(key, left, top, across, down, colour(key), label, text_x, text_y, em, dashed))
