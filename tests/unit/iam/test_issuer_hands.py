"""Whoever chose an issuer, or its keys, may sign its tokens: they are no second person beside what these prove."""

from __future__ import annotations

import pytest
from iam_house import OWNER, House
from token_makers import ISSUER, Signer

from casemate.core import Action, Environment, Principal, PrincipalKind, Resource
from casemate.iam import key_request
from casemate.iam.tokens.bindings import bind, token_binding
from casemate.iam.tokens.issuers import add_issuer, find_issuer, issuer_request, record_keys
from casemate.iam.tokens.jwks import read_jwks


def keys_of(signer: Signer) -> tuple:
    return read_jwks(signer.jwks(), [signer.algorithm])


def add(house: House, by: Principal) -> None:
    request = issuer_request("idp", kind="generic", issuer=ISSUER, audience="casemate", algorithms=["ES256"], source="")
    house.append(add_issuer(house.access, request, keys_of(Signer("ES256")), by=by, now=house.clock.at))


def give_keys(house: House, by: Principal) -> None:
    found = find_issuer(house.access, "idp")
    keys = keys_of(Signer("ES256", kid=f"of-{by.id[-6:]}"))
    house.append(record_keys(found, keys, by=by, now=house.clock.at))


def bound(house: House, by: Principal) -> Principal:
    """A service that the issuer's tokens prove, bound by somebody else than who chose the issuer."""
    request = key_request("robot", role="owner", scope="*", now=house.clock.at, life=3600)
    made = bind(request, token_binding(house.access, "idp", {"sub": "robot"}), by=by, reason="test")
    house.append(made.entries)
    service = house.access.snapshot.credentials[made.id].principal
    return Principal(id=service, kind=PrincipalKind.SERVICE, name="robot", credential=made.id)


QUESTIONS = [
    (Action.MODEL_APPROVE, "pushed_by", "four-eyes"),
    (Action.POLICY_APPROVE, "holder", "four-eyes-policies"),
    (Action.GRANT_APPROVE, "holder", "four-eyes-grants"),
    (Action.GRANT_ACCEPT, "holder", "four-eyes-grants"),
    (Action.REVIEW_ANSWER, "reviewed", "four-eyes-reviews"),
]


def about(action: Action, attribute: str, whose: Principal) -> Resource:
    kind = action.partition(":")[0]
    return Resource(kind, "x", environment=Environment.PRODUCTION, attributes={attribute: whose.id})


@pytest.mark.parametrize(("action", "attribute", "policy"), QUESTIONS)
@pytest.mark.parametrize("chose", ["the issuer", "the keys"])
def test_a_token_that_one_could_sign_is_no_second_person(
    chose: str, action: Action, attribute: str, policy: str
) -> None:
    house = House()
    signer, binder, other = (house.holder("owner") for _ in range(3))
    add(house, by=signer if chose == "the issuer" else OWNER)
    robot = bound(house, by=binder)
    if chose == "the keys":
        assert house.authorizer.decide(robot, action, about(action, attribute, signer)).allowed, "before"
        give_keys(house, by=signer)
    assert house.authorizer.decide(robot, action, about(action, attribute, signer)).policies == (policy,)
    assert house.authorizer.decide(robot, action, about(action, attribute, other)).allowed


@pytest.mark.parametrize(("action", "attribute", "policy"), QUESTIONS[:2])
def test_nor_is_who_could_sign_it_beside_what_it_brought(action: Action, attribute: str, policy: str) -> None:
    house = House()
    signer, binder, other = (house.holder("owner") for _ in range(3))
    add(house, by=signer)
    robot = bound(house, by=binder)
    assert house.authorizer.decide(signer, action, about(action, attribute, robot)).policies == (policy,)
    assert house.authorizer.decide(other, action, about(action, attribute, robot)).allowed


def test_keys_that_others_gave_since_are_theirs_alone() -> None:
    house = House()
    first, second, binder = (house.holder("owner") for _ in range(3))
    add(house, by=OWNER)
    robot = bound(house, by=binder)
    give_keys(house, by=first)
    give_keys(house, by=second)
    question = about(Action.POLICY_APPROVE, "holder", first)
    assert house.authorizer.decide(robot, Action.POLICY_APPROVE, question).allowed
    assert first.id not in house.access.hands(robot.id)
    assert second.id in house.access.hands(robot.id)
