"""`casemate dataset diff`: versions of a dataset beside each other."""

from __future__ import annotations

from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
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
