"""What the ledger says about who may do what: the bodies of its entries `principal`, `credential` and `grant`.

Bodies are plain values with an `op`; here they are read strictly, so that an entry nobody understands stops the start.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

from casemate.core import Environment, PrincipalKind, Role, VerificationError

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
PrincipalId = Annotated[str, msgspec.Meta(pattern=r"^(usr|svc)_[0-9a-f]{32}$")]
CredentialId = Annotated[str, msgspec.Meta(pattern=r"^key_[0-9a-f]{32}$")]
GrantId = Annotated[str, msgspec.Meta(pattern=r"^grt_[0-9a-f]{32}$")]
Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,63}$")]
ScopeText = Annotated[str, msgspec.Meta(pattern=r"^(\*|(model|dataset|deployment):[a-z0-9-]{1,63})$")]


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="op"):
    def body(self) -> dict[str, Any]:
        """The plain value that goes into the ledger."""
        value: dict[str, Any] = msgspec.to_builtins(self)
        return value


class PrincipalCreated(_Record, frozen=True, kw_only=True, tag="create"):
    id: PrincipalId
    kind: PrincipalKind
    name: Name
    project: Name
    created_by: str
    created_at: Instant


class Credential(_Record, frozen=True, kw_only=True, tag="issue"):
    """An API key: `hash` is the SHA-256 of the whole key text; 256 random bits need no salt and no slow hash."""

    id: CredentialId
    principal: PrincipalId
    project: Name
    hash: Hash
    name: Name
    role: Role
    scope: ScopeText
    environment: Environment | None = None
    rate: Annotated[float, msgspec.Meta(gt=0)] | None = None  # requests/s; None means the profile's own limit
    created_at: Instant
    created_by: str
    expires_at: Instant


class Grant(_Record, frozen=True, kw_only=True, tag="grant"):
    id: GrantId
    principal: PrincipalId
    project: Name
    role: Role
    scope: ScopeText
    environment: Environment | None = None
    reason: str
    granted_by: str
    granted_at: Instant
    expires_at: Instant


class Revoked(_Record, frozen=True, kw_only=True, tag="revoke"):
    """Ends the principal, credential or grant `id` for good: what was revoked is never issued again."""

    id: str
    reason: str
    revoked_by: str
    revoked_at: Instant


Record = PrincipalCreated | Credential | Grant | Revoked

_SHAPES: dict[str, Any] = {
    "principal": PrincipalCreated | Revoked,
    "credential": Credential | Revoked,
    "grant": Grant | Revoked,
}
RECORD_KINDS = frozenset(_SHAPES)


def read_record(kind: str, body: Any) -> Record:
    """Read one entry of the ledger. Raises: VerificationError (state-unreadable)."""
    try:
        record: Record = msgspec.convert(body, type=_SHAPES[kind])
    except msgspec.ValidationError as error:
        raise VerificationError(
            f"A signed {kind} entry cannot be read ({error}): it was written by another version of Casemate.",
            code="state-unreadable",
        ) from error
    return record
