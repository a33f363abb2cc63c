"""Issuers of tokens, and what proves a service beside an API key: add, bind, refresh, revoke, list."""

from typing import Annotated, Any

import msgspec
from fastapi import Query

from casemate.console.asset_routes import Body, plain
from casemate.console.callers import Call, Caller
from casemate.console.door import Also, Door
from casemate.console.key_routes import per_second
from casemate.console.services import Services
from casemate.core import (
    Action,
    CasemateError,
    Environment,
    InputError,
    Principal,
    Resource,
    parse_duration,
    parse_rfc3339,
)
from casemate.iam import KeyRequest, check_service_name, key_request
from casemate.iam.tokens.bindings import (
    Make,
    bind,
    binding_resource,
    certificate_binding,
    client_key_binding,
    list_bindings,
    token_binding,
)
from casemate.iam.tokens.certificates import MAX_PEM
from casemate.iam.tokens.issuers import (
    IssuerRequest,
    add_issuer,
    find_issuer,
    given_keys_resource,
    issuer_request,
    issuer_resource,
    live_issuers,
    record_keys,
    revoke,
    shown_issuer,
)
from casemate.iam.tokens.jwks import MAX_JWKS, read_jwks
from casemate.iam.tokens.patterns import read_claims


def declare(door: Door) -> None:
    """The routes under /issuers and /bindings."""
    _declare_reading(door)
    _declare_issuers(door)
    _declare_bindings(door)
    _declare_ends(door)


def _declare_reading(door: Door) -> None:
    @door.read("/issuers", Action.ISSUER_READ)
    def issuers(call: Caller) -> dict[str, Any]:
        """All issuers whose tokens are read, never their keys."""
        access = call.services.access
        return plain({"items": [shown_issuer(access, one) for one in live_issuers(access)], "next": None})

    @door.read("/issuers/{name}", Action.ISSUER_READ)
    def show(call: Caller, name: str) -> dict[str, Any]:
        """One issuer, and the services that its tokens prove."""
        services = call.services
        found = find_issuer(services.access, name)
        bound = list_bindings(
            services.access, now=services.clock.now(), last_use=services.log.last_use, issuer=found.about.id
        )
        return plain({**shown_issuer(services.access, found), "bindings": bound})

    @door.read("/bindings", Action.ISSUER_READ)
    def bindings(call: Caller) -> dict[str, Any]:
        """All that proves a service beside an API key."""
        services = call.services
        found = list_bindings(services.access, now=services.clock.now(), last_use=services.log.last_use)
        return plain({"items": found, "next": None})


def _declare_issuers(door: Door) -> None:
    @door.change("POST", "/issuers/{name}", Action.ISSUER_ADD, about=_added)
    def add(
        call: Caller,
        name: str,
        audience: str,
        body: Body,
        kind: str = "generic",
        issuer: str = "",
        algorithms: str = "",
        source: str = "",
    ) -> dict[str, Any]:
        """Read an issuer's tokens from now on. The body: its key set, where no `source` says where it is."""
        services = call.services
        request = _issuer(
            {
                "name": name,
                "audience": audience,
                "kind": kind,
                "issuer": issuer,
                "algorithms": algorithms,
                "source": source,
            }
        )
        given = body.whole(MAX_JWKS)
        keys = read_jwks(given or _fetched(services, request.source), request.algorithms)
        services.settle(
            lambda: add_issuer(services.access, request, keys, by=call.principal, now=services.clock.now()),
            call.intent,
        )
        return plain(shown_issuer(services.access, find_issuer(services.access, name)))

    given = Also(action=Action.ISSUER_BIND, about=_given)

    @door.change("POST", "/issuers/{name}/keys", Action.ISSUER_REFRESH, also=given)
    def refresh(call: Caller, name: str, body: Body) -> dict[str, Any]:
        """Read an issuer's keys anew, or take those in the body."""
        return refresh_issuer(call.services, name, by=call.principal, intent=call.intent, given=body.whole(MAX_JWKS))


def _declare_bindings(door: Door) -> None:
    @door.change("POST", "/issuers/{name}/bindings", Action.ISSUER_BIND, about=_bound_token)
    def bind_token(
        call: Caller,
        name: str,
        role: str,
        on: str,
        claims: Annotated[str, Query(max_length=8192)] = "",
        service: str = "",
        expires: str = "90d",
        environment: Environment | None = None,
        rate: str = "",
    ) -> dict[str, Any]:
        """Let tokens of this issuer with such claims (a JSON object of patterns) be a service, until it expires."""
        access = call.services.access
        asked = {"role": role, "on": on, "expires": expires, "environment": environment, "rate": rate}
        request = _service(call, {**asked, "name": service or name})
        return _bind(call, request, lambda: token_binding(access, name, read_claims(claims)))

    @door.change("POST", "/bindings/{name}/certificate", Action.ISSUER_BIND, about=_bound)
    def bind_certificate(
        call: Caller,
        name: str,
        role: str,
        on: str,
        body: Body,
        san: str = "",
        expires: str = "90d",
        environment: Environment | None = None,
        rate: str = "",
    ) -> dict[str, Any]:
        """Let the certificate in the body be a service; with `san`, those that this authority gives out with the name."""
        asked = {"role": role, "on": on, "expires": expires, "environment": environment, "rate": rate}
        now = call.services.clock.now()
        pem = body.whole(MAX_PEM)
        return _bind(call, _service(call, {**asked, "name": name}), lambda: certificate_binding(pem, san=san, now=now))

    @door.change("POST", "/bindings/{name}/key", Action.ISSUER_BIND, about=_bound)
    def bind_client_key(
        call: Caller,
        name: str,
        role: str,
        on: str,
        body: Body,
        expires: str = "90d",
        environment: Environment | None = None,
        rate: str = "",
    ) -> dict[str, Any]:
        """Let whoever signs assertions with a key of the set in the body be a service."""
        asked = {"role": role, "on": on, "expires": expires, "environment": environment, "rate": rate}
        keys = body.whole(MAX_JWKS)
        return _bind(call, _service(call, {**asked, "name": name}), lambda: client_key_binding(keys))


