"""Signing in: one answer and one amount of work for an unknown name, a wrong password and a wrong code.

Every attempt that is looked at, and its outcome, is on record before it is answered.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec

from casemate.core import (
    AuthError,
    Clock,
    Event,
    EventSink,
    InputError,
    LimitError,
    Principal,
    Resource,
    new_id,
    rfc3339,
)
from casemate.iam.access import LOCAL, Access
from casemate.iam.bearer import Kind, hash_of, is_secret, new_secret
from casemate.iam.credentials import LedgerItem
from casemate.iam.factors import (
    DRIFT,
    STEP,
    hash_of_recovery,
    is_totp_code,
    matching_step,
    new_totp_secret,
    open_totp,
)
from casemate.iam.lockout import LOCKED, Charge, Lockout, network_prefix
from casemate.iam.passwords import Passwords
from casemate.iam.person import Person
from casemate.iam.records import PasswordSet, RecoveryUsed
from casemate.iam.sessions import ABSOLUTE, Rows, Sessions, StartedSession, Visitor
from casemate.storage import RowCipher

Settle = Callable[[Callable[[], list[LedgerItem]], str], None]  # commits what the call makes on the newest state
_KEPT_STEPS = timedelta(seconds=(2 * DRIFT + 2) * STEP)  # for which a step could be accepted again


class Step(msgspec.Struct, frozen=True):
    """The last step of a secret's one-time codes that was accepted."""

    number: int


class Verified(msgspec.Struct, frozen=True):
    """When the home's owner last gave a second factor over the home's own socket."""

    at: datetime


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """Args: device: a secret to leave where the person signed in; it lets them in there while strangers guess."""

    started: StartedSession
    device: str

    def __repr__(self) -> str:
        return f"SignedIn(started={self.started!r})"


