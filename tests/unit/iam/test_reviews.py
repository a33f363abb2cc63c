"""Access reviews: who answers, what the due date brings, and what use proposes."""

from datetime import timedelta

import msgspec
import pytest
from iam_house import OWNER, POLICIES, START, House, grant_body

from casemate.core import (
    Action,
    ConflictError,
    InputError,
    NotFoundError,
    PolicyError,
    Role,
    VerificationError,
    rfc3339,
)
from casemate.iam import (
    Access,
    Used,
    answer_review,
    close_review,
    describe_review,
    end_schedule,
    open_review,
    overdue_reviews,
    propose,
    review_ask,
    review_items,
    review_resource,
    revoke_grant,
    schedule_reviews,
    scheduled_now,
    settle_overdue,
    spared_grants,
)
from casemate.iam.records import Grant

DAY = 86400.0
MOMENT = timedelta(microseconds=1)


class Reviewing(House):
    def open(self, *, due: float = 14 * DAY, unanswered: str = "revoke", **more) -> str:
        ask = review_ask(self.access, title="Quarter", assigned=(), unanswered=unanswered, within=due, **more)
        review, entries = open_review(self.access, ask, by=OWNER, now=self.clock.at)
        self.append(entries)
        return review

    def answer(self, review: str, *, by=OWNER, keep=(), revoke=()) -> None:
        self.authorizer.authorize(by, Action.REVIEW_ANSWER, review_resource(self.access, review, by=by, keep=keep))
        said = answer_review(
            self.access, review, keep=keep, revoke=revoke, by=by, reason="looked at", now=self.clock.at
        )
        self.append(said)

    def settle(self, review: str) -> int:
        batches = 0
        while entries := settle_overdue(self.access, review, by=OWNER, now=self.clock.at):
            self.append(entries)
            batches += 1
        return batches

    def states(self, review: str) -> list[str]:
        return [item.state for item in review_items(self.access, review, now=self.clock.at)]

    def schedule(self, every: float = 90 * DAY, due: float = 14 * DAY) -> None:
        ask = review_ask(
            self.access, title="Quarter", assigned=(), unanswered="revoke", within=due, every=every
        )  # fmt: skip
        self.append(schedule_reviews(self.access, ask, by=OWNER, now=self.clock.at))

    def tend(self) -> int:
        entries = scheduled_now(self.access, by=OWNER, now=self.clock.at)
        self.append(entries)
        return len(entries)

    def grants(self, *holders) -> list[str]:
        by_scope = [self.access.snapshot.grants[holder.id] for holder in holders]
        return [grant for scopes in by_scope for grants in scopes.values() for grant in grants]


@pytest.fixture
def house() -> Reviewing:
    return Reviewing()


def test_every_live_grant_is_in_it_and_ends_or_stays_as_answered(house: Reviewing) -> None:
    gone = house.holder(life=1)
    house.clock.advance(1)
    kept, ended, late = house.holder(life=90 * DAY), house.holder("operator", life=90 * DAY), house.holder(life=DAY)
    review = house.open()
    one, other, third = house.grants(kept, ended, late)
    assert not set(house.grants(gone)) & {item.grant.id for item in review_items(house.access, review, now=START)}
    newer = house.holder(life=90 * DAY)
    house.answer(review, keep=[one])
    house.answer(review, revoke=[other])
    assert house.states(review) == ["kept", "revoked", "open"]
    assert not house.access.snapshot.grants[ended.id]["*"]
    with pytest.raises(ConflictError, match="grants yet"):
        close_review(house.access, review, by=OWNER, reason="done", now=house.clock.at)
    house.clock.advance(DAY)
    assert house.states(review) == ["kept", "revoked", "ended"], "expired meanwhile"
    house.append(close_review(house.access, review, by=OWNER, reason="done", now=house.clock.at))
    info = describe_review(house.access, review, now=house.clock.at)
    assert (info.state, info.kept, info.revoked, info.ended, info.open) == ("closed", 1, 1, 1, 0)
    assert house.grants(newer), "granted after it opened: the next review's"
    for again in ({"keep": [one]}, {"revoke": [one]}):
        with pytest.raises(ConflictError, match="over"):
            house.answer(review, **again)
    assert third not in house.grants(kept)


