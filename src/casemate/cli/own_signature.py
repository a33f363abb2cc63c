"""Signs an approval with a key of one's own: only what the person was shown, and only what says what they asked for."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import click

from casemate.core import DEFAULT_PROJECT, AssetKind, Digest, InputError, VerificationError
from casemate.signing import OwnKey, Predicate, VersionIdentity, encode_envelope, read_statement


def sign_words(words: dict[str, Any], ref: str, environment: str, *, key_file: Path, passphrase: str) -> str:
    """The envelope around what the control plane asks to be signed, if it is an approval of `ref` for `environment`.

    Raises: InputError: the key cannot be opened. VerificationError `approval-mismatch`: it asks for something else.
    """
    try:
        pem = key_file.expanduser().read_bytes()
    except OSError as error:
        raise InputError(f"The key {key_file} cannot be read ({error.strerror}).", code="bad-private-key") from error
    key = OwnKey.open(pem, passphrase)
    payload = base64.b64decode(words["payload"])
    name, _, number = ref.partition("@")
    about = VersionIdentity(
        project=DEFAULT_PROJECT, kind=AssetKind.MODEL, name=name, number=int(number), digest=Digest(words["digest"])
    )
    said = read_statement(payload, Predicate.APPROVAL, about, keyid=key.keyid)
    if said.facts != {"home": words["home"], "environment": environment, "approver": words["approver"]}:
        raise VerificationError(
            "The control plane asks for a signature under something else than what it shows: nothing was signed.",
            code="approval-mismatch",
        )
    return encode_envelope(key.sign(payload)).decode()


def check_shown(words: dict[str, Any], digest: str | None, environment: str) -> None:
    """That the person knows which content they approve: they state its digest, or see it and agree.

    Raises: VerificationError `digest-mismatch`; InputError `no-digest`: nobody is there to ask.
    """
    shown = f"{words['name']}@{words['version']}, {words['digest']}, for {environment} in {words['home']}"
    if digest is not None:
        if digest != words["digest"]:
            raise VerificationError(
                f"It is {words['digest']}, and not what you named: nothing was signed.", code="digest-mismatch"
            )
        return
    if not sys.stdin.isatty():
        raise InputError(f"State which content you approve: --digest {words['digest']}", code="no-digest")
    click.confirm(f"You sign: {shown}. Is it what you examined?", abort=True, err=True)
