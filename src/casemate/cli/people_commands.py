"""`casemate user ...`: people, and one's own password and second factor. No secret is ever an argument."""

from __future__ import annotations

import io
from typing import Any

import click

from casemate.cli import output
from casemate.cli.kept_sessions import KeptSession, ask_code, keep_session, load_session
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import AuthError, Environment, Role

_reason = click.option("--reason", default="", help="Why; it goes into the audit log.")
_needed_reason = click.option("--reason", required=True, help="Why; it goes into the audit log.")


@click.group()
def user() -> None:
    """People: invited by an owner, with a password and a second factor of their own."""


@user.command("list")
@json_option
@pass_session
def list_people(session: Session, as_json: bool) -> None:
    """Everybody, with roles and state."""
    with session.client() as casemate:
        rows = casemate.people.all()
    shown = [{**row, "roles": ", ".join(row["roles"])} for row in rows]
    columns = {name: name for name in ("id", "name", "state", "roles", "enrolled_at")}
    empty = "Nobody yet: casemate user invite NAME --role ROLE"
    output.show(rows, as_json, lambda _: output.table(shown, columns, empty=empty))


@user.command("show")
@click.argument("name")
@json_option
@pass_session
def show(session: Session, name: str, as_json: bool) -> None:
    """One person, by name or id."""
    with session.client() as casemate:
        output.show(casemate.people.show(name), as_json, output.facts)