def test_what_nobody_answered_for_ends_at_the_very_instant(house: Reviewing) -> None:
    house.holder("owner", life=90 * DAY)  # another owner, so that nothing is spared
    holder, owner = house.holder(life=90 * DAY), house.holder("owner", life=90 * DAY)
    review = house.open()
    house.answer(review, keep=house.grants(owner))
    house.clock.at = START + timedelta(days=14) - MOMENT
    assert (overdue_reviews(house.access, now=house.clock.at), house.settle(review)) == ([], 0)
    house.clock.at += MOMENT
    with pytest.raises(ConflictError, match="over"):
        house.answer(review, keep=house.grants(holder))
    assert overdue_reviews(house.access, now=house.clock.at) == [review]
    assert house.settle(review) == 2
    assert house.states(review) == ["revoked", "revoked", "kept"]
    assert house.grants(holder) == []
    assert overdue_reviews(house.access, now=house.clock.at) == []
    assert house.settle(review) == 0, "once"
    items = review_items(house.access, review, now=house.clock.at)
    assert items[0].reason == "nobody answered by the due date"


def test_a_clock_that_goes_back_answers_nothing_anew(house: Reviewing) -> None:
    holder = house.holder(life=90 * DAY)
    review = house.open()
    house.clock.advance(14 * DAY)
    house.settle(review)
    house.clock.at = START
    with pytest.raises(ConflictError):
        house.answer(review, keep=house.grants(holder) or ["grt_" + "0" * 32])
    assert describe_review(house.access, review, now=START).state == "closed"


def test_a_settlement_that_was_cut_short_is_finished(house: Reviewing) -> None:
    everybody = [house.holder(life=90 * DAY) for _ in range(3)]
    review = house.open()
    house.clock.advance(14 * DAY)
    first = settle_overdue(house.access, review, by=OWNER, now=house.clock.at)
    house.append(first[:1])  # as if the rest had been in a later commit
    assert house.states(review) == ["revoked", "open", "open"]
    house.settle(review)
    assert house.grants(*everybody) == []
    assert describe_review(house.access, review, now=house.clock.at).revoked == 3


def test_kept_where_the_review_says_so(house: Reviewing) -> None:
    holder = house.holder(life=90 * DAY)
    review = house.open(unanswered="keep")
    house.clock.advance(14 * DAY)
    assert house.settle(review) == 1
    assert house.grants(holder)
    assert describe_review(house.access, review, now=house.clock.at).open == 1, "on record as unanswered"


def test_the_last_owners_are_spared(house: Reviewing) -> None:
    owner, caller = house.holder("owner", life=90 * DAY), house.holder(life=90 * DAY)
    review = house.open()
    house.clock.advance(14 * DAY)
    assert [grant.id for grant in spared_grants(house.access, review, now=house.clock.at)] == house.grants(owner)
    house.settle(review)
    assert (len(house.grants(owner)), house.grants(caller)) == (1, [])


def test_nobody_answers_for_their_own_but_may_give_it_up(house: Reviewing) -> None:
    owner, other = house.holder("owner", life=90 * DAY), house.holder("owner", life=90 * DAY)
    child = house.issue("owner", life=89 * DAY, issuer=owner)
    heir = house.authorizer.authenticate(child.key)
    review = house.open()
    own = house.grants(owner)
    for by in (owner, heir):
        with pytest.raises(PolicyError, match="four-eyes-reviews"):
            house.answer(review, by=by, keep=own)
    with pytest.raises(PolicyError, match="four-eyes-reviews"):
        house.answer(review, by=owner, keep=[*house.grants(other), *own])
    house.answer(review, by=other, keep=own)
    house.answer(review, by=owner, revoke=own)
    assert house.states(review)[0] == "revoked"


