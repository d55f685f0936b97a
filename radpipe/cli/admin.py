"""Commands about the installation: doctor, audit."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from radpipe import __version__
from radpipe.cli import say
from radpipe.errors import BackendUnavailable, RadpipeError, StructureError, WeightsError
from radpipe.settings import Settings

Commands = Any  # argparse._SubParsersAction, which is private


def add_commands(commands: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """doctor, audit."""
    doctor = commands.add_parser(
        "doctor",
        parents=[common],
        formatter_class=formatter,
        help="what this machine has, and what to do about what it lacks",
        description="Checks backends, providers that really load, decoders, lexicons, the language model's settings, the\n"
        "store, the audit trail and disk space.",
        epilog="examples:\n  radpipe doctor\n  radpipe doctor --json | jq '.checks[] | select(.ok == false)'",
    )
    doctor.set_defaults(command=_doctor)

    audit = commands.add_parser(
        "audit",
        parents=[common],
        formatter_class=formatter,
        help="verify or print the audit trail",
        epilog="examples:\n  radpipe audit verify\n  radpipe audit list > trail.jsonl",
    )
    trail = audit.add_subparsers(title="audit commands", metavar="COMMAND", required=True)
    verify = trail.add_parser(
        "verify",
        parents=[common],
        formatter_class=formatter,
        help="prove that the trail is whole",
        epilog="examples:\n  radpipe audit verify --json | jq -r .head > head.txt   keep it elsewhere\n"
        '  radpipe audit verify --head "$(cat head.txt)"',
    )
    verify.add_argument("--head", metavar="SEQUENCE:DIGEST", help="a head that was written down earlier must still be in it")
    verify.set_defaults(command=_audit_verify)
    listing = trail.add_parser(
        "list",
        parents=[common],
        formatter_class=formatter,
        help="print the trail as JSON lines",
        epilog="example:\n  radpipe audit list | jq 'select(.action == \"person.added\")'",
    )
    listing.set_defaults(command=_audit_list)


def _doctor(options: argparse.Namespace, settings: Settings) -> int:
    checks = list(_checks(settings))
    if options.json:
        sys.stdout.write(json.dumps({"radpipe": __version__, "checks": checks}, indent=1) + "\n")
    else:
        for check in checks:
            mark = {True: "ok  ", False: "lack", None: "-   "}[check["ok"]]
            sys.stdout.write(f"{mark}  {check['name']:<18} {check['found']}\n")
            if check["ok"] is False and check["do"]:
                sys.stdout.write(f"      {'':<18} do: {check['do']}\n")
    return 1 if any(check["ok"] is False for check in checks) else 0


def _check(name: str, ok: bool | None, found: str, do: str = "") -> dict[str, Any]:
    return {"name": name, "ok": ok, "found": found, "do": "" if ok else do}


def _checks(settings: Settings) -> list[dict[str, Any]]:
    checks = [_check("python", sys.version_info >= (3, 11), platform.python_version(), "install Python 3.11 or later")]
    checks.append(_check("cores", None, str(os.cpu_count())))
    checks += _model_checks(settings)
    checks += [
        _check(f"decoder {module}", importlib.util.find_spec(module) is not None, words, f"pip install {package}")
        for module, package, words in (
            ("openjpeg", "pylibjpeg-openjpeg", "JPEG 2000, HTJ2K"),
            ("rle", "pylibjpeg-rle", "RLE"),
            ("jpeg_ls", "pyjpegls", "JPEG-LS"),
            ("gdcm", "python-gdcm", "JPEG lossless, JPEG 12 bit"),
        )
    ]
    checks += [*lexicon_checks(), _language_check(settings), *_store_checks(settings)]
    return checks


def lexicon_checks(names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """One line a lexicon: name, version and hash, how many findings it has; or why it cannot be read. `names`: default
    those that ship."""
    from radpipe.structure import lexicon_names, open_lexicon

    checks = []
    for name in lexicon_names() if names is None else names:
        try:
            lexicon = open_lexicon(name)
        except StructureError as error:
            do = "install radpipe again, or put the file right"
            checks.append(_check(f"lexicon {Path(name).name}", False, str(error), do))
        else:
            findings = f"{lexicon.identity}, {len(lexicon.findings)} findings"
            checks.append(_check(f"lexicon {lexicon.name}", True, findings))
    return checks


def _language_check(settings: Settings) -> dict[str, Any]:
    """Where text would go if `structure --propose` is asked for. Nothing is sent."""
    from radpipe.cli.assemble import open_site_language_model

    try:
        model = open_site_language_model(settings)
    except RadpipeError as error:
        return _check("language model", False, "cannot be used", str(error))
    if model is None:
        return _check("language model", None, "off, as by default: no text is sent anywhere")
    return _check("language model", True, f"{model.name}, {model.where}; asked only with `structure --propose`")


def _model_checks(settings: Settings) -> list[dict[str, Any]]:
    from radpipe.cli.assemble import card_of
    from radpipe.models import open_model

    try:
        card = card_of(settings)
    except WeightsError as error:
        return [_check("model", False, "no model", str(error))]
    checks = [_check("model", True, f"{card.name} {card.version} ({card.sha256[:12]}): {card.strength}")]
    for backend, device, needed in (
        ("onnx", "cpu", True),
        ("torch", "cpu", False),
        ("torch", "cuda", False),
        ("onnx", "cuda", False),
    ):
        try:
            model = open_model(card, backend, device, settings.threads)
        except BackendUnavailable as error:
            checks.append(_check(f"{backend} on {device}", False if needed else None, f"not here: {error}", str(error)))
        except WeightsError as error:
            checks.append(_check(f"{backend} on {device}", False, "weights", str(error)))
        else:
            checks.append(_check(f"{backend} on {device}", True, f"{model.provider}, loaded"))
    return checks


def _store_checks(settings: Settings) -> list[dict[str, Any]]:
    from radpipe.cli.assemble import open_the_store

    if settings.store.exists() and not settings.store.is_dir():
        return [_check("store", False, str(settings.store), "it is a file, not a folder: name another with --store")]
    place = settings.store if settings.store.exists() else settings.store.resolve().parent
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    checks = [_check("disk", free > 2, f"{free:.1f} GiB free at the store", "free some space: below 2 GiB is too little")]
    if not settings.database_url and not (settings.store / "radpipe.db").exists():
        return [*checks, _check("store", None, f"none yet at {settings.store}; `radpipe run` makes it")]
    try:
        count = open_the_store(settings).verify()
    except RadpipeError as error:
        return [*checks, _check("store", False, str(settings.store), str(error))]
    return [*checks, _check("store", True, f"{settings.store}, audit trail whole ({count} entries)")]


def _audit_verify(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.assemble import open_the_store
    from radpipe.store import AuditHead

    store = open_the_store(settings)
    count = store.verify(AuditHead.parse(options.head) if options.head else None)
    head = store.head()
    say(
        options,
        {"whole": True, "entries": count, "head": str(head)},
        f"the audit trail is whole: {count} entries, head {head}",
    )
    return 0


def _audit_list(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.assemble import open_the_store

    for entry in open_the_store(settings).audit():
        record = {
            "sequence": entry.sequence,
            "at": entry.at.isoformat(),
            "actor": entry.actor,
            "action": entry.action,
            "object": entry.object_key,
            "detail": entry.detail,
        }
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    return 0
