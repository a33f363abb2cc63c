"""`casemate dataset personal`, `anonymize`, `reidentify` and `personal-key`: personal data in a file, before it is pushed. No home needed."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import msgspec

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.scan_commands import sealed_file
from casemate.cli.session import Session, pass_session
from casemate.core import DataClass, InputError, SealedFile, Verdict, refused_by_system

_file = click.Path(path_type=Path)
_opinion = click.option("--second-opinion", is_flag=True, help="Ask Presidio too; it needs casemate[presidio].")
_regions = click.option(
    "--region",
    "regions",
    multiple=True,
    help="A country, as US, whose telephone numbers may stand without a +; may be repeated.",
)
_key = click.option("--key", "key", type=_file, help="The key of pseudonyms and replacements.")


@click.command("personal")
@click.argument("path", metavar="FILE", type=_file)
@click.option(
    "--data-class",
    type=click.Choice([one.value for one in DataClass]),
    default=DataClass.INTERNAL.value,
    help="What it is to be pushed as.  [default: internal]",
)
@click.option("--proposal", type=_file, help="Write a policy for `dataset anonymize` to start from to this new file.")
@_regions
@_opinion
@json_option
@pass_session
def personal_dataset(
    session: Session,
    path: Path,
    data_class: str,
    proposal: Path | None,
    regions: tuple[str, ...],
    second_opinion: bool,
    as_json: bool,
) -> None:
    """Look for personal data in a CSV, JSON Lines or Parquet file, in the sandbox.

    Shows no value, only its form. Exits 1 where something is found that the data class does not cover.
    """
    from casemate.privacy import find_personal_data, proposed_policy
    from casemate.scanning import convert_dataset

    if proposal is not None:
        _new(proposal)
    insecure = session.insecure_no_sandbox
    with ExitStack() as closing, output.working(f"looking at {path.name}"):
        table = closing.enter_context(
            convert_dataset(closing.enter_context(sealed_file(path)), path.name, insecure=insecure)
        )
        report = find_personal_data(
            table.parquet, declared=DataClass(data_class), config=_config(regions, second_opinion), insecure=insecure
        )
    if proposal is not None:
        _write(proposal, [proposed_policy(report).encode()])
    output.show(
        {**msgspec.to_builtins(report), "proposal": None if proposal is None else str(proposal)}, as_json, _say_found
    )
    if report.verdict is not Verdict.CLEAN:
        sys.exit(output.REFUSED)


@click.command("anonymize")
@click.argument("path", metavar="FILE", type=_file)
@click.option("--policy", "policy_file", type=_file, required=True, help="What becomes of each column: TOML.")
@click.option("--out", type=_file, required=True, help="The new Parquet file.")
@_key
@click.option("--reversible-key", type=_file, help="The key of pseudonyms that can be turned back.")
@_regions
@_opinion
@json_option
@pass_session
def anonymize_dataset(
    session: Session,
    path: Path,
    policy_file: Path,
    out: Path,
    key: Path | None,
    reversible_key: Path | None,
    regions: tuple[str, ...],
    second_opinion: bool,
    as_json: bool,
) -> None:
    """Write FILE without what names people, as a policy says, once what is left was looked at and measured.

    Exits 1, and writes nothing, where more is left than the policy allows.
    """
    from casemate.privacy import Keys, KeyUse, anonymise_dataset, read_key, read_policy
    from casemate.scanning import convert_dataset

    _new(out)
    insecure = session.insecure_no_sandbox
    with ExitStack() as closing, output.working(f"anonymizing {path.name}"):
        source = closing.enter_context(sealed_file(path))
        policy = read_policy(closing.enter_context(sealed_file(policy_file)).read())
        keys = Keys(
            pseudonym=read_key(key, KeyUse.PSEUDONYM) if key else b"",
            reversible=read_key(reversible_key, KeyUse.REVERSIBLE) if reversible_key else b"",
        )
        table = closing.enter_context(convert_dataset(source, path.name, insecure=insecure))
        done = closing.enter_context(
            anonymise_dataset(
                table.parquet, policy, keys=keys, config=_config(regions, second_opinion), insecure=insecure
            )
        )
        if done.parquet is not None:
            _copy(done.parquet, out)
    result = {**msgspec.to_builtins(done.report), "path": None if done.parquet is None else str(out)}
    output.show(result, as_json, _say_done)
    if done.parquet is None:
        sys.exit(output.REFUSED)


@click.command("reidentify")
@click.argument("path", metavar="FILE", type=_file)
@click.option("--column", required=True, help="The column of reversible pseudonyms.")
@click.option("--domain", default="", help="The domain that the policy named.  [default: the column's name]")
@click.option("--reversible-key", type=_file, required=True, help="The key that made them.")
@click.option("--out", type=_file, required=True, help="The new Parquet file.")
@json_option
@pass_session
def reidentify_dataset(
    session: Session, path: Path, column: str, domain: str, reversible_key: Path, out: Path, as_json: bool
) -> None:
    """Turn the reversible pseudonyms of one column back. Whoever has the key can: it is the wall."""
    from casemate.privacy import KeyUse, read_key
    from casemate.privacy import reidentify_dataset as reidentified
    from casemate.scanning import convert_dataset

    _new(out)
    key = read_key(reversible_key, KeyUse.REVERSIBLE)
    insecure = session.insecure_no_sandbox
    with ExitStack() as closing, output.working(f"reading {path.name}"):
        source = closing.enter_context(sealed_file(path))
        table = closing.enter_context(convert_dataset(source, path.name, insecure=insecure))
        shown = closing.enter_context(
            reidentified(table.parquet, column=column, domain=domain, key=key, insecure=insecure)
        )
        _copy(shown, out)
    output.show({"path": str(out), "column": column}, as_json, lambda _: output.say(f"{out} written."))


@click.command("personal-key")
@click.argument("path", metavar="FILE", type=_file)
@click.option("--reversible", is_flag=True, help="Of pseudonyms that can be turned back.")
@json_option
def personal_key(path: Path, reversible: bool, as_json: bool) -> None:
    """Make the key of an anonymisation: a new file that its owner alone may read. Keep it apart from the data."""
    from casemate.privacy import KeyUse, make_key

    use = KeyUse.REVERSIBLE if reversible else KeyUse.PSEUDONYM
    make_key(path, use)
    output.show({"path": str(path), "use": use.value}, as_json, lambda _: output.say(f"{path} written."))


def _config(regions: tuple[str, ...], second_opinion: bool) -> Any:
    from casemate.privacy import PersonalConfig

    plain = PersonalConfig(second_opinion=second_opinion)
    named = tuple(region.upper() for region in regions)
    if named:
        from phonenumbers import SUPPORTED_REGIONS

        unknown = sorted(set(named) - set(SUPPORTED_REGIONS))
        if unknown:
            raise InputError(
                f"There is no region {unknown[0][:20]!r}: name a country by two letters, as US.", code="personal-region"
            )
    return msgspec.structs.replace(plain, regions=named) if named else plain


def _new(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise InputError(f"{path} exists: name a new file.", code="exists")


def _copy(file: SealedFile, path: Path) -> None:
    with file.open() as data:
        _write(path, iter(lambda: data.read(1 << 20), b""))


def _write(path: Path, chunks: Any) -> None:
    """A new file of the owner's alone. Raises: InputError: the system refuses."""
    import os

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
    except OSError as error:
        raise refused_by_system(error) from error


