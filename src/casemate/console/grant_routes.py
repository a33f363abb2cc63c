"""Grants: ask for one, approve, deny, revoke, list, show."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from casemate.console.door import Call, Caller, Door
from casemate.core import Action, Environment, InputError, NotFoundError, Resource, parse_duration
from casemate.iam import (
    GrantAsk,
    LedgerItem,
    answer_resource,
    approve_grant,
    deny_grant,
    end_resource,
    find_grant,
    grant_ask,
    list_grants,
    request_grant,
    revoke_grant,
    stated_reason,
)

_STATES = ("pending", "lapsed", "denied", "active", "expired", "revoked")


def declare(door: Door) -> None:
    """The routes under /grants."""
    _declare_reading(door)
    _declare_asking(door)
    _declare_answers(door)


def _declare_reading(door: Door) -> None:
    @door.read("/grants", Action.GRANT_READ, about=_own)
    def grants(call: Caller, state: str = "") -> dict[str, Any]:
        """Your own grants and requests, and all others that your roles let you see."""
        if state and state not in _STATES:
            raise InputError(f"state {state[:40]!r} is not one of {', '.join(_STATES)}.", code="bad-state")
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
        """One grant or request: who asked, who answered, until when."""
        return _shown(call, grant_id)


def _declare_asking(door: Door) -> None:
    @door.change("POST", "/grants", Action.GRANT_REQUEST, about=_asked)
    def request(call: Caller, role: str, on: str, life: str, environment: Environment | None = None) -> dict[str, Any]:
        """Ask for a role, for yourself. `on`: `*` or deployment:NAME, model:NAME, dataset:NAME. `life`: as in 2h."""
        services = call.services
        ask, made = _ask(call, {"role": role, "on": on, "life": life, "environment": environment}), []

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


def _decided(call: Call, grant_id: str, entries: Callable[..., list[LedgerItem]]) -> dict[str, Any]:
    """Commit what `entries` says of this grant on the newest state. Args: entries: as `deny_grant`."""
    services, reason = call.services, stated_reason(call.reason)

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


def _ending(call: Call, arguments: dict[str, Any]) -> Resource:
    stated_reason(call.reason)
    return end_resource(call.services.access, arguments["grant_id"])