class SignIn:
    """The sign-in of one home, for use from many threads.

    Args: cipher: of the people key. sink: of events. random_bytes: from the kernel, but in tests.
    """

    def __init__(
        self,
        *,
        access: Access,
        sessions: Sessions,
        passwords: Passwords,
        rows: Rows,
        cipher: RowCipher,
        settle: Settle,
        sink: EventSink,
        clock: Clock,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.access, self.sessions, self.passwords, self.rows, self.cipher = access, sessions, passwords, rows, cipher
        self.clock, self.random, self.settle = clock, random_bytes, settle
        self._sink = sink
        self.lockout = Lockout(rows)
        self._decoy = new_totp_secret(random_bytes)

    def sign_in(self, name: str, password: str, code: str, visitor: Visitor) -> SignedIn:
        """A session for who gives name, password and a code of the second factor, or a recovery code.

        Raises: AuthError `bad-sign-in`: one of them is wrong, which is not told. LimitError: `sign-in-delayed`,
            `sign-in-busy`. StorageError: nothing could be recorded, so nobody is let in.
        """
        now = self.now()
        self.rows.forget(now=now)
        person = self.active_person(name)
        charge = self.lockout.charge(name[:200], visitor, person=person.id if person else "", now=now)
        right = self.passwords.verify(person.password.hash if person and person.password else None, password)
        method = self._method(person, code, now, consume=right)
        if person is None or not right or method is None:
            self.record(person, visitor, now, "refused", "bad-sign-in", failures=charge.failures)
            self.tell_lock(person, visitor, now, charge)
            raise bad_sign_in()
        self.lockout.clear(charge, now=now)
        self._hash_again(person, password)
        return self.let_in(person, methods=("pwd", method), visitor=visitor)

    def let_in(self, person: Person, *, methods: tuple[str, ...], visitor: Visitor, **session: Any) -> SignedIn:
        """A session for somebody who has proved who they are, on record.

        Args: methods: as in RFC 8176. session: `verified_at`, `provider`, `brought`, `until`, as `Sessions.start` takes them.
        """
        now = self.now()
        known = self.lockout.is_known(person.id, visitor, now=now)
        there = visitor
        if not is_secret(visitor.device, Kind.DEVICE):
            there = msgspec.structs.replace(visitor, device=new_secret(Kind.DEVICE, self.random))
        started = self.sessions.start(person, methods=methods, visitor=visitor, now=now, **session)
        facts = {"session": started.session.id, "methods": list(methods), "known_place": known}
        if started.session.provider:
            facts |= {"provider": started.session.provider, "brought": list(started.session.brought)}
        try:
            self.record(person, visitor, now, "allowed", "", **facts)
        except BaseException:
            self.sessions.end(person.id, started.session.id, now=now)
            raise
        self.lockout.remember(person.id, there, now=now)
        return SignedIn(started=started, device=there.device)

    def verify(self, principal: Principal, code: str, visitor: Visitor) -> StartedSession | None:
        """A fresh second factor for a session, under a new token; None for the home's owner, who has no session.

        Raises: AuthError `bad-code`. InputError `no-second-factor`. LimitError `sign-in-delayed`.
        """
        person = self.person_of(principal)
        method = self.prove(person, code, visitor, account=f"session {principal.credential or principal.id}")
        return self.refreshed(principal, person, method, now=self.now())

    def prove(self, person: Person, code: str, visitor: Visitor, *, account: str) -> str:
        """How `code` proves the person's second factor; it is used up. Raises: AuthError `bad-code`. LimitError."""
        now = self.now()
        charge = self.lockout.charge(account, visitor, person="", now=now)
        method = self._method(person, code, now, consume=True)
        if method is None:
            self.record(person, visitor, now, "refused", "bad-code", failures=charge.failures)
            self.tell_lock(person, visitor, now, charge)
            raise AuthError("This code is wrong, was used before, or has passed: wait for the next.", code="bad-code")
        self.lockout.clear(charge, now=now)
        return method

    def refreshed(self, principal: Principal, person: Person, method: str, *, now: datetime) -> StartedSession | None:
        """What `verify` answers, once a second factor of `person` was seen to be right."""
        if principal.id.startswith(LOCAL):
            self.rows.put(f"local:{principal.id}", Verified(now), ends_at=now + ABSOLUTE, principal=principal.id)
            return None
        return self.sessions.verified(person.id, principal.credential, methods=(method,), now=now)

    def check_password(self, person: Person, password: str, visitor: Visitor) -> None:
        """Return if it is theirs. Raises: AuthError `bad-password`. LimitError."""
        now = self.now()
        charge = self.lockout.charge(f"password {person.id}", visitor, person=person.id, now=now)
        if not self.passwords.verify(person.password.hash if person.password else None, password):
            self.record(person, visitor, now, "refused", "bad-password", failures=charge.failures)
            self.tell_lock(person, visitor, now, charge)
            raise AuthError("The current password is wrong.", code="bad-password")
        self.lockout.clear(charge, now=now)

    def with_freshness(self, owner: Principal) -> Principal:
        """The home's owner on their own machine, with the time of their last second factor, if they have one."""
        if not self.access.asks_local(owner.id):
            return owner
        found = self.rows.find(f"local:{owner.id}", Verified, now=self.now())
        return owner if found is None else msgspec.structs.replace(owner, verified_at=found.at)

    def person_of(self, principal: Principal) -> Person:
        """The person behind a session, or behind the home's owner. Raises: InputError `no-second-factor`."""
        snapshot = self.access.snapshot
        person = snapshot.people.get(principal.id)
        if person is None and principal.id.startswith(LOCAL):
            living = (snapshot.people[one] for one in snapshot.people_by_name.values())
            person = next((one for one in living if one.created.local == principal.id), None)
        if person is None or not person.is_active:
            raise InputError(
                "Only a person has a password and a second factor: sign in first (casemate login).",
                code="no-second-factor",
            )
        return person

    def takes(self, person: Person, secret: str, code: str) -> bool:
        """Whether `code` is of this TOTP secret now; the code is then used up for `person`."""
        now = self.now()
        step = matching_step(secret, code, now)
        return step is not None and self._use(person.id, secret, step, now)

    def now(self) -> datetime:
        return self.access.instant(self.clock.now())

    def active_person(self, name: str) -> Person | None:
        person = self.access.snapshot.people.get(self.access.snapshot.people_by_name.get(name, ""))
        return person if person is not None and person.is_active else None

    def _method(self, person: Person | None, code: str, now: datetime, *, consume: bool) -> str | None:
        """How the code proves the person, used up if `consume`; None if it does not. As much work for nobody."""
        has_totp = person is not None and person.totp is not None
        secret = open_totp(self.cipher, person.id, person.totp.secret) if person and person.totp else self._decoy
        step = matching_step(secret, code if is_totp_code(code) else "", now)
        hashed = hash_of_recovery(code)
        if person is None or not consume:
            return None
        if step is not None and has_totp:  # nobody comes in by a code of the decoy
            return "otp" if self._use(person.id, secret, step, now) else None
        return "rc" if hashed in person.recovery and self._recover(person.id, hashed, now) else None

    def _hash_again(self, person: Person, password: str) -> None:
        """Put the hash of a password that was just right at today's cost; where all places are taken, the next time."""
        assert person.password is not None, "it was right"
        before = person.password.hash
        if not self.passwords.costs_other(before):
            return
        with suppress(LimitError):
            hashed = self.passwords.hash(password)

            def make() -> list[LedgerItem]:
                held = self.access.snapshot.people[person.id].password
                if held is None or held.hash != before:  # changed or reset meanwhile
                    return []
                return [
                    ("principal", PasswordSet(principal=person.id, hash=hashed, set_at=self.now(), again=True).body())
                ]

            self.settle(make, new_id("int"))

    def _use(self, person: str, secret: str, step: int, now: datetime) -> bool:
        """Whether a step comes after the last one that was accepted of this secret; it is the last one from now on."""
        used = False

        def later(old: Step | None) -> Step:
            nonlocal used
            used = old is None or step > old.number
            return Step(step) if used or old is None else old

        self.rows.change(f"totp:{hash_of(secret)}", Step, later, now=now, ends_at=now + _KEPT_STEPS, principal=person)
        return used

    def _recover(self, person: str, hashed: str, now: datetime) -> bool:
        used = False

        def make() -> list[LedgerItem]:
            nonlocal used
            used = hashed in self.access.snapshot.people[person].recovery
            return [("principal", RecoveryUsed(principal=person, hash=hashed, used_at=now).body())] if used else []

        self.settle(make, new_id("int"))
        return used

    def tell_lock(self, person: Person | None, visitor: Visitor, now: datetime, charge: Charge) -> None:
        if charge.failures >= LOCKED:
            self.record(
                person, visitor, now, "refused", "locked", failures=charge.failures, until=rfc3339(charge.until)
            )

    def record(
        self, person: Person | None, visitor: Visitor, now: datetime, outcome: str, reason: str, **facts: Any
    ) -> None:
        """An unknown name is not recorded: people type passwords there."""
        about = Resource("user", person.id) if person else Resource("user")
        event = Event(
            id=new_id("evt"),
            at=rfc3339(now),
            kind="sign-in",
            project=person.principal.project if person else about.project,
            actor=person.id if person else "",
            credential=str(facts.get("session", "")),
            resource=str(about),
            outcome=outcome,
            reason=reason,
            facts={
                "name": person.name if person else "",
                "address": visitor.address,
                "network": network_prefix(visitor.address),
                "client": visitor.client,
                **facts,
            },
        )
        self._sink.append([event])


def bad_sign_in() -> AuthError:
    """The one answer to whatever is wrong with a sign-in."""
    return AuthError("Name, password or code is wrong: check all three, and your clock.", code="bad-sign-in")
