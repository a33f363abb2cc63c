"""`casemate dataset ...`, `casemate model ...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from casemate.cli import output
from casemate.cli.approver_commands import asked_passphrase, passphrase_option
from casemate.cli.output import json_option
from casemate.cli.own_signature import check_shown, sign_words
from casemate.cli.personal_commands import anonymize_dataset, personal_dataset, personal_key, reidentify_dataset
from casemate.cli.provenance_commands import attest_model, brought, provenance_options
from casemate.cli.revoking import revoking, say_revoked
from casemate.cli.scan_commands import convert_model, scan_model
from casemate.cli.screening_commands import screen_dataset
from casemate.cli.session import Session, pass_session
from casemate.cli.signature_commands import SignedBy, sign_model, signed_by_options, verify_files_at
from casemate.core import Environment, Verdict

_file = click.Path(path_type=Path)
_reason = click.option("--reason", default="", help="Why; it goes into the audit log.")
_version_columns = {"version": "version", "digest": "digest", "created_at": "created", "created_by": "by"}


@click.group()
def dataset() -> None:
    """Versioned, encrypted datasets."""


@dataset.command("list")
@json_option
@pass_session
def list_datasets(session: Session, as_json: bool) -> None:
    """All datasets, with their latest version."""
    with session.client() as casemate:
        rows = casemate.datasets()
    output.show(rows, as_json, lambda value: _assets(value, "No dataset yet: casemate dataset push NAME FILE"))


@dataset.command("show")
@click.argument("ref")
@json_option
@pass_session
def show_dataset(session: Session, ref: str, as_json: bool) -> None:
    """One version: digest, columns, who pushed it. REF is NAME[@VERSION]."""
    with session.client() as casemate:
        output.show(casemate.dataset(ref), as_json, output.facts)


@dataset.command("pull")
@click.argument("ref")
@click.argument("to", type=_file)
@_reason
@json_option
@pass_session
def pull_dataset(session: Session, ref: str, to: Path, reason: str, as_json: bool) -> None:
    """Write a version's rows to TO as Parquet. The rows leave the walls: this is recorded.

    A pull that broke off goes on where it was.
    """
    with session.client() as casemate, output.sending(f"pulling {ref}") as progress:
        casemate.pull_dataset(ref, to, reason=reason, progress=progress)
    output.show({"name": ref, "path": str(to)}, as_json, lambda _: output.say(f"{to} written."))


@dataset.command("verify")
@click.argument("ref", required=False)
@click.option("--all", "everything", is_flag=True, help="Every version of every dataset.")
@json_option
@pass_session
def verify_dataset(session: Session, ref: str | None, everything: bool, as_json: bool) -> None:
    """Read every stored byte and compare it with what was pushed."""
    _one_or_all(ref, everything)
    with session.client() as casemate, output.working("reading every byte"):
        result = casemate.verify_datasets(ref)
    _verified(result, as_json)


@dataset.command("delete")
@click.argument("ref")
@_reason
@json_option
@pass_session
def delete_dataset(session: Session, ref: str, reason: str, as_json: bool) -> None:
    """Delete one version and destroy the keys of what no other version holds. REF is NAME@VERSION."""
    with session.client() as casemate:
        output.show(casemate.delete_dataset(ref, reason=reason), as_json, output.facts)


dataset.add_command(screen_dataset)
for _command in (personal_dataset, anonymize_dataset, reidentify_dataset, personal_key):
    dataset.add_command(_command)


@click.group()
def model() -> None:
    """Versioned, scanned, signed models."""


@model.command("push")
@click.argument("name")
@click.argument("path", type=_file)
@click.option("--dataset", "dataset_ref", metavar="NAME[@VERSION]", help="What it was trained on.")
@click.option("--from", "base", metavar="MODEL[@VERSION]", help="What it was made from, as an adapter is.")
@provenance_options
@_reason
@json_option
@pass_session
def push_model(
    session: Session,
    /,
    name: str,
    path: Path,
    dataset_ref: str | None,
    base: str | None,
    reason: str,
    as_json: bool,
    **said: Path | None,
) -> None:
    """Push a model file or folder as a new version, once it has been scanned.

    With --provenance, once what an outside trainer signed of it holds, too; else the version says that nobody saw its training.
    """
    more = {**brought(**said), "base": base}
    with session.client() as casemate, output.sending(f"pushing {path.name}") as progress:
        result = casemate.push_model(name, path, dataset=dataset_ref, reason=reason, progress=progress, **more)
    output.verdict(result, as_json, f"{result['name']}@{result['version']}  {result['digest']}")


model.add_command(attest_model)
model.add_command(scan_model)
model.add_command(convert_model)
model.add_command(sign_model)


@model.command("list")
@json_option
@pass_session
def list_models(session: Session, as_json: bool) -> None:
    """All models, with their latest version."""
    with session.client() as casemate:
        rows = casemate.models()
    output.show(rows, as_json, lambda value: _assets(value, "No model yet: casemate model push NAME PATH"))


@model.command("show")
@click.argument("ref")
@json_option
@pass_session
def show_model(session: Session, ref: str, as_json: bool) -> None:
    """One version: digest, signature, findings, approvals. REF is NAME[@VERSION]."""
    with session.client() as casemate:
        output.show(casemate.model(ref), as_json, _model)


@model.command("lineage")
@click.argument("ref")
@json_option
@pass_session
def lineage(session: Session, ref: str, as_json: bool) -> None:
    """What a version was made from: dataset, script, parameters, environment."""
    with session.client() as casemate:
        output.show(casemate.lineage(ref), as_json, output.tree)


@model.command("pull")
@click.argument("ref")
@click.argument("to", type=_file)
@_reason
@json_option
@pass_session
def pull_model(session: Session, ref: str, to: Path, reason: str, as_json: bool) -> None:
    """Write a version's files and signature into the folder TO. The weights leave the walls: this is recorded."""
    with session.client() as casemate, output.working(f"pulling {ref}"):
        casemate.pull_model(ref, to, reason=reason)
    output.show({"name": ref, "path": str(to)}, as_json, lambda _: output.say(f"{to} written."))


