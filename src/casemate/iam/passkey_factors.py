"""How a person comes by passkeys: enrol with one, add, name and remove them. Never the last thing that lets one in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec

from casemate.core import ConflictError, InputError, NotFoundError, Principal, VerificationError, new_id
from casemate.iam.challenges import LIFE, Ceremony
from casemate.iam.credentials import LedgerItem
from casemate.iam.enrolment import Confirmed, Enrolment, recovery_record
from casemate.iam.factors import ISSUER, new_recovery_codes
from casemate.iam.passkey_sign_in import METHOD, PasskeySignIn, descriptor, last_use, session_of
from casemate.iam.passkeys import encode_base64url, read_registration, verify_registration
from casemate.iam.person import Person
from casemate.iam.records import Enrolled, PasskeyAdded, PasskeyNamed, PasskeyRemoved, SessionsEnded
from casemate.iam.sessions import StartedSession, Visitor
from casemate.iam.sign_in import SignIn

MAX_PASSKEYS = 20  # of one person
MAX_NAME = 60  # characters
_ALGORITHMS = (-8, -7, -257)  # COSE: EdDSA, ES256, RS256; the order in which we like them


class PasskeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What its person is shown of a passkey. Args: works_here: it was made for this address."""

    id: str
    name: str
    added_at: datetime
    used_at: datetime | None
    transports: tuple[str, ...]
    synced: bool
    works_here: bool


