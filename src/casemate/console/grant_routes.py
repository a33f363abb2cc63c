"""Grants: ask for one, approve, deny, revoke, list, show; open one that is for emergencies, and account for it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from casemate.console.callers import Call, Caller
from casemate.console.door import Door
from casemate.console.services import Services
from casemate.core import (
    Action,
    CasemateError,
    ConflictError,
    Environment,
    InputError,
    NotFoundError,
    Resource,
    parse_duration,
    rfc3339,
)
from casemate.iam import (
    GrantAsk,
    LedgerItem,
    Revoked,
    accept_account,
    account_for,
    answer_resource,
    approve_grant,
    break_glass,
    deny_grant,
    end_resource,
    find_grant,
    grant_ask,
    list_grants,
    request_grant,
    revoke_grant,
    stated_account,
    stated_reason,
    unaccounted_alerts,
)

_STATES = ("pending", "lapsed", "denied", "ready", "active", "expired", "revoked")
_ACCOUNTS = ("owed", "given", "accepted")  # of emergency grants that were opened
_MOST_ACTS = 200  # that are shown of what was done under one
_ACTS = frozenset({"intent", "decision", "prediction"})  # kinds of entries


def declare(door: Door) -> None:
    """The routes under /grants."""
    _declare_reading(door)
    _declare_asking(door)
    _declare_answers(door)
    _declare_break_glass(door)


def _declare_reading(door: Door) -> None:
    @door.read("/grants", Action.GRANT_READ, about=_own)
    def grants(call: Caller, state: str = "") -> dict[str, Any]:
        """Your own grants and requests, and all others that your roles let you see."""
        if state and state not in (*_STATES, *_ACCOUNTS):
            known = ", ".join((*_STATES, *_ACCOUNTS))
            raise InputError(f"state {state[:40]!r} is not one of {known}.", code="bad-state")
        services, project = call.services, call.principal.project
        found = list_grants(services.access, now=services.clock.now(), project=project, state=state)
        seen = [
            info
            for info in found
            if services.authorizer.decide(call.principal, Action.GRANT_READ, info.resource(), **call.origin).allowed
        ]
        return {"items": msgspec.to_builtins(seen), "next": None}

    @door.read("/grants/{grant_id}", Action.GRANT_READ, about=_standing)
    def show(call: Caller, grant_id: str) -> dict[str, Any]:
        """One grant or request: who asked, who answered, until when; of an opened one, what was done under it."""
        return {**_shown(call, grant_id), "acts": _acts(call, grant_id)}


def _declare_asking(door: Door) -> None:
    @door.change("POST", "/grants", Action.GRANT_REQUEST, about=_asked)
    def request(
        call: Caller,
        role: str,
        on: str,
        life: str,
        environment: Environment | None = None,
        emergency: bool = False,  # noqa: FBT001, FBT002 a query parameter
    ) -> dict[str, Any]:
        """Ask for a role, for yourself. `on`: `*` or deployment:NAME, model:NAME, dataset:NAME. `life`: as in 2h.

        `emergency`: it gives nothing until you open it.
        """
        services = call.services
        asked = {"role": role, "on": on, "life": life, "environment": environment, "emergency": emergency}
        ask, made = _ask(call, asked), []

        def make() -> list[Any]:
            grant_id, entries = request_grant(services.access, ask, now=services.clock.now())
            made.append(grant_id)
            return entries

        services.settle(make, call.intent)
        return _shown(call, made[0])


def _declare_answers(door: Door) -> None:
    @door.change("POST", "/grants/{grant_id}/approval", Action.GRANT_APPROVE, about=_beginning)
    def approve(call: Caller, grant_id: str) -> dict[str, Any]:
        """Lend what was asked for, from now on."""
        return _decided(call, grant_id, partial(approve_grant, decided=call.decided))

    @door.change("POST", "/grants/{grant_id}/denial", Action.GRANT_APPROVE, about=_denied)
    def deny(call: Caller, grant_id: str) -> dict[str, Any]:
        """Say no to a request."""
        return _decided(call, grant_id, deny_grant)

    @door.change("DELETE", "/grants/{grant_id}", Action.GRANT_REVOKE, about=_ending, urgent=True)
    def revoke(call: Caller, grant_id: str) -> dict[str, Any]:
        """End a grant now, or withdraw a request."""
        return _decided(call, grant_id, revoke_grant)


def _declare_break_glass(door: Door) -> None:
    @door.change("POST", "/grants/{grant_id}/break-glass", Action.GRANT_BREAK_GLASS, about=_ending)
    def open_(call: Caller, grant_id: str, life: str) -> dict[str, Any]:
        """Open an emergency grant of your own, alone, for at most 4 hours. An alert is raised, and an account is owed."""
        services, made = call.services, []
        reason, seconds = stated_reason(call.reason), parse_duration(life)

        def make() -> list[LedgerItem]:
            opened, entries = break_glass(
                services.access, grant_id, by=call.principal, life=seconds, reason=reason, now=services.clock.now()
            )
            made.append(opened)
            return entries

        services.settle(make, call.intent)
        return _shown(call, made[-1])

    @door.change("POST", "/grants/{grant_id}/account", Action.GRANT_ACCOUNT, about=_accounted)
    def account(call: Caller, grant_id: str) -> dict[str, Any]:
        """Say what you did under an emergency grant that you opened, and why: the `reason`."""
        return _decided(call, grant_id, account_for, stated=stated_account)

    @door.change("POST", "/grants/{grant_id}/acceptance", Action.GRANT_ACCEPT, about=_ending)
    def accept(call: Caller, grant_id: str) -> dict[str, Any]:
        """Accept what somebody else says of an emergency grant that they opened."""
        return _decided(call, grant_id, accept_account)


def tend_break_glass(services: Services) -> list[CasemateError]:
    """Raise an alert for each opening that is not accounted for in time; once. Returns: what failed."""
    failed: list[CasemateError] = []
    for alert in unaccounted_alerts(services.access, now=services.clock.now()):
        try:
            services.sink.append([alert])
        except ConflictError:
            continue  # it was raised before
        except CasemateError as error:
            failed.append(error)
    return failed


def _acts(call: Call, grant_id: str) -> list[dict[str, Any]]:
    """What its holder did while an emergency grant was open, the oldest first; nothing of any other grant."""
    access = call.services.access
    glass = access.snapshot.glass.get(grant_id)
    if glass is None:
        return []
    ended = access.snapshot.ended.get(grant_id)
    until = min(glass.broken.until, ended.revoked_at) if isinstance(ended, Revoked) else glass.broken.until
    since = rfc3339(glass.broken.broken_at)
    page = call.services.log.page(actor=glass.broken.principal, since=since, until=rfc3339(until), limit=_MOST_ACTS)
    shown = ("id", "at", "action", "resource", "outcome")
    return [
        {name: one[name] for name in shown if name in one} for one in reversed(page.items) if one["kind"] != "outcome"
    ]


def _decided(
    call: Call, grant_id: str, entries: Callable[..., list[LedgerItem]], *, stated: Callable[[str], str] = stated_reason
) -> dict[str, Any]:
    """Commit what `entries` says of this grant on the newest state. Args: entries: as `deny_grant`. stated: checks the reason."""
    services, reason = call.services, stated(call.reason)

    def make() -> list[LedgerItem]:
        return entries(services.access, grant_id, by=call.principal, reason=reason, now=services.clock.now())

    services.settle(make, call.intent)
    return _shown(call, grant_id)


def _shown(call: Call, grant_id: str) -> dict[str, Any]:
    info = find_grant(call.services.access, grant_id, now=call.services.clock.now())
    if info is None:
        raise NotFoundError(f"There is no grant {grant_id[:80]!r}: see casemate grant list.", code="grant-not-found")
    shown: dict[str, Any] = msgspec.to_builtins(info)
    return shown


def _ask(call: Call, arguments: dict[str, Any]) -> GrantAsk:
    return grant_ask(
        call.principal,
        role=arguments["role"],
        scope=arguments["on"],
        environment=arguments["environment"],
        life=parse_duration(arguments["life"]),
        reason=call.reason,
        emergency=arguments["emergency"],
    )


def _asked(call: Call, arguments: dict[str, Any]) -> Resource:
    return _ask(call, arguments).resource()


def _own(call: Call, _: dict[str, Any]) -> Resource:
    """Everybody may look at their own; the list then holds what else they may."""
    return Resource("grant", project=call.principal.project, attributes={"holder": call.principal.id})


def _standing(call: Call, arguments: dict[str, Any]) -> Resource:
    return end_resource(call.services.access, arguments["grant_id"])


def _beginning(call: Call, arguments: dict[str, Any]) -> Resource:
    stated_reason(call.reason)
    return answer_resource(call.services.access, arguments["grant_id"], now=call.services.clock.now())


def _denied(call: Call, arguments: dict[str, Any]) -> Resource:
    stated_reason(call.reason)
    return answer_resource(call.services.access, arguments["grant_id"])


def _accounted(call: Call, arguments: dict[str, Any]) -> Resource:
    stated_account(call.reason)
    return end_resource(call.services.access, arguments["grant_id"])


def _ending(call: Call, arguments: dict[str, Any]) -> Resource:
    stated_reason(call.reason)
    return end_resource(call.services.access, arguments["grant_id"])
