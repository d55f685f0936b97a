"""One study before and through the model: what to read and compare with, the image made ready, the model's answer.

A fault on one study stays with that study. What failed in a way that may pass is marked, so that the next run tries again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from radpipe import dicom, prior_report, sanity
from radpipe.errors import ImageError, InputError
from radpipe.guard import Fault, guarded
from radpipe.parts import Pipeline
from radpipe.ports import ImageModel, Prediction
from radpipe.preprocess import Placement, model_input
from radpipe.reading import ImageChoice, SignedReport, run_key
from radpipe.reported import OutsideReport
from radpipe.study import Image, SetAside, Study
from radpipe.thumbnail import thumbnail


@dataclass(frozen=True, slots=True)
class Plan:
    """One study before pixels: which image to read, what to compare with."""

    study: Study
    run_key: str
    choices: tuple[ImageChoice, ...]
    candidates: tuple[Image, ...]  # best first
    earlier: tuple[Study, ...]  # relevant earlier studies of the patient
    not_read_reason: str | None = None
    reports: tuple[OutsideReport | SignedReport, ...] = ()  # of earlier studies of the patient, the latest first


@dataclass(frozen=True, slots=True)
class Prepared:
    """One study with its image ready for the model. `image` None: every candidate failed.

    `passing`: something failed that may not fail the next time (a file that could not be read, a fault of ours).
    """

    plan: Plan
    image: Image | None
    tensor: npt.NDArray[np.float32] | None
    placement: Placement | None
    picture: bytes  # thumbnail
    set_aside: tuple[SetAside, ...]
    decode_s: float
    passing: str = ""


def plan_of(pipeline: Pipeline, study: Study) -> Plan:
    choices = dicom.choose(study, pipeline.input_spec)
    images = {image.sop_instance_uid: image for image in study.images}
    candidates = tuple(images[choice.sop_instance_uid] for choice in choices if choice.chosen)
    reason = None if candidates else dicom.why_not_read(study, choices, pipeline.input_spec)
    if candidates and (young := sanity.too_young(study, pipeline.input_spec)):
        reason, candidates = young, ()
    earlier: tuple[Study, ...] = ()
    reports: tuple[OutsideReport | SignedReport, ...] = ()
    if candidates:
        studies = pipeline.store.patient_studies(study.patient, before=study)
        earlier = tuple(s for s in studies if any(choice.chosen for choice in dicom.choose(s, pipeline.input_spec)))
        body_part = pipeline.input_spec.body_part
        other_parts = {s.study_instance_uid for s in studies if s.body_part not in ("", body_part)}
        found = pipeline.store.earlier_reports(study, studies)
        reports = tuple(
            report
            for report in found
            if prior_report.study_of(report) not in other_parts and prior_report.speaks_of(report, body_part)
        )
    priors = ",".join(sorted(s.content_key for s in earlier))
    said = prior_report.content_key(reports)
    key = run_key(study, pipeline.model_sha256, pipeline.configuration_sha256, priors, said)
    return Plan(study, key, choices, candidates, earlier, reason, reports)


def prepare(pipeline: Pipeline, plan: Plan) -> Prepared:
    """Decode the best image that can be decoded; those that cannot are set aside."""
    started, passing = time.perf_counter(), ""
    aside: list[SetAside] = []
    for image in plan.candidates:
        made = guarded(plan.study.study_key, partial(_tensor, pipeline, image))
        if isinstance(made, tuple):
            return Prepared(plan, image, *made, tuple(aside), time.perf_counter() - started, passing)
        if not isinstance(made, ImageError):
            passing = made.reason if isinstance(made, Fault) else str(made)
        reason = made.reason if isinstance(made, Fault) else str(made)
        aside.append(SetAside(image.file.name, reason, plan.study.study_instance_uid, image.sop_instance_uid))
    return Prepared(plan, None, None, None, b"", tuple(aside), time.perf_counter() - started, passing)


def _tensor(pipeline: Pipeline, image: Image) -> tuple[npt.NDArray[np.float32], Placement, bytes] | InputError:
    """The image ready for the model and its thumbnail. An ImageError stays so; another InputError may pass."""
    try:
        pixels = dicom.presentation(pipeline.source.read(image.file))
        return *model_input(dicom.upright(pixels, image), pipeline.input_spec), thumbnail(pixels)
    except InputError as error:
        return error


def predict(model: ImageModel, ready: Sequence[Prepared]) -> dict[str, Prediction | Fault]:
    """A prediction for each study, by run key. A batch that fails is tried one by one: one image spoils no other."""
    tensors = [item.tensor for item in ready if item.tensor is not None]
    whole = guarded("a micro-batch", partial(model.predict, np.stack(tensors)))
    answers: dict[str, Prediction | Fault] = {}
    for number, item in enumerate(ready):
        if isinstance(whole, Fault):
            answers[item.plan.run_key] = guarded(item.plan.study.study_key, partial(model.predict, tensors[number][None]))
        else:
            answers[item.plan.run_key] = whole[number : number + 1]
    return answers