class Passkeys:
    """Those of one home's people, for use from many threads. Where the control plane's address has no name, none are
    made: InputError `no-host-name`."""

    def __init__(self, proof: PasskeySignIn, sign_in: SignIn, enrolment: Enrolment) -> None:
        self._proof, self._sign_in, self._enrolment = proof, sign_in, enrolment
        self._rows, self._challenges = sign_in.rows, proof.challenges

    def all(self, principal: Principal) -> list[PasskeyInfo]:
        """Oldest first. Raises: InputError `no-second-factor`: a service has none."""
        person, now = self._sign_in.person_of(principal), self._sign_in.now()
        return [self._info(one, now) for one in person.passkeys]

    def ask_add(self, principal: Principal) -> dict[str, Any]:
        """What a browser needs to make a passkey for a person who is signed in."""
        return self._making(Ceremony.ADD, session_of(principal), self._sign_in.person_of(principal))

    def add(self, principal: Principal, answer: Any, name: str, *, intent: str) -> PasskeyInfo:
        """Raises: InputError `bad-name`, `bad-passkey`, `not-begun`, `too-many-passkeys`. ConflictError `passkey-taken`."""
        person, name = self._sign_in.person_of(principal), checked_passkey_name(name)
        record = self._registered(person, answer, name, Ceremony.ADD, session_of(principal))

        def make() -> list[LedgerItem]:
            self._check_room(self._sign_in.access.snapshot.people[person.id], record)
            return [("principal", record.body())]

        self._sign_in.settle(make, intent)
        return self._info(record, self._sign_in.now())

    def rename(self, principal: Principal, passkey_id: str, name: str, *, intent: str) -> PasskeyInfo:
        """Raises: InputError `bad-name`. NotFoundError `passkey-not-found`."""
        person, name = self._sign_in.person_of(principal), checked_passkey_name(name)

        def make() -> list[LedgerItem]:
            now = self._sign_in.now()
            held = _held(self._sign_in.access.snapshot.people[person.id], passkey_id)
            return [("principal", PasskeyNamed(id=held.id, principal=person.id, name=name, named_at=now).body())]

        self._sign_in.settle(make, intent)
        named = self._sign_in.access.snapshot.people[person.id].passkey(passkey_id)
        assert named is not None, "it was there when it was named"
        return self._info(named, self._sign_in.now())

    def remove(self, principal: Principal, passkey_id: str, visitor: Visitor, *, intent: str) -> StartedSession | None:
        """Every session ends but the new one that is returned; None for the home's owner, who has no session.

        Raises: NotFoundError `passkey-not-found`. ConflictError `last-factor`: they could not sign in any more.
        """
        person = self._sign_in.person_of(principal)
        held = self._sign_in.sessions.of(person.id, now=self._sign_in.now())
        current = next((one for one in held if one.id == principal.credential), None)

        def make() -> list[LedgerItem]:
            now = self._sign_in.now()
            newest = self._sign_in.access.snapshot.people[person.id]
            record = PasskeyRemoved(id=_held(newest, passkey_id).id, principal=person.id, removed_at=now)
            if not newest.after(record).is_active:
                raise ConflictError(
                    "This is all that you can sign in with: add another passkey, or a password and an authenticator "
                    "app, and remove it then.",
                    code="last-factor",
                )
            ended = SessionsEnded(principal=person.id, reason="a passkey removed", ended_by=person.id, ended_at=now)
            return [("principal", record.body()), ("principal", ended.body())]

        self._sign_in.settle(make, intent)
        self._rows.remove(f"passkey:{passkey_id}")
        if current is None:
            return None
        newest = self._sign_in.access.snapshot.people[person.id]
        return self._sign_in.sessions.start(
            newest, methods=current.methods, visitor=visitor, now=self._sign_in.now(), verified_at=current.verified_at
        )

    def ask_enrol(self, invitation: str) -> dict[str, Any]:
        """What a browser needs to make an invited person's first passkey. Raises: AuthError `bad-invitation`."""
        return self._making(Ceremony.ENROL, invitation, self._enrolment.invited(invitation))

    def enrol(self, invitation: str, answer: Any, name: str, visitor: Visitor) -> Confirmed:
        """Be active from now on, with this passkey for both factors, and signed in.

        Raises: AuthError `bad-invitation`. InputError `bad-name`, `bad-passkey`, `not-begun`. ConflictError
            `passkey-taken`.
        """
        person, name = self._enrolment.invited(invitation), checked_passkey_name(name)
        assert person.invitation is not None, "invited"
        record = self._registered(person, answer, name, Ceremony.ENROL, invitation)
        used, recovery = person.invitation.id, new_recovery_codes(self._sign_in.random)

        def make() -> list[LedgerItem]:
            now = self._sign_in.now()
            self._check_room(self._enrolment.invited(invitation), record)  # still, with nobody in between
            enrolled = Enrolled(principal=person.id, invitation=used, enrolled_at=now)
            records = (record, recovery_record(person.id, recovery, now), enrolled)
            return [("principal", one.body()) for one in records]

        self._sign_in.settle(make, new_id("int"))
        newest = self._sign_in.access.snapshot.people[person.id]
        signed_in = self._sign_in.let_in(newest, methods=(METHOD,), visitor=visitor)
        return Confirmed(signed_in=signed_in, recovery_codes=recovery)

    def _making(self, ceremony: Ceremony, to: str, person: Person) -> dict[str, Any]:
        party = self._proof.party
        return {
            "challenge": encode_base64url(self._challenges.give(ceremony, to=to, now=self._sign_in.now())),
            "timeout": int(LIFE.total_seconds() * 1000),
            "rp": {"id": party.rp_id, "name": ISSUER},
            "user": {"id": encode_base64url(person.id.encode()), "name": person.name, "displayName": person.name},
            "pubKeyCredParams": [{"type": "public-key", "alg": number} for number in _ALGORITHMS],
            "excludeCredentials": [descriptor(one) for one in person.passkeys],
            "authenticatorSelection": {
                "residentKey": "required",
                "requireResidentKey": True,
                "userVerification": "required",
            },
            "attestation": "none",
        }

    def _registered(self, person: Person, answer: Any, name: str, ceremony: Ceremony, by: str) -> PasskeyAdded:
        now, party = self._sign_in.now(), self._proof.party
        with _as_input():
            made = read_registration(answer)
            challenge = made.challenge
        if not self._challenges.take(challenge, ceremony, by=by, now=now):
            raise InputError("This took too long, or was answered before: begin again.", code="not-begun")
        with _as_input():
            new = verify_registration(made, challenge=challenge, rp_id=party.rp_id, origin=party.origin)
        return PasskeyAdded(
            id=new_id("pky"),
            principal=person.id,
            rp_id=party.rp_id,
            name=name,
            added_at=now,
            **msgspec.structs.asdict(new),
        )

    def _check_room(self, person: Person, record: PasskeyAdded) -> None:
        if len(person.passkeys) >= MAX_PASSKEYS:
            raise InputError(f"You have {MAX_PASSKEYS} passkeys: remove one first.", code="too-many-passkeys")
        everybody = self._sign_in.access.snapshot.people.values()
        if any(held.credential == record.credential for one in everybody for held in one.passkeys):
            raise ConflictError("This passkey is somebody's already: make a new one.", code="passkey-taken")

    def _info(self, record: PasskeyAdded, now: datetime) -> PasskeyInfo:
        used = last_use(self._rows, record, now)
        try:
            works_here = self._proof.party.rp_id == record.rp_id
        except InputError:
            works_here = False
        return PasskeyInfo(
            id=record.id,
            name=record.name,
            added_at=record.added_at,
            used_at=used.used_at if used else None,
            transports=record.transports,
            synced=record.synced,
            works_here=works_here,
        )


@contextmanager
def _as_input() -> Iterator[None]:
    """What does not verify is the caller's to mend: nothing of ours is altered."""
    try:
        yield
    except VerificationError as error:
        raise InputError(error.message, code=error.code, details=error.details) from error


def checked_passkey_name(text: str) -> str:
    """What a person calls a passkey. Raises: InputError `bad-name`."""
    name = " ".join(text.split())
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise InputError(f"Name the passkey with 1 to {MAX_NAME} characters, as in: work laptop.", code="bad-name")
    return name


def _held(person: Person, passkey_id: str) -> PasskeyAdded:
    if (found := person.passkey(passkey_id)) is None:
        raise NotFoundError(
            f"You have no passkey {passkey_id[:80]!r}: see casemate user passkey list.", code="passkey-not-found"
        )
    return found
