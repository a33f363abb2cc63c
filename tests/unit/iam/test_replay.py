"""Decisions on record, asked again of other policies: none is passed over in silence."""

import pytest
from iam_house import OWNER, POLICIES, House

from casemate.core import Action, Event, PolicyError, Resource
from casemate.iam import replay

DATA = Resource("dataset", "d", attributes={"data_class": "internal"})
NO_PUSHING = '@id("no-pushing") forbid (principal, action == Action::"dataset:push", resource) when { context.data_class == "internal" };'
OFFICE = (
    '@id("office") forbid (principal, action == Action::"dataset:read", resource) '
    'unless { context has address && context.address.isInRange(ip("10.0.0.0/8")) };'
)
PUSHED = Resource("dataset", "d", attributes={"data_class": "internal", "lowers_class": False})


@pytest.fixture
def house() -> House:
    return House()


def replayed(house: House, text: str, events: list[Event] | None = None):
    found = house.log.events if events is None else events
    return replay(found, in_force=house.authorizer.policies, proposed=POLICIES.check(text), since="a", until="b")


def test_what_would_change_is_counted_by_kind(house: House) -> None:
    who = house.holder("data-scientist")
    for _ in range(3):
        with house.gate.open(who, Action.DATASET_PUSH, PUSHED):
            pass
    house.gate.read(who, Action.DATASET_READ, DATA, address="10.0.0.1")
    with pytest.raises(PolicyError):
        house.gate.read(who, Action.AUDIT_READ, Resource("audit"))
    found = replayed(house, NO_PUSHING)
    assert (found.events, found.asked, found.changed, found.same, found.drifted) == (5, 5, 3, 2, 0)
    (change,) = found.changes
    assert (change.count, change.before, change.after, change.by) == (3, "allowed", "refused", ("no-pushing",))
    assert found.skipped == {}


def test_the_address_of_each_request_is_asked_about(house: House) -> None:
    who = house.holder("auditor")
    for address in ("10.0.0.1", "192.0.2.7", "local"):
        house.gate.read(who, Action.DATASET_READ, DATA, address=address)
    found = replayed(house, OFFICE)
    assert (found.asked, found.changed) == (3, 2)


def test_every_decision_asked_again_comes_out_as_recorded(house: House) -> None:
    robot = house.holder("owner")
    for who in (OWNER, robot, house.holder("approver"), house.holder("caller")):
        for action in Action:
            resource = Resource(action.partition(":")[0], "x", attributes={"holder": OWNER.id, "pushed_by": OWNER.id})
            try:
                with house.gate.open(who, action, resource):
                    pass
            except PolicyError:
                pass
    found = replayed(house, "// nothing")
    assert found.events == 4 * len(Action)
    assert (found.changed, found.drifted, found.skipped) == (0, 0, {})


def test_what_cannot_be_asked_again_is_counted_with_its_reason(house: House) -> None:
    def event(**more) -> Event:
        given = {"id": "evt_1", "at": "2026-01-01T00:00:00Z", "kind": "decision", "actor": "svc_1", **more}
        return Event(**{"action": "dataset:read", "resource": "default/dataset:d", "outcome": "refused", **given})

    events = [
        event(),
        event(actor=""),
        event(action="cake:eat"),
        event(facts={"guard": "limit", "count": 40}),
        event(facts={"conditions": {"mood": "good"}, "roles": []}),
        event(facts={"conditions": {}, "roles": ["chief"]}),
        event(kind="outcome"),
    ]
    found = replayed(house, NO_PUSHING, events)
    assert found.events == 45
    assert found.asked == 0
    assert sum(found.skipped.values()) == 45
    assert found.skipped["it was refused by another wall than the policies, or counted among others"] == 40


def test_an_answered_prediction_is_asked_again(house: House) -> None:
    facts = {"profile": "standard", "environment": "production", "roles": ["caller"], "address": "192.0.2.7"}
    event = Event(
        id="evt_1", at="2026-01-03T00:00:00Z", kind="prediction", action="deployment:predict", actor="svc_1",
        credential="key_1", resource="default/deployment:web", outcome="done", facts=facts,
    )  # fmt: skip
    text = '@id("weekdays") forbid (principal, action == Action::"deployment:predict", resource) when { context.weekday > 5 && context.environment == "production" };'
    found = replayed(house, text, [event])
    assert (found.asked, found.changed, found.drifted) == (1, 1, 0)
