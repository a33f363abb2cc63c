"""Issuers of tokens: add one, record its new keys, end it. Each function returns what to append to the ledger.

Authorise first, and let nothing come between. A gateway makes no call to an issuer: it knows the keys on the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from casemate.core import (
    DEFAULT_PROJECT,
    ConflictError,
    InputError,
    NotFoundError,
    Principal,
    Resource,
    checked_name,
    new_id,
    rfc3339,
)
from casemate.iam.access import Access
from casemate.iam.credentials import MAX_REASON, LedgerItem
from casemate.iam.records import Revoked
from casemate.iam.tokens.jwks import checked_algorithms
from casemate.iam.tokens.records import KIND, Issuer, IssuerAdded, IssuerKeys, IssuerKind, Jwk, entry_of

MAX_ISSUERS = 100  # live ones
_DEFAULT_ALGORITHMS = ("RS256",)  # what the three kinds sign with unless told otherwise
# Source: GitHub, "OpenID Connect reference"; GitLab, "OpenID Connect provider API".
_WELL_KNOWN = {
    IssuerKind.GITHUB: (
        "https://token.actions.githubusercontent.com",
        "https://token.actions.githubusercontent.com/.well-known/jwks",
    ),
    IssuerKind.GITLAB: ("https://gitlab.com", "https://gitlab.com/oauth/discovery/keys"),
}


class IssuerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An issuer that somebody wants to trust; checked by `issuer_request`. `source`: empty where its keys are given."""

    name: str
    kind: IssuerKind
    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    source: str


def issuer_request(
    name: str, *, kind: str, issuer: str, audience: str, algorithms: Sequence[str], source: str
) -> IssuerRequest:
    """Check what a person typed. Args: source: `https://` of a key set; empty: it comes with the request.

    Raises: InputError: bad-name, bad-kind, bad-issuer, bad-audience, bad-algorithm, bad-url.
    """
    if kind not in set(IssuerKind):
        raise InputError(f"kind {kind[:40]!r} is not one of {', '.join(IssuerKind)}.", code="bad-kind")
    known = IssuerKind(kind)
    default_issuer, default_source = _WELL_KNOWN.get(known, ("", ""))
    issuer = issuer or default_issuer
    if issuer == default_issuer and not source:
        source = default_source
    if not audience or len(audience) > 300 or not audience.isprintable():
        raise InputError("Name the audience that its tokens must have for us: --audience TEXT.", code="bad-audience")
    return IssuerRequest(
        name=checked_name(name, what="issuer name"),
        kind=known,
        issuer=checked_url(issuer, what="issuer", code="bad-issuer"),
        audience=audience,
        algorithms=checked_algorithms(algorithms or (() if known is IssuerKind.GENERIC else _DEFAULT_ALGORITHMS)),
        source=source and checked_url(source, what="key set", code="bad-url"),
    )


def checked_url(text: str, *, what: str, code: str) -> str:
    """An `https` address without a user, a query or a fragment. Raises: InputError."""
    try:
        parts = urlsplit(text)
        plain = parts.scheme == "https" and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        plain = False
    if (
        not plain
        or not text.isascii()
        or not text.isprintable()
        or " " in text
        or len(text) > 300
        or set("?#\\") & set(text)
    ):
        raise InputError(f"The address of the {what} must be https://HOST/PATH, and nothing after it.", code=code)
    return text


def add_issuer(
    access: Access,
    request: IssuerRequest,
    keys: tuple[Jwk, ...],
    *,
    by: Principal,
    now: datetime,
    ids: Callable[[str], str] = new_id,
) -> list[LedgerItem]:
    """Raises: ConflictError (issuer-exists): its name, or its address and audience, are taken; (too-many-issuers)."""
    live = live_issuers(access)
    for one in live:
        same = (one.about.issuer, one.about.audience) == (request.issuer, request.audience)
        if one.about.name == request.name or same:
            raise ConflictError(
                f"The issuer {one.about.name} has this name, or this address and audience: revoke it first.",
                code="issuer-exists",
            )
    if len(live) >= MAX_ISSUERS:
        raise ConflictError(f"There are {MAX_ISSUERS} issuers already: revoke one first.", code="too-many-issuers")
    about = IssuerAdded(
        id=ids("iss"),
        name=request.name,
        kind=request.kind,
        project=DEFAULT_PROJECT,
        issuer=request.issuer,
        audience=request.audience,
        algorithms=request.algorithms,
        source=request.source,
        created_by=by.id,
        created_at=now,
    )
    return [entry_of(about), _keys(about.id, keys, by, now)]


