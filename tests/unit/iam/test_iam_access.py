"""Grants in time and in scope."""

import sys
from datetime import timedelta

import pytest
from iam_house import OWNER, START, House, Ledger, grant_body, revoked

from casemate.core import Action, AuthError, Environment, Resource, StorageError, VerificationError
from casemate.iam import Access, key_request, local_owner, revoke_key

PREDICT = Action.DEPLOYMENT_PREDICT
SPAM = Resource("deployment", "spam")


def may(house: House, principal, action=PREDICT, resource=SPAM) -> bool:
    return house.authorizer.decide(principal, action, resource).allowed


def test_a_key_and_its_grant_end_at_the_exact_instant() -> None:
    house = House()
    issued = house.issue(life=10)
    holder = house.authorizer.authenticate(issued.key)
    house.clock.at = START + timedelta(seconds=10) - timedelta(microseconds=1)
    assert house.authorizer.authenticate(issued.key) == holder
    assert may(house, holder)
    house.clock.at = START + timedelta(seconds=10)
    assert not may(house, holder)
    with pytest.raises(AuthError) as caught:
        house.authorizer.authenticate(issued.key)
    assert caught.value.code == "expired-credential"


@pytest.mark.parametrize(("key", "grant"), [(10, 3600), (3600, 10)])
def test_whichever_ends_first_ends_it_at_the_exact_instant(key: float, grant: float) -> None:
    house = House()
    holder = house.holder("owner", "model:other", life=key)
    house.append([("grant", grant_body(1, holder.id, life=grant))])
    house.clock.at = START + timedelta(seconds=10) - timedelta(microseconds=1)
    assert may(house, holder)
    house.clock.at = START + timedelta(seconds=10)
    assert not may(house, holder)


def test_a_key_issued_with_a_key_ends_with_it_however_long_the_grant() -> None:
    house = House()
    holder = house.holder("owner", "model:other", life=60)
    house.append([("grant", {**grant_body(1, holder.id, life=3600), "role": "owner"})])
    assert may(house, holder, Action.KEY_ISSUE, issue_resource(house, "caller", "*", 60))
    assert not may(house, holder, Action.KEY_ISSUE, issue_resource(house, "caller", "*", 61))


def test_a_published_snapshot_never_changes() -> None:
    house = House()
    holder = house.holder()
    before = house.access.snapshot
    house.append([("grant", grant_body(1, holder.id)), ("principal", revoked(holder.id))])
    assert list(before.grants[holder.id]["*"]) != list(house.access.snapshot.grants[holder.id]["*"])
    assert len(before.grants[holder.id]["*"]) == 1
    assert holder.id not in before.revoked


def test_a_clock_that_goes_back_revives_nothing() -> None:
    house = House()
    issued = house.issue(life=10)
    holder = house.authorizer.authenticate(issued.key)
    assert may(house, holder)  # now in the cache
    house.clock.advance(10)
    other = Resource("deployment", "ham")
    assert not may(house, holder, resource=other)  # the later time was seen, under another cache key
    house.clock.at = START
    assert not may(house, holder)
    with pytest.raises(AuthError, match="expired"):
        house.authorizer.authenticate(issued.key)


def test_the_newest_time_on_record_survives_a_restart() -> None:
    house = House()
    issued = house.issue(life=10)
    house.clock.advance(60)
    house.issue()
    after = House()
    after.ledger.lines = house.ledger.lines
    after.access.refresh()
    with pytest.raises(AuthError, match="expired"):
        after.authorizer.authenticate(issued.key)


def test_a_revocation_counts_from_the_refresh_on_despite_the_cache() -> None:
    house = House()
    issued = house.issue()
    holder = house.authorizer.authenticate(issued.key)
    assert may(house, holder)
    house.append(revoke_key(house.access, issued.id, by=OWNER, reason="lost", now=START))
    assert not may(house, holder)
    with pytest.raises(AuthError) as caught:
        house.authorizer.authenticate(issued.key)
    assert caught.value.code == "revoked-credential"


def test_a_grant_ends_with_its_revocation_while_others_stand() -> None:
    house = House()
    holder = house.holder(scope="deployment:ham")
    house.append([("grant", grant_body(1, holder.id, "deployment:spam"))])
    assert may(house, holder)
    house.append([("grant", revoked(f"grt_{1:032x}"))])
    assert not may(house, holder)
    assert may(house, holder, resource=Resource("deployment", "ham"))


