"""The one way in: every route declares its Action, and runs inside `iam.gate` or not at all.

    door = Door()

    @door.change("PUT", "/deployments/{name}", Action.DEPLOYMENT_DEPLOY)
    def deploy(call: Caller, name: str, model: str) -> dict[str, Any]: ...

`read` asks the gate and records the decision; `change` commits an intent, runs the handler, and commits its outcome
before the answer leaves. `public` is for the few routes that need nobody.
"""

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request

from casemate.console.services import Services
from casemate.core import Action, AuthError, ConflictError, Principal, Resource, new_id
from casemate.iam import Decision, Entry

PREFIX = "/api/v1"
LOCAL_OWNER = "casemate.local_owner"  # in the ASGI scope: the Principal whose user id the socket's peer has

Handler = Callable[..., Any]
About = Callable[["Call", dict[str, Any]], Resource]  # the call and the route's arguments -> what is acted on


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One authenticated request. `entry` is the gate's; only a change has one."""

    services: Services
    principal: Principal
    reason: str
    request_key: str
    entry: Entry | None = None

    @property
    def intent(self) -> str:
        """The id under which the log knows this change; every row that it writes bears it."""
        assert self.entry is not None, "only a change has an intent"
        return self.entry.id

    @property
    def decision(self) -> Decision:
        """What the gate decided on this change."""
        assert self.entry is not None, "only a change keeps its decision"
        return self.entry.decision


def authenticated(
    request: Request,
    authorization: Annotated[str, Header()] = "",
    idempotency_key: Annotated[str, Header(max_length=200)] = "",
    reason: Annotated[str, Query(max_length=500)] = "",
) -> Call:
    """Who calls. Raises: AuthError."""
    services: Services = request.app.state.services
    principal = request.scope.get(LOCAL_OWNER) or services.authenticate(_bearer(authorization))
    return Call(services=services, principal=principal, reason=reason, request_key=idempotency_key)


Caller = Annotated[Call, Depends(authenticated)]


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise AuthError("Send a key: Authorization: Bearer cm_...", code="no-credential")
    return token.strip()


class Door:
    """Collects the routes of the control plane, each with its Action."""

    def __init__(self) -> None:
        self.router = APIRouter(prefix=PREFIX)
        self.actions: dict[tuple[str, str], Action | None] = {}

    def public(self, path: str) -> Callable[[Handler], Handler]:
        """A GET that needs nobody."""
        return self._route("GET", path, None, lambda handler, arguments: handler(**arguments))

    def read(self, path: str, action: Action) -> Callable[[Handler], Handler]:
        """A GET that changes nothing; that it was allowed is on record before it answers."""

        def run(handler: Handler, arguments: dict[str, Any]) -> Any:
            call: Call = arguments["call"]
            call.services.gate.read(call.principal, action, _resource(action, arguments))
            return handler(**arguments)

        return self._route("GET", path, action, run)

    def change(
        self, method: str, path: str, action: Action, *, about: About | None = None
    ) -> Callable[[Handler], Handler]:
        """A route that changes something, once for each Idempotency-Key. `about`: what the gate must know first."""

        def run(handler: Handler, arguments: dict[str, Any]) -> Any:
            call: Call = arguments["call"]
            intent = _intent_of(call)
            if call.request_key and (done := _answer_before(call, intent)) is not None:
                return done
            resource = about(call, arguments) if about else _resource(action, arguments)
            with call.services.gate.open(call.principal, action, resource, reason=call.reason, intent=intent) as entry:
                answer = handler(**arguments | {"call": replace(call, entry=entry)})
                entry.facts["answer"] = _recordable(answer)
            return answer

        return self._route(method, path, action, run)

    def _route(
        self, method: str, path: str, action: Action | None, run: Callable[[Handler, dict[str, Any]], Any]
    ) -> Callable[[Handler], Handler]:
        self.actions[method, PREFIX + path] = action

        def declare(handler: Handler) -> Handler:
            @wraps(handler)
            def endpoint(**arguments: Any) -> Any:
                return run(handler, arguments)

            endpoint.__signature__ = inspect.signature(handler)  # type: ignore[attr-defined]
            self.router.add_api_route(
                path, endpoint, methods=[method], openapi_extra={"x-action": action}, summary=_first_line(handler)
            )
            return handler

        return declare


def _first_line(handler: Handler) -> str:
    return (handler.__doc__ or "").partition("\n")[0]


def _resource(action: Action, arguments: dict[str, Any]) -> Resource:
    """What the route acts on: the kind is the part of the action before the colon, the name is the path's."""
    return Resource(action.partition(":")[0], str(arguments.get("name", "")))


def _intent_of(call: Call) -> str:
    """A new id, or the one that this caller's Idempotency-Key always gives."""
    if not call.request_key:
        return new_id("int")
    seed = f"{call.principal.id}\n{call.request_key}".encode()
    return "int_" + hashlib.sha256(seed).hexdigest()[:32]


def _answer_before(call: Call, intent: str) -> Any:
    """What the same request was answered, from the record; None when it is new."""
    outcome = call.services.log.outcome_of(intent)
    if outcome is None:
        return None
    if "answer" not in outcome.facts:
        raise ConflictError(
            "This request has failed or still runs; send it with a new Idempotency-Key.", code="repeated"
        )
    return outcome.facts["answer"]


def _recordable(answer: Any) -> Any:
    """An answer as the log may hold it: no secret, findings by their ids."""
    if not isinstance(answer, dict):
        return None
    kept = {key: value for key, value in answer.items() if key != "key"}
    if "findings" in kept:
        kept["findings"] = [{"id": finding["id"], "severity": finding["severity"]} for finding in kept["findings"][:20]]
    return kept
