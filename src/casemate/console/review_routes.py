"""Access reviews: open, look, answer, close; their schedule; and what their dates bring."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from casemate.console.asset_routes import plain
from casemate.console.callers import Call, Caller
from casemate.console.door import Door
from casemate.console.services import Services
from casemate.core import Action, CasemateError, Event, Principal, Resource, Role, new_id, parse_duration, rfc3339
from casemate.iam import (
    ALERT,
    LedgerItem,
    Proposal,
    ReviewAsk,
    ReviewItem,
    Unanswered,
    Used,
    answer_review,
    close_review,
    describe_review,
    end_schedule,
    list_reviews,
    name_of,
    named_in_evidence,
    open_review,
    overdue_reviews,
    propose,
    review_ask,
    review_items,
    review_resource,
    schedule_reviews,
    scheduled_now,
    settle_overdue,
    spared_grants,
    stated_reason,
)

UNANSWERED_OWNERS = "review-unanswered-owners"  # the rule of an alert
_Ids = Annotated[list[Annotated[str, Field(max_length=80)]], Field(max_length=500)]


class Answers(BaseModel):
    """Ids of grants."""

    model_config = ConfigDict(extra="forbid", strict=True)
    keep: _Ids = []
    revoke: _Ids = []


def declare(door: Door) -> None:
    """The routes under /reviews and /review-schedule."""
    _declare_reading(door)
    _declare_answers(door)
    _declare_schedule(door)


def _declare_reading(door: Door) -> None:
    @door.read("/reviews", Action.REVIEW_READ, about=_mine)
    def reviews(call: Caller) -> dict[str, Any]:
        """The reviews that are yours to answer, and all others that your roles let you see."""
        services = call.services
        found = list_reviews(services.access, now=services.clock.now(), project=call.principal.project)
        seen = [one for one in found if _may_see(call, one.id)]
        return {"items": [_named(services, msgspec.to_builtins(one)) for one in seen], "next": None}

    @door.read("/reviews/{review_id}", Action.REVIEW_READ, about=_one)
    def show(call: Caller, review_id: str) -> dict[str, Any]:
        """One review with every grant in it: who, what, how it was really used, what that proposes, what was answered."""
        return _shown(call, review_id) | {"grants": _grants(call.services, review_id)}


def _declare_answers(door: Door) -> None:
    @door.change("POST", "/reviews", Action.REVIEW_OPEN)
    def opened(
        call: Caller,
        title: str,
        due: str = "14d",
        assign: str = "",
        unanswered: str = Unanswered.REVOKE.value,
        role: Role | None = None,
        on: str = "",
    ) -> dict[str, Any]:
        """Open a review of every grant that lives now. `assign`: people, by name or id. `due`: as in 14d."""
        services, made = call.services, list[str]()
        ask = _ask(call, title=title, assign=assign, unanswered=unanswered, due=due, role=role, on=on)

        def make() -> list[LedgerItem]:
            review_id, entries = open_review(services.access, ask, by=call.principal, now=services.clock.now())
            made.append(review_id)
            return entries

        services.settle(make, call.intent)
        return _shown(call, made[0])

    @door.change("POST", "/reviews/{review_id}/answers", Action.REVIEW_ANSWER, about=_answered)
    def answered(call: Caller, review_id: str, body: Answers | None = None) -> dict[str, Any]:
        """Answer for grants: each is kept, or ends now."""
        said = body or Answers()
        return _decided(call, review_id, partial(answer_review, keep=said.keep, revoke=said.revoke))

    @door.change("POST", "/reviews/{review_id}/closing", Action.REVIEW_CLOSE, about=_one)
    def closed(call: Caller, review_id: str) -> dict[str, Any]:
        """Close a review in which everything was answered."""
        return _decided(call, review_id, close_review)


def _declare_schedule(door: Door) -> None:
    @door.read("/review-schedule", Action.REVIEW_READ, about=_mine)
    def schedule(call: Caller) -> dict[str, Any]:
        """When reviews open by themselves; empty where none do."""
        return _schedule(call)

    @door.change("PUT", "/review-schedule", Action.REVIEW_SCHEDULE)
    def scheduled(
        call: Caller,
        every: str = "90d",
        due: str = "14d",
        assign: str = "",
        unanswered: str = Unanswered.REVOKE.value,
        title: str = "Access review",
    ) -> dict[str, Any]:
        """Open a review now and every so often. It takes the place of the schedule before it."""
        services = call.services
        ask = _ask(call, title=title, assign=assign, unanswered=unanswered, due=due, every=every)
        now, by = services.clock.now, call.principal
        services.settle(lambda: schedule_reviews(services.access, ask, by=by, now=now()), call.intent)
        services.settle(lambda: scheduled_now(services.access, by=by, now=now()), call.intent)
        return _schedule(call)

    @door.change("DELETE", "/review-schedule", Action.REVIEW_SCHEDULE)
    def ended(call: Caller) -> dict[str, Any]:
        """No review opens by itself any more; those that are open go on."""
        services, reason = call.services, stated_reason(call.reason)
        project, by = call.principal.project, call.principal
        services.settle(
            lambda: end_schedule(services.access, project=project, by=by, reason=reason, now=services.clock.now()),
            call.intent,
        )
        return _schedule(call)


def tend_reviews(services: Services, by: Principal) -> list[CasemateError]:
    """Open what is scheduled and settle what is due, each through the gate. Returns: what failed."""
    failed, now, before = [], services.clock.now, set(services.access.snapshot.reviews.by_id)
    try:
        if scheduled_now(services.access, by=by, now=now()):
            with services.gate.open(by, Action.REVIEW_OPEN, Resource("review"), reason="as scheduled") as entry:
                services.settle(lambda: scheduled_now(services.access, by=by, now=now()), entry.id)
                reviews = services.access.snapshot.reviews.by_id
                entry.facts["opened"] = [one for one in reviews if one not in before]
    except CasemateError as error:
        failed.append(error)
    for review_id in overdue_reviews(services.access, now=now()):
        try:
            _settle(services, review_id, by)
        except CasemateError as error:
            failed.append(error)
    return failed


def _settle(services: Services, review_id: str, by: Principal) -> None:
    """The due date of one review: what nobody answered for ends, but no project's last owners."""
    access, now = services.access, services.clock.now
    resource = review_resource(access, review_id, by=by)
    with services.gate.open(by, Action.REVIEW_CLOSE, resource, reason="its due date has come") as entry:
        spared = [grant.id for grant in spared_grants(access, review_id, now=now())]
        entry.facts["spared"] = spared
        while settle_overdue(access, review_id, by=by, now=now()):
            services.settle(lambda: settle_overdue(access, review_id, by=by, now=now()), entry.id)
        info = describe_review(access, review_id, now=now())
        entry.facts.update(kept=info.kept, revoked=info.revoked, ended=info.ended, unanswered=info.open)
    if spared:
        services.sink.append([_alert(services, resource, review_id, spared)])


