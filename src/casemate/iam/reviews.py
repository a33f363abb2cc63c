"""Access reviews: somebody else says of each grant whether it is still needed, by a date, on record (docs/reviews.md).

Each function returns what to append to the ledger; authorise first, and let nothing come between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from casemate.core import (
    DEFAULT_PROJECT,
    ConflictError,
    InputError,
    NotFoundError,
    Principal,
    Resource,
    Role,
    new_id,
    rfc3339,
)
from casemate.iam.access import Access
from casemate.iam.credentials import LedgerItem
from casemate.iam.explain import OWNER_NAME
from casemate.iam.grants import stated_reason
from casemate.iam.records import Grant, Revoked
from casemate.iam.review_records import (
    KIND,
    MAX_ANSWERED,
    Review,
    ReviewAnswered,
    ReviewClosed,
    ReviewOpened,
    ReviewScheduled,
    ScheduleEnded,
    Unanswered,
)
from casemate.iam.scope import WHOLE_PROJECT, parse_scope

MAX_DUE = 90 * 86400.0  # s; what may be answered later is not a review of now
LEAST_EVERY = 86400.0  # s
MAX_EVERY = 366 * 86400.0  # s
NOBODY = "nobody answered by the due date"
AS_SCHEDULED = "as scheduled"


class ReviewAsk(msgspec.Struct, frozen=True, kw_only=True):
    """A review, or a schedule of them, as a person asks for it; checked by `review_ask`. Args: within, every: s."""

    title: str
    assigned: tuple[str, ...]
    unanswered: Unanswered
    within: float
    every: float = 0.0
    role: Role | None = None
    scope: str | None = None
    project: str = DEFAULT_PROJECT


class ReviewItem(msgspec.Struct, frozen=True, kw_only=True):
    """One grant in a review. Args: state: `open`, `kept`, `revoked` by the review, or `ended` without it."""

    grant: Grant
    state: str
    reason: str
    answered_by: str | None
    answered_at: datetime | None


class ReviewInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A review in a few words. Args: state: `open`, `overdue`, `closed`. unanswered: what becomes of what is left."""

    id: str
    title: str
    state: str
    role: Role | None
    scope: str | None
    assigned: tuple[str, ...]
    opened_by: str
    opened_at: str
    due_at: str
    unanswered: Unanswered
    scheduled: bool
    items: int
    kept: int
    revoked: int
    ended: int
    open: int
    closed_by: str | None
    closed_at: str | None
    closed_because: str | None


def review_ask(
    access: Access,
    *,
    title: str,
    assigned: Sequence[str],
    unanswered: str,
    within: float,
    every: float | None = None,
    role: str | None = None,
    scope: str | None = None,
) -> ReviewAsk:
    """Check what a person typed. Args: assigned: names or ids of people, or `local`. within, every: s.

    Raises: InputError; NotFoundError (no-reviewer).
    """
    if unanswered not in set(Unanswered):
        raise InputError(f"unanswered is one of {', '.join(Unanswered)}.", code="bad-review")
    if not title.strip() or not title.isprintable() or len(title) > 120:
        raise InputError("A title is one line of 1 to 120 printable characters.", code="bad-review")
    if not 60 <= within <= MAX_DUE:
        raise InputError("A review is due within a minute to 90 days: --due 14d.", code="bad-expiry")
    if every is not None and not max(LEAST_EVERY, within) <= every <= MAX_EVERY:
        raise InputError(
            "Reviews come every 1 to 366 days, and none opens before the last is due: --every 90d.", code="bad-expiry"
        )
    if role is not None and role not in set(Role):
        raise InputError(f"role {role[:40]!r} is not one of {', '.join(Role)}.", code="bad-role")
    return ReviewAsk(
        title=title.strip(),
        assigned=tuple(sorted({_reviewer(access, name) for name in assigned})),
        unanswered=Unanswered(unanswered),
        within=within,
        every=every or 0.0,
        role=Role(role) if role else None,
        scope=parse_scope(scope) if scope else None,
    )


def _reviewer(access: Access, name: str) -> str:
    if name == OWNER_NAME and access.owner is not None:
        return access.owner.id
    found = access.snapshot.people_by_name.get(name, name)
    if found not in access.snapshot.people or found in access.snapshot.revoked:
        raise NotFoundError(
            f"There is no person {name[:80]!r} to review: see casemate user list, or write local.", code="no-reviewer"
        )
    return found


