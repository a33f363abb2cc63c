"""`casemate model sign PATH` and `casemate model verify PATH`: signatures on files that lie in no home."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from casemate.cli import output
from casemate.cli.approver_commands import asked_passphrase, passphrase_option
from casemate.cli.output import json_option
from casemate.core import InputError, UpstreamError, Verdict, refused_by_system, rfc3339
from casemate.signing.outside import Judge

_file = click.Path(path_type=Path)
_MAX = 16 << 20  # bytes of a signature, a key, certificates or a configuration
_STAMP_TIMEOUT = 30.0  # s for a timestamp authority


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBy:
    """Whom the caller trusts to have signed, as the options of `model verify` say."""

    signature: Path | None
    key: Path | None
    roots: Path | None
    revoked: tuple[Path, ...]
    timestamp_roots: Path | None
    identity: str
    issuer: str
    trusted_root: Path | None
    ignore: tuple[str, ...]

    @property
    def is_asked(self) -> bool:
        """Whether a folder is meant, not a version of a home."""
        return any(getattr(self, field.name) for field in fields(self))


def signed_by_options(command: Any) -> Any:
    """The options that name a signer of files."""
    for option in reversed(
        (
            click.option(
                "--signature", type=_file, help="Of files on this machine.  [default: PATH/model.sig, PATH.sig]"
            ),
            click.option("--key", type=_file, help="The signer's public key (PEM)."),
            click.option("--roots", type=_file, help="Certificates that the signer's must lead to (PEM)."),
            click.option(
                "--revoked", type=_file, multiple=True, help="A list of revoked certificates; may be repeated."
            ),
            click.option("--timestamp-roots", type=_file, help="Certificates of timestamp authorities (PEM)."),
            click.option("--identity", default="", help="Who signed through Sigstore: an address or a workflow's URI."),
            click.option("--issuer", default="", help="Who knows that identity: the URL of an OpenID Connect issuer."),
            click.option("--trusted-root", type=_file, help="Sigstore's trusted_root.json.  [default: as shipped]"),
            click.option(
                "--ignore", multiple=True, metavar="PATH", help="Within the folder: not signed, and not loaded."
            ),
        )
    ):
        command = option(command)
    return command


def verify_files_at(path: Path, by: SignedBy, *, as_json: bool) -> None:
    """Say whether what lies at `path` is what a trusted signer signed. Exit 1 where it is not."""
    from casemate.signing.folders import check_folder, read_listing

    signature = by.signature or _beside(path)
    ignore = (*by.ignore, *_inside(signature, path))
    bundle = read_small(signature)
    with output.sending(f"reading {path.name}") as progress:
        signed = _judge(by).open(bundle, now=datetime.now(UTC))
        files = check_folder(path, read_listing(signed.payload), ignore=ignore, progress=progress)
    result = {
        "verdict": Verdict.CLEAN,
        "path": str(path),
        "method": signed.method,
        "signer": signed.signer,
        "signed_at": rfc3339(signed.at) if signed.at else None,
        "files": len(files),
        "ignored": sorted(ignore),
    }
    output.show(result, as_json, _say)


@click.command("sign")
@click.argument("path", type=_file)
@click.option("--signature", type=_file, help="Where it goes.  [default: PATH/model.sig, PATH.sig]")
@click.option("--key", type=_file, help="Your signing key (casemate approver new).")
@passphrase_option
@click.option("--certificates", type=_file, help="Of that key, itself first (PEM).")
@click.option(
    "--timestamp", metavar="URL", help="A timestamp authority (RFC 3161), so that it outlives the certificate."
)
@click.option("--identity-token", type=_file, help="Keyless: holds an OpenID Connect token for Sigstore.")
@click.option("--sigstore", type=_file, help="Keyless: Sigstore's client configuration.  [default: the public one]")
@click.option("--ignore", multiple=True, metavar="PATH", help="Within the folder: left out of the signature.")
@json_option
def sign_model(
    path: Path,
    signature: Path | None,
    key: Path | None,
    passphrase_file: Path | None,
    certificates: Path | None,
    timestamp: str | None,
    identity_token: Path | None,
    sigstore: Path | None,
    ignore: tuple[str, ...],
    as_json: bool,
) -> None:
    """Sign a model file or folder on this machine, for whoever gets it. What is pushed to a home is signed by the home.

    The signature follows OpenSSF Model Signing 1.0: `casemate model verify PATH` and `model_signing verify` read it.
    """
    from casemate.signing import OwnKey
    from casemate.signing.bundle import files_statement
    from casemate.signing.certificates import load_certificates
    from casemate.signing.folders import digests_of
    from casemate.signing.outside_signing import sign_keyless, sign_with_key

    if (key is None) == (identity_token is None) or (sigstore and not identity_token):
        raise click.UsageError("Sign with --key FILE, or keyless with --identity-token FILE.")
    if timestamp and not certificates:
        raise click.UsageError("A timestamp dates a certificate: name --certificates FILE, too.")
    to = signature or _beside(path)
    with output.sending(f"reading {path.name}") as progress:
        files = digests_of(path, ignore=(*ignore, *_inside(to, path)), progress=progress)
    statement = files_statement(path.resolve().name, files)
    if identity_token is not None:
        token = read_small(identity_token).decode(errors="replace").strip()
        with output.working("signing as your identity"):
            bundle = sign_keyless(statement, token=token, config=read_small(sigstore) if sigstore else None)
    elif key is not None:
        bundle = sign_with_key(
            statement,
            OwnKey.open(read_small(key.expanduser()), asked_passphrase(passphrase_file)),
            chain=load_certificates(read_small(certificates), "file of certificates") if certificates else (),
            stamp=(lambda query: timestamped(timestamp, query)) if timestamp else None,
            now=datetime.now(UTC),
        )
    try:
        to.write_bytes(bundle)
    except OSError as error:
        raise refused_by_system(error) from error
    output.show({"signature": str(to), "files": len(files)}, as_json, output.facts)


def _judge(by: SignedBy) -> Judge:
    """Raises: InputError: not exactly one way to know the signer is named."""
    from casemate.signing.certificates import load_certificates, load_revocations
    from casemate.signing.outside import CertificateJudge, IdentityJudge, PublicKeyJudge

    keyless = bool(by.identity or by.issuer or by.trusted_root)
    if [by.key is not None, by.roots is not None, keyless].count(True) != 1:
        raise click.UsageError("Name the signer in one way: --key FILE, --roots FILE, or --identity WHO --issuer URL.")
    if by.key is not None:
        return PublicKeyJudge(read_small(by.key))
    if by.roots is not None:
        return CertificateJudge(
            load_certificates(read_small(by.roots), "file of roots"),
            revoked=[load_revocations(read_small(one)) for one in by.revoked],
            timestamp_roots=load_certificates(read_small(by.timestamp_roots), "file of timestamp roots")
            if by.timestamp_roots
            else (),
        )
    if not (by.identity and by.issuer):
        raise click.UsageError("An identity needs its issuer: --identity WHO --issuer URL.")
    logging.getLogger("sigstore").setLevel(logging.ERROR)  # that it stays off the network is what is wanted
    return IdentityJudge(by.identity, by.issuer, read_small(by.trusted_root) if by.trusted_root else None)


def _beside(path: Path) -> Path:
    """Where the upstream tool writes a folder's signature, and ours a file's."""
    return path / "model.sig" if path.is_dir() else path.with_name(path.name + ".sig")


def _inside(signature: Path, path: Path) -> tuple[str, ...]:
    """The signature's own place within the folder, which it cannot cover."""
    try:
        return (signature.resolve().relative_to(path.resolve()).as_posix(),) if path.is_dir() else ()
    except ValueError:
        return ()


