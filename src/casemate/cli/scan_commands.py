"""`casemate model scan` and `casemate model convert`: what is done to a file before it is pushed. Without --push they need no home."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import InputError, SealedFile, Verdict, refused_by_system, seal_bytes

_file = click.Path(path_type=Path)
_TARGETS = ("onnx", "skops", "xgboost", "lightgbm", "safetensors")
_READ = 1 << 20  # bytes at a time


@click.command("scan")
@click.argument("path", type=_file)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "sarif", "github"]),
    default="table",
    help="SARIF 2.1.0 for code scanning, or annotations for GitHub's runners.",
)
@click.option(
    "--second-opinion",
    "opinions",
    type=click.Choice(["fickling", "modelscan", "picklescan"]),
    multiple=True,
    help="Another scanner to ask as well, in the sandbox; what it finds is added. Repeatable.",
)
@json_option
@pass_session
def scan_model(session: Session, path: Path, form: str, opinions: Any, as_json: bool) -> None:
    """Look inside a model file or folder, in the sandbox. Needs no home and runs nothing of it."""
    import msgspec

    from casemate.scanning import scan_path
    from casemate.scanning.sarif import sarif, workflow_commands

    with output.working(f"scanning {path.name}"):
        report = scan_path(path, opinions=opinions, insecure=session.insecure_no_sandbox)
    if form == "sarif":
        click.echo(json.dumps(sarif(report, path), indent=1))
    elif form == "github":
        for line in workflow_commands(report, path):
            click.echo(line)
    else:
        output.verdict(msgspec.to_builtins(report), as_json or form == "json", str(report.format))
        return
    if report.verdict is not Verdict.CLEAN:
        sys.exit(output.REFUSED)


@click.command("convert")
@click.argument("path", metavar="FILE", type=_file)
@click.option("--to", "target", type=click.Choice(_TARGETS), required=True, help="What it becomes.")
@click.option("--out", type=_file, help="The new folder for it; FILE without its ending where none is named.")
@click.option("--sample", type=_file, help="A CSV, JSON Lines or Parquet file of the model's features, to compare on.")
@click.option(
    "--push", "name", metavar="NAME", help="Have the home convert it, and keep it as a new version of this model."
)
@click.option("--dataset", metavar="DATASET[@VERSION]", help="With --push: what it was trained on.")
@click.option("--sample-dataset", metavar="DATASET[@VERSION]", help="With --push: the rows to compare on.")
@click.option(
    "--despite-findings", is_flag=True, help="Load it in the sandbox though the scan found more than a pickle."
)
@click.option("--reason", default="", help="With --push: why; it goes into the audit log.")
@json_option
@pass_session
def convert_model(
    session: Session,
    path: Path,
    target: Any,
    out: Path | None,
    sample: Path | None,
    name: str | None,
    dataset: str | None,
    sample_dataset: str | None,
    despite_findings: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Turn a scikit-learn, XGBoost or LightGBM pickle into a format that is served.

    It is loaded in the sandbox only, exported, scanned, and compared: the new model must predict as the old one did. On this
    machine, conversion.json beside it says what was done. With --push the home does it all, and signs what it has done.
    """
    if name:
        if out is not None:
            raise click.UsageError("With --push nothing is written here: leave --out out, and pull the version later.")
        with session.client() as casemate, output.sending(f"converting {path.name}") as progress:
            result = casemate.conversions.make(
                name,
                path,
                to=target,
                dataset=dataset,
                sample=sample,
                sample_dataset=sample_dataset,
                despite_findings=despite_findings,
                reason=reason,
                progress=progress,
            )
        output.verdict(result, as_json, f"{result['name']}@{result['version']}  {result['digest']}")
        if not as_json:
            _say_compared(result["conversion"])
        return
    if dataset or sample_dataset:
        raise click.UsageError("--dataset and --sample-dataset name what a home holds: they go with --push.")
    folder = out or path.with_suffix("")
    if folder.exists() or folder.is_symlink():
        raise InputError(f"{folder} exists: name a new folder with --out.", code="exists")
    result = _here(path, folder, target, sample, despite_findings, session.insecure_no_sandbox)
    output.show(result, as_json, _say)


def _here(
    path: Path, folder: Path, target: Any, sample: Path | None, despite_findings: bool, insecure: bool
) -> dict[str, Any]:
    from casemate.runtime import conversion
    from casemate.runtime.conversion_rows import read_sample

    with ExitStack() as closing, output.working(f"converting {path.name}"):
        rows = None
        if sample is not None:
            rows = read_sample(closing.enter_context(sealed_file(sample)), sample.name, insecure=insecure)
        converted = closing.enter_context(
            conversion.convert_model(
                closing.enter_context(sealed_file(path)),
                path.name,
                to=target,
                sample=rows,
                despite_findings=despite_findings,
                insecure=insecure,
            )
        )
        record = closing.enter_context(conversion.seal_record(converted))
        write_files(folder, {converted.path: converted.file, conversion.RECORD: record})
        return {"path": str(folder), "record": converted.record}


def _say(result: Any) -> None:
    output.say(f"{result['path']} written.")
    _say_compared(result["record"])


def _say_compared(record: Any) -> None:
    compared, sample = record["compared"], record["sample"]
    output.say(
        f"On {sample['rows']} rows ({sample['origin']}) it differs by at most {compared['max_difference']:.2g}, and in the "
        f"class of {compared['labels_differ']}."
    )
    if sample["origin"] == "made up":
        output.say("Made-up rows say little about yours: name some with --sample.")


def sealed_file(path: Path) -> SealedFile:
    """Raises: InputError: it is no plain file, or cannot be read."""
    try:
        if not path.is_file():
            raise InputError(f"{path} is not a file.", code="no-file")
        with path.open("rb") as file:
            return seal_bytes(iter(lambda: file.read(_READ), b""))
    except OSError as error:
        raise refused_by_system(error) from error


def write_files(folder: Path, files: dict[str, SealedFile]) -> None:
    """Raises: InputError: the system refuses."""
    try:
        folder.mkdir(mode=0o700)
        for name, file in files.items():
            with file.open() as data:
                (folder / name).write_bytes(data.read())
    except OSError as error:
        raise refused_by_system(error) from error
