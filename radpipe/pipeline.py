"""The way through, composed: files -> studies -> images -> findings -> changes -> priority -> draft. Read this page first.

    ingest      every file described, grouped into studies, entered in the store; what cannot be used is set aside
    Run         the studies that have no reading yet, in order of date (so that priors are read before what follows them),
                in micro-batches: decode the next while the model reads this one
    _conclude   findings, comparison, priority, draft of one study, saved in one transaction

A run is keyed by content, model, rules, relevant priors and the reports of earlier studies (`reading.run_key`): what has
been read is not read again.
Nothing here knows of Prefect, the command line or the web; pixels never leave this module.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from radpipe import compare, detect, dicom, draft, prior_report, register, sanity, triage
from radpipe.errors import InputError
from radpipe.finding import Change, Finding, Prior
from radpipe.guard import Fault, guarded
from radpipe.parts import HEADER, THUMBNAIL, Pipeline
from radpipe.ports import ImageModel, Prediction
from radpipe.prepare import Plan, Prepared, plan_of, predict, prepare
from radpipe.reading import ModelRun, Reading
from radpipe.settle import in_source_pixels, settled, told_from_image, with_image
from radpipe.study import FileRef, Image, SetAside, Study
from radpipe.thumbnail import pixels_of

__all__ = ["HEADER", "THUMBNAIL", "Ingested", "Pipeline", "Run", "ingest"]


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a source held: studies in order of date, and files that belong to none."""

    studies: tuple[Study, ...]
    set_aside: tuple[SetAside, ...]


def ingest(pipeline: Pipeline, on_file: Callable[[str], None] = lambda name: None) -> Ingested:
    """Describe and group every file of the source and enter its studies in the store."""
    described: list[dicom.Described] = []
    aside: list[SetAside] = []
    for item in pipeline.source.files():
        if isinstance(item, SetAside):
            aside.append(item)
            continue
        on_file(item.name)
        try:
            content = pipeline.source.read(item)
        except InputError as error:
            aside.append(SetAside(item.name, str(error)))
            continue
        found = guarded(item.name, partial(_look, pipeline, item, content))
        if isinstance(found, Fault):
            aside.append(SetAside(item.name, found.reason))
        elif isinstance(found, SetAside):
            aside.append(found)
        else:
            described.append(found)
    studies, orphans = dicom.group(described, aside)
    for study in studies:
        pipeline.store.add_study(study)
    _keep_reports(pipeline, studies, described)
    pipeline.store.save_set_aside(orphans)
    # as the store has them now: what arrived earlier of the same study belongs to it
    return Ingested(tuple(pipeline.store.study(study.study_key) for study in studies), orphans)


def _keep_reports(pipeline: Pipeline, studies: Iterable[Study], described: Iterable[dicom.Described]) -> None:
    """Reports that came among the files, each with its study as it was grouped; not those that were set aside."""
    by_uid = {study.study_instance_uid: study for study in studies}
    for one in described:
        study = by_uid.get(one.study.study_instance_uid)
        if one.report is None or study is None or one.file.name in {item.file for item in study.set_aside}:
            continue
        whose = study.patient if study.patient.patient_id else None
        pipeline.store.save_reported(replace(one.report, patient=whose, study_date=study.study_date))


def _look(pipeline: Pipeline, ref: FileRef, content: bytes) -> dicom.Described | SetAside:
    found = dicom.look(content, ref)
    if not isinstance(found, SetAside) and found.image is not None:
        pipeline.keep.put(found.sha256, HEADER, dicom.header(content))
    return found


