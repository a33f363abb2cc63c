"""What every process of a home stands on: its database, its signed state, and a way to the keeper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sqlalchemy import Engine

from casemate.auditlog import Log, LogReader
from casemate.core import Event, EventSink, SystemClock, VerificationError, parse_rfc3339, rfc3339
from casemate.core.wire import Caller
from casemate.keys import Head, Keeper, KeyService, Purpose, RemoteKeys, key_methods
from casemate.registry import Stores
from casemate.settings import Settings
from casemate.storage import BlobStore, Home, Ledger, LedgerPen, Quota, RowCipher, open_home, unwrap_state_key

Commit = Callable[[list[tuple[str, dict[str, Any]]], str], int]
_EVENTS = msgspec.msgpack.Decoder(list[Event])


class KeeperPort(Protocol):
    """The keeper's pen and keys, in this process or not."""

    @property
    def keys(self) -> KeyService: ...
    @property
    def sink(self) -> EventSink: ...
    def public_pem(self, purpose: Purpose) -> bytes: ...
    def commit(self, entries: list[tuple[str, dict[str, Any]]], intent: str) -> int: ...
    def kept_checkpoint(self) -> str | None: ...
    def head(self) -> Head: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Open for reading; what changes anything goes through `keeper`."""

    settings: Settings
    home: Home
    engine: Engine
    clock: SystemClock
    ledger: Ledger
    log: LogReader
    keeper: KeeperPort
    stores: Stores


def keys_folder(settings: Settings, home: Home) -> Path:
    return settings.keys / home.id


def origin_of(home: Home) -> str:
    """The name of a home's audit log in its checkpoints."""
    return f"casemate.dev/{home.id}"


def open_ground(settings: Settings, keeper: KeeperPort, *, read_only: bool) -> Ground:
    """Open a home over a keeper. Raises: NotFoundError, StorageError, VerificationError."""
    home = open_home(settings.home)
    engine = home.open_database(read_only=read_only)
    public = checkpoint_key(keeper.public_pem(Purpose.CHECKPOINT))
    log = LogReader(engine, origin=origin_of(home), public=public)
    clock = clock_of(log)
    key = unwrap_state_key(home.path, home.id, keeper.keys)
    ledger = Ledger(engine, home_id=home.id, key=key, public=public, head=keeper.head)
    quota = Quota(push_bytes=settings.push_bytes, free_bytes=settings.free_bytes)
    blobs = BlobStore(home.blobs, home.tmp, keeper.keys, quota)
    return Ground(
        settings=settings,
        home=home,
        engine=engine,
        clock=clock,
        ledger=ledger,
        log=log,
        keeper=keeper,
        stores=Stores(engine=engine, blobs=blobs, state=ledger, clock=clock, cipher=RowCipher(key)),
    )


def checkpoint_key(pem: bytes) -> Ed25519PublicKey:
    public = load_pem_public_key(pem)
    assert isinstance(public, Ed25519PublicKey), "the keeper's checkpoint key is Ed25519"
    return public


def clock_of(log: LogReader) -> SystemClock:
    """A clock that does not go behind what is on record."""
    latest = log.latest_time()
    return SystemClock(parse_rfc3339(latest) if latest else None)


class LocalKeeper:
    """The keeper in this process. Opening it checks the signed state and the log against what lies beside the keys."""

    def __init__(self, settings: Settings, home: Home) -> None:
        """Raises: StorageError; VerificationError `state-rolled-back`, `state-altered`, `log-altered`."""
        self.keeper = Keeper(keys_folder(settings, home))
        engine = home.open_database()
        public = checkpoint_key(self.keeper.public_pem(Purpose.CHECKPOINT))
        self._clock = clock_of(LogReader(engine, origin=origin_of(home), public=public))
        key = unwrap_state_key(home.path, home.id, self.keeper)
        ledger = Ledger(engine, home_id=home.id, key=key, public=public)
        self._pen = LedgerPen(engine, ledger, self.keeper, home_id=home.id, key=key)
        self.log = Log(engine, keeper=self.keeper, origin=origin_of(home), public=public, clock=self._clock)

    @property
    def keys(self) -> KeyService:
        return self.keeper

    @property
    def sink(self) -> EventSink:
        return self.log

    def public_pem(self, purpose: Purpose) -> bytes:
        return self.keeper.public_pem(purpose)

    def commit(self, entries: Sequence[tuple[str, dict[str, Any]]], intent: str) -> int:
        return self._pen.append([(kind, body) for kind, body in entries], intent, rfc3339(self._clock.now()))

    def kept_checkpoint(self) -> str | None:
        return self.keeper.kept_checkpoint()

    def head(self) -> Head:
        return self.keeper.head()

    def methods(self) -> dict[str, Callable[..., Any]]:
        """What the control plane may ask over the wire."""
        return {
            **key_methods(self.keeper),
            "log.append": lambda events: self.log.append(_decoded(events)),
            "ledger.append": self.commit,
            "log.kept": self.kept_checkpoint,
        }


def _decoded(events: bytes) -> list[Event]:
    try:
        return _EVENTS.decode(events)
    except msgspec.DecodeError as error:
        raise VerificationError("Events of another version of Casemate came in.", code="bad-events") from error


class RemoteKeeper:
    """The keeper of a running server, over its Unix socket."""

    def __init__(self, socket: Path, keys: Callable[[Caller], KeyService] = RemoteKeys) -> None:
        self._caller = Caller(socket)
        self._remote = RemoteKeys(self._caller)
        self.keys: KeyService = keys(self._caller)
        self.sink: EventSink = _RemoteLog(Caller(socket))  # of its own, so that a slow commit holds no key up

    def public_pem(self, purpose: Purpose) -> bytes:
        return self._remote.public_pem(purpose)

    def head(self) -> Head:
        return self._remote.head()

    def commit(self, entries: list[tuple[str, dict[str, Any]]], intent: str) -> int:
        return int(self._caller.call("ledger.append", entries, intent))

    def kept_checkpoint(self) -> str | None:
        kept = self._caller.call("log.kept")
        return str(kept) if kept else None


class _RemoteLog:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._encoder = msgspec.msgpack.Encoder()

    def append(self, events: list[Event]) -> None:
        self._caller.call("log.append", self._encoder.encode(events))
