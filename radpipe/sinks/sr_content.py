"""The content tree of the SR: TID 1500 Measurement Report with the report's sentences in its Qualitative Evaluations.

    CONTAINER Imaging Measurement Report                               TID 1500
      language, observer: device (and person once signed), procedure   TID 1204, 1001, 1004, 1003
      CONTAINER Image Library                                          TID 1600: each image referred to, with its date
      CONTAINER Imaging Measurements
        CONTAINER Measurement Group, one per finding                   TID 1410 with a region, else TID 1501
          tracking, Finding, site and side, algorithm, Probability, Presence, Change since prior
      CONTAINER Qualitative Evaluations                                TID 1500 rows 12 to 14
        TEXT, one per sentence, INFERRED FROM the images it rests on

TID 1500 has no narrative sections. Its Qualitative Evaluations container does take TEXT, with any concept name, so the
sentences stand there under the names of TID 2000's headings and elements (CID 7001, 7002); a reader that knows only TID 1500
finds nothing that the template does not allow, and a generic viewer shows the text in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import highdicom as hd
import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentSequence,
    DateContentItem,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    ImageContentItem,
    ImageRegion,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from radpipe import codes as terms
from radpipe.codes import Code
from radpipe.errors import DraftError
from radpipe.finding import Change, Evidence
from radpipe.reading import Reading
from radpipe.report import Report, Sentence
from radpipe.sinks.identifiers import person_name, stable_uid
from radpipe.sinks.stated import Stated, banner, stated_changes, stated_findings
from radpipe.sinks.terms import (
    CHANGE_SINCE_PRIOR,
    CHANGES,
    PRESENCE,
    PRESENCE_OF_PROPERTY,
    PRIOR_IMAGE,
    PROBABILITY,
    QUALITATIVE_EVALUATIONS,
    SENTENCES,
    SOURCE,
)

_PROJECTION = frozenset({"CR", "DX", "RF", "RG", "XA", "PX", "IO"})


def measurement_report(reading: Reading, report: Report, headers: Mapping[str, Dataset]) -> ContainerContentItem:
    """The root item of the tree. `headers` are the images' (SOPInstanceUID -> header).

    Raises DraftError if the report refers to an image that has no header.
    """
    root = ContainerContentItem(codes.cid7021.ImagingMeasurementReport, template_id="1500")
    content = ContentSequence()
    content.extend(LanguageOfContentItemAndDescendants(concept(Code("en-US", "RFC5646", "English (United States)"))))
    content.extend(_observation_context(reading, report))
    content.append(
        CodeContentItem(codes.DCM.ProcedureReported, _procedure(headers), hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD)
    )
    content.append(_image_library(referenced_uids(reading, report), headers))
    groups = [group for stated in stated_findings(reading, report) for group in _groups(stated, reading, report, headers)]
    if groups:
        measurements = ContainerContentItem(codes.DCM.ImagingMeasurements, relationship_type="CONTAINS")
        measurements.ContentSequence = ContentSequence([item for group in groups for item in group])
        content.append(measurements)
    narrative = ContainerContentItem(concept(QUALITATIVE_EVALUATIONS), relationship_type="CONTAINS")
    narrative.ContentSequence = ContentSequence(list(_narrative(report, headers)))
    content.append(narrative)
    root.ContentSequence = content
    return root


def referenced_uids(reading: Reading, report: Report) -> tuple[str, ...]:
    """SOP Instance UIDs of the images that the tree refers to, the current study's first, each once."""
    evidence = [item for sentence in report.sentences for item in sentence.evidence]
    evidence += [item for stated in stated_findings(reading, report) for item in stated.finding.evidence]
    current = [item.sop_instance_uid for item in evidence]
    prior = [item.prior_sop_instance_uid for item in evidence if item.prior_sop_instance_uid]
    for change in stated_changes(reading, report):
        current.append(change.current_sop_instance_uid)
        prior.append(change.prior_sop_instance_uid)
    return tuple(dict.fromkeys(current + prior))


