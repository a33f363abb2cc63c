"""The keeper as its other processes reach it: over sockets, each kind of call with a connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from casemate.app.ground import DataKeysPort, SigningPort, TokensPort
from casemate.core import Event, EventSink
from casemate.core.wire import Caller
from casemate.keys import Head, KeyService, Purpose, RemoteKeys
from casemate.registry import Approvers
from casemate.storage import Rewrapped

_LOOK = 5.0  # seconds for the keeper to tell its head, which asks no key service; who has not looked for so long lets nobody in
_UNWRAPPED = 60.0  # seconds for a key service to answer, its own retries among them


class RemoteKeeper:
    """The keeper of a running server, over its Unix socket."""

    def __init__(self, socket: Path, keys: Callable[[Caller], KeyService] = RemoteKeys) -> None:
        # Connections of their own: neither a slow key service nor a slow commit holds up a look at the signed state.
        self._caller = Caller(socket)
        self._looks = RemoteKeys(Caller(socket, timeout=_LOOK))
        self.keys: KeyService = keys(Caller(socket, timeout=_UNWRAPPED))
        self.data_keys: DataKeysPort = _RemoteDataKeys(socket)
        self.signing: SigningPort = _RemoteSigning(Caller(socket))
        self.tokens: TokensPort = _RemoteTokens(Caller(socket, timeout=_LOOK))
        self.sink: EventSink = _RemoteLog(Caller(socket))

    def public_pem(self, purpose: Purpose) -> bytes:
        return self._looks.public_pem(purpose)

    def head(self) -> Head:
        return self._looks.head()

    def commit(self, entries: list[tuple[str, dict[str, Any]]], intent: str) -> int:
        return int(self._caller.call("ledger.append", entries, intent))

    def approvers(self) -> Approvers:
        return msgspec.json.decode(self._caller.call("approvers.read"), type=Approvers)

    def kept_checkpoint(self) -> str | None:
        kept = self._caller.call("log.kept")
        return str(kept) if kept else None


class _RemoteLog:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._encoder = msgspec.msgpack.Encoder()

    def append(self, events: list[Event]) -> None:
        self._caller.call("log.append", self._encoder.encode(events))


class _RemoteSigning:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def show(self) -> dict[str, Any]:
        return dict(self._caller.call("signing.show"))

    def move(self, provider: str, settings: dict[str, str], intent: str) -> dict[str, Any]:
        return dict(self._caller.call("signing.move", provider, settings, intent))


class _RemoteTokens:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def issue(self, claims: bytes) -> str:
        return str(self._caller.call("tokens.issue", claims))

    def jwks(self) -> dict[str, Any]:
        return dict(self._caller.call("tokens.keys"))

    def spend(self, name: str, until: int) -> None:
        self._caller.call("tokens.spend", name, until)


class _RemoteDataKeys:
    """A rotation may take minutes, so it has a connection of its own; `show` tells meanwhile how far it is."""

    def __init__(self, socket: Path) -> None:
        self._shown, self._changed = Caller(socket), Caller(socket)

    def show(self) -> dict[str, Any]:
        return dict(self._shown.call("data_keys.show"))

    def rotate(self) -> Rewrapped:
        return msgspec.convert(self._changed.call("data_keys.rotate"), Rewrapped)

    def retire(self) -> Rewrapped:
        return msgspec.convert(self._changed.call("data_keys.retire"), Rewrapped)
