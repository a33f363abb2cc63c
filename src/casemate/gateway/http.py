"""The data plane as a raw ASGI app: routes of the Open Inference Protocol v2, each with the access it demands.

No framework stands here: it would cost more than all guards together (docs/adr). Paths are compared as sent: names
are `[a-z0-9-]`, so a percent sign never matches. What matches no route is 404 and reaches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from enum import StrEnum
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from casemate.core import CLIENT_LENGTH, Action, Clock, InputError, NotFoundError, TensorSpec, client_of
from casemate.doors import CERTIFICATE, Recorder
from casemate.doors.problems import Headers, problem_of
from casemate.gateway.interface import Authenticate, Authorize, Deployments, RateOf, ServedModel
from casemate.gateway.limits import Limits, LimitsConfig
from casemate.gateway.oauth import TokenEndpoint, TokenService
from casemate.gateway.pipeline import Answer, Pipeline
from casemate.gateway.receipts import Receipt
from casemate.gateway.requests import RawRequest

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Access(StrEnum):
    """What a route demands when it is no `Action` on a deployment."""

    PUBLIC = "public"  # no key
    KEY = "key"  # any valid key
    CLIENT = "client"  # a key or binding that gets a token


class Route(msgspec.Struct, frozen=True):
    """One row of the door's table."""

    method: str
    path: str
    access: Access | Action
    name: str


_MODEL = "/v2/models/{name}"
_VERSION = "/v2/models/{name}/versions/{version}"
ROUTES = (
    Route("GET", "/v2/health/live", Access.PUBLIC, "live"),
    Route("GET", "/v2/health/ready", Access.PUBLIC, "ready"),
    Route("GET", "/.well-known/oauth-authorization-server", Access.PUBLIC, "oauth-metadata"),
    Route("GET", "/oauth/jwks.json", Access.PUBLIC, "oauth-keys"),
    Route("POST", "/oauth/token", Access.CLIENT, "oauth-token"),
    Route("GET", "/v2", Access.KEY, "server"),
    *(
        Route(method, path + suffix, Action.DEPLOYMENT_PREDICT, name)  # who may predict may know what to send
        for path in (_MODEL, _VERSION)
        for method, suffix, name in (
            ("GET", "", "model"),
            ("GET", "/ready", "model-ready"),
            ("POST", "/infer", "infer"),
        )
    ),
)
_PARTS = {"{name}": r"([a-z0-9-]{1,63})", "{version}": r"([1-9][0-9]{0,8})"}
_FIXED: Headers = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
_JSON: Headers = [(b"content-type", b"application/json")]


def _pattern(path: str) -> re.Pattern[bytes]:
    path = path.replace(".", r"\.")
    for part, expression in _PARTS.items():
        path = path.replace(part, expression)
    return re.compile(path.encode())


_PATTERNS = tuple((route, _pattern(route.path)) for route in ROUTES)


class Match(msgspec.Struct, frozen=True):
    """A path that is one of ours: its routes by method, and what the path names."""

    routes: dict[str, Route]
    deployment: str = ""
    version: str = ""
    allow: bytes = b""


@lru_cache(maxsize=1024)
def match_path(path: bytes) -> Match | None:
    """The routes at `path`, None when there are none."""
    routes: dict[str, Route] = {}
    groups: tuple[bytes, ...] = ()
    for route, pattern in _PATTERNS:
        found = pattern.fullmatch(path)
        if found:
            routes[route.method] = route
            groups = found.groups()
    if not routes:
        return None
    if "GET" in routes:
        routes["HEAD"] = routes["GET"]
    names = [group.decode() for group in groups] + ["", ""]
    return Match(routes, names[0], names[1], ", ".join(sorted(routes)).encode())