def concept(code: Code) -> CodedConcept:
    """Our code as highdicom's."""
    return CodedConcept(code.value, code.scheme, code.meaning)


def _header(uid: str, headers: Mapping[str, Dataset]) -> Dataset:
    if uid not in headers:
        raise DraftError(f"the report refers to image {uid}, whose header was not given; pass the headers of all its images")
    return headers[uid]


def _observation_context(reading: Reading, report: Report) -> ObservationContext:
    """TID 1001: the model as a device; the signer as a person once there is one."""
    model = reading.model
    device = ObserverContext(
        codes.DCM.Device,
        DeviceObserverIdentifyingAttributes(
            uid=stable_uid("device", model.sha256 if model else "radpipe"),
            name=f"{model.name} {model.version}" if model else "radpipe",
            model_name=model.name if model else "radpipe",
            serial_number=model.sha256 if model else None,
        ),
    )
    if report.signed_by is None:
        return ObservationContext(observer_device_context=device)
    person = ObserverContext(
        codes.DCM.Person,
        PersonObserverIdentifyingAttributes(
            person_name(report.signed_by.name), organization_name=report.signed_by.organisation or None
        ),
    )
    return ObservationContext(observer_person_context=person, observer_device_context=device)


def _procedure(headers: Mapping[str, Dataset]) -> CodedConcept:
    modalities = {header.get("Modality", "") for header in headers.values()}
    radiograph = bool(modalities) and modalities <= _PROJECTION
    return CodedConcept.from_code(codes.LN.XRUnspecifiedBodyRegion if radiograph else codes.SCT.ImagingProcedure)


def _image_library(uids: Iterable[str], headers: Mapping[str, Dataset]) -> ContainerContentItem:
    """TID 1600. highdicom's own class needs orientation and spacing, which many radiographs lack; both are optional."""
    group = ContainerContentItem(codes.DCM.ImageLibraryGroup, relationship_type="CONTAINS")
    group.ContentSequence = ContentSequence()
    for uid in uids:
        header = _header(uid, headers)
        image = ImageContentItem(concept(SOURCE), header.SOPClassUID, uid, relationship_type="CONTAINS")
        if header.get("StudyDate"):
            date = DateContentItem(codes.DCM.StudyDate, header.StudyDate, "HAS ACQ CONTEXT")
            image.ContentSequence = ContentSequence([date])
        group.ContentSequence.append(image)
    library = ContainerContentItem(codes.DCM.ImageLibrary, relationship_type="CONTAINS")
    library.ContentSequence = ContentSequence([group])
    return library


Group = MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations


def _groups(stated: Stated, reading: Reading, report: Report, headers: Mapping[str, Dataset]) -> list[Group]:
    """One group for the finding; one more for each further box, because TID 1410 takes exactly one region."""
    finding = stated.finding
    boxed = [item for item in finding.evidence if item.box_px is not None]
    changes = [change for change in stated_changes(reading, report) if change.finding == finding.finding]
    return [
        _group(stated, item, number, changes if number == 1 else [], reading, report, headers)
        for number, item in enumerate(boxed or finding.evidence[:1], start=1)
    ]


