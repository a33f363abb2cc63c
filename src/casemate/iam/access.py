"""Who exists, what proves them, and what they were granted: folded from the signed ledger, read without a lock.

A snapshot never changes once it is published; `refresh` publishes the next one in a single assignment, so a reader sees
all of a revocation or none of it. Whether something has expired is asked at each use, not when it was folded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from casemate.core import DEFAULT_PROJECT, Principal, PrincipalKind, Resource, Role, VerificationError, parse_rfc3339
from casemate.iam.records import (
    RECORD_KINDS,
    Credential,
    Grant,
    PrincipalCreated,
    Record,
    Revoked,
    read_record,
)
from casemate.iam.scope import environment_covers, scopes_covering

LOCAL = "local:"  # ids of people known by their user id on this machine; the ledger cannot create one


def local_owner(uid: int) -> Principal:
    """The person with the user id `uid` on this machine; the caller has this from the socket or the process itself."""
    return Principal(id=f"{LOCAL}{uid}", kind=PrincipalKind.USER, name=f"user-{uid}")


class SignedEntry(Protocol):
    """What is read of a ledger entry."""

    @property
    def number(self) -> int: ...
    @property
    def at(self) -> str | datetime: ...
    @property
    def kind(self) -> str: ...
    @property
    def body(self) -> Any: ...


class SignedState(Protocol):
    """`storage.Ledger`: entries whose chain and signature have been checked."""

    def entries(self, after: int = 0) -> Iterable[SignedEntry]: ...


_Grants = dict[str, dict[str, Grant]]  # scope -> grant id -> grant


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known up to ledger entry `number`."""

    number: int = 0
    principals: Mapping[str, Principal] = {}
    credentials: Mapping[str, Credential] = {}
    by_hash: Mapping[str, Credential] = {}
    grants: Mapping[str, _Grants] = {}  # by principal
    grant_owner: Mapping[str, tuple[str, str]] = {}  # grant id -> (principal, scope)
    revoked: frozenset[str] = frozenset()
    latest: datetime | None = None  # the newest time on record


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The roles that count for one resource at one instant, and until when that is so."""

    roles: frozenset[Role] = frozenset()
    until: datetime | None = None  # None: nothing here expires
    because: str = ""  # why there is no role


class Access:
    """The folded state and its age. Args: owner_uid: user id that owns the home; None where nobody is local."""

    def __init__(self, ledger: SignedState, *, owner_uid: int | None = None) -> None:
        self._ledger = ledger
        self._owner = None if owner_uid is None else f"{LOCAL}{owner_uid}"
        self._lock = threading.Lock()
        self._latest: datetime | None = None
        self._refreshed = time.monotonic()
        self.snapshot = Snapshot()

    def refresh(self) -> bool:
        """Fold what the ledger has gained; True if anything had. A ledger that does not verify leaves nobody allowed.

        Raises: VerificationError: nobody has access until a refresh succeeds. StorageError: the last state stands,
            and `age` grows.
        """
        with self._lock:
            try:
                before = self.snapshot
                self.snapshot = fold(before, list(self._ledger.entries(after=before.number)))
            except VerificationError:
                self.snapshot = Snapshot()
                raise
            self._refreshed = time.monotonic()
            if self.snapshot.latest is not None:
                self.instant(self.snapshot.latest)
            return self.snapshot is not before

    def age(self) -> float:
        """Seconds since the state was last known to be the newest."""
        return time.monotonic() - self._refreshed

    def instant(self, now: datetime) -> datetime:
        """`now`, or the latest time ever seen here: what has expired stays so when the clock goes back."""
        latest = self._latest
        if latest is not None and now < latest:
            return latest
        self._latest = now
        return now

    def descends(self, principal: str, other: str) -> bool:
        """Whether `other` issued a key of `principal`, or of somebody in the line of issuers before it."""
        issuers: dict[str, set[str]] = {}
        for credential in self.snapshot.credentials.values():
            issuers.setdefault(credential.principal, set()).add(credential.created_by)
        line, ahead = {principal}, [principal]
        while ahead:
            found = issuers.get(ahead.pop(), set()) - line
            line |= found
            ahead += found
        return other in line

    def standing(self, principal: Principal, resource: Resource, now: datetime, *, lasting: str = "") -> Standing:
        """The roles of `principal` on `resource`. Args: lasting: RFC 3339; only grants that live so long count."""
        now = self.instant(now)
        if principal.id.startswith(LOCAL):
            return self._local(principal, resource)
        snapshot = self.snapshot
        credential = snapshot.credentials.get(principal.credential)
        if principal.id not in snapshot.principals or principal.id in snapshot.revoked:
            return Standing(because="the principal is not known or was revoked")
        if credential is None or credential.principal != principal.id or credential.id in snapshot.revoked:
            return Standing(because="the credential is not known or was revoked")
        if now >= credential.expires_at:
            return Standing(because="the credential has expired")
        return _effective(snapshot.grants.get(principal.id, {}), credential, resource, now, lasting)

    def _local(self, principal: Principal, resource: Resource) -> Standing:
        if principal.id != self._owner:
            return Standing(because="this user id does not own the home")
        if resource.project != DEFAULT_PROJECT:
            return Standing(because=f"the home's owner owns the project {DEFAULT_PROJECT!r} only")
        return Standing(roles=frozenset({Role.OWNER}))


def _effective(granted: _Grants, credential: Credential, resource: Resource, now: datetime, lasting: str) -> Standing:
    covering = [
        grant
        for scope in scopes_covering(resource)
        for grant in granted.get(scope, {}).values()
        if grant.project == resource.project and environment_covers(grant.environment, resource.environment)
    ]
    alive = [grant for grant in covering if now < grant.expires_at]
    if not alive:
        what = "has expired" if covering else f"covers {resource}"
        return Standing(because=f"{'every grant' if covering else 'no grant'} {what}")
    if lasting:
        end = parse_rfc3339(lasting)
        alive = [grant for grant in alive if end <= min(grant.expires_at, credential.expires_at)]
        if not alive:
            return Standing(because="the key would outlive the issuer's own grants")
    until = min(credential.expires_at, *(grant.expires_at for grant in alive))
    return Standing(roles=frozenset(grant.role for grant in alive), until=until)


def fold(snapshot: Snapshot, entries: Iterable[SignedEntry]) -> Snapshot:
    """The snapshot after `entries`; the very same object if there are none.

    Raises: VerificationError (state-unreadable): an entry contradicts the ones before it.
    """
    folding: _Folding | None = None
    for entry in entries:
        folding = folding or _Folding(snapshot)
        folding.take(entry)
    return folding.finish() if folding else snapshot


class _Folding:
    """One batch of entries on copies of a snapshot's maps. A principal's grants are copied once, when first touched."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._number = snapshot.number
        self._latest = snapshot.latest
        self._principals = dict(snapshot.principals)
        self._credentials = dict(snapshot.credentials)
        self._by_hash = dict(snapshot.by_hash)
        self._grants = dict(snapshot.grants)
        self._grant_owner = dict(snapshot.grant_owner)
        self._revoked = set(snapshot.revoked)
        self._touched: set[str] = set()

    def take(self, entry: SignedEntry) -> None:
        self._number = entry.number
        at = parse_rfc3339(entry.at) if isinstance(entry.at, str) else entry.at
        self._latest = at if self._latest is None else max(self._latest, at)
        if entry.kind in RECORD_KINDS:
            self._apply(read_record(entry.kind, entry.body))

    def _apply(self, record: Record) -> None:
        if isinstance(record, PrincipalCreated):
            self._refuse_if(record.id in self._principals, record.id, "is there already")
            self._principals[record.id] = Principal(
                id=record.id, kind=record.kind, name=record.name, project=record.project
            )
        elif isinstance(record, Credential):
            self._refuse_if(
                record.id in self._credentials or record.hash in self._by_hash, record.id, "is there already"
            )
            self._refuse_if(record.principal not in self._principals, record.id, "belongs to nobody")
            self._credentials[record.id] = self._by_hash[record.hash] = record
        elif isinstance(record, Grant):
            self._grant(record)
        else:
            self._revoke(record)

    def _grant(self, grant: Grant) -> None:
        self._refuse_if(grant.id in self._grant_owner, grant.id, "is there already")
        self._refuse_if(grant.principal not in self._principals, grant.id, "belongs to nobody")
        self._grant_owner[grant.id] = (grant.principal, grant.scope)
        if grant.id not in self._revoked:
            self._own(grant.principal).setdefault(grant.scope, {})[grant.id] = grant

    def _revoke(self, record: Revoked) -> None:
        self._revoked.add(record.id)
        owner = self._grant_owner.get(record.id)
        if owner:
            principal, scope = owner
            self._own(principal).get(scope, {}).pop(record.id, None)

    def _own(self, principal: str) -> _Grants:
        if principal not in self._touched:
            self._touched.add(principal)
            shared = self._grants.get(principal, {})
            self._grants[principal] = {scope: dict(grants) for scope, grants in shared.items()}
        return self._grants[principal]

    @staticmethod
    def _refuse_if(contradiction: bool, what: str, why: str) -> None:  # noqa: FBT001 - reads as a sentence
        if contradiction:
            raise VerificationError(f"The signed state contradicts itself: {what} {why}.", code="state-unreadable")

    def finish(self) -> Snapshot:
        return Snapshot(
            number=self._number,
            principals=self._principals,
            credentials=self._credentials,
            by_hash=self._by_hash,
            grants=self._grants,
            grant_owner=self._grant_owner,
            revoked=frozenset(self._revoked),
            latest=self._latest,
        )
