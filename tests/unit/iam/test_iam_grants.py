"""Requests, answers and rotations as the signed state has them: at the exact instant, and read strictly."""

import sys
from datetime import timedelta

import pytest
from iam_house import OWNER, START, House, Ledger, grant_body, revoked

from casemate.core import Action, AuthError, ConflictError, Environment, PolicyError, Resource, VerificationError
from casemate.iam import (
    Access,
    answer_resource,
    approve_grant,
    deny_grant,
    end_resource,
    find_grant,
    grant_ask,
    list_grants,
    opened_by,
    request_grant,
    revoke_grant,
    rotate_key,
    rotation_resource,
)

SPAM = Resource("deployment", "spam")
MOMENT = timedelta(microseconds=1)
DAY = timedelta(days=1)


class Lending(House):
    """A house in which roles are asked for and lent, each step through its decision."""

    def ask(self, holder, role="operator", scope="deployment:spam", *, life=60, environment=None) -> str:
        ask = grant_ask(holder, role=role, scope=scope, life=life, reason="why", environment=environment)
        self.authorizer.authorize(holder, Action.GRANT_REQUEST, ask.resource())
        grant_id, entries = request_grant(self.access, ask, now=self.clock.at)
        self.append(entries)
        return grant_id

    def approve(self, grant_id: str, by=OWNER) -> None:
        decided = answer_resource(self.access, grant_id, now=self.clock.at)
        self.authorizer.authorize(by, Action.GRANT_APPROVE, decided)
        self.append(approve_grant(self.access, grant_id, by=by, reason="", decided=decided, now=self.clock.at))

    def deny(self, grant_id: str, by=OWNER) -> None:
        self.authorizer.authorize(by, Action.GRANT_APPROVE, answer_resource(self.access, grant_id))
        self.append(deny_grant(self.access, grant_id, by=by, reason="", now=self.clock.at))

    def end(self, grant_id: str, by=OWNER) -> None:
        self.authorizer.authorize(by, Action.GRANT_REVOKE, end_resource(self.access, grant_id))
        self.append(revoke_grant(self.access, grant_id, by=by, reason="", now=self.clock.at))

    def rotate(self, key_id: str, *, overlap: float = 10, life: float | None = None, by=OWNER):
        decided = rotation_resource(self.access, key_id, life=life, now=self.clock.at)
        self.authorizer.authorize(by, Action.KEY_ROTATE, decided)
        for opened in opened_by(self.access, key_id, decided=decided, now=self.clock.at):
            self.authorizer.authorize(by, Action.KEY_ROTATE, opened)
        made = rotate_key(
            self.access, key_id, overlap=overlap, decided=decided, by=by, reason="", now=self.clock.at
        )  # fmt: skip
        self.append(made.entries)
        return made

    def operates(self, holder, resource=SPAM) -> bool:
        return self.authorizer.decide(holder, Action.DEPLOYMENT_ROLLBACK, resource).allowed

    def state(self, grant_id: str) -> str:
        return find_grant(self.access, grant_id, now=self.clock.at).state

    def proves(self, key: str) -> bool:
        try:
            self.authorizer.authenticate(key)
        except AuthError as error:
            assert error.code == "expired-credential"
            return False
        return True


@pytest.fixture
def house() -> Lending:
    return Lending()


def test_a_grant_counts_from_its_approval_to_the_exact_instant(house: Lending) -> None:
    holder = house.holder(life=DAY.total_seconds())
    asked = house.ask(holder)
    house.clock.advance(3600)
    assert not house.operates(holder)
    house.approve(asked)
    house.clock.advance(60)
    house.clock.at -= MOMENT
    assert house.operates(holder)
    assert house.state(asked) == "active"
    house.clock.at += MOMENT
    assert not house.operates(holder)
    assert house.state(asked) == "expired"
    house.clock.at = START  # the clock goes back
    assert not house.operates(holder)
    assert house.state(asked) == "expired"