def _alert(services: Services, resource: Resource, review_id: str, spared: list[str]) -> Event:
    return Event(
        id=new_id("evt"),
        at=rfc3339(services.clock.now()),
        kind=ALERT,
        project=resource.project,
        resource=str(resource),
        reason=UNANSWERED_OWNERS,
        facts={"rule": UNANSWERED_OWNERS, "subject": review_id, "grants": spared[:100]},
    )


def _decided(call: Call, review_id: str, entries: Callable[..., list[LedgerItem]]) -> dict[str, Any]:
    """Commit what `entries` says of this review on the newest state. Args: entries: as `close_review`."""
    services, reason = call.services, stated_reason(call.reason)
    services.settle(
        lambda: entries(services.access, review_id, by=call.principal, reason=reason, now=services.clock.now()),
        call.intent,
    )
    return _shown(call, review_id)


def _ask(
    call: Call,
    *,
    title: str,
    assign: str,
    unanswered: str,
    due: str,
    every: str = "",
    role: Role | None = None,
    on: str = "",
) -> ReviewAsk:
    return review_ask(
        call.services.access,
        title=title,
        assigned=assign.replace(",", " ").split(),
        unanswered=unanswered,
        within=parse_duration(due),
        every=parse_duration(every) if every else None,
        role=role,
        scope=on or None,
    )


