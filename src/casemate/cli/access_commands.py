"""`casemate access ...`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from casemate.cli import access_sheets, output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import DataClass, Environment, Profile, Role

_FORMATS = ("table", "csv", "json", "html")


@click.group()
def access() -> None:
    """Who may do what, and why."""


@access.command("explain")
@click.argument("principal")
@click.argument("action")
@click.argument("resource")
@click.option("--environment", type=click.Choice([one.value for one in Environment]), help="To approve or deploy for.")
@click.option("--profile", type=click.Choice([one.value for one in Profile]), help="To deploy with.")
@click.option("--role", type=click.Choice([one.value for one in Role]), help="To give or ask for.  [default: caller]")
@click.option("--deployment", help="The only one that the key or grant covers.")
@click.option("--expires", help="When the key or grant ends, as in 1h or 90d.")
@click.option(
    "--data-class", type=click.Choice([one.value for one in DataClass]), help="As if the data were of this class."
)
@click.option("--dataset", metavar="NAME[@VERSION]", help="To train on.")
@click.option("--purpose", help="To train for.")
@click.option("--address", help="As if it came from there.")
@click.option("--at", help="As if it were then: 2026-01-31T00:00:00Z.")
@json_option
@pass_session
def explain(
    session: Session, /, principal: str, action: str, resource: str, as_json: bool, **facts: str | None
) -> None:
    """Whether PRINCIPAL may do ACTION on RESOURCE now, and why. Exit 1 if not. Nothing is done.

    PRINCIPAL: local, or the name or id of a key or service. ACTION: as in model:approve. RESOURCE: as in
    deployment:diagnosis, model:risk@1, grant:grt_... or key.
    """
    with session.client() as casemate:
        answer = casemate.explain_access(principal, action, resource, **facts)
    output.show(answer, as_json, _explained)
    if not answer["allowed"]:
        sys.exit(output.REFUSED)


@access.command("report")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="table", show_default=True)
@json_option
@pass_session
def report(session: Session, form: str, as_json: bool) -> None:
    """Who has access to what, since when, until when, granted by whom, why, and when it was last used."""
    with session.client() as casemate, output.working("reading who has access"):
        rows = casemate.access_report()
    if as_json or form == "json":
        print(json.dumps(rows))
    elif form == "csv":
        print(access_sheets.as_csv(rows), end="")
    elif form == "html":
        print(access_sheets.as_html(rows), end="")
    else:
        columns = {name: name for name in ("who", "may", "granted", "why", "last used", "state")}
        output.table([access_sheets.short(row) for row in rows], columns, empty="Nobody has access.")


def _explained(answer: dict[str, Any]) -> None:
    where = f" in {answer['environment']}" if answer["environment"] else ""
    who = f"{answer['name']} ({answer['credential'] or answer['principal']})"
    word = "[bold green]allowed[/]" if answer["allowed"] else "[bold red]denied[/]"
    output.line(word, f"{who}: {answer['action']} on {answer['resource']}{where}")
    output.line("  because", answer["reason"])
    if answer["self_approved"]:
        output.line("  note", "it would be recorded as self-approved")
    for grant in answer["grants"]:
        scope = grant["scope"] + (f" in {grant['environment']}" if grant["environment"] else "")
        mark = "[green]by[/]" if grant["gives"] else "[dim]not by[/]"
        until = f"until {access_sheets.minute(grant['expires_at'])}, granted by {grant['granted_by']}"
        output.line(f"  {mark}", f"{grant['id']}: {grant['role']} on {scope} {until}; {grant['why']}")
    for lack in answer["missing"]:
        output.line("  [yellow]missing[/]", lack)
    if answer["next_step"]:
        output.line("  [bold]next[/]", answer["next_step"])
    if answer["allowed"] and answer["until"]:
        output.line("  until", f"{access_sheets.minute(answer['until'])}, unless something changes before")
