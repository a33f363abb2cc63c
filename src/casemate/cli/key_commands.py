"""`casemate key ...`."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.client import Casemate
from casemate.core import PolicyError, Role

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
        _warn(casemate, role, deployment)
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
    columns |= {"last_used_at": "last used", "last_used_from": "from"}
    empty = "No key yet: casemate key issue NAME --role caller --deployment D"
    output.show(rows, as_json, lambda value: output.table(value, columns, empty=empty))


@key.command("show")
@click.argument("key_id", metavar="ID")
@json_option
@pass_session
def show(session: Session, key_id: str, as_json: bool) -> None:
    """One key, never its secret, and the networks from which it was used."""
    with session.client() as casemate:
        output.show(casemate.key(key_id), as_json, _shown)


@key.command("rotate")
@click.argument("key_id", metavar="ID")
@click.option("--overlap", default="1h", show_default=True, help="How long the old one still works.")
@click.option("--expires", help="Let the new one live for so long from now on.  [default: until the old one's end]")
@_reason
@json_option
@pass_session
def rotate(session: Session, key_id: str, overlap: str, expires: str | None, reason: str, as_json: bool) -> None:
    """A new secret for the same service. Copy it now: it is not shown again."""
    with session.client() as casemate:
        result = casemate.rotate_key(key_id, overlap=overlap, expires=expires, reason=reason)
    output.show(result, as_json, _issued)
    if not as_json:
        output.people.print(f"{key_id} works until {result['old_expires_at']}.")


@key.command("revoke")
@click.argument("key_id", metavar="ID")
@_reason
@json_option
@pass_session
def revoke(session: Session, key_id: str, reason: str, as_json: bool) -> None:
    """End a key now, at every gateway."""
    with session.client() as casemate:
        output.show(casemate.revoke_key(key_id, reason=reason), as_json, output.facts)


def _warn(casemate: Casemate, role: str, deployment: str | None) -> None:
    """Say on stderr what a key reaches that its issuer may not expect."""
    if deployment is None and role == Role.CALLER:
        output.people.print("Without --deployment this key reaches every deployment.", style="yellow", soft_wrap=True)
    elif deployment is not None:
        with suppress(PolicyError):  # who may issue keys need not read deployments
            if deployment not in {known["name"] for known in casemate.deployments()}:
                said = f"There is no deployment {deployment!r} yet: the key reaches nothing until there is."
                output.people.print(said, style="yellow", markup=False, soft_wrap=True)


def _shown(value: dict[str, Any]) -> None:
    output.facts({name: item for name, item in value.items() if name != "networks"})
    columns = {"network": "network", "uses": "uses", "first_at": "first", "last_at": "last", "client": "calls itself"}
    output.table(value["networks"], columns, empty="It was not used yet.")


def _issued(result: dict[str, Any]) -> None:
    said = f"{result['id']} until {result['expires_at']}. This is the only time that the key is shown:"
    output.people.print(said, markup=False, soft_wrap=True)
    output.say(result["key"])
