"""No sequence of issue, grant, request, approve, deny, revoke, rotate, wait, reload allows what a plain model denies.

The model knows lists and numbers only: who holds what until when, who made whose key, what was asked and answered.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, precondition, rule

from casemate.core import (
    Action,
    AuthError,
    ConflictError,
    Environment,
    InputError,
    LimitError,
    Principal,
    Resource,
    Role,
    rfc3339,
)
from casemate.iam import (
    Access,
    Authorizer,
    Grant,
    Policies,
    Revoked,
    access_report,
    answer_resource,
    approve_grant,
    deny_grant,
    end_resource,
    explain,
    find_grant,
    grant_ask,
    issue_key,
    key_request,
    local_owner,
    opened_by,
    parse_scope,
    request_grant,
    revoke_grant,
    revoke_key,
    rotate_key,
    rotation_resource,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
OWNER = local_owner(1000)
POLICIES = Policies()
NAMES = ("spam", "spam-2", "spa")
SCOPES = ("*", *(f"{kind}:{name}" for kind in ("model", "deployment") for name in NAMES))
ASKED = {
    Action.DEPLOYMENT_PREDICT: {Role.OWNER, Role.CALLER},
    Action.DEPLOYMENT_ROLLBACK: {Role.OWNER, Role.OPERATOR},
    Action.MODEL_READ: set(Role) - {Role.CALLER},
    Action.MODEL_DELETE: {Role.OWNER},
}
lives = st.sampled_from([0.5, 1, 3, 10, 3600])
DAY = 86400.0
GIVERS = {role: {Role.OWNER, Role.OPERATOR} if role is Role.CALLER else {Role.OWNER} for role in Role}
environments = st.sampled_from([None, None, Environment.DEV])
strong = st.sampled_from([Role.OWNER, Role.OWNER, Role.OPERATOR, Role.CALLER])
wide = st.sampled_from(["*", "*", "deployment:spam"])
longer = st.sampled_from([3, 5, 3600, 3600])


@dataclass
class Given:
    """One grant, as the model remembers it."""

    id: str
    role: Role
    scope: str
    environment: Environment | None
    end: float


@dataclass
class Asked:
    """One request, as the model remembers it."""

    id: str
    key: "Key"
    role: Role
    scope: str
    environment: Environment | None
    life: int
    until: float
    answered: bool = False


@dataclass
class Key:
    text: str
    id: str
    end: float
    principal: Principal | None = None  # as it was when it last proved itself
    given: list[Given] = field(default_factory=list)  # shared by all keys of one service
    makers: list["Key"] = field(default_factory=list)  # whose keys made a key of this service; shared likewise
    issued_for: tuple = ()
    requests: list[float] = field(default_factory=list)  # when; shared likewise
    rotated: bool = False


@dataclass(frozen=True)
class Line:
    number: int
    at: str
    kind: str
    body: object


class Ledger:
    def __init__(self) -> None:
        self.lines: list[Line] = []

    def entries(self, after: int = 0) -> list[Line]:
        return self.lines[after:]


class AccessMachine(RuleBasedStateMachine):
    keys = Bundle("keys")
    asked = Bundle("asked")

    @initialize()
    def build(self) -> None:
        self.second = 0.0  # what the clock says
        self.latest = 0.0  # the latest that anybody was asked at; the model's floor
        self.revoked: set[str] = set()
        self.count = 0
        self.ledger = Ledger()
        self.restart()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.second)

    def append(self, entries: list) -> None:
        for kind, body in entries:
            self.ledger.lines.append(Line(len(self.ledger.lines) + 1, rfc3339(self.now()), kind, body))
        self.access.refresh()
        self.latest = max(self.latest, self.second)

    @rule()
    def restart(self) -> None:
        self.access = Access(self.ledger, owner_uid=1000)
        self.authorizer = Authorizer(access=self.access, policies=POLICIES, clock=self)
        self.access.refresh()
        written = [datetime.fromisoformat(line.at) for line in self.ledger.lines]
        self.latest = max([(at - START).total_seconds() for at in written], default=0.0)

    @rule(target=keys, role=st.sampled_from(Role), scope=st.sampled_from(SCOPES), life=lives)
    def issue(self, role: Role, scope: str, life: float) -> Key:
        issued = issue_key(key_request("k", role=role, scope=scope, now=self.now(), life=life), issuer=OWNER)
        self.append(issued.entries)
        end = self.second + life
        given = [Given(issued.entries[2][1]["id"], role, scope, None, end)]
        return Key(issued.key, issued.id, end, given=given, issued_for=(role, scope, None))

    def proved(self, text: str) -> Principal | None:
        """Who holds a new key; nobody when the clock was set so far back that it has ended already."""
        self.latest = max(self.latest, self.second)
        try:
            return self.authorizer.authenticate(text)
        except AuthError:
            return None

    @rule(target=keys, role=strong, scope=wide, life=longer)
    def issue_to_somebody_who_uses_it(self, role: Role, scope: str, life: float) -> Key:
        key = self.issue(role, scope, life)
        key.principal = self.proved(key.text)
        return key

    @rule(target=keys, by=keys, role=strong, scope=wide, life=longer)
    def issue_with_a_key(self, by: Key, role: Role, scope: str, life: float) -> Key:
        request = key_request("k", role=role, scope=scope, now=self.now(), life=life)
        end = self.second + life
        may = self.may_give(by, role, scope, None, end)
        if not self.decided(by, Action.KEY_ISSUE, request.resource(), may):
            return multiple()
        issued = issue_key(request, issuer=by.principal)
        self.append(issued.entries)
        given = [Given(issued.entries[2][1]["id"], role, scope, None, end)]
        holder = self.proved(issued.key)
        return Key(issued.key, issued.id, end, holder, given=given, makers=[by], issued_for=(role, scope, None))

    @rule(
        key=keys,
        role=st.sampled_from(Role),
        scope=st.sampled_from(SCOPES),
        life=lives,
        environment=st.sampled_from([None, *Environment]),
    )
    def grant(self, key: Key, role: Role, scope: str, life: float, environment: Environment | None) -> None:
        self.count += 1
        end = self.second + life
        record = Grant(
            id=f"grt_{self.count:032x}",
            principal=self.access.snapshot.credentials[key.id].principal,
            project="default",
            role=role,
            scope=scope,
            environment=environment,
            reason="",
            granted_by=OWNER.id,
            granted_at=self.now(),
            expires_at=START + timedelta(seconds=end),
        )
        self.append([("grant", record.body())])
        key.given.append(Given(record.id, role, scope, environment, end))

    @rule(key=keys)
    def revoke(self, key: Key) -> None:
        self.append(revoke_key(self.access, key.id, by=OWNER, reason="", now=self.now()))
        self.revoked.add(key.id)

    @rule(key=keys, data=st.data())
    def revoke_grant(self, key: Key, data: st.DataObject) -> None:
        identifier = data.draw(st.sampled_from([given.id for given in key.given]))
        record = Revoked(id=identifier, reason="", revoked_by=OWNER.id, revoked_at=self.now())
        self.append([("grant", record.body())])
        self.revoked.add(identifier)

    @rule(target=asked, key=keys, role=strong, scope=wide, life=st.integers(1, 4), where=environments)
    def request(self, key: Key, role: Role, scope: str, life: int, where: Environment | None) -> Asked:
        if key.principal is None:
            return multiple()
        ask = grant_ask(key.principal, role=role, scope=scope, life=life, reason="why", environment=where)
        if not self.decided(key, Action.GRANT_REQUEST, ask.resource(), self.lives(key)):
            return multiple()
        try:
            identifier, entries = request_grant(self.access, ask, now=self.now())
        except LimitError:
            assert key.requests[-20] > self.latest - DAY
            return multiple()
        self.append(entries)
        key.requests.append(self.latest)
        return Asked(identifier, key, role, scope, where, life, self.latest + DAY)

    @rule(asked=asked, by=st.one_of(keys, keys, keys, st.none()))
    def approve(self, asked: Asked, by: Key | None) -> None:
        decided = answer_resource(self.access, asked.id, now=self.now())
        end = max(self.latest, self.second) + asked.life
        allowed = by is None or (self.may_answer(by, asked) and self.may_lend(by, asked, end))
        if not self.decided(by, Action.GRANT_APPROVE, decided, allowed):
            return
        told = {"by": OWNER if by is None else by.principal, "reason": "", "decided": decided}
        if self.answers(asked, lambda: approve_grant(self.access, asked.id, now=self.now(), **told)):
            asked.key.given.append(Given(asked.id, asked.role, asked.scope, asked.environment, end))

    @rule(asked=asked, life=st.sampled_from([2, 3]))
    def approve_with_little_time_left(self, asked: Asked, life: int) -> None:
        self.approve(asked, self.issue_to_somebody_who_uses_it(Role.OWNER, "*", life))

    @rule(key=keys, role=strong, scope=wide, life=st.integers(1, 4))
    def lend(self, key: Key, role: Role, scope: str, life: int) -> None:
        asked = self.request(key, role, scope, life, None)
        if isinstance(asked, Asked):
            self.approve(asked, None)

    @rule(key=keys, scope=wide, life=st.integers(1, 4))
    def ask_and_let_a_key_of_ones_own_making_answer(self, key: Key, scope: str, life: int) -> None:
        own = self.issue_with_a_key(key, Role.OWNER, scope, 3)
        asked = self.request(key, Role.OWNER, scope, life, None)
        if isinstance(own, Key) and isinstance(asked, Asked):
            self.approve(asked, own)

    @rule(asked=asked, by=st.one_of(keys, keys, keys, st.none()))
    def deny(self, asked: Asked, by: Key | None) -> None:
        allowed = by is None or (self.may_answer(by, asked) and self.may_lend(by, asked, 0))
        if self.decided(by, Action.GRANT_APPROVE, answer_resource(self.access, asked.id), allowed):
            who = OWNER if by is None else by.principal
            self.answers(asked, lambda: deny_grant(self.access, asked.id, by=who, reason="", now=self.now()))

    @rule(asked=asked, by=st.one_of(keys, keys, keys, st.none()))
    def end(self, asked: Asked, by: Key | None) -> None:
        """By an owner there, by whoever holds it, and by nobody else."""
        known = [Role.OWNER] if by is None else self.roles_on(by, asked.scope, asked.environment)
        own = by is not None and by.given is asked.key.given
        allowed = by is None or (self.lives(by) and (own or Role.OWNER in known))
        if not self.decided(by, Action.GRANT_REVOKE, end_resource(self.access, asked.id), allowed):
            return
        who = OWNER if by is None else by.principal
        try:
            self.append(revoke_grant(self.access, asked.id, by=who, reason="", now=self.now()))
        except ConflictError:
            assert asked.answered
            assert asked.id not in {given.id for given in asked.key.given}
            return
        asked.answered = True
        self.revoked.add(asked.id)

    @rule(
        target=keys,
        key=keys,
        by=st.one_of(keys, keys, keys, st.none()),
        overlap=st.sampled_from([0.5, 3, 3600]),
        life=st.one_of(st.none(), lives),
    )
    def rotate(self, key: Key, by: Key | None, overlap: float, life: float | None) -> Key:
        decided = rotation_resource(self.access, key.id, life=life, now=self.now())
        now = self.latest = max(self.latest, self.second)
        end = key.end if life is None else now + life
        role, scope, where = key.issued_for
        allowed = by is None or self.may_give(by, role, scope, where, end)
        if key.rotated:  # what it was before it ends is not asked any more
            return multiple()
        if not self.decided(by, Action.KEY_ROTATE, decided, allowed):
            return multiple()
        for opened in opened_by(self.access, key.id, decided=decided, now=self.now()):
            who = OWNER if by is None else by.principal
            if not self.authorizer.decide(who, Action.KEY_ROTATE, opened).allowed:
                assert by is not None
                assert not all(
                    self.may_give(by, given.role, given.scope, given.environment, min(given.end, end))
                    for given in self.live(key)
                )
                return multiple()
        assert by is None or all(
            self.may_give(by, given.role, given.scope, given.environment, min(given.end, end))
            for given in self.live(key)
        )
        who = OWNER if by is None else by.principal
        holds = key.issued_for in [(given.role, given.scope, given.environment) for given in self.live(key)]
        try:
            made = rotate_key(
                self.access, key.id, overlap=overlap, decided=decided, by=who, reason="", now=self.now()
            )  # fmt: skip
        except ConflictError:
            assert not self.lives(key) or (end > key.end and not holds)
            return multiple()
        assert self.lives(key)
        self.append(made.entries)
        if end > key.end:
            assert holds
            key.given.append(Given(made.entries[2][1]["id"], role, scope, where, end))
        if by is not None:
            key.makers.append(by)
        key.end, key.rotated = min(key.end, now + overlap), True
        return Key(
            made.key,
            made.id,
            end,
            self.proved(made.key),
            given=key.given,
            makers=key.makers,
            issued_for=key.issued_for,
            requests=key.requests,
        )

    @rule(asked=asked)
    def look(self, asked: Asked) -> None:
        info = find_grant(self.access, asked.id, now=self.now())
        self.latest = max(self.latest, self.second)
        (given,) = [given for given in asked.key.given if given.id == asked.id] or [None]
        if asked.id in self.revoked:
            expected = "revoked"
        elif given is not None:
            expected = "active" if self.latest < given.end else "expired"
        elif asked.answered:
            expected = "denied"
        else:
            expected = "pending" if self.latest < asked.until else "lapsed"
        assert info.state == expected

    def decided(self, by: Key | None, action: Action, resource: Resource, allowed: bool) -> bool:
        """Whether it was allowed, which must be what the model says; who never proved themselves asks nothing."""
        if by is not None and by.principal is None:
            return False
        who = OWNER if by is None else by.principal
        found = self.authorizer.decide(who, action, resource).allowed
        assert found == allowed, (action, resource)
        assert explain(self.authorizer, who, action, resource).allowed == found
        return found

    def answers(self, asked: Asked, make) -> bool:
        """Whether the answer counts: the first one, while the request is open."""
        open_still = not asked.answered and max(self.latest, self.second) < asked.until
        try:
            entries = make()
        except ConflictError:
            assert not open_still
            return False
        assert open_still
        self.append(entries)
        asked.answered = True
        return True

    def may_answer(self, by: Key, asked: Asked) -> bool:
        """Not who asked, nor anybody in the line of keys that they made."""
        line, ahead = [by.given], [by]
        while ahead:
            for maker in ahead.pop().makers:
                if not any(maker.given is known for known in line):
                    line.append(maker.given)
                    ahead.append(maker)
        return self.lives(by) and not any(known is asked.key.given for known in line)

    def may_lend(self, by: Key, asked: Asked, end: float) -> bool:
        return self.may_give(by, asked.role, asked.scope, asked.environment, end)

    def may_give(self, by: Key, role: Role, scope: str, where: Environment | None, end: float) -> bool:
        """Somebody gives only what their roles there let them, and until their own end."""
        if not self.lives(by) or by.end < end:
            return False
        return any(
            given.role in GIVERS[role] and given.end >= end and covers(given, scope, where) for given in self.live(by)
        )

    def live(self, key: Key) -> list[Given]:
        return [given for given in key.given if given.id not in self.revoked and self.latest < given.end]

    def roles_on(self, key: Key, scope: str, where: Environment | None) -> list[Role]:
        return [given.role for given in self.live(key) if covers(given, scope, where)]

    @rule(seconds=st.sampled_from([0.25, 0.25, 0.5, 0.5, 1, 1, 3, 3, 3600, DAY]))
    def wait(self, seconds: float) -> None:
        self.second += seconds

    @precondition(lambda self: self.second >= 1)
    @rule(seconds=st.sampled_from([0.5, 1.0]))
    def set_the_clock_back(self, seconds: float) -> None:
        self.second -= seconds

    @rule()
    def load_other_policies(self) -> None:
        self.authorizer.policies = Policies()

    @rule(key=keys)
    def authenticate(self, key: Key) -> None:
        live = self.lives(key)
        try:
            key.principal = self.authorizer.authenticate(key.text)
            proved = True
        except AuthError:
            proved = False
        assert proved == live

    @rule(
        key=keys,
        action=st.sampled_from(sorted(ASKED)),
        name=st.sampled_from([*NAMES, "", "*", "SPAM"]),
        environment=st.sampled_from([None, *Environment]),
    )
    def authorize(self, key: Key, action: Action, name: str, environment: Environment | None) -> None:
        if key.principal is None:
            return
        resource = Resource(action.partition(":")[0], name, environment=environment)
        expected = self.lives(key) and bool(self.roles(key, resource) & ASKED[action])
        assert self.authorizer.decide(key.principal, action, resource).allowed == expected
        said = explain(self.authorizer, key.principal, action, resource)
        assert said.allowed == expected
        giving = {given.id for given in self.counting(key, resource) if given.role in ASKED[action]}
        assert {grant.id for grant in said.grants if grant.gives} == (giving if expected else set())
        assert bool(said.missing) == (not expected)

    @rule(key=keys)
    def report(self, key: Key) -> None:
        rows = access_report(self.access, now=self.now(), last_use=lambda *_: None)
        states = {row.grant: row.state for row in rows if row.credential == key.id}
        self.latest = max(self.latest, self.second)
        assert states == {given.id: self.state(key, given) for given in key.given}

    def state(self, key: Key, given: Given) -> str:
        if {key.id, given.id} & self.revoked:
            return "revoked"
        return "expired" if self.latest >= min(given.end, key.end) else "active"

    def lives(self, key: Key) -> bool:
        self.latest = max(self.latest, self.second)
        return key.id not in self.revoked and self.latest < key.end

    def roles(self, key: Key, resource: Resource) -> set[Role]:
        return {given.role for given in self.counting(key, resource)}

    def counting(self, key: Key, resource: Resource) -> list[Given]:
        exact = f"{resource.kind}:{resource.name}"
        return [
            given
            for given in key.given
            if given.id not in self.revoked
            and self.latest < given.end
            and (given.scope in ("*", exact))
            and (given.environment is None or given.environment is resource.environment)
        ]


def covers(given: Given, scope: str, where: Environment | None) -> bool:
    return given.scope in ("*", scope) and given.environment in (None, where)


TestAccess = AccessMachine.TestCase
TestAccess.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


@given(st.text())
def test_a_scope_is_one_of_its_four_forms_or_refused(text: str) -> None:
    try:
        scope = parse_scope(text)
    except InputError:
        return
    assert scope == text
    assert scope.isascii()


@given(st.sampled_from(["model", "dataset", "deployment"]), st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True))
def test_a_scope_of_a_name_round_trips(kind: str, name: str) -> None:
    assert parse_scope(f"{kind}:{name}") == f"{kind}:{name}"


@given(st.binary(min_size=32, max_size=32), st.data())
def test_any_other_text_than_the_key_itself_is_nobody(secret: bytes, data: st.DataObject) -> None:
    issued = issue_key(
        key_request("k", role="caller", scope="*", now=START), issuer=OWNER, random_bytes=lambda _: secret
    )
    ledger = Ledger()
    ledger.lines = [Line(n, rfc3339(START), kind, body) for n, (kind, body) in enumerate(issued.entries, start=1)]
    access = Access(ledger)
    access.refresh()
    authorizer = Authorizer(access=access, policies=POLICIES, clock=type("At", (), {"now": lambda _: START})())
    assert authorizer.authenticate(issued.key).credential == issued.id
    key = issued.key
    position = data.draw(st.integers(0, len(key) - 1))
    flipped = key[:position] + chr(ord(key[position]) ^ (1 << data.draw(st.integers(0, 6)))) + key[position + 1 :]
    for other in (flipped, key[:position], key + "A", key.swapcase(), f" {key}", data.draw(st.text())):
        if other == key:
            continue
        with pytest.raises(AuthError):
            authorizer.authenticate(other)