def open_review(
    access: Access, ask: ReviewAsk, *, by: Principal, now: datetime, ids: Callable[[str], str] = new_id
) -> tuple[str, list[LedgerItem]]:
    """The id of the review, and the entry that opens it on every grant that lives now."""
    record = _opened(ask, by=by.id, now=access.instant(now), ids=ids)
    return record.id, [(KIND, record.body())]


def _opened(
    ask: ReviewAsk, *, by: str, now: datetime, ids: Callable[[str], str], schedule: str = "", period: int = 0
) -> ReviewOpened:
    return ReviewOpened(
        id=ids("rev"),
        project=ask.project,
        title=ask.title,
        role=ask.role,
        scope=ask.scope,
        assigned=ask.assigned,
        unanswered=ask.unanswered,
        schedule=schedule,
        period=period,
        opened_by=by,
        opened_at=now,
        due_at=now + timedelta(seconds=ask.within),
    )


def review_resource(access: Access, review_id: str, *, by: Principal, keep: Sequence[str] = ()) -> Resource:
    """What the gate is asked about for one review. Args: keep: grants that `by` would answer for.

    `holder` is whoever asks, where the review was assigned to them. `reviewed` is whose access would be kept: where
    any of it is their own, or of whom their own comes from, that one.
    """
    review = access.snapshot.reviews.by_id.get(review_id)
    if review is None:
        return Resource("review", review_id[:80], attributes={"holder": "", "reviewed": ""})
    assigned = by.id in review.opened.assigned
    granted = access.snapshot.granted
    kept = {granted[one].principal for one in keep if one in granted}
    own = next(iter(sorted(kept & access.line(by.id))), "")
    reviewed = own or min(kept, default="")
    attributes: dict[str, str | int | bool] = {"holder": by.id if assigned else "", "reviewed": reviewed}
    return Resource("review", review_id, review.opened.project, attributes=attributes)


def answer_review(
    access: Access,
    review_id: str,
    *,
    keep: Sequence[str] = (),
    revoke: Sequence[str] = (),
    by: Principal,
    reason: str,
    now: datetime,
) -> list[LedgerItem]:
    """The entries that say so; those in `revoke` end with them.

    Raises: InputError (bad-answer); NotFoundError (review-not-found, grant-not-found); ConflictError (review-closed,
        grant-ended: it has ended already).
    """
    review, now, reason = _found(access, review_id), access.instant(now), stated_reason(reason)
    keep, revoke = list(dict.fromkeys(keep)), list(dict.fromkeys(revoke))
    if (not keep and not revoke) or len(keep) + len(revoke) > MAX_ANSWERED or set(keep) & set(revoke):
        raise InputError(
            f"Answer for 1 to {MAX_ANSWERED} grants at once, for each with keep or with revoke.", code="bad-answer"
        )
    if review.closed is not None or now >= review.opened.due_at:
        raise ConflictError("This review is over: casemate review open, or wait for the next.", code="review-closed")
    states = {item.grant.id: item.state for item in review_items(access, review_id, now=now)}
    for grant in (*keep, *revoke):
        if grant not in states:
            raise NotFoundError(f"There is no grant {grant[:80]!r} in this review.", code="grant-not-found")
        if states[grant] not in ("open", "kept"):
            raise ConflictError(f"{grant} has ended already: there is nothing to answer for.", code="grant-ended")
    entries: list[LedgerItem] = []
    for grants, kept in ((keep, True), (revoke, False)):
        if grants:
            record = ReviewAnswered(
                id=review_id, grants=tuple(grants), kept=kept, reason=reason, answered_by=by.id, answered_at=now
            )
            entries.append((KIND, record.body()))
    return [*entries, *_revocations(revoke, reason=f"{review_id}: {reason}", by=by.id, now=now)]


def _revocations(grants: Sequence[str], *, reason: str, by: str, now: datetime) -> list[LedgerItem]:
    return [("grant", Revoked(id=one, reason=reason, revoked_by=by, revoked_at=now).body()) for one in grants]


