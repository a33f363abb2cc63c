"""No sequence of issue, grant, revoke, wait, re-issue, reload allows what a plain model of the rules denies."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule

from casemate.core import Action, AuthError, Environment, InputError, Principal, Resource, Role, rfc3339
from casemate.iam import (
    Access,
    Authorizer,
    Grant,
    Policies,
    Revoked,
    is_well_formed,
    issue_key,
    key_request,
    local_owner,
    parse_scope,
    revoke_key,
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


@dataclass
class Given:
    """One grant, as the model remembers it."""

    id: str
    role: Role
    scope: str
    environment: Environment | None
    end: float


@dataclass
class Key:
    text: str
    id: str
    end: float
    principal: Principal | None = None  # as it was when it last proved itself
    given: list[Given] = field(default_factory=list)


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
        return Key(issued.key, issued.id, end, given=[Given(issued.entries[2][1]["id"], role, scope, None, end)])

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

    @rule(seconds=st.sampled_from([0.25, 0.5, 1, 3, 3600]))
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

    def lives(self, key: Key) -> bool:
        self.latest = max(self.latest, self.second)
        return key.id not in self.revoked and self.latest < key.end

    def roles(self, key: Key, resource: Resource) -> set[Role]:
        exact = f"{resource.kind}:{resource.name}"
        return {
            given.role
            for given in key.given
            if given.id not in self.revoked
            and self.latest < given.end
            and (given.scope in ("*", exact))
            and (given.environment is None or given.environment is resource.environment)
        }


TestAccess = AccessMachine.TestCase
TestAccess.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


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
    assert is_well_formed(key)
    assert not is_well_formed(flipped)
