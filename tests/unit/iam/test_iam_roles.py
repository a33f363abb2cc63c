"""Every role and every action, from a table that a person can read. What the table does not name is refused."""

import pytest
from iam_house import OWNER, POLICIES, House

from casemate.core import Action, Environment, PolicyError, Principal, PrincipalKind, Resource, Role

READERS = "owner data-scientist approver operator auditor"
TABLE = {
    "dataset:read": "owner data-scientist approver auditor",
    "dataset:export": "owner data-scientist",
    "dataset:push": "owner data-scientist",
    "dataset:tag": "owner data-scientist",
    "dataset:anonymize": "owner data-scientist",
    "dataset:reidentify": "owner",
    "dataset:restore": "owner data-scientist",
    "dataset:verify": "owner data-scientist auditor",
    "dataset:revoke": "owner approver operator",
    "dataset:screen": "owner data-scientist approver",
    "dataset:configure": "owner",
    "dataset:quarantine": "owner data-scientist",
    "dataset:judge": "owner data-scientist approver",
    "dataset:delete": "owner",
    "model:read": READERS,
    "model:export": "owner data-scientist",
    "model:push": "owner data-scientist",
    "model:train": "owner data-scientist",
    "model:train-online": "owner",
    "model:convert": "owner data-scientist",
    "model:convert-flagged": "owner",
    "model:verify": READERS,
    "model:describe": "owner data-scientist",
    "model:evaluate": "owner data-scientist approver",
    "model:configure": "owner",
    "model:approve": "owner approver",
    "model:revoke": "owner approver operator",
    "model:delete": "owner",
    "deployment:read": READERS + " caller",
    "deployment:deploy": "owner operator",
    "deployment:rollback": "owner operator",
    "deployment:pause": "owner operator",
    "deployment:predict": "owner caller",
    "key:read": "owner operator auditor",
    "key:issue": "owner operator",
    "key:rotate": "owner operator",
    "key:revoke": "owner operator",
    "keys:read": "owner",
    "keys:rotate": "owner",
    "keys:move": "owner",
    "grant:read": "owner operator auditor",  # and everybody their own
    "grant:request": "owner",  # and everybody who has proved who they are
    "grant:approve": "owner operator",
    "grant:revoke": "owner",  # and everybody their own
    "grant:break-glass": "owner",  # and everybody; their own alone, says the grant
    "grant:account": "owner",  # the same
    "grant:accept": "owner operator",
    "issuer:read": "owner operator auditor",
    "issuer:add": "owner",
    "issuer:refresh": "owner",
    "issuer:bind": "owner",
    "issuer:revoke": "owner",
    "signer:read": "owner data-scientist approver operator auditor",
    "signer:add": "owner",
    "signer:remove": "owner approver operator",
    "provider:read": "owner auditor",
    "provider:add": "owner",
    "provider:map": "owner",
    "provider:bind": "owner",
    "provider:revoke": "owner",
    "user:read": "owner auditor",  # and everybody themselves
    "user:invite": "owner",
    "user:update": "owner",  # and everybody themselves
    "user:reset": "owner",
    "user:revoke": "owner",
    "session:read": "owner auditor",  # and everybody their own
    "session:verify": "owner",  # and everybody their own
    "session:revoke": "owner",  # and everybody their own
    "access:read": "owner auditor",
    "review:read": "owner auditor",  # and whoever one was assigned to
    "review:open": "owner",
    "review:answer": "owner",  # and whoever one was assigned to
    "review:close": "owner",
    "review:schedule": "owner",
    "policy:read": READERS,
    "policy:propose": "owner",
    "policy:approve": "owner",
    "policy:revert": "owner",  # on the home's own machine
    "prediction:read": "owner",
    "audit:read": "owner approver auditor",
    "audit:verify": "owner auditor",
    "status:read": READERS,
}
FAVOURABLE = {
    "pushed_by": "svc_other",
    "profile": "standard",
    "role": "caller",
    "scope": "*",
    "holder": "svc_2",
    "reviewed": "svc_2",
    "fresh": True,
    "local": True,
    "data_class": "internal",
    "lowers_class": False,
    "purpose_allowed": True,
    "card_complete": True,
    "evaluated": True,
}


def ask(role: Role | None, action: Action, /, *, environment=Environment.PRODUCTION, kind="", **attributes):
    somebody = Principal(id="svc_1", kind=PrincipalKind.SERVICE, name="somebody")
    resource = Resource(
        kind=kind or action.partition(":")[0],
        name="thing",
        environment=environment,
        attributes={**FAVOURABLE, **attributes},
    )
    return POLICIES.decide(somebody, action, resource, roles=frozenset({role} if role else ()))


def test_the_table_names_every_action() -> None:
    assert set(TABLE) == set(Action)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("role", Role)
