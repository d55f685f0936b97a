"""Commands of the space that images and sentences share: similar, score, report check."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radpipe.cli import model_options, read_words, say
from radpipe.errors import InputError, UnknownKey, UsageError, WeightsError
from radpipe.settings import Settings

if TYPE_CHECKING:
    from radpipe.desk import Desk
    from radpipe.models.text import TextModel
    from radpipe.reading import Reading
    from radpipe.retrieve import Agreement, Similar
    from radpipe.store.embeddings import Embeddings

Commands = Any  # argparse._SubParsersAction, which is private

TEXT_MODEL = "chest-text"
"""The folder under weights/ that holds it."""


def add_commands(commands: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """similar, score."""
    similar = commands.add_parser(
        "similar",
        parents=[common, _weights()],
        formatter_class=formatter,
        help="studies of the store that look like one, and what their reports say",
        description="The studies whose images are most like this one's, by the reader's embeddings: of others, too;\n"
        "that is its purpose. Study keys and findings are shown, never a name.",
        epilog="example:\n  radpipe similar KEY --count 10 --json",
    )
    similar.add_argument("key", metavar="KEY", help="study key or report key, or its beginning")
    similar.add_argument("--count", type=int, default=5, metavar="N", help="how many (default 5)")
    similar.set_defaults(command=_similar)

    score = commands.add_parser(
        "score",
        parents=[common, model_options()],
        formatter_class=formatter,
        help="how much images look like a finding given in words; uncalibrated",
        description="Zero-shot: how much an image (DICOM, PNG, JPEG) looks like a text, and where it lies among reference\n"
        "images. No probability: it is not calibrated. Side, size and denial in the text are not understood.",
        epilog="example:\n  radpipe score chest.png --text 'pleural effusion' --text 'enlarged heart'",
    )
    score.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    score.add_argument("--text", action="append", required=True, metavar="WORDS", help="may be given several times")
    score.set_defaults(command=_score)


def add_report_commands(inner: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """`report check`."""
    check = inner.add_parser(
        "check",
        parents=[common, _weights()],
        formatter_class=formatter,
        help="which sentences of a report do not fit its image; changes nothing",
        description="Each finding that the report states, beside the image: one stated present where the image looks\n"
        "unlike it, or absent where it looks like it, is pointed out, with how often that is right. Weak: it is\n"
        "a reason to look again, no more. The side is not checked.",
        epilog="examples:\n  radpipe report check KEY\n  radpipe report check KEY --words 'Large left effusion. No nodule.'",
    )
    check.add_argument("key", metavar="KEY", help="study key or report key, or its beginning")
    check.add_argument("--words", metavar="TEXT", help="check these words instead of the report's; - reads them from stdin")
    check.set_defaults(command=_check)


def _weights() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--weights", metavar="DIR", help="folder of models (default: those that ship)")
    return options


def open_text_model(settings: Settings) -> TextModel:
    """The text model beside the readers. Raises WeightsError."""
    from radpipe.cli.assemble import weights_folder
    from radpipe.models.text import open_text

    return open_text(weights_folder(settings) / TEXT_MODEL, settings.threads)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A read study and what the reader saw in it."""

    reading: Reading
    model_sha256: str
    vectors: Any  # (N, E)


def _asked(desk: Desk, key: str) -> _Asked:
    reading, _ = desk.find(key)
    if reading.model is None:
        raise UnknownKey(f"the study {reading.study.study_key} was read by no model")
    kept = desk.store.run_embeddings(reading.run_key)
    if not kept:
        raise UsageError(
            f"no embedding of study {reading.study.study_key} is kept: it was read before they were; once the store is new, "
            "or the model, `radpipe run` keeps them"
        )
    import numpy as np

    return _Asked(reading, reading.model.sha256, np.stack(list(kept.values())))


