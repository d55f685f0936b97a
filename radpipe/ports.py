"""The doors of the house: protocols that edges implement and the pipeline is written against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from radpipe.card import ModelCard
from radpipe.finding import Measurement
from radpipe.reading import Reading, SignedReport
from radpipe.report import AuditEntry, Person, Report
from radpipe.reported import OutsideReport
from radpipe.study import FileRef, Patient, SetAside, Study

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Chest(Protocol):
    """Where the lungs of one image lie, and what was measured there: what is needed of an `anatomy.Anatomy`."""

    @property
    def fields(self) -> npt.NDArray[np.bool_]:
        """(2, side, side): the patient's right lung, the left, in the frame of `preprocess`."""
        ...

    @property
    def thorax(self) -> tuple[float, float, float, float] | None:
        """Box of both lungs: top, left, bottom, right as fractions of the frame."""
        ...

    @property
    def heart(self) -> tuple[float, float, float, float] | None:
        """Box of the heart as it was measured: top, left, bottom, right as fractions of the frame."""
        ...

    @property
    def complete(self) -> bool:
        """Whether both lungs were found whole."""
        ...

    @property
    def why(self) -> str:
        """In words."""
        ...

    @property
    def measurement(self) -> Measurement | None:
        """The cardiothoracic ratio."""
        ...

    @property
    def no_ratio(self) -> str:
        """Why there is none; "" where there is one."""
        ...

    @property
    def measures(self) -> Mapping[str, float]:
        """Scale-free numbers by name; NaN where one cannot be measured."""
        ...

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the image as a radiograph, in words: rotation, cut-off, inspiration, exposure."""
        ...


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer for a batch of B images, L labels, V views, O ways to lie. Arrays are read-only; what a model does
    not say has no columns: maps (B, 0, 0, 0), embedding (B, 0), views (B, 0), orientation (B, 0); distance is then 0.
    """

    probabilities: npt.NDArray[np.float32]  # (B, L) calibrated, 0..1
    maps: npt.NDArray[np.float32]  # (B, L, h, w) per-patch logits, same frame as the model's input
    embedding: npt.NDArray[np.float32]  # (B, D), unit length
    views: npt.NDArray[np.float32]  # (B, V) probabilities over card.view_labels
    distance: npt.NDArray[np.float32]  # (B,) how far from the training images; card.distance_limit is the limit
    orientation: npt.NDArray[np.float32] | None = None  # (B, O) probabilities over card.orientation_labels
    chests: tuple[Chest, ...] = ()  # B of them, where the lungs were looked for
    clipped: npt.NDArray[np.float32] | None = None  # (B, 2) shares of the picture that are quite white, quite black

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, part: slice) -> Prediction:
        """The answer for some of the images."""
        return Prediction(
            self.probabilities[part],
            self.maps[part],
            self.embedding[part],
            self.views[part],
            self.distance[part],
            None if self.orientation is None else self.orientation[part],
            self.chests[part],
            None if self.clipped is None else self.clipped[part],
        )


class ImageModel(Protocol):
    """A loaded model on one backend."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def backend(self) -> str:
        """ "onnx" or "torch"."""
        ...

    @property
    def provider(self) -> str:
        """What really runs it, read back after loading: "CPUExecutionProvider", "cuda:0", ..."""
        ...

    def predict(self, batch: npt.NDArray[np.float32], measures: npt.NDArray[np.float32] | None = None) -> Prediction:
        """(B, C, H, W) float32, preprocessed by `preprocess.model_input` as the card says.

        `measures` (B, M) are those that `card.measures` names, NaN where one could not be taken; None for none of them
        (`examine.Examiner` takes them).
        """
        ...


class LungFinder(Protocol):
    """A loaded lung segmenter."""

    @property
    def identity(self) -> str:
        """ "name version sha256[:12]": what evidence cites."""
        ...

    def fields(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probabilities of the patient's right and left lung, (B, 2, H, W), of (B, 1, H, W) grey values 0..1."""
        ...


class Source(Protocol):
    """Where files come from. Bytes only: what they mean is the dicom stage's work."""

    def files(self) -> Iterator[FileRef | SetAside]:
        """Every file found, each once, in a stable order; or why one cannot be looked at."""
        ...

    def read(self, ref: FileRef) -> bytes:
        """The bytes of one file. Raises InputError."""
        ...


class Store(Protocol):
    """Our own tables: the truth. Every method is one transaction and safe to repeat."""

    def add_study(self, study: Study) -> bool:
        """Enter or update a study. False if it was there already with the same content."""
        ...

    def study(self, study_key: str) -> Study:
        """A study with all its parts that ever arrived. Raises UnknownKey."""
        ...

    def save_set_aside(self, items: Iterable[SetAside]) -> int:
        """Keep files that belong to no study, with their reasons; how many were new."""
        ...

    def patient_studies(self, patient: Patient, *, before: Study) -> tuple[Study, ...]:
        """Earlier studies of the same patient (ID and issuer; birth date and sex must not contradict)."""
        ...

    def reading(self, run_key: str) -> Reading | None:
        """The reading of this run, or None. See `reading.run_key`."""
        ...

    def study_reading(self, study_instance_uid: str) -> Reading | None:
        """The newest reading of a study, or None."""
        ...

    def unread_studies(self) -> tuple[tuple[Study, datetime], ...]:
        """Studies that arrived and have no reading yet, and when they arrived, in order of arrival."""
        ...

    def save_reading(self, reading: Reading, *, embeddings: Mapping[str, npt.NDArray[Any]] | None = None) -> None:
        """Keep a reading and its draft, and what the model saw in its images by SOP Instance UID, (D,) each; it becomes
        the study's, unless a person has worked on the report that stands: then
        it is held beside. Saving the same run key again makes it the study's again, if it was superseded."""
        ...

    def worklist(self) -> tuple[tuple[Reading, datetime], ...]:
        """The newest reading of every study and when the study arrived, in order of arrival."""
        ...

    def report(self, report_key: str) -> Report:
        """The newest version. Raises UnknownKey."""
        ...

    def save_report(self, report: Report, *, action: str, by: Person, detail: str = "") -> None:
        """A new version of a report, with its audit entry, in one transaction."""
        ...

    def save_reported(self, report: OutsideReport) -> bool:
        """Keep a report that came from elsewhere. False if the same words of the same study were kept before."""
        ...

    def earlier_reports(self, before: Study, earlier: Sequence[Study]) -> tuple[OutsideReport | SignedReport, ...]:
        """The reports of a patient's studies before this one, the latest first, one a study. `earlier`: the studies that
        `patient_studies` gave; reports of studies that are not here are found by the patient."""
        ...

    def audit(self) -> Iterator[AuditEntry]:
        """The trail, oldest first."""
        ...


class Keep(Protocol):
    """What is kept of an image so that its report can be shown, compared and sent when the original file is gone."""

    def put(self, sha256: str, kind: str, content: bytes) -> None:
        """Keep `content`, of the file with this hash, under a kind ("header.dcm", "thumbnail.jpg"). The same again changes
        nothing; two files with one SOP Instance UID never share."""
        ...

    def get(self, sha256: str, kind: str) -> bytes | None:
        """What was kept, or None."""
        ...


class Sink(Protocol):
    """A form in which a report leaves."""

    suffix: str

    def render(self, reading: Reading, report: Report) -> bytes:
        """The report in this form: complete, ready to be written or sent."""
        ...
