"""What could do great harm wants a second factor of the last five minutes, from people and not from services."""

from __future__ import annotations

from pathlib import Path

import pytest
from iam_house import OWNER
from people_house import HERE, PeopleHouse, people_house

from casemate.core import Action, Environment, PolicyError, Resource, StepUpError
from casemate.iam import FRESH, explain, find_principal

DEPLOY = Resource("deployment", "d", environment=Environment.PRODUCTION, attributes={"profile": "standard"})


@pytest.fixture
def house(tmp_path: Path):
    with people_house(tmp_path) as made:
        yield made


def key(role: str) -> Resource:
    return Resource("key", "k", attributes={"role": role, "scope": "*"})


HIGH = [
    (Action.DEPLOYMENT_DEPLOY, DEPLOY),
    (Action.DEPLOYMENT_ROLLBACK, DEPLOY),
    (Action.MODEL_EXPORT, Resource("model", "m", attributes={"data_class": "internal"})),
    (Action.DATASET_EXPORT, Resource("dataset", "d", attributes={"data_class": "internal"})),
    (Action.DATASET_REIDENTIFY, Resource("dataset", "d", attributes={"data_class": "internal"})),
    (Action.KEY_ISSUE, key("owner")),
    (Action.KEY_ROTATE, key("operator")),
    (Action.KEYS_ROTATE, Resource("keys")),
    (Action.KEYS_MOVE, Resource("keys")),
    (Action.ISSUER_ADD, Resource("issuer", "i")),
    (Action.ISSUER_BIND, Resource("issuer", "i", attributes={"role": "operator", "scope": "*"})),
    (Action.SIGNER_ADD, Resource("signer", "s")),
    (Action.USER_INVITE, Resource("user", "n", attributes={"role": "caller", "scope": "*"})),
    (Action.USER_RESET, Resource("user", "n")),
    (Action.MODEL_APPROVE, Resource("model", "m", attributes={"pushed_by": "svc_x"})),
    (Action.MODEL_CONVERT_FLAGGED, Resource("model", "m")),
    (Action.POLICY_PROPOSE, Resource("policy", attributes={"holder": "svc_x"})),
    (Action.POLICY_APPROVE, Resource("policy", "p", attributes={"holder": "svc_x"})),
    (Action.GRANT_APPROVE, Resource("grant", "g", attributes={"holder": "svc_x", "scope": "*"})),
]
LOW = [
    (Action.MODEL_READ, Resource("model", "m")),
    (Action.MODEL_CONVERT, Resource("model", "m")),
    (Action.MODEL_REVOKE, Resource("model", "m")),  # an emergency
    (Action.DEPLOYMENT_PAUSE, DEPLOY),  # an emergency
    (Action.KEY_ISSUE, key("caller")),
    (Action.ISSUER_BIND, Resource("issuer", "i", attributes={"role": "caller", "scope": "*"})),
    (Action.USER_REVOKE, Resource("user", "n")),  # an emergency
    (Action.SIGNER_REMOVE, Resource("signer", "s")),  # an emergency
]


def test_it_is_fresh_for_exactly_five_minutes(house: PeopleHouse) -> None:
    ada = house.enrol()
    token = ada.signed_in.started.token
    begun = ada.signed_in.started.session.verified_at
    for action, resource in HIGH + LOW:
        house.authorizer.authorize(house.who(token), action, resource)
    house.clock.at = begun + FRESH
    for action, resource in HIGH:
        with pytest.raises(StepUpError) as caught:
            house.authorizer.authorize(house.who(token), action, resource)
        assert caught.value.code == "step-up-required"
        assert caught.value.details["policies"] == ["step-up"]
        assert "casemate login --verify" in caught.value.message
    for action, resource in LOW:
        house.authorizer.authorize(house.who(token), action, resource)
    renewed = house.sign_in.verify(house.who(token), ada.code(house.clock.at), HERE)
    for action, resource in HIGH:
        house.authorizer.authorize(house.who(renewed.token), action, resource)


def test_a_kept_decision_does_not_outlive_the_factor(house: PeopleHouse) -> None:
    ada = house.enrol()
    principal = house.who(ada.signed_in.started.token)
    house.clock.at = ada.signed_in.started.session.verified_at + FRESH
    house.clock.advance(-0.001)
    house.authorizer.authorize(principal, Action.DEPLOYMENT_DEPLOY, DEPLOY)
    house.clock.advance(0.001)
    with pytest.raises(StepUpError):
        house.authorizer.authorize(principal, Action.DEPLOYMENT_DEPLOY, DEPLOY)


def test_who_may_not_at_all_is_refused_and_not_asked_for_a_code(house: PeopleHouse) -> None:
    ada = house.enrol("ada", "auditor")
    house.clock.advance(600)
    with pytest.raises(PolicyError) as caught:
        house.authorizer.authorize(house.who(ada.signed_in.started.token), Action.DEPLOYMENT_DEPLOY, DEPLOY)
    assert "no policy lets auditor" in caught.value.message


def test_a_services_key_and_an_owner_without_a_factor_are_not_asked(house: PeopleHouse) -> None:
    for principal in (house.holder("owner"), OWNER):
        for action, resource in HIGH:
            house.authorizer.authorize(principal, action, resource)


def test_the_homes_owner_is_asked_once_they_have_a_second_factor(house: PeopleHouse) -> None:
    me = house.enrol("me", local=True)
    with pytest.raises(StepUpError):
        house.authorizer.authorize(OWNER, Action.DEPLOYMENT_DEPLOY, DEPLOY)
    house.authorizer.authorize(OWNER, Action.DEPLOYMENT_PAUSE, DEPLOY)
    assert house.sign_in.verify(OWNER, me.code(house.clock.at), HERE) is None
    fresh = house.sign_in.with_freshness(OWNER)
    house.authorizer.authorize(fresh, Action.DEPLOYMENT_DEPLOY, DEPLOY)
    house.clock.advance(FRESH.total_seconds())
    with pytest.raises(StepUpError):
        house.authorizer.authorize(house.sign_in.with_freshness(OWNER), Action.DEPLOYMENT_DEPLOY, DEPLOY)


def test_a_refusal_is_on_record_and_nothing_runs(house: PeopleHouse) -> None:
    ada = house.enrol()
    house.clock.advance(600)
    with (
        pytest.raises(StepUpError),
        house.gate.open(house.who(ada.signed_in.started.token), Action.DEPLOYMENT_DEPLOY, DEPLOY),
    ):
        pytest.fail("it ran")
    event = house.log.events[-1]
    assert (event.outcome, event.facts["policies"], event.facts["fresh" if "fresh" in event.facts else "policies"]) == (
        "refused", ["step-up"], event.facts.get("fresh", ["step-up"]),
    )  # fmt: skip


def test_nobody_states_that_they_are_fresh(house: PeopleHouse) -> None:
    ada = house.enrol()
    house.clock.advance(600)
    with pytest.raises(StepUpError):
        house.authorizer.authorize(house.who(ada.signed_in.started.token), Action.DEPLOYMENT_DEPLOY, DEPLOY, fresh=True)


def test_a_person_is_explained_with_what_is_missing(house: PeopleHouse) -> None:
    house.enrol("ada", "operator")
    who = find_principal(house.access, "ada", now=house.clock.at)
    said = explain(house.authorizer, who, Action.DEPLOYMENT_DEPLOY, DEPLOY)
    assert not said.allowed
    assert said.policies == ("step-up",)
    assert [grant.why for grant in said.grants] == ["counts here"]
    assert explain(house.authorizer, who, Action.DEPLOYMENT_READ, DEPLOY).allowed
