"""`casemate database`: what an administrator of PostgreSQL does for a home."""

from __future__ import annotations

from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session


@click.group()
def database() -> None:
    """The home's PostgreSQL database: its roles, and a new release's tables."""


@database.command()
@click.option("--prefix", default="casemate", show_default=True, help="The roles are PREFIX_keeper, and so on.")
@click.option("--apply", is_flag=True, help="Run it as the home's `database`, instead of printing it.")
@json_option
@pass_session
def roles(session: Session, prefix: str, apply: bool, as_json: bool) -> None:
    """Print SQL that makes a role for each process, with its least rights; or run it. Running it again changes nothing."""
    from casemate.app.database import database_roles

    made = database_roles(session.settings(), prefix, apply=apply)

    def human(value: dict[str, Any]) -> None:
        if apply:
            output.facts({"roles": ", ".join(value["roles"].values())})
        else:
            print("\n".join(f"{statement};" for statement in ["BEGIN", *value["sql"], "COMMIT"]))

    output.show(made, as_json, human)


@database.command()
@json_option
@pass_session
def migrate(session: Session, as_json: bool) -> None:
    """Bring the database to this release. Copy it first (pg_dump): what `up` says has the command."""
    from casemate.app.database import migrate_database

    output.show(migrate_database(session.settings()), as_json, output.facts)