def close_review(access: Access, review_id: str, *, by: Principal, reason: str, now: datetime) -> list[LedgerItem]:
    """The entry that closes it early. Raises: NotFoundError; ConflictError (review-closed, review-unanswered)."""
    review, now = _found(access, review_id), access.instant(now)
    if review.closed is not None:
        raise ConflictError("This review was closed before.", code="review-closed")
    left = sum(item.state == "open" for item in review_items(access, review_id, now=now))
    if left:
        raise ConflictError(
            f"Nobody has answered for {left} grants yet: casemate review show {review_id} --open",
            code="review-unanswered",
        )
    record = ReviewClosed(id=review_id, overdue=False, reason=stated_reason(reason), closed_by=by.id, closed_at=now)
    return [(KIND, record.body())]


def schedule_reviews(
    access: Access, ask: ReviewAsk, *, by: Principal, now: datetime, ids: Callable[[str], str] = new_id
) -> list[LedgerItem]:
    """The entry that opens a review now and then; the first one at once."""
    now = access.instant(now)
    record = ReviewScheduled(
        id=ids("sch"),
        project=ask.project,
        title=ask.title,
        every=int(ask.every),
        within=int(ask.within),
        assigned=ask.assigned,
        unanswered=ask.unanswered,
        first_at=now,
        scheduled_by=by.id,
        scheduled_at=now,
    )
    return [(KIND, record.body())]


def end_schedule(access: Access, *, project: str, by: Principal, reason: str, now: datetime) -> list[LedgerItem]:
    """The entry after which none opens by itself. Raises: NotFoundError (no-schedule)."""
    schedule = access.snapshot.reviews.schedules.get(project)
    if schedule is None:
        raise NotFoundError("No reviews are scheduled: casemate review schedule --every 90d.", code="no-schedule")
    record = ScheduleEnded(id=schedule.id, reason=stated_reason(reason), ended_by=by.id, ended_at=access.instant(now))
    return [(KIND, record.body())]


# What time brings -------------------------------------------------------------------------------------------------