def read_small(path: Path) -> bytes:
    """Raises: InputError: it cannot be read, or is no small file."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX + 1)
    except OSError as error:
        raise refused_by_system(error) from error
    if len(data) > _MAX:
        raise InputError(f"{path} is over {_MAX >> 20} MiB: it is not what was asked for.", code="too-large")
    return data


def timestamped(url: str, query: bytes) -> bytes:
    """Raises: UpstreamError `bad-timestamp`: the authority is away or refuses."""
    import httpx

    try:
        answer = httpx.post(
            url,
            content=query,
            headers={"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"},
            timeout=_STAMP_TIMEOUT,
            follow_redirects=False,
        )
        if answer.status_code != httpx.codes.OK:
            raise UpstreamError(f"The timestamp authority answered {answer.status_code}.", code="bad-timestamp")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UpstreamError(
            f"The timestamp authority cannot be reached ({type(error).__name__}): nothing was written.",
            code="bad-timestamp",
        ) from error
    return answer.content


def _say(result: dict[str, Any]) -> None:
    when = f", proven at {result['signed_at']}" if result["signed_at"] else ""
    output.say(f"{result['files']} file(s) are what {result['signer']} signed ({result['method']}{when}).")
    if result["ignored"]:
        output.people.print(f"Not looked at: {', '.join(result['ignored'])}.", markup=False)
