"""A new secret for the same service: both work until the overlap ends, then the old one has expired.

The new key has the old one's rate, role, scope, environment and grants. Whoever rotates a key sees its secret, and so
must be allowed to hand out everything that the key opens.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from casemate.core import ConflictError, InputError, NotFoundError, Principal, Resource, new_id, parse_rfc3339, rfc3339
from casemate.iam.access import Access
from casemate.iam.bearer import hash_of
from casemate.iam.credentials import MAX_LIFE, MAX_REASON, IssuedKey, find_key, new_key
from casemate.iam.records import Credential, Grant, Retired

MAX_OVERLAP = 30 * 86400.0  # s; an old secret that works for longer was not replaced


def rotation_resource(access: Access, key_id: str, *, life: float | None, now: datetime) -> Resource:
    """What the gate is asked about for `key:rotate`. Args: life: seconds of the new key; None keeps the old one's end.

    Raises: InputError (bad-expiry).
    """
    if life is not None and not 0 < life <= MAX_LIFE:
        raise InputError("A key lives for more than 0 seconds and at most 366 days: --expires 90d.", code="bad-expiry")
    old = find_key(access, key_id)
    if old is None:
        return Resource("key", key_id[:80])
    end = old.expires_at if life is None else access.instant(now) + timedelta(seconds=life)
    attributes = {"role": old.role.value, "scope": old.scope, "expires_at": rfc3339(end)}
    return Resource("key", key_id, old.project, old.environment, {**attributes})


def opened_by(access: Access, key_id: str, *, decided: Resource, now: datetime) -> list[Resource]:
    """What else the new secret would open: each must be allowed to whoever rotates, as `key:rotate`, before they do.

    Args: decided: what the gate allowed.
    """
    old = find_key(access, key_id)
    if old is None:
        return []
    now, end = access.instant(now), _end(key_id, decided)
    found = []
    for grant in _live_grants(access, old.principal, now):
        until = rfc3339(min(grant.expires_at, end))
        attributes = {"role": grant.role.value, "scope": grant.scope, "expires_at": until}
        found.append(Resource("key", key_id, grant.project, grant.environment, {**attributes}))
    return [resource for resource in found if resource != decided]


def rotate_key(
    access: Access,
    key_id: str,
    *,
    overlap: float,
    decided: Resource,
    by: Principal,
    reason: str,
    now: datetime,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ids: Callable[[str], str] = new_id,
) -> IssuedKey:
    """Make the key that follows `key_id`. Args: overlap: seconds that the old one still works. decided: by the gate.

    Raises: InputError (bad-overlap); NotFoundError (key-not-found); ConflictError (key-ended, key-rotated).
    """
    if not 0 < overlap <= MAX_OVERLAP:
        raise InputError("The overlap is more than 0 seconds and at most 30 days: --overlap 1h.", code="bad-overlap")
    now = access.instant(now)
    old, end = _checked(access, key_id, now), _end(key_id, decided)
    until = min(now + timedelta(seconds=overlap), old.expires_at)
    key = new_key(random_bytes)
    new = msgspec.structs.replace(
        old, id=ids("key"), hash=hash_of(key), created_at=now, created_by=by.id, expires_at=end, replaces=old.id
    )
    retired = Retired(
        id=old.id, replaced_by=new.id, until=until, reason=reason[:MAX_REASON], retired_by=by.id, retired_at=now
    )
    entries = [("credential", new.body()), ("credential", retired.body())]
    if end > old.expires_at:
        longer = msgspec.structs.replace(
            _own_grant(access, old, now),
            id=ids("grt"),
            reason=reason[:MAX_REASON],
            granted_by=by.id,
            granted_at=now,
            expires_at=end,
        )
        entries.append(("grant", longer.body()))
    return IssuedKey(id=new.id, key=key, expires_at=rfc3339(end), entries=entries)


def _checked(access: Access, key_id: str, now: datetime) -> Credential:
    snapshot = access.snapshot
    old = find_key(access, key_id)
    if old is None:
        raise _unknown(key_id)
    if key_id in snapshot.revoked or old.principal in snapshot.revoked or now >= old.expires_at:
        raise ConflictError("This key has ended, and is not rotated: casemate key issue NAME ...", code="key-ended")
    if key_id in snapshot.retired:
        newer = snapshot.retired[key_id].replaced_by
        if newer in snapshot.revoked:
            said = "This key was rotated, and what followed it was revoked: casemate key issue NAME ..., then revoke this one."
            raise ConflictError(said, code="key-rotated")
        raise ConflictError(f"This key was rotated before: casemate key rotate {newer}", code="key-rotated")
    return old


def _end(key_id: str, decided: Resource) -> datetime:
    """When the new key ends, as the gate was told; it was told nothing of a key that was not there yet."""
    if "expires_at" not in decided.attributes:
        raise _unknown(key_id)
    return parse_rfc3339(str(decided.attributes["expires_at"]))


def _unknown(key_id: str) -> NotFoundError:
    return NotFoundError(f"There is no key {key_id[:80]!r}: see casemate key list.", code="key-not-found")


def _own_grant(access: Access, old: Credential, now: datetime) -> Grant:
    """What the key was issued for; a grant that was revoked does not come back with a new secret."""
    for grant in _live_grants(access, old.principal, now):
        if (grant.role, grant.scope, grant.environment) == (old.role, old.scope, old.environment):
            return grant
    raise ConflictError(
        "What this key was issued for was revoked, and is not prolonged: casemate key issue NAME ...", code="key-ended"
    )


def _live_grants(access: Access, principal: str, now: datetime) -> list[Grant]:
    by_scope = access.snapshot.grants.get(principal, {})
    return [grant for grants in by_scope.values() for grant in grants.values() if now < grant.expires_at]