def test_a_request_can_be_answered_until_the_exact_instant_at_which_it_lapses(house: Lending) -> None:
    holder = house.holder(life=10 * DAY.total_seconds())
    first, second = house.ask(holder), house.ask(holder)
    house.clock.at = START + DAY - MOMENT
    house.approve(first)
    house.clock.at = START + DAY
    assert house.state(second) == "lapsed"
    for answer in (house.approve, house.deny):
        with pytest.raises(ConflictError) as caught:
            answer(second)
        assert caught.value.code == "grant-lapsed"
    house.clock.at = START  # the clock goes back
    with pytest.raises(ConflictError):
        house.approve(second)
    assert house.state(second) == "lapsed"


def test_a_lent_role_ends_with_the_key_that_it_reaches(house: Lending) -> None:
    holder = house.holder(life=30)
    house.approve(house.ask(holder, life=3600))
    house.clock.advance(30)
    assert not house.operates(holder)


def test_a_lent_role_can_be_lent_on_until_its_own_end_and_no_longer(house: Lending) -> None:
    lender, holder = house.holder("caller", "deployment:ham"), house.holder()
    house.approve(house.ask(lender, "owner", "deployment:spam", life=60))
    house.approve(house.ask(holder, life=60), by=lender)
    house.clock.advance(1)
    late = house.ask(holder, life=60)
    with pytest.raises(PolicyError, match="outlive"):
        house.approve(late, by=lender)
    house.deny(late, by=lender)


def test_a_lender_for_one_environment_lends_for_no_other(house: Lending) -> None:
    lender, holder = house.holder("owner", environment=Environment.DEV), house.holder()
    for environment in (None, Environment.PRODUCTION):
        with pytest.raises(PolicyError):
            house.approve(house.ask(holder, environment=environment), by=lender)
    house.approve(house.ask(holder, environment=Environment.DEV), by=lender)
    assert house.operates(holder, Resource("deployment", "spam", environment=Environment.DEV))
    assert not house.operates(holder, Resource("deployment", "spam", environment=Environment.PRODUCTION))
    assert not house.operates(holder)


def test_nobody_asks_whose_key_or_self_has_ended(house: Lending) -> None:
    expired, dead, revoked_one = house.holder(life=5), house.holder(), house.holder()
    house.append([("credential", revoked(dead.credential)), ("principal", revoked(revoked_one.id))])
    house.clock.advance(5)
    forged = type(dead)(id=house.holder().id, kind=dead.kind, name="x", credential=expired.credential)
    for somebody in (expired, dead, revoked_one, forged):
        with pytest.raises(PolicyError):
            house.ask(somebody)


def test_nobody_can_claim_to_be_authenticated(house: Lending) -> None:
    somebody = house.holder(life=5)
    house.clock.advance(5)
    ask = grant_ask(somebody, role="owner", scope="*", life=60, reason="why").resource()
    ask.attributes["authenticated"] = True
    assert not house.authorizer.decide(somebody, Action.GRANT_REQUEST, ask, authenticated=True).allowed


def test_a_revoked_principal_gets_nothing_from_a_late_approval(house: Lending) -> None:
    holder = house.holder()
    asked = house.ask(holder)
    house.append([("principal", revoked(holder.id))])
    with pytest.raises(ConflictError) as caught:
        house.approve(asked)
    assert caught.value.code == "principal-gone"


@pytest.mark.parametrize("name", ["spam-2", "SPAM", "ſpam", "ｓｐａｍ", "sp\u0430m", "spam\u200b", "spam ", "*", ""])
def test_a_lent_role_reaches_the_whole_name_and_no_other(house: Lending, name: str) -> None:
    holder = house.holder(scope="deployment:other")
    house.approve(house.ask(holder))
    assert house.operates(holder)
    assert not house.operates(holder, Resource("deployment", name))


# The signed state itself, as somebody with the pen could have written it --------------------------------------


def contradicts(house: Lending, *entries) -> None:
    with pytest.raises(VerificationError) as caught:
        house.append(list(entries))
    assert caught.value.code == "state-unreadable"
    assert house.access.snapshot.number == 0


def approval(house: Lending, grant_id: str, **change):
    decided = answer_resource(house.access, grant_id, now=house.clock.at)
    ((kind, body),) = approve_grant(
        house.access, grant_id, by=OWNER, reason="", decided=decided, now=house.clock.at
    )  # fmt: skip
    return kind, {**body, **change}