def test_a_revocation_wins_over_a_grant_that_comes_later() -> None:
    house = House()
    holder = house.holder(scope="deployment:ham")
    house.append([("grant", revoked(f"grt_{1:032x}")), ("grant", grant_body(1, holder.id))])
    assert not may(house, holder)


def test_a_revoked_principal_loses_every_key() -> None:
    house = House()
    issued = house.issue()
    holder = house.authorizer.authenticate(issued.key)
    house.append([("principal", revoked(holder.id))])
    assert not may(house, holder)
    with pytest.raises(AuthError) as caught:
        house.authorizer.authenticate(issued.key)
    assert caught.value.code == "revoked-credential"


@pytest.mark.parametrize(
    "name",
    [
        "spam-2",
        "spa",
        "spam ",
        "SPAM",
        "Spam",
        "ſpam",
        "ｓｐａｍ",
        "spam\u200b",
        "sp\u0430m",
        "spam\x00",
        "*",
        "",
        "spam@1",
    ],
)
def test_a_scope_covers_the_whole_name_and_no_other(name: str) -> None:
    house = House()
    holder = house.holder(scope="deployment:spam")
    assert may(house, holder)
    assert not may(house, holder, resource=Resource("deployment", name))


def test_a_scope_covers_its_own_kind_and_project() -> None:
    house = House()
    holder = house.holder("owner", "model:spam")
    assert may(house, holder, Action.MODEL_READ, Resource("model", "spam"))
    assert not may(house, holder, Action.DATASET_READ, Resource("dataset", "spam"))
    assert not may(house, holder, Action.MODEL_READ, Resource("model", "spam", project="fraud"))
    assert not may(house, holder, Action.STATUS_READ, Resource("status"))


def test_a_grant_for_one_environment_covers_no_other() -> None:
    house = House()
    holder = house.holder(environment=Environment.DEV)
    assert may(house, holder, resource=Resource("deployment", "spam", environment=Environment.DEV))
    assert not may(house, holder, resource=Resource("deployment", "spam", environment=Environment.PRODUCTION))
    assert not may(house, holder)


def issue_resource(house: House, role: str, scope: str, life: float) -> Resource:
    return key_request("more", role=role, scope=scope, now=house.clock.at, life=life).resource()


@pytest.mark.parametrize(
    ("holds", "asked", "allowed"),
    [
        (("owner", "*"), ("owner", "*", 3600), True),
        (("owner", "*"), ("approver", "model:spam", 60), True),
        (("owner", "*"), ("caller", "deployment:spam", 3601), False),  # would outlive the issuer
        (("owner", "model:spam"), ("approver", "model:spam", 60), True),
        (("owner", "model:spam"), ("approver", "model:spam-2", 60), False),
        (("owner", "model:spam"), ("approver", "*", 60), False),
        (("operator", "*"), ("caller", "*", 60), True),
        (("operator", "deployment:spam"), ("caller", "deployment:spam", 60), True),
        (("operator", "deployment:spam"), ("caller", "deployment:ham", 60), False),
        (("operator", "*"), ("operator", "deployment:spam", 60), False),
        (("approver", "*"), ("approver", "model:spam", 60), False),
        (("data-scientist", "*"), ("caller", "deployment:spam", 60), False),
        (("auditor", "*"), ("auditor", "*", 60), False),
        (("caller", "*"), ("caller", "*", 60), False),
    ],
)
def test_nobody_hands_out_more_than_they_hold(holds, asked, allowed: bool) -> None:
    house = House()
    holder = house.holder(*holds)
    assert may(house, holder, Action.KEY_ISSUE, issue_resource(house, *asked)) == allowed


def test_a_longer_grant_of_a_lesser_role_does_not_stretch_the_stronger_one() -> None:
    house = House()
    holder = house.holder("operator", life=3600)
    house.append([("grant", {**grant_body(1, holder.id, life=60), "role": "owner"})])
    assert may(house, holder, Action.KEY_ISSUE, issue_resource(house, "owner", "*", 60))
    assert not may(house, holder, Action.KEY_ISSUE, issue_resource(house, "owner", "*", 61))
    assert may(house, holder, Action.KEY_ISSUE, issue_resource(house, "caller", "*", 61))