class DataPlane:
    """The app. `ready` says whether the server serves at all; draining turns it off."""

    def __init__(
        self, pipeline: Pipeline, *, is_ready: Callable[[], bool], tokens: TokenEndpoint | None = None
    ) -> None:
        self._pipeline = pipeline
        self._tokens = tokens
        self._is_ready = is_ready
        self.draining = False

    def drain(self) -> None:
        """Say from now on that it is not ready."""
        self.draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = await self._answer(scope, receive)
        headers = [*answer.headers, *_FIXED, (b"content-length", b"%d" % len(answer.body))]
        if answer.receipt:
            headers.append((b"casemate-receipt", answer.receipt.encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        try:
            found = match_path(scope["raw_path"])
            if found is None:
                return _problem(NotFoundError("Nothing is served at this path.", code="no-such-route"))
            route = found.routes.get(scope["method"])
            if route is None:
                wrong = _problem(InputError(f"This path takes {found.allow.decode()} only.", code="method-not-allowed"))
                return msgspec.structs.replace(wrong, headers=[*wrong.headers, (b"allow", found.allow)])
            return await self._route(scope, receive, found, route)
        except Exception as error:  # noqa: BLE001 the last wall: a fault of ours is a problem document too
            return _problem(error)

    async def _route(self, scope: Scope, receive: Receive, found: Match, route: Route) -> Answer:
        if route.name.startswith("oauth-"):
            return await self._oauth(scope, receive, found, route)
        if route.access is Access.PUBLIC:
            return self._health(route)
        raw = _raw_request(scope, receive, found, route)
        if route.name == "infer":
            return await self._pipeline.predict(raw)
        return self._describe(route, raw)

    async def _oauth(self, scope: Scope, receive: Receive, found: Match, route: Route) -> Answer:
        tokens = self._tokens
        if tokens is None:
            return _problem(NotFoundError("Nothing is served at this path.", code="no-such-route"))
        if route.name == "oauth-keys":
            return Answer(200, tokens.keys(), [(b"content-type", b"application/jwk-set+json")])
        if route.name == "oauth-metadata":
            return Answer(200, tokens.metadata(), _JSON)
        kinds = [value for name, value in scope["headers"] if name == b"content-type"]
        raw = _raw_request(scope, receive, found, route)
        return Answer(*await tokens.answer(raw, kinds[0] if len(kinds) == 1 else b""))

    def _health(self, route: Route) -> Answer:
        if route.name == "live":
            return Answer(200, b'{"live":true}', _JSON)
        ready = self._is_ready() and not self.draining
        return Answer(200 if ready else 503, orjson.dumps({"ready": ready}), _JSON)

    def _describe(self, route: Route, raw: RawRequest) -> Answer:
        receipt = Receipt()
        try:
            if route.name == "server":
                self._pipeline.admit_unserved(raw)
                return Answer(200, b'{"name":"casemate","version":"2","extensions":[]}', _JSON)
            admitted = self._pipeline.admit(raw, receipt)
        except Exception as error:  # noqa: BLE001 a guard that errors refuses
            return self._pipeline.refuse(raw, error, receipt)
        headers = _JSON + admitted.allowance.headers()
        if route.name == "model":
            return Answer(200, orjson.dumps(_metadata(admitted.served)), headers)
        ready = admitted.served.ready and not admitted.served.paused
        document = {"name": admitted.served.name, "ready": ready}
        return Answer(200 if ready else 503, orjson.dumps(document), headers)


def _raw_request(scope: Scope, receive: Receive, found: Match, route: Route) -> RawRequest:
    authorization, length, user_agent = b"", None, b""
    for name, value in scope["headers"]:
        if name == b"authorization":
            if authorization:
                raise InputError("Two Authorization headers came: send one.", code="bad-framing")
            authorization = value
        elif name == b"user-agent":
            user_agent = value
        elif name == b"content-length":
            length = value
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise InputError("Compressed bodies are not read: send the JSON as it is.", code="encoding-not-supported")
        elif name == b"inference-header-content-length":
            raise InputError(
                "Binary tensors are not read: send them as JSON (tritonclient: binary_data=False).",
                code="binary-not-supported",
            )
    client = scope.get("client")
    return RawRequest(
        action=route.access if isinstance(route.access, Action) else Action.STATUS_READ,
        deployment=found.deployment,
        version=found.version,
        authorization=authorization.decode("latin-1"),
        address=client[0] if client else "",
        content_length=length,
        client=_client(user_agent),
        receive=receive,
        certificate=scope.get(CERTIFICATE, b""),
    )


@lru_cache(maxsize=1024)
def _client(user_agent: bytes) -> str:
    return client_of(user_agent[:CLIENT_LENGTH].decode("latin-1"))


def _problem(error: Exception) -> Answer:
    problem = problem_of(error)
    return Answer(problem.status, problem.body, problem.headers)


def _metadata(served: ServedModel) -> dict[str, Any]:
    return {
        "name": served.name,
        "versions": [str(served.version)],
        "platform": served.signature.runtime,
        "inputs": [_tensor(spec) for spec in served.signature.inputs],
        "outputs": [_tensor(spec) for spec in served.signature.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    """Feature names help to send the right thing; the training range stays inside: its ends are rows of data."""
    described: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
    return described | ({"parameters": {"features": list(spec.features)}} if spec.features else {})


def build_app(
    *,
    authenticate: Authenticate,
    authorize: Authorize,
    rate_of: RateOf,
    deployments: Deployments,
    recorder: Recorder,
    clock: Clock,
    monotonic: Callable[[], float],
    limits: LimitsConfig | None = None,
    is_ready: Callable[[], bool] = lambda: True,
    tokens: TokenService | None = None,
) -> DataPlane:
    """The data plane's app over the given parts. Takes nothing from globals; starts nothing.

    Args: tokens: None where no access tokens are given out.
    """
    bounds = Limits(limits or LimitsConfig(), monotonic=monotonic)
    pipeline = Pipeline(
        authenticate=authenticate,
        authorize=authorize,
        rate_of=rate_of,
        deployments=deployments,
        limits=bounds,
        recorder=recorder,
        clock=clock,
    )
    endpoint = None
    if tokens is not None:
        endpoint = TokenEndpoint(tokens, limits=bounds, recorder=recorder, rate_of=rate_of, clock=clock)
    return DataPlane(pipeline, is_ready=is_ready, tokens=endpoint)
