"""`casemate dataset diff|tag|untag|restore|retain|retention|revoke`: versions of a dataset beside each other."""

from __future__ import annotations

from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.revoking import revoking, say_revoked
from casemate.cli.session import Session, pass_session

_reason = click.option("--reason", default="", help="Why; it goes into the audit log.")


@click.command("diff")
@click.argument("before")
@click.argument("after")
@click.option("--key", metavar="COLUMN", help="The column that names each row, so that changed rows are told.")
@click.option("--rows", default=0, metavar="N", help="Show up to N rows of each kind; needs --reason.  [default: none]")
@_reason
@json_option
@pass_session
def diff_dataset(
    session: Session, before: str, after: str, key: str | None, rows: int, reason: str, as_json: bool
) -> None:
    """What differs between two versions of a dataset: schema, rows, and how each column's values moved."""
    with session.client() as casemate, output.working(f"comparing {before} with {after}"):
        found = casemate.versions.diff(before, after, key=key, rows=rows, reason=reason)
    output.show(found, as_json, _difference)


@click.command("tag")
@click.argument("ref")
@click.argument("tag")
@_reason
@json_option
@pass_session
def tag_dataset(session: Session, ref: str, tag: str, reason: str, as_json: bool) -> None:
    """Let TAG name a version from now on: NAME@TAG finds it. Signed, and on record."""
    with session.client() as casemate:
        output.show(casemate.versions.tag(ref, tag, reason=reason), as_json, output.facts)


@click.command("untag")
@click.argument("name")
@click.argument("tag")
@_reason
@json_option
@pass_session
def untag_dataset(session: Session, name: str, tag: str, reason: str, as_json: bool) -> None:
    """Take a tag away; its version stays."""
    with session.client() as casemate:
        output.show(casemate.versions.untag(name, tag, reason=reason), as_json, output.facts)


@click.command("restore")
@click.argument("ref")
@_reason
@json_option
@pass_session
def restore_dataset(session: Session, ref: str, reason: str, as_json: bool) -> None:
    """Make an older version the newest again, under a new number. REF is NAME@VERSION."""
    with session.client() as casemate, output.working(f"restoring {ref}"):
        result = casemate.versions.restore(ref, reason=reason)
    output.show(result, as_json, output.facts)


@click.command("retain")
@click.argument("name")
@click.option("--keep", default=0, metavar="N", help="Keep the newest N versions.")
@click.option("--for", "life", metavar="TIME", help="Keep what was pushed in this time, as in 90d.")
@click.option("--dry-run", "trial", is_flag=True, help="Say what would be deleted, and delete nothing.")
@_reason
@json_option
@pass_session
def retain_dataset(
    session: Session, name: str, keep: int, life: str | None, trial: bool, reason: str, as_json: bool
) -> None:
    """Delete older versions, once, now, and their keys. What has a tag, or a model was made from, stays.

    dataset retention lets the home do it by itself.
    """
    with session.client() as casemate, output.working(f"looking through {name}"):
        result = casemate.versions.retain(name, keep=keep, life=life, trial=trial, reason=reason)
    output.show(result, as_json, _retained)


@click.command("retention")
@click.argument("name")
@click.option("--keep", default=0, metavar="N", help="From now on, keep the newest N versions.")
@click.option("--for", "life", metavar="TIME", help="From now on, keep what was pushed in this time, as in 90d.")
@click.option("--end", is_flag=True, help="Delete nothing by itself any more.")
@_reason
@json_option
@pass_session
def retention(session: Session, name: str, keep: int, life: str | None, end: bool, reason: str, as_json: bool) -> None:
    """The rule by which the home deletes older versions by itself, and what it would delete now; with options, another.

    An owner's, who says why. The home looks every hour, and what it deletes is on record as dataset delete is. What has a tag, or a
    model was made from, stays, and the newest; a version takes no other's place before it has stood for a week.
    """
    if end and (keep or life):
        raise click.UsageError("--end takes no other rule.")
    with session.client() as casemate, output.working(f"looking through {name}"):
        versions = casemate.versions
        if end:
            found = versions.end_rule(name, reason=reason)
        elif keep or life:
            found = versions.keep_rule(name, keep=keep, life=life, reason=reason)
        else:
            found = versions.rule(name)
    output.show(found, as_json, _ruled)


@click.command("revoke")
@click.argument("ref")
@revoking
@json_option
@pass_session
def revoke_dataset(session: Session, ref: str, reason: str, cascade: bool, as_json: bool) -> None:
    """End a version for good: nothing is trained on it or restored from it again. REF is NAME@VERSION.

    --cascade ends what was made from it, too: the models are never loaded again, and what serves them is paused.
    """
    with session.client() as casemate:
        result = casemate.versions.revoke(ref, reason=reason, cascade=cascade)
    output.show(result, as_json, say_revoked)


COMMANDS = (diff_dataset, tag_dataset, untag_dataset, restore_dataset, retain_dataset, retention, revoke_dataset)


def _retained(result: dict[str, Any]) -> None:
    output.table(result["kept"], {"version": "kept", "why": "why"}, empty="Nothing is kept.")
    word = "would be deleted" if result["trial"] else "deleted"
    output.say(f"{word}: {', '.join(map(str, result['deleted'])) or 'none'}")


def _ruled(found: dict[str, Any]) -> None:
    rule = found["rule"]
    if rule is None:
        output.say(f"The home deletes nothing by itself of {found['name']}.")
        return
    newest = [f"the newest {rule['keep']}"] if rule["keep"] else []
    young = [f"what is younger than {rule['life'] / 86400:g} days"] if rule["life"] else []
    output.say(f"The home keeps {' and '.join(newest + young)} of {found['name']}: {found['reason']} ({found['by']})")
    if "due" not in found:
        output.say(f"What is due: casemate dataset retention {found['name']}")
        return
    output.table(found["kept"], {"version": "kept", "why": "why"}, empty="Nothing is kept.")
    output.say(f"due: {', '.join(map(str, found['due'])) or 'none'}")


def _difference(found: dict[str, Any]) -> None:
    schema, rows = found["schema"], found["rows"]
    output.say(f"{found['name']}@{found['from']['version']} -> {found['name']}@{found['to']['version']}")
    for word, sign in (("added", "+"), ("removed", "-")):
        for column in schema[word]:
            output.say(f"column {sign} {column['name']}  {column['type']}")
    for column in schema["changed"]:
        was, now = column["before"], column["after"]
        output.say(f"column ~ {column['name']}  {was['type']} {was['role'] or ''} -> {now['type']} {now['role'] or ''}")
    if schema["reordered"]:
        output.say("columns stand in another order")
    changed = "" if rows["changed"] is None else f", {rows['changed']} changed"
    counts = f"{rows['before']} -> {rows['after']}: {rows['added']} added, {rows['removed']} removed{changed}"
    output.say(f"rows {counts}")
    headings = {"name": "column", "shift": "shift", "psi": "PSI", "ks": "KS", "changed": "changed"}
    headings |= {"missing_before": "missing", "missing_after": "-> missing"}
    output.table(found["columns"], headings, empty="No column is in both.")
    for kind, shown in found.get("shown", {}).items():
        for row in shown:
            output.facts({kind: row})
