"""What the ledger says about who may do what: the bodies of its entries `principal`, `credential` and `grant`.

Bodies are plain values with an `op`; here they are read strictly, so that an entry nobody understands stops the start.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

from casemate.core import Environment, PrincipalKind, Role, VerificationError

MAX_TEMPORARY = 30 * 86400  # s that a requested grant may live; what is needed for longer is a key's role
MAX_EMERGENCY = 366 * 86400  # s that an emergency grant may lie ready

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
PrincipalId = Annotated[str, msgspec.Meta(pattern=r"^(usr|svc)_[0-9a-f]{32}\Z")]
CredentialId = Annotated[str, msgspec.Meta(pattern=r"^key_[0-9a-f]{32}\Z")]
HolderId = Annotated[str, msgspec.Meta(pattern=r"^(key|bnd|ses)_[0-9a-f]{32}\Z")]  # whatever proves somebody
InvitationId = Annotated[str, msgspec.Meta(pattern=r"^inv_[0-9a-f]{32}\Z")]
PasskeyId = Annotated[str, msgspec.Meta(pattern=r"^pky_[0-9a-f]{32}\Z")]
GrantId = Annotated[str, msgspec.Meta(pattern=r"^grt_[0-9a-f]{32}\Z")]
Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,63}\Z")]
PasskeyName = Annotated[str, msgspec.Meta(min_length=1, max_length=60)]  # for its owner; printable
ScopeText = Annotated[str, msgspec.Meta(pattern=r"^(\*|(model|dataset|deployment):[a-z0-9-]{1,63})\Z")]


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="op"):
    def body(self) -> dict[str, Any]:
        """The plain value that goes into the ledger."""
        value: dict[str, Any] = msgspec.to_builtins(self)
        return value


class PrincipalCreated(_Record, frozen=True, kw_only=True, tag="create"):
    """Args: local: the user id of this machine that the person acts under, as in `local:1000`; empty: none."""

    id: PrincipalId
    kind: PrincipalKind
    name: Name
    project: Name
    local: Annotated[str, msgspec.Meta(pattern=r"^(local:[0-9]{1,10})?\Z")] = ""
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
    replaces: CredentialId | None = None  # the one that it was rotated from


class Retired(_Record, frozen=True, kw_only=True, tag="retire"):
    """The credential `id` was rotated: it ends at `until`, never later than it would have."""

    id: CredentialId
    replaced_by: CredentialId
    until: Instant
    reason: str
    retired_by: str
    retired_at: Instant


class GrantRequested(_Record, frozen=True, kw_only=True, tag="request"):
    """Somebody asks for a role for `life` seconds from the approval on; gives nothing. The grant will bear its id.

    `emergency`: for a grant that gives nothing either until its holder opens it.
    """

    id: GrantId
    principal: PrincipalId
    credential: HolderId  # that asked
    project: Name
    role: Role
    scope: ScopeText
    environment: Environment | None = None
    life: Annotated[int, msgspec.Meta(gt=0, le=MAX_EMERGENCY)]
    emergency: bool = False
    reason: str
    requested_at: Instant
    answer_by: Instant


class GrantDenied(_Record, frozen=True, kw_only=True, tag="deny"):
    """The answer no to the request `id`."""

    id: GrantId
    reason: str
    denied_by: str
    denied_at: Instant


class Grant(_Record, frozen=True, kw_only=True, tag="grant"):
    """A role. `emergency`: it gives nothing; its holder may open it (`iam.glass`)."""

    id: GrantId
    principal: PrincipalId
    project: Name
    role: Role
    scope: ScopeText
    environment: Environment | None = None
    emergency: bool = False
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


class Invited(_Record, frozen=True, kw_only=True, tag="invite"):
    """Whoever has the code (`hash`: its SHA-256) may enrol as `principal` until it ends; it ends any one before it.

    `resets`: the person has factors, and none of them, nor any session, counts from here on.
    """

    id: InvitationId
    principal: PrincipalId
    hash: Hash
    resets: bool = False
    reason: str
    invited_by: str
    invited_at: Instant
    expires_at: Instant


class PasswordSet(_Record, frozen=True, kw_only=True, tag="password"):
    """`hash`: argon2id in its own notation, with parameters and salt. `again`: of the same password, at today's cost."""

    principal: PrincipalId
    hash: Annotated[str, msgspec.Meta(pattern=r"^\$argon2id\$", max_length=256)]
    set_at: Instant
    again: bool = False


