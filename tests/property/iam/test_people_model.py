"""No sequence of inviting, enrolling, signing in and out, resetting, ending and inviting anew under an old name lets in
whom a plain model keeps out, or keeps out whom it lets in; wherever the clock goes, and after a restart.

There is no renaming: a name that is free again may be given to somebody else, who must inherit nothing.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pyotp
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, precondition, rule
from sqlalchemy import text

sys.path.append(str(Path(__file__).parents[2] / "unit" / "iam"))
from iam_house import OWNER, POLICIES, START, House
from people_house import CHEAP, HERE, WORDS, PeopleHouse

from casemate.core import Action, AuthError, ConflictError, Resource, Role
from casemate.iam import (
    Access,
    Authorizer,
    Enrolment,
    Grant,
    Passwords,
    Revoked,
    Sessions,
    SignIn,
    Visitor,
    end_all_sessions,
    end_session,
    invite,
    person_request,
    reset_person,
    revoke_person,
)
from casemate.iam.lockout import Charge
from casemate.storage import RowCipher, SealedRows, migrate, open_database

IDLE, ABSOLUTE, FRESH, STEP, INVITED = 1800.0, 12 * 3600.0, 300.0, 30, 72 * 3600.0
NAMES = ("ada", "bob")
MAY = {
    Action.DEPLOYMENT_PREDICT: {Role.OWNER, Role.CALLER},
    Action.MODEL_DELETE: {Role.OWNER},
    Action.KEYS_ROTATE: {Role.OWNER},
}
STEPPED_UP = {Action.KEYS_ROTATE}
roles = st.sampled_from([Role.OWNER, Role.OWNER, Role.CALLER, Role.AUDITOR])
lives = st.sampled_from([1, 60, 600, 90 * 86400])


class NoLockout:
    """Guessing has properties of its own; here it would only be in the way."""

    def charge(self, *_: object, **__: object) -> Charge:
        return Charge(rows=(), failures=1, until=START)

    def clear(self, *_: object, **__: object) -> None: ...
    def remember(self, *_: object, **__: object) -> None: ...
    def is_known(self, *_: object, **__: object) -> bool:
        return True


@dataclass
class Given:
    id: str
    role: Role
    end: float


@dataclass
class Person:
    """One person, as the model remembers them."""

    id: str
    name: str
    code: str
    code_end: float
    password: str = WORDS
    secret: str = ""
    active: bool = False
    gone: bool = False
    last_step: int = -1
    given: list[Given] = field(default_factory=list)


@dataclass
class Session:
    person: Person
    token: str
    id: str
    created: float
    seen: float
    verified: float
    over: bool = False


class SharedHouse(PeopleHouse):
    """Its database is migrated once and emptied for each sequence."""

    folder = Path(tempfile.mkdtemp(prefix="cm-people-model-"))
    engine = open_database(f"sqlite:///{folder / 'people.db'}")
    migrate(engine)

    def __init__(self) -> None:
        House.__init__(self)
        with self.engine.begin() as connection:
            connection.execute(text("DELETE FROM people_rows"))
        self.passwords = Passwords(CHEAP)
        self.open()

    def open(self) -> None:
        """As after a restart: all that was kept in memory is gone."""
        self.access = Access(self.ledger, owner_uid=1000)
        self.access.refresh()
        self.rows = SealedRows(self.engine, b"p" * 32, home_id="home_1")
        self.sessions = Sessions(self.rows, self.access)
        self.authorizer = Authorizer(access=self.access, policies=POLICIES, clock=self.clock, sessions=self.sessions)
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
        self.sign_in.lockout = NoLockout()
        self.enrolment = Enrolment(self.sign_in)


class PeopleMachine(RuleBasedStateMachine):
    people = Bundle("people")
    sessions = Bundle("sessions")

    @initialize()
    def build(self) -> None:
        self.house = SharedHouse()
        self.second = self.latest = 0.0
        self.count = 0
        self.everybody: list[Person] = []
        self.all_sessions: list[Session] = []

    # The clock ------------------------------------------------------------------------------------------------------

    def floor(self) -> float:
        """What time it is for everybody: never earlier than it was."""
        self.latest = max(self.latest, self.second)
        return self.latest

    def at(self) -> datetime:
        return START + timedelta(seconds=self.floor())

    def tick(self) -> None:
        """Two acts never come in the same microsecond."""
        self.second = self.floor() + 0.125
        self.house.clock.at = START + timedelta(seconds=self.second)

    @rule(seconds=st.sampled_from([0.5, 1, 29, 30, 60, 299, 300, 600, 1799, 1800, 3600, 12 * 3600, 72 * 3600]))
    def wait(self, seconds: float) -> None:
        self.second += seconds
        self.house.clock.at = START + timedelta(seconds=self.second)

    @precondition(lambda self: self.second >= 3600)
    @rule(seconds=st.sampled_from([0.5, 60.0, 3600.0]))
    def set_the_clock_back(self, seconds: float) -> None:
        self.floor()
        self.house.authorizer.access.instant(self.house.clock.at)
        self.second -= seconds
        self.house.clock.at = START + timedelta(seconds=self.second)

    @rule()
    def restart(self) -> None:
        """The clock is right again then, as where the machine was started anew."""
        self.second = self.floor()
        self.house.clock.at = START + timedelta(seconds=self.second)
        self.house.open()

    # What happens ---------------------------------------------------------------------------------------------------

    @rule(target=people, name=st.sampled_from(NAMES), role=roles, life=lives)
    def invite(self, name: str, role: Role, life: float):
        self.tick()
        taken = any(one.name == name and not one.gone for one in self.everybody)
        asked = person_request(name, role=role, scope="*", now=self.at(), life=life)
        try:
            made = invite(self.house.access, asked, by=OWNER)
        except ConflictError:
            assert taken
            return multiple()
        assert not taken
        self.house.append(made.entries)
        person = Person(made.person, name, made.code, self.floor() + INVITED)
        person.given.append(Given(made.entries[2][1]["id"], role, self.floor() + life))
        self.everybody.append(person)
        return person

    @rule(target=sessions, person=people)
    def enrol(self, person: Person):
        self.tick()
        may = not person.gone and not person.active and self.floor() < person.code_end
        try:
            offered = self.house.enrolment.begin(person.code, WORDS)
            done = self.house.enrolment.confirm(person.code, pyotp.TOTP(offered.secret).at(self.at()), HERE)
        except AuthError:
            assert not may
            return multiple()
        assert may
        person.secret, person.password, person.active = offered.secret, WORDS, True
        person.last_step = int(self.at().timestamp()) // STEP
        return self.begun(person, done.signed_in.started)

    @rule(target=sessions, role=roles)
    def invite_and_enrol(self, role: Role):
        for name in NAMES:
            person = self.invite(name, role, 90 * 86400)
            if isinstance(person, Person):
                return self.enrol(person)
        return multiple()

    @rule(target=sessions, person=people)
    def sign_in(self, person: Person):
        self.tick()
        code = self.code(person)
        if code is None:
            return multiple()
        # The name may be somebody else's by now, whom neither password nor code of this one lets in.
        namesake = next((one for one in self.everybody if one.name == person.name and not one.gone), None)
        step = int(self.at().timestamp()) // STEP
        may = namesake is person and person.active and step > person.last_step
        try:
            made = self.house.sign_in.sign_in(person.name, person.password, code, HERE)
        except AuthError:
            assert not may
            return multiple()
        assert may
        person.last_step = step
        return self.begun(person, made.started)

    @rule(person=people, wrong=st.sampled_from(["name", "password", "code", "empty"]))
    def sign_in_with_something_wrong(self, person: Person, wrong: str) -> None:
        self.tick()
        code = self.code(person) or "123456"
        name = person.name.upper() if wrong == "name" else person.name
        password = person.password.swapcase() if wrong == "password" else person.password
        code = str((int(code) + 1) % 10**6).zfill(6) if wrong == "code" else "" if wrong == "empty" else code
        try:
            self.house.sign_in.sign_in(name, password, code, Visitor(address="198.51.100.9"))
        except AuthError:
            return
        assert wrong == "code", "one code in a million is right, too"

    @rule(target=sessions, session=sessions)
    def verify(self, session: Session):
        self.tick()
        principal = self.who(session)
        code = self.code(session.person)
        if principal is None or code is None:
            return multiple()
        step = int(self.at().timestamp()) // STEP
        may = step > session.person.last_step
        try:
            made = self.house.sign_in.verify(principal, code, HERE)
        except AuthError:
            assert not may
            return multiple()
        assert may
        session.person.last_step = step
        session.over = True
        new = Session(session.person, made.token, session.id, session.created, self.floor(), self.floor())
        self.all_sessions.append(new)
        return new

    @rule(target=sessions, session=sessions)
    def change_password(self, session: Session):
        self.tick()
        principal = self.who(session)
        if principal is None:
            return multiple()
        self.count += 1
        new = f"{WORDS}-{self.count}"
        made = self.house.enrolment.change_password(principal, session.person.password, new, HERE, intent="int_1")
        self.end_all_of(session.person)
        session.person.password = new
        return self.begun(session.person, made)

    @rule(session=sessions)
    def sign_out(self, session: Session) -> None:
        self.tick()
        if self.who(session) is not None:
            assert self.house.sessions.end(session.person.id, session.id, now=self.at())
            session.over = True

    @rule(session=sessions)
    def revoke_session(self, session: Session) -> None:
        self.tick()
        self.house.append(end_session(session.id, by=OWNER, reason="", now=self.at()))
        for one in self.all_sessions:
            one.over = one.over or one.id == session.id

    @rule(person=people)
    def sign_out_everywhere(self, person: Person) -> None:
        self.tick()
        self.house.append(end_all_sessions(person.id, by=OWNER, reason="", now=self.at()))
        self.end_all_of(person)

    @rule(person=people)
    def reset(self, person: Person) -> None:
        if person.gone:
            return
        self.tick()
        made = reset_person(self.house.access, person.id, by=OWNER, reason="lost", now=self.at())
        self.house.append(made.entries)
        self.end_all_of(person)
        person.code, person.code_end = made.code, self.floor() + INVITED
        person.active, person.secret, person.last_step = False, "", -1

    @rule(person=people)
    def revoke(self, person: Person) -> None:
        self.tick()
        self.house.append(revoke_person(self.house.access, person.id, by=OWNER, reason="left", now=self.at()))
        person.gone = True
        self.end_all_of(person)

    @rule(person=people, role=roles, life=lives)
    def grant(self, person: Person, role: Role, life: float) -> None:
        self.tick()
        self.count += 1
        record = Grant(
            id=f"grt_{self.count:032x}",
            principal=person.id,
            project="default",
            role=role,
            scope="*",
            reason="",
            granted_by=OWNER.id,
            granted_at=self.at(),
            expires_at=self.at() + timedelta(seconds=life),
        )
        self.house.append([("grant", record.body())])
        person.given.append(Given(record.id, role, self.floor() + life))

    @rule(person=people, data=st.data())
    def revoke_grant(self, person: Person, data: st.DataObject) -> None:
        if person.given:
            self.tick()
            given = data.draw(st.sampled_from(person.given))
            record = Revoked(id=given.id, reason="", revoked_by=OWNER.id, revoked_at=self.at())
            self.house.append([("grant", record.body())])
            person.given.remove(given)

    @rule(session=sessions, action=st.sampled_from(sorted(MAY)))
    def act(self, session: Session, action: Action) -> None:
        """A session that was seen lives on; what it may do is what the live grants say, at this very instant."""
        principal = self.who(session)
        if principal is None:
            return
        kind = action.partition(":")[0]
        found = self.house.authorizer.decide(principal, action, Resource(kind, "thing")).allowed
        held = {given.role for given in session.person.given if self.floor() < given.end}
        fresh = action not in STEPPED_UP or self.floor() - session.verified < FRESH
        assert found == (bool(held & MAY[action]) and fresh)

    @rule(
        session=sessions,
        what=st.sampled_from(["idle", "absolute", "fresh", "grant"]),
        early=st.sampled_from([0.0, 0.125]),
        action=st.sampled_from(sorted(MAY)),
    )
    def act_at_the_very_end(self, session: Session, what: str, early: float, action: Action) -> None:
        """At the instant at which it ends, and a moment before."""
        ends = {
            "idle": session.seen + IDLE,
            "absolute": session.created + ABSOLUTE,
            "fresh": session.verified + FRESH,
            "grant": min((given.end for given in session.person.given), default=0.0),
        }
        if ends[what] - early > self.floor():
            self.wait(ends[what] - early - self.second)
            self.act(session, action)

    @rule(what=st.sampled_from(["idle", "fresh", "grant"]), back=st.booleans())
    def somebody_comes_and_acts_at_the_very_end(self, what: str, back: bool) -> None:
        """A moment before it, at it, and once more with the clock set back, which gives nobody more time."""
        for before in [one for one in self.everybody if one.name == "eve" and not one.gone]:
            self.revoke(before)
        person = self.invite("eve", Role.OWNER, 200 if what == "grant" else 90 * 86400)
        session = self.enrol(person)
        for early in (0.125, 0.0):
            self.act_at_the_very_end(session, what, early, Action.DEPLOYMENT_PREDICT)
            for action in MAY:
                self.act(session, action)
        if back and self.second >= 3600:
            self.set_the_clock_back(60.0)
            for action in MAY:
                self.act(session, action)

    @rule(session=sessions)
    def another_spelling_is_nobody(self, session: Session) -> None:
        for other in (session.token.swapcase(), session.token + " ", session.token[:-1], f"{session.token}\x00"):
            with pytest.raises(AuthError):
                self.house.authorizer.authenticate(other)

    # What the model says --------------------------------------------------------------------------------------------

    def who(self, session: Session):
        """Who holds the token, which must be who the model says; None where it counts no longer."""
        now, person = self.floor(), session.person
        lives = (
            not session.over
            and not person.gone
            and person.active
            and now < min(session.created + ABSOLUTE, session.seen + IDLE)
        )
        try:
            principal = self.house.authorizer.authenticate(session.token)
        except AuthError:
            assert not lives
            session.over = True
            return None
        assert lives
        assert (principal.id, principal.credential) == (person.id, session.id)
        kept = next(one for one in self.house.sessions.of(person.id, now=self.at()) if one.id == session.id)
        session.seen = (kept.seen_at - START).total_seconds()
        assert session.seen <= now
        return principal

    def code(self, person: Person) -> str | None:
        return pyotp.TOTP(person.secret).at(self.at()) if person.secret else None

    def begun(self, person: Person, made) -> Session:
        now = self.floor()
        session = Session(person, made.token, made.session.id, now, now, now)
        self.all_sessions.append(session)
        return session

    def end_all_of(self, person: Person) -> None:
        for session in self.all_sessions:
            session.over = session.over or session.person is person


TestPeople = PeopleMachine.TestCase
TestPeople.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
