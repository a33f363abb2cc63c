"""What real use says of a grant: keep it, end it, or give less. A proposal decides nothing; a person does."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from casemate.core import Action, Resource, Role, parse_rfc3339
from casemate.iam.policy import Policies
from casemate.iam.records import Grant
from casemate.iam.scope import WHOLE_PROJECT, scopes_covering

UNUSED_AFTER = timedelta(days=90)  # a quarter: what nobody used for so long is hardly needed
_NARROW_TO = 3  # scopes; whoever uses more things than that is not told to have a grant for each
_OWN = frozenset(
    {"own-account", "own-grants", "own-break-glass", "own-reviews"}
)  # allowed to everybody, whatever their roles


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """What a principal did, so often, and when last. Args: environment: empty where the record names none."""

    action: str
    kind: str
    name: str
    environment: str
    policies: tuple[str, ...]
    count: int
    last: str


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """Args: proposal: `keep`, `revoke`, `narrow`. why: the evidence. instead: a grant that would do; empty for others."""

    proposal: str
    why: str
    uses: int
    last_used: str | None
    actions: dict[str, int]
    instead: str = ""


def propose(grant: Grant, used: Iterable[Used], policies: Policies, *, now: datetime) -> Proposal:
    """Args: used: all that its principal did; what this grant cannot have allowed is left out."""
    uses = [one for one in used if _covers(grant, one, policies)]
    total, last = sum(one.count for one in uses), max((one.last for one in uses), default=None)
    actions: dict[str, int] = {}
    for one in uses:
        actions[one.action] = actions.get(one.action, 0) + one.count
    proposal, why, instead = _judged(grant, uses, last, policies, now)
    return Proposal(proposal=proposal, why=why, uses=total, last_used=last, actions=actions, instead=instead)


def _covers(grant: Grant, use: Used, policies: Policies) -> bool:
    if use.policies and set(use.policies) <= _OWN:
        return False
    if grant.environment is not None and use.environment not in ("", grant.environment.value):
        return False
    resource = Resource(use.kind, use.name, grant.project)
    in_scope = grant.scope in (WHOLE_PROJECT, *scopes_covering(resource))
    return in_scope and use.action in set(Action) and grant.role in policies.roles_for(Action(use.action))


def _judged(
    grant: Grant, uses: list[Used], last: str | None, policies: Policies, now: datetime
) -> tuple[str, str, str]:
    days = UNUSED_AFTER.days
    if last is None:
        if now - grant.granted_at < UNUSED_AFTER:
            return "keep", f"not used yet, and granted less than {days} days ago", ""
        return "revoke", f"never used since {grant.granted_at:%Y-%m-%d}", ""
    if now - parse_rfc3339(last) >= UNUSED_AFTER:
        return "revoke", f"last used {last[:10]}, over {days} days ago", ""
    role, scopes, environment = _least_role(grant, uses, policies), _scopes(grant, uses), _environment(grant, uses)
    reasons = [
        *([f"a {role} could do all that was done"] if role is not grant.role else []),
        *([f"only {', '.join(scopes)} was used"] if scopes != [grant.scope] else []),
        *([f"only {environment} was used"] if environment != (grant.environment or "") else []),
    ]
    if not reasons:
        return "keep", f"in use, last {last[:10]}", ""
    where = f" in {environment}" if environment else ""
    return "narrow", "; ".join(reasons), f"{role} on {' and '.join(scopes)}{where}"


def _least_role(grant: Grant, uses: list[Used], policies: Policies) -> Role:
    able = [policies.roles_for(Action(action)) for action in {one.action for one in uses}]
    fitting = [role for role in able[0] if all(role in roles for roles in able)]  # the least powerful first
    return fitting[0] if fitting else grant.role


def _scopes(grant: Grant, uses: list[Used]) -> list[str]:
    """The scopes that cover all that was used; the grant's own where they are many, or a whole kind was used."""
    wanted = {scopes_covering(Resource(one.kind, one.name, grant.project))[-1] for one in uses}
    if grant.scope != WHOLE_PROJECT or WHOLE_PROJECT in wanted or len(wanted) > _NARROW_TO:
        return [grant.scope]
    return sorted(wanted)


def _environment(grant: Grant, uses: list[Used]) -> str:
    """The one environment of all that was used, where each says its own."""
    seen = {one.environment for one in uses}
    return next(iter(seen)) if grant.environment is None and len(seen) == 1 else str(grant.environment or "")
