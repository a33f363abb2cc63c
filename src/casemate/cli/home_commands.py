"""`casemate init`, `up`, `status`, `doctor`: the home itself."""

from __future__ import annotations

import sys
from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session


@click.command()
@json_option
@pass_session
def init(session: Session, as_json: bool) -> None:
    """Make a home and its keys. Running it again changes nothing."""
    from casemate.app.local import init_home

    settings = session.settings()
    made = init_home(settings)

    def human(value: dict[str, Any]) -> None:
        output.facts(value)
        output.people.print("\nNext: [bold]casemate dataset push NAME FILE[/], or see it all: [bold]casemate demo[/]")

    output.show(made, as_json, human)


@click.command()
@click.option("--data-port", type=click.IntRange(0, 65535), help="Predictions; 0 picks a free one.  [default: 8443]")
@click.option(
    "--control-port", type=click.IntRange(0, 65535), help="Control plane; 0 picks a free one.  [default: 8444]"
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@pass_session
def up(session: Session, data_port: int | None, control_port: int | None, host: str | None) -> None:
    """Serve the home in the foreground, until SIGTERM or Ctrl-C."""
    from casemate.app.up import serve_home

    settings = session.settings(data_port=data_port, control_port=control_port, host=host)
    if settings.insecure_no_sandbox:
        output.people.print("[bold white on red] WITHOUT SANDBOX [/] models run with your own rights.")
    sys.exit(serve_home(settings, ready=lambda line: print(line, flush=True)))


@click.command()
@json_option
@pass_session
def status(session: Session, as_json: bool) -> None:
    """What this home holds and serves."""
    with session.client() as casemate:
        output.show(casemate.status(), as_json, output.facts)


@click.command()
@json_option
@pass_session
def doctor(session: Session, as_json: bool) -> None:
    """Each wall of the sandbox, and the home: present or missing, and how to mend it."""
    from casemate.app.doctor import examine

    rows = examine(session.settings())

    def human(value: list[dict[str, Any]]) -> None:
        marks = {"present": "[green]present[/]", "missing": "[bold red]missing[/]", "optional": "[yellow]absent[/] "}
        for row in value:
            output.people.print(f"{marks[row['state']]}  [bold]{row['name']}[/]  ", end="")
            output.people.print(row["detail"], markup=False)
            if row["mend"]:
                output.people.print(f"         -> {row['mend']}", markup=False, style="dim")

    output.show(rows, as_json, human)
    if any(row["state"] == "missing" for row in rows):
        sys.exit(output.REFUSED)
