"""API keys: `cm_` + 43 URL-safe characters (256 random bits) + 6 of a checksum, so that a typo or a scanner can tell.

A key is shown once. The ledger holds its SHA-256, a role, a scope and a mandatory expiry.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

import msgspec

from casemate.core import (
    DEFAULT_PROJECT,
    AuthError,
    Environment,
    InputError,
    NotFoundError,
    Principal,
    PrincipalKind,
    Resource,
    Role,
    checked_name,
    new_id,
    rfc3339,
)
from casemate.iam.access import Access
from casemate.iam.bearer import Kind, hash_of, new_secret
from casemate.iam.records import Credential, Grant, GrantRequested, PrincipalCreated, Revoked
from casemate.iam.scope import Scope, parse_scope

DEFAULT_LIFE = 90 * 86400.0  # s
MAX_LIFE = 366 * 86400.0  # s; a year and its leap day
MIN_RATE = 0.001  # requests/s; one in a quarter of an hour: less is a key that is revoked
MAX_RATE = 1_000_000.0  # requests/s; more is a typing error
MAX_REASON = 500  # characters

_REFUSALS = {
    "no-credential": "No API key was sent",
    "bad-credential": "This API key is not known",
    "expired-credential": "This API key has expired",
    "revoked-credential": "This API key was revoked",
}

LedgerItem = tuple[str, dict[str, Any]]  # (kind, body), as `Ledger.append` takes them


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A key that somebody asks for; checked by `key_request`. The gate decides on exactly what is then issued."""

    name: str
    role: Role
    scope: Scope
    project: str
    environment: Environment | None
    rate: float | None  # requests/s
    created_at: datetime
    expires_at: datetime

    def resource(self) -> Resource:
        """What the gate is asked about for `key:issue`."""
        return Resource(
            kind="key",
            name=self.name,
            project=self.project,
            environment=self.environment,
            attributes={"role": self.role, "scope": self.scope, "expires_at": rfc3339(self.expires_at)},
        )


class IssuedKey(msgspec.Struct, frozen=True, kw_only=True):
    """Args: key: the secret; show it once and forget it. entries: to append to the ledger in one commit."""

    id: str
    key: str
    expires_at: str
    entries: list[LedgerItem]

    def __repr__(self) -> str:
        return f"IssuedKey(id={self.id!r}, expires_at={self.expires_at!r})"


class KeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of keys shows; `state` is `active`, `expired`, `revoked`, or `roleless`: every grant of it has ended."""

    id: str
    name: str
    role: Role
    scope: str
    state: str
    project: str
    environment: Environment | None
    rate: float | None
    created_at: str
    created_by: str
    expires_at: str
    replaces: str | None
    last_used_at: str | None
    last_used_from: str | None  # network address


LastUse = Callable[[str, str], tuple[str, str] | None]  # principal, credential -> time, network address


def key_request(
    name: str,
    *,
    role: str,
    scope: str,
    now: datetime,
    life: float = DEFAULT_LIFE,
    rate: float | None = None,
    environment: Environment | None = None,
    project: str = DEFAULT_PROJECT,
) -> KeyRequest:
    """Check what a person typed. Args: life: seconds until it expires. rate: requests/s. Raises: InputError."""
    if role not in set(Role):
        raise InputError(f"role {role[:40]!r} is not one of {', '.join(Role)}.", code="bad-role")
    if not (isfinite(life) and 0 < life <= MAX_LIFE):
        raise InputError("A key lives for more than 0 seconds and at most 366 days: --expires 90d.", code="bad-expiry")
    if rate is not None and not MIN_RATE <= rate <= MAX_RATE:
        raise InputError(
            f"A key's rate is from {MIN_RATE:g} to {MAX_RATE:.0f} requests a second: --rate 10/s.", code="bad-rate"
        )
    return KeyRequest(
        name=checked_name(name, what="key name"),
        role=Role(role),
        scope=parse_scope(scope),
        project=checked_name(project, what="project"),
        environment=environment,
        rate=rate,
        created_at=now,
        expires_at=now + timedelta(seconds=life),
    )


def issue_key(
    request: KeyRequest,
    *,
    issuer: Principal,
    reason: str = "",
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ids: Callable[[str], str] = new_id,
) -> IssuedKey:
    """Make the key that `request` describes: a service, its credential and its grant. Authorise first, append after."""
    key = new_key(random_bytes)
    principal, credential = ids("svc"), ids("key")
    grant = grant_of(
        request,
        ids("grt"),
        principal,
        by=issuer,
        reason=reason[:MAX_REASON],
        at=request.created_at,
        until=request.expires_at,
    )
    records = (
        ("principal", _service(request, principal, issuer)),
        ("credential", _credential(request, credential, principal, issuer, hashed=hash_of(key))),
        ("grant", grant),
    )
    entries = [(kind, record.body()) for kind, record in records]
    return IssuedKey(id=credential, key=key, expires_at=rfc3339(request.expires_at), entries=entries)


def _service(request: KeyRequest, principal: str, issuer: Principal) -> PrincipalCreated:
    return PrincipalCreated(
        id=principal,
        kind=PrincipalKind.SERVICE,
        name=request.name,
        project=request.project,
        created_by=issuer.id,
        created_at=request.created_at,
    )


def _credential(request: KeyRequest, key_id: str, principal: str, issuer: Principal, *, hashed: str) -> Credential:
    return Credential(
        id=key_id,
        principal=principal,
        project=request.project,
        hash=hashed,
        name=request.name,
        role=request.role,
        scope=request.scope,
        environment=request.environment,
        rate=request.rate,
        created_at=request.created_at,
        created_by=issuer.id,
        expires_at=request.expires_at,
    )


def grant_of(
    asked: KeyRequest | GrantRequested,
    grant_id: str,
    principal: str,
    *,
    by: Principal,
    reason: str,
    at: datetime,
    until: datetime,
) -> Grant:
    """The record that gives `principal` the role that was asked for, where it was asked for."""
    return Grant(
        id=grant_id,
        principal=principal,
        project=asked.project,
        role=asked.role,
        scope=asked.scope,
        environment=asked.environment,
        emergency=isinstance(asked, GrantRequested) and asked.emergency,
        reason=reason,
        granted_by=by.id,
        granted_at=at,
        expires_at=until,
    )


def find_key(access: Access, key_id: str) -> Credential | None:
    """The API key with this id; nothing else that proves somebody."""
    found = access.snapshot.credentials.get(key_id)
    return found if isinstance(found, Credential) else None


def revocation_resource(access: Access, key_id: str) -> Resource:
    """What the gate is asked about for `key:revoke`: the key with its role and scope. An unknown id has neither."""
    credential = find_key(access, key_id)
    if credential is None:
        return Resource(kind="key", name=key_id[:80])
    return Resource(
        kind="key",
        name=key_id,
        project=credential.project,
        environment=credential.environment,
        attributes={"role": credential.role, "scope": credential.scope},
    )


def revoke_key(access: Access, key_id: str, *, by: Principal, reason: str, now: datetime) -> list[LedgerItem]:
    """The entries that end a key; none if it was revoked before. Raises: NotFoundError (key-not-found)."""
    snapshot = access.snapshot
    if find_key(access, key_id) is None:
        raise NotFoundError(f"There is no key {key_id[:80]!r}: see casemate key list.", code="key-not-found")
    if key_id in snapshot.revoked:
        return []
    record = Revoked(id=key_id, reason=reason[:MAX_REASON], revoked_by=by.id, revoked_at=now)
    return [("credential", record.body())]


def list_keys(
    access: Access, *, now: datetime, project: str = DEFAULT_PROJECT, last_use: LastUse = lambda *_: None
) -> list[KeyInfo]:
    """All keys of a project, the newest last. Args: last_use: what the audit log knows."""
    snapshot, now = access.snapshot, access.instant(now)
    return [
        _info(credential, _state(access, credential, now), last_use(credential.principal, credential.id))
        for credential in snapshot.credentials.values()
        if isinstance(credential, Credential) and credential.project == project
    ]


def show_key(access: Access, key_id: str, *, now: datetime, last_use: LastUse = lambda *_: None) -> KeyInfo:
    """One key. Raises: NotFoundError `key-not-found`."""
    now = access.instant(now)
    credential = find_key(access, key_id)
    if credential is None:
        raise NotFoundError(f"There is no key {key_id[:80]!r}: see casemate key list.", code="key-not-found")
    state = _state(access, credential, now)
    return _info(credential, state, last_use(credential.principal, credential.id))


def _info(credential: Credential, state: str, used: tuple[str, str] | None) -> KeyInfo:
    return KeyInfo(
        id=credential.id,
        name=credential.name,
        role=credential.role,
        scope=credential.scope,
        state=state,
        project=credential.project,
        environment=credential.environment,
        rate=credential.rate,
        created_at=rfc3339(credential.created_at),
        created_by=credential.created_by,
        expires_at=rfc3339(credential.expires_at),
        replaces=credential.replaces,
        last_used_at=used[0] if used else None,
        last_used_from=used[1] if used else None,
    )


def authenticate(access: Access, key: str, now: datetime) -> Principal:
    """Who holds `key`. Looked up by hash, so the time it takes tells nothing about any stored key.

    Raises: AuthError: no-credential, bad-credential, revoked-credential, expired-credential.
    """
    if not key:
        raise refusal("no-credential")
    snapshot = access.snapshot
    credential = snapshot.by_hash.get(hash_of(key))
    if credential is None:
        raise refusal("bad-credential")
    if credential.id in snapshot.revoked or credential.principal in snapshot.revoked:
        raise refusal("revoked-credential", credential.id)
    if access.instant(now) >= credential.expires_at:
        raise refusal("expired-credential", credential.id)
    return Principal(
        id=credential.principal,
        kind=PrincipalKind.SERVICE,
        name=credential.name,
        project=credential.project,
        credential=credential.id,
    )


def refusal(code: str, credential: str = "") -> AuthError:
    """The one shape in which nobody is told more than why. `credential` goes into the log only."""
    message = f"{_REFUSALS[code]}: ask an owner for one (casemate key issue NAME --role ROLE)."
    return AuthError(message, code=code, details={"credential": credential} if credential else None)


def new_key(random_bytes: Callable[[int], bytes]) -> str:
    """A secret with its checksum. Args: random_bytes: from the kernel, but in tests."""
    return new_secret(Kind.KEY, random_bytes)


def _state(access: Access, credential: Credential, now: datetime) -> str:
    revoked = access.snapshot.revoked
    if credential.id in revoked or credential.principal in revoked:
        return "revoked"
    if now >= credential.expires_at:
        return "expired"
    held = access.snapshot.grants.get(credential.principal, {}).values()
    return "active" if any(now < one.expires_at for grants in held for one in grants.values()) else "roleless"