def _shown(call: Call, review_id: str) -> dict[str, Any]:
    services = call.services
    info = describe_review(services.access, review_id, now=services.clock.now())
    return _named(services, msgspec.to_builtins(info))


def _named(services: Services, shown: dict[str, Any]) -> dict[str, Any]:
    """With the names of whom it was assigned to."""
    return shown | {"reviewers": [name_of(services.access, one) for one in shown["assigned"]]}


def _schedule(call: Call) -> dict[str, Any]:
    schedule = call.services.access.snapshot.reviews.schedules.get(call.principal.project)
    if schedule is None:
        return {}
    shown = msgspec.to_builtins(schedule)
    return _named(call.services, {name: value for name, value in shown.items() if name != "op"})


def _grants(services: Services, review_id: str) -> list[dict[str, Any]]:
    now, used = services.access.instant(services.clock.now()), dict[str, list[Used]]()
    rows = []
    for item in review_items(services.access, review_id, now=now):
        holder = item.grant.principal
        if holder not in used:
            used[holder] = [_used(use) for use in services.log.uses_of(holder)]
        rows.append(_row(services, item, propose(item.grant, used[holder], services.policies, now=now)))
    return rows


def _used(use: Any) -> Used:
    kind, _, name = use.resource.partition("/")[2].partition(":")
    return Used(
        action=use.action,
        kind=kind,
        name="" if name == "*" else name,
        environment=use.environment,
        policies=use.policies,
        count=use.count,
        last=use.last,
    )


def _row(services: Services, item: ReviewItem, proposed: Proposal) -> dict[str, Any]:
    grant, access = item.grant, services.access
    about: dict[str, Any] = plain(
        {
            "grant": grant.id,
            "principal": grant.principal,
            "name": name_of(access, grant.principal),
            "role": grant.role,
            "scope": grant.scope,
            "environment": grant.environment,
            "since": rfc3339(grant.granted_at),
            "until": rfc3339(grant.expires_at),
            "granted_by": named_in_evidence(access, grant.granted_by),
            "granted_for": grant.reason,
            "state": item.state,
            "reason": item.reason,
            "answered_by": named_in_evidence(access, item.answered_by) if item.answered_by else None,
            "answered_at": rfc3339(item.answered_at) if item.answered_at else None,
        }
    )
    proposal: dict[str, Any] = msgspec.to_builtins(proposed)
    return about | proposal


def _may_see(call: Call, review_id: str) -> bool:
    resource = review_resource(call.services.access, review_id, by=call.principal)
    return call.services.authorizer.decide(call.principal, Action.REVIEW_READ, resource).allowed


def _mine(call: Call, _: dict[str, Any]) -> Resource:
    """Everybody may look at what is theirs to answer; the list then holds what else they may see."""
    return Resource("review", project=call.principal.project, attributes={"holder": call.principal.id})


def _one(call: Call, arguments: dict[str, Any]) -> Resource:
    return review_resource(call.services.access, arguments["review_id"], by=call.principal)


def _answered(call: Call, arguments: dict[str, Any]) -> Resource:
    body, stated = arguments["body"], stated_reason(call.reason)
    assert stated, "it would have been refused"
    keep = body.keep if isinstance(body, Answers) else []
    return review_resource(call.services.access, arguments["review_id"], by=call.principal, keep=keep)
