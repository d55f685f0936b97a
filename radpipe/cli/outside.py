"""Commands about reports from elsewhere: `report import`, `report withdraw`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radpipe.cli import say
from radpipe.cli.studies import Studies, StudyName
from radpipe.errors import InputError, ModelError, UsageError
from radpipe.reported import OutsideReport, ReportOrigin
from radpipe.settings import Settings
from radpipe.study import Patient, study_key

if TYPE_CHECKING:
    from radpipe.report import Person
    from radpipe.store import SqlStore

Commands = Any  # argparse._SubParsersAction, which is private

LARGEST = 4 << 20
"""Bytes of one report: some thousand times a long one."""

_UID = re.compile(r"[0-9.]{1,64}")
_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair: no text that UTF-8 can write


def add_commands(inner: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """`report import` and `report withdraw`."""
    take = inner.add_parser(
        "import",
        parents=[common],
        formatter_class=formatter,
        help="keep the report of an earlier study, written elsewhere: it takes part in comparisons",
        description="Keep free-text reports of earlier studies. When a later study of the same patient is read next, what\n"
        "they state of a finding is quoted beside what the images show (`radpipe run` reads the later one anew).\n"
        "DICOM SR documents need no import: `radpipe run` takes them from the study's folder.",
        epilog="examples:\n  radpipe report import old.txt --study 1.2.840.113619.2.55.3.1\n"
        "  radpipe report import old.txt --study A2025-0113 --date 2025-11-02 --patient-id 4711 --issuer 'Clinic'\n"
        "  radpipe report import archive.jsonl --jsonl\n\n"
        'A line of --jsonl: {"study_instance_uid": "1.2..." (or "accession_number": "..."), "text": "...",\n'
        ' "study_date": "2025-11-02", "patient_id": "...", "issuer_of_patient_id": "..."}; the last three may be\n'
        "missing where the study is in the store.",
    )
    take.add_argument("file", type=Path, metavar="FILE", help="plain text, or JSON Lines with --jsonl; - reads stdin")
    take.add_argument("--jsonl", action="store_true", help="FILE has a report a line, each naming its study")
    take.add_argument("--study", metavar="STUDY", help="StudyInstanceUID, accession number or study key")
    take.add_argument("--date", metavar="YYYY-MM-DD", help="the study's date, if the study is not in the store")
    take.add_argument("--patient-id", metavar="ID", help="whose it is, if the study is not in the store")
    take.add_argument("--issuer", default="", metavar="X", help="IssuerOfPatientID, as in the patient's images")
    take.add_argument("--user", metavar="NAME", help="who imports (default: $RADPIPE_USER): stands in the audit trail")
    take.set_defaults(command=_import)

    withdraw = inner.add_parser(
        "withdraw",
        parents=[common],
        formatter_class=formatter,
        help="take an imported report back: it is not used again",
        description="Take back a report from elsewhere, for one that was imported to the wrong study or patient.",
        epilog="example:\n  radpipe report withdraw 5f0c2a9b11d07e34",
    )
    withdraw.add_argument("key", metavar="KEY", help="as `report import` printed it; also in `run --json`, prior_report")
    withdraw.add_argument("--undo", action="store_true", help="use it again")
    withdraw.add_argument("--user", metavar="NAME", help="who acts (default: $RADPIPE_USER)")
    withdraw.set_defaults(command=_withdraw)


@dataclass(frozen=True, slots=True)
class _Given:
    """One report as it was given: the words, and what was said of its study."""

    name: str  # of the file or line, for messages
    text: str
    study: StudyName
    study_date: date | None = None
    patient: Patient | None = None


def _import(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.assemble import open_the_store
    from radpipe.prior_report import speaks_of, statements_in, unsigned

    if options.jsonl == bool(options.study):
        raise UsageError("say whose report it is: --study STUDY, or --jsonl where each line says it")
    store = open_the_store(settings)
    by, whose = _actor(store, settings), _Whose(store)
    aside, body_part = 0, _body_part(settings)
    given = _lines(options.file) if options.jsonl else iter([_single(options)])
    for one in given:
        try:
            if isinstance(one, InputError):
                raise one
            if problem := unsigned(one.text):
                raise InputError(f"{one.name} {problem}")
            report = whose.report(one)
            is_new = store.save_reported(report, by=by)
        except (InputError, UsageError) as error:
            if not options.jsonl:
                raise
            aside += 1
            sys.stderr.write(f"set aside: {error}\n")
            continue
        kept = store.reported(report.reported_key) or report
        waits = whose.waits_for(kept)
        if not speaks_of(kept, body_part):
            sys.stderr.write(
                f"{one.name}: by its title, technique or words it is not of the {body_part.lower()}: kept for its own "
                "study, not used in comparisons\n"
            )
        findings = [
            {"finding": said.finding, "status": said.status, "laterality": said.laterality, "quote": _whole(said.quote)}
            for said in statements_in(kept)
        ]
        record = {
            "report_key": kept.reported_key,
            "study_key": study_key(kept.study_instance_uid) if kept.study_instance_uid else None,
            "study_date": kept.study_date.isoformat() if kept.study_date else None,
            "new": is_new,
            "withdrawn": kept.withdrawn,
            "waits_for": waits or None,
            "findings": findings,
        }
        before = "withdrawn before, and so it stays" if kept.withdrawn else "kept before: nothing changed"
        state = "kept" if is_new else before
        says = "; ".join(f"{said['finding']} {said['status']}" for said in findings) or "none that is known here"
        say(options, record, f"report {kept.reported_key} {state}; findings: {says}" + (f"; {waits}" if waits else ""))
    return 3 if aside else 0


def _withdraw(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.assemble import open_the_store

    store = open_the_store(settings)
    changed = store.withdraw_reported(options.key, back=options.undo, by=_actor(store, settings))
    record = {"report_key": options.key, "changed": changed, "withdrawn": not options.undo}
    words = "used again" if options.undo else "withdrawn"
    say(options, record, f"report {options.key} {words}" + ("" if changed else " before: nothing changed"))
    return 0


def _body_part(settings: Settings) -> str:
    """The body part that the site's model compares; the chest where there is no model."""
    from radpipe.cli.assemble import card_of

    try:
        return card_of(settings).input.body_part
    except ModelError:
        return "CHEST"


