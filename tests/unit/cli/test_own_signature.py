"""What an approver signs at the command line: only what they asked for, and shown so that no server can hide it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from casemate.cli import own_signature
from casemate.cli.own_signature import check_shown, sign_words
from casemate.core import AssetKind, CasemateError, Digest, Environment
from casemate.registry.own_approvals import words as words_of
from casemate.signing import OwnKey, VersionIdentity, decode_envelope

GOOD, EVIL = Digest("sha256:" + "a" * 64), Digest("sha256:" + "e" * 64)
PASSPHRASE = "correct horse battery"


def told(**change: Any) -> dict[str, Any]:
    """As an honest control plane answers for risk@3 in production."""
    about = VersionIdentity(project="default", kind=AssetKind.MODEL, name="risk", number=3, digest=GOOD)
    payload = words_of("home_1", about, Environment.PRODUCTION, "usr_ben", at=datetime(2026, 1, 1, tzinfo=UTC))
    honest = {
        "name": "risk",
        "version": 3,
        "digest": GOOD,
        "environment": "production",
        "home": "home_1",
        "approver": "usr_ben",
        "payload": base64.b64encode(payload).decode(),
    }
    return honest | change


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "approver.pem"
    path.write_bytes(OwnKey.make().sealed_pem(PASSPHRASE))
    return path


def signs(words: dict[str, Any], key_file: Path, *, ref: str = "risk@3", environment: str = "production") -> str:
    return sign_words(words, ref, environment, key_file=key_file, passphrase=PASSPHRASE)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the person at a terminal sees, who agrees to everything."""
    seen: list[str] = []

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(own_signature.sys, "stdin", Terminal())
    monkeypatch.setattr(click, "confirm", lambda text, **_: seen.append(text))
    return seen


@pytest.mark.parametrize("ref", ["risk@3", f"risk@{GOOD}"])
def test_what_was_asked_for_is_shown_and_signed(key_file: Path, shown: list[str], ref: str) -> None:
    check_shown(told(), ref, None, "production")
    assert all(part in shown[0] for part in ("risk@3", GOOD, "production", "home_1"))
    assert decode_envelope(signs(told(), key_file, ref=ref).encode()).signatures[0].keyid


HIDING = f"risk@3, {GOOD}, for production in home_1. Is it what you examined? [y/N]: \x1b[8m"


@pytest.mark.parametrize(
    "lie",
    [
        {"name": HIDING, "digest": EVIL},
        {"name": "other"},
        {"version": 4},
        {"version": f"3, {GOOD}\x1b[8m"},
        {"version": True},
        {"digest": f"{GOOD}\x1b[8m"},
        {"digest": "sha256:short"},
        {"home": "home_1\r\x1b[2K"},
        {"home": 1},
        {"home": None},
    ],
)
def test_a_server_cannot_hide_what_is_signed(shown: list[str], lie: dict[str, Any]) -> None:
    with pytest.raises(CasemateError) as caught:
        check_shown(told(**lie), "risk@3", None, "production")
    assert "nothing was signed" in caught.value.message
    assert shown == []


def test_another_digest_than_the_one_that_the_reference_names_is_refused(shown: list[str]) -> None:
    with pytest.raises(CasemateError) as caught:
        check_shown(told(), f"risk@{EVIL}", None, "production")
    assert "nothing was signed" in caught.value.message
    assert shown == []


@pytest.mark.parametrize("payload", ["", "not base64", "bm90IGpzb24=", 7, None])
def test_words_that_cannot_be_read_are_refused_in_a_sentence(key_file: Path, payload: object) -> None:
    with pytest.raises(CasemateError):
        signs(told(payload=payload), key_file)


def test_what_is_signed_is_what_was_asked_for(key_file: Path) -> None:
    for change in ({"environment": "staging"}, {"ref": "risk@4"}, {"ref": "other@3"}):
        with pytest.raises(CasemateError):
            signs(told(), key_file, **change)
    with pytest.raises(CasemateError):
        signs(told(digest=EVIL), key_file)
    with pytest.raises(CasemateError):
        signs(told(home="home_2"), key_file)
