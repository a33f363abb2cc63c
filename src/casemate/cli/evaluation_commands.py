"""`casemate model evaluate`, `evaluation`, `gates` and `except`: how a version does, and what it must meet to be promoted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from casemate.cli import output
from casemate.cli.evaluation_sheets import as_html, as_markdown
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import refused_by_system

_reason = click.option("--reason", default="", help="Why; it goes into the audit log.")
_why = click.option("--reason", required=True, help="Why; it goes into the audit log.")
_form = click.option(
    "--format", "form", type=click.Choice(["text", "markdown", "html"]), default="text", show_default=True
)
_out = click.option("--out", type=click.Path(path_type=Path), help="Write the report to this file.")
_PASSED = ("passed", "excepted")
_SHOWN = 5  # slices; --json has them all


@click.command("evaluate")
@click.argument("ref")
@click.option(
    "--on", "dataset", required=True, metavar="DATASET[@VERSION]", help="The rows, which it was not trained on."
)
@click.option("--label", required=True, help="The column with the truth.")
@click.option("--members", metavar="DATASET[@VERSION]", help="What it was trained on.  [default: as its lineage says]")
@click.option(
    "--slice", "slices", multiple=True, metavar="COLUMN", help="Tell the rows apart by this; may be repeated."
)
@click.option(
    "--group", "groups", multiple=True, metavar="COLUMN", help="Compare these groups of people; may be repeated."
)
@click.option(
    "--sensitive",
    multiple=True,
    metavar="COLUMN",
    help="Try to guess this column, which the model takes; may be repeated.",
)
@click.option("--positive", help="The class that is the good outcome, for --group.  [default: the last of two]")
@_form
@_out
@_reason
@json_option
@pass_session
def evaluate_model(
    session: Session,
    ref: str,
    dataset: str,
    label: str,
    members: str | None,
    slices: tuple[str, ...],
    groups: tuple[str, ...],
    sensitive: tuple[str, ...],
    positive: str | None,
    form: str,
    out: Path | None,
    reason: str,
    as_json: bool,
) -> None:
    """Measure how good, fair, robust and leaky a version is, and sign what was found. REF is NAME[@VERSION].

    It runs in the sandbox, the rows in another. Exit 1: it does not pass the model's gates (casemate model gates).
    """
    with session.client() as casemate, output.working(f"evaluating {ref} on {dataset}"):
        result = casemate.evaluations.evaluate(
            ref,
            on=dataset,
            label=label,
            members=members,
            slices=slices,
            groups=groups,
            sensitive=sensitive,
            positive=positive,
            reason=reason,
        )
    _shown(result, form, out, as_json)
    if result["evaluation"]["state"] not in _PASSED:
        sys.exit(output.REFUSED)


@click.command("evaluation")
@click.argument("ref")
@_form
@_out
@json_option
@pass_session
def show_evaluation(session: Session, ref: str, form: str, out: Path | None, as_json: bool) -> None:
    """What the last evaluation of a version found, as it was signed. REF is NAME[@VERSION]."""
    with session.client() as casemate:
        result = casemate.evaluations.report(ref)
    _shown(result, form, out, as_json)


@click.command("gates")
@click.argument("name")
@click.option("--set", "gates", multiple=True, metavar="METRIC>=NUMBER", help="Also <=; quote it; may be repeated.")
@click.option("--unset", multiple=True, metavar="METRIC", help="The default holds again; may be repeated.")
@click.option("--on", "dataset", metavar="DATASET", help='Only evaluations on this dataset count; "" for any.')
@click.option("--label", metavar="COLUMN", help='Only evaluations on this column count; "" for any.')
@click.option("--reason", default="", help="Why; needed for a change.")
@json_option
@pass_session
def model_gates(
    session: Session,
    name: str,
    gates: tuple[str, ...],
    unset: tuple[str, ...],
    dataset: str | None,
    label: str | None,
    reason: str,
    as_json: bool,
) -> None:
    """What versions of a model must meet before the profile strict serves them; with options, change it.

    casemate model gates risk --set "accuracy>=0.9" --set "membership_tpr_1pct<=0.03" --on held-back --reason "board, June"
    """
    with session.client() as casemate:
        if gates or unset or dataset is not None or label is not None:
            result = casemate.evaluations.set_gates(name, gates, unset=unset, on=dataset, label=label, reason=reason)
        else:
            result = casemate.evaluations.gates(name)
    output.show(result, as_json, _gates)


@click.command("except")
@click.argument("ref")
@click.option("--end", "ended", is_flag=True, help="The gates hold for it again.")
@_why
@json_option
@pass_session
def except_model(session: Session, ref: str, ended: bool, reason: str, as_json: bool) -> None:
    """Let a version pass whatever its gates say; an owner's word, on record. REF is NAME@VERSION."""
    with session.client() as casemate:
        result = casemate.evaluations.except_version(ref, ended=ended, reason=reason)
    output.show(result, as_json, output.facts)


COMMANDS = (evaluate_model, show_evaluation, model_gates, except_model)


def _shown(result: dict[str, Any], form: str, out: Path | None, as_json: bool) -> None:
    text = as_html(result) if form == "html" else as_markdown(result) if form == "markdown" or out else ""
    if out is not None:
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise refused_by_system(error) from error
    if as_json:
        output.show(result, as_json, output.facts)
    elif text and out is None:
        click.echo(text)
    else:
        _text(result)
        if out is not None:
            output.say(f"{out} written.")


def _text(result: dict[str, Any]) -> None:
    found, report = result["evaluation"], result["report"]
    for name, value in report["figures"].items():
        output.line(f"{name:<22}", f"{value:.4g}")
    for one in report["slices"][:_SHOWN]:
        between = f"{one['interval']['low']:.3g} to {one['interval']['high']:.3g}"
        output.line(
            "slice",
            f"{one['column']} {one['name']}: {one['metric']} {one['value']:.4g} ({between}), {one['rows']} rows",
        )
    for one in report["groups"]:
        output.line("group", f"{one['column']} {one['name']}: {one['selected']:.4g} selected, {one['rows']} rows")
    for text in report["notes"]:
        output.people.print(f"note: {text}", markup=False)
    for text in report["skipped"]:
        output.people.print(f"not looked at: {text}", markup=False)
    for one in found["gates"]:
        word = {True: "passed", False: "FAILED", None: "not measured"}[one["passed"]]
        value = "" if one["found"] is None else f", found {one['found']:.4g}"
        output.line(f"gate {word}", f"{one['gate']}{value}" + ("" if one["stated"] else " (default)"))
    if found.get("elsewhere"):
        output.line("gate FAILED", found["elsewhere"])
    output.say(f"{result['name']}@{result['version']} on {found['on']}, {report['rows']} rows: {found['state']}.")


def _gates(result: dict[str, Any]) -> None:
    for gate in result["gates"]:
        output.line("set    " if gate in result["stated"] else "default", gate)
    if result["on"] or result["label"]:
        output.say(f"Evaluated on {result['on'] or 'any dataset'}, column {result['label'] or 'any'}.")
    if result["by"]:
        output.say(f"Set by {result['by']}: {result['reason']}")
