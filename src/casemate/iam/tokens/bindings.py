"""Bindings: which service a token, a certificate or a client's own key proves, as which role, where, until when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from casemate.core import ConflictError, Principal, PrincipalKind, Resource, new_id, rfc3339
from casemate.iam.access import Access
from casemate.iam.credentials import MAX_REASON, KeyRequest, LedgerItem
from casemate.iam.records import Grant, PrincipalCreated
from casemate.iam.report import LastUse
from casemate.iam.tokens.certificates import read_anchor
from casemate.iam.tokens.issuers import find_issuer
from casemate.iam.tokens.jwks import ALGORITHMS, read_jwks
from casemate.iam.tokens.patterns import checked_claims
from casemate.iam.tokens.records import (
    Binding,
    CertificateBinding,
    ClientKeyBinding,
    TokenBinding,
    entry_of,
)

MAX_BOUND = 10_000  # bindings that count; each request with a new token looks at those of its issuer


class IssuedBinding(msgspec.Struct, frozen=True, kw_only=True):
    """Args: entries: to append to the ledger in one commit."""

    id: str
    expires_at: str
    entries: list[LedgerItem]


Make = Callable[[dict[str, Any]], Binding]  # the fields that every binding has -> the whole one


def binding_resource(request: KeyRequest, *, about: str, stated: Mapping[str, str]) -> Resource:
    """What the gate is asked about for `issuer:bind`. Args: about: the issuer's name. stated: what must be proved."""
    asked = request.resource()
    return Resource(
        "issuer", about, asked.project, asked.environment, {**asked.attributes, **stated, "bound": request.name}
    )


def token_binding(access: Access, issuer: str, claims: Mapping[str, str]) -> Make:
    """Bind what an issuer's tokens say. Raises: NotFoundError (issuer-not-found); InputError (bad-pattern); ConflictError."""
    found = find_issuer(access, issuer).about
    wanted = checked_claims(found.kind, claims)
    snapshot = access.snapshot
    for other in snapshot.bound.get(found.id, ()):
        if other.claims == wanted and other.id not in snapshot.revoked and not _ended(access, other):
            raise ConflictError(f"{other.id} binds the same claims: revoke it first.", code="bound-already")
    return lambda fields: TokenBinding(**fields, issuer=found.id, claims=wanted, ci=found.kind.is_ci)


def certificate_binding(pem: bytes, *, san: str, now: datetime) -> Make:
    """Bind one certificate, or an authority's certificates with a name. Raises: InputError: bad-certificate, bad-san."""
    anchor, thumbprint = read_anchor(pem, san=san, now=now)
    return lambda fields: CertificateBinding(**fields, anchor=anchor, thumbprint=thumbprint, san=san)


def client_key_binding(jwks: bytes) -> Make:
    """Bind a client's own public keys. Raises: InputError (bad-jwks)."""
    keys = read_jwks(jwks, ALGORITHMS)
    return lambda fields: ClientKeyBinding(**fields, keys=keys)


def bind(
    request: KeyRequest, make: Make, *, by: Principal, reason: str, ids: Callable[[str], str] = new_id
) -> IssuedBinding:
    """A service, what proves it, and its grant: as for a key, but without a secret."""
    principal, binding, grant = ids("svc"), ids("bnd"), ids("grt")
    common: dict[str, Any] = {
        "project": request.project,
        "role": request.role,
        "scope": request.scope,
        "environment": request.environment,
        "expires_at": request.expires_at,
    }
    service = PrincipalCreated(
        id=principal,
        kind=PrincipalKind.SERVICE,
        name=request.name,
        project=request.project,
        created_by=by.id,
        created_at=request.created_at,
    )
    bound = make(
        {
            **common,
            "id": binding,
            "principal": principal,
            "name": request.name,
            "rate": request.rate,
            "created_at": request.created_at,
            "created_by": by.id,
        }
    )
    given = Grant(
        **common,
        id=grant,
        principal=principal,
        reason=reason[:MAX_REASON],
        granted_by=by.id,
        granted_at=request.created_at,
    )
    entries = [("principal", service.body()), entry_of(bound), ("grant", given.body())]
    return IssuedBinding(id=binding, expires_at=rfc3339(request.expires_at), entries=entries)


def list_bindings(access: Access, *, now: datetime, last_use: LastUse, issuer: str = "") -> list[dict[str, Any]]:
    """All bindings, the newest last. Args: issuer: the id of one; empty: of all, and those without."""
    now = access.instant(now)
    return [
        _shown(access, one, now, last_use)
        for one in access.snapshot.credentials.values()
        if isinstance(one, Binding) and (not issuer or getattr(one, "issuer", "") == issuer)
    ]


def _shown(access: Access, one: Binding, now: datetime, last_use: LastUse) -> dict[str, Any]:
    used = last_use(one.principal, one.id)
    return {
        "id": one.id,
        "name": one.name,
        "proved_by": _proof(access, one),
        "role": one.role.value,
        "scope": one.scope,
        "environment": one.environment,
        "state": "revoked" if _revoked(access, one) else "expired" if now >= one.expires_at else "active",
        "created_at": rfc3339(one.created_at),
        "created_by": one.created_by,
        "expires_at": rfc3339(one.expires_at),
        "last_used_at": used[0] if used else None,
        "last_used_from": used[1] if used else None,
    }


def _proof(access: Access, one: Binding) -> dict[str, Any]:
    if isinstance(one, TokenBinding):
        return {"issuer": access.snapshot.issuers[one.issuer].about.name, "claims": one.claims}
    if isinstance(one, CertificateBinding):
        return {"certificate": one.thumbprint} if one.thumbprint else {"authority": True, "san": one.san}
    return {"keys": [key.get("kid", "") for key in one.keys]}


def _revoked(access: Access, one: Binding) -> bool:
    proofs = {one.id, one.principal, getattr(one, "issuer", "")}
    return bool(proofs & access.snapshot.revoked)


def _ended(access: Access, one: Binding) -> bool:
    latest = access.snapshot.latest
    return latest is not None and latest >= one.expires_at
