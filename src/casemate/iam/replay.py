"""What another set of policies would have decided: questions on record, asked again (`policy propose --dry-run`).

A decision is on record with the conditions that it was made on, so it can be asked again as it was. What cannot be is
counted, with the reason; nothing is passed over in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from casemate.core import Action, Environment, Event, Principal, PrincipalKind, Resource, Role
from casemate.iam.access import LOCAL
from casemate.iam.conditions import ADDRESS, Conditions, asked_again
from casemate.iam.policy import Decision, Policies

MAX_CHANGES = 1000  # kinds of changed decisions that an answer lists; the counts are of all
_DECIDED = frozenset({"decision", "intent"})
_USERS = ("usr_", LOCAL)


class ChangedDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions of one kind that would come out otherwise. Args: by: the policies that would decide."""

    actor: str
    action: str
    resource: str
    before: str
    after: str
    by: tuple[str, ...]
    reason: str
    count: int
    first: str
    last: str


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """Args: asked: events that were asked again. same, changed: of these. drifted: where the policies in force would now
    decide otherwise than the record says. skipped: how many could not be asked again, by the reason. left_off: kinds of
    changes beyond those listed."""

    since: str
    until: str
    events: int
    asked: int
    same: int
    changed: int
    drifted: int
    skipped: Mapping[str, int]
    changes: tuple[ChangedDecision, ...]
    left_off: int


class _Question(msgspec.Struct, frozen=True, kw_only=True):
    principal: Principal
    action: Action
    resource: Resource
    roles: frozenset[Role]
    conditions: Conditions

    def put(self, policies: Policies) -> Decision:
        return policies.decide_again(
            self.principal, self.action, self.resource, roles=self.roles, conditions=self.conditions
        )


def replay(events: Iterable[Event], *, in_force: Policies, proposed: Policies, since: str, until: str) -> Replayed:
    """Ask every decision among `events` of both sets of policies. Nothing is recorded and nothing is done."""
    seen = asked = changed = drifted = 0
    skipped: Counter[str] = Counter()
    kinds: dict[tuple[Any, ...], ChangedDecision] = {}
    for event in events:
        if not _is_decision(event):
            continue
        times = _times(event)
        seen += times
        try:
            question = _question(event)
        except ValueError as error:
            skipped[str(error)] += times
            continue
        asked += times
        now, then = question.put(in_force), question.put(proposed)
        drifted += times if now.allowed != _was_allowed(event) else 0
        if now.allowed == then.allowed:
            continue
        changed += times
        key = (event.actor, event.action, event.resource, then.allowed, then.policies)
        kinds[key] = _counted(kinds.get(key), event, now, then, times)
    most = sorted(kinds.values(), key=lambda one: (-one.count, one.first))
    return Replayed(
        since=since,
        until=until,
        events=seen,
        asked=asked,
        same=asked - changed,
        changed=changed,
        drifted=drifted,
        skipped=dict(skipped),
        changes=tuple(most[:MAX_CHANGES]),
        left_off=max(0, len(most) - MAX_CHANGES),
    )


def _is_decision(event: Event) -> bool:
    """An answered prediction was decided on, too; an outcome belongs to an intent."""
    return event.kind in _DECIDED or event.kind == "prediction"


def _times(event: Event) -> int:
    """Refusals of one kind stand in one entry, with their number."""
    count = event.facts.get("count", 1)
    return count if isinstance(count, int) and count > 0 else 1


def _was_allowed(event: Event) -> bool:
    return event.outcome in ("allowed", "done")


def _question(event: Event) -> _Question:
    """Raises: ValueError: why it cannot be asked again."""
    facts = event.facts
    if event.action not in set(Action):
        raise ValueError("no action was asked about" if not event.action else "the action is not known to this release")
    if not event.actor:
        raise ValueError("nobody was behind it: the credential was refused")
    kept, roles = _kept(event), facts.get("roles")
    if not isinstance(kept, dict) or not isinstance(roles, list):
        if facts.get("guard"):
            raise ValueError("it was refused by another wall than the policies, or counted among others")
        raise ValueError("it was recorded before the conditions were kept")  # noqa: TRY004 - told as it stands
    if not set(roles) <= set(Role):
        raise ValueError("a role is not known to this release")
    address = {ADDRESS: facts[ADDRESS]} if isinstance(facts.get(ADDRESS), str) else {}
    project, _, text = event.resource.partition("/")
    kind, _, name = text.partition(":")
    environment = str(kept.get("environment", ""))
    return _Question(
        principal=Principal(
            id=event.actor,
            kind=PrincipalKind.USER if event.actor.startswith(_USERS) else PrincipalKind.SERVICE,
            name="",
            project=event.project,
            credential=event.credential,
        ),
        action=Action(event.action),
        resource=Resource(
            kind, "" if name == "*" else name, project, Environment(environment) if environment else None
        ),
        roles=frozenset(map(Role, roles)),
        conditions=asked_again({**address, **kept}, event.at),
    )


def _kept(event: Event) -> Any:
    """The conditions on record. An answered prediction's are few, and follow from its other facts."""
    facts = event.facts
    if event.kind != "prediction" or not isinstance(facts.get("profile"), str) or "roles" not in facts:
        return facts.get("conditions")
    return {
        "profile": facts["profile"],
        "environment": str(facts.get("environment", "")),
        "self_approval": True,
        "lowers_class": True,
        "authenticated": True,
        "fresh": True,
        **({"ci": True} if facts.get("ci") is True else {}),
    }


def _counted(
    before: ChangedDecision | None, event: Event, now: Decision, then: Decision, times: int
) -> ChangedDecision:
    word = {True: "allowed", False: "refused"}
    return ChangedDecision(
        actor=event.actor,
        action=event.action,
        resource=event.resource,
        before=word[now.allowed],
        after=word[then.allowed],
        by=then.policies,
        reason=then.reason,
        count=times + (before.count if before else 0),
        first=min(event.at, before.first) if before else event.at,
        last=max(event.at, before.last) if before else event.at,
    )