class TotpSet(_Record, frozen=True, kw_only=True, tag="totp"):
    """`secret`: sealed with the people key and bound to the principal, in base64url."""

    principal: PrincipalId
    secret: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_=-]{40,200}\Z")]
    set_at: Instant


class RecoverySet(_Record, frozen=True, kw_only=True, tag="recovery"):
    """SHA-256 of each recovery code; 125 random bits need no salt and no slow hash. They replace all earlier ones."""

    principal: PrincipalId
    hashes: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=20)]
    set_at: Instant


class RecoveryUsed(_Record, frozen=True, kw_only=True, tag="recover"):
    """One recovery code was used, and is good for nothing more."""

    principal: PrincipalId
    hash: Hash
    used_at: Instant


class PasskeyAdded(_Record, frozen=True, kw_only=True, tag="add-passkey"):
    """A WebAuthn credential that proves the principal. Bytes are base64url without padding.

    `credential`: its id, as the authenticator made it. `key`: COSE. `rp_id`: the host for which it was made, and works.
    `count`: the signature counter as it began; 0 for ever where it keeps none. `synced`: copies of it are made elsewhere.
    """

    id: PasskeyId
    principal: PrincipalId
    credential: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{16,1364}\Z")]
    key: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{40,2000}\Z")]
    rp_id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9.-]{1,253}\Z")]
    aaguid: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]
    transports: Annotated[tuple[str, ...], msgspec.Meta(max_length=8)] = ()
    count: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)] = 0
    synced: bool = False
    name: PasskeyName
    added_at: Instant


class PasskeyNamed(_Record, frozen=True, kw_only=True, tag="name-passkey"):
    """The passkey `id` is called something else from now on."""

    id: PasskeyId
    principal: PrincipalId
    name: PasskeyName
    named_at: Instant


class PasskeyRemoved(_Record, frozen=True, kw_only=True, tag="remove-passkey"):
    """The passkey `id` proves nobody any more."""

    id: PasskeyId
    principal: PrincipalId
    removed_at: Instant


class Enrolled(_Record, frozen=True, kw_only=True, tag="enrol"):
    """The invitation was used, and its person has a password or passkey and a second factor, confirmed."""

    principal: PrincipalId
    invitation: InvitationId
    enrolled_at: Instant


class SessionsEnded(_Record, frozen=True, kw_only=True, tag="sign-out"):
    """No session that the principal began before `ended_at` counts any more."""

    principal: PrincipalId
    reason: str
    ended_by: str
    ended_at: Instant


PasskeyRecord = PasskeyAdded | PasskeyNamed | PasskeyRemoved
PersonRecord = Invited | PasswordSet | TotpSet | RecoverySet | RecoveryUsed | Enrolled | SessionsEnded | PasskeyRecord
Record = PrincipalCreated | Credential | Retired | GrantRequested | GrantDenied | Grant | Revoked | PersonRecord

_SHAPES: dict[str, Any] = {
    "principal": PrincipalCreated | Revoked | PersonRecord,
    "credential": Credential | Retired | Revoked,
    "grant": GrantRequested | GrantDenied | Grant | Revoked,
}
RECORD_KINDS = frozenset(_SHAPES)


def read_record(kind: str, body: Any) -> Record:
    """Read one entry of the ledger. Raises: VerificationError (state-unreadable)."""
    record: Record = read_strictly(kind, body, _SHAPES[kind])
    return record


def read_strictly(kind: str, body: Any, shape: Any) -> Any:
    """A body as the record that it is. Args: kind: for the message. Raises: VerificationError (state-unreadable)."""
    try:
        return msgspec.convert(body, type=shape)
    except msgspec.ValidationError as error:
        raise VerificationError(
            f"A signed {kind} entry cannot be read ({error}): it was written by another version of Casemate.",
            code="state-unreadable",
        ) from error
