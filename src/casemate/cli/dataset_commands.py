"""`casemate dataset push|preview|datasheet`: rows that come in, what they look like, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from casemate.cli import output
from casemate.cli.datasheet_pages import page, read_sheet_file, template
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.cli.suspect_commands import say_screened
from casemate.client.files import write_private_file
from casemate.core import DataClass

_file = click.Path(path_type=Path)
_reason = click.option("--reason", default="", help="Why; it goes into the audit log.")


@click.command("push")
@click.argument("name")
@click.argument("path", type=_file, required=False)
@click.option("--sql", metavar="SELECT", help="Push what a database answers, instead of a file; needs --from.")
@click.option(
    "--from",
    "source",
    metavar="REFERENCE",
    help="Where the database's URL lies: file:///PATH, env://NAME, vault://... It is never written here itself.",
)
@click.option("--target", help="The column that models are to predict.")
@click.option(
    "--data-class", type=click.Choice([one.value for one in DataClass]), help="[default: as before; internal]"
)
@click.option(
    "--purpose",
    "purposes",
    multiple=True,
    help="It may be trained on for this one; may be repeated.  [default: as before; any]",
)
@click.option(
    "--made-from",
    metavar="NAME[@VERSION]",
    help="What the rows were made from, as by dataset anonymize: it takes them along.",
)
@click.option("--datasheet", "sheet_file", type=_file, help="TOML, as dataset datasheet --template writes it.")
@_reason
@json_option
@pass_session
def push_dataset(
    session: Session,
    name: str,
    path: Path | None,
    sql: str | None,
    source: str | None,
    target: str | None,
    data_class: str | None,
    purposes: tuple[str, ...],
    made_from: str | None,
    sheet_file: Path | None,
    reason: str,
    as_json: bool,
) -> None:
    """Push rows as a new version: a file, a folder of images or of text files, or a database's answer to a query.

    CSV, JSON Lines, Parquet, Arrow (IPC, Feather) and NumPy (.npy, .npz) are told apart by content.
    """
    if (path is None) == (sql is None) or (sql is None) != (source is None):
        raise click.UsageError("Name a file or a folder; or say --sql with --from.")
    if made_from and path is None:
        raise click.UsageError("--made-from is about a file: a query's rows are made from a database.")
    sheet, use = read_sheet_file(sheet_file) if sheet_file else (None, {})
    said: dict[str, Any] = {
        "target": target,
        "data_class": data_class or use.get("data_class"),
        "purposes": purposes or use.get("purposes", ()),
        "sheet": sheet,
        "reason": reason,
    }
    label = f"pushing {path.name}" if path else "pushing the answer"
    with session.client() as casemate, output.sending(label) as progress:
        if path is not None:
            result = casemate.push_dataset(name, path, **said, made_from=made_from, progress=progress)
        else:
            vault = session.settings().secrets_vault if (source or "").startswith("vault:") else None
            result = casemate.push_query(name, sql or "", source or "", **said, vault=vault, progress=progress)
    output.verdict(result, as_json, f"{result['name']}@{result['version']}  {result['digest']}")
    if result.get("revoked") and not as_json:
        output.say("These very rows were revoked: they are kept, and nothing is trained on them.")
    say_screened(result)


@click.command("preview")
@click.argument("ref")
@click.option("--rows", default=10, show_default=True, metavar="N", help="How many of the first rows.")
@click.option("--reveal", is_flag=True, help="Show the values themselves; needs --reason, and the right to read rows.")
@_reason
@json_option
@pass_session
def preview_dataset(session: Session, ref: str, rows: int, reveal: bool, reason: str, as_json: bool) -> None:
    """What the first rows of a version look like: types and shapes, no value. REF is NAME[@VERSION]."""
    with session.client() as casemate, output.working(f"looking at {ref}"):
        found = casemate.versions.preview(ref, rows=rows, reveal=reveal, reason=reason)
    output.show(found, as_json, _preview)


@click.command("datasheet")
@click.argument("ref", required=False)
@click.option("--template", "template_file", type=_file, help="Write a TOML file to be filled in, with REF's answers.")
@click.option("--to", type=_file, help="Write the page into this file: HTML for .html, else Markdown.")
@json_option
@pass_session
def datasheet(session: Session, ref: str | None, template_file: Path | None, to: Path | None, as_json: bool) -> None:
    """Where a version comes from, whose it is, what for, and why each column is needed. REF is NAME[@VERSION]."""
    if ref is None and template_file is None:
        raise click.UsageError("Name a version; or say --template FILE.")
    sheet = None
    if ref is not None:
        with session.client() as casemate:
            sheet = casemate.versions.sheet(ref)
    if template_file is not None:
        if template_file.exists():
            raise click.UsageError(f"{template_file} is there already: name a new file.")
        write_private_file(template_file, [template(sheet).encode()])
        _written(template_file, as_json)
    elif sheet is not None and to is not None:
        write_private_file(to, [page(sheet, as_html=to.suffix.lower() in (".html", ".htm")).encode()])
        _written(to, as_json)
    else:
        output.show(sheet, as_json, lambda value: output.say(page(value, as_html=False)))


DATASET_COMMANDS = (push_dataset, preview_dataset, datasheet)


def _written(path: Path, as_json: bool) -> None:
    output.show({"path": str(path)}, as_json, lambda _: output.say(f"{path} written."))


def _preview(found: dict[str, Any]) -> None:
    names = [column["name"] for column in found["columns"]]
    kinds = {column["name"]: column["type"] for column in found["columns"]}
    output.table(found["rows"], {name: f"{name} ({kinds[name]})" for name in names}, empty="There is no row.")
    shown = f"{len(found['rows'])} of {found['of']} rows of {found['name']}@{found['version']}"
    output.people.print(f"{shown}, {'masked' if found['masked'] else 'as they are'}.", markup=False)