def _declare_ends(door: Door) -> None:
    @door.change("DELETE", "/issuers/{name}", Action.ISSUER_REVOKE)
    def revoke_issuer(call: Caller, name: str) -> dict[str, Any]:
        """End an issuer, and all that its tokens prove, now."""
        return _revoke(call, find_issuer(call.services.access, name).about.id)

    @door.change("DELETE", "/bindings/{binding_id}", Action.ISSUER_REVOKE, about=_one_binding)
    def revoke_binding(call: Caller, binding_id: str) -> dict[str, Any]:
        """End one binding now."""
        return _revoke(call, binding_id)


def refresh_issuer(services: Services, name: str, *, by: Principal, intent: str, given: bytes = b"") -> dict[str, Any]:
    """Record an issuer's new keys, where it has any. Raises: NotFoundError; InputError (bad-jwks); UpstreamError."""
    found = find_issuer(services.access, name)
    keys = read_jwks(given or _fetched(services, found.about.source), found.about.algorithms)
    services.settle(
        lambda: record_keys(find_issuer(services.access, found.about.id), keys, by=by, now=services.clock.now()), intent
    )
    return plain(shown_issuer(services.access, find_issuer(services.access, found.about.id)))


def refresh_all(services: Services, by: Principal) -> list[CasemateError]:
    """Refresh every issuer that has an address, each through the gate. Returns: what failed."""
    failed = []
    for issuer in live_issuers(services.access):
        about = issuer.about
        if not about.source:
            continue
        resource = Resource("issuer", about.name)
        try:
            with services.gate.open(by, Action.ISSUER_REFRESH, resource, reason="as scheduled") as entry:
                refresh_issuer(services, about.id, by=by, intent=entry.id)
        except CasemateError as error:
            failed.append(error)
    return failed


def _fetched(services: Services, source: str) -> bytes:
    if not source:
        raise InputError("Say where its keys are: --jwks FILE, or --jwks https://...", code="no-jwks")
    return services.fetch_keys(source)


def _issuer(arguments: dict[str, Any]) -> IssuerRequest:
    return issuer_request(
        arguments["name"],
        kind=arguments["kind"],
        issuer=arguments["issuer"],
        audience=arguments["audience"],
        algorithms=arguments["algorithms"].replace(",", " ").split(),
        source=arguments["source"],
    )


def _added(_: Call, arguments: dict[str, Any]) -> Resource:
    """What was typed goes on record; it is checked once the gate has let it in."""
    stated = ("kind", "issuer", "audience", "algorithms", "source")
    return Resource("issuer", arguments["name"][:80], attributes={name: str(arguments[name])[:300] for name in stated})


def _given(call: Call, arguments: dict[str, Any]) -> Resource | None:
    """Keys that come with the request sign for all that is bound to the issuer; those that it names itself do not ask."""
    if not arguments["body"].first(1):
        return None
    return given_keys_resource(call.services.access, arguments["name"], now=call.services.clock.now())


def _service(call: Call, arguments: dict[str, Any]) -> KeyRequest:
    return key_request(
        arguments["name"],
        role=arguments["role"],
        scope=arguments["on"],
        now=call.services.clock.now(),
        life=parse_duration(arguments["expires"]),
        rate=per_second(arguments["rate"]) if arguments["rate"] else None,
        environment=arguments["environment"],
    )


def _bound_token(call: Call, arguments: dict[str, Any]) -> Resource:
    request = _service(call, {**arguments, "name": arguments["service"] or arguments["name"]})
    return binding_resource(request, about=arguments["name"], stated={"claims": arguments["claims"]})


def _bound(call: Call, arguments: dict[str, Any]) -> Resource:
    stated = {"san": arguments["san"]} if arguments.get("san") else {}
    return binding_resource(_service(call, arguments), about=arguments["name"], stated=stated)


def _one_binding(call: Call, arguments: dict[str, Any]) -> Resource:
    return issuer_resource(call.services.access, arguments["binding_id"])


def _bind(call: Call, request: KeyRequest, make: Any) -> dict[str, Any]:
    """Args: make: asks the newest state what is bound."""
    services, made = call.services, []
    decided = parse_rfc3339(str(call.decided.attributes["expires_at"]))  # not a moment longer than the gate allowed
    request = msgspec.structs.replace(request, expires_at=decided)

    def entries() -> list[Any]:
        check_service_name(services.access, request.name)
        bound: Make = make()
        made.append(bind(request, bound, by=call.principal, reason=call.reason))
        return made[0].entries

    services.settle(entries, call.intent)
    return {
        "id": made[0].id,
        "expires_at": made[0].expires_at,
        "name": request.name,
        "role": request.role.value,
        "scope": str(request.scope),
    }


def _revoke(call: Call, what: str) -> dict[str, Any]:
    services, found = call.services, []

    def entries() -> list[Any]:
        name, items = revoke(services.access, what, by=call.principal, reason=call.reason, now=services.clock.now())
        found.append(name)
        return items

    services.settle(entries, call.intent)
    return {"id": found[0], "state": "revoked"}
