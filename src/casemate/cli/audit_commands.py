"""`casemate audit ...`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.client.files import write_private_file
from casemate.core import VerificationError

if TYPE_CHECKING:
    from casemate.app.unopened import UnopenedLog
    from casemate.client import Casemate

_file = click.Path(path_type=Path)
_Answer = TypeVar("_Answer")


def _ask(session: Session, question: Callable[[Casemate | UnopenedLog], _Answer]) -> tuple[_Answer, str]:
    """The log's answer, and the code of what closed the home's doors to it, if anything did.

    A home of one's own that was altered or copied does not open; then its log is read as it lies there, after a warning. That takes
    nothing but the right to read its files, and records nothing, since nobody may write to such a log.
    """
    try:
        with session.client() as casemate:
            return question(casemate), ""
    except VerificationError as refused:
        if session.server:
            raise
        with session.unopened_log() as log:
            output.people.print("[bold yellow]The home refuses:[/] ", end="")
            output.people.print(refused.message, markup=False, soft_wrap=True)
            output.people.print("Read from its files, past its doors; this is not recorded.", soft_wrap=True)
            return question(log), refused.code


def _read(session: Session, question: Callable[[Casemate | UnopenedLog], _Answer]) -> tuple[_Answer, dict[str, bool]]:
    """The log's answer, and what is said beside it: nothing, or whether a log that was read past the doors verifies."""
    answer, closed_by = _ask(session, question)
    if not closed_by:
        return answer, {}
    with session.unopened_log() as log, output.working("recomputing the log"):
        verified = bool(log.audit_verify()["ok"])
    if verified and closed_by != "home-copied":
        output.people.print("The log itself verifies: it is something else that was altered.", soft_wrap=True)
    elif not verified:
        output.people.print(
            "[bold red]This log does not verify:[/] what it says may be altered, and entries may be missing or added; "
            "casemate audit verify says where.",
            soft_wrap=True,
        )
    return answer, {"verified": verified}


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
    found, outside = _read(session, lambda log: log.audit_entries(**filters))
    rows = [row | outside for row in found[: filters["limit"]]]
    columns = {name: name for name in ("at", "kind", "action", "actor", "resource", "outcome", "reason", "id")}
    output.show(rows, as_json, lambda value: output.table(value, columns, empty="No entry matches."))
    if outside:
        sys.exit(output.REFUSED)


@audit.command("verify")
@click.option("--against", type=_file, help="A checkpoint that you kept elsewhere.")
@json_option
@pass_session
def verify(session: Session, against: Path | None, as_json: bool) -> None:
    """Recompute the whole log and compare it with every signed checkpoint."""
    kept = against.read_text(errors="replace") if against else None
    with output.working("recomputing the log"):
        result, _ = _ask(session, lambda log: log.audit_verify(against=kept))

    def human(_: Any) -> None:
        for problem in result["problems"]:
            place = [str(problem[key]) for key in ("seq", "id") if problem.get(key) is not None]
            output.people.print(output.visible(" ".join([*place, problem["problem"]])), markup=False, soft_wrap=True)
        word = "whole" if result["ok"] else "ALTERED"
        output.say(f"The log is {word}: {result['size']} entries, root {result['root']}.")
        output.say("What versions hold is not in it: casemate dataset verify --all, casemate model verify --all.")

    output.show(result, as_json, human)
    if not result["ok"]:
        sys.exit(output.REFUSED)


@audit.command("prove")
@click.argument("entry", metavar="ID")
@click.option("--to", type=_file, help="Write the proof here.  [default: print it]")
@json_option
@pass_session
def prove(session: Session, entry: str, to: Path | None, as_json: bool) -> None:
    """A proof, to be checked offline, that an entry is in the log (docs/audit-log.md)."""
    proof, outside = _read(session, lambda log: log.audit_proof(entry))
    if to is None:
        output.show(proof, as_json, lambda value: output.say(json.dumps(value, indent=2)))
    else:
        write_private_file(to, [json.dumps(proof, indent=2).encode(), b"\n"])
        said = f"{to} written. Check it with: python -m casemate.auditlog.offline {to} --key KEY.pem"
        output.show({"path": str(to)}, as_json, lambda _: output.say(said))
    if outside:
        sys.exit(output.REFUSED)


@audit.command("checkpoint")
@click.option("--to", type=_file, help="Write it here: keep it where nobody of this machine can reach it.")
@json_option
@pass_session
def checkpoint(session: Session, to: Path | None, as_json: bool) -> None:
    """The newest signed root. A kept copy finds a log that was rolled back or rewritten."""
    with session.client() as casemate:
        text = casemate.audit_checkpoint()
    if to is None:
        output.show({"checkpoint": text}, as_json, lambda _: output.say(text.rstrip("\n")))
    else:
        write_private_file(to, [text.encode()])
        said = f"{to} written. Compare later with: casemate audit verify --against {to}"
        output.show({"path": str(to)}, as_json, lambda _: output.say(said))


@audit.command("export")
@click.argument("to", type=_file)
@json_option
@pass_session
def export(session: Session, to: Path, as_json: bool) -> None:
    """Write the whole log to TO as JSON lines."""
    with output.working("exporting the log"):
        _, outside = _read(session, lambda log: log.export_audit(to))
    output.show({"path": str(to), **outside}, as_json, lambda _: output.say(f"{to} written."))
    if outside:
        sys.exit(output.REFUSED)
