"""Who calls: found before a route runs, counted and put on record where refused; and a stranger, where nobody is needed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import msgspec
from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Header, Query, Request
from fastapi.dependencies.models import Dependant

from casemate.console.bounds import DecisionRefusals
from casemate.console.problems import problem_of
from casemate.console.services import Services
from casemate.console.visitors import LOCAL_ADDRESS, credential_of, csrf_of, visitor_of
from casemate.core import (
    Action,
    AuthError,
    CasemateError,
    InputError,
    LimitError,
    Principal,
    Resource,
    digest_of,
    prefix_of,
    without_secrets,
)
from casemate.doors import Refusal, network_of
from casemate.iam import Decision, Entry, Visitor

LOCAL_OWNER = "casemate.local_owner"  # in the ASGI scope: the Principal whose user id the socket's peer has

Noted = Mapping[str, str | int]  # what the record says besides, which decides nothing
_NOTHING: Noted = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One authenticated request. `entry` is the gate's; only a change has one."""

    services: Services
    principal: Principal
    reason: str
    request_key: str
    request: str  # the method, path and query, digested
    visitor: Visitor
    refusals: DecisionRefusals
    urgent: CapacityLimiter  # threads for acts that wait for no others
    csrf: str = ""  # of the session's cookie, where it came as one
    unasked: str = ""  # a query parameter that the route does not take
    entry: Entry | None = None

    @property
    def by_cookie(self) -> bool:
        return bool(self.csrf)

    @property
    def address(self) -> str:
        return self.visitor.address

    @property
    def origin(self) -> dict[str, str]:
        """Where it came from, for the record."""
        return {"address": self.address, "network": prefix_of(self.address), "client": self.visitor.client}

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

    @property
    def decided(self) -> Resource:
        """What the gate decided on, to the last attribute."""
        assert self.entry is not None, "only a change has what it decided on"
        return self.entry.resource

    def note(self, name: str, value: str | int) -> None:
        """Have the record say it of this change, however that ends."""
        assert self.entry is not None, "only a change has facts of its own"
        self.entry.facts[name] = value

    def check_parameters(self) -> None:
        """Return if the route takes each query parameter: one that is misspelt would leave a key as wide as can be.

        Raises: InputError `unknown-parameter`.
        """
        if self.unasked:
            raise InputError(
                f"This route takes no query parameter {without_secrets(self.unasked)[:40]!r}: see /api/openapi.json.",
                code="unknown-parameter",
            )

    def read(self, action: Action, resource: Resource, noted: Noted = _NOTHING, *, reason: str = "") -> None:
        """Put a question to the gate that changes nothing. `noted`: for the record. Raises: PolicyError; on record
        either way."""
        self.services.gate.read(
            self.principal,
            action,
            resource,
            reason=reason,
            noted=noted,
            counted=self._counting(action, resource),
            **self.origin,
        )

    def open(
        self, action: Action, resource: Resource, *, intent: str, noted: Noted = _NOTHING
    ) -> AbstractContextManager[Entry]:
        """What runs in this context stands between an intent and its outcome. Raises: PolicyError, on record."""
        return self.services.gate.open(
            self.principal,
            action,
            resource,
            reason=self.reason,
            intent=intent,
            noted=noted,
            counted=self._counting(action, resource),
            **self.origin,
        )

    def _counting(self, action: Action, resource: Resource) -> Callable[[], bool]:
        return lambda: self.refusals.is_counted(self.principal, action, resource, self.address)


async def authenticated(
    request: Request,
    authorization: Annotated[str, Header()] = "",
    idempotency_key: Annotated[str, Header(max_length=200)] = "",
    reason: Annotated[str, Query(max_length=500)] = "",
) -> Call:
    """Who calls, found in threads that no act takes. Raises: as `_authenticate`; InputError `bad-framing`."""
    if len(request.headers.getlist("authorization")) > 1:  # whatever stands before us may have looked at the other one
        raise InputError("Two Authorization headers came: send one.", code="bad-framing")
    find = partial(_authenticate, request, authorization, idempotency_key, reason)
    return await to_thread.run_sync(find, limiter=request.app.state.doorways[LOCAL_OWNER in request.scope])