class Run:
    """One pass over studies, in micro-batches. `read_next` reads one batch and returns its readings; empty at the end."""

    def __init__(self, pipeline: Pipeline, studies: Iterable[Study]) -> None:
        self._pipeline = pipeline
        self._waiting: Sequence[Study | Plan] = list(studies)
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="radpipe-decode")
        self._next: tuple[list[Reading], Future[list[Prepared]]] | None = None
        self._unchanged: set[str] = set()
        self._held: set[str] = set()

    @property
    def unchanged(self) -> frozenset[str]:
        """Run keys that were in the store already."""
        return frozenset(self._unchanged)

    @property
    def held(self) -> frozenset[str]:
        """Study keys that were read anew, but whose reports a person has corrected or signed: those stand."""
        return frozenset(self._held)

    def start(self) -> bool:
        """Begin to decode the first batch in the background. False when there is nothing new to read."""
        if self._next is None:
            self._next = self._begin()
        return self._next is not None

    def known(self) -> list[Reading]:
        """Readings that the store has already, without reading anything; takes their studies off the run."""
        known, self._waiting = self._sorted(self._waiting)
        return known

    def read_next(self) -> list[Reading]:
        """Read one micro-batch. Every study of it comes back as a reading, read or not read with its reason."""
        if not self.start():
            self._decoder.shutdown()
            return []
        assert self._next is not None  # start() said so
        readings, decoding = self._next
        prepared = decoding.result()
        self._next = self._begin()
        return readings + [self._standing(item.plan, reading) for item, reading in _read(self._pipeline, prepared)]

    def __iter__(self) -> Iterator[Reading]:
        while readings := self.read_next():
            yield from readings

    def _begin(self) -> tuple[list[Reading], Future[list[Prepared]]] | None:
        batch, self._waiting = self._waiting[: self._pipeline.batch_studies], self._waiting[self._pipeline.batch_studies :]
        if not batch:
            return None
        known, plans = self._sorted(batch)
        return known, self._decoder.submit(lambda: [prepare(self._pipeline, plan) for plan in plans])

    def _sorted(self, studies: Iterable[Study | Plan]) -> tuple[list[Reading], list[Plan]]:
        """What has been read already, and plans for what has not. A study is planned once."""
        known, plans = [], []
        for study in studies:
            plan = plan_of(self._pipeline, study) if isinstance(study, Study) else study
            reading = self._known(plan)
            if reading is None:
                plans.append(plan)
            else:
                known.append(reading)
        return known, plans

    def _known(self, plan: Plan) -> Reading | None:
        """The study's reading, if this very input has been read before."""
        store = self._pipeline.store
        reading = store.reading(plan.run_key)
        if reading is None:
            return None
        standing = store.study_reading(plan.study.study_instance_uid)
        if standing is not None and standing.run_key != plan.run_key:
            store.save_reading(reading)  # this input came back after another: it stands again, unless a person's report does
        reading = self._standing(plan, reading)
        self._unchanged.add(reading.run_key)
        return reading

    def _standing(self, plan: Plan, reading: Reading) -> Reading:
        """The reading that stands for the study now, with all that was ever set aside of it."""
        standing = self._pipeline.store.study_reading(plan.study.study_instance_uid)
        if standing is not None and standing.run_key != reading.run_key and reading.is_read:
            self._held.add(plan.study.study_key)
            reading = standing
        known = {(item.file, item.reason) for item in reading.study.set_aside}
        more = tuple(item for item in plan.study.set_aside if (item.file, item.reason) not in known)
        return (
            replace(reading, study=replace(reading.study, set_aside=(*reading.study.set_aside, *more))) if more else reading
        )


def _read(pipeline: Pipeline, prepared: Sequence[Prepared]) -> list[tuple[Prepared, Reading]]:
    """Readings of a micro-batch, saved. What failed in a way that may pass is tried again by the next run: it is saved under
    a key of its own, and never in the place of a reading."""
    started = time.perf_counter()
    ready = [item for item in prepared if item.tensor is not None]
    answers = predict(pipeline.model(), ready) if ready else {}
    infer_s = (time.perf_counter() - started) / max(len(ready), 1)
    readings = []
    for item in prepared:
        answer = answers.get(item.plan.run_key)
        concluded: tuple[Reading, bool] | Fault
        if isinstance(answer, Fault):
            concluded = answer
        else:
            concluded = guarded(item.plan.study.study_key, partial(_conclude, pipeline, item, answer, infer_s))
        if isinstance(concluded, Fault):
            reading, is_final = _not_read(pipeline, item, concluded.reason), False
        else:
            reading, is_final = concluded
        if not is_final:
            key = hashlib.sha256(f"try again {reading.run_key}".encode()).hexdigest()[:24]
            drafted = replace(reading.report, run_key=key, report_key=draft.report_key(key)) if reading.report else None
            reading = replace(reading, run_key=key, report=drafted)
        standing = pipeline.store.study_reading(reading.study.study_instance_uid)
        if is_final or reading.is_read or standing is None or not standing.is_read:
            pipeline.store.save_reading(reading, embeddings=_seen(item, answer) if reading.is_read else {})
        readings.append((item, reading))
    return readings


def _seen(item: Prepared, answer: Prediction | Fault | None) -> dict[str, npt.NDArray[np.float32]]:
    """The embedding that is kept of an image; none where the model gives no usable one: a guest may give anything."""
    if item.image is None or not isinstance(answer, Prediction) or answer.embedding.ndim != 2 or not answer.embedding.size:
        return {}
    with np.errstate(over="ignore"):
        usable = np.isfinite(answer.embedding[0].astype(np.float16)).all()
    return {item.image.sop_instance_uid: answer.embedding[0]} if usable else {}