def test_whom_it_was_not_assigned_to_sees_and_answers_nothing(house: Reviewing) -> None:
    caller = house.holder(life=90 * DAY)
    review = house.open()
    resource = review_resource(house.access, review, by=caller)
    for action in (Action.REVIEW_READ, Action.REVIEW_ANSWER, Action.REVIEW_CLOSE):
        assert not house.authorizer.decide(caller, action, resource).allowed
    unknown = review_resource(house.access, "rev_" + "0" * 32, by=caller)
    assert not house.authorizer.decide(caller, Action.REVIEW_READ, unknown).allowed


def test_a_period_has_one_review_whatever_is_asked(house: Reviewing) -> None:
    house.schedule()
    assert [house.tend() for _ in range(3)] == [1, 0, 0]
    house.clock.advance(90 * DAY - 1)
    assert house.tend() == 0
    house.clock.advance(1)
    assert [house.tend(), house.tend()] == [1, 0]
    house.clock.advance(400 * DAY)  # nothing ran for a year: the quarters that passed cannot be reviewed any more
    assert [house.tend(), house.tend()] == [1, 0]
    restarted = Access(house.ledger, owner_uid=1000)
    restarted.refresh()
    assert scheduled_now(restarted, by=OWNER, now=house.clock.at) == []
    house.clock.at = START
    assert house.tend() == 0, "a clock that goes back opens nothing"
    house.append(end_schedule(house.access, project="default", by=OWNER, reason="enough", now=house.clock.at))
    house.clock.advance(900 * DAY)
    assert house.tend() == 0
    with pytest.raises(NotFoundError, match="scheduled"):
        end_schedule(house.access, project="default", by=OWNER, reason="again", now=house.clock.at)


def test_two_reviews_of_one_grant(house: Reviewing) -> None:
    holder = house.holder(life=90 * DAY)
    first, second = house.open(), house.open()
    (grant,) = house.grants(holder)
    house.answer(first, keep=[grant])
    house.answer(second, revoke=[grant])
    assert house.states(second) == ["revoked"]
    assert house.states(first) == ["ended"], "it ended without this review, and is on record in it as ended"
    with pytest.raises(ConflictError, match="ended already"):
        house.answer(first, keep=[grant])


def test_a_grant_that_was_revoked_meanwhile_needs_no_answer(house: Reviewing) -> None:
    holder = house.holder(life=90 * DAY)
    review = house.open()
    house.append(revoke_grant(house.access, house.grants(holder)[0], by=OWNER, reason="left", now=house.clock.at))
    assert house.states(review) == ["ended"]
    house.append(close_review(house.access, review, by=OWNER, reason="done", now=house.clock.at))


@pytest.mark.parametrize(
    "wrong",
    [{"within": 1.0}, {"within": 91 * DAY}, {"every": DAY}, {"unanswered": "maybe"}, {"title": "a\nb"}, {"role": "king"},
     {"scope": "model:*"}, {"title": ""}],
)  # fmt: skip
def test_what_cannot_be_asked(house: Reviewing, wrong: dict) -> None:
    asked = {"title": "Quarter", "assigned": (), "unanswered": "revoke", "within": 14 * DAY, **wrong}
    with pytest.raises(InputError):
        review_ask(house.access, **asked)


def test_answers_that_make_no_sense(house: Reviewing) -> None:
    house.holder(life=90 * DAY)
    review = house.open()
    (grant,) = [item.grant.id for item in review_items(house.access, review, now=START)]
    for keep, revoke in (([], []), ([grant], [grant]), ([f"grt_{n:032x}" for n in range(501)], [])):
        with pytest.raises(InputError):
            answer_review(house.access, review, keep=keep, revoke=revoke, by=OWNER, reason="why", now=START)
    with pytest.raises(NotFoundError, match="in this review"):
        answer_review(house.access, review, keep=["grt_" + "1" * 32], by=OWNER, reason="why", now=START)
    with pytest.raises(NotFoundError, match="no review"):
        answer_review(house.access, "rev_" + "1" * 32, keep=[grant], by=OWNER, reason="why", now=START)
    with pytest.raises(InputError, match="Say why"):
        answer_review(house.access, review, keep=[grant], by=OWNER, reason=" ", now=START)
    with pytest.raises(NotFoundError, match="no person"):
        review_ask(house.access, title="x", assigned=("nobody",), unanswered="keep", within=DAY)


