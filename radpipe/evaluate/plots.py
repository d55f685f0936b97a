"""Small plots as inline SVG: ROC, reliability, and scores by truth. Colours are the page's CSS classes, so that they follow
light, dark and print. All numbers are drawn in a square or a strip of `SIZE` units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from radpipe.calibration import Bin, logit
from radpipe.evaluate.metrics import OperatingPoint, Ranking

Doubles = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

SIZE = 200.0
LEFT, BOTTOM, TOP, RIGHT = 40.0, 32.0, 8.0, 10.0
POINTS = 200
"""A curve is drawn with at most so many points."""

SCORE_TICKS = (0.001, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 0.999)
SCORE_BINS = 32


def roc(ranking: Ranking, point: OperatingPoint, rule_out: OperatingPoint) -> Markup:
    """The ROC curve with the card's threshold (filled) and rule-out (open)."""
    wrong, right = ranking.roc()
    if len(wrong) > POINTS:
        kept = np.unique(np.linspace(0, len(wrong) - 1, POINTS).astype(int))
        wrong, right = wrong[kept], right[kept]
    marks = "".join(
        f'<circle class="{kind}" cx="{_x(1 - one.specificity):.1f}" cy="{_y(one.sensitivity):.1f}" r="4">'
        f"<title>{words}: sensitivity {one.sensitivity:.2f}, specificity {one.specificity:.2f}</title></circle>"
        for one, kind, words in ((rule_out, "open", "rule-out"), (point, "dot", "threshold"))
        if one.sensitivity == one.sensitivity and one.specificity == one.specificity
    )
    line = f'<polyline class="line" points="{_points(wrong, right)}"/>' if point.positives and point.negatives else ""
    return _square("ROC curve", "1 - specificity", "sensitivity", 1.0, f"{_diagonal()}{line}{marks}")


def reliability(bins: Sequence[Bin]) -> Markup:
    """Share of positives against mean probability, with intervals; on the diagonal is perfect. Axes end above the points."""
    top = max([0.05, *(max(one.mean, one.share) for one in bins)])
    end = next(value for value in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0) if value >= min(top, 1.0) - 1e-9)
    drawn = []
    for one in bins:
        x, low, high = _x(one.mean / end), _y(one.low / end), _y(min(one.high / end, 1.0))
        drawn.append(
            f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
            f'<circle class="dot" cx="{x:.1f}" cy="{_y(one.share / end):.1f}" r="3.2">'
            f"<title>{one.n} images, mean probability {one.mean:.3f}, {one.share:.3f} have it "
            f"({one.low:.3f} to {one.high:.3f})</title></circle>"
        )
    path = _points(np.array([one.mean for one in bins]) / end, np.array([one.share for one in bins]) / end)
    line = f'<polyline class="thin" points="{path}"/>'
    return _square("Reliability", "mean probability", "share with it", end, f"{_diagonal()}{line}{''.join(drawn)}")


def scores(values: Doubles, truth: Booleans, threshold: float, rule_out: float) -> Markup:
    """Scores of images with the finding (up) and without (down), each by its own largest column; logit axis."""
    low, high = _ends(values)
    width = 2 * SIZE

    def place(probability: float) -> float:
        at = (float(logit(probability)) - low) / (high - low)
        return LEFT + min(max(at, 0.0), 1.0) * (width - LEFT - RIGHT)

    middle, reach = (TOP + SIZE - BOTTOM) / 2, (SIZE - BOTTOM - TOP) / 2 - 3
    edges = np.linspace(low, high, SCORE_BINS + 1)
    step = (width - LEFT - RIGHT) / SCORE_BINS
    columns = []
    for members, kind, sign in ((values[truth], "with", -1), (values[~truth], "without", 1)):
        counts, _ = np.histogram(np.clip(logit(members), low, high), edges)
        for number, count in enumerate(counts.tolist()):
            tall = reach * count / max(int(counts.max(initial=0)), 1)
            if count:
                y = middle - tall if sign < 0 else middle
                columns.append(
                    f'<rect class="{kind}" x="{LEFT + number * step + 0.6:.1f}" y="{y:.1f}" width="{step - 1.2:.1f}" '
                    f'height="{max(tall, 1):.1f}"><title>{count}</title></rect>'
                )
    start, stop = place(rule_out) if rule_out > 0 else LEFT, place(threshold) if threshold <= 1 else width - RIGHT
    bottom = SIZE - BOTTOM
    zone = f'<rect class="zone" x="{start:.1f}" y="{TOP}" width="{max(stop - start, 0):.1f}" height="{bottom - TOP:.1f}"/>'
    cuts = "".join(
        f'<line class="cut" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
        for x, there in ((start, rule_out > 0), (stop, threshold <= 1))
        if there
    )
    ticks = "".join(
        f'<line class="axis" x1="{place(p):.1f}" x2="{place(p):.1f}" y1="{bottom}" y2="{bottom + 3}"/>'
        f'<text x="{place(p):.1f}" y="{bottom + 14}" text-anchor="middle">{p:g}</text>'
        for p in _spaced([p for p in SCORE_TICKS if low <= float(logit(p)) <= high], place)
    )
    base = (
        f'<line class="axis" x1="{LEFT}" x2="{width - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
        f'<line class="axis faint" x1="{LEFT}" x2="{width - RIGHT}" y1="{middle:.1f}" y2="{middle:.1f}"/>'
    )
    names = (
        f'<text x="{LEFT - 4}" y="{TOP + reach / 2:.1f}" text-anchor="end">with</text>'
        f'<text x="{LEFT - 4}" y="{middle + reach / 2 + 6:.1f}" text-anchor="end">w/o</text>'
        f'<text class="name" x="{(width + LEFT) / 2:.1f}" y="{SIZE - 3}" text-anchor="middle">probability</text>'
    )
    return _svg(
        "Scores of images with and without the finding", width, SIZE, f"{zone}{''.join(columns)}{cuts}{base}{ticks}{names}"
    )


