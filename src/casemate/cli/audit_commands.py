"""`casemate audit ...`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import VerificationError

_file = click.Path(path_type=Path)


@click.group()
def audit() -> None:
    """The tamper-evident log."""


@audit.command("log")
@click.option("--kind")
@click.option("--actor")
@click.option("--action")
@click.option("--resource")
@click.option("--since", help="RFC 3339, as in 2026-01-31T00:00:00Z.")
@click.option("--until", help="RFC 3339.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@json_option
@pass_session
def log(session: Session, /, as_json: bool, **filters: Any) -> None:
    """Who did what, newest first."""
    with session.client() as casemate:
        rows = casemate.audit_entries(**filters)[: filters["limit"]]
    columns = {name: name for name in ("at", "kind", "action", "actor", "resource", "outcome", "reason", "id")}
    output.show(rows, as_json, lambda value: output.table(value, columns, empty="No entry matches."))


@audit.command("verify")
@click.option("--against", type=_file, help="A checkpoint that you kept elsewhere.")
@json_option
@pass_session
def verify(session: Session, against: Path | None, as_json: bool) -> None:
    """Recompute the whole log and compare it with every signed checkpoint."""
    kept = against.read_text() if against else None
    try:
        with session.client() as casemate, output.working("recomputing the log"):
            result = casemate.audit_verify(against=kept)
    except VerificationError as refused:
        if session.server:
            raise
        output.people.print(f"[yellow]The home does not open: {refused.message}[/]")
        output.people.print("Verified from outside; this is not recorded in the log.")
        result = session.verify_unopened(kept)

    def human(_: Any) -> None:
        for problem in result["problems"]:
            output.people.print(f"[bold red]{problem.get('seq')}[/] ", end="")
            output.people.print(f"{problem.get('id') or ''} {problem['problem']}", markup=False)
        word = "whole" if result["ok"] else "ALTERED"
        click.echo(f"The log is {word}: {result['size']} entries, root {result['root']}.")

    output.show(result, as_json, human)
    if not result["ok"]:
        sys.exit(output.REFUSED)


@audit.command("prove")
@click.argument("entry", metavar="ID")
@click.option("--to", type=_file, help="Write the proof here.  [default: print it]")
@pass_session
def prove(session: Session, entry: str, to: Path | None) -> None:
    """A proof, to be checked offline, that an entry is in the log (docs/audit-log.md)."""
    with session.client() as casemate:
        text = json.dumps(casemate.audit_proof(entry), indent=2)
    if to is None:
        click.echo(text)
    else:
        to.write_text(text + "\n")
        click.echo(f"{to} written. Check it with: python -m casemate.auditlog.offline {to} --key KEY.pem")


@audit.command("checkpoint")
@click.option("--to", type=_file, help="Write it here: keep it where nobody of this machine can reach it.")
@pass_session
def checkpoint(session: Session, to: Path | None) -> None:
    """The newest signed root. A kept copy finds a log that was rolled back or rewritten."""
    with session.client() as casemate:
        text = casemate.audit_checkpoint()
    if to is None:
        click.echo(text, nl=False)
    else:
        to.write_text(text)
        click.echo(f"{to} written. Compare later with: casemate audit verify --against {to}")


@audit.command("export")
@click.argument("to", type=_file)
@json_option
@pass_session
def export(session: Session, to: Path, as_json: bool) -> None:
    """Write the whole log to TO as JSON lines."""
    with session.client() as casemate, output.working("exporting the log"):
        casemate.export_audit(to)
    output.show({"path": str(to)}, as_json, lambda _: click.echo(f"{to} written."))
