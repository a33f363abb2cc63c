"""A home's own policies: proposed, approved by another, in force at once, and never past the walls."""

from datetime import timedelta

import pytest
from iam_house import OWNER, POLICIES, START, House, revoked

from casemate.core import (
    Action,
    ConflictError,
    InputError,
    LimitError,
    NotFoundError,
    PolicyError,
    Principal,
    Resource,
    Role,
    VerificationError,
    digest_of,
)
from casemate.iam import (
    Policies,
    answer_policy_resource,
    approve_policy,
    deny_policy,
    find_policy_text,
    list_policies,
    propose_policy,
    return_to_packaged,
    withdraw_policy,
)
from casemate.iam.policy_records import HomePolicy
from casemate.iam.policy_walls import PACKAGED_ALONE

NO_DELETING = '@id("kept") forbid (principal, action == Action::"dataset:delete", resource);'
OFFICE = (
    '@id("office") @next("Come to the office.") forbid (principal, action == Action::"model:push", resource) '
    'unless { context has address && context.address.isInRange(ip("10.0.0.0/8")) };'
)
MORE = '@id("auditors-see-predictions") permit (principal in Role::"auditor", action == Action::"prediction:read", resource);'
DATA = Resource("dataset", "d", attributes={"data_class": "internal"})
MODEL = Resource("model", "m")


@pytest.fixture
def house() -> House:
    return House()


def propose(house: House, text: str, by: Principal = OWNER) -> str:
    made, entries = propose_policy(house.access, POLICIES, text, by=by, reason="needed", now=house.clock.at)
    house.append(entries)
    return made


def approve(house: House, proposal: str, by: Principal) -> None:
    house.append(approve_policy(house.access, POLICIES, proposal, by=by, reason="fine", now=house.clock.at))


def in_force(house: House, text: str) -> None:
    approve(house, propose(house, text), house.holder("owner"))


def may(house: House, who: Principal, action: Action, resource: Resource, **context) -> bool:
    return house.authorizer.decide(who, action, resource, **context).allowed


def test_a_proposal_changes_nothing_and_an_approval_counts_at_once(house: House) -> None:
    assert may(house, OWNER, Action.DATASET_DELETE, DATA)
    proposal = propose(house, NO_DELETING)
    assert may(house, OWNER, Action.DATASET_DELETE, DATA)
    approve(house, proposal, house.holder("owner"))
    decision = house.authorizer.decide(OWNER, Action.DATASET_DELETE, DATA)
    assert not decision.allowed
    assert decision.policies == ("kept",)
    assert decision.policy == house.authorizer.policies.digest != POLICIES.digest
    (info,) = list_policies(house.access, now=house.clock.at)
    assert (info.state, info.version, info.proposed_by) == ("active", 1, OWNER.id)


def test_nobody_approves_their_own_nor_through_a_key_of_their_making(house: House) -> None:
    by = house.holder("owner")
    helper = house.authorizer.authenticate(house.issue("owner", issuer=by).key)
    proposal = propose(house, NO_DELETING, by)
    asked = answer_policy_resource(house.access, proposal)
    for who in (by, helper):
        with pytest.raises(PolicyError) as caught:
            house.authorizer.authorize(who, Action.POLICY_APPROVE, asked)
        assert caught.value.details["policies"] == ["four-eyes-policies"]
    house.authorizer.authorize(OWNER, Action.POLICY_APPROVE, asked)


@pytest.mark.parametrize("ended", ["the author", "their key"])
def test_what_somebody_proposed_who_was_revoked_since_is_not_approved(house: House, ended: str) -> None:
    by = house.holder("owner")
    proposal = propose(house, NO_DELETING, by)
    end = (
        "principal" if ended == "the author" else "credential",
        revoked(by.id if ended == "the author" else by.credential),
    )
    house.append([end])
    with pytest.raises(ConflictError) as caught:
        approve(house, proposal, house.holder("owner"))
    assert caught.value.code == "principal-gone"
    house.append(deny_policy(house.access, proposal, by=OWNER, reason="they left", now=house.clock.at))


def test_an_approval_of_ones_own_on_the_ledger_lets_nobody_in(house: House) -> None:
    proposal = propose(house, NO_DELETING)
    with pytest.raises(VerificationError):
        approve(house, proposal, OWNER)
    assert house.access.unreadable


