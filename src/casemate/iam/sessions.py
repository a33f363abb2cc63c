"""Sessions of people: server-side, sealed, short. Whoever signs somebody in, by whatever means, starts one here.

A session's row can be written with the people key alone (`storage.SealedRows`). The row's id is made from the token, so one
look finds it, and a token that was rotated names nothing any more; the session's own id stays. Sources: OWASP ASVS 5.0,
V7.3 and V7.4; NIST SP 800-63B-4, section 5.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

import msgspec

from casemate.core import AuthError, Principal, new_id
from casemate.iam.access import Access
from casemate.iam.bearer import Kind, hash_of, is_secret, new_secret
from casemate.iam.credentials import MAX_REASON, LedgerItem
from casemate.iam.person import Person
from casemate.iam.records import Revoked, SessionsEnded

_Body = TypeVar("_Body", bound=msgspec.Struct)

IDLE = timedelta(minutes=30)  # NIST SP 800-63B-4, AAL2: at most one hour
ABSOLUTE = timedelta(hours=12)  # the same: at most 24 hours
SEEN_EVERY = timedelta(minutes=1)  # a row is written at most so often because it was used
MAX_SESSIONS = 20  # of one person; the one unused for longest gives way
_REFUSALS = {
    "bad-session": "This session is not known",
    "ended-session": "This session has ended",
}


class Rows(Protocol):
    """`storage.SealedRows`."""

    def find(self, row_id: str, kind: type[_Body], *, now: datetime) -> _Body | None: ...
    def of(self, principal: str, kind: type[_Body], *, now: datetime) -> list[tuple[str, _Body]]: ...
    def put(self, row_id: str, body: msgspec.Struct, *, ends_at: datetime, principal: str = "") -> None: ...
    def replace(self, old_id: str, row_id: str, body: msgspec.Struct, *, ends_at: datetime, principal: str) -> bool: ...
    def remove(self, row_id: str) -> bool: ...
    def forget(self, *, now: datetime) -> int: ...
    def change(
        self,
        row_id: str,
        kind: type[_Body],
        change: Callable[[_Body | None], _Body | None],
        *,
        now: datetime,
        ends_at: datetime,
        principal: str = "",
    ) -> _Body | None: ...


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """From where somebody comes, as the door saw it. Args: device: secret that an earlier sign-in left there."""

    address: str
    client: str = ""  # what it calls itself; a claim, shortened and printable
    device: str = ""

    def __repr__(self) -> str:
        return f"Visitor(address={self.address!r})"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Args: verified_at: the last second factor. methods: as in RFC 8176 (`pwd`, `otp`, `hwk`, ...)."""

    id: str
    principal: str
    hash: str  # of the token
    created_at: datetime
    expires_at: datetime
    seen_at: datetime
    verified_at: datetime
    methods: tuple[str, ...]
    address: str
    client: str
    provider: str = ""  # the id of the outside one that vouched for the person
    brought: tuple[str, ...] = ()  # ids of the mappings of their groups there, as they were at the sign-in

    @property
    def row(self) -> str:
        """The id of its row."""
        return _row_of(self.hash)

    @property
    def ends_at(self) -> datetime:
        return min(self.expires_at, self.seen_at + IDLE)


class StartedSession(msgspec.Struct, frozen=True, kw_only=True):
    """Args: token: the secret; show it once and forget it."""

    token: str
    session: Session

    def __repr__(self) -> str:
        return f"StartedSession(session={self.session.id!r})"


