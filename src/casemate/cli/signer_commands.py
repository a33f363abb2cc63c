"""`casemate signer ...`: whose word about a training elsewhere is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.provenance_commands import digest_at
from casemate.cli.revoking import revoking, say_revoked
from casemate.cli.session import Session, pass_session
from casemate.cli.signature_commands import read_small
from casemate.core import InputError

_file = click.Path(path_type=Path)
_COLUMNS = {"name": "name", "method": "method", "who": "who", "models": "models", "until": "until", "state": "state"}


@click.group()
def signer() -> None:
    """Signers outside: whose word about a training elsewhere is believed, for which models, until when."""


@signer.command("add")
@click.argument("name")
@click.option("--key", type=_file, help="The signer's public key (PEM).")
@click.option("--roots", type=_file, help="Certificates that the signer's must lead to (PEM); with --identity.")
@click.option("--identity", default="", help="A name in the certificate; or who signs through Sigstore.")
@click.option("--issuer", default="", help="Sigstore: who knows that identity, as a URL.")
@click.option("--revoked", type=_file, multiple=True, help="A list of revoked certificates; may be repeated.")
@click.option("--timestamp-roots", type=_file, help="Certificates of timestamp authorities (PEM).")
@click.option("--trusted-root", type=_file, help="Sigstore's trusted_root.json.  [default: as shipped]")
@click.option("--model", "models", multiple=True, required=True, help="For this model; may be repeated; * for all.")
@click.option("--builder", "builders", multiple=True, help="Only for trainings by this builder's URI.")
@click.option("--script", "scripts", type=_file, multiple=True, help="Only for trainings with this script.")
@click.option("--environment", "environments", type=_file, multiple=True, help="Only with this lock file.")
@click.option("--expires", default="90d", show_default=True, help="As in 30d; at most 366d.")
@click.option("--reason", default="", help="Why; it goes into the audit log.")
@json_option
@pass_session
def add(session: Session, /, name: str, expires: str, reason: str, as_json: bool, **said: Any) -> None:
    """Believe what a signer says of trainings elsewhere, until it expires."""
    trust = {
        "key": _pem(said["key"]),
        "roots": _pem(said["roots"]),
        "identity": said["identity"],
        "issuer": said["issuer"],
        "revoked": [_crl(one) for one in said["revoked"]],
        "timestamp_roots": _pem(said["timestamp_roots"]),
        "trusted_root": _pem(said["trusted_root"]),
        "models": list(said["models"]),
        "builders": list(said["builders"]),
        "scripts": [digest_at(one) for one in said["scripts"]],
        "environments": [digest_at(one) for one in said["environments"]],
    }
    with session.client() as casemate:
        made = casemate.signers.add(name, trust, expires=expires, reason=reason)
    output.show(made, as_json, output.facts)


@signer.command("list")
@json_option
@pass_session
def list_signers(session: Session, as_json: bool) -> None:
    """All signers that were not removed, and until when each is trusted."""
    with session.client() as casemate:
        rows = casemate.signers.all()

    def human(value: list[dict[str, Any]]) -> None:
        told = [row | {"who": row["who"][:40], "models": ", ".join(row["models"])} for row in value]
        output.table(told, _COLUMNS, empty="None: casemate signer add NAME --key FILE --model MODEL")

    output.show(rows, as_json, human)


@signer.command("remove")
@click.argument("name")
@revoking
@json_option
@pass_session
def remove(session: Session, name: str, reason: str, cascade: bool, as_json: bool) -> None:
    """Believe a signer no more. What was pushed under its word stays, unless --cascade ends that, too."""
    with session.client() as casemate:
        result = casemate.signers.remove(name, reason=reason, cascade=cascade)
    output.show(result, as_json, say_revoked)


def _pem(path: Path | None) -> str:
    """Raises: InputError: it is no text."""
    if path is None:
        return ""
    try:
        return read_small(path).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text: bring it in PEM form.", code="bad-certificate") from error


def _crl(path: Path) -> str:
    """As PEM, whatever form it came in."""
    from cryptography.hazmat.primitives.serialization import Encoding

    from casemate.signing.certificates import load_revocations

    return load_revocations(read_small(path)).public_bytes(Encoding.PEM).decode()