@pytest.mark.parametrize(
    "change",
    [
        {"role": "owner"},
        {"scope": "*"},
        {"scope": "deployment:ham"},
        {"environment": "production"},
        {"project": "fraud"},
        {"expires_at": "2026-01-01T00:01:00.000001Z"},
        {"granted_at": "2026-01-02T00:00:00Z", "expires_at": "2026-01-02T00:01:00Z"},
    ],
)
def test_an_approval_that_gives_something_else_stops_the_start(house: Lending, change: dict) -> None:
    contradicts(house, approval(house, house.ask(house.holder()), **change))


def test_an_approval_by_or_for_somebody_else_stops_the_start(house: Lending) -> None:
    holder, other = house.holder(), house.holder()
    contradicts(house, approval(house, house.ask(holder), granted_by=holder.id))
    house = Lending()
    holder, other = house.holder(), house.holder()
    contradicts(house, approval(house, house.ask(holder), principal=other.id))


@pytest.mark.parametrize("first", ["approve", "deny", "end"])
@pytest.mark.parametrize("second", ["approve", "deny", "request"])
def test_a_second_answer_or_request_stops_the_start(house: Lending, first: str, second: str) -> None:
    asked = house.ask(house.holder())
    ((_, denial),) = deny_grant(house.access, asked, by=OWNER, reason="", now=START)
    again = {
        "approve": approval(house, asked),
        "deny": ("grant", denial),
        "request": ("grant", house.access.snapshot.requests[asked].body()),
    }[second]
    getattr(house, first)(asked)
    contradicts(house, again)


@pytest.mark.parametrize(
    "change",
    [
        {"life": 0},
        {"life": -1},
        {"life": 60.5},
        {"life": 31 * 86400},
        {"life": "60"},
        {"role": "root"},
        {"scope": "deployment:Spam"},
        {"principal": "local:1000"},
        {"principal": f"svc_{9:032x}"},
        {"credential": ""},
        {"answer_by": "2026-01-01T00:00:00"},
        {"more": 1},
        {"op": "asked"},
    ],
)
def test_a_request_that_nobody_understands_stops_the_start(house: Lending, change: dict) -> None:
    grant_id = house.ask(house.holder())
    asked = house.access.snapshot.requests[grant_id]
    contradicts(house, ("grant", {**asked.body(), "id": f"grt_{5:032x}", **change}))


def test_a_denial_of_what_nobody_asked_for_stops_the_start(house: Lending) -> None:
    body = {
        "op": "deny",
        "id": f"grt_{5:032x}",
        "reason": "",
        "denied_by": OWNER.id,
        "denied_at": "2026-01-01T00:00:00Z",
    }
    contradicts(house, ("grant", body))


# Rotation -----------------------------------------------------------------------------------------------------


def test_old_and_new_work_until_the_exact_end_of_the_overlap(house: Lending) -> None:
    old = house.issue(life=3600)
    holder = house.authorizer.authenticate(old.key)
    new = house.rotate(old.id, overlap=10)
    assert house.authorizer.authenticate(new.key).id == holder.id
    house.clock.at = START + timedelta(seconds=10) - MOMENT
    assert house.proves(old.key)
    house.clock.at = START + timedelta(seconds=10)
    assert not house.proves(old.key)
    assert not house.authorizer.decide(holder, Action.DEPLOYMENT_PREDICT, SPAM).allowed
    assert house.proves(new.key)
    house.clock.at = START  # the clock goes back
    assert not house.proves(old.key)
    house.clock.at = START + timedelta(seconds=3600)
    assert not house.proves(new.key)


def test_an_overlap_prolongs_nothing(house: Lending) -> None:
    old = house.issue(life=5)
    new = house.rotate(old.id, overlap=600)
    assert new.expires_at == old.expires_at
    house.clock.advance(5)
    assert not house.proves(old.key)
    assert not house.proves(new.key)


def test_a_longer_life_gives_a_longer_grant_of_the_keys_own_role_only(house: Lending) -> None:
    old = house.issue("caller", "deployment:spam", life=60)
    holder = house.authorizer.authenticate(old.key)
    house.approve(house.ask(holder, life=30))
    new = house.authorizer.authenticate(house.rotate(old.id, life=600).key)
    assert house.operates(new)
    house.clock.advance(599)
    assert house.authorizer.decide(new, Action.DEPLOYMENT_PREDICT, SPAM).allowed
    assert not house.operates(new)