def _actor(store: SqlStore, settings: Settings) -> Person | None:
    """Who acts, if a known user was named; else it stands as radpipe's own act."""
    person = store.person(settings.user) if settings.user else None
    if settings.user and person is None:
        raise UsageError(f"{settings.user} is not known here; see `radpipe people add --help`")
    return person


class _Whose:
    """To find whose a report is, and of which study."""

    def __init__(self, store: SqlStore) -> None:
        self._store, self._studies = store, Studies(store)

    def report(self, given: _Given) -> OutsideReport:
        """The report with all that is known of its study. Raises UsageError where that is not enough, or contradicts."""
        study, name = self._studies.find(given.study, given.name), given.study
        if study is None:
            if not name.uid and given.patient is None:
                raise UsageError(
                    f"{given.name}: its study is not in the store, and an accession number alone does not say whose it is: "
                    "give the StudyInstanceUID, or the patient's ID and issuer and the study's date"
                )
            return OutsideReport(given.text, ReportOrigin.IMPORTED, name.uid, name.number, given.study_date, given.patient)
        if given.study_date and study.study_date and given.study_date != study.study_date:
            raise UsageError(f"{given.name}: the study {study.study_key} is of another date than the one given")
        issuer = given.patient.issuer_of_patient_id if given.patient else ""
        if given.patient and (
            given.patient.patient_id != study.patient.patient_id or (issuer and issuer != study.patient.issuer_of_patient_id)
        ):
            raise UsageError(f"{given.name}: the study {study.study_key} is another patient's than the one given")
        whose = study.patient if study.patient.patient_id else None
        return OutsideReport(
            given.text,
            ReportOrigin.IMPORTED,
            study.study_instance_uid,
            study.accession_number,
            study.study_date or given.study_date,
            whose,
        )

    def waits_for(self, report: OutsideReport) -> str:
        """Why the report cannot be used yet, in words; "" if it can."""
        if report.study_instance_uid and self._studies.of_uid(report.study_instance_uid) is not None:
            return ""
        if report.patient is None or report.study_date is None:
            return "its study is not in the store yet: used once the study arrives (or import it with date and patient)"
        if not self._store.has_patient(report.patient):
            return "no study of this patient is in the store yet: ID and issuer must be as in the images"
        return ""


def _single(options: argparse.Namespace) -> _Given:
    name = str(options.file)
    patient = Patient(options.patient_id, options.issuer) if options.patient_id else None
    text = _words(_read(options.file), name)
    return _Given(name, text, StudyName.of(options.study), _day(options.date, name), patient)


def _lines(path: Path) -> Iterator[_Given | InputError]:
    """The reports of a JSON Lines file, and why a line is none."""
    for number, line in enumerate(_read(path).splitlines(), 1):
        name = f"{path} line {number}"
        if not line.strip():
            continue
        try:
            yield _line(line, name)
        except InputError as error:
            yield error


def _line(line: bytes, name: str) -> _Given:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: not JSON") from error
    if not isinstance(found, dict):
        raise InputError(f"{name}: not a JSON object")

    def field(key: str) -> str:
        value = found.get(key)
        if value is not None and not isinstance(value, str):
            raise InputError(f"{name}: {key} must be text in quotes")
        if key != "text" and _HALF.search(value or ""):
            raise InputError(f"{name}: {key} has half of a surrogate pair: it is damaged")
        return (value or "").strip()

    if not field("text"):
        raise InputError(f"{name}: it has no text")
    uid, number, whose = field("study_instance_uid"), field("accession_number"), field("patient_id")
    if not (uid or number):
        raise InputError(f"{name}: it names no study (study_instance_uid or accession_number)")
    if uid and not _UID.fullmatch(uid):
        raise InputError(f"{name}: study_instance_uid is no UID: digits and dots, at most 64 (else give accession_number)")
    patient = Patient(whose, field("issuer_of_patient_id")) if whose else None
    return _Given(name, found["text"], StudyName(uid, number), _day(field("study_date"), name), patient)


def _whole(words: str) -> str:
    """The words as UTF-8 can write them: half of a surrogate pair stands as the sign for what is missing."""
    return _HALF.sub("\N{REPLACEMENT CHARACTER}", words)


def _read(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _words(content: bytes, name: str) -> str:
    """The text of a file: UTF-8, UTF-16 with its mark, else as Windows writes it. Raises InputError if it is no text."""
    from radpipe.dicom.sniff import appearance

    if len(content) > LARGEST:
        raise InputError(f"{name} has {len(content) >> 20} MiB: too large for a report")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    kind = appearance(content)
    if b"\0" in content or kind not in ("", "text"):
        looks = f", it looks like {kind}" if kind else ""
        raise InputError(f"{name} is not plain text{looks}: save the report as text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _day(words: str | None, name: str) -> date | None:
    try:
        return date.fromisoformat(words) if words else None
    except ValueError as error:
        raise InputError(f"{name}: a date is written YYYY-MM-DD") from error