def record_keys(issuer: Issuer, keys: tuple[Jwk, ...], *, by: Principal, now: datetime) -> list[LedgerItem]:
    """What replaces an issuer's keys; nothing where they are the same."""
    return [] if keys == issuer.keys.keys else [_keys(issuer.about.id, keys, by, now)]


def _keys(issuer: str, keys: tuple[Jwk, ...], by: Principal, now: datetime) -> LedgerItem:
    return entry_of(IssuerKeys(id=issuer, keys=keys, recorded_by=by.id, recorded_at=now))


def live_issuers(access: Access) -> list[Issuer]:
    """Those that were not revoked, oldest first."""
    snapshot = access.snapshot
    return [one for one in snapshot.issuers.values() if one.about.id not in snapshot.revoked]


def find_issuer(access: Access, text: str) -> Issuer:
    """By name, or by id. Raises: NotFoundError (issuer-not-found)."""
    for one in live_issuers(access):
        if text in (one.about.name, one.about.id):
            return one
    raise NotFoundError(f"There is no issuer {text[:80]!r}: see casemate issuer list.", code="issuer-not-found")


def issuer_resource(access: Access, text: str) -> Resource:
    """What the gate is asked about for one issuer or one binding; an unknown one has its name only."""
    binding = access.snapshot.credentials.get(text)
    if binding is not None and text.startswith("bnd_"):
        attributes: dict[str, str | int | bool] = {"role": binding.role.value, "scope": binding.scope}
        return Resource("issuer", text, binding.project, binding.environment, attributes)
    return Resource("issuer", text[:80])


def given_keys_resource(access: Access, text: str, *, now: datetime) -> Resource:
    """What the gate is asked about for `issuer:bind` where somebody brings an issuer's keys themselves: they could be each
    service that its tokens prove, for as long as the last of these lives. An unknown issuer has its name only."""
    snapshot, now = access.snapshot, access.instant(now)
    found = [one for one in live_issuers(access) if text in (one.about.name, one.about.id)]
    bound = snapshot.bound.get(found[0].about.id, ()) if found else ()
    ends = [one.expires_at for one in bound if one.id not in snapshot.revoked and now < one.expires_at]
    return Resource("issuer", text[:80], attributes={"expires_at": rfc3339(max(ends))} if ends else {})


def revoke(access: Access, text: str, *, by: Principal, reason: str, now: datetime) -> tuple[str, list[LedgerItem]]:
    """End an issuer (by name or id) with all its bindings, or one binding (by id).

    Returns: its id, and what to append; nothing where it was revoked before. Raises: NotFoundError (issuer-not-found).
    """
    snapshot = access.snapshot
    known = text if text in snapshot.issuers or (text.startswith("bnd_") and text in snapshot.credentials) else ""
    found = known or find_issuer(access, text).about.id
    if found in snapshot.revoked:
        return found, []
    record = Revoked(id=found, reason=reason[:MAX_REASON], revoked_by=by.id, revoked_at=now)
    return found, [(KIND, record.body())]


def shown_issuer(access: Access, issuer: Issuer) -> dict[str, Any]:
    """What a person sees of it: no key, but the names of its keys."""
    about, keys = issuer.about, issuer.keys
    return {
        "id": about.id,
        "name": about.name,
        "kind": about.kind.value,
        "issuer": about.issuer,
        "audience": about.audience,
        "algorithms": list(about.algorithms),
        "source": about.source or "file",
        "keys": [key.get("kid", "") for key in keys.keys],
        "keys_recorded_at": rfc3339(keys.recorded_at),
        "state": "revoked" if about.id in access.snapshot.revoked else "active",
        "created_at": rfc3339(about.created_at),
        "created_by": about.created_by,
    }
