"""Emergency grants: ready and worth nothing, opened alone with a fresh second factor, ended to the instant, accounted for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from iam_house import OWNER
from people_house import people_house

from casemate.core import (
    Action,
    ConflictError,
    Event,
    InputError,
    NotFoundError,
    PolicyError,
    Resource,
    StepUpError,
    VerificationError,
)
from casemate.iam import (
    accept_account,
    access_report,
    account_for,
    answer_resource,
    approve_grant,
    break_glass,
    break_glass_alerts,
    end_resource,
    explain,
    find_grant,
    grant_ask,
    list_grants,
    request_grant,
    revoke_grant,
    unaccounted_alerts,
)

SPAM, HOUR = Resource("deployment", "spam"), 3600.0


class Night:
    """Ada holds an emergency grant of operator, which the machine's owner approved; Bob owns the project."""

    def __init__(self, house) -> None:
        self.house = house
        self.ada = house.who(house.enrol("ada", "caller").signed_in.started.token)
        self.bob = house.who(house.enrol("bob", "owner").signed_in.started.token)
        self.emergency = self.lend(self.ada)

    @property
    def now(self):
        return self.house.clock.at

    def lend(self, holder, *, life=30 * 86400.0, by=OWNER, emergency=True) -> str:
        ask = grant_ask(holder, role="operator", scope="*", life=life, reason="nights", emergency=emergency)
        grant_id, entries = request_grant(self.house.access, ask, now=self.now)
        self.house.append(entries)
        decided = answer_resource(self.house.access, grant_id, now=self.now)
        self.house.append(approve_grant(self.house.access, grant_id, by=by, reason="ok", decided=decided, now=self.now))
        return grant_id

    def open(self, *, life=HOUR, by=None, grant_id=None) -> str:
        by = by or self.ada
        grant_id = grant_id or self.emergency
        self.house.authorizer.authorize(by, Action.GRANT_BREAK_GLASS, end_resource(self.house.access, grant_id))
        made, entries = break_glass(self.house.access, grant_id, by=by, life=life, reason="it is down", now=self.now)
        self.house.append(entries)
        return made

    def account(self, grant_id: str, by=None) -> None:
        self.house.append(
            account_for(self.house.access, grant_id, by=by or self.ada, reason="I rolled back", now=self.now)
        )

    def accept(self, grant_id: str, by=None) -> None:
        self.house.append(accept_account(self.house.access, grant_id, by=by or self.bob, reason="seen", now=self.now))

    def operates(self) -> bool:
        return self.house.authorizer.decide(self.ada, Action.DEPLOYMENT_PAUSE, SPAM).allowed

    def state(self, grant_id: str) -> str:
        return find_grant(self.house.access, grant_id, now=self.now).state


@pytest.fixture
def night(tmp_path):
    with people_house(tmp_path) as house:
        yield Night(house)


def refused(kind, code, call, *args, **kwargs):
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    return caught.value


def test_it_gives_nothing_until_it_is_opened_and_ends_to_the_instant(night: Night) -> None:
    assert night.state(night.emergency) == "ready"
    assert not night.operates()
    opened = night.open()
    assert night.operates()
    assert (night.state(opened), night.state(night.emergency)) == ("active", "ready")
    until = night.now + timedelta(hours=1)
    night.house.clock.at = until - timedelta(microseconds=1)
    assert night.operates()
    night.house.clock.at = until
    assert not night.operates()
    night.house.clock.at = until - timedelta(minutes=30)  # a clock that goes back gives nothing back
    assert not night.operates()


def test_it_takes_a_fresh_second_factor(night: Night) -> None:
    night.house.clock.advance(301)
    refused(StepUpError, "step-up-required", night.open)


def test_one_opens_ones_own_only(night: Night) -> None:
    refused(NotFoundError, "grant-not-found", night.open, by=night.bob)
    refused(PolicyError, "forbidden", night.open, grant_id="grt_" + "0" * 32)
    plain = night.lend(night.ada, life=HOUR, emergency=False)
    refused(ConflictError, "not-emergency", night.open, grant_id=plain)


@pytest.mark.parametrize("life", [0, -1, 4 * HOUR + 1, float("nan"), float("inf")])
def test_it_is_opened_for_four_hours_at_most(night: Night, life: float) -> None:
    refused(InputError, "bad-expiry", night.open, life=life)


def test_it_is_not_open_beyond_its_own_end(night: Night) -> None:
    brief = night.lend(night.ada, life=1800)
    opened = night.open(grant_id=brief)
    assert find_grant(night.house.access, opened, now=night.now).expires_at == (
        find_grant(night.house.access, brief, now=night.now).expires_at
    )
    night.account(opened)
    night.accept(opened)
    night.house.clock.advance(1800)
    refused(
        ConflictError,
        "grant-ended",
        break_glass,
        night.house.access,
        brief,
        by=night.ada,
        life=60,
        reason="x",
        now=night.now,
    )


