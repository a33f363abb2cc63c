"""`casemate login`, `logout`, `whoami`, `session ...`."""

from __future__ import annotations

import click
import msgspec

from casemate.cli import output
from casemate.cli.browser_login import through_browser, through_provider
from casemate.cli.kept_sessions import ask_code, keep_session, load_session
from casemate.cli.output import json_option
from casemate.cli.people_commands import keep
from casemate.cli.session import Session, pass_session
from casemate.core import AuthError, InputError


@click.command()
@click.option("--name", help="Your name there; asked for if it is not given.")
@click.option("--provider", metavar="NAME", help="Sign in through this outside provider, in your browser.")
@click.option(
    "--browser", is_flag=True, help="Sign in through your browser, with a passkey or whatever you have there."
)
@click.option("--verify", is_flag=True, help="Only give a fresh second factor, for what wants one.")
@json_option
@pass_session
def login(session: Session, name: str | None, provider: str | None, browser: bool, verify: bool, as_json: bool) -> None:
    """Sign in to --server URL with name, password and second factor."""
    if verify:
        with session.client() as casemate:
            keep(session, casemate.people.verify(ask_code()), as_json=as_json)
        return
    if not session.server:
        raise InputError(
            "Name the server: casemate --server https://HOST:8444 login. At a home of your own you need no sign-in.",
            code="no-server",
        )
    kept = load_session(session.server)
    if browser and provider:
        raise InputError("Write --browser or --provider, not both.", code="bad-usage")
    if browser:
        keep(session, through_browser(session, device=kept.device if kept else ""), as_json=as_json)
        return
    if provider:
        keep(session, through_provider(session, provider, device=kept.device if kept else ""), as_json=as_json)
        return
    name = name or click.prompt("Name", default=kept.name if kept else None, err=True)
    password = click.prompt("Password", hide_input=True, err=True)
    code = ask_code()
    with session.client(anonymous=True) as casemate:
        made = casemate.people.sign_in(str(name), password, code, device=kept.device if kept else "")
    keep(session, made, as_json=as_json)


@click.command()
@json_option
@pass_session
def logout(session: Session, as_json: bool) -> None:
    """End your session at --server URL, and forget it here."""
    kept = load_session(session.server) if session.server else None
    try:
        with session.client() as casemate:
            ended = casemate.people.sign_out_here()
    except AuthError:  # it has ended already
        ended = {"state": "ended"}
    if kept is not None:
        keep_session(msgspec.structs.replace(kept, token=""))
    output.show(ended, as_json, output.facts)


@click.command()
@json_option
@pass_session
def whoami(session: Session, as_json: bool) -> None:
    """Who you are to the control plane, by what, and until when."""
    with session.client() as casemate:
        found = casemate.people.who()
    shown = {name: value for name, value in found.items() if name != "session" and value}
    output.show(found, as_json, lambda _: output.facts(shown | found.get("session", {})))


@click.group("session")
def sessions() -> None:
    """Where you are signed in."""


@sessions.command("list")
@click.option("--user", help="Somebody else's, for an owner or auditor.")
@json_option
@pass_session
def list_sessions(session: Session, user: str | None, as_json: bool) -> None:
    """Your live sessions."""
    with session.client() as casemate:
        rows = casemate.people.sessions(user)
    columns = {name: name.replace("_", " ") for name in ("id", "created_at", "seen_at", "address", "client", "current")}
    output.show(rows, as_json, lambda value: output.table(value, columns, empty="No session."))


@sessions.command("revoke")
@click.argument("session_id", metavar="ID")
@click.option("--reason", default="", help="Why; it goes into the audit log.")
@json_option
@pass_session
def revoke_session(session: Session, session_id: str, reason: str, as_json: bool) -> None:
    """End one of your sessions, now."""
    with session.client() as casemate:
        output.show(casemate.people.revoke_session(session_id, reason=reason), as_json, output.facts)
