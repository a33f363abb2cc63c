"""The keeper in another process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from casemate.core.wire import Caller
from casemate.keys.keeper import Keeper, Purpose


class RemoteKeys:
    """A KeyService over the wire. Raises, beside what the keeper does: StorageError `not-running`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def wrap(self, key: bytes, context: bytes) -> bytes:
        return bytes(self._caller.call("keys.wrap", key, context))

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        return bytes(self._caller.call("keys.unwrap", wrapped, context))

    def sign(self, purpose: Purpose, payload: bytes) -> bytes:
        return bytes(self._caller.call("keys.sign", purpose, payload))


def key_methods(keeper: Keeper) -> dict[str, Callable[..., Any]]:
    """What a keeper's process answers to `RemoteKeys`. Ledger heads and log roots are not signed for others."""
    return {
        "keys.wrap": keeper.wrap,
        "keys.unwrap": keeper.unwrap,
        "keys.sign": lambda purpose, payload: keeper.sign(_for_others(purpose), payload),
    }


def _for_others(purpose: str) -> Purpose:
    if purpose != Purpose.RELEASE:
        raise ValueError(purpose)
    return Purpose.RELEASE