def _conclude(pipeline: Pipeline, item: Prepared, prediction: Prediction | None, infer_s: float) -> tuple[Reading, bool]:
    """From a model's answer to a reading with its draft, and whether it is final: the same input needs no other try."""
    started = time.perf_counter()
    plan = item.plan
    if plan.not_read_reason is not None:
        return _not_read(pipeline, item, plan.not_read_reason), True
    if item.image is None or item.placement is None or prediction is None:
        reason = "no image of it could be decoded: see the reasons beside its files"
        return _not_read(pipeline, item, reason), not item.passing
    model = pipeline.model()
    card = model.card
    image, refusal = told_from_image(item.image, prediction, 0, card)
    if refusal is not None:
        return _not_read(pipeline, item, refusal, image), not item.passing
    pipeline.keep.put(image.sha256, THUMBNAIL, item.picture)
    found = in_source_pixels(detect.findings(prediction, 0, card, image.sop_instance_uid, item.placement), image)
    prior, why_no_prior, prior_findings, settled_priors = _prior(pipeline, item, image)
    changes: tuple[Change, ...] = ()
    if prior is not None and prior.registration is not None:
        changes = compare.changes(
            found, prior_findings, card, prior.registration, image.sop_instance_uid, prior.sop_instance_uid
        )
    assessed = tuple(finding for finding in found if card.label(finding.finding).assessed)
    compared = prior.study_instance_uid if prior else None
    reported = prior_report.choose(plan.reports, [finding.finding for finding in assessed], compared)
    priority = triage.prioritise(
        assessed,
        changes,
        read=True,
        in_distribution=True,
        why_not=None,
        rules=pipeline.rules,
        prior_date=prior.study_date if prior else None,
        reported=prior_report.known_before(reported, prior, found, changes),
    )
    study = with_image(plan.study, image, item.set_aside)
    chest = prediction.chests[0] if prediction.chests else None
    material = draft.Material(
        study=study,
        image=image,
        examined=(image,),
        findings=found,
        changes=changes,
        prior=prior,
        why_no_prior=why_no_prior,
        card=card,
        urgency=triage.urgency(pipeline.rules),
        prior_report=reported,
        quality=sanity.notes(prediction, 0),
        measured=chest.measurement if chest else None,
        not_measured=chest.no_ratio if chest else "",
        lungs=pipeline.lungs if chest else "",
    )
    total = item.decode_s + infer_s + time.perf_counter() - started
    reading = Reading(
        run_key=plan.run_key,
        study=study,
        not_read_reason=None,
        choices=settled(plan.choices, image),
        findings=found,
        prior=prior,
        why_no_prior=why_no_prior,
        changes=changes,
        priority=priority,
        report=draft.draft(material, plan.run_key),
        model=_model_run(model),
        seconds=(("decode", round(item.decode_s, 4)), ("infer", round(infer_s, 4)), ("total", round(total, 4))),
        read_at=pipeline.clock(),
        prior_report=reported,
    )
    return reading, settled_priors and not item.passing


def _prior(pipeline: Pipeline, item: Prepared, image: Image) -> tuple[Prior | None, str | None, tuple[Finding, ...], bool]:
    """The best comparable earlier study, registered, with the findings of its own reading; or why there is none. Last:
    whether that is settled, or an earlier study that this model has not read yet may still change it."""
    readings: dict[str, Reading] = {}
    pairs: list[tuple[Study, Image]] = []
    unread = 0
    for study in item.plan.earlier:
        reading = pipeline.store.study_reading(study.study_instance_uid)
        if reading is None or reading.model is None or reading.model.sha256 != pipeline.model_sha256:
            unread += 1
        elif reading.is_read:
            seen = {choice.sop_instance_uid for choice in reading.choices if choice.chosen}
            earlier_image = next(i for i in reading.study.images if i.sop_instance_uid in seen)
            readings[study.study_instance_uid] = reading
            pairs.append((reading.study, earlier_image))
    chosen = compare.choose_prior(item.plan.study, image, pairs)
    if chosen is None:
        why = compare.why_no_prior(item.plan.study, image, pairs)
        missing = f"{unread} earlier not read by this model"
        return None, missing if unread and not pairs else f"{why}; {missing}" if unread else why, (), not unread
    study, earlier_image, why = chosen
    picture = pipeline.keep.get(earlier_image.sha256, THUMBNAIL)
    if picture is None:
        return None, "the earlier image is no longer kept in the store", (), not unread
    here, there = dicom.upright(pixels_of(item.picture), image), dicom.upright(pixels_of(picture), earlier_image)
    registration = register.register(here, there)
    prior = Prior(study.study_instance_uid, study.study_date, earlier_image.sop_instance_uid, why, registration)
    return prior, None, readings[study.study_instance_uid].findings, not unread


def _not_read(pipeline: Pipeline, item: Prepared, reason: str, image: Image | None = None) -> Reading:
    study = with_image(item.plan.study, image, item.set_aside)
    priority = triage.prioritise((), (), read=False, in_distribution=False, why_not=reason, rules=pipeline.rules)
    return Reading(
        run_key=item.plan.run_key,
        study=study,
        not_read_reason=reason,
        choices=item.plan.choices,
        findings=(),
        prior=None,
        why_no_prior=None,
        changes=(),
        priority=priority,
        report=None,
        model=_model_run(pipeline.model()) if item.tensor is not None else None,
        seconds=(("decode", round(item.decode_s, 4)), ("infer", 0.0), ("total", round(item.decode_s, 4))),
        read_at=pipeline.clock(),
    )


def _model_run(model: ImageModel) -> ModelRun:
    card = model.card
    return ModelRun(card.name, card.version, card.sha256, model.backend, model.provider)
