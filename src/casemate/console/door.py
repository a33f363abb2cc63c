"""The one way in: every route declares its Action, and runs inside `iam.gate` or not at all.

    door = Door()

    @door.change("PUT", "/deployments/{name}", Action.DEPLOYMENT_DEPLOY)
    def deploy(call: Call, name: str, model: str) -> dict[str, Any]: ...

`read` asks the gate and records the decision; `change` commits an intent, runs the handler, and commits its outcome
before the answer leaves. `public` is for the few routes that need nobody: health.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response

from casemate.console.services import Services
from casemate.core import Action, AuthError, Principal, Resource
from casemate.iam import Entry

PREFIX = "/api/v1"
LOCAL_OWNER = "casemate.local_owner"  # in the ASGI scope: the Principal whose user id the socket's peer has

Handler = Callable[..., Any]


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

    def note(self, **facts: Any) -> None:
        """Add facts to the outcome that will be recorded."""
        assert self.entry is not None, "only a change has an outcome"
        self.entry.facts.update(facts)


def authenticated(
    request: Request,
    authorization: Annotated[str | None, Header()] = None,
    idempotency_key: Annotated[str, Header(max_length=200)] = "",
    reason: str = "",
) -> Call:
    """Who calls. Raises: AuthError."""
    services: Services = request.app.state.services
    principal = request.scope.get(LOCAL_OWNER) or services.authenticate(_bearer(authorization))
    return Call(services=services, principal=principal, reason=reason[:500], request_key=idempotency_key)


def _bearer(header: str | None) -> str:
    scheme, _, token = (header or "").partition(" ")
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
        return self._route("GET", path, None, _plain)

    def read(self, path: str, action: Action, *, kind: str = "") -> Callable[[Handler], Handler]:
        """A GET that changes nothing. `kind`: of the resource, where it is not the part before the action's colon."""

        def run(handler: Handler, call: Call, arguments: dict[str, Any]) -> Any:
            call.services.gate.read(call.principal, action, _resource(action, kind, call, arguments))
            return handler(call=call, **arguments)

        return self._route("GET", path, action, run)

    def change(self, method: str, path: str, action: Action, *, status: int = 200) -> Callable[[Handler], Handler]:
        """A route that changes something."""

        def run(handler: Handler, call: Call, arguments: dict[str, Any]) -> Any:
            resource = _resource(action, "", call, arguments)
            with call.services.once(call, action, resource) as (entry, kept):
                if kept is not None:
                    return kept
                answer = handler(call=replace(call, entry=entry), **arguments)
                return answer

        return self._route(method, path, action, run, status=status)

    def _route(
        self,
        method: str,
        path: str,
        action: Action | None,
        run: Callable[[Handler, Call, dict[str, Any]], Any],
        *,
        status: int = 200,
    ) -> Callable[[Handler], Handler]:
        self.actions[method, PREFIX + path] = action

        def declare(handler: Handler) -> Handler:
            @wraps(handler)
            def endpoint(**arguments: Any) -> Any:
                return run(handler, arguments.pop("call", None), arguments)

            endpoint.__signature__ = inspect.signature(handler)  # type: ignore[attr-defined]
            summary = (handler.__doc__ or "").partition("\n")[0]
            self.router.add_api_route(path, endpoint, methods=[method], status_code=status, summary=summary)
            return handler

        return declare


Caller = Annotated[Call, Depends(authenticated)]
