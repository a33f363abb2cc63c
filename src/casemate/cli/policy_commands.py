"""`casemate policy ...`, `casemate prediction ...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import InputError

_file = click.Path(path_type=Path)
_reason = click.option("--reason", required=True, help="Why; it goes into the audit log.")
_proposal = click.argument("proposal", metavar="ID")
_days = click.option(
    "--days", type=click.IntRange(1, 90), default=30, show_default=True, help="How far --dry-run looks back."
)
_dry_run = click.option(
    "--dry-run", is_flag=True, help="Change nothing: show which recorded decisions would come out otherwise."
)


@click.group()
def policy() -> None:
    """Who may do what: the packaged policies, and the home's own beside them."""


@policy.command("show")
@click.option("--version", metavar="N", help="The home's own, as of this version, or a proposal by its id.")
@json_option
@pass_session
def show(session: Session, version: str | None, as_json: bool) -> None:
    """The policies in force, or the home's own at some time."""
    with session.client() as casemate:
        found = casemate.policies.in_force() if version is None else casemate.policies.show(version)
    output.show(found, as_json, lambda value: output.say(value["text"] or "None of its own."))


@policy.command("list")
@json_option
@pass_session
def list_policies(session: Session, as_json: bool) -> None:
    """Every change of the home's own policies: who proposed it, who approved it, what is in force."""
    with session.client() as casemate:
        rows = casemate.policies.versions()
    columns = {name: name for name in ("id", "version", "state", "proposed_by", "answered_by", "reason")}
    empty = "The packaged policies alone: casemate policy propose FILE --reason ..."
    output.show(rows, as_json, lambda value: output.table(value, columns, empty=empty))


@policy.command("check")
@click.argument("files", type=_file, nargs=-1, required=True)
@json_option
def check(files: tuple[Path, ...], as_json: bool) -> None:
    """Whether FILES could be a home's own policies. Needs no home and changes nothing."""
    from casemate.iam import Policies

    found = Policies().check("\n".join(map(_read, files)))
    answer = {"ok": True, "digest": found.home.digest}
    output.show(answer, as_json, lambda _: output.say("They fit the schema and stay within the walls."))


@policy.command("propose")
@click.argument("file", type=_file)
@click.option("--reason", default="", help="Why; needed unless --dry-run.")
@_dry_run
@_days
@json_option
@pass_session
def propose(session: Session, file: Path, reason: str, dry_run: bool, days: int, as_json: bool) -> None:
    """Propose FILE as the whole of the home's own policies. Nothing changes until somebody else approves."""
    _propose(session, _read(file), None, reason=reason, days=days if dry_run else 0, as_json=as_json)


@policy.command("diff")
@click.argument("which", metavar="ID|VERSION")
@json_option
@pass_session
def diff(session: Session, which: str, as_json: bool) -> None:
    """How a proposal, or a version, differs from what is in force."""
    with session.client() as casemate:
        found = casemate.policies.show(which)
    output.show(found, as_json, lambda value: output.say(value["difference"] or "It is what is in force."))


@policy.command("approve")
@_proposal
@_reason
@json_option
@pass_session
def approve(session: Session, proposal: str, reason: str, as_json: bool) -> None:
    """Put a proposal in force, in every process within a second. Never one's own."""
    with session.client() as casemate:
        output.show(casemate.policies.approve(proposal, reason=reason), as_json, output.facts)


@policy.command("deny")
@_proposal
@_reason
@json_option
@pass_session
def deny(session: Session, proposal: str, reason: str, as_json: bool) -> None:
    """Say no to a proposal."""
    with session.client() as casemate:
        output.show(casemate.policies.deny(proposal, reason=reason), as_json, output.facts)


@policy.command("withdraw")
@_proposal
@_reason
@json_option
@pass_session
def withdraw(session: Session, proposal: str, reason: str, as_json: bool) -> None:
    """Take back a proposal of your own."""
    with session.client() as casemate:
        output.show(casemate.policies.withdraw(proposal, reason=reason), as_json, output.facts)


@policy.command("revert")
@click.argument("version", required=False)
@click.option("--packaged", is_flag=True, help="End the home's own now. For the home's owner, on its machine.")
@click.option("--reason", default="", help="Why; it goes into the audit log.")
@_dry_run
@_days
@json_option
@pass_session
def revert(
    session: Session, version: str | None, packaged: bool, reason: str, dry_run: bool, days: int, as_json: bool
) -> None:
    """Propose an earlier VERSION of the home's own policies anew (0: none); or, with --packaged, return to none at once."""
    if packaged == (version is not None):
        raise InputError("Name the VERSION to return to, or write --packaged.", code="bad-usage")
    if version is not None:
        _propose(session, "", version, reason=reason, days=days if dry_run else 0, as_json=as_json)
        return
    with session.client() as casemate:
        result = casemate.policies.revert_to_packaged(reason=reason)
    output.show(result, as_json, lambda _: output.say("The packaged policies alone are in force."))


@click.group()
def prediction() -> None:
    """What the record keeps of predictions: digests and summaries, never a value."""


@prediction.command("list")
@click.argument("deployment")
@click.option("--actor")
@click.option("--since", help="RFC 3339, as in 2026-01-31T00:00:00Z.")
@click.option("--until", help="RFC 3339.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@json_option
@pass_session
def list_predictions(session: Session, /, deployment: str, as_json: bool, **filters: Any) -> None:
    """What is kept of a deployment's predictions, newest first."""
    with session.client() as casemate:
        rows = casemate.predictions(deployment, **filters)
    columns = {name: name for name in ("at", "id", "actor", "outcome", "reason")}
    output.show(rows, as_json, lambda value: output.table(value, columns, empty="None is on record."))


@prediction.command("show")
@click.argument("deployment")
@click.argument("receipt", metavar="ID")
@json_option
@pass_session
def show_prediction(session: Session, deployment: str, receipt: str, as_json: bool) -> None:
    """One prediction, by its receipt."""
    with session.client() as casemate:
        output.show(casemate.prediction(deployment, receipt), as_json, output.facts)


def _propose(session: Session, text: str, version: str | None, *, reason: str, days: int, as_json: bool) -> None:
    """Args: days: of the record to replay, and nothing else; 0: propose."""
    if days:
        with session.client() as casemate, output.working("asking the record again"):
            found = casemate.policies.replay(text, version=version, days=days)
        output.show(found, as_json, _replayed)
        sys.exit(output.REFUSED if found["changed"] else 0)
    with session.client() as casemate:
        result = casemate.policies.propose(text, version=version, reason=reason)
    output.show(result, as_json, _proposed)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8.", code="policy-invalid") from error


def _proposed(result: dict[str, Any]) -> None:
    output.people.print(f"{result['id']} waits for another owner until {result['answer_by']}:")
    click.echo(f"casemate policy approve {result['id']} --reason ...")


def _replayed(found: dict[str, Any]) -> None:
    output.say(
        f"{found['events']} decisions since {found['since']}; {found['asked']} asked again, {found['changed']} would change."
    )
    for why, count in found["skipped"].items():
        output.say(f"{count} could not be asked again: {why}.")
    if found["drifted"]:
        output.say(f"{found['drifted']} were decided otherwise than the policies in force would now.")
    columns = {name: name for name in ("count", "actor", "action", "resource", "before", "after", "reason", "last")}
    output.table(found["changes"], columns, empty="No decision would change.")
    if found["left_off"]:
        output.say(f"{found['left_off']} more kinds of changes are counted and not listed.")
