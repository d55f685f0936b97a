"""Commands about people: who may correct and sign."""

from __future__ import annotations

import argparse
from typing import Any

from radpipe.cli import say
from radpipe.report import Person, Role
from radpipe.settings import Settings

Commands = Any  # argparse._SubParsersAction, which is private


def add_commands(commands: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """people add, people list."""
    people = commands.add_parser(
        "people",
        parents=[common],
        formatter_class=formatter,
        help="who may correct and sign",
        description="Named users and their roles: a radiologist signs, a resident corrects, a viewer looks. Audited.",
        epilog="example:\n  radpipe people add lee --name Lee^Ann --role radiologist",
    )
    inner = people.add_subparsers(title="people commands", metavar="COMMAND", required=True)
    add = inner.add_parser(
        "add",
        parents=[common],
        formatter_class=formatter,
        help="enter a person, or change a role",
        epilog="example:\n  radpipe people add lee --name Lee^Ann --role radiologist --organisation 'St Elsewhere'",
    )
    add.add_argument("person", metavar="USER")
    add.add_argument("--name", required=True, metavar="FAMILY^GIVEN", help="as it stands in the signed report")
    add.add_argument("--role", required=True, choices=("radiologist", "resident", "viewer"))
    add.add_argument("--organisation", default="", metavar="NAME")
    add.set_defaults(command=_add)
    listing = inner.add_parser(
        "list",
        parents=[common],
        formatter_class=formatter,
        help="who is known here",
        epilog="example:\n  radpipe people list --json | jq -r .user",
    )
    listing.set_defaults(command=_list)


def _add(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.assemble import open_the_store

    person = Person(options.person, options.name, Role(options.role), options.organisation)
    open_the_store(settings, make=True).add_person(person)
    say(options, _record(person), f"{person.user}: {person.role.value}")
    return 0


def _list(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.cli.assemble import open_the_store

    for person in open_the_store(settings).people():
        say(options, _record(person), f"{person.user}  {person.role.value}  {person.name}  {person.organisation}")
    return 0


def _record(person: Person) -> dict[str, str]:
    return {
        "user": person.user,
        "name": person.name,
        "role": person.role.value,
        "organisation": person.organisation,
    }
