"""`SqlStore`: `ports.Store` over SQLAlchemy, and the rest of what radpipe keeps. Every method is one transaction.

Every method that writes is idempotent by a key and appends to the audit trail only what it really changed. All raise
StoreError when the database cannot be used.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from radpipe.errors import AuditBroken, StoreError
from radpipe.reading import Reading, SignedReport
from radpipe.report import AuditEntry, Correction, Person, Report, Status
from radpipe.reported import OutsideReport
from radpipe.store import audit, codec, outbox, people, reported, reports, studies
from radpipe.store.audit import AuditHead
from radpipe.store.database import Database
from radpipe.store.outbox import Delivery, Queued
from radpipe.store.reports import WorklistRow
from radpipe.store.tables import corrections as correction_rows
from radpipe.store.tables import reports as report_rows
from radpipe.store.verify import verify
from radpipe.study import Patient, SetAside, Study, study_key

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from radpipe.store.embeddings import Embeddings


def utc_now() -> datetime:
    """The clock of a store that is given none."""
    return datetime.now(UTC)


def open_store(url: str, *, clock: Callable[[], datetime] = utc_now) -> SqlStore:
    """Open the store at a SQLAlchemy URL; make it, or bring its schema up to date, if needed.

    Raises StoreError if it cannot be opened or was made by a newer radpipe.
    """
    return SqlStore(Database(url), clock)


@contextmanager
def _no_cycle_search() -> Iterator[None]:
    """Pause the search for reference cycles: it would look at a growing list of values, which have none, over and over
    (of 10,000 readings half the time)."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class SqlStore:
    """Our own tables: the truth. Safe to share between threads; each process opens its own."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def __enter__(self) -> SqlStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- studies

    def add_study(self, study: Study) -> bool:
        """Enter a study, or add what is new to it. False if it was there already with the same content.

        A study whose files merely moved is the same study: the new places are kept, and the answer is False.
        """
        with self._database.write() as connection:
            return studies.add(connection, study, self._clock())

    def study(self, study_key: str) -> Study:
        """All that has arrived of a study, over all associations and folders. Raises UnknownKey."""
        with self._database.read() as connection:
            return studies.get(connection, study_key)

    def patient_studies(self, patient: Patient, *, before: Study) -> tuple[Study, ...]:
        """Earlier studies of the same patient, the latest first.

        Same PatientID and issuer; birth date and sex must not contradict; earlier by date, and by time within a day.
        What is not known to be earlier, or whose, is left out: a wrong prior is worse than none.
        """
        with self._database.read() as connection:
            return studies.of_patient(connection, patient, before)

    def save_set_aside(self, items: Iterable[SetAside]) -> int:
        """Keep files that were not used, of a study or of none. How many were not known yet."""
        with self._database.write() as connection:
            at = self._clock()
            fresh = studies.keep_set_aside(connection, items, at)
            if fresh:
                audit.append(
                    connection,
                    at=at,
                    actor=audit.MACHINE,
                    action="input.set_aside",
                    object_key=codec.sha256("\n".join(fresh))[:16],
                    detail=f"files={len(fresh)}",
                )
            return len(fresh)

    def set_aside(self) -> tuple[SetAside, ...]:
        """Every file that was ever set aside, oldest first."""
        with self._database.read() as connection:
            return studies.all_set_aside(connection)

    # -- readings

    def reading(self, run_key: str) -> Reading | None:
        """The reading of this run, or None."""
        with self._database.read() as connection:
            return reports.reading(connection, run_key)

    def study_reading(self, study_instance_uid: str) -> Reading | None:
        """The study's reading: that of its newest run, or None if it has none."""
        with self._database.read() as connection:
            return reports.newest_reading(connection, study_key(study_instance_uid))

    def unread_studies(self) -> tuple[tuple[Study, datetime], ...]:
        """Studies that arrived and have no reading yet, and when they arrived, in order of arrival."""
        with self._database.read() as connection:
            return studies.unread(connection)

    def save_reading(self, reading: Reading, *, embeddings: Mapping[str, npt.NDArray[Any]] | None = None) -> None:
        """Keep a reading and its draft; it becomes its study's reading. The same run key again only makes it stand again.

        An untouched draft of an earlier run is superseded. A report that a person has corrected or signed stands, and the
        new reading is held beside it. Enters the study if it is not there. `embeddings`: by SOP Instance UID, (D,) each.
        """
        with self._database.write() as connection:
            reports.save_reading(connection, reading, self._clock())
            if embeddings:
                from radpipe.store.embeddings import keep

                keep(connection, reading.run_key, embeddings)

    def save_embedding(self, run_key: str, sop_instance_uid: str, vector: npt.NDArray[Any]) -> bool:
        """Keep the embedding (D,) of an image of a reading that is here. False if there was one. Raises UnknownKey."""
        from radpipe.store.embeddings import keep

        with self._database.write() as connection:
            return keep(connection, run_key, {sop_instance_uid: vector}) > 0

    def run_embeddings(self, run_key: str) -> dict[str, npt.NDArray[np.float32]]:
        """The embeddings of one reading, by SOP Instance UID; empty if none were kept."""
        from radpipe.store.embeddings import of_run

        with self._database.read() as connection:
            return of_run(connection, run_key)

    def embeddings(self, model_sha256: str) -> Embeddings:
        """What this model saw in each study that it read; studies of other models are left out and counted."""
        from radpipe.store.embeddings import of_model

        with self._database.read() as connection:
            return of_model(connection, model_sha256)

    def worklist(self) -> tuple[tuple[Reading, datetime], ...]:
        """The newest reading of every study and when the study arrived, in order of arrival.

        About 0.4 ms and 30 kB a study: for a long list order and page `worklist_rows` instead.
        """
        with self._database.read() as connection:
            rows = reports.newest_readings(connection)
        with _no_cycle_search():
            return tuple((codec.decode(Reading, document), arrived_at) for document, arrived_at in rows)

    def worklist_rows(self) -> tuple[WorklistRow, ...]:
        """The worklist without its documents, to order and page a long one: a hundred times as fast as `worklist`."""
        with self._database.read() as connection:
            return reports.worklist_rows(connection)

    # -- reports

    def report(self, report_key: str) -> Report:
        """The newest version. Raises UnknownKey."""
        with self._database.read() as connection:
            return codec.decode(Report, reports.report_row(connection, report_key).document)

    def report_key(self, key: str) -> str:
        """The report key that `key` means: a report key or a study key (its newest report), whole or the beginning.

        Raises UnknownKey if it means none or several.
        """
        with self._database.read() as connection:
            return reports.find(connection, key)

    def report_versions(self, report_key: str) -> tuple[Report, ...]:
        """Every version, the first draft first. Empty for an unknown key."""
        query = select(report_rows.c.document).where(report_rows.c.report_key == report_key)
        with self._database.read() as connection:
            documents = connection.execute(query.order_by(report_rows.c.version)).scalars().all()
        return tuple(codec.decode(Report, document) for document in documents)

    def report_states(self, *, superseded: bool = False) -> dict[str, tuple[int, Status]]:
        """Newest version and status by report key, in the order of the runs: one query.

        Drafts that a newer reading superseded are left out unless asked for.
        """
        with self._database.read() as connection:
            rows = reports.states(connection)
        return {
            key: (version, Status(status))
            for key, version, status, superseded_by in rows
            if superseded or superseded_by is None or status != Status.DRAFT.value
        }

    def save_report(
        self, report: Report, *, action: str, by: Person, detail: str = "", deliveries: Iterable[Delivery] = ()
    ) -> None:
        """A new version of a report with its audit entry and, at a signature, its deliveries: one transaction.

        Saving the same version again changes nothing. `detail` goes into the trail: nothing of the patient's.
        Raises UnknownKey, AlreadySigned; StoreError if the version is not the stored one + 1 or the draft is superseded.
        """
        with self._database.write() as connection:
            at = self._clock()
            reports.save_report(connection, report, action=action, by=by, detail=detail, at=at)
            for delivery in deliveries:
                outbox.enqueue(connection, report.report_key, report.version, delivery, by=by.user, at=at)

    def corrections(self) -> tuple[tuple[str, Correction], ...]:
        """Every correction ever made, with its report's key, oldest first: what agreement is counted from."""
        table = correction_rows.c
        query = select(table.report_key, table.document).order_by(table.at, table.report_key, table.version, table.ordinal)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return tuple((key, codec.decode(Correction, document)) for key, document in rows)

    # -- reports from elsewhere

    def save_reported(self, report: OutsideReport, *, by: Person | None = None) -> bool:
        """Keep a report that came from elsewhere. False if the same words of the same study were kept before."""
        with self._database.write() as connection:
            return reported.add(connection, report, by=by.user if by else audit.MACHINE, at=self._clock())

    def withdraw_reported(self, reported_key: str, *, back: bool = False, by: Person | None = None) -> bool:
        """Take such a report back: it is not used (`back`: used again). False if nothing changed. Raises UnknownKey."""
        with self._database.write() as connection:
            actor = by.user if by else audit.MACHINE
            return reported.withdraw(connection, reported_key, back=back, by=actor, at=self._clock())

    def reported(self, reported_key: str) -> OutsideReport | None:
        """The report from elsewhere of this key, or None."""
        with self._database.read() as connection:
            return reported.get(connection, reported_key)

    def earlier_reports(self, before: Study, earlier: Sequence[Study]) -> tuple[OutsideReport | SignedReport, ...]:
        """The reports of the patient's earlier studies, the latest study first, one a study: ours if signed, else the last
        from elsewhere. `earlier`: as `patient_studies` gives them; of studies that are not here the patient tells."""
        with self._database.read() as connection:
            return reported.earlier(connection, before, earlier)

    def studies_by_accession_number(self) -> dict[str, tuple[str, ...]]:
        """StudyInstanceUIDs by accession number, of all studies that have one."""
        with self._database.read() as connection:
            return studies.by_accession_number(connection)

    def has_patient(self, patient: Patient) -> bool:
        """True if a study of this PatientID and issuer is here."""
        with self._database.read() as connection:
            return studies.has_patient(connection, patient)

    # -- outbox

    def enqueue(self, report_key: str, version: int, destination: str, kind: str, content: bytes, name: str) -> bool:
        """Queue one more delivery of a report. False if (report, version, destination, kind) was queued before."""
        with self._database.write() as connection:
            delivery = Delivery(destination, kind, name, content)
            return outbox.enqueue(connection, report_key, version, delivery, by=audit.MACHINE, at=self._clock())

    def pending(self, destination: str | None = None) -> tuple[Queued, ...]:
        """What waits to be delivered, oldest first."""
        with self._database.read() as connection:
            return outbox.queued(connection, destination=destination)

    def deliveries(self, report_key: str) -> tuple[Queued, ...]:
        """All deliveries of a report, waiting or done, oldest first."""
        with self._database.read() as connection:
            found = outbox.queued(connection, undelivered=False)
        return tuple(item for item in found if item.report_key == report_key)

    def content(self, delivery_id: int) -> bytes:
        """The bytes of a delivery. Raises UnknownKey."""
        with self._database.read() as connection:
            return outbox.content(connection, delivery_id)

    def mark_delivered(self, delivery_id: int, detail: str = "") -> bool:
        """Record that the destination has it. False if that was recorded before."""
        with self._database.write() as connection:
            return outbox.mark_delivered(connection, delivery_id, at=self._clock(), detail=detail)

    def mark_failed(self, delivery_id: int, why: str) -> None:
        """Count an attempt that failed; the delivery stays pending with this reason."""
        with self._database.write() as connection:
            outbox.mark_failed(connection, delivery_id, why)

    def deliver_to_folder(self, folder: Path, destination: str = outbox.FOLDER) -> int:
        """Write what waits for this destination into a folder; how many this call delivered.

        What cannot be written stays pending with its reason, and the others go on. Raises StoreError without a folder.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(f"the outbox folder {folder} cannot be made: {error.strerror}") from error
        outbox.clear_parts(folder)
        delivered = 0
        for item in self.pending(destination):
            try:
                outbox.place(folder, item.name, self.content(item.delivery_id))
            except (OSError, AuditBroken) as error:
                why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                self.mark_failed(item.delivery_id, why)
                continue
            delivered += self.mark_delivered(item.delivery_id)
        return delivered

    # -- people

    def add_person(self, person: Person, *, by: Person | None = None) -> bool:
        """Enter a person, or change name, role or organisation. False if nothing changed."""
        with self._database.write() as connection:
            return people.add(connection, person, by=by.user if by else audit.MACHINE, at=self._clock())

    def person(self, user: str) -> Person | None:
        """The person of this user name, or None."""
        with self._database.read() as connection:
            return people.get(connection, user)

    def people(self) -> tuple[Person, ...]:
        """Everyone, by user name."""
        with self._database.read() as connection:
            return people.everyone(connection)

    # -- audit

    def audit(self) -> Iterator[AuditEntry]:
        """The trail, oldest first. Read in pages: nobody waits while the trail is being looked at."""
        last = 0
        while True:
            with self._database.read() as connection:
                page = list(audit.entries(connection, after=last))
            if not page:
                return
            yield from page
            last = page[-1].sequence

    def head(self) -> AuditHead:
        """Length and last digest of the trail; a site writes `str(head)` down elsewhere, for `verify` to compare."""
        with self._database.read() as connection:
            return audit.head(connection)

    def verify(self, expected_head: AuditHead | None = None) -> int:
        """Prove trail and documents; how many entries the trail has. Raises AuditBroken naming the first broken entry.

        With an `expected_head` written down earlier it also proves that the trail still goes through it.
        """
        with self._database.read() as connection:
            return verify(connection, expected_head)