def test_a_role_may_do_what_the_table_says_and_nothing_else(role: Role, action: Action) -> None:
    decision = ask(role, action)
    assert decision.allowed == (role in TABLE[action].split()), decision.reason
    assert bool(decision.policies) == decision.allowed


@pytest.mark.parametrize("action", Action)
def test_nobody_may_do_anything_without_a_role(action: Action) -> None:
    assert not ask(None, action).allowed


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize(
    "kind",
    [
        "dataset",
        "model",
        "deployment",
        "key",
        "grant",
        "keys",
        "access",
        "policy",
        "audit",
        "status",
        "role",
        "user",
        "session",
        "",
    ],
)
def test_an_action_on_a_resource_of_another_kind_is_refused_even_for_an_owner(action: Action, kind: str) -> None:
    expected = kind in ("", action.partition(":")[0])  # "" takes the action's own kind
    assert ask(Role.OWNER, action, kind=kind).allowed == expected


@pytest.mark.parametrize("kind", ["Model", "ROLE", "project", "user", 'model"', "\x00", "модель"])
def test_a_resource_kind_that_does_not_exist_is_refused(kind: str) -> None:
    resource = Resource(kind=kind, name="thing", attributes=FAVOURABLE)
    decision = POLICIES.decide(OWNER, Action.DATASET_READ, resource, roles=frozenset({Role.OWNER}))
    assert not decision.allowed


@pytest.mark.parametrize("role", [Role.OWNER, Role.APPROVER])
@pytest.mark.parametrize(
    ("environment", "allowed"),
    [(Environment.DEV, True), (Environment.STAGING, False), (Environment.PRODUCTION, False), (None, False)],
)
def test_one_person_alone_approves_in_dev_only(role: Role, environment: Environment | None, allowed: bool) -> None:
    decision = ask(role, Action.MODEL_APPROVE, environment=environment, pushed_by="svc_1")
    assert (decision.allowed, decision.self_approved) == (allowed, allowed)
    assert allowed or decision.policies == ("four-eyes",)


def test_an_approval_that_does_not_say_who_pushed_counts_as_ones_own() -> None:
    somebody = Principal(id="svc_1", kind=PrincipalKind.SERVICE, name="somebody")
    resource = Resource(kind="model", name="spam", environment=Environment.PRODUCTION)
    roles = frozenset({Role.APPROVER})
    assert not POLICIES.decide(somebody, Action.MODEL_APPROVE, resource, roles=roles).allowed


def test_an_approval_by_a_second_person_is_not_recorded_as_self_approved() -> None:
    assert not ask(Role.APPROVER, Action.MODEL_APPROVE, environment=Environment.DEV).self_approved


@pytest.mark.parametrize(
    ("profile", "environment", "allowed"),
    [
        ("open", Environment.DEV, True),
        ("open", Environment.STAGING, False),
        ("open", Environment.PRODUCTION, False),
        ("open", None, False),
        ("standard", None, True),
        ("strict", Environment.PRODUCTION, True),
        ("", Environment.DEV, False),
        ("Standard", Environment.DEV, False),
    ],
)
def test_the_open_profile_is_for_dev_only(profile: str, environment: Environment | None, allowed: bool) -> None:
    assert ask(Role.OPERATOR, Action.DEPLOYMENT_DEPLOY, environment=environment, profile=profile).allowed == allowed


@pytest.mark.parametrize("asked", Role)
@pytest.mark.parametrize("action", [Action.KEY_ISSUE, Action.KEY_ROTATE, Action.KEY_REVOKE, Action.GRANT_APPROVE])
def test_an_operator_hands_out_and_takes_back_the_callers_role_only(asked: Role, action: Action) -> None:
    assert ask(Role.OPERATOR, action, role=asked.value).allowed == (asked is Role.CALLER)
    assert ask(Role.OWNER, action, role=asked.value).allowed


def test_a_refusal_names_reason_and_next_step() -> None:
    decision = ask(Role.CALLER, Action.MODEL_APPROVE)
    assert "no policy lets caller do model:approve on default/model:thing" in decision.reason
    assert decision.next_step == "Ask an owner for a key that may: casemate key issue NAME --role approver"


def test_the_refusal_of_a_caller_names_the_deployment() -> None:
    house = House()
    with pytest.raises(PolicyError) as caught:
        house.authorizer.authorize(
            house.holder("caller", "deployment:spam"), Action.DEPLOYMENT_PREDICT, Resource("deployment", "ham")
        )
    assert caught.value.message.endswith("casemate key issue NAME --role caller --deployment ham")
    assert "covers default/deployment:ham" in caught.value.message


def test_the_homes_owner_owns_the_default_project_only() -> None:
    house = House()
    assert house.authorizer.authorize(OWNER, Action.MODEL_DELETE, Resource("model", "spam")).policies == ("owner",)
    with pytest.raises(PolicyError):
        house.authorizer.authorize(OWNER, Action.MODEL_DELETE, Resource("model", "spam", project="fraud"))