def scheduled_now(
    access: Access, *, by: Principal, now: datetime, ids: Callable[[str], str] = new_id
) -> list[LedgerItem]:
    """The entries that open what the schedules want now. A period has one review, however often this is asked.

    Periods that passed while nothing ran are not opened afterwards: the grants of then cannot be reviewed any more.
    """
    now, reviews = access.instant(now), access.snapshot.reviews
    entries: list[LedgerItem] = []
    for schedule in reviews.schedules.values():
        period = int((now - schedule.first_at).total_seconds() // schedule.every)
        held = {(one.opened.schedule, one.opened.period) for one in reviews.by_id.values()}
        if period >= 0 and (schedule.id, period) not in held:
            ask = ReviewAsk(
                title=schedule.title,
                assigned=schedule.assigned,
                unanswered=schedule.unanswered,
                within=schedule.within,
                project=schedule.project,
            )
            entries.append((KIND, _opened(ask, by=by.id, now=now, ids=ids, schedule=schedule.id, period=period).body()))
    return entries


def overdue_reviews(access: Access, *, now: datetime) -> list[str]:
    """The ids of the reviews whose due date has come, and which nobody has closed."""
    now = access.instant(now)
    return [
        one.opened.id
        for one in access.snapshot.reviews.by_id.values()
        if one.closed is None and now >= one.opened.due_at
    ]


def settle_overdue(access: Access, review_id: str, *, by: Principal, now: datetime) -> list[LedgerItem]:
    """The next entries that the due date brings: revocations of what nobody answered for, at most `MAX_ANSWERED`, and
    at last the one that closes the review. None once it is closed."""
    review, now = access.snapshot.reviews.by_id[review_id], access.instant(now)
    if review.closed is not None or now < review.opened.due_at:
        return []
    spared = {grant.id for grant in spared_grants(access, review_id, now=now)}
    left = [item.grant.id for item in review_items(access, review_id, now=now) if item.state == "open"]
    ending = [one for one in left if one not in spared] if review.opened.unanswered is Unanswered.REVOKE else []
    if ending:
        return _revocations(ending[:MAX_ANSWERED], reason=f"{review_id}: {NOBODY}", by=by.id, now=now)
    record = ReviewClosed(id=review_id, overdue=True, reason=AS_SCHEDULED, closed_by=by.id, closed_at=now)
    return [(KIND, record.body())]


def spared_grants(access: Access, review_id: str, *, now: datetime) -> list[Grant]:
    """Owners' grants that no due date ends, since no other owner of the whole project would be left."""
    review, now = access.snapshot.reviews.by_id[review_id], access.instant(now)
    if review.opened.unanswered is Unanswered.KEEP:
        return []
    left = {item.grant.id for item in review_items(access, review_id, now=now) if item.state == "open"}
    owners = [grant for grant in _live(access, review.opened.project, now) if _is_owner(grant)]
    asked = [grant for grant in owners if grant.id in left]
    return asked if len(asked) == len(owners) else []


def _is_owner(grant: Grant) -> bool:
    whole = grant.scope == WHOLE_PROJECT and grant.environment is None
    return grant.role is Role.OWNER and whole and not grant.emergency


def _live(access: Access, project: str, now: datetime) -> Iterator[Grant]:
    snapshot = access.snapshot
    for principal, by_scope in snapshot.grants.items():
        if principal not in snapshot.revoked:
            for grants in by_scope.values():
                yield from (one for one in grants.values() if one.project == project and now < one.expires_at)
    for grant in snapshot.emergencies.values():
        if grant.principal not in snapshot.revoked and grant.project == project and now < grant.expires_at:
            yield grant


# Looking ----------------------------------------------------------------------------------------------------------


def review_items(access: Access, review_id: str, *, now: datetime) -> list[ReviewItem]:
    """Every grant in the review and what was answered, oldest first. Raises: NotFoundError (review-not-found)."""
    review, now = _found(access, review_id), access.instant(now)
    return [_item(access, review, grant_id, now) for grant_id in review.items]


def _item(access: Access, review: Review, grant_id: str, now: datetime) -> ReviewItem:
    snapshot = access.snapshot
    grant, answer = snapshot.granted[grant_id], review.answers.get(grant_id)
    over = review.closed.closed_at if review.closed else now
    ended = snapshot.revocations.get(grant_id) or snapshot.revocations.get(grant.principal)
    by_review = ended is not None and ended.id == grant_id and ended.reason.startswith(f"{review.opened.id}: ")
    if ended is not None and (by_review or ended.revoked_at <= over):
        why = ended.reason.removeprefix(f"{review.opened.id}: ")
        return ReviewItem(
            grant=grant,
            state="revoked" if by_review else "ended",
            reason=why,
            answered_by=ended.revoked_by,
            answered_at=ended.revoked_at,
        )
    if answer is not None and answer.kept:
        return ReviewItem(
            grant=grant,
            state="kept",
            reason=answer.reason,
            answered_by=answer.answered_by,
            answered_at=answer.answered_at,
        )
    state, why = ("ended", "it has expired") if over >= grant.expires_at else ("open", "")
    return ReviewItem(grant=grant, state=state, reason=why, answered_by=None, answered_at=None)


def describe_review(access: Access, review_id: str, *, now: datetime) -> ReviewInfo:
    """Raises: NotFoundError (review-not-found)."""
    review = _found(access, review_id)
    opened, closed = review.opened, review.closed
    states = [item.state for item in review_items(access, review_id, now=now)]
    overdue = access.instant(now) >= opened.due_at
    return ReviewInfo(
        id=opened.id,
        title=opened.title,
        state="closed" if closed else "overdue" if overdue else "open",
        role=opened.role,
        scope=opened.scope,
        assigned=opened.assigned,
        opened_by=opened.opened_by,
        opened_at=rfc3339(opened.opened_at),
        due_at=rfc3339(opened.due_at),
        unanswered=opened.unanswered,
        scheduled=bool(opened.schedule),
        items=len(states),
        kept=states.count("kept"),
        revoked=states.count("revoked"),
        ended=states.count("ended"),
        open=states.count("open"),
        closed_by=closed.closed_by if closed else None,
        closed_at=rfc3339(closed.closed_at) if closed else None,
        closed_because=closed.reason if closed else None,
    )


def list_reviews(access: Access, *, now: datetime, project: str = DEFAULT_PROJECT) -> list[ReviewInfo]:
    """All reviews of a project, oldest first."""
    reviews = access.snapshot.reviews.by_id
    return [describe_review(access, one, now=now) for one in sorted(reviews) if reviews[one].opened.project == project]


def _found(access: Access, review_id: str) -> Review:
    review = access.snapshot.reviews.by_id.get(review_id)
    if review is None:
        raise NotFoundError(
            f"There is no review {review_id[:80]!r}: see casemate review list.", code="review-not-found"
        )
    return review
