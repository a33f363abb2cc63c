"""`casemate model attest`, and `model push --provenance`: what an outside trainer says of a training, signed."""

from __future__ import annotations

import getpass
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from casemate.cli import output
from casemate.cli.approver_commands import asked_passphrase, passphrase_option
from casemate.cli.output import json_option
from casemate.cli.signature_commands import read_small, timestamped
from casemate.core import (
    Digest,
    InputError,
    VerificationError,
    checked_digest,
    parse_rfc3339,
    refused_by_system,
    rfc3339,
)

_file = click.Path(path_type=Path)
_BUILDER = "https://casemate.dev/outside-trainer"


def provenance_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `model push` that bring an outside trainer's word."""
    for option in reversed(
        (
            click.option("--provenance", type=_file, help="What an outside trainer signed (docs/provenance.md)."),
            click.option("--signature", type=_file, help="Of --provenance, where that is the bare statement."),
            click.option("--script", type=_file, help="The provenance must name this training script."),
            click.option("--environment", type=_file, help="The provenance must name this lock file."),
        )
    ):
        command = option(command)
    return command


def brought(
    provenance: Path | None, signature: Path | None, script: Path | None, environment: Path | None
) -> dict[str, Any]:
    """What a push sends of it. Raises: click.UsageError; InputError; VerificationError `provenance-mismatch`."""
    if provenance is None:
        if signature or script or environment:
            raise click.UsageError("--signature, --script and --environment are about --provenance FILE.")
        return {}
    data = read_small(provenance)
    if signature is not None:
        data = _signed_by(data, read_small(signature))
    return {
        "provenance": data,
        "script": digest_at(script) if script else None,
        "environment": digest_at(environment) if environment else None,
    }


def _signed_by(statement: bytes, signature: bytes) -> bytes:
    from casemate.signing.outside import as_bundle, payload_in

    if payload_in(as_bundle(signature)) != statement:
        raise VerificationError(
            "The signature is around another statement than this one: one of them was altered, or they belong to "
            "different trainings.",
            code="provenance-mismatch",
        )
    return signature


@click.command("attest")
@click.argument("path", type=_file)
@click.option("--dataset", "datasets", multiple=True, metavar="NAME@VERSION=FILE", help="Rows as pulled, or sha256:...")
@click.option("--script", type=_file, help="What trained it.")
@click.option("--repository", metavar="URL", help="Where the script is kept, with --commit.")
@click.option("--commit", help="Of the repository.")
@click.option("--environment", type=_file, help="The lock file of its packages.")
@click.option("--parameters", default="{}", help="A JSON object.")
@click.option("--seed", "seeds", multiple=True, metavar="NAME=NUMBER", help="May be repeated.")
@click.option("--model", "name", default="", help="Good for a push under this name alone.")
@click.option("--builder", default=_BUILDER, show_default=True, help="A URI for what ran it, as a policy knows it.")
@click.option("--by", default="", help="Who started it.  [default: your user name]")
@click.option("--run", default="", help="The id of the run, as the trainer knows it.")
@click.option("--started", default="", metavar="TIME", help="RFC 3339, as in 2026-11-24T12:00:00Z.")
@click.option("--finished", default="", metavar="TIME", help="[default: now]")
@click.option("--key", type=_file, help="Your signing key (casemate approver new).")
@passphrase_option
@click.option("--certificates", type=_file, help="Of that key, itself first (PEM).")
@click.option("--timestamp", metavar="URL", help="A timestamp authority (RFC 3161) for the certificate.")
@click.option("--identity-token", type=_file, help="Keyless: holds an OpenID Connect token for Sigstore.")
@click.option("--sigstore", type=_file, help="Keyless: Sigstore's client configuration.  [default: the public one]")
@click.option("--out", type=_file, help="[default: PATH.provenance.json]")
@json_option
def attest_model(
    path: Path,
    datasets: tuple[str, ...],
    seeds: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    **said: Any,
) -> None:
    """Sign what a model at PATH was trained from, for the home that it is pushed to. Needs no home and no network.

    The statement is SLSA provenance v1. Bring it along: casemate model push NAME PATH --provenance FILE
    """
    from casemate.signing.provenance import OutsideTraining, provenance_statement

    if said["script"] is None and not (said["repository"] and said["commit"]):
        raise click.UsageError("Say what trained it: --script FILE, or --repository URL and --commit ID.")
    files = _files(path)
    training = OutsideTraining(
        files=files,
        builder=said["builder"],
        dependencies=tuple(_dependencies(datasets, said)),
        parameters=_parameters(said["parameters"]),
        seeds=dict(_seed(one) for one in seeds),
        model=said["name"],
        by=said["by"] or getpass.getuser(),
        run=said["run"],
        started=_time(said["started"]),
        finished=_time(said["finished"]) or rfc3339(datetime.now(UTC)),
    )
    bundle = _signed(provenance_statement(training), said)
    to = out or path.with_name(path.name + ".provenance.json")
    try:
        to.write_bytes(bundle)
    except OSError as error:
        raise refused_by_system(error) from error
    output.show({"provenance": str(to), "files": len(files)}, as_json, output.facts)


