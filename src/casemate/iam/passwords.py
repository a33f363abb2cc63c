"""Passwords: which may be chosen, and their argon2id hashes, no more of them at once than the machine bears.

Sources: NIST SP 800-63B-4, section 3.1.1 (length, Unicode, blocklist, no composition rules); RFC 9106, section 4 (the second
recommended choice: 64 MiB, three passes, four lanes); OWASP ASVS 5.0, V6.2.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from casemate.core import InputError, LimitError

SHORTEST, LONGEST = 12, 128  # characters
_ENOUGH = (
    10**8
)  # guesses, as zxcvbn estimates them: what is under it falls to a list of common passwords and their variants
_LOOKED_AT = 72  # characters; zxcvbn's work grows with their square
_OURS = ("casemate", "password", "owner", "admin")


class PasswordConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of one hash. Safe as it stands; tests take less. Measured in docs/benchmarks.md."""

    memory: int = 64 << 10  # KiB
    passes: int = 3
    lanes: int = 4
    at_once: int = 2  # hashes: 128 MiB and both processors of a small machine
    wait: float = 3.0  # seconds for a place, before a sign-in is asked to come back


class Passwords:
    """Hashes and verifies, from many threads; `worked` counts the hashes that were computed."""

    def __init__(self, config: PasswordConfig | None = None) -> None:
        config = config or PasswordConfig()
        self._hasher = PasswordHasher(config.passes, config.memory, config.lanes, type=Type.ID)
        self._places = threading.BoundedSemaphore(config.at_once)
        self._wait = config.wait
        self.worked = 0
        self._decoy = self._hasher.hash("nobody's")  # what is verified where nobody is

    def hash(self, password: str) -> str:
        """The argon2id hash in its own notation. Raises: LimitError `sign-in-busy`."""
        with self._place():
            return self._hasher.hash(normal(password))

    def verify(self, hashed: str | None, password: str) -> bool:
        """Whether it is the password; takes the same work where there is none. Raises: LimitError `sign-in-busy`."""
        with self._place():
            try:
                self._hasher.verify(hashed or self._decoy, normal(password)[: LONGEST * 4])
            except (VerifyMismatchError, VerificationError, InvalidHashError):
                return False
            return hashed is not None

    def costs_other(self, hashed: str) -> bool:
        """Whether a hash was made at another cost than today's."""
        return self._hasher.check_needs_rehash(hashed)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(timeout=self._wait):
            raise LimitError(
                "Too many people sign in at this moment: try again in a few seconds.",
                retry_after=self._wait,
                code="sign-in-busy",
            )
        try:
            self.worked += 1
            yield
        finally:
            self._places.release()


def check_password(password: str, *, name: str) -> None:
    """Return if it may be chosen by the person `name`. Raises: InputError (weak-password), saying what to change."""
    text = normal(password)
    if not SHORTEST <= len(text) <= LONGEST:
        raise _weak(f"has {len(text)} characters; {SHORTEST} to {LONGEST} are allowed")
    folded = text.casefold()
    if any(word in folded for word in (name.casefold(), *_OURS) if len(word) >= 4):
        raise _weak("holds your name or a word of Casemate's own")
    from zxcvbn import zxcvbn  # some 2 MB of lists that only this needs

    if int(zxcvbn(text[:_LOOKED_AT], user_inputs=[name, *_OURS])["guesses"]) < _ENOUGH:
        raise _weak("is too common or too regular, and would be guessed soon")


def normal(password: str) -> str:
    """The same bytes for the same characters, however a keyboard composes them. Source: RFC 8265, section 4.2; NFKC."""
    return unicodedata.normalize("NFKC", password.encode(errors="replace").decode())


def _weak(why: str) -> InputError:
    return InputError(f"This password {why}: take four or five unrelated words.", code="weak-password")
