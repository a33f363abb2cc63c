"""The one way in: every route declares its Action, and runs inside `iam.gate` or not at all.

    door = Door()

    @door.change("PUT", "/deployments/{name}", Action.DEPLOYMENT_DEPLOY)
    def deploy(call: Caller, name: str, model: str) -> dict[str, Any]: ...

`read` asks the gate and records the decision; `change` commits an intent, runs the handler, and commits its outcome
before the answer leaves. `public` is for the few routes that need nobody. `long` takes one of few `Places` of that kind first,
before anything is on record, and holds it until the last byte of the answer has left. `also` names what a change needs
besides its own action, on other things than its own: the gate is asked about each before anything is done.
"""

import hashlib
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Annotated, Any

import msgspec
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Header, Query, Request

from casemate.console.bounds import DecisionRefusals
from casemate.console.described import described, first_line
from casemate.console.named import named_in
from casemate.console.places import Long
from casemate.console.problems import problem_of
from casemate.console.record import recordable_answer
from casemate.console.services import Services
from casemate.console.uploads import BodyReader
from casemate.console.visitors import LOCAL_ADDRESS, credential_of, csrf_of, visitor_of
from casemate.core import (
    Action,
    AuthError,
    CasemateError,
    ConflictError,
    Event,
    LimitError,
    Principal,
    Resource,
    digest_of,
    new_id,
    prefix_of,
    without_secrets,
)
from casemate.doors import Refusal, network_of
from casemate.iam import Decision, Entry, Visitor

PREFIX = "/api/v1"
LOCAL_OWNER = "casemate.local_owner"  # in the ASGI scope: the Principal whose user id the socket's peer has

_NAME = 80  # characters of a name that are recorded; valid ones have 63 at most
_BOUND = 1 << 20  # bytes of a body that an Idempotency-Key is bound to: all of a script, the start of a model


Noted = Mapping[str, str | int]  # what the record says besides, which decides nothing
_NOTHING: Noted = {}

Handler = Callable[..., Any]
About = Callable[["Call", dict[str, Any]], Resource]  # the call and the route's arguments -> what is acted on


@dataclass(frozen=True, slots=True, kw_only=True)
class Also:
    """A second question for the gate. `about`: None where this request names no such thing."""

    action: Action
    about: Callable[["Call", dict[str, Any]], Resource | None]


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
    """Who calls, found in threads that no act takes. Raises: as `_authenticate`."""
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
        raise _refused(request, error, visitor) from error
    if LOCAL_OWNER not in request.scope:
        _count_request(request, principal, visitor.address)
    asked = msgspec.json.encode([request.method, request.url.path, sorted(request.query_params.multi_items())])
    return Call(
        services=services,
        principal=principal,
        reason=_recordable(without_secrets(reason)),  # it goes into the signed state as well as into the log
        request_key=idempotency_key,
        request=digest_of(asked),
        visitor=visitor,
        csrf=csrf_of(request) if not owner and not authorization else "",
        refusals=request.app.state.decision_refusals,
        urgent=request.app.state.urgent[LOCAL_OWNER in request.scope],
    )


def _refused(request: Request, error: AuthError, visitor: Visitor) -> CasemateError:
    """What a refused credential is told: why, or that its address was refused too often. Either is counted."""
    told: CasemateError = error
    try:
        request.app.state.refusals.count(visitor.address)
    except LimitError as limited:
        told = limited
    refusal = _refusal(request, told, "authenticate", visitor.address)
    credential = str(error.details.get("credential", ""))
    request.app.state.recorder.count_refusal(msgspec.structs.replace(refusal, credential=credential), visitor.client)
    return told


def _count_request(request: Request, principal: Principal, address: str) -> None:
    try:
        request.app.state.requests.count(principal, address)
    except LimitError as error:
        refusal = _refusal(request, error, "limit", address)
        request.app.state.recorder.count_refusal(
            msgspec.structs.replace(refusal, actor=principal.id, credential=principal.credential)
        )
        raise


def _refusal(request: Request, told: CasemateError, guard: str, address: str) -> Refusal:
    return Refusal(
        code=told.code,
        status=problem_of(told).status,
        guard=guard,
        action=str((request.scope["route"].openapi_extra or {}).get("x-action") or ""),
        address=network_of(address),
    )