def _signed(statement: bytes, said: dict[str, Any]) -> bytes:
    from casemate.signing import OwnKey
    from casemate.signing.certificates import load_certificates
    from casemate.signing.outside_signing import sign_keyless, sign_with_key

    key, token, stamp_url, chain = said["key"], said["identity_token"], said["timestamp"], said["certificates"]
    if (key is None) == (token is None) or (said["sigstore"] and not token):
        raise click.UsageError("Sign with --key FILE, or keyless with --identity-token FILE.")
    if stamp_url and not chain:
        raise click.UsageError("A timestamp dates a certificate: name --certificates FILE, too.")
    if token is not None:
        config = read_small(said["sigstore"]) if said["sigstore"] else None
        with output.working("signing as your identity"):
            return sign_keyless(statement, token=read_small(token).decode(errors="replace").strip(), config=config)
    return sign_with_key(
        statement,
        OwnKey.open(read_small(key.expanduser()), asked_passphrase(said["passphrase_file"])),
        chain=load_certificates(read_small(chain), "file of certificates") if chain else (),
        stamp=(lambda query: timestamped(stamp_url, query)) if stamp_url else None,
        now=datetime.now(UTC),
    )


def _files(path: Path) -> dict[str, Digest]:
    """As a push names them."""
    from casemate.signing.folders import digests_of

    with output.sending(f"reading {path.name}") as progress:
        found = digests_of(path, progress=progress)
    return {path.name if name == "." else name: digest for name, digest in found.items()}


def _dependencies(datasets: tuple[str, ...], said: dict[str, Any]) -> list[Any]:
    from casemate.signing.provenance import Dependency, Kind

    found = [_dataset(one) for one in datasets]
    kinds: tuple[Kind, ...] = ("script", "environment")
    files = [(kind, said[kind]) for kind in kinds if said[kind] is not None]
    found += [Dependency(kind=kind, name=file.name, digest=digest_at(file)) for kind, file in files]
    if said["repository"] and said["commit"]:
        uri = said["repository"] if said["repository"].startswith("git+") else f"git+{said['repository']}"
        found.append(Dependency(kind="repository", uri=uri, commit=said["commit"]))
    return found


def _dataset(text: str) -> Any:
    from casemate.signing.provenance import Dependency

    name, _, what = text.partition("=")
    if not name or not what:
        raise click.UsageError(f"Write a dataset as NAME@VERSION=FILE, or =sha256:...: {text[:80]!r} is neither.")
    digest = checked_digest(what) if what.startswith("sha256:") else digest_at(Path(what))
    return Dependency(kind="dataset", name=name, digest=digest)


def _parameters(text: str) -> dict[str, Any]:
    import msgspec

    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InputError("The parameters are not a JSON object.", code="bad-parameters") from error


def _seed(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    try:
        return name, int(number)
    except ValueError as error:
        raise click.UsageError(f"Write a seed as NAME=NUMBER: {text[:80]!r} is none.") from error


def _time(text: str) -> str:
    if not text:
        return ""
    try:
        return rfc3339(parse_rfc3339(text))
    except (ValueError, OverflowError) as error:
        raise InputError(f"{text[:40]!r} is no time: write it as 2026-11-24T12:00:00Z.", code="bad-time") from error


def digest_at(path: Path) -> Digest:
    """Raises: InputError: it cannot be read."""
    try:
        with path.open("rb") as file:
            return Digest("sha256:" + hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise refused_by_system(error) from error