def bar(value: float, interval: tuple[float, float]) -> Markup:
    """An AUC from 0.4 to 1 as a mark on its interval; the line is 0.5."""
    if value != value:
        return Markup("")

    def place(x: float) -> float:
        return 3 + 94 * min(max((x - 0.4) / 0.6, 0.0), 1.0)

    low, high = (value if end != end else end for end in interval)
    return Markup(
        f'<svg class="forest" viewBox="0 0 100 10" aria-hidden="true"><line class="chance" x1="{place(0.5):.1f}" '
        f'x2="{place(0.5):.1f}" y1="0" y2="10"/><line class="whisker" x1="{place(low):.1f}" x2="{place(high):.1f}" '
        f'y1="5" y2="5"/><circle class="dot" cx="{place(value):.1f}" cy="5" r="2.6"/></svg>'
    )


def _ends(values: Doubles) -> tuple[float, float]:
    """Of the logit axis: the scores without the outermost 0.5 % at either end."""
    low, high = np.percentile(logit(values), (0.5, 99.5)) if len(values) else (-1.0, 1.0)
    return float(low) - 0.3, float(high) + 0.3


def _spaced(ticks: list[float], place: object) -> list[float]:
    kept: list[float] = []
    for tick in ticks:
        if not kept or place(tick) - place(kept[-1]) > 26:  # type: ignore[operator]
            kept.append(tick)
    return kept


def _x(share: float) -> float:
    return LEFT + share * (SIZE - LEFT - RIGHT)


def _y(share: float) -> float:
    return SIZE - BOTTOM - share * (SIZE - BOTTOM - TOP)


def _points(x: Doubles, y: Doubles) -> str:
    return " ".join(f"{_x(float(a)):.1f},{_y(float(b)):.1f}" for a, b in zip(x, y, strict=True))


def _diagonal() -> str:
    return f'<line class="diagonal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>'


def _square(title: str, across: str, up: str, end: float, inside: str) -> Markup:
    ticks = "".join(
        f'<text x="{_x(share):.1f}" y="{_y(0) + 13:.1f}" text-anchor="middle">{share * end:g}</text>'
        f'<text x="{LEFT - 5}" y="{_y(share) + 3.5:.1f}" text-anchor="end">{share * end:g}</text>'
        for share in (0.0, 0.5, 1.0)
    )
    frame = (
        f'<rect class="frame" x="{_x(0)}" y="{_y(1)}" width="{_x(1) - _x(0)}" height="{_y(0) - _y(1)}"/>{ticks}'
        f'<text class="name" x="{_x(0.5):.1f}" y="{SIZE - 4}" text-anchor="middle">{across}</text>'
        f'<text class="name" transform="translate(9 {_y(0.5):.1f}) rotate(-90)" text-anchor="middle">{up}</text>'
    )
    return _svg(title, SIZE, SIZE, frame + inside)


def _svg(title: str, width: float, height: float, inside: str) -> Markup:
    """`inside` is made of numbers and of this module's own words only."""
    return Markup(
        f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{title}"><title>{title}</title>'
        f"{inside}</svg>"
    )
