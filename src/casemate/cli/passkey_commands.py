"""`casemate user passkey ...`: one's own passkeys. A browser makes them, since it alone can speak to an authenticator."""

from __future__ import annotations

from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.people_commands import keep
from casemate.cli.session import Session, pass_session


@click.group("passkey")
def passkey() -> None:
    """Your passkeys. Add one in a browser, at the address of the control plane."""


@passkey.command("list")
@json_option
@pass_session
def list_passkeys(session: Session, as_json: bool) -> None:
    """Your passkeys, and when each was used."""
    with session.client() as casemate:
        rows = casemate.people.passkeys()
    columns = {"id": "id", "name": "name", "added_at": "added at", "used_at": "used at", "synced": "synced"}
    empty = f"None yet: add one in a browser, at {session.server or 'https://localhost:8444'}/account"
    output.show(rows, as_json, lambda value: output.table(value, columns, empty=empty))


@passkey.command("rename")
@click.argument("passkey_id", metavar="ID")
@click.argument("name")
@json_option
@pass_session
def rename(session: Session, passkey_id: str, name: str, as_json: bool) -> None:
    """Call one of your passkeys something else."""
    with session.client() as casemate:
        output.show(casemate.people.rename_passkey(passkey_id, name), as_json, output.facts)


@passkey.command("remove")
@click.argument("passkey_id", metavar="ID")
@json_option
@pass_session
def remove(session: Session, passkey_id: str, as_json: bool) -> None:
    """Remove one of your passkeys; every other session of yours ends. The last thing you sign in with stays."""
    with session.client() as casemate:
        made: dict[str, Any] = casemate.people.remove_passkey(passkey_id)
    keep(session, made, as_json=as_json)
