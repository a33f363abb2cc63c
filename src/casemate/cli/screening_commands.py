"""`casemate dataset screen`: a labelled table is screened for poison before it is pushed. Needs no home."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import msgspec

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.scan_commands import sealed_file, write_files
from casemate.cli.session import Session, pass_session
from casemate.core import InputError, SealedFile, Verdict, refused_by_system, seal_bytes

_file = click.Path(path_type=Path)
_SHOWN = 5  # suspects of a finding; --json has them all
_MAX_VERDICTS = 256 << 20  # bytes


@click.command("screen")
@click.argument("path", metavar="FILE", type=_file)
@click.option("--label", required=True, help="The column that models are to predict.")
@click.option("--contributor", help="The column that says who gave a row.")
@click.option("--time", help="The column that says when.")
@click.option("--against", type=_file, help="A file of the last version that a person approved.")
@click.option("--verdicts", type=_file, help="What people said of suspects before: JSON lines.")
@click.option(
    "--limit",
    type=click.FloatRange(0, 1),
    default=0.5,
    help="Share of the rows that one contributor may give.  [default: 0.5]",
)
@click.option(
    "--quarantine", "folder", type=_file, help="A new folder for clean.parquet, suspects.parquet and screening.json."
)
@click.option("--finding", "findings", multiple=True, help="Set aside what this rule named only; may be repeated.")
@json_option
@pass_session
def screen_dataset(
    session: Session,
    path: Path,
    label: str,
    contributor: str | None,
    time: str | None,
    against: Path | None,
    verdicts: Path | None,
    limit: float,
    folder: Path | None,
    findings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Look for poisoned and mislabelled rows in a CSV, JSON Lines or Parquet file, in the sandbox.

    Findings name rows by number, from 0, and never show a value. With --quarantine the suspects are parted from the rest.
    """
    from casemate.scanning import convert_dataset
    from casemate.screening import ScreeningConfig
    from casemate.screening import screen_dataset as screened

    if folder is not None and (folder.exists() or folder.is_symlink()):
        raise InputError(f"{folder} exists: name a new folder with --quarantine.", code="exists")
    insecure = session.insecure_no_sandbox

    def table(of: Path, source: SealedFile) -> SealedFile:
        return closing.enter_context(convert_dataset(source, of.name, insecure=insecure)).parquet

    with ExitStack() as closing, output.working(f"screening {path.name}"):
        # All that is named is read before anything is worked on.
        sources = [(of, closing.enter_context(sealed_file(of))) for of in (path, against) if of is not None]
        given = b"" if verdicts is None else _read(verdicts)
        found = closing.enter_context(
            screened(
                table(*sources[0]),
                label=label,
                contributor=contributor,
                time=time,
                former=None if against is None else table(*sources[1]),
                verdicts=given,
                set_aside=findings,
                config=ScreeningConfig(limit=limit),
                insecure=insecure,
            )
        )
        result = {**msgspec.to_builtins(found.report), "aside": found.aside, "path": None}
        if folder is not None:
            record = closing.enter_context(seal_bytes([json.dumps(result, indent=1).encode()]))
            write_files(
                folder, {"clean.parquet": found.clean, "suspects.parquet": found.suspects, "screening.json": record}
            )
            result["path"] = str(folder)
    output.show(result, as_json, _say)
    if result["verdict"] != Verdict.CLEAN:
        sys.exit(output.REFUSED)


def _read(path: Path) -> bytes:
    """Raises: InputError: it is no plain file, too large, or cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_VERDICTS:
            raise InputError(f"{path} is not a file of verdicts, of at most {_MAX_VERDICTS} bytes.", code="no-file")
        return path.read_bytes()
    except OSError as error:
        raise refused_by_system(error) from error


def _say(result: Any) -> None:
    for one in result["suspicions"]:
        output.findings([one["finding"]])
        for suspect in one["suspects"][:_SHOWN]:
            by = f", by {suspect['contributor']}" if suspect["contributor"] else ""
            output.say(f"         row {suspect['row']}  score {suspect['score']:.2f}{by}")
        if one["count"] > _SHOWN:
            output.say(f"         and {one['count'] - _SHOWN} more; --json lists them")
    for what in result["skipped"]:
        output.people.print(f"not looked at: {what}", markup=False)
    where = f" {result['path']} written." if result["path"] else ""
    output.say(f"{result['rows']} rows screened, {result['aside']} of them to be set aside.{where}")
