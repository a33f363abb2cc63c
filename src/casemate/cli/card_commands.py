"""`casemate model card`, `describe`, `bom` and `reproduce`: what a version is, for people and for their tools."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import click

from casemate.cli import output
from casemate.cli.card_sheets import as_html, as_markdown
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import InputError, Verdict, refused_by_system

_file = click.Path(path_type=Path)
_reason = click.option("--reason", default="", help="Why; it goes into the audit log.")
_MAX = 65536  # bytes of a card

TEMPLATE = """\
# What people need to know of this model. Every text may run over several lines, between three quotes.
intended_use = ""   # what it is for
out_of_scope = ""   # what it is not for
users = ""          # who works with its answers
owner = ""          # the team that answers for it
licence = ""        # an SPDX expression, or a name
limits = ""         # where it is wrong, and what that costs
ethics = ""         # whom it may harm, and what was done about it

# One such block for each figure. `on` says on which data, `slice` for whom of these.
# [[metrics]]
# name = "accuracy"
# value = 0.97
# on = "held back in 2026"
# slice = "over 65"
"""


@click.command("card")
@click.argument("ref")
@click.option("--format", "form", type=click.Choice(["markdown", "html"]), default="markdown", show_default=True)
@click.option("--out", type=_file, help="Write it to this file.")
@json_option
@pass_session
def show_card(session: Session, ref: str, form: str, out: Path | None, as_json: bool) -> None:
    """The card of a model version: what people say of it, and what is signed. REF is NAME[@VERSION]."""
    with session.client() as casemate:
        card = casemate.cards.show(ref)
    if as_json:
        output.show(card, as_json, output.facts)
        return
    text = as_html(card) if form == "html" else as_markdown(card)
    if out is None:
        click.echo(text)
        return
    _write(out, text)
    output.say(f"{out} written.")
    _say_missing(card["missing"], ref)


@click.command("describe")
@click.argument("ref", required=False)
@click.argument("file", required=False, type=_file)
@click.option("--template", is_flag=True, help="Print a file to fill in.")
@_reason
@json_option
@pass_session
def describe(session: Session, ref: str | None, file: Path | None, template: bool, reason: str, as_json: bool) -> None:
    """Say what a model version is for, whose it is and where it ends, with a TOML FILE. It takes the place of the last.

    Start with: casemate model describe --template > card.toml
    """
    if template:
        output.show({"template": TEMPLATE}, as_json, lambda _: click.echo(TEMPLATE, nl=False))
        return
    if ref is None or file is None:
        raise click.UsageError("Name a version and a file, or say --template.")
    said = _read(file)
    with session.client() as casemate:
        result = casemate.cards.write(ref, said, reason=reason)
    output.show(result, as_json, lambda _: output.say(f"{result['name']}@{result['version']} is described."))
    if not as_json:
        _say_missing(result["missing"], ref)


@click.command("bom")
@click.argument("ref")
@click.option("--out", type=_file, help="Write the document to this file.")
@click.option("--signed", type=_file, help="Write it to this file, too, in a signed in-toto statement (DSSE).")
@json_option
@pass_session
def show_bom(session: Session, ref: str, out: Path | None, signed: Path | None, as_json: bool) -> None:
    """The machine-learning bill of materials of a version: CycloneDX 1.6, as JSON. REF is NAME[@VERSION]."""
    with session.client() as casemate:
        made = casemate.cards.bom(ref, signed=signed is not None)
    text = json.dumps(made["bom"], indent=2, ensure_ascii=False)
    if out is not None:
        _write(out, text + "\n")
    if signed is not None:
        _write(signed, made["envelope"])
    if as_json or (out is None and signed is None):
        output.show(made["bom"], as_json, lambda _: click.echo(text))
        return
    output.say(f"{', '.join(str(one) for one in (out, signed) if one)} written.")


@click.command("reproduce")
@click.argument("ref")
@click.argument("script", type=_file)
@_reason
@json_option
@pass_session
def reproduce(session: Session, ref: str, script: Path, reason: str, as_json: bool) -> None:
    """Run a version's training again with its SCRIPT, and say whether the same model comes out. REF is NAME@VERSION.

    It runs in the sandbox, on the dataset version and with the parameters of then. Exit 1: something differs.
    """
    with session.client() as casemate, output.working(f"training {ref} again"):
        result = casemate.cards.reproduce(ref, script, reason=reason)
    output.show(result, as_json, _reproduced)
    if result["verdict"] != Verdict.CLEAN:
        sys.exit(output.REFUSED)


def _reproduced(result: dict[str, Any]) -> None:
    for one in result["files"]:
        output.line("same" if one["same"] else "differs", one["path"])
    output.findings(result["findings"])
    for name, (then, now) in result["environment"].items():
        output.line("package", f"{name} {then or 'none'} -> {now or 'none'}")
    again = "gives the same model again" if result["verdict"] == Verdict.CLEAN else "does not give the same model again"
    output.say(f"The training of {result['name']}@{result['version']} on {result['dataset']} {again}.")


def _say_missing(missing: list[str], ref: str) -> None:
    if missing:
        output.people.print(
            f"Not said yet: {', '.join(missing)}. Fill them in: casemate model describe {ref} FILE", markup=False
        )


def _read(path: Path) -> dict[str, Any]:
    """Raises: InputError: it cannot be read, or is no TOML."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX + 1)
        if len(text) > _MAX:
            raise InputError(f"A card has at most {_MAX} bytes.", code="bad-card")
        return tomllib.loads(text.decode())
    except OSError as error:
        raise refused_by_system(error) from error
    except ValueError as error:
        raise InputError(f"{path} is no TOML file: {error}.", code="bad-card") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise refused_by_system(error) from error
