"""Challenges that a passkey signs: 32 random bytes, each for one ceremony, one visitor, one answer, and two minutes.

A challenge lies in a sealed row until it is answered; whatever the answer is worth, it is gone then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from casemate.iam.sessions import Rows

LIFE = timedelta(minutes=2)  # WebAuthn Level 3, section 15.1: 5 minutes at most where a person is verified
BYTES = 32  # section 13.4.3: 16 at least


class Ceremony(StrEnum):
    """What a challenge is for; it is good for nothing else."""

    SIGN_IN = "sign-in"
    VERIFY = "verify"
    ADD = "add"
    ENROL = "enrol"


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """Args: bound: hash of whom it was given to: a browser's cookie, a session, an invitation."""

    ceremony: Ceremony
    bound: str


class Challenges:
    """Those of one home, for use from many threads. Args: random_bytes: from the kernel, but in tests."""

    def __init__(self, rows: Rows, random_bytes: Callable[[int], bytes]) -> None:
        self._rows, self._random = rows, random_bytes

    def give(self, ceremony: Ceremony, *, to: str, now: datetime) -> bytes:
        """A new challenge. Args: to: what only whoever answers can show, a secret or an id that was authenticated."""
        self._rows.forget(now=now)
        challenge = self._random(BYTES)
        self._rows.put(_row(challenge), Challenge(ceremony=ceremony, bound=_hash(to)), ends_at=now + LIFE)
        return challenge

    def take(self, challenge: bytes, ceremony: Ceremony, *, by: str, now: datetime) -> bool:
        """Whether it was given for this, to whoever answers, and was not answered yet. It is used up either way."""
        taken: Challenge | None = None

        def gone(found: Challenge | None) -> None:
            nonlocal taken
            taken = found

        self._rows.change(_row(challenge), Challenge, gone, now=now, ends_at=now)
        return taken == Challenge(ceremony=ceremony, bound=_hash(by)) if by else False


def _row(challenge: bytes) -> str:
    return "challenge:" + hashlib.sha256(challenge).hexdigest()[:48]


def _hash(text: str) -> str:
    return hashlib.sha256(f"casemate challenge {text}".encode(errors="replace")).hexdigest()
