"""An explanation is the gate's own decision, names what it rests on, and what is missing."""

from datetime import timedelta
from itertools import product

import pytest
from iam_house import OWNER, START, House, grant_body, revoked

from casemate.core import Action, Environment, InputError, NotFoundError, PolicyError, Principal, Resource, Role
from casemate.iam import explain, find_principal, issue_key, key_request, local_owner, revoke_key

THING = Resource("deployment", "thing", environment=Environment.PRODUCTION, attributes={"profile": "standard"})


def named(house: House, name: str, role: str = "caller", scope: str = "*", life: float = 3600) -> Principal:
    issued = issue_key(key_request(name, role=role, scope=scope, now=house.clock.at, life=life), issuer=OWNER)
    house.append(issued.entries)
    return house.authorizer.authenticate(issued.key)


def told(house: House, principal: Principal, action: Action, resource: Resource):
    return explain(house.authorizer, principal, action, resource)


@pytest.mark.slow  # each cell of docs/access.md is explained in the quick lane
def test_every_explanation_is_what_the_gate_does() -> None:
    """Every role, expired, revoked, local and unknown, times every action, environment and fact that counts."""
    house = House()
    somebody = [house.holder(role, scope) for role, scope in product(Role, ("*", "deployment:thing"))]
    brief, ended = house.holder("owner", life=1), house.holder("owner")
    house.append(revoke_key(house.access, ended.credential, by=OWNER, reason="left", now=START))
    house.clock.advance(1)
    everybody = [*somebody, brief, ended, OWNER, local_owner(7), Principal(id="svc_x", kind=OWNER.kind, name="x")]
    facts = [
        {"pushed_by": "svc_other", "profile": "standard", "role": "caller", "scope": "*"},
        {"pushed_by": somebody[0].id, "profile": "open", "role": "owner", "scope": "*"},
        {"pushed_by": OWNER.id, "profile": "", "role": "caller", "scope": "deployment:thing"},
        {"holder": "svc_other", "role": "caller", "scope": "*"},
        {"holder": "themselves", "role": "owner", "scope": "*"},
    ]
    seen = set()
    for who, action, stated, environment in product(
        everybody, Action, facts, [None, Environment.DEV, Environment.PRODUCTION]
    ):
        kind = action.partition(":")[0]
        whose = {"holder": who.id} if stated.get("holder") == "themselves" else {}
        resource = Resource(kind, "thing", environment=environment, attributes={**stated, **whose})
        said = told(house, who, action, resource)
        try:
            decision = house.gate.read(who, action, resource)
        except PolicyError as refused:
            assert not said.allowed
            assert said.reason in refused.message
            assert said.missing, (who, action, resource)
        else:
            assert said.allowed
            assert (said.policies, said.roles, said.reason) == (decision.policies, decision.roles, decision.reason)
            assert said.self_approved == decision.self_approved
            assert not said.missing
            takes_no_role = set(said.policies) <= {"own-grants", "own-account", "own-reviews", "own-break-glass"}
            assert who == OWNER or any(grant.gives for grant in said.grants) != takes_no_role
        seen.add((said.allowed, bool(said.policies)))
    assert seen == {(True, True), (False, True), (False, False)}


def test_it_names_the_grant_that_gives_and_says_why_the_others_do_not() -> None:
    house = House()
    who = named(house, "web", "caller", "deployment:thing")
    ended = grant_body(3, who.id, "*", Role.OWNER)
    more = [
        grant_body(1, who.id, "*", Role.OPERATOR, life=10),
        grant_body(2, who.id, "deployment:other", Role.OPERATOR),
        ended,
    ]
    house.append([("grant", body) for body in more])
    house.append([("grant", revoked(ended["id"]))])
    before = told(house, who, Action.DEPLOYMENT_PAUSE, THING)
    assert [(grant.role, grant.gives) for grant in before.grants] == [
        ("caller", False), ("operator", True), ("operator", False), ("owner", False)
    ]  # fmt: skip
    assert [grant.why for grant in before.grants] == [
        "caller alone may not",
        "counts here",
        "is for deployment:other in the project default",
        "was revoked 2026-01-01T00:00:00.000000Z by local:1000",
    ]
    house.clock.advance(10)
    after = told(house, who, Action.DEPLOYMENT_PAUSE, THING)
    assert not after.allowed
    assert after.missing == (
        "a grant of operator or owner that covers default/deployment:thing in production",
        f"the grant grt_{1:032x} of operator, given by local:1000, expired 2026-01-01T00:00:10.000000Z",
    )
    assert (
        after.next_step == "Ask an owner for a key that may: casemate key issue NAME --role operator --deployment thing"
    )