def test_an_entry_that_contradicts_the_record_stops_the_fold(house: Reviewing) -> None:
    house.holder(life=90 * DAY)
    review = house.open()
    opened = house.ledger.lines[-1]
    (grant,) = [item.grant.id for item in review_items(house.access, review, now=START)]
    answer = answer_review(house.access, review, keep=[grant], by=OWNER, reason="why", now=START)[0][1]
    for body in (
        opened.body,
        {**answer, "id": "rev_" + "2" * 32},
        {**answer, "grants": ["grt_" + "2" * 32]},
        {**answer, "op": "wave"},
        {"op": "unschedule", "id": "sch_" + "1" * 32, "reason": "", "ended_by": "x", "ended_at": rfc3339(START)},
    ):
        fresh = Reviewing()
        fresh.ledger.lines = list(house.ledger.lines)
        with pytest.raises(VerificationError):
            fresh.append([("review", body)])


# Proposals ---------------------------------------------------------------------------------------------------------


def used(
    action: str, name: str = "spam", *, days_ago: float = 1, count: int = 1, environment: str = "", **more
) -> Used:
    kind = action.partition(":")[0]
    at = rfc3339(NOW - timedelta(days=days_ago))
    return Used(action=action, kind=kind, name=name, environment=environment, policies=(), count=count, last=at, **more)


NOW = START + timedelta(days=200)


def proposed(role: Role, scope: str, *uses: Used):
    grant = msgspec.convert(grant_body(1, "svc_" + "0" * 32, scope, role, life=400 * DAY), Grant)
    return propose(grant, uses, POLICIES, now=NOW)


@pytest.mark.parametrize(
    ("role", "scope", "uses", "proposal", "instead"),
    [
        (Role.CALLER, "*", [], "revoke", ""),
        (Role.CALLER, "*", [used("deployment:predict", days_ago=91)], "revoke", ""),
        (Role.CALLER, "deployment:spam", [used("deployment:predict")], "keep", ""),
        (Role.CALLER, "*", [used("deployment:predict")], "narrow", "caller on deployment:spam"),
        (Role.OWNER, "deployment:spam", [used("deployment:predict")], "narrow", "caller on deployment:spam"),
        (
            Role.OWNER,
            "*",
            [used("deployment:deploy", environment="staging"), used("deployment:pause", environment="staging")],
            "narrow",
            "operator on deployment:spam in staging",
        ),
        (Role.OPERATOR, "*", [used("key:issue", "x")], "keep", ""),  # a whole kind: nothing narrower covers it
        (Role.CALLER, "*", [used("deployment:predict", f"d{n}") for n in range(4)], "keep", ""),
        (Role.CALLER, "deployment:ham", [used("deployment:predict", "spam")], "revoke", ""),  # another grant's use
        (Role.AUDITOR, "*", [used("deployment:predict")], "revoke", ""),  # nothing that an auditor may do
    ],
)
def test_use_proposes(role: Role, scope: str, uses: list, proposal: str, instead: str) -> None:
    said = proposed(role, scope, *uses)
    assert (said.proposal, said.instead) == (proposal, instead), said.why


def test_a_new_grant_is_not_judged_and_ones_own_account_is_no_use() -> None:
    grant = msgspec.convert(grant_body(1, "svc_" + "0" * 32, life=400 * DAY), Grant)
    assert propose(grant, [], POLICIES, now=START + timedelta(days=89)).proposal == "keep"
    own = Used(
        action="session:read", kind="session", name="", environment="", policies=("own-account",), count=9,
        last=rfc3339(NOW),
    )  # fmt: skip
    assert propose(grant, [own], POLICIES, now=NOW).proposal == "revoke"