class Sessions:
    """All sessions of a home, for use from many threads. Args: random_bytes: from the kernel, but in tests."""

    def __init__(
        self, rows: Rows, access: Access, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._rows, self._access, self._random = rows, access, random_bytes
        self._gone: dict[str, datetime] = {}  # ended here: a row put back into the database revives none of them
        self._lock = threading.Lock()

    def start(
        self,
        person: Person,
        *,
        methods: tuple[str, ...],
        visitor: Visitor,
        now: datetime,
        verified_at: datetime | None = None,
        provider: str = "",
        brought: tuple[str, ...] = (),
        until: datetime | None = None,
    ) -> StartedSession:
        """A new session for somebody who has just proved who they are, second factor and all.

        Args: verified_at: when they did, if not just now. until: when it ends at the latest, if sooner than others do.
        """
        now = self._access.instant(now)
        held = sorted(self.of(person.id, now=now), key=lambda one: one.seen_at)
        for old in held[: max(0, len(held) - MAX_SESSIONS + 1)]:
            self._drop(old, now)
        token = new_secret(Kind.SESSION, self._random)
        session = Session(
            id=new_id("ses"),
            principal=person.id,
            hash=hash_of(token),
            created_at=now,
            expires_at=min(now + ABSOLUTE, until or now + ABSOLUTE),
            seen_at=now,
            verified_at=verified_at or now,
            methods=methods,
            address=visitor.address,
            client=visitor.client,
            provider=provider,
            brought=brought,
        )
        self._rows.put(session.row, session, ends_at=session.ends_at, principal=person.id)
        return StartedSession(token=token, session=session)

    def authenticate(self, token: str, now: datetime) -> Principal:
        """Who holds `token`. Raises: AuthError: bad-session, ended-session. VerificationError `row-altered`."""
        now = self._access.instant(now)
        session = self._rows.find(_row_of(hash_of(token)), Session, now=now) if is_secret(token, Kind.SESSION) else None
        if session is None or session.hash != hash_of(token):
            raise _refused("bad-session")
        if why := self._why_over(session, now):
            raise _refused("ended-session", session.id, why)
        if now - session.seen_at >= SEEN_EVERY:
            self._touch(session, now)
        person = self._access.snapshot.people[session.principal]
        return as_session(person.principal, session)

    def verified(self, principal: str, session_id: str, *, methods: tuple[str, ...], now: datetime) -> StartedSession:
        """The session under a new token, after a fresh second factor; the old token ends. Raises: AuthError."""
        now = self._access.instant(now)
        old = self._find(principal, session_id, now)
        if old is None:
            raise _refused("ended-session", session_id)
        token = new_secret(Kind.SESSION, self._random)
        new = msgspec.structs.replace(
            old,
            hash=hash_of(token),
            seen_at=now,
            verified_at=now,
            methods=tuple(dict.fromkeys((*old.methods, *methods))),
        )
        self._forget(old.row, now)
        if not self._rows.replace(old.row, new.row, new, ends_at=new.ends_at, principal=new.principal):
            raise _refused("ended-session", session_id)
        return StartedSession(token=token, session=new)

    def of(self, principal: str, *, now: datetime) -> list[Session]:
        """The sessions of a person that count, oldest first."""
        now = self._access.instant(now)
        found = [session for _, session in self._rows.of(principal, Session, now=now)]
        return sorted((one for one in found if not self._why_over(one, now)), key=lambda one: one.created_at)

    def end(self, principal: str, session_id: str, *, now: datetime) -> bool:
        """End one session of `principal` now; whether there was one."""
        now = self._access.instant(now)
        session = self._find(principal, session_id, now)
        if session is not None:
            self._drop(session, now)
        return session is not None

    def _find(self, principal: str, session_id: str, now: datetime) -> Session | None:
        return next((one for one in self.of(principal, now=now) if one.id == session_id), None)

    def _drop(self, session: Session, now: datetime) -> None:
        self._forget(session.id, now)
        self._rows.remove(session.row)

    def _why_over(self, session: Session, now: datetime) -> str:
        """Why a session counts no longer; empty while it does."""
        snapshot = self._access.snapshot
        person = snapshot.people.get(session.principal)
        if session.id in self._gone or session.row in self._gone or session.id in snapshot.revoked:
            return "ended"
        if session.provider in snapshot.revoked:
            return "provider"
        if now >= session.ends_at:
            return "expired" if now >= session.expires_at else "idle"
        if person is None or session.principal in snapshot.revoked or not person.is_active:
            return "person"
        if person.sessions_from is not None and session.created_at < person.sessions_from:
            return "all ended"
        return ""

    def _touch(self, session: Session, now: datetime) -> None:
        seen = msgspec.structs.replace(session, seen_at=now)

        def later(row: Session | None) -> Session | None:  # gone: it was ended meanwhile, and stays so
            return None if row is None else seen

        self._rows.change(session.row, Session, later, now=now, ends_at=seen.ends_at, principal=session.principal)

    def _forget(self, gone: str, now: datetime) -> None:
        with self._lock:
            self._gone = {one: end for one, end in self._gone.items() if end > now}
            self._gone[gone] = now + ABSOLUTE


def as_session(principal: Principal, session: Session) -> Principal:
    """The person as they are in this session."""
    until = session.expires_at if session.brought else None
    return msgspec.structs.replace(
        principal,
        credential=session.id,
        verified_at=session.verified_at,
        brought=session.brought,
        brought_until=until,
    )


def end_session(session_id: str, *, by: Principal, reason: str, now: datetime) -> list[LedgerItem]:
    """The entries that end one session for good, whatever is in the database."""
    record = Revoked(id=session_id, reason=reason[:MAX_REASON], revoked_by=by.id, revoked_at=now)
    return [("principal", record.body())]


def end_all_sessions(principal: str, *, by: Principal, reason: str, now: datetime) -> list[LedgerItem]:
    """The entries that end every session that somebody has begun by now."""
    record = SessionsEnded(principal=principal, reason=reason[:MAX_REASON], ended_by=by.id, ended_at=now)
    return [("principal", record.body())]


def is_session_token(text: str) -> bool:
    """Whether this means to be a session's token, and no key."""
    return text.startswith(Kind.SESSION)


def _refused(code: str, session: str = "", why: str = "") -> AuthError:
    """What the holder of a session that does not count is told; more goes into the log only."""
    details: dict[str, Any] = {"credential": session, "why": why} if session else {}
    return AuthError(f"{_REFUSALS[code]}: sign in again (casemate login).", code=code, details=details)


def _row_of(hashed: str) -> str:
    return f"row_{hashed[:32]}"
