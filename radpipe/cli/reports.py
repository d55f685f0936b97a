"""Commands about readings and reports: worklist, report, accept, reject, edit, sign, addendum, deliver."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radpipe.cli import outside, read_words, say, similar
from radpipe.errors import UsageError
from radpipe.reading import Reading
from radpipe.settings import Settings
from radpipe.study import Study

if TYPE_CHECKING:
    from radpipe.triage import Rules

Commands = Any  # argparse._SubParsersAction, which is private

ACTIONS = ("accept", "reject", "edit", "sign", "addendum")


def add_commands(commands: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """worklist, report and the actions, which also stand at the top: `radpipe sign KEY`."""
    worklist = commands.add_parser(
        "worklist",
        parents=[common],
        formatter_class=formatter,
        help="the worklist in reading order",
        description="Every study of the store, in the order in which it should be read, with the reason.",
        epilog="example:\n  radpipe worklist --json | jq '.[0]'",
    )
    worklist.set_defaults(command=_worklist)

    report = commands.add_parser(
        "report",
        parents=[common],
        formatter_class=formatter,
        help="list, show, correct and sign reports",
        description="Reports by their key (or study key, or the beginning of either).",
        epilog="examples:\n  radpipe report list\n  radpipe report show KEY --as html -o draft.html\n"
        "  radpipe report edit KEY pleural_effusion 'Small left effusion.' --user lee",
    )
    inner = report.add_subparsers(title="report commands", metavar="COMMAND", required=True)
    listing = inner.add_parser(
        "list",
        parents=[common],
        formatter_class=formatter,
        help="all reports",
        epilog="example:\n  radpipe report list --json",
    )
    listing.set_defaults(command=_list)
    show = inner.add_parser(
        "show",
        parents=[common],
        formatter_class=formatter,
        help="one report in some form",
        epilog="examples:\n  radpipe report show KEY\n  radpipe report show KEY --as html -o draft.html",
    )
    show.add_argument("key", metavar="KEY")
    show.add_argument(
        "--as", dest="form", choices=("text", "json", "fhir", "sr", "hl7", "html"), default="text", help="default text"
    )
    show.add_argument("-o", "--output", type=Path, metavar="FILE", help="write here instead of stdout")
    show.set_defaults(command=_show)
    outside.add_commands(inner, common, formatter)
    similar.add_report_commands(inner, common, formatter)
    for place in (inner, commands):
        _add_actions(place, common, formatter)

    deliver = commands.add_parser(
        "deliver",
        parents=[common],
        formatter_class=formatter,
        help="deliver what the outbox still holds",
        description="Signing delivers at once; this sends, through the Prefect flow, what a crash left behind.",
        epilog="example:\n  radpipe deliver",
    )
    deliver.set_defaults(command=_deliver)


def _add_actions(place: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    who = argparse.ArgumentParser(add_help=False)
    who.add_argument("--user", metavar="NAME", help="who acts (default: $RADPIPE_USER); see `radpipe people`")
    words = {
        "accept": "confirm one finding of a draft",
        "reject": "strike one finding of a draft",
        "edit": "reword one finding of a draft",
        "sign": "sign a draft: it becomes final and leaves by the outbox (radiologists only)",
        "addendum": "add to a signed report (radiologists only)",
    }
    examples = {
        "accept": "accept KEY pleural_effusion --user lee",
        "reject": "reject KEY nodule --reason 'nipple shadow' --user lee",
        "edit": "edit KEY pleural_effusion 'Small left effusion.' --says present --user lee",
        "sign": "sign KEY --user lee",
        "addendum": "addendum KEY 'Discussed with the ward at 14:10.' --user lee",
    }
    for action in ACTIONS:
        parser = place.add_parser(
            action,
            parents=[common, who],
            formatter_class=formatter,
            help=words[action],
            description=words[action] + ".",
            epilog=f"example:\n  radpipe {examples[action]}",
        )
        parser.add_argument("key", metavar="KEY", help="report key or study key, or its beginning")
        if action in ("accept", "reject", "edit"):
            parser.add_argument("finding", metavar="FINDING", help="as in the JSON, e.g. pleural_effusion")
        if action in ("edit", "addendum"):
            parser.add_argument("text", metavar="TEXT", help="the words; - reads them from stdin")
        if action == "edit":
            parser.add_argument(
                "--says",
                choices=("present", "absent", "unsure"),
                help="what the new words assert of the finding; without it, it leaves the coded outputs (SR, FHIR, HL7)",
            )
        if action == "reject":
            parser.add_argument("--reason", default="", metavar="TEXT", help="kept in the record")
        parser.set_defaults(command=_act, action=action)


def _worklist(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe import triage
    from radpipe.cli.assemble import card_of, open_the_store, rules_of
    from radpipe.record import run_record

    store = open_the_store(settings)
    assessed = {label.finding: label.assessed for label in card_of(settings).labels}
    now = datetime.now(UTC)
    states = store.report_states()
    rules = rules_of(settings)
    items = [*store.worklist(), *((_waiting(study, rules), arrived) for study, arrived in store.unread_studies())]
    records: list[dict[str, Any]] = []
    for reading, arrived in triage.reading_order(items, now):
        _, status = states.get(reading.report.report_key, (0, None)) if reading.report else (0, None)
        record = run_record(reading, assessed, **({"status": status} if status else {}))
        record["waiting_s"] = max(0, round((now - arrived).total_seconds()))
        record["cap_s"] = reading.priority.cap_s
        record["state"] = status.value if status else ("not_read" if reading.run_key else "arrived")
        records.append(record)
    records.sort(key=lambda record: record["state"] in ("final", "amended"))  # what is signed need not be read: last
    if options.json:
        sys.stdout.write(json.dumps(records, ensure_ascii=False, indent=1) + "\n")
        return 0
    from radpipe.cli.show import worklist_table

    worklist_table(records, in_order=True)
    return 0


def _waiting(study: Study, rules: Rules) -> Reading:
    """A study that arrived and was not looked at yet (killed, switched off): on the worklist like one that no model read."""
    from radpipe import triage

    why = "arrived, not looked at yet: run again"
    priority = triage.prioritise((), (), read=False, in_distribution=False, why_not=why, rules=rules)
    return Reading(
        run_key="",
        study=study,
        not_read_reason=why,
        choices=(),
        findings=(),
        prior=None,
        why_no_prior=None,
        changes=(),
        priority=priority,
        report=None,
        model=None,
    )


def _list(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.assemble import open_the_store
    from radpipe.study import study_key

    store = open_the_store(settings)
    for key, (version, status) in store.report_states().items():
        report = store.report(key)
        record = {
            "report_key": key,
            "study_key": study_key(report.study_instance_uid),
            "status": status.value,
            "version": version,
            "signed_by": report.signed_by.user if report.signed_by else None,
            "signed_at": report.signed_at.isoformat() if report.signed_at else None,
        }
        say(options, record, "  ".join(str(value or "-") for value in record.values()))
    return 0


def _show(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.assemble import open_desk

    desk = open_desk(settings)
    content = desk.render(*desk.find(options.key), "json" if options.json else options.form)
    if options.output is not None:
        options.output.write_bytes(content)
        sys.stderr.write(f"{options.output}: {len(content)} bytes\n")
        return 0
    if options.form == "sr" and sys.stdout.isatty():
        raise UsageError("a DICOM SR is binary: give -o FILE, or pipe it")
    sys.stdout.buffer.write(content)
    return 0


def _act(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe import review
    from radpipe.cli.assemble import open_desk
    from radpipe.report import Stance

    text = read_words(getattr(options, "text", ""))
    desk = open_desk(settings)
    if options.action == "sign":
        report = desk.sign(options.key, settings.user)
        untouched = review.open_findings(report)
        if untouched:
            sys.stderr.write(f"signed as drafted, without a verdict of their own: {', '.join(untouched)}\n")
    elif options.action == "addendum":
        report = desk.addendum(options.key, text, settings.user)
    elif options.action == "accept":
        report = desk.accept(options.key, options.finding, settings.user)
    elif options.action == "reject":
        report = desk.reject(options.key, options.finding, settings.user, options.reason)
    else:
        stance = Stance(options.says) if options.says else Stance.STATEMENT
        report = desk.edit(options.key, options.finding, text, settings.user, stance)
    count = 0
    if options.action in ("sign", "addendum"):
        count = desk.deliver(settings.outbox)
        sys.stderr.write(f"{count} files delivered to {settings.outbox}\n")
    record = {
        "report_key": report.report_key,
        "version": report.version,
        "status": report.status.value,
        "delivered": count,
    }
    say(options, record, f"report {report.report_key} version {report.version}: {report.status.value}")
    return 0


def _deliver(options: argparse.Namespace, settings: Settings) -> int:
    from flows import engine
    from radpipe.cli.assemble import open_the_store

    store = open_the_store(settings)
    count = 0
    if store.pending():
        engine.prepare(settings.store)
        from flows.deliver import deliver

        count = deliver(settings.sqlalchemy_url, str(settings.outbox))
    say(options, {"delivered": count, "outbox": str(settings.outbox)}, f"{count} files delivered to {settings.outbox}")
    return 0
