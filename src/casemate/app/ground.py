"""What every process of a home stands on: its database, its signed state, and a way to the keeper."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sqlalchemy import Engine

from casemate.app.approvers_file import ApproversFile
from casemate.app.pace import AHEAD, Pace
from casemate.app.signing_move import SigningMove, verify_pin
from casemate.app.watched_log import WatchedLog, watch_of
from casemate.auditlog import Log, LogReader
from casemate.core import (
    DEFAULT_PROJECT,
    Event,
    EventSink,
    SystemClock,
    VerificationError,
    new_id,
    parse_rfc3339,
    rfc3339,
)
from casemate.iam import CLOCK, local_owner
from casemate.keys import (
    Head,
    Keeper,
    KeyService,
    Purpose,
    SpentTokens,
    TokenKeys,
    key_methods,
)
from casemate.registry import Approvers, Stores
from casemate.settings import Settings
from casemate.storage import (
    BlobStore,
    DataKeys,
    Home,
    KeptPlace,
    Ledger,
    LedgerPen,
    Quota,
    Rewrapped,
    RowCipher,
    newest_key,
    open_home,
    unwrap_state_key,
)

_EVENTS = msgspec.msgpack.Decoder(list[Event])


class DataKeysPort(Protocol):
    """The home's wrapped data keys, which the keeper alone rewraps."""

    def show(self) -> dict[str, Any]: ...
    def rotate(self) -> Rewrapped: ...
    def retire(self) -> Rewrapped: ...


class SigningPort(Protocol):
    """Where the release key lies, and its move to another place."""

    def show(self) -> dict[str, Any]: ...
    def move(self, provider: str, settings: dict[str, str], intent: str) -> dict[str, Any]: ...


class TokensPort(Protocol):
    """Access tokens, signed, and tokens that count once, used up: both by the keeper alone."""

    def issue(self, claims: bytes) -> str: ...
    def jwks(self) -> dict[str, Any]: ...
    def spend(self, name: str, until: int) -> None: ...


class KeeperPort(Protocol):
    """The keeper's pen and keys, in this process or not."""

    @property
    def signing(self) -> SigningPort: ...

    @property
    def data_keys(self) -> DataKeysPort: ...

    @property
    def tokens(self) -> TokensPort: ...
    @property
    def keys(self) -> KeyService: ...
    @property
    def sink(self) -> EventSink: ...
    def public_pem(self, purpose: Purpose) -> bytes: ...
    def commit(self, entries: list[tuple[str, dict[str, Any]]], intent: str) -> int: ...
    def kept_checkpoint(self) -> str | None: ...
    def head(self) -> Head: ...
    def approvers(self) -> Approvers: ...


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


def home_of(settings: Settings) -> Home:
    """The home that the settings name, over the database that they name. Raises: as `open_home`."""
    return open_home(settings.home, database=settings.database, password=settings.database_password)


def keys_folder(settings: Settings, home: Home) -> Path:
    return settings.keys / home.id


def origin_of(home: Home) -> str:
    """The name of a home's audit log in its checkpoints."""
    return f"casemate.dev/{home.id}"


def open_ground(settings: Settings, keeper: KeeperPort, *, read_only: bool) -> Ground:
    """Open a home over a keeper. Raises: NotFoundError, StorageError, VerificationError."""
    home = home_of(settings)
    engine = home.open_database(read_only=read_only)
    public = checkpoint_key(keeper.public_pem(Purpose.CHECKPOINT))
    log = LogReader(engine, origin=origin_of(home), public=public)
    clock = clock_of(log, accepted=settings.accept_clock)
    key = unwrap_state_key(home.path, home.id, keeper.keys)
    ledger = Ledger(engine, home_id=home.id, key=key, public=public, head=keeper.head)
    quota = Quota(push_bytes=settings.push_bytes, free_bytes=settings.free_bytes)
    blobs = BlobStore(home.blobs, home.tmp, home.lost, keeper.keys, quota, newest_key=partial(newest_key, engine))
    return Ground(
        settings=settings,
        home=home,
        engine=engine,
        clock=clock,
        ledger=ledger,
        log=log,
        keeper=keeper,
        stores=Stores(
            engine=engine,
            blobs=blobs,
            state=ledger,
            clock=clock,
            cipher=RowCipher(key),
            approvers=keeper.approvers,
        ),
    )


