"""What an access review asks about and what was answered: each grant in it, and the review in a few words."""

from __future__ import annotations

from datetime import datetime

import msgspec

from casemate.core import (
    DEFAULT_PROJECT,
    NotFoundError,
    Role,
    rfc3339,
)
from casemate.iam.access import Access
from casemate.iam.records import Grant
from casemate.iam.review_records import (
    Review,
    Unanswered,
)


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


def review_items(access: Access, review_id: str, *, now: datetime) -> list[ReviewItem]:
    """Every grant in the review and what was answered, oldest first. Raises: NotFoundError (review-not-found)."""
    review, now = found_review(access, review_id), access.instant(now)
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
    review = found_review(access, review_id)
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


def found_review(access: Access, review_id: str) -> Review:
    review = access.snapshot.reviews.by_id.get(review_id)
    if review is None:
        raise NotFoundError(
            f"There is no review {review_id[:80]!r}: see casemate review list.", code="review-not-found"
        )
    return review