Caller = Annotated[Call, Depends(authenticated)]


def _authenticate(request: Request, authorization: str, idempotency_key: str, reason: str) -> Call:
    """Who calls. Raises: AuthError; LimitError: refused too often, or asked too often. All are on record.

    The home's owner, on the home's own socket, may ask as often as they like: the disk is theirs.
    """
    services: Services = request.app.state.services
    visitor = visitor_of(request)
    try:
        owner: Principal | None = request.scope.get(LOCAL_OWNER)
        principal = (
            services.sign_in.with_freshness(owner)
            if owner
            else services.authenticate(credential_of(request, authorization))
        )
    except AuthError as error:
        raise refused(request, error, visitor) from error
    if LOCAL_OWNER not in request.scope:
        _count_request(request, principal, visitor.address)
    asked = msgspec.json.encode([request.method, request.url.path, sorted(request.query_params.multi_items())])
    return Call(
        services=services,
        principal=principal,
        reason=recordable(without_secrets(reason)),  # it goes into the signed state as well as into the log
        request_key=idempotency_key,
        request=digest_of(asked),
        visitor=visitor,
        csrf=csrf_of(request) if not owner and not authorization else "",
        unasked=min(set(request.query_params) - set(_parameters(request.scope["route"].dependant)), default=""),
        refusals=request.app.state.decision_refusals,
        urgent=request.app.state.urgent[LOCAL_OWNER in request.scope],
    )


def _parameters(dependant: Dependant) -> Iterator[str]:
    """The query parameters of a route, and of all that it depends on."""
    yield from (one.alias for one in dependant.query_params)
    for below in dependant.dependencies:
        yield from _parameters(below)


def refused(request: Request, error: AuthError, visitor: Visitor) -> CasemateError:
    """What a refused credential is told: why, or that its address was refused too often. Either is counted."""
    told: CasemateError = error
    try:
        request.app.state.refusals.count(visitor.address)
    except LimitError as limited:
        told = limited
    refusal = refusal_of(request, told, "authenticate", visitor.address)
    credential = str(error.details.get("credential", ""))
    request.app.state.recorder.count_refusal(msgspec.structs.replace(refusal, credential=credential), visitor.client)
    return told


def _count_request(request: Request, principal: Principal, address: str) -> None:
    try:
        request.app.state.requests.count(principal, address)
    except LimitError as error:
        refusal = refusal_of(request, error, "limit", address)
        request.app.state.recorder.count_refusal(
            msgspec.structs.replace(refusal, actor=principal.id, credential=principal.credential)
        )
        raise


def refusal_of(request: Request, told: CasemateError, guard: str, address: str) -> Refusal:
    return Refusal(
        code=told.code,
        status=problem_of(told).status,
        guard=guard,
        action=str((request.scope["route"].openapi_extra or {}).get("x-action") or ""),
        address=network_of(address),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """Who calls a route that needs nobody: all that is known is from where."""

    services: Services
    visitor: Visitor
    request: Request
    threads: CapacityLimiter  # that strangers alone take: a flood of them keeps nobody else waiting


async def _stranger(request: Request) -> Stranger:
    """Raises: LimitError `address-limited`: too many attempts from one address, whatever they were."""
    visitor = visitor_of(request)
    if visitor.address != LOCAL_ADDRESS:
        try:
            request.app.state.attempts.count(visitor.address)
        except LimitError as error:
            request.app.state.recorder.count_refusal(refusal_of(request, error, "limit", visitor.address))
            raise
    threads = request.app.state.strangers[LOCAL_OWNER in request.scope]
    return Stranger(services=request.app.state.services, visitor=visitor, request=request, threads=threads)


Anybody = Annotated[Stranger, Depends(_stranger)]


def recordable(text: str) -> str:
    """What a column of text takes; PostgreSQL's takes no NUL, and a decision that cannot be recorded is none."""
    return text.replace("\0", "\ufffd")
