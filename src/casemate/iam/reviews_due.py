"""What time brings to access reviews: scheduled ones open, and overdue ones are settled (docs/reviews.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from casemate.core import (
    Principal,
    Role,
    new_id,
)
from casemate.iam.access import Access
from casemate.iam.credentials import LedgerItem
from casemate.iam.records import Grant
from casemate.iam.review_items import review_items
from casemate.iam.review_records import (
    KIND,
    MAX_ANSWERED,
    ReviewClosed,
    Unanswered,
)
from casemate.iam.reviews import ReviewAsk, opened_review, review_revocations
from casemate.iam.scope import WHOLE_PROJECT

NOBODY = "nobody answered by the due date"
AS_SCHEDULED = "as scheduled"


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
            entries.append(
                (KIND, opened_review(ask, by=by.id, now=now, ids=ids, schedule=schedule.id, period=period).body())
            )
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
        return review_revocations(ending[:MAX_ANSWERED], reason=f"{review_id}: {NOBODY}", by=by.id, now=now)
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
