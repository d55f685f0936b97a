"""The way through, composed: files -> studies -> images -> findings -> changes -> priority -> draft. Read this page first.

    ingest      every file described, grouped into studies, entered in the store; what cannot be used is set aside
    Run         the studies that have no reading yet, in order of date (so that priors are read before what follows them),
                in micro-batches: decode the next while the model reads this one
    _conclude   findings, comparison, priority, draft of one study, saved in one transaction

A run is keyed by content, model, rules and relevant priors (`reading.run_key`): what has been read is not read again.
Nothing here knows of Prefect, the command line or the web; pixels never leave this module.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from radpipe import compare, detect, dicom, draft, register, triage
from radpipe.card import InputSpec
from radpipe.errors import InputError
from radpipe.finding import Change, Finding, Prior
from radpipe.ports import ImageModel, Keep, Prediction, Source, Store
from radpipe.preprocess import Placement, model_input
from radpipe.reading import ImageChoice, ModelRun, Reading, run_key
from radpipe.settle import in_source_pixels, settled, told_from_image, with_image
from radpipe.study import Image, SetAside, Study
from radpipe.thumbnail import pixels_of, thumbnail

LOG = logging.getLogger("radpipe")

HEADER, THUMBNAIL = "header.dcm", "thumbnail.jpg"


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a source held: studies in order of date, and files that belong to none."""

    studies: tuple[Study, ...]
    set_aside: tuple[SetAside, ...]


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
    batch_studies: int = 8
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


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
        found = dicom.look(content, item)
        if isinstance(found, SetAside):
            aside.append(found)
            continue
        described.append(found)
        if found.image is not None:
            pipeline.keep.put(found.sop_instance_uid, HEADER, dicom.header(content))
    studies, orphans = dicom.group(described, aside)
    for study in studies:
        pipeline.store.add_study(study)
    pipeline.store.save_set_aside(orphans)
    # as the store has them now: what arrived earlier of the same study belongs to it
    return Ingested(tuple(pipeline.store.study(study.study_key) for study in studies), orphans)


@dataclass(frozen=True, slots=True)
class _Plan:
    """One study before pixels: which image to read, what to compare with."""

    study: Study
    run_key: str
    choices: tuple[ImageChoice, ...]
    candidates: tuple[Image, ...]  # best first
    earlier: tuple[Study, ...]  # relevant earlier studies of the patient
    not_read_reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """One study with its image ready for the model. `image` None: every candidate failed."""

    plan: _Plan
    image: Image | None
    tensor: npt.NDArray[np.float32] | None
    placement: Placement | None
    picture: bytes  # thumbnail
    set_aside: tuple[SetAside, ...]
    decode_s: float


class Run:
    """One pass over studies, in micro-batches. `read_next` reads one batch and returns its readings; empty at the end."""

    def __init__(self, pipeline: Pipeline, studies: Iterable[Study]) -> None:
        self._pipeline = pipeline
        self._waiting = list(studies)
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="radpipe-decode")
        self._next: tuple[list[Reading], Future[list[_Prepared]]] | None = None
        self._unchanged: set[str] = set()

    @property
    def unchanged(self) -> frozenset[str]:
        """Run keys that were in the store already."""
        return frozenset(self._unchanged)

    def start(self) -> bool:
        """Begin to decode the first batch in the background. False when there is nothing new to read."""
        if self._next is None:
            self._next = self._begin()
        return self._next is not None

    def known(self) -> list[Reading]:
        """Readings that the store has already, without reading anything; takes their studies off the run."""
        known: list[Reading] = []
        waiting: list[Study] = []
        for study in self._waiting:
            reading = self._pipeline.store.reading(_plan(self._pipeline, study).run_key)
            if reading is None:
                waiting.append(study)
            else:
                known.append(reading)
                self._unchanged.add(reading.run_key)
        self._waiting = waiting
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
        return readings + _read(self._pipeline, prepared)

    def __iter__(self) -> Iterator[Reading]:
        while readings := self.read_next():
            yield from readings

    def _begin(self) -> tuple[list[Reading], Future[list[_Prepared]]] | None:
        batch, self._waiting = self._waiting[: self._pipeline.batch_studies], self._waiting[self._pipeline.batch_studies :]
        if not batch:
            return None
        plans, known = [], []
        for study in batch:
            plan = _plan(self._pipeline, study)
            reading = self._pipeline.store.reading(plan.run_key)
            if reading is None:
                plans.append(plan)
            else:
                known.append(reading)
                self._unchanged.add(reading.run_key)
        return known, self._decoder.submit(lambda: [_prepare(self._pipeline, plan) for plan in plans])


def _plan(pipeline: Pipeline, study: Study) -> _Plan:
    choices = dicom.choose(study, pipeline.input_spec)
    images = {image.sop_instance_uid: image for image in study.images}
    candidates = tuple(images[choice.sop_instance_uid] for choice in choices if choice.chosen)
    reason = None if candidates else dicom.why_not_read(study, choices, pipeline.input_spec)
    earlier: tuple[Study, ...] = ()
    if candidates:
        studies = pipeline.store.patient_studies(study.patient, before=study)
        earlier = tuple(s for s in studies if any(choice.chosen for choice in dicom.choose(s, pipeline.input_spec)))
    priors = ",".join(sorted(s.content_key for s in earlier))
    key = run_key(study, pipeline.model_sha256, pipeline.configuration_sha256, priors)
    return _Plan(study, key, choices, candidates, earlier, reason)