def _group(
    stated: Stated,
    evidence: Evidence,
    number: int,
    changes: list[Change],
    reading: Reading,
    report: Report,
    headers: Mapping[str, Dataset],
) -> Group:
    finding = stated.finding
    name = finding.finding if number == 1 else f"{finding.finding} {number}"
    tracking = TrackingIdentifier(stable_uid("tracking", report.report_key, name), name)
    side = concept(terms.SIDES[finding.laterality]) if finding.laterality else None
    sites = [FindingSite(concept(terms.CHEST), side)] if reading.study.body_part in ("", "CHEST") else []
    model = reading.model
    algorithm = None
    if model:
        algorithm = AlgorithmIdentification(model.name, model.version, [
            f"sha256 {model.sha256}", f"backend {model.backend}, provider {model.provider}",
            f"present at and above {finding.threshold:.4g}, absent below {finding.rule_out:.4g}",
        ])  # fmt: skip
    probability = evidence.score if evidence.score is not None else finding.probability
    measurements = [Measurement(concept(PROBABILITY), round(probability, 6), codes.UCUM.NoUnits)]
    if evidence.measurement:
        measured = evidence.measurement
        label = concept(Code(_slug(measured.name), "99RADPIPE", measured.name[:64]))
        measurements.append(Measurement(label, measured.value, concept(Code(measured.unit, "UCUM", measured.unit))))
    evaluations = [QualitativeEvaluation(concept(PRESENCE_OF_PROPERTY), concept(PRESENCE[finding.decision]))]
    evaluations += [_change(change, headers) for change in changes]
    header = _header(evidence.sop_instance_uid, headers)
    frames = [evidence.frame] if evidence.frame else None
    finding_type = concept(finding.code)
    if evidence.box_px is None:
        return MeasurementsAndQualitativeEvaluations(
            tracking, finding_type=finding_type, algorithm_id=algorithm, finding_sites=sites, measurements=measurements,
            qualitative_evaluations=evaluations,
            source_images=[SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID, frames)],
        )  # fmt: skip
    region = ImageRegion(
        hd.sr.GraphicTypeValues.POLYLINE,
        _polyline(evidence.box_px),
        SourceImageForRegion(header.SOPClassUID, header.SOPInstanceUID, frames),
    )
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking, referenced_region=region, finding_type=finding_type, algorithm_id=algorithm, finding_sites=sites,
        measurements=measurements, qualitative_evaluations=evaluations,
    )  # fmt: skip


def _polyline(box_px: tuple[int, int, int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(5, 2) closed outline as (column, row). In SCOORD the top left pixel's top left corner is 0\\0 (PS3.3 C.18.6.1.2),
    so that our end-exclusive edges are coordinates as they stand."""
    top, left, bottom, right = box_px
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]], np.float64)


def _change(change: Change, headers: Mapping[str, Dataset]) -> QualitativeEvaluation:
    """The change as a coded evaluation, inferred from the prior's image."""
    evaluation = QualitativeEvaluation(concept(CHANGE_SINCE_PRIOR), concept(CHANGES[change.change]))
    prior = _image(change.prior_sop_instance_uid, None, headers, PRIOR_IMAGE)
    evaluation[0].ContentSequence = ContentSequence([prior])
    return evaluation


def _narrative(report: Report, headers: Mapping[str, Dataset]) -> Iterable[TextContentItem]:
    if warning := banner(report):
        yield TextContentItem(codes.DCM.Comment, warning, "CONTAINS")
    for section in report.sections:
        for sentence in section.sentences:
            item = TextContentItem(concept(SENTENCES[section.name]), sentence.text, "CONTAINS")
            item.ContentSequence = ContentSequence(list(_evidence(sentence, headers)))
            yield item


def _evidence(sentence: Sentence, headers: Mapping[str, Dataset]) -> Iterable[ImageContentItem]:
    seen: set[tuple[str, int | None]] = set()
    for evidence in sentence.evidence:
        for uid, frame, purpose in (
            (evidence.sop_instance_uid, evidence.frame, SOURCE),
            (evidence.prior_sop_instance_uid, None, PRIOR_IMAGE),
        ):
            if uid and (uid, frame) not in seen:
                seen.add((uid, frame))
                yield _image(uid, frame, headers, purpose)


def _image(uid: str, frame: int | None, headers: Mapping[str, Dataset], purpose: Code) -> ImageContentItem:
    header = _header(uid, headers)
    return ImageContentItem(concept(purpose), header.SOPClassUID, uid, frame, relationship_type="INFERRED FROM")


def _slug(name: str) -> str:
    return "-".join(name.lower().split())[:16]