def test_whoever_rotates_must_be_allowed_all_that_the_key_opens(house: Lending) -> None:
    operator = house.holder("operator")
    old = house.issue("caller", life=600)
    house.append([("grant", {**grant_body(1, house.authorizer.authenticate(old.key).id), "role": "approver"})])
    with pytest.raises(PolicyError):
        house.rotate(old.id, by=operator)
    house.append([("grant", revoked(f"grt_{1:032x}"))])
    house.rotate(old.id, by=operator)


@pytest.mark.parametrize(
    ("which", "change"),
    [
        (0, {"role": "owner"}),
        (0, {"scope": "deployment:spam"}),
        (0, {"environment": "dev"}),
        (0, {"rate": 9.0}),
        (0, {"name": "other"}),
        (0, {"replaces": f"key_{9:032x}"}),
        (0, {"replaces": None}),
        (1, {"until": "2026-01-01T02:00:00Z"}),
        (1, {"replaced_by": f"key_{9:032x}"}),
        (1, {"id": f"key_{9:032x}"}),
    ],
)
def test_a_rotation_that_is_none_stops_the_start(house: Lending, which: int, change: dict) -> None:
    old = house.issue(life=3600)
    decided = rotation_resource(house.access, old.id, life=None, now=START)
    made = rotate_key(house.access, old.id, overlap=10, decided=decided, by=OWNER, reason="", now=START)
    entries = [(kind, {**body}) for kind, body in made.entries]
    entries[which][1].update(change)
    contradicts(house, *entries)


def test_a_second_rotation_of_one_key_stops_the_start(house: Lending) -> None:
    old = house.issue()
    decided = rotation_resource(house.access, old.id, life=None, now=START)
    made = [
        rotate_key(house.access, old.id, overlap=10, decided=decided, by=OWNER, reason="", now=START) for _ in range(2)
    ]
    house.append(made[0].entries)
    contradicts(house, *made[1].entries)


# Many ---------------------------------------------------------------------------------------------------------


def calls(work) -> int:
    """Python function calls that `work` makes."""
    count = 0

    def counting(_frame, event: str, _argument) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counting)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def lent(grants: int) -> tuple[Lending, list]:
    """As many grants as said, each asked for and approved, of one principal over many deployments."""
    house = Lending()
    holder = house.holder()
    first = house.ask(holder)
    asked, answer = house.access.snapshot.requests[first].body(), approval(house, first)[1]
    entries = []
    for number in range(grants):
        own = {"id": f"grt_{number:032x}", "scope": f"deployment:d-{number}"}
        entries += [("grant", {**asked, **own}), ("grant", {**answer, **own})]
    return house, [("grant", body) for _, body in entries]


def test_10000_requested_grants_are_read_in_work_that_grows_with_their_number_only() -> None:
    def fold(grants: int) -> int:
        house, entries = lent(grants)
        ledger = Ledger(list(house.ledger.lines))
        ledger.append(entries)
        access = Access(ledger)
        return calls(access.refresh)

    assert fold(10_000) < 2.1 * fold(5_000)


def test_with_10000_grants_a_decision_stays_small_and_all_are_listed() -> None:
    house, entries = lent(10_000)
    house.append(entries)
    holder = next(iter(house.access.snapshot.principals.values()))
    (credential,) = house.access.snapshot.credentials
    holder = type(holder)(id=holder.id, kind=holder.kind, name=holder.name, credential=credential)
    assert house.operates(holder, Resource("deployment", "d-9999"))
    assert not house.operates(holder, Resource("deployment", "d-10000"))
    assert calls(lambda: house.operates(holder, Resource("deployment", "d-9998"))) < 500
    states = [info.state for info in list_grants(house.access, now=START, project="default")]
    assert states.count("active") == 10_001  # the key's own among them
    assert states.count("pending") == 1
    house.clock.advance(60)
    assert not house.operates(holder, Resource("deployment", "d-9999"))
