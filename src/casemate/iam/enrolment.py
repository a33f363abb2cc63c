"""How a person comes by their factors: enrol with an invitation, change a password, take a new second factor.

Nothing counts before a code of the new second factor has confirmed it; what waits for that is a sealed row.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from casemate.core import AuthError, InputError, Principal, new_id
from casemate.iam.bearer import Kind, hash_of, is_secret
from casemate.iam.credentials import LedgerItem
from casemate.iam.factors import (
    hash_of_recovery,
    is_totp_code,
    new_recovery_codes,
    new_totp_secret,
    open_totp,
    seal_totp,
    totp_uri,
)
from casemate.iam.passwords import check_password
from casemate.iam.person import Person
from casemate.iam.records import Enrolled, PasswordSet, RecoverySet, SessionsEnded, TotpSet
from casemate.iam.sessions import StartedSession, Visitor
from casemate.iam.sign_in import SignedIn, SignIn

_CONFIRM = timedelta(minutes=15)  # to confirm a new second factor


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """What was chosen and is not confirmed. Args: secret: of the second factor, sealed as on the ledger."""

    password: str
    secret: str


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """A second factor to be set up: show it once. Args: uri: for an authenticator app."""

    name: str
    secret: str
    uri: str

    def __repr__(self) -> str:
        return f"Offered(name={self.name!r})"


class Confirmed(msgspec.Struct, frozen=True, kw_only=True):
    """Args: recovery_codes: show them once."""

    signed_in: SignedIn
    recovery_codes: list[str]

    def __repr__(self) -> str:
        return f"Confirmed(signed_in={self.signed_in!r})"


class Enrolment:
    """Factors of one home's people, for use from many threads."""

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in, self._rows, self._cipher = sign_in, sign_in.rows, sign_in.cipher

    def begin(self, code: str, password: str) -> Offered:
        """Choose a password, and be offered a second factor; nothing counts yet, and it can be begun again.

        Raises: AuthError `bad-invitation`. InputError `weak-password`. LimitError `sign-in-busy`.
        """
        person = self.invited(code)
        check_password(password, name=person.name)
        assert person.invitation is not None, "invited"
        return self._offer(
            person,
            row=f"enrol:{person.invitation.id}",
            password=self._sign_in.passwords.hash(password),
            ends_at=person.invitation.expires_at,
        )

    def confirm(self, code: str, totp: str, visitor: Visitor) -> Confirmed:
        """Be active from now on, with the second factor confirmed by `totp`, and signed in.

        Raises: AuthError `bad-invitation`, `bad-code`. InputError `not-begun`.
        """
        person, recovery = self.invited(code), new_recovery_codes(self._sign_in.random)
        assert person.invitation is not None, "invited"
        invitation = person.invitation.id
        pending = self._confirmed(person, f"enrol:{invitation}", totp)

        def make() -> list[LedgerItem]:
            now = self._sign_in.now()
            self.invited(code)  # still, with nobody in between
            return [
                ("principal", record.body())
                for record in (
                    PasswordSet(principal=person.id, hash=pending.password, set_at=now),
                    TotpSet(principal=person.id, secret=pending.secret, set_at=now),
                    recovery_record(person.id, recovery, now),
                    Enrolled(principal=person.id, invitation=invitation, enrolled_at=now),
                )
            ]

        self._sign_in.settle(make, new_id("int"))
        self._rows.remove(f"enrol:{invitation}")
        person = self._sign_in.access.snapshot.people[person.id]
        signed_in = self._sign_in.let_in(person, methods=("pwd", "otp"), visitor=visitor)
        return Confirmed(signed_in=signed_in, recovery_codes=recovery)

    def change_password(
        self, principal: Principal, old: str, new: str, visitor: Visitor, *, intent: str
    ) -> StartedSession:
        """Every session ends but the new one that is returned.

        Raises: AuthError `bad-password`. InputError `weak-password`. LimitError.
        """
        person = self._sign_in.person_of(principal)
        check_password(new, name=person.name)
        if person.password is not None:  # who has passkeys alone takes a first one; a fresh passkey stands for it
            self._sign_in.check_password(person, old, visitor)
        hashed = self._sign_in.passwords.hash(new)

        def make() -> list[LedgerItem]:
            return [("principal", PasswordSet(principal=person.id, hash=hashed, set_at=self._sign_in.now()).body())]

        self._sign_in.settle(make, intent)
        return self._anew(person.id, visitor)

    def offer_totp(self, principal: Principal) -> Offered:
        """A new second factor in place of the old, which counts until the new one is confirmed."""
        person = self._sign_in.person_of(principal)
        ends_at = self._sign_in.now() + _CONFIRM
        return self._offer(person, row=f"factor:{person.id}", password="", ends_at=ends_at)

    def confirm_totp(self, principal: Principal, totp: str, visitor: Visitor, *, intent: str) -> StartedSession:
        """Every session ends but the new one that is returned. Raises: AuthError `bad-code`. InputError `not-begun`."""
        person = self._sign_in.person_of(principal)
        pending = self._confirmed(person, f"factor:{person.id}", totp)

        def make() -> list[LedgerItem]:
            now = self._sign_in.now()
            ended = SessionsEnded(principal=person.id, reason="a new second factor", ended_by=person.id, ended_at=now)
            changed = TotpSet(principal=person.id, secret=pending.secret, set_at=now)
            return [("principal", changed.body()), ("principal", ended.body())]

        self._sign_in.settle(make, intent)
        self._rows.remove(f"factor:{person.id}")
        return self._anew(person.id, visitor)

    def new_recovery_codes(self, principal: Principal, *, intent: str) -> list[str]:
        """Ten codes in place of all earlier ones; show them once."""
        person = self._sign_in.person_of(principal)
        codes = new_recovery_codes(self._sign_in.random)
        self._sign_in.settle(
            lambda: [("principal", recovery_record(person.id, codes, self._sign_in.now()).body())], intent
        )
        return codes

    def invited(self, code: str) -> Person:
        """Whose invitation this is. Raises: AuthError `bad-invitation`: nobody's, used, revoked, or too late."""
        access, now = self._sign_in.access, self._sign_in.now()
        hashed = hash_of(code) if is_secret(code, Kind.INVITATION) else ""
        for person_id in access.snapshot.people_by_name.values():
            person = access.snapshot.people[person_id]
            invitation = person.invitation
            if invitation and hashed == invitation.hash and person.enrolled_at is None and now < invitation.expires_at:
                if invitation.invited_by in access.snapshot.revoked:
                    break  # whoever was ended may still have the code
                return person
        raise AuthError(
            "This invitation is not known, was used, or has ended: ask an owner for a new one (casemate user reset NAME).",
            code="bad-invitation",
        )

    def _offer(self, person: Person, *, row: str, password: str, ends_at: datetime) -> Offered:
        secret = new_totp_secret(self._sign_in.random)
        pending = Pending(password=password, secret=seal_totp(self._cipher, person.id, secret))
        self._rows.put(row, pending, ends_at=ends_at, principal=person.id)
        return Offered(name=person.name, secret=secret, uri=totp_uri(secret, name=person.name))

    def _confirmed(self, person: Person, row: str, totp: str) -> Pending:
        pending = self._rows.find(row, Pending, now=self._sign_in.now())
        if pending is None:
            raise InputError("No new second factor waits for this code: begin again.", code="not-begun")
        secret = open_totp(self._cipher, person.id, pending.secret)
        if not is_totp_code(totp) or not self._sign_in.takes(person, secret, totp):
            raise AuthError(
                "This code does not fit: scan the secret again, check your clock, and take the next code.",
                code="bad-code",
            )
        return pending

    def _anew(self, person: str, visitor: Visitor) -> StartedSession:
        sign_in = self._sign_in
        now_known = sign_in.access.snapshot.people[person]
        return sign_in.sessions.start(now_known, methods=("pwd", "otp"), visitor=visitor, now=sign_in.now())


def recovery_record(person: str, codes: list[str], now: datetime) -> RecoverySet:
    return RecoverySet(principal=person, hashes=tuple(map(hash_of_recovery, codes)), set_at=now)
