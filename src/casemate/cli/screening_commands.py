"""`casemate dataset screen`: a labelled table is screened for poison, as a file before it is pushed, or as a version of the home."""

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
from casemate.cli.targets import is_version
from casemate.core import InputError, SealedFile, Verdict, refused_by_system, seal_bytes

_file = click.Path(path_type=Path)
_SHOWN = 5  # suspects of a finding; --json has them all
_MAX_VERDICTS = 256 << 20  # bytes
_DEFAULT_LIMIT = 0.5  # share of the rows
feedback_option = click.option(
    "--feedback",
    type=click.IntRange(min=1),
    metavar="ROWS",
    help="Users give the labels: at most so many rows of one contributor; training waits while there are more.",
)


@click.command("screen")
@click.argument("target", metavar="NAME[@VERSION]|FILE")
@click.option("--label", help="The column that models are to predict.  [a version: default: as kept]")
@click.option("--contributor", help="The column that says who gave a row.")
@click.option("--time", help="The column that says when.")
@click.option(
    "--against",
    help="A version, or of a file a file, whose labels a person approved.  [a version: default: the last approved]",
)
@click.option(
    "--limit", type=click.FloatRange(0, 1), help="Share of the rows that one contributor may give.  [default: 0.5]"
)
@feedback_option
@click.option("--verdicts", type=_file, help="FILE only: what people said of suspects before: JSON lines.")
@click.option(
    "--quarantine",
    "folder",
    type=_file,
    help="FILE only: a new folder for clean.parquet, suspects.parquet and screening.json.",
)
@click.option("--finding", "findings", multiple=True, help="With --quarantine: set aside what this rule named only.")
@click.option("--ray", metavar="ADDRESS", help="FILE only: judge the rows of a large one on a Ray cluster, HOST:PORT.")
@click.option("--reason", default="", help="Why; it goes into the audit log.")
@json_option
@pass_session
def screen_dataset(
    session: Session,
    target: str,
    label: str | None,
    contributor: str | None,
    time: str | None,
    against: str | None,
    limit: float | None,
    feedback: int | None,
    verdicts: Path | None,
    folder: Path | None,
    findings: tuple[str, ...],
    ray: str | None,
    reason: str,
    as_json: bool,
) -> None:
    """Look for poisoned and mislabelled rows in a version of a dataset, or in a CSV, JSON Lines or Parquet file.

    What has the form of a version is one; write ./NAME for a file of such a name. Rows are named by number, from 0, and no
    value is shown. A version's result is signed and kept, and so are the options, with which later pushes are screened;
    a file needs no home, and nothing of it leaves the machine.
    """
    if is_version(target):
        if ray is not None:
            raise click.UsageError("--ray is for files; versions are judged where the home's setting ray_address says.")
        if verdicts is not None or folder is not None or findings:
            raise click.UsageError(
                "--verdicts, --quarantine and --finding are for files; of a version, see dataset verdict and quarantine."
            )
        with session.client() as casemate, output.working(f"screening {target}"):
            result = casemate.screenings.screen(
                target,
                label=label,
                contributor=contributor,
                time=time,
                limit=limit,
                feedback=feedback,
                against=against,
                reason=reason,
            )
        output.show(result, as_json, _say_version)
        if result["screening"]["state"] == "suspect":
            sys.exit(output.REFUSED)
        return
    if label is None:
        raise click.UsageError(f"{target} is taken for a file: name its --label.")
    _screen_file(
        session,
        Path(target),
        columns={"label": label, "contributor": contributor, "time": time},
        against=Path(against) if against else None,
        verdicts=verdicts,
        bounds={"limit": _DEFAULT_LIMIT if limit is None else limit, "feedback": feedback or 0},
        folder=folder,
        findings=findings,
        ray=ray,
        as_json=as_json,
    )


def _say_version(result: Any) -> None:
    output.findings(result["findings"])
    for what in result["skipped"]:
        output.people.print(f"not looked at: {what}", markup=False)
    name, found = f"{result['name']}@{result['version']}", result["screening"]
    output.say(f"{name}: {found['rows']} rows screened, {found['state']}.")
    if found["state"] == "suspect":
        output.say(f"See the rows: casemate dataset screening {name}")
        output.say(f"Set them aside: casemate dataset quarantine {name} --reason WHY")
        output.say(f"Or judge: casemate dataset verdict {name} --judged fine --reason WHY")


def _screen_file(
    session: Session,
    path: Path,
    *,
    columns: dict[str, Any],
    against: Path | None,
    verdicts: Path | None,
    bounds: dict[str, Any],
    folder: Path | None,
    findings: tuple[str, ...],
    ray: str | None,
    as_json: bool,
) -> None:
    from casemate.scanning import convert_dataset
    from casemate.screening import RayJudges, ScreeningConfig
    from casemate.screening import screen_dataset as screened

    if folder is not None and (folder.exists() or folder.is_symlink()):
        raise InputError(f"{folder} exists: name a new folder with --quarantine.", code="exists")
    insecure = session.insecure_no_sandbox
    judges = None if ray is None else RayJudges(ray, insecure=insecure)

    def table(of: Path, source: SealedFile) -> SealedFile:
        return closing.enter_context(convert_dataset(source, of.name, insecure=insecure)).parquet

    done = [0, 0]  # blocks, of how many

    def told(judged: int, total: int) -> None:
        done[:] = judged, total

    with ExitStack() as closing, output.counting(f"screening {path.name}", lambda: (done[0], done[1] or 1)):
        # All that is named is read before anything is worked on.
        sources = [(of, closing.enter_context(sealed_file(of))) for of in (path, against) if of is not None]
        given = b"" if verdicts is None else _read(verdicts)
        found = closing.enter_context(
            screened(
                table(*sources[0]),
                **columns,
                former=None if against is None else table(*sources[1]),
                verdicts=given,
                set_aside=findings,
                config=ScreeningConfig(**bounds),
                insecure=insecure,
                progress=told,
                judges=None if judges is None else lambda: judges,
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
