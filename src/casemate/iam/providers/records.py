"""What the ledger says about outside sign-in: providers, what their groups give, and whom a subject is: entries `provider`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from casemate.core import Environment, InputError, Role, VerificationError
from casemate.iam.records import Instant, Name, PrincipalId, Revoked, ScopeText, _Record, read_strictly
from casemate.iam.tokens.records import Line, Url

KIND = "provider"

ProviderId = Annotated[str, msgspec.Meta(pattern=r"^idp_[0-9a-f]{32}\Z")]
MappingId = Annotated[str, msgspec.Meta(pattern=r"^map_[0-9a-f]{32}\Z")]
Words = Annotated[tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=200)], ...], msgspec.Meta(max_length=20)]
Subject = Annotated[str, msgspec.Meta(pattern=r"^[ -~]{1,255}\Z")]  # OpenID Connect Core, section 2: ASCII, 255 at most


class ClientAuth(StrEnum):
    """How the control plane proves itself to the provider. Source: OpenID Connect Core, section 9."""

    BASIC = "client_secret_basic"
    PRIVATE_KEY = "private_key_jwt"


class ProviderAdded(_Record, frozen=True, kw_only=True, tag="add"):
    """People may sign in through `issuer`; nobody has a role by that until a mapping says so.

    Args: secret: a reference, never the secret. ca: PEM of the one authority to trust; empty: those of the system.
        acr, amr: what the provider must say of a second factor; empty: nothing is asked of that kind.
    """

    id: ProviderId
    name: Name
    display: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    issuer: Url
    client_id: Line
    client_auth: ClientAuth
    secret: Line
    ca: Annotated[str, msgspec.Meta(max_length=16384)] = ""
    algorithms: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=10)]
    scopes: Words
    groups_claim: Line
    acr: Words = ()
    amr: Words = ()
    created_by: str
    created_at: Instant


class GroupMapped(_Record, frozen=True, kw_only=True, tag="map"):
    """Whoever signs in through the provider as a member of `group` has the role while that session lasts.

    Args: expires_at: when the mapping itself ends; None: made before mappings ended by themselves.
    """

    id: MappingId
    provider: ProviderId
    group: Line
    project: Name
    role: Role
    scope: ScopeText
    environment: Environment | None = None
    reason: str
    created_by: str
    created_at: Instant
    expires_at: Instant | None = None

    def counts(self, now: datetime) -> bool:
        """Whether it has not ended by itself."""
        return self.expires_at is None or now < self.expires_at


class SubjectLinked(_Record, frozen=True, kw_only=True, tag="link"):
    """The provider's `subject` is this person from now on, whoever it was before. `linked_by`: empty: at first sign-in."""

    provider: ProviderId
    issuer: Url
    subject: Subject
    principal: PrincipalId
    linked_by: str
    linked_at: Instant


ProviderRecord = ProviderAdded | GroupMapped | SubjectLinked | Revoked


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """All of it as the newest entries have it, those that were revoked included."""

    providers: Mapping[str, ProviderAdded] = {}  # by id
    groups: Mapping[str, GroupMapped] = {}  # by id
    links: Mapping[tuple[str, str], SubjectLinked] = {}  # by issuer and subject

    def after(self, record: ProviderAdded | GroupMapped | SubjectLinked) -> Outside:
        """Raises: ValueError: the record contradicts what was there."""
        if isinstance(record, ProviderAdded):
            if record.id in self.providers:
                raise ValueError("is there already")
            return msgspec.structs.replace(self, providers={**self.providers, record.id: record})
        provider = self.providers.get(record.provider)
        if provider is None:
            raise ValueError("is of a provider that is not there")
        if isinstance(record, GroupMapped):
            if record.id in self.groups:
                raise ValueError("is there already")
            return msgspec.structs.replace(self, groups={**self.groups, record.id: record})
        if record.issuer != provider.issuer:
            raise ValueError("is of another issuer than its provider")
        return msgspec.structs.replace(self, links={**self.links, (record.issuer, record.subject): record})


def read_provider_record(body: Any) -> ProviderRecord:
    """Read one entry of the ledger. Raises: VerificationError (state-unreadable)."""
    record: ProviderRecord = read_strictly("provider", body, ProviderRecord)
    return record


def entry_of(record: ProviderRecord) -> tuple[str, dict[str, Any]]:
    """What goes into the ledger, read back first. Raises: InputError (bad-record)."""
    body = record.body()
    try:
        read_provider_record(body)
    except VerificationError as error:
        raise InputError("A value of this provider is too long, or not of its kind.", code="bad-record") from error
    return KIND, body