def _placed(kind: Long) -> Callable[..., AsyncIterator[None]]:
    """A place among the long acts of this kind, for whoever has a key. Raises: LimitError `too-busy`."""

    async def placed(request: Request, call: Caller) -> AsyncIterator[None]:
        with request.app.state.places[kind].take(call.principal.id, owner=LOCAL_OWNER in request.scope):
            yield

    return placed


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
            request.app.state.recorder.count_refusal(_refusal(request, error, "limit", visitor.address))
            raise
    threads = request.app.state.strangers[LOCAL_OWNER in request.scope]
    return Stranger(services=request.app.state.services, visitor=visitor, request=request, threads=threads)


Anybody = Annotated[Stranger, Depends(_stranger)]


class UndecidedError(Exception):
    """What an `about` raises where it cannot look: the gate decides on `resource`, on record, then `error` is told.

    An `about` records nothing itself: it is also asked on behalf of others, to explain what the gate would decide.
    """

    def __init__(self, resource: Resource, error: CasemateError) -> None:
        super().__init__(error.message)
        self.resource, self.error = resource, error


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a route asks the gate: `about` makes the resource from the route's arguments, which its handler names."""

    path: str
    about: About
    handler: Handler


class Door:
    """Collects the routes of the control plane, each with its Action."""

    def __init__(self) -> None:
        self.router = APIRouter(prefix=PREFIX)
        self.actions: dict[tuple[str, str], Action | None] = {}
        self.questions: dict[Action, list[Question]] = {}
        self.also: dict[tuple[str, str], Action] = {}

    def public(
        self, path: str, method: str = "GET", *, inline: bool = False, media: str = ""
    ) -> Callable[[Handler], Handler]:
        """A route that needs nobody. Whom it refuses is counted and on record as anywhere.

        Args: inline: it needs no thread either, since its handler answers at once. media: as for `read`.
        """

        def run(handler: Handler, arguments: dict[str, Any]) -> Any:
            try:
                return handler(**arguments)
            except AuthError as error:
                stranger: Stranger = arguments["stranger"]
                raise _refused(stranger.request, error, stranger.visitor) from error
            except LimitError as error:
                stranger = arguments["stranger"]
                refusal = _refusal(stranger.request, error, "sign-in", stranger.visitor.address)
                stranger.request.app.state.recorder.count_refusal(refusal, stranger.visitor.client)
                raise

        return self._route(method, path, None, run, inline=inline, media=media)

    def read(
        self, path: str, action: Action, *, about: About | None = None, long: Long | None = None, media: str = ""
    ) -> Callable[[Handler], Handler]:
        """A GET that changes nothing; that it was allowed is on record before it answers.

        Args: about: as for a change. media: the type of its answer, where that is no JSON.
        """

        def run(handler: Handler, arguments: dict[str, Any]) -> Any:
            call: Call = arguments["call"]
            noted = named_in(call.services, action, arguments)
            call.read(action, _asked(call, action, arguments, about), noted, reason=call.reason)
            if "digest" in noted and "version" in arguments:
                arguments = arguments | {"version": str(noted["version"])}  # the very one that is on record
            if "to_digest" in noted:
                arguments = arguments | {"to": str(noted["to"])}
            return handler(**arguments)

        return self._route("GET", path, action, run, about, long=long, media=media)

    def change(
        self,
        method: str,
        path: str,
        action: Action,
        *,
        about: About | None = None,
        also: Also | None = None,
        long: Long | None = None,
        urgent: bool = False,
    ) -> Callable[[Handler], Handler]:
        """A route that changes something, once for each Idempotency-Key.

        Args: about: what the gate must know first. urgent: has threads that no other act takes: it ends what does harm.
        """
        if also:
            self.also[method, PREFIX + path] = also.action

        def run(handler: Handler, arguments: dict[str, Any]) -> Any:
            call: Call = arguments["call"]
            intent = _intent_of(call)
            if call.request_key and (before := call.services.log.outcome_of(intent)) is not None:
                return _answer_again(call, action, arguments, about, also, before)
            resource = _asked(call, action, arguments, about)
            if also and call.services.authorizer.decide(call.principal, action, resource, address=call.address).allowed:
                _ask_also(call, also, arguments)  # whoever may not do it at all is refused that, below
            noted = named_in(call.services, action, arguments)
            with call.open(action, resource, intent=intent, noted=noted) as entry:
                if call.request_key:
                    entry.facts["request"] = _bound(call, arguments)
                    entry.facts["decided"] = msgspec.to_builtins(resource)
                answer = handler(**arguments | {"call": replace(call, entry=entry)})
                entry.facts["answer"] = recordable_answer(answer)
            return answer

        return self._route(method, path, action, run, about, long=long, urgent=urgent)

    def _route(
        self,
        method: str,
        path: str,
        action: Action | None,
        run: Callable[[Handler, dict[str, Any]], Any],
        about: About | None = None,
        *,
        long: Long | None = None,
        urgent: bool = False,
        inline: bool = False,
        media: str = "",
    ) -> Callable[[Handler], Handler]:
        self.actions[method, PREFIX + path] = action

        def declare(handler: Handler) -> Handler:
            if action is not None:
                asked = about or (lambda _, arguments: _resource(action, arguments))
                self.questions.setdefault(action, []).append(Question(path=path, about=asked, handler=handler))

            @wraps(handler)
            def endpoint(**arguments: Any) -> Any:
                return run(handler, arguments)

            @wraps(handler)
            async def apart(**arguments: Any) -> Any:
                if inline:
                    return endpoint(**arguments)
                limiter = arguments["call"].urgent if urgent else arguments["stranger"].threads
                return await to_thread.run_sync(partial(endpoint, **arguments), limiter=limiter)

            served: Any = apart if urgent or action is None else endpoint
            served.__signature__ = inspect.signature(handler)
            self.router.add_api_route(
                path,
                served,
                methods=[method],
                summary=first_line(handler),
                dependencies=[Depends(_placed(long))] if long else [],
                **described(handler, media=media, extra={"x-action": action}),
            )
            return handler

        return declare


