"""The house with people in it: a real database, a real people key, cheap argon2id, and the clock set by hand."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyotp
from iam_house import OWNER, POLICIES, House

from casemate.core import Principal
from casemate.iam import (
    Authorizer,
    Enrolment,
    Gate,
    Passkeys,
    PasskeySignIn,
    PasswordConfig,
    Passwords,
    Sessions,
    SignedIn,
    SignIn,
    Visitor,
    invite,
    person_request,
    relying_party,
)
from casemate.storage import RowCipher, SealedRows, migrate, open_database

CHEAP = PasswordConfig(memory=64, passes=1, lanes=1)
WORDS = "tidal-gravel-otter-plinth"
HERE = Visitor(address="192.0.2.7", client="casemate test")
SITE = "https://casemate.example:8444"
AFAR = Visitor(address="198.51.100.9")


@dataclass
class Enrolled:
    name: str
    id: str
    secret: str
    recovery: list[str]
    signed_in: SignedIn
    password: str = WORDS
    used: set[str] = field(default_factory=set)

    def code(self, at: datetime) -> str:
        return pyotp.TOTP(self.secret).at(at)


class PeopleHouse(House):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.engine = open_database(f"sqlite:///{folder / 'people.db'}")
        migrate(self.engine)
        self.rows = SealedRows(self.engine, b"p" * 32, home_id="home_1")
        self.passwords = Passwords(CHEAP)
        self.sessions = Sessions(self.rows, self.access)
        self.authorizer = Authorizer(access=self.access, policies=POLICIES, clock=self.clock, sessions=self.sessions)
        self.gate = Gate(log=self.log, authorizer=self.authorizer, clock=self.clock)
        self.sign_in = SignIn(
            access=self.access,
            sessions=self.sessions,
            passwords=self.passwords,
            rows=self.rows,
            cipher=RowCipher(b"p" * 32),
            settle=self.settle,
            sink=self.log,
            clock=self.clock,
        )
        self.enrolment = Enrolment(self.sign_in)
        self.url = SITE
        self.proof = PasskeySignIn(self.sign_in, party=lambda: relying_party(self.url))
        self.passkeys = Passkeys(self.proof, self.sign_in, self.enrolment)

    def settle(self, make, intent: str) -> None:
        entries = make()
        if entries:
            self.append(entries)

    def invite(self, name: str = "ada", role: str = "owner", *, by: Principal = OWNER, **more):
        request = person_request(name, role=role, scope="*", now=self.clock.at)
        made = invite(self.access, request, by=by, **more)
        self.append(made.entries)
        return made

    def enrol(self, name: str = "ada", role: str = "owner", visitor: Visitor = HERE, **more) -> Enrolled:
        made = self.invite(name, role, **more)
        offered = self.enrolment.begin(made.code, WORDS)
        done = self.enrolment.confirm(made.code, pyotp.TOTP(offered.secret).at(self.clock.at), visitor)
        self.clock.advance(30)
        return Enrolled(name, made.person, offered.secret, done.recovery_codes, done.signed_in)

    def log_in(self, who: Enrolled, visitor: Visitor = HERE) -> SignedIn:
        """With the code of this moment; the next one is good from the next step on."""
        signed_in = self.sign_in.sign_in(who.name, who.password, who.code(self.clock.at), visitor)
        self.clock.advance(30)
        return signed_in

    def who(self, token: str) -> Principal:
        return self.authorizer.authenticate(token)


@contextmanager
def people_house(folder: Path):
    house = PeopleHouse(folder)
    try:
        yield house
    finally:
        house.engine.dispose()
