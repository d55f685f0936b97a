"""What images and sentences in one space are good for: scoring a text, similar studies, whether a report fits its image.

Pure. A sentence's vector cannot tell "effusion" from "no effusion", so polarity never comes from here: `radpipe.structure`
says what a sentence affirms or denies, the affirmed finding alone is scored, and what was denied is turned round. A score is
the similarity to a text less the similarity to "normal chest radiograph": the model's own measure would else be how much an
image looks like any text at all. Scores are uncalibrated; where they lie among reference images is said with them.

Nothing here changes a report: it points at sentences for a person to look at.

Axes: N images, R reference images, D shared space, E the reader's embedding, K texts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from radpipe.codes import Laterality, finding_words
from radpipe.observation import Assertion, Mention, Part, StructuredReport
from radpipe.report import Report, SectionName, Stance
from radpipe.structure import Lexicon, structure_report

Floats = npt.NDArray[np.float32]

NORMAL = "Normal chest radiograph."
"""What every text is set against. Worded as it was trained and measured (`train.sentences.prompt`)."""

READ = frozenset({Part.FINDINGS, Part.IMPRESSION, Part.UNHEADED, Part.ADDENDUM})
"""Parts of a report that speak of today's image."""

_SECTIONS = frozenset({SectionName.FINDINGS, SectionName.IMPRESSION, SectionName.ADDENDUM})
_STANCES = {Stance.PRESENT: Assertion.PRESENT, Stance.ABSENT: Assertion.ABSENT, Stance.UNSURE: Assertion.UNCERTAIN}


class Figures(Protocol):
    """What was measured of one finding, on patients not learnt from."""

    @property
    def prompt(self) -> str: ...

    @property
    def n(self) -> int: ...

    @property
    def positives(self) -> int: ...

    @property
    def agreement_auc(self) -> float: ...

    @property
    def agreement_auc_ci(self) -> tuple[float, float]: ...

    @property
    def supported(self) -> bool: ...


class Limits(Protocol):
    """From which percentile on a sentence is pointed out, and how often that is right, on patients not learnt from."""

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...

    @property
    def present_true(self) -> float: ...

    @property
    def present_false(self) -> float: ...

    @property
    def absent_true(self) -> float: ...

    @property
    def absent_false(self) -> float: ...


class JointModel(Protocol):
    """Sentences and a reader's images in one space; `radpipe.models.text.TextModel` is one."""

    @property
    def identity(self) -> str: ...

    @property
    def reader_sha256(self) -> str: ...

    @property
    def scale(self) -> float: ...

    @property
    def figures(self) -> Mapping[str, Figures]: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def reference(self) -> Floats:
        """(R, D) unit vectors."""
        ...

    def encode(self, sentences: Sequence[str]) -> Floats:
        """(K, D) unit vectors."""
        ...

    def project(self, embeddings: Floats) -> Floats:
        """(N, E) to (N, D) unit vectors."""
        ...


@dataclass(frozen=True, slots=True)
class TextScore:
    """How much an image looks like a text. `score` is 0..1 and no probability: it is not calibrated."""

    text: str
    score: float
    percentile: float  # of the reference images, 0..100: so many score lower
    reference_images: int
    denies: tuple[str, ...]  # findings that the text denies: the score does not know of the denial


@dataclass(frozen=True, slots=True)
class Similar:
    """One study and its likeness to the one asked about: the cosine of the two images, -1..1."""

    study_key: str
    place: int  # in the bank
    similarity: float


@dataclass(frozen=True, slots=True)
class Statement:
    """What a report says of one finding in one place."""

    quote: str
    finding: str
    status: Assertion
    laterality: Laterality | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """One statement beside the image. `percentile` None: this finding is not assessed, `why` says so."""

    statement: Statement
    text: str  # the affirmed words that were scored
    percentile: float | None
    score: float | None
    at_odds: bool
    why: str
    auc: float | None = None
    auc_ci: tuple[float, float] | None = None


def contrast(model: JointModel, vectors: Floats, texts: Sequence[str]) -> Floats:
    """(N, K): similarity of images (N, D) to the texts, less that to a normal radiograph."""
    encoded = model.encode([*texts, NORMAL])
    return np.asarray(vectors @ (encoded[:-1] - encoded[-1]).T, np.float32)


def percentiles(scores: Floats, reference: Floats) -> npt.NDArray[np.float64]:
    """(N, K) scores among reference scores (R, K): what share of them is lower, 0..100; equal ones count half."""
    ordered = np.sort(reference, axis=0)
    columns = range(scores.shape[1])
    below = np.stack([np.searchsorted(ordered[:, k], scores[:, k], "left") for k in columns], axis=1)
    upto = np.stack([np.searchsorted(ordered[:, k], scores[:, k], "right") for k in columns], axis=1)
    return np.asarray((below + upto) / 2 / len(reference) * 100, np.float64)


def _places(model: JointModel, embedding: Floats, texts: Sequence[str]) -> list[tuple[float, float]]:
    """Of each text: the percentile of the image of this embedding (E,) among the reference images, and its score. The texts
    and the normal radiograph are encoded once, for both."""
    images = np.concatenate([model.project(embedding[None]), model.reference])
    likeness = contrast(model, images, texts)
    found, reference = likeness[:1], likeness[1:]
    scores = 1 / (1 + np.exp(-model.scale * found[0]))
    return list(zip(percentiles(found, reference)[0].tolist(), scores.tolist(), strict=True))


