"""Signing in with a passkey, and a fresh second factor by one.

A passkey whose authenticator has made sure of its person is both factors; after a password, its presence is the second.
Whatever is wrong with a sign-in, there is one answer. A signature counter that does not grow is refused and on record:
somebody may have a copy of the authenticator (WebAuthn Level 3, section 6.1.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from casemate.core import AuthError, InputError, Principal, VerificationError
from casemate.iam.challenges import LIFE, Ceremony, Challenges
from casemate.iam.lockout import Charge
from casemate.iam.passkeys import (
    Assertion,
    AssertionAnswer,
    RelyingParty,
    encode_base64url,
    read_assertion,
    verify_assertion,
)
from casemate.iam.person import Person
from casemate.iam.records import PasskeyAdded
from casemate.iam.sessions import Rows, StartedSession, Visitor
from casemate.iam.sign_in import SignedIn, SignIn

METHOD = "passkey"  # in a session's methods and in events
_COUNTER_KEPT = timedelta(days=3650)  # since its last use


class PasskeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """The last time that a passkey was used. Args: count: its signature counter then."""

    count: int
    used_at: datetime


class PasskeySignIn:
    """Sign-in by passkey in one home, for use from many threads.

    Args: party: whom passkeys are for. Raises InputError `no-host-name` where the control plane's address has no name.
    """

    def __init__(self, sign_in: SignIn, *, party: Callable[[], RelyingParty]) -> None:
        self._sign_in, self._party = sign_in, party
        self._rows, self.challenges = sign_in.rows, Challenges(sign_in.rows, sign_in.random)

    @property
    def party(self) -> RelyingParty:
        """Raises: InputError `no-host-name`."""
        return self._party()

    def ask_sign_in(self, browser: str) -> dict[str, Any]:
        """What a browser needs to ask for a passkey; names nobody's. Args: browser: the secret left in it for this."""
        return self._asking(Ceremony.SIGN_IN, browser, ())

    def sign_in(self, answer: Any, browser: str, visitor: Visitor) -> SignedIn:
        """A session for the person whose passkey this is, without a name or a password.

        Raises: AuthError `bad-sign-in`: whatever is wrong. LimitError `sign-in-delayed`. StorageError: nothing could be
            recorded. InputError `no-host-name`.
        """
        now, party, asserted = self._sign_in.now(), self.party, _read_or_none(answer)
        claimed = asserted.user if asserted else ""
        person = self._active(claimed)
        account = person.name if person else f"passkey {claimed}"
        charge = self._sign_in.lockout.charge(account, visitor, person=person.id if person else "", now=now)
        known = self._challenged(asserted, Ceremony.SIGN_IN, browser, now)
        why = self._why_refused(person, asserted, party, known=known, require_verified=True, now=now)
        if person is None or why:
            self._refuse(person, asserted, visitor, charge, why=why or "bad-sign-in", now=now)
            raise _bad_sign_in()
        self._sign_in.lockout.clear(charge, now=now)
        return self._sign_in.let_in(person, methods=(METHOD,), visitor=visitor)

    def sign_in_after_password(self, name: str, password: str, answer: Any, browser: str, visitor: Visitor) -> SignedIn:
        """A session for who gives name and password, with a passkey for the second factor. Raises: as `sign_in`;
        LimitError `sign-in-busy`."""
        now, party, asserted = self._sign_in.now(), self.party, _read_or_none(answer)
        person = self._sign_in.active_person(name)
        charge = self._sign_in.lockout.charge(name[:200], visitor, person=person.id if person else "", now=now)
        hashed = person.password.hash if person and person.password else None
        right = self._sign_in.passwords.verify(hashed, password)
        known = self._challenged(asserted, Ceremony.SIGN_IN, browser, now)
        why = "bad-sign-in"
        if right:  # a wrong password uses no counter up
            why = self._why_refused(person, asserted, party, known=known, require_verified=False, now=now)
        if person is None or why:
            self._refuse(person, asserted, visitor, charge, why=why or "bad-sign-in", now=now)
            raise _bad_sign_in()
        self._sign_in.lockout.clear(charge, now=now)
        return self._sign_in.let_in(person, methods=("pwd", METHOD), visitor=visitor)

    def ask_verify(self, principal: Principal) -> dict[str, Any]:
        """What a browser needs to ask for one of the person's own passkeys. Raises: InputError `no-passkey`."""
        person = self._sign_in.person_of(principal)
        held = [one for one in person.passkeys if one.rp_id == self.party.rp_id]
        if not held:
            raise InputError("You have no passkey for this address: give a code instead.", code="no-passkey")
        return self._asking(Ceremony.VERIFY, session_of(principal), held)

    def verify(self, principal: Principal, answer: Any, visitor: Visitor) -> StartedSession | None:
        """A fresh second factor for a session, under a new token. Raises: AuthError `bad-passkey`. LimitError."""
        now, party, person = self._sign_in.now(), self.party, self._sign_in.person_of(principal)
        charge = self._sign_in.lockout.charge(session_of(principal), visitor, person="", now=now)
        asserted = _read_or_none(answer)
        known = self._challenged(asserted, Ceremony.VERIFY, session_of(principal), now)
        why = self._why_refused(person, asserted, party, known=known, require_verified=True, now=now)
        if why:
            self._refuse(person, asserted, visitor, charge, why=why, now=now)
            raise AuthError("This passkey does not count here: try again, or give a code.", code="bad-passkey")
        self._sign_in.lockout.clear(charge, now=now)
        return self._sign_in.refreshed(principal, person, METHOD, now=now)

    def _asking(self, ceremony: Ceremony, to: str, held: Iterable[PasskeyAdded]) -> dict[str, Any]:
        party = self.party
        return {
            "challenge": encode_base64url(self.challenges.give(ceremony, to=to, now=self._sign_in.now())),
            "timeout": int(LIFE.total_seconds() * 1000),
            "rpId": party.rp_id,
            "allowCredentials": [descriptor(one) for one in held],
            "userVerification": "required",
        }

    def _refuse(
        self,
        person: Person | None,
        asserted: AssertionAnswer | None,
        visitor: Visitor,
        charge: Charge,
        *,
        why: str,
        now: datetime,
    ) -> None:
        """Put a refusal on record, with which passkey it was, if it is the person's."""
        held = _held(person, asserted) if person and asserted else None
        facts = {"passkey": held.id} if held else {}
        self._sign_in.record(person, visitor, now, "refused", why, failures=charge.failures, **facts)
        self._sign_in.tell_lock(person, visitor, now, charge)

    def _challenged(self, asserted: AssertionAnswer | None, ceremony: Ceremony, by: str, now: datetime) -> bool:
        return asserted is not None and self.challenges.take(asserted.challenge, ceremony, by=by, now=now)

    def _why_refused(
        self,
        person: Person | None,
        asserted: AssertionAnswer | None,
        party: RelyingParty,
        *,
        known: bool,
        require_verified: bool,
        now: datetime,
    ) -> str:
        """Why this assertion does not prove `person`, for the log alone; empty: it does, and is used up."""
        if person is None or asserted is None or not known:
            return "bad-sign-in" if person is None or asserted is None else "passkey-challenge"
        record = _held(person, asserted)
        if record is None or record.rp_id != party.rp_id or asserted.user not in ("", person.id):
            return "passkey-unknown"
        try:
            verified = verify_assertion(
                record,
                asserted,
                challenge=asserted.challenge,
                rp_id=party.rp_id,
                origin=party.origin,
                require_verified=require_verified,
            )
        except VerificationError as error:  # one of another site was passed on: somebody is being deceived
            return "passkey-origin" if error.details.get("why") == "another origin" else "bad-passkey"
        return "" if self._count(record, verified, now) else "passkey-counter"

    def _count(self, record: PasskeyAdded, verified: Assertion, now: datetime) -> bool:
        """Whether the counter grew, or there is none; it is the last one from now on."""
        grew = False

        def later(old: PasskeyUse | None) -> PasskeyUse | None:
            nonlocal grew
            last = record.count if old is None else old.count
            grew = verified.count > last or (verified.count == 0 and last == 0)
            return PasskeyUse(count=verified.count, used_at=now) if grew else old

        row, ends_at = f"passkey:{record.id}", now + _COUNTER_KEPT
        self._rows.change(row, PasskeyUse, later, now=now, ends_at=ends_at, principal=record.principal)
        return grew

    def _active(self, person_id: str) -> Person | None:
        snapshot = self._sign_in.access.snapshot
        person = snapshot.people.get(person_id)
        return self._sign_in.active_person(person.name) if person and person_id not in snapshot.revoked else None


def last_use(rows: Rows, record: PasskeyAdded, now: datetime) -> PasskeyUse | None:
    """None: it was not used since it was added."""
    return rows.find(f"passkey:{record.id}", PasskeyUse, now=now)


def descriptor(record: PasskeyAdded) -> dict[str, Any]:
    """How a browser is told of a passkey."""
    return {"type": "public-key", "id": record.credential, "transports": list(record.transports)}


def session_of(principal: Principal) -> str:
    """Whom a challenge is bound to that is given to somebody who is signed in."""
    return f"session {principal.credential or principal.id}"


def _held(person: Person, asserted: AssertionAnswer) -> PasskeyAdded | None:
    return next((one for one in person.passkeys if one.credential == asserted.id), None)


def _read_or_none(answer: Any) -> AssertionAnswer | None:
    """None where no sign-in could come of it: it is refused as any other."""
    try:
        asserted = read_assertion(answer)
        _ = asserted.challenge, asserted.user
    except VerificationError:
        return None
    return asserted


def _bad_sign_in() -> AuthError:
    """The one answer to whatever is wrong with a sign-in by passkey."""
    return AuthError("No sign-in with this passkey: try again, or sign in another way.", code="bad-sign-in")