def test_the_answer_changes_at_the_very_instant_of_expiry() -> None:
    house = House()
    who = named(house, "brief", "auditor", life=10)
    house.clock.at = START + timedelta(seconds=10) - timedelta(microseconds=1)
    said = told(house, who, Action.AUDIT_READ, Resource("audit"))
    assert (said.allowed, said.until) == (True, "2026-01-01T00:00:10.000000Z")
    house.clock.at = START + timedelta(seconds=10)
    said = told(house, who, Action.AUDIT_READ, Resource("audit"))
    assert said.missing == (f"the key {who.credential} expired 2026-01-01T00:00:10.000000Z",)
    house.clock.at = START  # a clock that goes back revives nothing
    assert not told(house, who, Action.AUDIT_READ, Resource("audit")).allowed


def test_a_revoked_key_is_told_with_who_when_and_why() -> None:
    house = House()
    who = named(house, "gone", "auditor")
    house.append(revoke_key(house.access, who.credential, by=OWNER, reason="left the team", now=START))
    (missing,) = told(house, who, Action.AUDIT_READ, Resource("audit")).missing
    assert missing == (f"the key {who.credential} was revoked 2026-01-01T00:00:00.000000Z by local:1000: left the team")


def test_four_eyes_are_told_with_the_policys_words_and_with_who_may() -> None:
    house = House()
    pusher, other = named(house, "pusher", "owner"), named(house, "other", "approver")
    version = Resource("model", "risk", environment=Environment.PRODUCTION, attributes={"pushed_by": pusher.id})
    said = told(house, pusher, Action.MODEL_APPROVE, version)
    assert said.policies == ("four-eyes",)
    assert said.missing[0].startswith("the policy four-eyes forbids it: Four eyes: nobody approves")
    assert said.next_step == f"Let somebody do it who may: local, other ({other.id})."
    dev = Resource("model", "risk", environment=Environment.DEV, attributes={"pushed_by": pusher.id})
    assert told(house, pusher, Action.MODEL_APPROVE, dev).self_approved


def test_who_got_a_key_from_the_pusher_is_no_second_person_here_either() -> None:
    house = House()
    pusher = named(house, "pusher", "owner")
    helper = house.holder("approver", issuer=pusher)
    version = Resource("model", "risk", environment=Environment.PRODUCTION, attributes={"pushed_by": pusher.id})
    said = told(house, helper, Action.MODEL_APPROVE, version)
    assert said.policies == ("four-eyes",)
    assert helper.id not in said.next_step


def test_what_an_operator_lacks_for_an_owners_key_is_the_owners_role() -> None:
    house = House()
    key = Resource("key", "k", attributes={"role": "owner", "scope": "*"})
    said = told(house, house.holder("operator"), Action.KEY_ISSUE, key)
    assert said.missing == ("a grant of owner that covers default/key:k",)


def test_a_key_that_would_outlive_its_issuer_is_told_so() -> None:
    house = House()
    long = key_request("k", role="caller", scope="*", now=START, life=7200).resource()
    said = told(house, house.holder("operator"), Action.KEY_ISSUE, long)
    assert any("ends too early, at 2026-01-01T01:00:00.000000Z" in one for one in said.missing)


def test_people_are_found_by_what_one_calls_them() -> None:
    house = House()
    who = named(house, "web")
    for text in ("web", who.id, who.credential):
        assert find_principal(house.access, text, now=START) == who
    assert find_principal(house.access, "local", now=START) == OWNER
    assert find_principal(house.access, "local:7", now=START) == local_owner(7)


@pytest.mark.parametrize(
    "text", ["WEB", "web ", "w\u0435b", "", "we", "local:", "local:x", "local:\u0661", "key_" + "0" * 32]
)
def test_nothing_that_only_looks_like_a_name_finds_anybody(text: str) -> None:
    house = House()
    named(house, "web")
    with pytest.raises(NotFoundError) as caught:
        find_principal(house.access, text, now=START)
    assert caught.value.code == "no-principal"


def test_a_name_that_two_working_services_share_is_not_guessed() -> None:
    house = House()
    first, second = named(house, "web", life=10), named(house, "web")
    with pytest.raises(InputError, match="2 services are called 'web'") as caught:
        find_principal(house.access, "web", now=START)
    assert first.id in caught.value.message
    assert find_principal(house.access, first.credential, now=START) == first
    assert find_principal(house.access, "web", now=START + timedelta(seconds=10)) == second
