"""Keys: issue, list, revoke."""

from typing import Annotated, Any

import msgspec
from fastapi import Query

from casemate.console.door import Call, Caller, Door
from casemate.core import Action, InputError, Resource, parse_duration
from casemate.iam import KeyRequest, issue_key, key_request, list_keys, revocation_resource, revoke_key


def declare(door: Door) -> None:
    """The routes under /keys."""

    @door.read("/keys", Action.KEY_READ)
    def keys(call: Caller) -> dict[str, Any]:
        """All keys, never their secrets."""
        services = call.services
        return {"items": msgspec.to_builtins(list_keys(services.access, now=services.clock.now())), "next": None}

    @door.change("POST", "/keys", Action.KEY_ISSUE, about=_asked)
    def issue(
        call: Caller,
        name: str,
        role: str,
        expires: str = "90d",
        deployment: Annotated[str, Query()] = "",
        rate: str = "",
    ) -> dict[str, Any]:
        """Issue a key. The answer is the only place that ever shows it."""
        services = call.services
        request = _request(
            call, {"name": name, "role": role, "expires": expires, "deployment": deployment, "rate": rate}
        )
        issued = issue_key(request, issuer=call.principal, reason=call.reason)
        services.commit(issued.entries, call.intent)
        return {
            "id": issued.id,
            "key": issued.key,
            "expires_at": issued.expires_at,
            "name": name,
            "role": role,
            "scope": str(request.resource().attributes["scope"]),
        }

    @door.change("DELETE", "/keys/{key_id}", Action.KEY_REVOKE, about=_revoked)
    def revoke(call: Caller, key_id: str) -> dict[str, Any]:
        """End a key now."""
        services = call.services
        entries = revoke_key(services.access, key_id, by=call.principal, reason=call.reason, now=services.clock.now())
        if entries:
            services.commit(entries, call.intent)
        return {"id": key_id, "state": "revoked"}


def _request(call: Call, arguments: dict[str, Any]) -> KeyRequest:
    deployment = arguments["deployment"]
    return key_request(
        arguments["name"],
        role=arguments["role"],
        scope=f"deployment:{deployment}" if deployment else "*",
        now=call.services.clock.now(),
        life=parse_duration(arguments["expires"]),
        rate=_per_second(arguments["rate"]) if arguments["rate"] else None,
    )


def _asked(call: Call, arguments: dict[str, Any]) -> Resource:
    return _request(call, arguments).resource()


def _revoked(call: Call, arguments: dict[str, Any]) -> Resource:
    return revocation_resource(call.services.access, arguments["key_id"])


def _per_second(text: str) -> float:
    number, slash, unit = text.partition("/")
    try:
        rate = float(number)
    except ValueError:
        rate = 0.0
    if not slash or unit != "s" or rate <= 0:
        raise InputError(f"{text[:40]!r} is not a rate: write requests a second, as in 50/s.", code="bad-rate")
    return rate