def checkpoint_key(pem: bytes) -> Ed25519PublicKey:
    public = load_pem_public_key(pem)
    assert isinstance(public, Ed25519PublicKey), "the keeper's checkpoint key is Ed25519"
    return public


def clock_of(log: LogReader, *, accepted: str = "") -> SystemClock:
    """A clock that does not go behind what is on record.

    Args: accepted: the time of the newest entry, if somebody says that it is wrong and the machine's clock is right.
    Raises: VerificationError `log-altered`; `clock-behind`: the record is so far ahead that one of the two is wrong,
        and a clock that jumped there would end every key for good.
    """
    latest = log.latest_time()
    if latest is None:
        return SystemClock()
    floor, now = parse_rfc3339(latest), SystemClock().now()
    if is_ahead(latest, now):
        if accepted == latest:
            return SystemClock()
        raise VerificationError(
            f"The newest entry of the audit log is of {latest}, and this machine's clock says {rfc3339(now)}: "
            "is the machine's clock wrong? Set it right and start again. If it is right, and was wrong when that entry was "
            f"written, start once with CASEMATE_ACCEPT_CLOCK={latest}; that goes on record.",
            code="clock-behind",
        )
    return SystemClock(floor)


def is_ahead(latest: str, now: datetime) -> bool:
    """Whether the record is further ahead of the machine's clock than a time server corrects at once."""
    return parse_rfc3339(latest) - now > AHEAD


def audience_of(home: Home) -> str:
    """Whom the access tokens of a home are for: its data plane."""
    return f"urn:casemate:{home.id}:data"


class _Tokens:
    """The keeper's own. Args: clock: the keeper's."""

    def __init__(self, folder: Path, home: Home, clock: SystemClock) -> None:
        def now() -> float:
            return clock.now().timestamp()

        keys, spent = TokenKeys(folder, audience=audience_of(home), now=now), SpentTokens(folder, now=now)
        self.issue, self.jwks, self.spend = keys.issue, keys.jwks, spent.spend


