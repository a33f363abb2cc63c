"""Keys: issue, list, rotate, revoke."""

from typing import Annotated, Any

import msgspec
from fastapi import Query

from casemate.auditlog import networks_seen
from casemate.console.callers import Call, Caller
from casemate.console.door import Door
from casemate.core import Action, InputError, Resource, parse_duration, parse_rfc3339, rfc3339
from casemate.iam import (
    IssuedKey,
    KeyRequest,
    LedgerItem,
    check_service_name,
    issue_key,
    key_request,
    list_keys,
    opened_by,
    revocation_resource,
    revoke_key,
    rotate_key,
    rotation_resource,
    show_key,
)


def declare(door: Door) -> None:
    """The routes under /keys."""

    @door.read("/keys", Action.KEY_READ)
    def keys(call: Caller) -> dict[str, Any]:
        """All keys, never their secrets."""
        services = call.services
        found = list_keys(services.access, now=services.clock.now(), last_use=services.log.last_use)
        return {"items": msgspec.to_builtins(found), "next": None}

    @door.read("/keys/{key_id}", Action.KEY_READ, about=_shown)
    def show(call: Caller, key_id: str) -> dict[str, Any]:
        """One key, never its secret, and the networks from which it was used."""
        services = call.services
        found = show_key(services.access, key_id, now=services.clock.now(), last_use=services.log.last_use)
        actor = services.access.snapshot.credentials[key_id].principal
        shown: dict[str, Any] = msgspec.to_builtins(found)
        return shown | {"networks": msgspec.to_builtins(networks_seen(services.log.engine, actor, key_id))}

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
        decided = parse_rfc3339(str(call.decided.attributes["expires_at"]))  # not a moment longer than the gate allowed
        request = msgspec.structs.replace(request, expires_at=decided)
        made = list[IssuedKey]()

        def make() -> list[LedgerItem]:
            check_service_name(services.access, request.name)
            made.append(issue_key(request, issuer=call.principal, reason=call.reason))
            return made[-1].entries

        services.settle(make, call.intent)
        issued = made[-1]
        return {
            "id": issued.id,
            "key": issued.key,
            "expires_at": issued.expires_at,
            "name": name,
            "role": role,
            "scope": str(request.resource().attributes["scope"]),
        }

    @door.change("POST", "/keys/{key_id}/rotation", Action.KEY_ROTATE, about=_rotated)
    def rotate(call: Caller, key_id: str, overlap: str = "1h", expires: str = "") -> dict[str, Any]:
        """A new secret for the same service. The answer is the only place that ever shows it."""
        del expires  # the gate has decided on when it ends
        services, now = call.services, call.services.clock.now()
        for opened in opened_by(services.access, key_id, decided=call.decided, now=now):
            call.read(Action.KEY_ROTATE, opened)
        made = []

        def make() -> list[Any]:
            made.append(
                rotate_key(
                    services.access,
                    key_id,
                    overlap=parse_duration(overlap),
                    decided=call.decided,
                    by=call.principal,
                    reason=call.reason,
                    now=services.clock.now(),
                )
            )
            return made[0].entries

        services.settle(make, call.intent)
        credentials = services.access.snapshot.credentials
        return {
            "id": made[0].id,
            "key": made[0].key,
            "expires_at": made[0].expires_at,
            "name": credentials[made[0].id].name,
            "replaces": key_id,
            "old_expires_at": rfc3339(credentials[key_id].expires_at),
        }

    @door.change("DELETE", "/keys/{key_id}", Action.KEY_REVOKE, about=_revoked, urgent=True)
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
        rate=per_second(arguments["rate"]) if arguments["rate"] else None,
    )


def _asked(call: Call, arguments: dict[str, Any]) -> Resource:
    return _request(call, arguments).resource()


def _rotated(call: Call, arguments: dict[str, Any]) -> Resource:
    parse_duration(arguments["overlap"])
    life = parse_duration(arguments["expires"]) if arguments["expires"] else None
    return rotation_resource(call.services.access, arguments["key_id"], life=life, now=call.services.clock.now())


def _shown(call: Call, arguments: dict[str, Any]) -> Resource:
    return revocation_resource(call.services.access, arguments["key_id"])


def _revoked(call: Call, arguments: dict[str, Any]) -> Resource:
    return revocation_resource(call.services.access, arguments["key_id"])


def per_second(text: str) -> float:
    """`50/s` as a number. Raises: InputError (bad-rate)."""
    number, slash, unit = text.partition("/")
    try:
        rate = float(number)
    except ValueError:
        rate = 0.0
    if not slash or unit != "s" or rate <= 0:
        raise InputError(f"{text[:40]!r} is not a rate: write requests a second, as in 50/s.", code="bad-rate")
    return rate