def _similar(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.assemble import open_desk

    if options.count < 1:
        raise UsageError("--count must be at least 1")
    desk = open_desk(settings)
    asked = _asked(desk, options.key)
    bank = desk.store.embeddings(asked.model_sha256)
    found, space = _neighbours(settings, asked, bank, options.count)
    records = [_neighbour(desk, asked.reading, bank, one) for one in found]
    record = {
        "study_key": asked.reading.study.study_key,
        "compared_by": space,
        "studies_compared": len(set(bank.study_keys) - {asked.reading.study.study_key}),
        "left_out": {"read_by_other_models": bank.other_models, "without_embedding": bank.not_kept},
        "similar": records,
    }
    words = [_neighbour_line(one) for one in records] or ["no other study to compare with"]
    sys.stderr.write(
        f"{record['studies_compared']} other studies compared by {space}; left out: {bank.other_models} read by other "
        f"models, {bank.not_kept} without an embedding\n"
    )
    say(options, record, "\n".join(words))
    return 0


def _neighbours(settings: Settings, asked: _Asked, bank: Embeddings, count: int) -> tuple[tuple[Similar, ...], str]:
    """The nearest, in the shared space if there is one for this reader, else by the embeddings as they are."""
    from radpipe.retrieve import nearest

    query, vectors, space = asked.vectors[:1], bank.vectors, "the reader's embedding alone"
    try:
        text = open_text_model(settings)
        if text.reader_sha256 == asked.model_sha256 and len(vectors):
            query, vectors, space = text.project(query), text.project(vectors), text.identity
    except WeightsError as error:
        sys.stderr.write(f"radpipe: compared without the text model: {error}\n")
    own = {asked.reading.study.study_key}
    return nearest(query[0], vectors, bank.study_keys, count=count, leave_out=own), space


def _neighbour(desk: Desk, asked: Reading, bank: Embeddings, one: Similar) -> dict[str, Any]:
    from radpipe.finding import Decision
    from radpipe.report import SectionName
    from radpipe.study import study_key

    reading = desk.store.reading(bank.run_keys[one.place])
    assert reading is not None  # the embedding's foreign key
    standing = desk.store.study_reading(reading.study.study_instance_uid) or reading
    report = desk.store.report(standing.report.report_key) if standing.report else None
    impression = report.section(SectionName.IMPRESSION) if report else None
    mine, theirs = asked.study.patient, reading.study.patient
    same = (mine.patient_id, mine.issuer_of_patient_id) == (theirs.patient_id, theirs.issuer_of_patient_id)
    return {
        "study_key": study_key(reading.study.study_instance_uid),
        "study_date": reading.study.study_date.isoformat() if reading.study.study_date else None,
        "similarity": round(one.similarity, 4),
        "same_patient": bool(mine.patient_id) and same,
        "findings": [f.finding for f in reading.findings if f.decision is Decision.PRESENT],
        "report_key": report.report_key if report else None,
        "report_status": report.status.value if report else None,
        "impression": [sentence.text for sentence in impression.sentences] if impression else [],
    }


def _neighbour_line(one: dict[str, Any]) -> str:
    findings = ", ".join(name.replace("_", " ") for name in one["findings"]) or "nothing found"
    patient = "  same patient" if one["same_patient"] else ""
    head = f"{one['similarity']:+.3f}  {one['study_key']}  {one['study_date'] or 'undated'}{patient}  model: {findings}"
    said = "\n".join(f"          {line}" for line in one["impression"])
    return f"{head}\n        report {one['report_key']}, {one['report_status']}:\n{said}" if one["report_key"] else head


def _score(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe import sanity
    from radpipe.cli.assemble import LazyModel, card_of
    from radpipe.cli.pictures import load_picture
    from radpipe.preprocess import model_input
    from radpipe.retrieve import score_texts
    from radpipe.structure import open_lexicon

    texts = [read_words(text).strip() for text in options.text]
    if not all(texts):
        raise UsageError("--text has no words")
    card, text = card_of(settings), open_text_model(settings)
    _must_be_of(text, card.sha256, f"{card.name} {card.version}")
    model, lexicon = LazyModel(settings, card)(), open_lexicon("chest")
    aside = 0
    for path in options.images:
        try:
            tensor, _ = model_input(load_picture(path).pixels, card.input)
        except InputError as error:
            aside += 1
            sys.stderr.write(f"set aside: {path}: {error}\n")
            continue
        answer = model.predict(tensor[None])
        scores = score_texts(text, answer.embedding[0], texts, lexicon)
        record = {
            "file": str(path),
            "model": card.identity,
            "text_model": text.identity,
            "in_distribution": sanity.why_not(answer, 0, card) is None,
            "calibrated": False,
            "reference_images": len(text.reference),
            "texts": [
                {
                    "text": s.text,
                    "score": round(s.score, 4),
                    "percentile": round(s.percentile, 1),
                    "denied_but_not_understood": list(s.denies),
                }
                for s in scores
            ],
        }
        lines = [f"{path}" + ("" if record["in_distribution"] else ": unlike the images that the model learnt from")]
        for s in scores:
            denied = "  (its denial is not understood: the finding itself is scored)" if s.denies else ""
            lines.append(f"  {s.score:.2f}  percentile {s.percentile:5.1f}  {s.text}{denied}")
        say(options, record, "\n".join(lines))
    sys.stderr.write(
        f"Scores are not calibrated; percentiles are of {len(text.reference)} reference images, half of them of ill "
        f"patients. {text.card.strength}\n"
    )
    return 3 if aside else 0


def _check(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.assemble import open_desk
    from radpipe.retrieve import agreement, statements_of_report, statements_of_text
    from radpipe.structure import open_lexicon, structure_report

    desk = open_desk(settings)
    _, report = desk.find(options.key)
    asked, text, lexicon = _asked(desk, options.key), open_text_model(settings), open_lexicon("chest")
    model = asked.reading.model
    assert model is not None  # _asked says so
    _must_be_of(text, model.sha256, f"{model.name} {model.version}")
    if options.words is not None:
        words = read_words(options.words)
        statements = statements_of_text(structure_report(report.report_key, words, lexicon))
    else:
        statements = statements_of_report(report, lexicon)
    found = agreement(statements, asked.vectors[0], text)
    record = {
        "study_key": asked.reading.study.study_key,
        "report_key": report.report_key,
        "report_version": report.version,
        "checked": "words given" if options.words is not None else "report",
        "model": model.sha256,
        "text_model": text.identity,
        "reference_images": len(text.reference),
        "at_odds": sum(one.at_odds for one in found),
        "statements": [_agreement(one) for one in found],
        "limits": "Weak: a reason to look again, no more. Side, size and change are not checked; nothing was changed.",
    }
    lines = [
        f"{'LOOK AGAIN' if one.at_odds else '          '}  {one.statement.quote}\n            {one.why}" for one in found
    ]
    say(options, record, "\n".join([*(lines or ["the words state no finding"]), str(record["limits"])]))
    return 0


def _agreement(one: Agreement) -> dict[str, Any]:
    return {
        "quote": one.statement.quote,
        "finding": one.statement.finding,
        "status": one.statement.status.value,
        "scored_as": one.text or None,
        "percentile": None if one.percentile is None else round(one.percentile, 1),
        "score": None if one.score is None else round(one.score, 4),
        "at_odds": one.at_odds,
        "auc": None if one.auc is None else round(one.auc, 3),
        "auc_ci": None if one.auc_ci is None else [round(value, 3) for value in one.auc_ci],
        "why": one.why,
    }


def _must_be_of(text: TextModel, reader_sha256: str, reader: str) -> None:
    if text.reader_sha256 != reader_sha256:
        raise WeightsError(
            f"{text.card.name} was made for {text.card.reader}, not for {reader} ({reader_sha256[:12]}); make it again for "
            "this reader (docs/multimodal.md), or read the study with that one"
        )