@user.command("invite")
@click.argument("name")
@click.option("--role", type=click.Choice([one.value for one in Role]), required=True)
@click.option("--on", default="*", show_default=True, help="As in deployment:NAME, model:NAME, dataset:NAME.")
@click.option("--environment", type=click.Choice([one.value for one in Environment]))
@click.option("--for", "life", default="90d", show_default=True, help="How long they have the role.")
@click.option("--local", is_flag=True, help="It is you, the home's owner: high-risk commands then ask for a code.")
@_reason
@json_option
@pass_session
def invite(
    session: Session,
    name: str,
    role: str,
    on: str,
    environment: str | None,
    life: str,
    local: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Invite a person. The code is shown once, and is good for 72 hours."""
    with session.client() as casemate:
        made = casemate.people.invite(
            name, role=role, on=on, environment=environment, life=life, local=local, reason=reason
        )
    output.show(made, as_json, _invited)


@user.command("reset")
@click.argument("name")
@_needed_reason
@json_option
@pass_session
def reset(session: Session, name: str, reason: str, as_json: bool) -> None:
    """End somebody's password, second factor and sessions, and invite them anew."""
    with session.client() as casemate:
        output.show(casemate.people.reset(name, reason=reason), as_json, _invited)


@user.command("revoke")
@click.argument("name")
@click.option("--callers", is_flag=True, help="End the keys of their making that may only call, too.")
@_reason
@json_option
@pass_session
def revoke(session: Session, name: str, callers: bool, reason: str, as_json: bool) -> None:
    """End a person, their sessions and their grants, now and for good, and what they made that could act for them.

    Every key and binding of their making that may do more than call ends with them. Those that may only call are named.
    """
    with session.client() as casemate:
        result = casemate.people.revoke(name, callers=callers, reason=reason)
    output.show(result, as_json, lambda found: _revoked(found, name))


def _revoked(result: dict[str, Any], name: str) -> None:
    output.say(
        f"{name} has ended" + (f", and {', '.join(result['ended'])}, of their making." if result["ended"] else ".")
    )
    if result["left"]:
        output.table(result["left"], {"id": "id", "name": "name", "role": "role"}, empty="")
        output.say(f"These of their making still work. End them, too: casemate user revoke {result['id']} --callers")


@user.command("sign-out")
@click.argument("name")
@_reason
@json_option
@pass_session
def sign_out(session: Session, name: str, reason: str, as_json: bool) -> None:
    """End every session of somebody, now."""
    with session.client() as casemate:
        output.show(casemate.people.sign_out(name, reason=reason), as_json, output.facts)


@user.command("enroll")
@json_option
@pass_session
def enroll(session: Session, as_json: bool) -> None:
    """With an invitation: choose a password and set up your second factor."""
    invitation = click.prompt("Invitation", hide_input=True, err=True).strip()
    with session.client(anonymous=True) as casemate:
        offered = casemate.people.begin(invitation, new_password())
        _show_factor(offered)
        made = _confirmed(lambda code: casemate.people.confirm(invitation, code))
    if not as_json:
        _show_recovery(made["recovery_codes"])
    keep(session, made, as_json=as_json)


@user.command("password")
@json_option
@pass_session
def password(session: Session, as_json: bool) -> None:
    """Change your password; every other session of yours ends."""
    old = click.prompt("Current password", hide_input=True, err=True)
    with session.client() as casemate:
        keep(session, casemate.people.change_password(old, new_password()), as_json=as_json)


@user.command("second-factor")
@json_option
@pass_session
def second_factor(session: Session, as_json: bool) -> None:
    """Set up a new second factor; every other session of yours ends."""
    with session.client() as casemate:
        _show_factor(casemate.people.offer_totp())
        keep(session, _confirmed(casemate.people.confirm_totp), as_json=as_json)


@user.command("recovery-codes")
@json_option
@pass_session
def recovery_codes(session: Session, as_json: bool) -> None:
    """Ten new recovery codes in place of all earlier ones, shown once."""
    with session.client() as casemate:
        made = casemate.people.new_recovery_codes()
    output.show(made, as_json, lambda value: _show_recovery(value["recovery_codes"]))


def new_password() -> str:
    return str(
        click.prompt("New password (12 characters or more)", hide_input=True, confirmation_prompt=True, err=True)
    )


def keep(session: Session, made: dict[str, Any], *, as_json: bool) -> None:
    """Keep a session that has begun, or begun anew, for the commands that follow, and say so without its secrets."""
    kept = session.server and "token" in made
    if kept:
        old = load_session(session.server)
        keep_session(
            KeptSession(
                server=session.server,
                name=made["name"],
                token=made["token"],
                device=made.get("device") or (old.device if old else ""),
                expires_at=made["expires_at"],
            )
        )
    shown = {name: value for name, value in made.items() if name not in ("token", "device")}
    said = f"Signed in as {made['name']} until {made['expires_at']}." if kept else f"Done, {made['name']}."
    output.show(shown, as_json, lambda _: output.people.print(said, markup=False))


def _confirmed(confirm: Any) -> dict[str, Any]:
    """What `confirm` answers to a code that fits; a mistyped one is asked for again."""
    while True:
        try:
            made: dict[str, Any] = confirm(ask_code())
        except AuthError as error:
            if error.code != "bad-code":
                raise
            output.people.print(error.message, markup=False, soft_wrap=True)
        else:
            return made


def _show_factor(offered: dict[str, Any]) -> None:
    """A QR code where a person looks, and the secret to type where nobody can scan."""
    import segno

    if output.people.is_terminal:
        drawn = io.StringIO()
        segno.make(offered["uri"], error="l").terminal(out=drawn, compact=True)
        output.people.file.write(drawn.getvalue())
    said = f"Scan this with an authenticator app, or type the secret into it: {offered['secret']}"
    output.people.print(said, markup=False, soft_wrap=True)


def _show_recovery(codes: list[str]) -> None:
    output.people.print("Recovery codes, each good once in place of a code. Print them; they are not shown again:")
    for code in codes:
        output.say(code)


def _invited(made: dict[str, Any]) -> None:
    said = (
        f"{made['name']} ({made['id']}) enrols until {made['expires_at']} in a browser, at URL/enrol of the "
        "control plane, or with casemate --server URL user enroll, and with this code, which is shown only now:"
    )
    output.people.print(said, markup=False, soft_wrap=True)
    output.say(made["invitation"])