def _resource(action: Action, arguments: dict[str, Any]) -> Resource:
    """What the route acts on: the kind is the part of the action before the colon, the name is the path's."""
    return Resource(action.partition(":")[0], str(arguments.get("name", "")))


def _asked(call: Call, action: Action, arguments: dict[str, Any], about: About | None) -> Resource:
    """What the gate is asked about, under a name that is no longer than the record, and what is kept, may hold."""
    try:
        resource = about(call, arguments) if about else _resource(action, arguments)
    except UndecidedError as undecided:
        call.read(action, undecided.resource, reason=call.reason)
        raise undecided.error from undecided
    return msgspec.structs.replace(resource, name=_recordable(resource.name)[:_NAME])


def _recordable(text: str) -> str:
    """What a column of text takes; PostgreSQL's takes no NUL, and a decision that cannot be recorded is none."""
    return text.replace("\0", "\ufffd")


def _ask_also(call: Call, also: Also, arguments: dict[str, Any]) -> None:
    """Raises: PolicyError, recorded."""
    if (resource := also.about(call, arguments)) is not None:
        call.read(also.action, resource, reason=call.reason)


def _intent_of(call: Call) -> str:
    """A new id, or the one that this caller's Idempotency-Key always gives."""
    if not call.request_key:
        return new_id("int")
    seed = f"{call.principal.id}\n{call.request_key}".encode()
    return "int_" + hashlib.sha256(seed).hexdigest()[:32]


def _bound(call: Call, arguments: dict[str, Any]) -> list[str]:
    """What an Idempotency-Key stands for: the method, path and query, and the body's first part, which is left in it."""
    body = arguments.get("body")
    return [call.request, digest_of(body.first(_BOUND)) if isinstance(body, BodyReader) else ""]


def _answer_again(
    call: Call, action: Action, arguments: dict[str, Any], about: About | None, also: Also | None, before: Event
) -> dict[str, Any]:
    """What the same request was answered, from the record, to who may still ask for it.

    Raises: PolicyError, recorded; ConflictError `repeated`: it failed or still runs; `key-reused`: it was another one.
    """
    bound = before.facts.get("request")
    same = isinstance(bound, list) and bound[0] == call.request
    # What it was about may be gone, or changed by it.
    decided = msgspec.convert(before.facts["decided"], Resource) if same else _asked(call, action, arguments, about)
    call.read(action, decided, reason=call.reason)
    if also:
        _ask_also(call, also, arguments)
    if bound is not None and not (same and bound == _bound(call, arguments)):
        raise ConflictError(
            "This Idempotency-Key came with another request before: send this one with a key of its own.",
            code="key-reused",
        )
    if "answer" not in before.facts:
        raise ConflictError(
            "This request has failed or still runs; send it with a new Idempotency-Key.", code="repeated"
        )
    answer: dict[str, Any] = before.facts["answer"]
    return answer
