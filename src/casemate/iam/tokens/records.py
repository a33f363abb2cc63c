"""What the ledger says about issuers of tokens and what their tokens, or a certificate, prove: the entries `issuer`.

A binding is a credential like an API key: an id, a service that it proves, a role, a scope, a mandatory expiry.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec

from casemate.core import Environment, InputError, Role, VerificationError
from casemate.iam.records import Credential, Instant, Name, PrincipalId, Revoked, ScopeText, _Record, read_strictly

KIND = "issuer"

IssuerId = Annotated[str, msgspec.Meta(pattern=r"^iss_[0-9a-f]{32}\Z")]
BindingId = Annotated[str, msgspec.Meta(pattern=r"^bnd_[0-9a-f]{32}\Z")]
Url = Annotated[str, msgspec.Meta(pattern=r"^https://[!-~]{1,300}\Z")]
Line = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
Jwk = dict[str, str]  # public members only


class IssuerKind(StrEnum):
    GENERIC = "generic"
    KUBERNETES = "kubernetes"
    GITHUB = "github"
    GITLAB = "gitlab"

    @property
    def is_ci(self) -> bool:
        """Whether its tokens prove a CI job: each counts once, and no person answers a second factor behind it."""
        return self in (IssuerKind.GITHUB, IssuerKind.GITLAB)


class IssuerAdded(_Record, frozen=True, kw_only=True, tag="add"):
    """Tokens of `issuer` for `audience` are read from now on; they prove nobody until a binding says whom."""

    id: IssuerId
    name: Name
    kind: IssuerKind
    project: Name
    issuer: Url
    audience: Line
    algorithms: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=10)]
    source: Annotated[str, msgspec.Meta(max_length=320)] = ""  # where its keys are read anew; empty: from a file
    created_by: str
    created_at: Instant


class IssuerKeys(_Record, frozen=True, kw_only=True, tag="keys"):
    """The public keys of the issuer `id`, all of them: those of before count no more."""

    id: IssuerId
    keys: Annotated[tuple[Jwk, ...], msgspec.Meta(min_length=1, max_length=32)]
    recorded_by: str
    recorded_at: Instant


class _Binding(_Record, frozen=True, kw_only=True):
    id: BindingId
    principal: PrincipalId
    project: Name
    name: Name
    role: Role
    scope: ScopeText
    environment: Environment | None = None
    rate: Annotated[float, msgspec.Meta(gt=0)] | None = None  # requests/s; None means the profile's own limit
    created_at: Instant
    created_by: str
    expires_at: Instant


class TokenBinding(_Binding, frozen=True, kw_only=True, tag="bind"):
    """Whoever has a token of `issuer` whose claims fit the patterns is the service `principal`."""

    issuer: IssuerId
    claims: Annotated[dict[str, Line], msgspec.Meta(min_length=1, max_length=16)]
    ci: bool  # as the issuer's kind says


class CertificateBinding(_Binding, frozen=True, kw_only=True, tag="certificate"):
    """Whoever proves to hold a client certificate is the service: this one, or one of this authority and name.

    Args: anchor: PEM of the certificate, or of the authority. thumbprint: SHA-256 of the certificate; empty for an
        authority's. san: `URI:...` or `DNS:...` that the certificate must bear; empty for one certificate.
    """

    anchor: Annotated[str, msgspec.Meta(max_length=16384)]
    thumbprint: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""
    san: Annotated[str, msgspec.Meta(max_length=300)] = ""


class ClientKeyBinding(_Binding, frozen=True, kw_only=True, tag="client-key"):
    """Whoever signs an assertion with one of these keys is the service. Source: RFC 7523, private_key_jwt."""

    keys: Annotated[tuple[Jwk, ...], msgspec.Meta(min_length=1, max_length=8)]


Binding = TokenBinding | CertificateBinding | ClientKeyBinding
IssuerRecord = IssuerAdded | IssuerKeys | Binding | Revoked
AnyCredential = Credential | Binding


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """An issuer as the newest entries have it. `keys`: the very record, so that what was made of it can be kept."""

    about: IssuerAdded
    keys: IssuerKeys


def read_issuer_record(body: Any) -> IssuerRecord:
    """Read one entry of the ledger. Raises: VerificationError (state-unreadable)."""
    record: IssuerRecord = read_strictly("issuer", body, IssuerRecord)
    return record


def entry_of(record: IssuerRecord) -> tuple[str, dict[str, Any]]:
    """What goes into the ledger, read back first: what could not be read there would stop every start.

    Raises: InputError (bad-record).
    """
    body = record.body()
    try:
        read_issuer_record(body)
    except VerificationError as error:
        raise InputError(
            "A value of this issuer or binding is too long, or not of its kind.", code="bad-record"
        ) from error
    return KIND, body


def is_ci(credential: AnyCredential | None) -> bool:
    """Whether a CI job's token stands behind it."""
    return isinstance(credential, TokenBinding) and credential.ci