def test_nothing_is_opened_again_before_an_account_was_accepted(night: Night) -> None:
    opened = night.open()
    assert f"casemate grant account {opened}" in refused(ConflictError, "account-owed", night.open).message
    refused(ConflictError, "account-owed", night.accept, opened)
    refused(NotFoundError, "grant-not-found", night.account, opened, by=night.bob)
    night.account(opened)
    night.account(opened)  # said better
    refused(ConflictError, "account-owed", night.open)
    other = night.lend(night.ada)
    refused(ConflictError, "account-owed", night.open, grant_id=other)
    assert [one.id for one in list_grants(night.house.access, now=night.now, project="default", state="given")] == [
        opened
    ]
    night.accept(opened)
    refused(ConflictError, "account-accepted", night.account, opened)
    refused(ConflictError, "account-accepted", night.accept, opened)
    assert night.open() != opened
    info = find_grant(night.house.access, opened, now=night.now)
    assert (info.account, info.account_text, info.accepted_by) == ("accepted", "I rolled back", night.bob.id)


def test_nobody_accepts_their_own(night: Night) -> None:
    opened = night.open()
    night.account(opened)
    decided = end_resource(night.house.access, opened)
    assert night.house.authorizer.decide(night.ada, Action.GRANT_ACCEPT, decided).allowed is False
    assert night.house.authorizer.decide(night.bob, Action.GRANT_ACCEPT, decided).allowed
    owners = night.lend(night.bob)
    night.house.append(break_glass(night.house.access, owners, by=night.bob, life=60, reason="x", now=night.now)[1])
    (mine,) = (one for one in night.house.access.snapshot.glass.values() if one.broken.principal == night.bob.id)
    own = end_resource(night.house.access, mine.broken.id)
    assert night.house.authorizer.decide(night.bob, Action.GRANT_ACCEPT, own).policies == ("four-eyes-grants",)


def test_an_emergency_grant_that_ends_takes_what_was_opened_with_it(night: Night) -> None:
    opened = night.open()
    night.house.append(revoke_grant(night.house.access, night.emergency, by=OWNER, reason="over", now=night.now))
    assert not night.operates()
    assert night.state(opened) == night.state(night.emergency) == "revoked"
    assert find_grant(night.house.access, opened, now=night.now).account == "owed"


def test_services_hold_none(night: Night) -> None:
    service = night.house.holder("operator")
    refused(
        InputError, "bad-grant", grant_ask, service, role="operator", scope="*", life=60, reason="x", emergency=True
    )


@pytest.mark.parametrize(
    "lie",
    [
        {"principal": "usr_" + "0" * 32},
        {"emergency": "grt_" + "1" * 32},
        {"until": "2031-01-01T00:00:00Z"},
        {"broken_at": "2030-01-01T00:00:00Z", "until": "2030-01-01T01:00:00Z"},
    ],
)
def test_a_record_that_gives_more_lets_nobody_in(night: Night, lie: dict[str, str]) -> None:
    """As if the ledger had been written by somebody else than the control plane."""
    entries = break_glass(night.house.access, night.emergency, by=night.ada, life=60, reason="x", now=night.now)[1]
    ((kind, body),) = entries
    with pytest.raises(VerificationError):
        night.house.append([(kind, {**body, **lie})])


def test_a_second_opening_and_an_own_acceptance_in_the_ledger_let_nobody_in(night: Night) -> None:
    entries = break_glass(night.house.access, night.emergency, by=night.ada, life=60, reason="x", now=night.now)[1]
    again = break_glass(night.house.access, night.emergency, by=night.ada, life=60, reason="x", now=night.now)[1]
    night.house.append(entries)
    with pytest.raises(VerificationError):
        night.house.append(again)


def test_alerts_say_who_and_until_when(night: Night) -> None:
    event = Event(
        id="out_1",
        at="2026-11-24T12:00:00Z",
        kind="outcome",
        action=Action.GRANT_BREAK_GLASS,
        actor=night.ada.id,
        outcome="done",
        facts={"answer": {"role": "operator"}},
    )
    (alert,) = break_glass_alerts([event])
    assert (alert.kind, alert.reason, alert.facts["subject"]) == ("alert", "break-glass", night.ada.id)
    assert alert.facts["answer"] == {"role": "operator"}
    assert break_glass_alerts([Event(id="int_1", at=event.at, kind="intent", action=Action.GRANT_BREAK_GLASS)]) == []
    opened = night.open()
    night.house.clock.advance(HOUR + 72 * HOUR - 1)
    assert unaccounted_alerts(night.house.access, now=night.now) == []
    night.house.clock.advance(1)
    (late,) = unaccounted_alerts(night.house.access, now=night.now)
    assert (late.reason, late.facts["account"]) == ("break-glass-unaccounted", "owed")
    night.house.clock.advance(60)
    assert unaccounted_alerts(night.house.access, now=night.now)[0].id == late.id  # raised once
    night.account(opened)
    night.accept(opened)
    assert unaccounted_alerts(night.house.access, now=night.now) == []


def test_it_is_reported_and_explained(night: Night) -> None:
    rows = {row.grant: row.state for row in access_report(night.house.access, now=night.now, last_use=lambda *_: None)}
    assert rows[night.emergency] == "ready"
    said = explain(night.house.authorizer, night.ada, Action.DEPLOYMENT_PAUSE, SPAM)
    assert f"casemate grant break-glass {night.emergency}" in next(
        one.why for one in said.grants if one.id == night.emergency
    )
