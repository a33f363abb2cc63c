"""No fact that somebody leaves out or writes oddly opens what the cautious answer would refuse."""

import ipaddress
from datetime import UTC, datetime

import cedarpy
from hypothesis import given
from hypothesis import strategies as st

from casemate.core import Action, DataClass, Environment, Principal, PrincipalKind, Resource, Role, rfc3339
from casemate.iam import Policies, plain_address
from casemate.iam.conditions import asked_again, conditions_of, kept_conditions

POLICIES = Policies()
OFFICE = POLICIES.check(
    '@id("office") forbid (principal, action, resource) '
    'unless { context has address && context.address.isInRange(ip("10.0.0.0/8")) };'
)
WHO = Principal(id="svc_1", kind=PrincipalKind.SERVICE, name="somebody", credential="key_1")
TEXTS = st.one_of(
    st.sampled_from(["", "true", "1", "health", "public", "10.0.0.1", "caller", "open"]), st.text(max_size=20)
)
ODD = st.one_of(TEXTS, st.booleans(), st.integers(-2, 300))
NAMES = (
    "profile", "role", "holder", "pushed_by", "authenticated", "ci", "human_approved", "fresh", "local", "data_class",
    "lowers_class", "purpose", "purpose_allowed", "card_complete", "evaluated", "address", "now", "hour", "weekday", "environment",
)  # fmt: skip
STATED = st.dictionaries(st.sampled_from(NAMES), ODD, max_size=6)
KINDS = st.sampled_from(["dataset", "model", "deployment", "grant", "policy", "key"])
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds it


@given(STATED, KINDS, TIMES)
def test_every_fact_is_of_the_schema_and_none_is_open_by_omission(stated: dict, kind: str, at: datetime) -> None:
    found = conditions_of(WHO, Resource(kind, "x", environment=Environment.DEV), stated, at)
    for name in ("authenticated", "human_approved", "fresh", "local", "purpose_allowed", "card_complete", "evaluated"):
        assert found[name] is (stated.get(name) is True)
    assert found["lowers_class"] is (stated.get("lowers_class") is not False)
    assert found["environment"] == "dev", "nobody states it but the resource"
    assert (found["hour"], found["weekday"]) == (at.hour, at.isoweekday())
    known = str(stated.get("data_class")) in set(DataClass)
    if kind in ("dataset", "model") and not known:
        assert found["data_class"] == "health"
    decision = POLICIES.decide(
        WHO, Action.STATUS_READ, Resource("status"), roles=frozenset({Role.OWNER}), context=stated, at=at
    )
    assert decision.allowed, "whatever is stated can be asked about"


@given(STATED, KINDS, TIMES)
def test_what_the_record_keeps_asks_the_same_question_again(stated: dict, kind: str, at: datetime) -> None:
    found = conditions_of(WHO, Resource(kind, "x", environment=Environment.DEV), stated, at)
    assert asked_again(kept_conditions(found), rfc3339(at)) == found


@given(st.dictionaries(st.sampled_from(NAMES), ODD, max_size=6), st.sampled_from(list(Action)), TIMES)
def test_no_attribute_of_a_resource_is_an_address(stated: dict, action: Action, at: datetime) -> None:
    kind = action.partition(":")[0]
    context = {"authenticated": True}
    shown = {name: value for name, value in stated.items() if name != "authenticated"}
    inside = OFFICE.decide(
        WHO, action, Resource(kind, "x", attributes=shown), roles=frozenset(Role), context=context, at=at
    )
    plain = POLICIES.decide(
        WHO, action, Resource(kind, "x", attributes=shown), roles=frozenset(Role), context=context, at=at
    )
    assert not inside.allowed or inside.policies == plain.policies
    assert not (inside.allowed and not plain.allowed)


@given(st.one_of(st.ip_addresses().map(str), st.text(max_size=50)))
def test_an_address_is_read_as_cedar_reads_it_or_is_none(text: str) -> None:
    found = plain_address(text)
    if found:
        assert ipaddress.ip_network(found, strict=False)
        request = {
            "principal": {"type": "U", "id": "u"}, "action": {"type": "Action", "id": "a"},
            "resource": {"type": "U", "id": "u"}, "context": {"address": {"__extn": {"fn": "ip", "arg": found}}},
        }  # fmt: skip
        policies = cedarpy.PolicySet.from_str(
            'permit (principal, action, resource) when { context.address == ip("::") || true };'
        )
        answer = cedarpy.is_authorized(request, policies, cedarpy.Entities.from_json_str("[]"))
        assert answer.allowed, found
