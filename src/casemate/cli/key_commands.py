"""`casemate key ...`."""

from __future__ import annotations

from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import Role

_reason = click.option("--reason", default="", help="Why; it goes into the audit log.")


@click.group()
def key() -> None:
    """API keys: shown once, stored as a hash, always expiring."""


@key.command("issue")
@click.argument("name")
@click.option("--role", type=click.Choice([one.value for one in Role]), required=True)
@click.option("--deployment", help="The only deployment that it may reach.")
@click.option("--expires", default="90d", show_default=True, help="As in 1s, 15m, 1h or 90d.")
@click.option("--rate", metavar="N/s", help="Requests a second, for this key.")
@_reason
@json_option
@pass_session
def issue(
    session: Session,
    name: str,
    role: str,
    deployment: str | None,
    expires: str,
    rate: str | None,
    reason: str,
    as_json: bool,
) -> None:
    """A new key for the service NAME. Copy it now: it is not shown again."""
    with session.client() as casemate:
        result = casemate.issue_key(name, role=role, deployment=deployment, expires=expires, rate=rate, reason=reason)
    output.show(result, as_json, _issued)


@key.command("list")
@json_option
@pass_session
def list_keys(session: Session, as_json: bool) -> None:
    """All keys, never their secrets."""
    with session.client() as casemate:
        rows = casemate.keys()
    columns = {name: name for name in ("id", "name", "role", "scope", "state", "expires_at")}
    empty = "No key yet: casemate key issue NAME --role caller --deployment D"
    output.show(rows, as_json, lambda value: output.table(value, columns, empty=empty))


@key.command("revoke")
@click.argument("key_id", metavar="ID")
@_reason
@json_option
@pass_session
def revoke(session: Session, key_id: str, reason: str, as_json: bool) -> None:
    """End a key now, at every gateway."""
    with session.client() as casemate:
        output.show(casemate.revoke_key(key_id, reason=reason), as_json, output.facts)


def _issued(result: dict[str, Any]) -> None:
    output.people.print(f"{result['id']} until {result['expires_at']}. This is the only time that the key is shown:")
    click.echo(result["key"])
