"""Providers on record: add one, map a group, bind a subject, end any. Each function makes ledger entries.

Authorise first, and let nothing come between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

import msgspec

from casemate.core import (
    DEFAULT_PROJECT,
    ConflictError,
    Environment,
    InputError,
    NotFoundError,
    Principal,
    Resource,
    Role,
    checked_name,
    new_id,
    rfc3339,
)
from casemate.iam.access import Access
from casemate.iam.credentials import MAX_LIFE, MAX_REASON, LedgerItem
from casemate.iam.people import find_person, impersonated
from casemate.iam.providers.records import KIND, ClientAuth, GroupMapped, ProviderAdded, SubjectLinked, entry_of
from casemate.iam.records import Revoked
from casemate.iam.scope import parse_scope
from casemate.iam.tokens.issuers import checked_url
from casemate.iam.tokens.jwks import checked_algorithms

MAX_PROVIDERS = 20  # live ones; each is a link on the sign-in page
DEFAULT_AMR = ("mfa", "otp", "hwk")  # RFC 8176: what says that a second factor was given
# A reference is read by the server and sent to the provider, so an owner must not be able to name its other secrets.
SECRET = re.compile(
    r"file:///[!-~]{1,250}|env://OIDC_[A-Z0-9_]{1,60}|vault://[A-Za-z0-9_-]{1,64}/([A-Za-z0-9_.-]+/)*oidc[A-Za-z0-9_./-]*#[A-Za-z0-9_.-]{1,128}"
    r"|aws-sm://([A-Za-z0-9_.-]+/)*oidc[A-Za-z0-9_./-]*(#[A-Za-z0-9_.-]{1,128})?"
)


def provider_record(
    name: str,
    *,
    issuer: str,
    client_id: str,
    secret: str,
    by: Principal,
    now: datetime,
    display: str = "",
    client_auth: str = ClientAuth.BASIC,
    ca: str = "",
    algorithms: Sequence[str] = (),
    scopes: Sequence[str] = (),
    groups_claim: str = "groups",
    acr: Sequence[str] = (),
    amr: Sequence[str] = (),
    ids: Callable[[str], str] = new_id,
) -> ProviderAdded:
    """Check what a person typed. Raises: InputError, naming the value."""
    if client_auth not in set(ClientAuth):
        raise InputError(f"client auth {client_auth[:40]!r} is not one of {', '.join(ClientAuth)}.", code="bad-kind")
    if not SECRET.fullmatch(secret) or ".." in secret:
        raise InputError(
            "The client's secret is named, not written: file:///PATH in the server's folder for providers, env://OIDC_NAME, "
            "or vault:// or aws-sm:// with a name that begins with oidc.",
            code="bad-secret-reference",
        )
    chosen = checked_algorithms(algorithms or ("RS256", "ES256", "PS256"))
    if "Ed25519" in chosen:
        raise InputError("Ed25519 has no agreed at_hash: choose RS256, PS256 or ES256.", code="bad-algorithm")
    record = ProviderAdded(
        id=ids("idp"),
        name=checked_name(name, what="provider name"),
        display=display or name,
        issuer=checked_url(issuer, what="provider", code="bad-issuer"),
        client_id=client_id,
        client_auth=ClientAuth(client_auth),
        secret=secret,
        ca=ca,
        algorithms=chosen,
        scopes=tuple(dict.fromkeys(("openid", *scopes))),
        groups_claim=groups_claim,
        acr=tuple(acr),
        amr=tuple(amr) or (() if acr else DEFAULT_AMR),
        created_by=by.id,
        created_at=now,
    )
    if not record.display.isprintable() or not client_id.isprintable() or any(" " in one for one in record.scopes):
        raise InputError("A name, client id or scope of this provider holds what cannot be printed.", code="bad-record")
    entry_of(record)
    return record


def add_provider(access: Access, record: ProviderAdded) -> list[LedgerItem]:
    """Raises: ConflictError: provider-exists: its name or its address is taken; too-many-providers."""
    live = live_providers(access)
    for one in live:
        if one.name == record.name or one.issuer == record.issuer:
            raise ConflictError(
                f"The provider {one.name} has this name or address: revoke it first.", code="provider-exists"
            )
    if len(live) >= MAX_PROVIDERS:
        raise ConflictError(f"There are {MAX_PROVIDERS} providers: revoke one first.", code="too-many-providers")
    return [entry_of(record)]


def map_group(
    access: Access,
    provider: str,
    group: str,
    *,
    role: str,
    scope: str,
    environment: Environment | None,
    by: Principal,
    reason: str,
    now: datetime,
    until: datetime,
    ids: Callable[[str], str] = new_id,
) -> GroupMapped:
    """Args: until: what the gate allowed. Raises: InputError: bad-role, bad-scope, bad-group. NotFoundError `provider-not-found`."""
    if role not in set(Role):
        raise InputError(f"role {role[:40]!r} is not one of {', '.join(Role)}.", code="bad-role")
    if not group or len(group) > 300 or not group.isprintable():
        raise InputError("A group has 1 to 300 printable characters, as the provider writes it.", code="bad-group")
    return GroupMapped(
        id=ids("map"),
        provider=find_provider(access, provider).id,
        group=group,
        project=DEFAULT_PROJECT,
        role=Role(role),
        scope=parse_scope(scope),
        environment=environment,
        reason=reason[:MAX_REASON],
        created_by=by.id,
        created_at=now,
        expires_at=until,
    )


def link_subject(
    access: Access, provider: str, person: str, subject: str, *, by: Principal, now: datetime
) -> SubjectLinked:
    """The provider's subject is that person. Raises: NotFoundError; InputError `bad-record`."""
    found = find_provider(access, provider)
    record = SubjectLinked(
        provider=found.id,
        issuer=found.issuer,
        subject=subject,
        principal=find_person(access, person).id,
        linked_by=by.id,
        linked_at=now,
    )
    entry_of(record)
    return record


