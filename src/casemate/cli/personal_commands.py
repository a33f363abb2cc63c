"""`casemate dataset personal`, `anonymize`, `reidentify` and `personal-key`: personal data in a file, or in a version of the home."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import msgspec

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.personal_files import anonymize_file, config_of, new_file, read_file, reidentify_file, write_new
from casemate.cli.scan_commands import sealed_file
from casemate.cli.session import Session, pass_session
from casemate.cli.targets import is_version
from casemate.core import DataClass, Verdict

_file = click.Path(path_type=Path)
_opinion = click.option("--second-opinion", is_flag=True, help="Ask Presidio too; it needs casemate[presidio].")
_regions = click.option(
    "--region",
    "regions",
    multiple=True,
    help="A country, as US, whose telephone numbers may stand without a +; may be repeated.",
)
_key = click.option("--key", "key", type=_file, help="FILE only: the key of pseudonyms and replacements.")


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
        new_file(proposal)
    insecure = session.insecure_no_sandbox
    with ExitStack() as closing, output.working(f"looking at {path.name}"):
        table = closing.enter_context(
            convert_dataset(closing.enter_context(sealed_file(path)), path.name, insecure=insecure)
        )
        report = find_personal_data(
            table.parquet,
            declared=DataClass(data_class),
            config=config_of(regions, second_opinion=second_opinion),
            insecure=insecure,
        )
    if proposal is not None:
        write_new(proposal, [proposed_policy(report).encode()])
    output.show(
        {**msgspec.to_builtins(report), "proposal": None if proposal is None else str(proposal)}, as_json, _say_found
    )
    if report.verdict is not Verdict.CLEAN:
        sys.exit(output.REFUSED)


@click.command("anonymize")
@click.argument("target", metavar="NAME@VERSION|FILE")
@click.option("--policy", "policy_file", type=_file, required=True, help="What becomes of each column: TOML.")
@click.option(
    "--as", "new", metavar="NAME", help="A version only: the dataset that it becomes.  [default: NAME-anonymous]"
)
@click.option(
    "--data-class",
    type=click.Choice([one.value for one in DataClass]),
    help="A version only.  [default: as before, or as of the source]",
)
@click.option(
    "--purpose",
    "purposes",
    multiple=True,
    help="A version only: it may be trained on for this one; may be repeated.  [default: as before, or as of the source]",
)
@click.option("--reason", default="", help="A version only: why; it goes into the audit log.")
@click.option("--out", type=_file, help="FILE only: the new Parquet file.")
@_key
@click.option("--reversible-key", type=_file, help="FILE only: the key of pseudonyms that can be turned back.")
@_regions
@_opinion
@json_option
@pass_session
def anonymize_dataset(
    session: Session,
    target: str,
    policy_file: Path,
    new: str | None,
    data_class: str | None,
    purposes: tuple[str, ...],
    reason: str,
    out: Path | None,
    key: Path | None,
    reversible_key: Path | None,
    regions: tuple[str, ...],
    second_opinion: bool,
    as_json: bool,
) -> None:
    """Take out what names people, as a policy says, once what is left was looked at and measured.

    Of a version, the home makes a version of another dataset, with keys of pseudonyms that it keeps and shows to nobody; it is on
    record. What has the form of a version is one; write ./NAME for a file of such a name. Of a FILE, this machine writes another,
    with key files of yours, and nobody's record knows of it. Exits 1, and makes nothing, where more is left than the policy allows.
    """
    if is_version(target):
        if out or key or reversible_key or regions or second_opinion:
            raise click.UsageError("--out, --key, --reversible-key, --region and --second-opinion are for files.")
        policy = read_file(policy_file)
        with session.client() as casemate, output.working(f"anonymizing {target}"):
            made = casemate.personal.anonymize(
                target, policy, new=new, data_class=data_class, purposes=purposes, reason=reason
            )
        _finish(made, as_json, _say_made, made["version"])
        return
    if out is None:
        raise click.UsageError(f"{target} is taken for a file: name its --out.")
    if new or data_class or purposes or reason:
        raise click.UsageError("--as, --data-class, --purpose and --reason are for versions.")
    done = anonymize_file(
        Path(target),
        out,
        read_file(policy_file),
        key=key,
        reversible_key=reversible_key,
        config=config_of(regions, second_opinion=second_opinion),
        insecure=session.insecure_no_sandbox,
    )
    _finish(done, as_json, _say_done, done["path"])


@click.command("reidentify")
@click.argument("target", metavar="NAME@VERSION|FILE")
@click.option("--column", required=True, help="The column of reversible pseudonyms.")
@click.option(
    "--value",
    "values",
    multiple=True,
    metavar="PSEUDONYM",
    help="Only the rows that hold this one; may be repeated.  [default: all rows]",
)
@click.option("--out", "to", type=_file, required=True, help="The new Parquet file.")
@click.option("--reason", default="", help="A version only, and needed there: why; it goes into the audit log.")
@click.option("--domain", default="", help="FILE only: the domain that the policy named.  [default: the column's name]")
@click.option("--reversible-key", type=_file, help="FILE only: the key that made them.")
@json_option
@pass_session
def reidentify_dataset(
    session: Session,
    target: str,
    column: str,
    values: tuple[str, ...],
    to: Path,
    reason: str,
    domain: str,
    reversible_key: Path | None,
    as_json: bool,
) -> None:
    """Turn the reversible pseudonyms of one column back.

    Of a version that the home made anonymous: an owner's alone, with a fresh second factor and a --reason, and on record before
    a row leaves. Of a FILE: whoever has the key file can, and it is on nobody's record.
    """
    new_file(to)
    if is_version(target):
        if domain or reversible_key:
            raise click.UsageError("--domain and --reversible-key are for files: the home has its own.")
        with session.client() as casemate, output.working(f"turning {target} back"):
            result = casemate.personal.reidentify(target, column, to, values=values, reason=reason)
        output.show(result, as_json, lambda _: output.say(f"{to} written: {result['rows']} rows. It is on record."))
        return
    if reversible_key is None:
        raise click.UsageError(f"{target} is taken for a file: name its --reversible-key.")
    if reason:
        raise click.UsageError("--reason is for versions: a file is turned back on nobody's record.")
    shown = reidentify_file(
        Path(target),
        to,
        column=column,
        values=values,
        domain=domain,
        reversible_key=reversible_key,
        insecure=session.insecure_no_sandbox,
    )
    output.show(shown, as_json, lambda _: output.say(f"{to} written: {shown['rows']} rows. It is on nobody's record."))


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


def _finish(result: dict[str, Any], as_json: bool, say: Callable[[Any], None], made: Any) -> None:
    """Show what was done, and exit 1 where nothing was made."""
    output.show(result, as_json, say)
    if made is None:
        sys.exit(output.REFUSED)


def _say_measured(report: Any) -> None:
    before, after = report["before"], report["after"]
    if after:
        output.say(
            f"k {before['k']} -> {after['k']}; alone {before['unique']:.1%} -> {after['unique']:.1%} of the rows"
        )


def _say_made(result: Any) -> None:
    output.findings(result["findings"])
    _say_measured(result["report"])
    if result["version"] is None:
        output.say("Refused; nothing was kept.")
        return
    rows, out = result["report"]["rows"], result["report"]["suppressed"]
    output.say(f"{result['name']}@{result['version']}  {result['digest']}  {rows} rows, {out} left out.")


def _say_done(result: Any) -> None:
    output.findings(result["findings"])
    _say_measured(result)
    if result["path"] is None:
        output.say("Refused; nothing was written.")
        return
    output.say(f"{result['path']} written: {result['rows']} rows, {result['suppressed']} left out.")
    output.people.print("A file is on nobody's record: neither this, nor who turns its pseudonyms back.", markup=False)
