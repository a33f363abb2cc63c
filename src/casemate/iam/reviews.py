"""Access reviews: somebody else says of each grant whether it is still needed, by a date, on record (docs/reviews.md).

Each function returns what to append to the ledger; authorise first, and let nothing come between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
)
from casemate.iam.access import Access
from casemate.iam.credentials import LedgerItem
from casemate.iam.grants import stated_reason
from casemate.iam.names import OWNER_NAME
from casemate.iam.records import Revoked
from casemate.iam.review_items import found_review, review_items
from casemate.iam.review_records import (
    KIND,
    MAX_ANSWERED,
    ReviewAnswered,
    ReviewClosed,
    ReviewOpened,
    ReviewScheduled,
    ScheduleEnded,
    Unanswered,
)
from casemate.iam.scope import parse_scope

MAX_DUE = 90 * 86400.0  # s; what may be answered later is not a review of now
LEAST_EVERY = 86400.0  # s
MAX_EVERY = 366 * 86400.0  # s


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
    record = opened_review(ask, by=by.id, now=access.instant(now), ids=ids)
    return record.id, [(KIND, record.body())]


def opened_review(
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
    review, now, reason = found_review(access, review_id), access.instant(now), stated_reason(reason)
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
    return [*entries, *review_revocations(revoke, reason=f"{review_id}: {reason}", by=by.id, now=now)]


def review_revocations(grants: Sequence[str], *, reason: str, by: str, now: datetime) -> list[LedgerItem]:
    return [("grant", Revoked(id=one, reason=reason, revoked_by=by, revoked_at=now).body()) for one in grants]


def close_review(access: Access, review_id: str, *, by: Principal, reason: str, now: datetime) -> list[LedgerItem]:
    """The entry that closes it early. Raises: NotFoundError; ConflictError (review-closed, review-unanswered)."""
    review, now = found_review(access, review_id), access.instant(now)
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
