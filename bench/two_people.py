"""Two people who approve a model for `strict`: invited, enrolled, with keys of their own that are pinned."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyotp

from casemate.client import Casemate
from casemate.signing import OwnKey, encode_envelope

WORDS = "tidal-gravel-otter-plinth"
_CARD = (
    'intended_use = "a benchmark"\nowner = "bench"\nlicence = "Apache-2.0"\nlimits = "none measured"\n'
    '[[metrics]]\nname = "accuracy"\nvalue = 0.9\n'
)


def approve(control: str, ca: Path, run: Callable[..., dict[str, Any]], ref: str, folder: Path) -> None:
    """Args: control: a running server's address. run: a command on its home. folder: for the public keys."""
    (folder / "card.toml").write_text(_CARD)  # strict asks for it, too
    run("model", "describe", ref, str(folder / "card.toml"))
    for name in ("ada", "ben"):
        invitation, key = (
            run("user", "invite", name, "--role", "approver", "--reason", "bench")["invitation"],
            OwnKey.make(),
        )
        with Casemate(server=control, ca=ca) as stranger:
            secret = stranger.people.begin(invitation, WORDS)["secret"]
            token = stranger.people.confirm(invitation, pyotp.TOTP(secret).now())["token"]
        (folder / f"{name}.pub").write_bytes(key.public_pem)
        run("approver", "pin", name, str(folder / f"{name}.pub"))
        with Casemate(server=control, ca=ca, key=token) as person:
            payload = base64.b64decode(person.approval_words(ref)["payload"])
            person.approve(ref, envelope=encode_envelope(key.sign(payload)).decode())
