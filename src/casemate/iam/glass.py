"""Emergency grants that were opened: what the ledger says of each, and of the account that is owed for it.

An emergency grant was approved by somebody else and gives nothing. Its holder opens it alone; then a grant is made that ends
within hours. Whoever opened one opens no other until they said what they did, and somebody else accepted it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

import msgspec

from casemate.iam.records import Grant, GrantId, Instant, PrincipalId, _Record, read_strictly

KIND = "glass"  # of ledger entries
MAX_OPEN = timedelta(hours=4)
MAX_ACCOUNT = 2000  # characters


class GlassBroken(_Record, frozen=True, kw_only=True, tag="break-glass"):
    """The emergency grant `emergency` gives its role from here on, as the grant `id`, until `until`."""

    id: GrantId
    emergency: GrantId
    principal: PrincipalId
    reason: str
    broken_at: Instant
    until: Instant

    def grant(self, emergency: Grant) -> Grant:
        """What it gives."""
        return Grant(
            id=self.id,
            principal=self.principal,
            project=emergency.project,
            role=emergency.role,
            scope=emergency.scope,
            environment=emergency.environment,
            reason=self.reason,
            granted_by=self.principal,
            granted_at=self.broken_at,
            expires_at=self.until,
        )


class GlassAccounted(_Record, frozen=True, kw_only=True, tag="account"):
    """What was done under the grant `id`, and why, says its holder. A later one takes its place until one is accepted."""

    id: GrantId
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ACCOUNT)]
    accounted_by: str
    accounted_at: Instant


class GlassAccepted(_Record, frozen=True, kw_only=True, tag="accept"):
    """Somebody else finds the account of the grant `id` right."""

    id: GrantId
    reason: str
    accepted_by: str
    accepted_at: Instant


GlassRecord = GlassBroken | GlassAccounted | GlassAccepted


def read_glass_record(body: Any) -> GlassRecord:
    """Read one entry of the ledger. Raises: VerificationError (state-unreadable)."""
    record: GlassRecord = read_strictly("glass", body, GlassRecord)
    return record


class Glass(msgspec.Struct, frozen=True, kw_only=True):
    """One opening."""

    broken: GlassBroken
    account: GlassAccounted | None = None
    accepted: GlassAccepted | None = None

    @property
    def account_state(self) -> str:
        """`owed`, `given` or `accepted`."""
        if self.accepted is not None:
            return "accepted"
        return "owed" if self.account is None else "given"


def owing(glass: Mapping[str, Glass], principal: str) -> Glass | None:
    """The opening for which `principal` still owes an account that somebody accepted."""
    return next((one for one in glass.values() if one.broken.principal == principal and not one.accepted), None)


def broken(emergency: Grant | None, glass: Mapping[str, Glass], record: GlassBroken) -> Glass:
    """Raises: ValueError: it may not be opened so."""
    if emergency is None or not emergency.emergency or emergency.principal != record.principal:
        raise ValueError("is no emergency grant of whoever opened it")
    if record.broken_at >= emergency.expires_at or record.until > emergency.expires_at:
        raise ValueError("was opened after it ended, or beyond that")
    if not timedelta(0) < record.until - record.broken_at <= MAX_OPEN:
        raise ValueError("was opened for longer than anybody may")
    if record.id in glass or owing(glass, record.principal) is not None:
        raise ValueError("was opened before the last time was accounted for")
    return Glass(broken=record)


def after(glass: Glass | None, record: GlassAccounted | GlassAccepted) -> Glass:
    """Raises: ValueError: it contradicts what came before."""
    if glass is None or glass.accepted is not None:
        raise ValueError("was accounted for and not open to that")
    if isinstance(record, GlassAccounted):
        if record.accounted_by != glass.broken.principal:
            raise ValueError("was accounted for by somebody else")
        return msgspec.structs.replace(glass, account=record)
    if glass.account is None or record.accepted_by == glass.broken.principal:
        raise ValueError("was accepted without an account, or by whoever opened it")
    return msgspec.structs.replace(glass, accepted=record)
