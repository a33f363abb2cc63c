"""Signs an approval with a key of one's own: only what the person was shown, and only what says what they asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import click
import msgspec

from casemate.core import DEFAULT_PROJECT, AssetKind, Digest, InputError, VerificationError, parse_ref
from casemate.signing import OwnKey, Predicate, VersionIdentity, encode_envelope, read_statement, strict_base64

_Id = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_:]{1,80}\Z")]


class _Words(msgspec.Struct, frozen=True, kw_only=True):
    """What the control plane asks to be signed. Nothing in it can move a terminal's cursor or hide what stands there."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,63}\Z")]
    version: Annotated[int, msgspec.Meta(gt=0)]
    digest: Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
    home: _Id
    approver: _Id
    payload: str

    @property
    def about(self) -> VersionIdentity:
        return VersionIdentity(
            project=DEFAULT_PROJECT,
            kind=AssetKind.MODEL,
            name=self.name,
            number=self.version,
            digest=Digest(self.digest),
        )


def sign_words(words: dict[str, Any], ref: str, environment: str, *, key_file: Path, passphrase: str) -> str:
    """The envelope around what the control plane asks to be signed, if it is an approval of `ref` for `environment`.

    Raises: InputError: the key cannot be opened. VerificationError `approval-mismatch`: it asks for something else;
        `signature-malformed`, `digest-mismatch`.
    """
    asked = _of(words, ref)
    try:
        pem = key_file.expanduser().read_bytes()
    except OSError as error:
        raise InputError(f"The key {key_file} cannot be read ({error.strerror}).", code="bad-private-key") from error
    key = OwnKey.open(pem, passphrase)
    payload = strict_base64(asked.payload)
    said = read_statement(payload, Predicate.APPROVAL, asked.about, keyid=key.keyid)
    if said.facts != {"home": asked.home, "environment": environment, "approver": asked.approver}:
        raise _mismatch("a signature under something else than what it shows")
    return encode_envelope(key.sign(payload)).decode()


def check_shown(words: dict[str, Any], ref: str, digest: str | None, environment: str) -> None:
    """That the person knows which content they approve: they state its digest, or see it and agree.

    Raises: VerificationError `approval-mismatch`, `digest-mismatch`; InputError `no-digest`: nobody is there to ask.
    """
    asked = _of(words, ref)
    if digest is not None:
        if digest != asked.digest:
            raise VerificationError(
                f"It is {asked.digest}, and not what you named: nothing was signed.", code="digest-mismatch"
            )
        return
    if not sys.stdin.isatty():
        raise InputError(f"State which content you approve: --digest {asked.digest}", code="no-digest")
    shown = f"{asked.name}@{asked.version}, {asked.digest}, for {environment} in {asked.home}"
    click.confirm(f"You sign: {shown}. Is it what you examined?", abort=True, err=True)


def _of(words: dict[str, Any], ref: str) -> _Words:
    """The words, if they are about the version that the person named. Raises: VerificationError `approval-mismatch`."""
    wanted = parse_ref(ref)
    try:
        asked = msgspec.convert(words, _Words)
    except msgspec.ValidationError as error:
        raise _mismatch("a signature under what no approval holds") from error
    if (asked.about.project, asked.name) != (wanted.project, wanted.name) or wanted.version not in (
        asked.version,
        asked.digest,
    ):
        raise _mismatch(f"a signature for {asked.name}@{asked.version}, which is not {ref}")
    return asked


def _mismatch(what: str) -> VerificationError:
    return VerificationError(f"The control plane asks for {what}: nothing was signed.", code="approval-mismatch")