def _prepare(pipeline: Pipeline, plan: _Plan) -> _Prepared:
    """Decode the best image that can be decoded; those that cannot are set aside."""
    started, aside = time.perf_counter(), []
    for image in plan.candidates:
        try:
            pixels = dicom.presentation(pipeline.source.read(image.file))
            tensor, placement = model_input(dicom.upright(pixels, image), pipeline.input_spec)
        except InputError as error:
            aside.append(SetAside(image.file.name, str(error), plan.study.study_instance_uid, image.sop_instance_uid))
            continue
        picture = thumbnail(pixels)
        return _Prepared(plan, image, tensor, placement, picture, tuple(aside), time.perf_counter() - started)
    return _Prepared(plan, None, None, None, b"", tuple(aside), time.perf_counter() - started)


def _read(pipeline: Pipeline, prepared: Sequence[_Prepared]) -> list[Reading]:
    started = time.perf_counter()
    ready = [item for item in prepared if item.tensor is not None]
    prediction = None
    if ready:
        prediction = pipeline.model().predict(np.stack([item.tensor for item in ready if item.tensor is not None]))
    infer_s = (time.perf_counter() - started) / max(len(ready), 1)
    readings = []
    for item in prepared:
        try:
            reading = _conclude(pipeline, item, prediction, ready.index(item) if item in ready else -1, infer_s)
        except Exception as error:  # the one place where any fault of ours sets a study aside instead of stopping the rest
            LOG.exception("study %s could not be read", item.plan.study.study_key)
            reason = f"radpipe failed on this study ({type(error).__name__}); read it by hand and report the log to us"
            reading = _not_read(pipeline, item, reason)
            # under a key of its own: the study is on the worklist, and the next run tries it again
            reading = replace(reading, run_key=hashlib.sha256(f"failed {reading.run_key}".encode()).hexdigest()[:24])
        pipeline.store.save_reading(reading)
        readings.append(reading)
    return readings


def _conclude(pipeline: Pipeline, item: _Prepared, prediction: Prediction | None, index: int, infer_s: float) -> Reading:
    """From a model's answer to a reading with its draft."""
    started = time.perf_counter()
    plan = item.plan
    if plan.not_read_reason is not None:
        return _not_read(pipeline, item, plan.not_read_reason)
    if item.image is None or item.placement is None or prediction is None:
        return _not_read(pipeline, item, "no image of it could be decoded: see the reasons beside its files")
    model = pipeline.model()
    card = model.card
    image, refusal = told_from_image(item.image, prediction, index, card)
    if refusal is not None:
        return _not_read(pipeline, item, refusal, image)
    pipeline.keep.put(image.sop_instance_uid, THUMBNAIL, item.picture)
    found = in_source_pixels(detect.findings(prediction, index, card, image.sop_instance_uid, item.placement), image)
    prior, why_no_prior, prior_findings = _prior(pipeline, item, image)
    changes: tuple[Change, ...] = ()
    if prior is not None and prior.registration is not None:
        changes = compare.changes(
            found, prior_findings, card, prior.registration, image.sop_instance_uid, prior.sop_instance_uid
        )
    assessed = tuple(finding for finding in found if card.label(finding.finding).assessed)
    priority = triage.prioritise(
        assessed,
        changes,
        read=True,
        in_distribution=True,
        why_not=None,
        rules=pipeline.rules,
        prior_date=prior.study_date if prior else None,
    )
    study = with_image(plan.study, image, item.set_aside)
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
    )
    total = item.decode_s + infer_s + time.perf_counter() - started
    return Reading(
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
    )


def _prior(pipeline: Pipeline, item: _Prepared, image: Image) -> tuple[Prior | None, str | None, tuple[Finding, ...]]:
    """The best comparable earlier study, registered; or why there is none. Its findings are those of its own reading."""
    readings = {}
    pairs = []
    for study in item.plan.earlier:
        reading = pipeline.store.study_reading(study.study_instance_uid)
        if reading is None or not reading.is_read or reading.report is None or reading.model is None:
            continue
        if reading.model.sha256 != pipeline.model_sha256:
            continue
        seen = {choice.sop_instance_uid for choice in reading.choices if choice.chosen}
        earlier_image = next(i for i in reading.study.images if i.sop_instance_uid in seen)
        readings[study.study_instance_uid] = reading
        pairs.append((reading.study, earlier_image))
    chosen = compare.choose_prior(item.plan.study, image, pairs)
    if chosen is None:
        why = compare.why_no_prior(item.plan.study, image, pairs)
        unread = len(item.plan.earlier) - len(pairs)
        return None, f"{why}; {unread} earlier could not be compared, not read by this model" if unread else why, ()
    study, earlier_image, why = chosen
    picture = pipeline.keep.get(earlier_image.sop_instance_uid, THUMBNAIL)
    if picture is None:
        return None, "the earlier image is no longer kept in the store", ()
    here, there = dicom.upright(pixels_of(item.picture), image), dicom.upright(pixels_of(picture), earlier_image)
    registration = register.register(here, there)
    prior = Prior(study.study_instance_uid, study.study_date, earlier_image.sop_instance_uid, why, registration)
    return prior, None, readings[study.study_instance_uid].findings


def _not_read(pipeline: Pipeline, item: _Prepared, reason: str, image: Image | None = None) -> Reading:
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
