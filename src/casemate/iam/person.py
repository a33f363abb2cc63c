"""A person as the signed ledger has them: who invited them, what they prove themselves with, since when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from casemate.core import Principal
from casemate.iam.records import (
    Enrolled,
    Invited,
    PasskeyAdded,
    PasskeyNamed,
    PasskeyRecord,
    PasskeyRemoved,
    PasswordSet,
    PersonRecord,
    PrincipalCreated,
    RecoverySet,
    RecoveryUsed,
    SessionsEnded,
    TotpSet,
)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Args: invitation: the newest, used or not. sessions_from: no session that began before it counts.

    A kind of factor more is a field here, a record, and a line in `after`, `first_factor` or `second_factor`.
    """

    principal: Principal
    created: PrincipalCreated
    invitation: Invited | None = None
    enrolled_at: datetime | None = None  # None: the newest invitation was not used yet
    password: PasswordSet | None = None
    totp: TotpSet | None = None
    passkeys: tuple[PasskeyAdded, ...] = ()  # oldest first, under the names they have now
    recovery: frozenset[str] = frozenset()  # hashes of codes that were not used
    sessions_from: datetime | None = None
    linked_at: datetime | None = None  # an outside provider vouches for them, since the newest reset

    @property
    def id(self) -> str:
        return self.principal.id

    @property
    def name(self) -> str:
        return self.principal.name

    @property
    def first_factor(self) -> bool:
        return self.password is not None or bool(self.passkeys)

    @property
    def second_factor(self) -> bool:
        return self.totp is not None or bool(self.passkeys)

    def passkey(self, passkey_id: str) -> PasskeyAdded | None:
        """The passkey with this id of ours, not the authenticator's."""
        return next((one for one in self.passkeys if one.id == passkey_id), None)

    @property
    def is_active(self) -> bool:
        """Whether they can sign in: enrolled with a second factor, or by a provider, whose sessions show one. That they were not revoked is the snapshot's."""
        enrolled = self.enrolled_at is not None and self.first_factor and self.second_factor
        return enrolled or self.linked_at is not None

    def after(self, record: PersonRecord) -> Person:
        """The person once `record` is on the ledger. Raises: ValueError: it contradicts what was there."""
        if isinstance(record, Invited):
            return self._invited(record)
        if isinstance(record, Enrolled):
            return self._enrolled(record)
        changes: dict[str, Any] = {}
        match record:
            case PasswordSet(again=True):
                _refuse_if(self.password is None, "has no password that could be hashed again")
                changes = {"password": record}
            case PasswordSet():
                changes = {"password": record, "sessions_from": record.set_at}
            case TotpSet():
                changes = {"totp": record}
            case RecoverySet():
                changes = {"recovery": frozenset(record.hashes)}
            case RecoveryUsed():
                _refuse_if(record.hash not in self.recovery, "used a recovery code twice")
                changes = {"recovery": self.recovery - {record.hash}}
            case SessionsEnded():
                changes = {"sessions_from": record.ended_at}
            case PasskeyAdded() | PasskeyNamed() | PasskeyRemoved():
                changes = {"passkeys": self._passkeys(record)}
        return msgspec.structs.replace(self, **changes)

    def _passkeys(self, record: PasskeyRecord) -> tuple[PasskeyAdded, ...]:
        held = self.passkeys
        if isinstance(record, PasskeyAdded):
            taken = any(record.id == one.id or record.credential == one.credential for one in held)
            _refuse_if(taken, "added a passkey twice")
            return (*held, record)
        _refuse_if(self.passkey(record.id) is None, "has no such passkey")
        if isinstance(record, PasskeyRemoved):
            return tuple(one for one in held if one.id != record.id)
        return tuple(msgspec.structs.replace(one, name=record.name) if one.id == record.id else one for one in held)

    def _invited(self, record: Invited) -> Person:
        _refuse_if(self.enrolled_at is not None and not record.resets, "was invited twice")
        ended = record.invited_at if record.resets else self.sessions_from
        return Person(
            principal=self.principal, created=self.created, invitation=record, sessions_from=ended
        )  # without a factor

    def _enrolled(self, record: Enrolled) -> Person:
        invitation = self.invitation
        _refuse_if(
            invitation is None or invitation.id != record.invitation or self.enrolled_at is not None,
            "enrolled without an invitation",
        )
        assert invitation is not None, "refused above"
        _refuse_if(record.enrolled_at >= invitation.expires_at, "enrolled too late")
        _refuse_if(not (self.first_factor and self.second_factor), "enrolled without a second factor")
        return msgspec.structs.replace(self, enrolled_at=record.enrolled_at)


def _refuse_if(contradiction: bool, why: str) -> None:  # noqa: FBT001 - reads as a sentence
    if contradiction:
        raise ValueError(why)
