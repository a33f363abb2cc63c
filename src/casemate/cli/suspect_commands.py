"""`casemate dataset screening|configure|stop-screening|quarantine|suspects|verdict`: what becomes of what a screening found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.screening_commands import feedback_option
from casemate.cli.session import Session, pass_session

_file = click.Path(path_type=Path)
_why = click.option("--reason", required=True, help="Why; it goes into the audit log.")
_SHOWN = 20  # rows of a finding; --json has them all


@click.command("screening")
@click.argument("ref")
@json_option
@pass_session
def show_screening(session: Session, ref: str, as_json: bool) -> None:
    """What the last screening of a version found: rows by number and digest, with score and contributor."""
    with session.client() as casemate, output.working(f"reading what was found in {ref}"):
        result = casemate.screenings.report(ref)
    output.show(result, as_json, _report)


@click.command("configure")
@click.argument("name")
@click.option("--label", required=True, help="The column that models are to predict.")
@click.option("--contributor", help="The column that says who gave a row.")
@click.option("--time", help="The column that says when.")
@click.option(
    "--limit", type=click.FloatRange(0, 1), help="Share of the rows that one contributor may give.  [default: 0.5]"
)
@feedback_option
@click.option("--reason", default="", help="Why; it goes into the audit log.")
@json_option
@pass_session
def configure_screening(
    session: Session,
    name: str,
    label: str,
    contributor: str | None,
    time: str | None,
    limit: float | None,
    feedback: int | None,
    reason: str,
    as_json: bool,
) -> None:
    """Say how every push to a dataset is screened from now on. The first dataset screen says it; changing it is an owner's."""
    with session.client() as casemate:
        result = casemate.screenings.configure(
            name, label=label, contributor=contributor, time=time, limit=limit, feedback=feedback, reason=reason
        )
    output.show(result, as_json, output.facts)


@click.command("stop-screening")
@click.argument("name")
@_why
@json_option
@pass_session
def stop_screening(session: Session, name: str, reason: str, as_json: bool) -> None:
    """Screen nothing that is pushed to a dataset from now on. What was found stays found. An owner's."""
    with session.client() as casemate:
        output.show(casemate.screenings.forget(name, reason=reason), as_json, output.facts)


@click.command("quarantine")
@click.argument("ref")
@click.option(
    "--finding", "findings", multiple=True, metavar="RULE", help="Set aside what this rule named only; may be repeated."
)
@_why
@json_option
@pass_session
def quarantine_dataset(session: Session, ref: str, findings: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Make a new version without the suspects, which it keeps for review. REF is NAME@VERSION; dataset restore undoes it."""
    with session.client() as casemate, output.working(f"setting rows of {ref} aside"):
        result = casemate.screenings.quarantine(ref, findings=findings, reason=reason)
    output.show(result, as_json, _quarantined)
    say_screened(result)


@click.command("suspects")
@click.argument("ref")
@click.argument("to", type=_file)
@_why
@json_option
@pass_session
def pull_suspects(session: Session, ref: str, to: Path, reason: str, as_json: bool) -> None:
    """Write the rows that were set aside to make this version to TO as Parquet. They leave the walls: this is recorded."""
    with session.client() as casemate, output.working(f"pulling suspects of {ref}"):
        casemate.screenings.suspects(ref, to, reason=reason)
    output.show({"name": ref, "path": str(to)}, as_json, lambda _: output.say(f"{to} written."))


@click.command("verdict")
@click.argument("ref")
@click.option("--rule", default="", help="The rule that named the rows; without it you judge the whole version.")
@click.option("--row", "rows", multiple=True, metavar="DIGEST", help="A row that it named; may be repeated.")
@click.option("--judged", type=click.Choice(["fine", "poisoned"]), required=True)
@_why
@json_option
@pass_session
def judge_dataset(
    session: Session, ref: str, rule: str, rows: tuple[str, ...], judged: str, reason: str, as_json: bool
) -> None:
    """Say of a version, or of rows that a rule named in it, that they are fine or poisoned. REF is NAME@VERSION.

    A suspect version may be trained on once a person says fine; what people say of rows moves the thresholds, within bounds.
    """
    if bool(rule) != bool(rows):
        raise click.UsageError("--rule and --row go together.")
    with session.client() as casemate:
        result = casemate.screenings.judge(ref, judged, rule=rule, rows=rows, reason=reason)
    output.show(result, as_json, output.facts)


COMMANDS = (show_screening, configure_screening, stop_screening, quarantine_dataset, pull_suspects, judge_dataset)


def say_screened(result: dict[str, Any]) -> None:
    """Of what was pushed and kept: what a screening said, where it stands against training; exits 1 when it is suspect."""
    name, found = f"{result['name']}@{result['version']}", result.get("screening", {})
    if found.get("state") == "suspect":
        output.people.print(
            f"{name} is kept, and suspect: training refuses it. See casemate dataset screening {name}", markup=False
        )
        sys.exit(output.REFUSED)
    if found.get("state") == "unscreened":
        output.people.print(f"{name} is kept, and was not screened: {found['why']}", markup=False)


def _report(result: dict[str, Any]) -> None:
    for one in result["suspicions"]:
        output.findings([one["finding"]])
        rows = [{**suspect, "score": f"{suspect['score']:.2f}"} for suspect in one["suspects"][:_SHOWN]]
        headings = {"row": "row", "score": "score", "contributor": "contributor", "digest": "digest"}
        output.table(rows, headings, empty="")
        if one["count"] > len(rows):
            output.say(f"         and {one['count'] - len(rows)} more; --json lists up to 1,000")
    output.say(f"{result['name']}@{result['version']}: {result['screening']['state']}")


def _quarantined(result: dict[str, Any]) -> None:
    output.findings(result.get("findings", []))
    output.say(
        f"{result['name']}@{result['version']} made without {result['aside']} rows of {result['name']}@{result['from']}."
    )