class LocalKeeper:
    """The keeper in this process. Opening it checks the signed state and the log against what lies beside the keys."""

    def __init__(self, settings: Settings, home: Home, *, adopt: bool = False) -> None:
        """Args: adopt: take this home for the one on record, though that is still where it was.

        Raises: StorageError; VerificationError `home-copied`, `state-rolled-back`, `state-altered`, `log-altered`;
            ConflictError `keeper-elsewhere`.
        """
        place = KeptPlace(home, keys_folder(settings, home))
        if not adopt:
            place.check()
        self.keeper = Keeper(keys_folder(settings, home))
        self._approvers = ApproversFile(keys_folder(settings, home), home.id)
        verify_pin(self.keeper)
        self._engine = home.open_database(keeper=True)
        try:
            self._open(settings, home, self._engine, place)
        except BaseException:
            self.close()
            raise

    def _open(self, settings: Settings, home: Home, engine: Engine, place: KeptPlace) -> None:
        public = checkpoint_key(self.keeper.public_pem(Purpose.CHECKPOINT))
        reader = LogReader(engine, origin=origin_of(home), public=public)
        latest = reader.latest_time()
        self.clock = clock_of(reader, accepted=settings.accept_clock)
        self.pace = Pace(self.clock)
        key = unwrap_state_key(home.path, home.id, self.keeper)
        ledger = Ledger(engine, home_id=home.id, key=key, public=public)
        self._pen = LedgerPen(engine, ledger, self.keeper, home_id=home.id, key=key)
        self.data_keys: DataKeysPort = DataKeys(home, engine, self.keeper.keyring)
        self.tokens: TokensPort = _Tokens(keys_folder(settings, home), home, self.clock)
        self.signing: SigningPort = SigningMove(home, self.keeper, ledger, self.commit)
        log = Log(engine, keeper=self.keeper, origin=origin_of(home), public=public, clock=self.clock)
        self.log = WatchedLog(log, watch_of(engine, settings.networks))
        if latest is not None and is_ahead(latest, self.clock.now()):
            self._record_clock(latest)
        if place.has_moved:
            self.append([_moved(place, home, self.clock)])
        place.keep()

    def close(self) -> None:
        """Let another keeper write to this database."""
        self._engine.dispose()

    def _record_clock(self, latest: str) -> None:
        """The log ran ahead, and whoever started this says that the machine's clock is right: on record in both."""
        intent, at = new_id("evt"), rfc3339(self.clock.now())
        self.commit([(CLOCK, {"newest": latest, "at": at})], intent)
        said = "the record was ahead of the machine's clock, which counts from here on"
        event = Event(id=intent, at=at, kind=CLOCK, outcome="allowed", reason=said, facts={"newest": latest})
        self.append([event])

    def append(self, events: list[Event]) -> None:
        """An EventSink: as `Log.append`. Raises: StorageError `clock-jumped`, too."""
        self.pace.check(event.at for event in events)
        self.log.append(events)

    @property
    def keys(self) -> KeyService:
        return self.keeper

    @property
    def sink(self) -> EventSink:
        return self

    def public_pem(self, purpose: Purpose) -> bytes:
        return self.keeper.public_pem(purpose)

    def commit(self, entries: Sequence[tuple[str, dict[str, Any]]], intent: str) -> int:
        at = rfc3339(self.clock.now())
        self.pace.check([at])
        return self._pen.append([(kind, body) for kind, body in entries], intent, at)

    def kept_checkpoint(self) -> str | None:
        return self.keeper.kept_checkpoint()

    def head(self) -> Head:
        return self.keeper.head()

    def approvers(self) -> Approvers:
        """Whose own signatures count, once that is in the audit log. Raises: StorageError."""
        return self._approvers.note(self.append, self.clock)

    def methods(self) -> dict[str, Callable[..., Any]]:
        """What the control plane may ask over the wire."""
        return {
            **key_methods(self.keeper),
            "log.append": lambda events: self.append(decode_events(events)),
            "ledger.append": self.commit,
            "log.kept": self.kept_checkpoint,
            "approvers.read": lambda: msgspec.json.encode(self.approvers()),
            "signing.show": self.signing.show,
            "signing.move": self.signing.move,
            **self.token_methods(),
            "data_keys.show": self.data_keys.show,
            "data_keys.rotate": lambda: msgspec.to_builtins(self.data_keys.rotate()),
            "data_keys.retire": lambda: msgspec.to_builtins(self.data_keys.retire()),
        }

    def token_methods(self) -> dict[str, Callable[..., Any]]:
        """What a gateway may ask, too: tokens for the data plane, minutes long, and nothing else signed."""
        tokens = self.tokens
        return {"tokens.issue": tokens.issue, "tokens.keys": tokens.jwks, "tokens.spend": tokens.spend}


def _moved(place: KeptPlace, home: Home, clock: SystemClock) -> Event:
    """What is on record of a home that lies elsewhere than it did."""
    assert place.before is not None, "who moved was somewhere before"
    return Event(
        id=new_id("evt"),
        at=rfc3339(clock.now()),
        kind="home.moved",
        actor=local_owner(os.geteuid()).id,
        resource=f"{DEFAULT_PROJECT}/home:{home.id}",
        outcome="done",
        facts={"from": place.before.path, "to": place.here.path, "a_copy": place.is_copy},
    )


def decode_events(events: bytes) -> list[Event]:
    """Events as another process sent them. Raises: VerificationError `bad-events`."""
    try:
        return _EVENTS.decode(events)
    except msgspec.DecodeError as error:
        raise VerificationError("Events of another version of Casemate came in.", code="bad-events") from error
