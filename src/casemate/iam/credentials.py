"""API keys: `cm_` + 43 URL-safe characters (256 random bits) + 6 of a checksum, so that a typo or a scanner can tell.

A key is shown once. The ledger holds its SHA-256, a role, a scope and a mandatory expiry.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import zlib
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
from casemate.iam.records import Credential, Grant, PrincipalCreated, Revoked
from casemate.iam.scope import Scope, parse_scope

DEFAULT_LIFE = 90 * 86400.0  # s
MAX_LIFE = 366 * 86400.0  # s; a year and its leap day
MAX_RATE = 1_000_000.0  # requests/s; more is a typing error
MAX_REASON = 500  # characters

_PREFIX = "cm_"
_SECRET = 43  # characters: 32 bytes in base64url without padding
KEY_PATTERN = re.compile(r"cm_[A-Za-z0-9_-]{49}", re.ASCII)
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
    """What a list of keys shows; `state` is `active`, `expired` or `revoked`."""

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
    if rate is not None and not (isfinite(rate) and 0 < rate <= MAX_RATE):
        raise InputError(
            f"A key's rate is more than 0 and at most {MAX_RATE:.0f} requests a second: --rate 10/s.", code="bad-rate"
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
    key = _new_key(random_bytes)
    principal, credential = ids("svc"), ids("key")
    records = (
        ("principal", _service(request, principal, issuer)),
        ("credential", _credential(request, credential, principal, issuer, hashed=_hash(key))),
        ("grant", _grant(request, ids("grt"), principal, issuer, reason=reason[:MAX_REASON])),
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


def _grant(request: KeyRequest, grant_id: str, principal: str, issuer: Principal, *, reason: str) -> Grant:
    return Grant(
        id=grant_id,
        principal=principal,
        project=request.project,
        role=request.role,
        scope=request.scope,
        environment=request.environment,
        reason=reason,
        granted_by=issuer.id,
        granted_at=request.created_at,
        expires_at=request.expires_at,
    )


def revocation_resource(access: Access, key_id: str) -> Resource:
    """What the gate is asked about for `key:revoke`: the key with its role and scope. An unknown id has neither."""
    credential = access.snapshot.credentials.get(key_id)
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
    if key_id not in snapshot.credentials:
        raise NotFoundError(f"There is no key {key_id[:80]!r}: see casemate key list.", code="key-not-found")
    if key_id in snapshot.revoked:
        return []
    record = Revoked(id=key_id, reason=reason[:MAX_REASON], revoked_by=by.id, revoked_at=now)
    return [("credential", record.body())]


def list_keys(access: Access, *, now: datetime, project: str = DEFAULT_PROJECT) -> list[KeyInfo]:
    """All keys of a project, the newest last."""
    snapshot, now = access.snapshot, access.instant(now)
    return [
        KeyInfo(
            id=credential.id,
            name=credential.name,
            role=credential.role,
            scope=credential.scope,
            state=_state(credential, snapshot.revoked, now),
            project=credential.project,
            environment=credential.environment,
            rate=credential.rate,
            created_at=rfc3339(credential.created_at),
            created_by=credential.created_by,
            expires_at=rfc3339(credential.expires_at),
        )
        for credential in snapshot.credentials.values()
        if credential.project == project
    ]


def authenticate(access: Access, key: str, now: datetime) -> Principal:
    """Who holds `key`. Looked up by hash, so the time it takes tells nothing about any stored key.

    Raises: AuthError: no-credential, bad-credential, revoked-credential, expired-credential.
    """
    if not key:
        raise refusal("no-credential")
    snapshot = access.snapshot
    credential = snapshot.by_hash.get(_hash(key))
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


def is_well_formed(key: str) -> bool:
    """Whether the checksum fits: False means a typing error. Proves nothing else."""
    return bool(KEY_PATTERN.fullmatch(key)) and _checksum(key[: -len("checks")]) == key[-len("checks") :]


def _new_key(random_bytes: Callable[[int], bytes]) -> str:
    secret = _PREFIX + base64.urlsafe_b64encode(random_bytes(32)).decode().rstrip("=")
    return secret + _checksum(secret)


def _checksum(text: str) -> str:
    return base64.urlsafe_b64encode(zlib.crc32(text.encode()).to_bytes(4)).decode().rstrip("=")


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _state(credential: Credential, revoked: frozenset[str], now: datetime) -> str:
    if credential.id in revoked or credential.principal in revoked:
        return "revoked"
    return "expired" if now >= credential.expires_at else "active"