@model.command("verify")
@click.argument("ref", required=False)
@click.option("--all", "everything", is_flag=True, help="Every version of every model.")
@signed_by_options
@json_option
@pass_session
def verify_model(session: Session, /, ref: str | None, everything: bool, as_json: bool, **signer: Any) -> None:
    """Read every stored byte and check every signature.

    With a signer named (--key, --roots or --identity), REF is a file or folder on this machine with an OpenSSF model
    signature of somebody else; it needs no home and no network (docs/signatures.md).
    """
    _one_or_all(ref, everything)
    by = SignedBy(**signer)
    if by.is_asked:
        if ref is None:
            raise click.UsageError("Name the file or folder whose signer you named; --all is about a home.")
        verify_files_at(Path(ref), by, as_json=as_json)
        return
    with session.client() as casemate, output.working("reading every byte"):
        result = casemate.verify_models(ref)
    _verified(result, as_json)


@model.command("approve")
@click.argument("ref")
@click.option(
    "--environment", "--env", type=click.Choice([one.value for one in Environment]), default=Environment.DEV.value
)
@click.option("--key", "key_file", type=click.Path(path_type=Path), help="Sign with this key of yours, for strict.")
@click.option("--digest", help="Of what you examined; without it you are shown one and asked.")
@passphrase_option
@_reason
@json_option
@pass_session
def approve(
    session: Session,
    ref: str,
    environment: str,
    key_file: Path | None,
    digest: str | None,
    passphrase_file: Path | None,
    reason: str,
    as_json: bool,
) -> None:
    """Say, signed, that a version may be deployed. Whoever pushed it may approve it for dev only.

    The profile strict needs two people, each with a key of their own that is pinned (casemate approver --help), or with
    a passkey in a browser, at /approve of the control plane.
    """
    with session.client() as casemate:
        envelope = ""
        if key_file is not None or digest is not None:
            words = casemate.approval_words(ref, environment=environment)
            check_shown(words, ref, digest, environment)
            if key_file is not None:
                passphrase = asked_passphrase(passphrase_file)
                envelope = sign_words(words, ref, environment, key_file=key_file, passphrase=passphrase)
        made = casemate.approve(ref, environment=environment, reason=reason, envelope=envelope)
    output.show(made, as_json, output.facts)


@model.command("revoke")
@click.argument("ref")
@revoking
@json_option
@pass_session
def revoke_model(session: Session, ref: str, reason: str, cascade: bool, as_json: bool) -> None:
    """End a version for good: never deployed or loaded again; what serves it is paused. REF is NAME@VERSION.

    --cascade ends every version that serves the same file with it, under whatever name.
    """
    with session.client() as casemate:
        result = casemate.revoke_model(ref, reason=reason, cascade=cascade)
    output.show(result, as_json, say_revoked)


@model.command("delete")
@click.argument("ref")
@_reason
@json_option
@pass_session
def delete_model(session: Session, ref: str, reason: str, as_json: bool) -> None:
    """Delete one version and destroy the keys of what no other version holds. REF is NAME@VERSION."""
    with session.client() as casemate:
        output.show(casemate.delete_model(ref, reason=reason), as_json, output.facts)


def _assets(rows: list[dict[str, Any]], empty: str) -> None:
    output.table(rows, {"name": "name", **_version_columns}, empty=empty)
    for row in rows:
        _warn_unverified(row)


def _model(row: dict[str, Any]) -> None:
    output.facts(row)
    _warn_unverified(row)


def _warn_unverified(row: dict[str, Any]) -> None:
    if not row.get("verified", True):
        output.people.print(
            f"[bold red]not verified[/] {row['name']}@{row['version']}: its row is not what was signed; see verify --all."
        )


def _one_or_all(ref: str | None, everything: bool) -> None:
    if (ref is None) != everything:
        raise click.UsageError("Name one version, or say --all.")


def _verified(result: dict[str, Any], as_json: bool) -> None:
    def human(_: Any) -> None:
        output.findings(result["problems"])
        output.say(f"{result['checked']} version(s) read, {len(result['problems'])} problem(s).")

    output.show({"verdict": Verdict.CLEAN if result["ok"] else Verdict.REFUSED, **result}, as_json, human)
    if not result["ok"]:
        sys.exit(output.REFUSED)
