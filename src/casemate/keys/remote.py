"""The keeper in another process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from casemate.core import PolicyError
from casemate.core.wire import Caller
from casemate.keys.keeper import Head, Keeper, Purpose


class RemoteKeys:
    """A KeyService over the wire. Raises, beside what the keeper does: StorageError `not-running`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._checks = caller.another()  # asked inside a commit, which must not wait for a slow key service

    def wrap(self, key: bytes, context: bytes) -> bytes:
        return bytes(self._caller.call("keys.wrap", key, context))

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        return bytes(self._caller.call("keys.unwrap", wrapped, context))

    def check_kept(self, wrapped: list[bytes]) -> None:
        self._checks.call("keys.check_kept", wrapped)

    def sign(self, purpose: Purpose, payload: bytes) -> bytes:
        return bytes(self._caller.call("keys.sign", purpose, payload))

    def public_pem(self, purpose: Purpose) -> bytes:
        return bytes(self._caller.call("keys.public_pem", purpose))

    def head(self) -> Head:
        """The newest head of the ledger that the keeper keeps."""
        number, digest = self._caller.call("keys.head")
        return Head(int(number), str(digest))


def key_methods(keeper: Keeper) -> dict[str, Callable[..., Any]]:
    """What a keeper's process answers to `RemoteKeys`. Ledger heads and log roots are not signed for others.

    A keeper that serves a gateway replaces `keys.unwrap` by one that knows which data keys the gateway may have.
    """
    return {
        "keys.wrap": keeper.wrap,
        "keys.unwrap": keeper.unwrap,
        "keys.check_kept": keeper.check_kept,
        "keys.sign": lambda purpose, payload: keeper.sign(_for_others(purpose), payload),
        "keys.public_pem": lambda purpose: keeper.public_pem(Purpose(purpose)),
        "keys.head": lambda: _fields(keeper.head()),
    }


def _for_others(purpose: str) -> Purpose:
    if purpose != Purpose.RELEASE:
        raise PolicyError("The keeper signs log roots and ledger heads for itself only.", code="keeper-only")
    return Purpose.RELEASE


def _fields(head: Head) -> tuple[int, str]:
    return head.number, head.digest