def score_texts(model: JointModel, embedding: Floats, texts: Sequence[str], lexicon: Lexicon) -> tuple[TextScore, ...]:
    """How much the image of this embedding (E,) looks like each text."""
    return tuple(
        TextScore(
            text=text,
            score=score,
            percentile=percentile,
            reference_images=len(model.reference),
            denies=tuple(
                item.finding
                for item in structure_report("", text, lexicon).observations
                if item.status is Assertion.ABSENT
            ),
        )
        for text, (percentile, score) in zip(texts, _places(model, embedding, texts), strict=True)
    )  # fmt: skip


def nearest(
    query: Floats, bank: Floats, study_keys: Sequence[str], *, count: int, leave_out: Collection[str] = ()
) -> tuple[Similar, ...]:
    """The `count` studies whose best image is most like the query (D,), the likest first; equal ones by key.

    `bank` (N, D) are unit vectors, of the studies `study_keys`; a study may have several images.
    """
    best: dict[str, Similar] = {}
    likeness = bank @ query if len(bank) else np.zeros(0, np.float32)
    for place, (key, value) in enumerate(zip(study_keys, likeness, strict=True)):
        if key not in leave_out and (key not in best or best[key].similarity < value):
            best[key] = Similar(key, place, float(value))
    return tuple(sorted(best.values(), key=lambda one: (-one.similarity, one.study_key))[:count])


def statements_of_text(report: StructuredReport) -> tuple[Statement, ...]:
    """What the words of a report say of today's image, each finding, status and side once, in the order of the text."""
    found = [
        (mention.span.start, Statement(mention.span.quote, _label(mention), mention.status, mention.laterality))
        for observation in report.observations
        for mention in observation.mentions
        if mention.part in READ
    ]
    once: dict[tuple[str, Assertion, Laterality | None], Statement] = {}
    for _, statement in sorted(found, key=lambda item: item[0]):
        once.setdefault((statement.finding, statement.status, statement.laterality), statement)
    return tuple(once.values())


def statements_of_report(report: Report, lexicon: Lexicon) -> tuple[Statement, ...]:
    """Of a stored report: what its sentences are known to say, else what their words say."""
    found: dict[tuple[str, Assertion, Laterality | None], Statement] = {}
    for section in report.sections:
        if section.name not in _SECTIONS:
            continue
        for sentence in section.sentences:
            said = statements_of_text(structure_report("", sentence.text, lexicon))
            if sentence.finding is not None and sentence.stance in _STANCES:
                side = next((item.laterality for item in said if item.finding == sentence.finding), None)
                said = (Statement(sentence.text, sentence.finding, _STANCES[sentence.stance], side),)
            for item in said:
                found.setdefault((item.finding, item.status, item.laterality), item)
    return tuple(found.values())


def agreement(statements: Sequence[Statement], embedding: Floats, model: JointModel) -> tuple[Agreement, ...]:
    """Each statement beside the image of this embedding (E,). Present with a low percentile, or absent with a high one, is
    pointed out; what is uncertain never is. The side is not checked: it was not measured on real lesions."""
    known = [item for item in statements if item.finding in model.figures and model.figures[item.finding].supported]
    texts = list(dict.fromkeys(model.figures[item.finding].prompt for item in known))
    places = dict(zip(texts, _places(model, embedding, texts), strict=True)) if texts else {}
    return tuple(_judged(item, model, places) for item in statements)


def _judged(statement: Statement, model: JointModel, places: Mapping[str, tuple[float, float]]) -> Agreement:
    figures = model.figures.get(statement.finding)
    words = finding_words(statement.finding)
    if figures is None:
        return Agreement(statement, "", None, None, False, f"{words}: not among the findings that were measured")
    low, high = figures.agreement_auc_ci
    measured = f"AUC {figures.agreement_auc:.2f} ({low:.2f}-{high:.2f}), {figures.positives} of {figures.n}"
    if not figures.supported:
        why = f"{words}: sentences and images do not fit together well enough to say anything ({measured})"
        return Agreement(statement, "", None, None, False, why, figures.agreement_auc, figures.agreement_auc_ci)
    percentile, score = places[figures.prompt]
    limits = model.limits
    doubts = {
        Assertion.PRESENT: percentile < limits.low,
        Assertion.ABSENT: percentile >= limits.high,
        Assertion.UNCERTAIN: False,
    }
    at_odds = doubts[statement.status]
    here = f"the image lies at percentile {percentile:.0f} of {len(model.reference)} reference images for {words}"
    why = f"stated {statement.status.value}; {here} ({measured})"
    if at_odds:
        right, wrong = (
            (limits.present_false, limits.present_true)
            if statement.status is Assertion.PRESENT
            else (limits.absent_false, limits.absent_true)
        )
        why += f"; look again: said of {right:.0%} of such sentences that are wrong and of {wrong:.0%} that are right"
    return Agreement(
        statement, figures.prompt, percentile, score, at_odds, why, figures.agreement_auc, figures.agreement_auc_ci
    )


def _label(mention: Mention) -> str:
    """The lexicon has one finding for nodule and mass; the words tell which."""
    if mention.finding != "nodule_mass":
        return mention.finding
    words = mention.span.quote.lower()
    return "mass" if any(word in words for word in ("mass", "tumor", "tumour")) else "nodule"
