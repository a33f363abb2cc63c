"""Decisions that are kept: for how long, and what ends them."""

from datetime import timedelta

import pytest
from iam_house import OWNER, START, House

from casemate.core import Action, Environment, Resource
from casemate.iam import Authorizer, Policies, authorizer

SPAM = Resource("deployment", "spam")
PREDICT = Action.DEPLOYMENT_PREDICT


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    """Counts how often Cedar is asked, in `house.asked`."""
    house = House()
    house.asked = 0
    policies = house.authorizer.policies
    real = Policies.decide

    def counted(*arguments, **named):
        house.asked += 1
        return real(policies, *arguments[1:], **named)

    monkeypatch.setattr(Policies, "decide", counted)
    return house


def test_the_same_question_is_asked_of_cedar_once(house: House) -> None:
    holder = house.holder()
    first = house.authorizer.decide(holder, PREDICT, SPAM)
    assert house.authorizer.decide(holder, PREDICT, Resource("deployment", "spam")) is first
    assert house.asked == 1


def test_refusals_are_kept_too(house: House) -> None:
    holder = house.holder("auditor")
    assert house.authorizer.decide(holder, PREDICT, SPAM) is house.authorizer.decide(holder, PREDICT, SPAM)
    assert house.asked == 1


def test_a_kept_decision_dies_after_a_second(house: House) -> None:
    holder = house.holder()
    house.authorizer.decide(holder, PREDICT, SPAM)
    house.clock.at = START + timedelta(seconds=1) - timedelta(microseconds=1)
    house.authorizer.decide(holder, PREDICT, SPAM)
    assert house.asked == 1
    house.clock.at = START + timedelta(seconds=1)
    house.authorizer.decide(holder, PREDICT, SPAM)
    assert house.asked == 2


def test_a_kept_decision_dies_at_the_nearest_expiry(house: House) -> None:
    holder = house.holder(life=0.5)
    assert house.authorizer.decide(holder, PREDICT, SPAM).allowed
    house.clock.advance(0.5)
    assert not house.authorizer.decide(holder, PREDICT, SPAM).allowed


def test_any_change_of_access_or_policy_ends_it(house: House) -> None:
    holder = house.holder()
    house.authorizer.decide(holder, PREDICT, SPAM)
    house.issue()
    house.authorizer.decide(holder, PREDICT, SPAM)
    assert house.asked == 2
    shared = house.authorizer.policies
    house.authorizer.policies = Policies()
    house.authorizer.decide(holder, PREDICT, SPAM)
    assert house.asked == 3
    assert house.authorizer.policies.digest == shared.digest


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Resource("model", "spam", environment=Environment.DEV), Resource("model", "spam")),
        (
            Resource("model", "spam", attributes={"pushed_by": "svc_2"}),
            Resource("model", "spam", attributes={"pushed_by": "local:1000"}),
        ),
        (Resource("model", "spam", attributes={"x": 1}), Resource("model", "spam", attributes={"x": True})),
        (Resource("model", "spam"), Resource("model", "spam", project="fraud")),
        (Resource("model", "spam"), Resource("model", "ham")),
    ],
)
def test_every_input_of_a_decision_is_part_of_its_name(house: House, first: Resource, second: Resource) -> None:
    house.authorizer.decide(OWNER, Action.MODEL_APPROVE, first)
    house.authorizer.decide(OWNER, Action.MODEL_APPROVE, second)
    assert house.asked == 2


def test_facts_given_beside_the_resource_count_too(house: House) -> None:
    dev = Resource("model", "spam", environment=Environment.PRODUCTION)
    assert house.authorizer.decide(OWNER, Action.MODEL_APPROVE, dev, pushed_by="svc_2").allowed
    assert not house.authorizer.decide(OWNER, Action.MODEL_APPROVE, dev, pushed_by=OWNER.id).allowed


def test_two_principals_never_share_a_decision(house: House) -> None:
    may, may_not = house.holder("caller"), house.holder("auditor")
    assert house.authorizer.decide(may, PREDICT, SPAM).allowed
    assert not house.authorizer.decide(may_not, PREDICT, SPAM).allowed


def test_the_number_of_kept_decisions_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorizer, "MAX_KEPT", 8)
    for number in range(40):
        house.authorizer.decide(OWNER, PREDICT, Resource("deployment", f"d-{number}"))
    assert len(house.authorizer._kept) == 8
    assert house.authorizer.decide(OWNER, PREDICT, Resource("deployment", "d-39")).allowed
    assert house.asked == 40


def test_an_authorizer_starts_with_nothing_kept() -> None:
    house = House()
    fresh = Authorizer(access=house.access, policies=house.authorizer.policies, clock=house.clock)
    assert not fresh._kept
