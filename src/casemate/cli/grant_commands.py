"""`casemate grant ...`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.client.grants import GrantCalls
from casemate.core import Environment, Role

_STATES = ("pending", "lapsed", "denied", "ready", "active", "expired", "revoked", "owed", "given", "accepted")
_reason = click.option("--reason", required=True, help="Why; it goes into the audit log.")
_id = click.argument("grant_id", metavar="ID")


@click.group()
def grant() -> None:
    """Access for a while: asked for by one, lent by another, ending by itself."""


@grant.command("request")
@click.argument("role", type=click.Choice([one.value for one in Role]))
@click.option("--on", required=True, metavar="WHAT", help="deployment:NAME, model:NAME, dataset:NAME, or '*' for all.")
@click.option("--environment", type=click.Choice([one.value for one in Environment]), help="In this one only.")
@click.option("--for", "life", required=True, help="How long, from the approval on: 30m, 2h, at most 30d.")
@click.option("--emergency", is_flag=True, help="To lie ready, for up to 366d, until you open it: break-glass.")
@_reason
@json_option
@pass_session
def request(
    session: Session,
    role: str,
    on: str,
    environment: str | None,
    life: str,
    emergency: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Ask for ROLE, for yourself (with --server). Nothing changes until somebody else approves."""
    with session.client() as casemate:
        result = casemate.grants.request(
            role, on=on, life=life, environment=environment, reason=reason, emergency=emergency
        )
    output.show(result, as_json, _asked)


@grant.command("list")
@click.option("--state", type=click.Choice(_STATES), help="Only those.")
@json_option
@pass_session
def list_grants(session: Session, state: str | None, as_json: bool) -> None:
    """Your own grants and requests, and those that your roles let you see."""
    with session.client() as casemate:
        rows = casemate.grants.all(state=state)
    columns = {name: name for name in ("id", "name", "role", "scope", "environment", "state", "expires_at", "reason")}
    empty = "None: casemate grant request ROLE --on deployment:NAME --for 2h --reason ..."
    output.show(rows, as_json, lambda value: output.table(value, columns, empty=empty))


@grant.command("show")
@_id
@json_option
@pass_session
def show(session: Session, grant_id: str, as_json: bool) -> None:
    """One grant or request: who asked, who answered, until when."""
    with session.client() as casemate:
        output.show(casemate.grants.show(grant_id), as_json, output.facts)


@grant.command("break-glass")
@_id
@click.option("--for", "life", default="1h", show_default=True, help="How long, at most 4h.")
@_reason
@json_option
@pass_session
def break_glass(session: Session, grant_id: str, life: str, reason: str, as_json: bool) -> None:
    """Open an emergency grant of your own, alone. An alert is raised, and you owe an account of what you did."""
    with session.client() as casemate:
        result = casemate.grants.break_glass(grant_id, life=life, reason=reason)

    def human(value: dict[str, Any]) -> None:
        output.people.print(
            f"{value['role']} on {value['scope']} is yours until {value['expires_at']}. Everybody who watches was told."
        )
        output.people.print("Afterwards, say what you did:")
        click.echo(f"casemate grant account {value['id']} --reason ...")

    output.show(result, as_json, human)


def _decision(verb: str, said: str, decide: Callable[..., dict[str, Any]]) -> None:
    """`casemate grant VERB ID --reason ...`. Args: decide: of the calls about grants."""

    @grant.command(verb, help=said)
    @_id
    @_reason
    @json_option
    @pass_session
    def decided(session: Session, grant_id: str, reason: str, as_json: bool) -> None:
        with session.client() as casemate:
            output.show(decide(casemate.grants, grant_id, reason=reason), as_json, output.facts)


_decision("approve", "Lend what was asked for, from now on. Never one's own request.", GrantCalls.approve)
_decision("deny", "Say no to a request.", GrantCalls.deny)
_decision("account", "Say what you did under an emergency grant that you opened, and why.", GrantCalls.account_for)
_decision("accept", "Accept what somebody else says of an emergency grant they opened.", GrantCalls.accept_account)
_decision("revoke", "End a grant now, at every gateway; or withdraw your own request.", GrantCalls.revoke)


def _asked(result: dict[str, Any]) -> None:
    output.people.print(f"{result['id']} waits for somebody else until {result['answer_by']}:")
    click.echo(f"casemate grant approve {result['id']} --reason ...")
