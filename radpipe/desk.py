"""The desk: where a stored report is looked at, corrected, signed and sent, from the command line now and the web later.

Composition: the steps are those of `radpipe.review`, the forms those of `radpipe.sinks`; this module brings the store, the
kept headers and the pictures to them. Signing and what it sends are one transaction.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from radpipe import dicom, review
from radpipe.errors import InputError, NotAllowed, UnknownKey
from radpipe.pipeline import HEADER, THUMBNAIL
from radpipe.ports import Keep
from radpipe.reading import Reading
from radpipe.report import Person, Report, Stance
from radpipe.study import Image, Study, study_key

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

    from radpipe.store import SqlStore

SENT_ON_SIGNING = (("sr", "dcm"), ("fhir", "json"))
PAGE_SIDE_PX = 1400


@dataclass(frozen=True, slots=True)
class Desk:
    """A store opened for people."""

    store: SqlStore
    keep: Keep
    read_file: Callable[..., bytes]  # Source.read: a FileRef's bytes, or InputError
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def find(self, key: str) -> tuple[Reading, Report]:
        """By report key or study key, or the beginning of either. Raises UnknownKey if none or several match."""
        report = self.store.report(self.store.report_key(key))
        reading = self.store.reading(report.run_key)
        if reading is None:
            raise UnknownKey(f"the reading {report.run_key} of report {report.report_key} is not in the store")
        return reading, report

    def person(self, user: str) -> Person:
        """Who acts. Raises NotAllowed for nobody or an unknown user."""
        if not user:
            raise NotAllowed("who are you? give --user NAME or set RADPIPE_USER")
        person = self.store.person(user)
        if person is None:
            raise NotAllowed(
                f"{user} is not known here; a person with their role is entered by "
                f"`radpipe people add {user} --name FAMILY^GIVEN --role radiologist`"
            )
        return person

    def accept(self, key: str, finding: str, user: str) -> Report:
        """Confirm one finding."""
        by = self.person(user)
        return self._corrected(key, "accept", finding, by, lambda r: review.accept(r, finding, by, self.clock()))

    def reject(self, key: str, finding: str, user: str, reason: str = "") -> Report:
        """Strike one finding."""
        by = self.person(user)
        return self._corrected(
            key, "reject", finding, by, lambda r: review.reject(r, finding, by, self.clock(), reason=reason)
        )

    def edit(self, key: str, finding: str, text: str, user: str, stance: Stance = Stance.STATEMENT) -> Report:
        """Reword one finding; `stance` says what the new words assert of it, for the coded outputs."""
        by = self.person(user)

        def step(report: Report) -> Report:
            return review.edit(report, finding, text, by, self.clock(), stance=stance)

        return self._corrected(key, "edit", finding, by, step)

    def sign(self, key: str, user: str) -> Report:
        """Sign, and put the report's forms into the outbox, in one transaction."""
        by = self.person(user)
        reading, report = self.find(key)
        return self._sent(reading, review.sign(report, by, self.clock()), "sign", by)

    def addendum(self, key: str, text: str, user: str) -> Report:
        """Add to a signed report and send it again, in one transaction."""
        by = self.person(user)
        reading, report = self.find(key)
        return self._sent(reading, review.addendum(report, text, by, self.clock()), "addendum", by)

    def render(self, reading: Reading, report: Report, form: str) -> bytes:
        """The report as text, json, fhir, sr, hl7 or html. Raises InputError where the source's header is no longer kept."""
        from radpipe import sinks

        if form == "sr":
            return sinks.dicom_sr.render(reading, report, self._headers(reading))
        if form == "html":
            current, prior = self._pictures(reading)
            return sinks.html.render(reading, report, current, prior, now=self.clock())
        simple = {
            "text": sinks.text.render,
            "json": sinks.json_report.render,
            "fhir": sinks.fhir.render,
            "hl7": sinks.hl7.render,
        }
        return simple[form](reading, report)

    def study_header(self, study: Study) -> Dataset:
        """The header of one of the study's images, without pixels. Raises InputError where none is kept."""
        header = next((header for image in study.images if (header := self._header(image)) is not None), None)
        if header is None:
            raise InputError(f"no image header of study {study.study_key} is kept; run `radpipe run` on its files again")
        return header

    def deliver(self, outbox: Path) -> int:
        """Write what is pending into the outbox folder; how many were written. Safe to repeat."""
        return self.store.deliver_to_folder(outbox)

    def _corrected(self, key: str, action: str, finding: str, by: Person, step: Callable[[Report], Report]) -> Report:
        _, report = self.find(key)
        changed = step(report)
        self.store.save_report(changed, action=action, by=by, detail=finding)
        return changed

    def _sent(self, reading: Reading, report: Report, action: str, by: Person) -> Report:
        from radpipe.store import Delivery

        deliveries = []
        for form, suffix in SENT_ON_SIGNING:
            content = self.render(reading, report, form)
            name = f"{reading.study.study_key}-{report.report_key}-v{report.version}.{form}.{suffix}"
            deliveries.append(Delivery(destination="folder", kind=form, name=name, content=content))
        self.store.save_report(report, action=action, by=by, deliveries=tuple(deliveries))
        return report

    def _headers(self, reading: Reading) -> dict[str, Dataset]:
        """Headers of the study's images and of the prior's, by SOP Instance UID."""
        wanted = list(reading.study.images)
        earlier = self._prior_image(reading)
        headers = {}
        for image in (*wanted, *((earlier,) if earlier else ())):
            header = self._header(image)
            if header is not None:
                headers[image.sop_instance_uid] = header
        return headers

    def _header(self, image: Image) -> Dataset | None:
        content = self.keep.get(image.sha256, HEADER)
        return None if content is None else dicom.read_header(content)

    def _prior_image(self, reading: Reading) -> Image | None:
        if reading.prior is None:
            return None
        study = self.store.study(study_key(reading.prior.study_instance_uid))
        return next((i for i in study.images if i.sop_instance_uid == reading.prior.sop_instance_uid), None)

    def _pictures(self, reading: Reading) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Pictures for the page: of the image read, and of the prior compared with."""
        read = [choice.sop_instance_uid for choice in reading.choices if choice.chosen and reading.is_read]
        images = [image for image in reading.study.images if image.sop_instance_uid in read]
        current = {image.sop_instance_uid: picture for image in images if (picture := self._picture(image))}
        earlier = self._prior_image(reading)
        picture = self._picture(earlier) if earlier else None
        return current, {earlier.sop_instance_uid: picture} if earlier and picture else {}

    def _picture(self, image: Image) -> bytes | None:
        """From the original file while it is there and unchanged, else the kept thumbnail."""
        from radpipe.sinks.picture import png

        try:
            content = self.read_file(image.file)
            if hashlib.sha256(content).hexdigest() == image.sha256:
                return png(dicom.picture(content), PAGE_SIDE_PX)
        except InputError:
            pass  # moved or deleted since: the thumbnail serves
        kept = self.keep.get(image.sha256, THUMBNAIL)
        return None if kept is None else _as_png(kept)


def _as_png(picture: bytes) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture)).save(buffer, "PNG")
    return buffer.getvalue()
