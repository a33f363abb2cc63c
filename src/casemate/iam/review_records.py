"""What the ledger says of access reviews: the bodies of its entries `review`, and what they come to.

A review decides nothing by itself: whatever it ends is ended by an ordinary revocation in the same commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from casemate.core import Role
from casemate.iam.records import Grant, GrantId, Instant, Name, ScopeText, _Record, read_strictly

KIND = "review"
MAX_ANSWERED = 500  # grants that one answer names

ReviewId = Annotated[str, msgspec.Meta(pattern=r"^rev_[0-9a-f]{32}\Z")]
ScheduleId = Annotated[str, msgspec.Meta(pattern=r"^sch_[0-9a-f]{32}\Z")]
Reviewer = Annotated[str, msgspec.Meta(pattern=r"^(usr_[0-9a-f]{32}|local:[0-9]{1,10})\Z")]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]


class Unanswered(StrEnum):
    """What becomes of a grant that nobody has answered for by the due date."""

    REVOKE = "revoke"
    KEEP = "keep"


class ReviewOpened(_Record, frozen=True, kw_only=True, tag="open"):
    """Every grant of the project that lives at `opened_at` is to be answered for: of `role` or `scope`, where one is said.

    `schedule`, `period`: of whose period it is the one review; empty and 0 where a person opened it.
    """

    id: ReviewId
    project: Name
    title: Title
    role: Role | None = None
    scope: ScopeText | None = None
    assigned: tuple[Reviewer, ...]
    unanswered: Unanswered
    schedule: str = ""
    period: int = 0
    opened_by: str
    opened_at: Instant
    due_at: Instant


class ReviewAnswered(_Record, frozen=True, kw_only=True, tag="answer"):
    """These grants are kept, or were revoked by the entries beside this one."""

    id: ReviewId
    grants: Annotated[tuple[GrantId, ...], msgspec.Meta(min_length=1, max_length=MAX_ANSWERED)]
    kept: bool
    reason: str
    answered_by: str
    answered_at: Instant


class ReviewClosed(_Record, frozen=True, kw_only=True, tag="close"):
    """Nothing of the review is answered any more. `overdue`: the due date closed it."""

    id: ReviewId
    overdue: bool
    reason: str
    closed_by: str
    closed_at: Instant


class ReviewScheduled(_Record, frozen=True, kw_only=True, tag="schedule"):
    """A review opens at `first_at` and every `every` seconds after, due `within` seconds; it takes the place of any before."""

    id: ScheduleId
    project: Name
    title: Title
    every: Annotated[int, msgspec.Meta(gt=0)]
    within: Annotated[int, msgspec.Meta(gt=0)]
    assigned: tuple[Reviewer, ...]
    unanswered: Unanswered
    first_at: Instant
    scheduled_by: str
    scheduled_at: Instant


class ScheduleEnded(_Record, frozen=True, kw_only=True, tag="unschedule"):
    id: ScheduleId
    reason: str
    ended_by: str
    ended_at: Instant


ReviewRecord = ReviewOpened | ReviewAnswered | ReviewClosed | ReviewScheduled | ScheduleEnded


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """One review. `items`: ids of the grants in it. `answers`: the last one to each, by its id."""

    opened: ReviewOpened
    items: tuple[str, ...]
    answers: Mapping[str, ReviewAnswered] = {}
    closed: ReviewClosed | None = None


class Reviews(msgspec.Struct, frozen=True, kw_only=True):
    """All reviews, and the schedule of each project that has one."""

    by_id: Mapping[str, Review] = {}
    schedules: Mapping[str, ReviewScheduled] = {}

    def after(self, record: ReviewRecord, live: Iterable[Grant]) -> Reviews:
        """Args: live: the grants that stand when it is read. Raises: ValueError: it contradicts what came before."""
        if isinstance(record, ReviewScheduled):
            return msgspec.structs.replace(self, schedules={**self.schedules, record.project: record})
        if isinstance(record, ScheduleEnded):
            left = {project: one for project, one in self.schedules.items() if one.id != record.id}
            if len(left) == len(self.schedules):
                raise ValueError("was not scheduled")
            return msgspec.structs.replace(self, schedules=left)
        if isinstance(record, ReviewOpened):
            if record.id in self.by_id:
                raise ValueError("is there already")
            changed = Review(opened=record, items=_items(record, live))
        else:
            changed = _answered(self.by_id.get(record.id), record)
        return msgspec.structs.replace(self, by_id={**self.by_id, record.id: changed})


def _items(record: ReviewOpened, live: Iterable[Grant]) -> tuple[str, ...]:
    return tuple(
        grant.id
        for grant in live
        if grant.project == record.project
        and record.opened_at < grant.expires_at
        and record.role in (None, grant.role)
        and record.scope in (None, grant.scope)
    )


def _answered(review: Review | None, record: ReviewAnswered | ReviewClosed) -> Review:
    if review is None:
        raise ValueError("was never opened")
    if review.closed is not None:
        raise ValueError("was closed")
    if isinstance(record, ReviewClosed):
        return msgspec.structs.replace(review, closed=record)
    if not set(record.grants) <= set(review.items):
        raise ValueError("is answered for a grant that is not in it")
    return msgspec.structs.replace(review, answers={**review.answers, **dict.fromkeys(record.grants, record)})


def read_review_record(body: Any) -> ReviewRecord:
    """Read one entry of the ledger. Raises: VerificationError (state-unreadable)."""
    record: ReviewRecord = read_strictly("review", body, ReviewRecord)
    return record