def test_a_text_that_is_not_its_digest_lets_nobody_in(house: House) -> None:
    _, ((kind, body),) = propose_policy(house.access, POLICIES, MORE, by=OWNER, reason="x", now=START)
    with pytest.raises(VerificationError):
        house.append([(kind, body | {"text": NO_DELETING})])
    assert house.access.unreadable


def test_what_was_compared_with_other_policies_is_proposed_again(house: House) -> None:
    first, second = propose(house, NO_DELETING), propose(house, MORE)
    approve(house, first, house.holder("owner"))
    with pytest.raises(ConflictError) as caught:
        approve(house, second, house.holder("owner"))
    assert caught.value.code == "policy-outdated"


def test_an_answer_is_given_once_and_in_time(house: House) -> None:
    first, second = propose(house, NO_DELETING), propose(house, MORE)
    house.append(deny_policy(house.access, first, by=house.holder("owner"), reason="no", now=house.clock.at))
    with pytest.raises(ConflictError):
        approve(house, first, house.holder("owner"))
    house.clock.at += timedelta(days=7)
    with pytest.raises(ConflictError) as caught:
        approve(house, second, house.holder("owner"))
    assert caught.value.code == "policy-lapsed"
    with pytest.raises(NotFoundError):
        approve(house, "pol_" + "0" * 32, house.holder("owner"))


def test_a_proposal_is_withdrawn_by_its_author_alone_and_for_good(house: House) -> None:
    proposed, other = propose(house, NO_DELETING), house.holder("owner")
    with pytest.raises(ConflictError) as caught:
        withdraw_policy(house.access, proposed, by=other, reason="no", now=house.clock.at)
    assert caught.value.code == "policy-of-another"
    house.append(withdraw_policy(house.access, proposed, by=OWNER, reason="a mistake in it", now=house.clock.at))
    (listed,) = list_policies(house.access, now=house.clock.at)
    assert (listed.state, listed.answered_by, listed.answer) == ("withdrawn", OWNER.id, "a mistake in it")
    with pytest.raises(ConflictError):
        approve(house, proposed, other)
    propose(house, NO_DELETING)


def test_the_way_back_is_the_local_owners_and_always_there(house: House) -> None:
    in_force(house, '@id("nothing") forbid (principal, action, resource);')
    assert not may(house, OWNER, Action.DATASET_READ, DATA)
    other = house.holder("owner")
    assert not may(house, other, Action.POLICY_REVERT, Resource("policy"))
    assert may(house, OWNER, Action.POLICY_REVERT, Resource("policy"))
    house.append(return_to_packaged(house.access, by=OWNER, reason="too much", now=house.clock.at))
    assert may(house, OWNER, Action.DATASET_READ, DATA)
    assert house.authorizer.policies.home.version == 2
    assert return_to_packaged(house.access, by=OWNER, reason="again", now=house.clock.at) == []
    assert find_policy_text(house.access, "1").text.startswith('@id("nothing")')


@pytest.mark.parametrize("action", sorted(PACKAGED_ALONE))
def test_no_policy_of_the_homes_own_takes_these_from_an_owner(house: House, action: Action) -> None:
    resource = Resource(action.partition(":")[0], "x", attributes={"holder": "svc_x", "role": "caller"})
    before = may(house, OWNER, action, resource)
    in_force(house, '@id("nothing") forbid (principal, action, resource);')
    assert may(house, OWNER, action, resource) == before