def _say_found(result: Any) -> None:
    rows = [
        {
            "column": column["name"],
            "kind": kind["kind"],
            "values": f"{kind['count']} of {column['values']}",
            "sure": f"{kind['confidence']:.2f}",
            "form": kind["example"],
            "treatment": column["treatment"],
        }
        for column in result["columns"]
        for kind in column["kinds"]
    ]
    headings = {name: name for name in ("column", "kind", "values", "sure", "form", "treatment")}
    output.table(rows, headings, empty="No personal data was found; that is no proof that there is none.")
    output.findings(result["findings"])
    for what in result["skipped"]:
        output.people.print(f"not looked at: {what}", markup=False)
    wrote = f" {result['proposal']} written." if result["proposal"] else ""
    output.say(
        f"{result['rows']} rows, declared {result['declared']}; at least {result['proposed']} is proposed.{wrote}"
    )


def _say_done(result: Any) -> None:
    output.findings(result["findings"])
    after = result["after"]
    if after:
        before = result["before"]
        output.say(
            f"k {before['k']} -> {after['k']}; alone {before['unique']:.1%} -> {after['unique']:.1%} of the rows"
        )
    if result["path"] is None:
        output.say("Refused; nothing was written.")
        return
    output.say(f"{result['path']} written: {result['rows']} rows, {result['suppressed']} left out.")