def revoke_provider(
    access: Access, text: str, *, by: Principal, reason: str, now: datetime
) -> tuple[str, list[LedgerItem]]:
    """End a provider (by name or id) with its sessions and roles, or one mapping (by id).

    Returns: its id, and what to append; nothing where it was revoked before. Raises: NotFoundError.
    """
    snapshot = access.snapshot
    known = text if text in snapshot.outside.providers or text in snapshot.outside.groups else ""
    found = known or find_provider(access, text).id
    if found in snapshot.revoked:
        return found, []
    return found, [(KIND, Revoked(id=found, reason=reason[:MAX_REASON], revoked_by=by.id, revoked_at=now).body())]


def live_providers(access: Access) -> list[ProviderAdded]:
    snapshot = access.snapshot
    return [one for one in snapshot.outside.providers.values() if one.id not in snapshot.revoked]


def find_provider(access: Access, text: str) -> ProviderAdded:
    """By name or id; live. Raises: NotFoundError (provider-not-found)."""
    for one in live_providers(access):
        if text in (one.name, one.id):
            return one
    raise NotFoundError(f"There is no provider {text[:80]!r}: see casemate provider list.", code="provider-not-found")


def groups_of(access: Access, provider: str, *, now: datetime) -> list[GroupMapped]:
    """The live mappings of a provider."""
    snapshot, now = access.snapshot, access.instant(now)
    mapped = (one for one in snapshot.outside.groups.values() if one.provider == provider and one.counts(now))
    return [one for one in mapped if one.id not in snapshot.revoked]


def mapping_resource(
    text: str, role: str, scope: str, environment: Environment | None, *, now: datetime, life: float
) -> Resource:
    """What the gate is asked about for `provider:map`: nobody gives more than their own scope, nor for longer.

    Args: life: seconds. Raises: InputError `bad-expiry`.
    """
    if not (isfinite(life) and 0 < life <= MAX_LIFE):
        raise InputError("A mapping lives for more than 0 seconds and at most 366 days: --for 90d.", code="bad-expiry")
    end = rfc3339(now + timedelta(seconds=life))
    attributes: dict[str, str | int | bool] = {"role": role, "scope": scope, "expires_at": end}
    return Resource("provider", text[:80], environment=environment, attributes=attributes)


def linking_resource(access: Access, text: str, person: str, *, now: datetime) -> Resource:
    """What the gate is asked about for `provider:bind`: whoever chooses the subject can be the person."""
    return Resource("provider", text[:80], attributes=impersonated(access, person, now=now))


def shown_provider(access: Access, one: ProviderAdded, *, now: datetime) -> dict[str, Any]:
    """What a person sees of it: where its secret lies, never the secret."""
    shown = msgspec.to_builtins(one)
    mapped = [
        {
            **{name: getattr(group, name) for name in ("id", "group", "role", "scope", "environment", "created_by")},
            "expires_at": rfc3339(group.expires_at) if group.expires_at else None,
        }
        for group in groups_of(access, one.id, now=now)
    ]
    state = "revoked" if one.id in access.snapshot.revoked else "active"
    return {**shown, "ca": bool(one.ca), "created_at": rfc3339(one.created_at), "state": state, "groups": mapped}