def test_policies_that_do_not_fit_this_release_leave_only_the_way_back(house: House) -> None:
    _, ((kind, body),) = propose_policy(house.access, POLICIES, MORE, by=OWNER, reason="x", now=START)
    text = '@id("later") forbid (principal, action, resource) when { context.of_a_later_release };'
    house.append([(kind, body | {"text": text, "digest": digest_of(text.encode())})])
    other = house.holder("owner").id
    approved = {"op": "approve", "id": body["id"], "version": 1, "reason": "", "approved_by": other}
    house.append([(kind, approved | {"approved_at": START})])
    decision = house.authorizer.decide(OWNER, Action.DATASET_READ, DATA)
    assert not decision.allowed
    assert "do not fit this release" in decision.reason
    assert may(house, OWNER, Action.POLICY_REVERT, Resource("policy"))


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("permit (principal, action resource);", "policy-invalid", "line 1"),
        (NO_DELETING + "\n\n// why\npermit (oops);", "policy-invalid", "line 4"),
        ('@id("a") permit (principal in Role::"owner", action, resource);', "policy-beyond-walls", "names its actions"),
        ('@id("a") permit (principal, action == Action::"dataset:read", resource);', "policy-beyond-walls", "for whom"),
        ('@id("a") permit (principal is Service, action == Action::"dataset:read", resource);', "policy-beyond-walls", "for whom"),
        ('@id("a") permit (principal in Role::"chief", action == Action::"dataset:read", resource);', "policy-beyond-walls", "chief"),
        ('@id("a") permit (principal in Role::"caller", action == Action::"key:issue", resource);', "policy-beyond-walls", "key:issue"),
        ('@id("a") permit (principal in Role::"caller", action in [Action::"model:read", Action::"keys:move"], resource);', "policy-beyond-walls", "keys:move"),
        ('@id("a") permit (principal in Role::"auditor", action == Action::"dataset:reidentify", resource);', "policy-beyond-walls", "an owner's alone"),
        ('@id("a") forbid (principal, action == Action::"policy:revert", resource);', "policy-beyond-walls", "policy:revert"),
        ('@id("four-eyes") forbid (principal, action == Action::"model:push", resource);', "policy-invalid", "four-eyes"),
        ('@id("a") forbid (principal, action == Action::"model:push", resource) when { context.mood };', "policy-invalid", "the policy a"),
        ('@id("a") forbid (principal, action == Action::"model:push", resource) when { context.address.isLoopback() };', "policy-invalid", "address"),
        ("// " + "x" * (64 << 10), "policy-too-large", "bytes"),
    ],
)  # fmt: skip
def test_a_text_beyond_the_walls_is_refused_by_name(house: House, text: str, code: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        propose(house, text)
    assert caught.value.code == code
    assert said in caught.value.message


_DEEP = {
    "brackets": "(" * 3000 + "true" + ")" * 3000,
    "behind a comment that a carriage return ends": "true //\r && " + "(" * 3000 + "true" + ")" * 3000,
    "behind a text": '"\\"" == "//" || ' + "(" * 3000 + "true" + ")" * 3000,
    "sets": "[" * 3000 + "1" + "]" * 3000 + " == []",
    "records": "{a:" * 3000 + "1" + "}" * 3000 + " == 1",
    "operators": "1" + "+1" * 30_000 + " == 1",
    "members": "resource" + ".a" * 30_000 + " == 1",
    "or": "true" + "||true" * 9000,
    "if": "if true then " * 2900 + "true" + " else true" * 2900,
    "a few": "true" + " && true" * 150,
    "some": "true" + " && true" * 299,
    "members by text": "resource" + '["a"]' * 10_000 + " == 1",
}


@pytest.mark.parametrize("said", _DEEP.values(), ids=_DEEP)
def test_a_text_that_nests_without_end_is_refused_and_ends_no_process(house: House, said: str) -> None:
    """The parser is native: what is too deep for its stack takes the control plane with it."""
    text = f'@id("deep") forbid (principal, action == Action::"model:push", resource) when {{ {said} }};'
    with pytest.raises(InputError) as caught:
        propose(house, text)
    assert caught.value.code in ("policy-invalid", "policy-too-large")
    assert len(caught.value.message) < 1000


def test_long_lists_and_brackets_in_texts_are_no_nesting(house: House) -> None:
    listed = ", ".join(f'ip("10.0.{number}.0/24")' for number in range(250))
    said = f'context has address && [{listed}].contains(context.address) && context.profile != "{"(" * 500}" // {"[" * 500}'
    propose(house, f'@id("wide") forbid (principal, action == Action::"model:push", resource) when {{ {said}\n }};')


def test_what_is_in_force_already_and_too_many_proposals_are_refused(house: House) -> None:
    with pytest.raises(InputError):
        propose(house, "")
    for number in range(20):
        propose(house, f"{NO_DELETING} // {number}")
    with pytest.raises(LimitError):
        propose(house, MORE)


def test_a_permit_counts_within_the_grants_of_whom_it_names(house: House) -> None:
    auditor, narrow = house.holder("auditor"), house.holder("auditor", "deployment:web")
    web, other = Resource("prediction", "web"), Resource("prediction", "other")
    assert not may(house, auditor, Action.PREDICTION_READ, web)
    in_force(house, MORE)
    assert may(house, auditor, Action.PREDICTION_READ, web)
    assert may(house, narrow, Action.PREDICTION_READ, web)
    assert not may(house, narrow, Action.PREDICTION_READ, other)
    assert not may(house, house.holder("caller"), Action.PREDICTION_READ, web)


def test_the_homes_own_count_for_nobody_whose_credential_ended(house: House) -> None:
    holder = house.holder("caller")
    in_force(
        house, f'@id("one") permit (principal == Service::"{holder.id}", action == Action::"model:read", resource);'
    )
    assert may(house, holder, Action.MODEL_READ, MODEL)
    house.clock.advance(3600)
    assert not may(house, holder, Action.MODEL_READ, MODEL)


def test_no_packaged_wall_falls_to_a_permit(house: House) -> None:
    text = '@id("a") permit (principal in Role::"owner", action in [Action::"model:approve", Action::"dataset:export", Action::"model:train"], resource);'
    in_force(house, text)
    pusher = house.holder("owner")
    assert not may(house, pusher, Action.MODEL_APPROVE, Resource("model", "m", attributes={"pushed_by": pusher.id}))
    health = Resource("dataset", "d", attributes={"data_class": "health"})
    assert not may(house, pusher, Action.DATASET_EXPORT, health)
    assert not may(house, pusher, Action.MODEL_TRAIN, Resource("model", "m", attributes={"purpose_allowed": False}))


def test_the_address_decides_from_request_to_request(house: House) -> None:
    in_force(house, OFFICE)
    who = house.holder("owner")
    for address, expected in (
        ("10.1.2.3", True), ("192.0.2.1", False), ("10.1.2.3", True), ("::ffff:10.9.9.9", True), ("local", False),
        ("", False), ("10.1.2.3, 192.0.2.1", False), ("2001:db8::1", False),
    ):  # fmt: skip
        assert may(house, who, Action.MODEL_PUSH, MODEL, address=address) == expected, address
    # What the resource says of an address is no address.
    said = Resource("model", "m", attributes={"address": "10.1.2.3"})
    assert not may(house, who, Action.MODEL_PUSH, said, address="192.0.2.1")
    assert not may(house, who, Action.MODEL_PUSH, said)


def test_an_address_that_no_policy_looks_at_makes_no_question_of_its_own(house: House) -> None:
    who = house.holder("owner")
    first = house.authorizer.decide(who, Action.MODEL_PUSH, MODEL, address="10.0.0.1", client="a")
    assert house.authorizer.decide(who, Action.MODEL_PUSH, MODEL, address="10.0.0.2", client="b") is first


def test_the_time_decides_to_the_second(house: House) -> None:
    end = '@id("freeze") forbid (principal, action == Action::"model:push", resource) when { context.now >= datetime("2026-01-01T00:00:02Z") };'
    in_force(house, end)
    who = house.holder("owner")
    house.clock.at = START + timedelta(seconds=1.5)
    assert may(house, who, Action.MODEL_PUSH, MODEL)
    house.clock.at = START + timedelta(seconds=2)
    assert not may(house, who, Action.MODEL_PUSH, MODEL)


def test_hours_and_weekdays_are_utc(house: House) -> None:
    in_force(
        house,
        '@id("hours") forbid (principal, action == Action::"model:push", resource) unless { context.weekday <= 5 && context.hour >= 8 && context.hour < 18 };',
    )
    who = house.holder("owner", life=86400 * 10)
    for at, expected in (
        (START + timedelta(hours=8), True),  # a Thursday
        (START + timedelta(hours=7, minutes=59, seconds=59), False),
        (START + timedelta(hours=18), False),
        (START + timedelta(days=2, hours=12), False),  # a Saturday
    ):
        found = house.authorizer.grounds(who, Action.MODEL_PUSH, MODEL, supposed=at)
        assert found.decision.allowed == expected, at
    assert house.access.instant(house.clock.at) == START, "asking about another time moves no clock"


def test_with_home_is_the_same_as_without_for_no_text() -> None:
    assert POLICIES.with_home(HomePolicy()).digest == Policies().digest
    roles = frozenset({Role.AUDITOR})
    assert POLICIES.with_home(HomePolicy()).decide(OWNER, Action.AUDIT_READ, Resource("audit"), roles=roles).allowed
