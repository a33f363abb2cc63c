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
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Any

import msgspec
from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from casemate.console.callers import LOCAL_OWNER, Call, Caller, Stranger, recordable, refusal_of, refused
from casemate.console.described import described, first_line
from casemate.console.named import named_in, pinned
from casemate.console.places import Long
from casemate.console.record import recordable_answer
from casemate.console.uploads import BodyReader
from casemate.core import (
    Action,
    AssetKind,
    AuthError,
    CasemateError,
    ConflictError,
    Event,
    LimitError,
    Resource,
    digest_of,
    new_id,
)

PREFIX = "/api/v1"

_NAME = 80  # characters of a name that are recorded; valid ones have 63 at most
_BOUND = 1 << 20  # bytes of a body that an Idempotency-Key is bound to: all of a script, the start of a model
_NO_PINS: Mapping[str, AssetKind] = {}

Handler = Callable[..., Any]
About = Callable[[Call, dict[str, Any]], Resource]  # the call and the route's arguments -> what is acted on


@dataclass(frozen=True, slots=True, kw_only=True)
class Also:
    """A second question for the gate. `about`: None where this request names no such thing."""

    action: Action
    about: Callable[[Call, dict[str, Any]], Resource | None]


def _placed(kind: Long) -> Callable[..., AsyncIterator[None]]:
    """A place among the long acts of this kind, for whoever has a key. Raises: LimitError `too-busy`."""

    async def placed(request: Request, call: Caller) -> AsyncIterator[None]:
        with request.app.state.places[kind].take(call.principal.id, owner=LOCAL_OWNER in request.scope):
            yield

    return placed


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
        self.also: dict[tuple[str, str], tuple[Action, ...]] = {}

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
                raise refused(stranger.request, error, stranger.visitor) from error
            except LimitError as error:
                stranger = arguments["stranger"]
                refusal = refusal_of(stranger.request, error, "sign-in", stranger.visitor.address)
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
            call.check_parameters()
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
        also: Also | tuple[Also, ...] = (),
        pins: Mapping[str, AssetKind] = _NO_PINS,
        long: Long | None = None,
        urgent: bool = False,
        media: str = "",
    ) -> Callable[[Handler], Handler]:
        """A route that changes something, once for each Idempotency-Key; or one whose outcome must be on record before it answers.

        Args: about: what the gate must know first. pins: arguments that name versions: the gate and the handler get the
            same ones. urgent: has threads that no other act takes: it ends what does harm. media: as for `read`; such an answer is
            never given again.
        """
        others = also if isinstance(also, tuple) else (also,)
        if others:
            self.also[method, PREFIX + path] = tuple(one.action for one in others)

        def run(handler: Handler, arguments: dict[str, Any]) -> Any:
            call: Call = arguments["call"]
            intent = _intent_of(call)
            if call.request_key and (before := call.services.log.outcome_of(intent)) is not None:
                return _answer_again(call, action, arguments, about, others, before)
            arguments = pinned(call.services, arguments, pins)
            resource = _asked(call, action, arguments, about)
            asked = (
                others
                and call.services.authorizer.decide(call.principal, action, resource, address=call.address).allowed
            )
            if asked:
                _ask_also(call, others, arguments)  # whoever may not do it at all is refused that, below
            noted = named_in(call.services, action, arguments)
            with call.open(action, resource, intent=intent, noted=noted) as entry:
                if not asked:  # who may do it since a moment ago is asked the rest, too
                    _ask_also(call, others, arguments)
                call.check_parameters()
                if call.request_key:
                    entry.facts["request"] = _bound(call, arguments)
                    entry.facts["decided"] = msgspec.to_builtins(resource)
                answer = handler(**arguments | {"call": replace(call, entry=entry)})
                entry.facts["answer"] = recordable_answer(answer)
            return answer

        return self._route(method, path, action, run, about, long=long, urgent=urgent, media=media)

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
    return msgspec.structs.replace(resource, name=recordable(resource.name)[:_NAME])


def _ask_also(call: Call, also: tuple[Also, ...], arguments: dict[str, Any]) -> None:
    """Raises: PolicyError, recorded."""
    for one in also:
        if (resource := one.about(call, arguments)) is not None:
            call.read(one.action, resource, reason=call.reason)


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
    call: Call, action: Action, arguments: dict[str, Any], about: About | None, also: tuple[Also, ...], before: Event
) -> dict[str, Any]:
    """What the same request was answered, from the record, to who may still ask for it.

    Raises: PolicyError, recorded; ConflictError `repeated`: it failed or still runs; `key-reused`: it was another one.
    """
    bound = before.facts.get("request")
    same = isinstance(bound, list) and bound[0] == call.request
    # What it was about may be gone, or changed by it.
    decided = msgspec.convert(before.facts["decided"], Resource) if same else _asked(call, action, arguments, about)
    call.read(action, decided, reason=call.reason)
    _ask_also(call, also, arguments)
    if bound is not None and not (same and bound == _bound(call, arguments)):
        raise ConflictError(
            "This Idempotency-Key came with another request before: send this one with a key of its own.",
            code="key-reused",
        )
    unkept = isinstance(arguments.get("body"), BaseModel)  # nothing of such a body is on record: it may hold secrets
    if before.facts.get("answer") is None or unkept:
        raise ConflictError(
            "This request has failed, still runs, or was answered what is told once; send it with a new Idempotency-Key.",
            code="repeated",
        )
    answer: dict[str, Any] = before.facts["answer"]
    return answer