def test_another_user_id_is_nobody() -> None:
    house = House()
    assert not may(house, local_owner(0))
    assert not may(house, local_owner(1001))


def test_a_principal_borrowing_anothers_credential_is_nobody() -> None:
    house = House()
    strong, weak = house.holder("owner"), house.holder("caller")
    forged = type(weak)(id=strong.id, kind=strong.kind, name=strong.name, credential=weak.credential)
    assert may(house, strong, Action.MODEL_DELETE, Resource("model", "spam"))
    assert not may(house, forged, Action.MODEL_DELETE, Resource("model", "spam"))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("grant", {"scope": "model:sp*"}),
        ("grant", {"scope": "model:"}),
        ("grant", {"role": "root"}),
        ("grant", {"expires_at": "2026-01-01T00:00:00"}),
        ("grant", {"principal": f"svc_{9:032x}"}),
        ("grant", {"principal": "local:1000"}),
        ("grant", {"op": "unknown"}),
        ("grant", {"more": 1}),
        ("principal", {}),
        ("credential", {}),
    ],
)
def test_a_signed_entry_that_nobody_understands_leaves_nobody_allowed(kind: str, change: dict) -> None:
    house = House()
    holder = house.holder()
    assert may(house, holder)
    with pytest.raises(VerificationError) as caught:
        house.append([(kind, {**grant_body(1, holder.id), **change})])
    assert caught.value.code == "state-unreadable"
    assert not may(house, holder)


def test_a_key_issued_twice_under_one_id_is_a_contradiction() -> None:
    house = House()
    issued = house.issue()
    with pytest.raises(VerificationError, match="contradicts itself"):
        house.append(issued.entries[1:2])


def test_a_ledger_that_cannot_be_read_leaves_the_last_state_and_ages() -> None:
    house = House()
    holder = house.holder()
    house.ledger.failure = StorageError("The disk is gone.")
    with pytest.raises(StorageError):
        house.access.refresh()
    assert may(house, holder)
    house.authorizer._stale_after = 0.0
    with pytest.raises(StorageError) as caught:
        may(house, holder)
    assert caught.value.code == "access-stale"


def test_a_ledger_that_recovers_gives_access_back() -> None:
    house = House()
    holder = house.holder()
    key = house.issue().key
    house.ledger.failure = VerificationError("The chain is broken.")
    with pytest.raises(VerificationError):
        house.access.refresh()
    assert not may(house, holder)
    with pytest.raises(StorageError) as caught:  # and no caller is told that their key is wrong
        house.authorizer.authenticate(key)
    assert caught.value.code == "access-unreadable"
    house.ledger.failure = None
    assert house.access.refresh()
    assert may(house, holder)
    assert house.authorizer.authenticate(key)


def test_entries_of_other_rooms_are_passed_over_and_read_once() -> None:
    house = House()
    house.append([("deployment", {"op": "deploy"}), ("approval", {})])
    before = house.access.snapshot
    assert not house.access.refresh()
    assert house.access.snapshot is before
    assert house.ledger.read == 2


def calls_to_fold(grants: int) -> int:
    """Python function calls while one principal's grants are folded."""
    house = House()
    holder = house.holder()
    ledger = Ledger(list(house.ledger.lines))
    ledger.append([("grant", grant_body(number, holder.id)) for number in range(grants)])
    access, count = Access(ledger), 0

    def counting(_frame, event: str, _argument) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counting)
    try:
        access.refresh()
    finally:
        sys.setprofile(None)
    assert len(access.snapshot.grants[holder.id]["*"]) == grants + 1
    return count


def test_the_work_to_fold_10000_grants_grows_with_their_number_only() -> None:
    assert calls_to_fold(10_000) < 2.1 * calls_to_fold(5_000)


def test_a_decision_looks_at_the_grants_of_its_own_scope_only() -> None:
    house = House()
    holder = house.holder(scope="deployment:spam")
    house.append([("grant", grant_body(n, holder.id, f"deployment:d-{n}")) for n in range(2_000)])
    calls = []

    def counting(_frame, event: str, _argument) -> None:
        calls.append(event)

    sys.setprofile(counting)
    try:
        standing = house.access.standing(holder, SPAM, START)
    finally:
        sys.setprofile(None)
    assert standing.roles == {"caller"}
    assert len(calls) < 200
