"""The control plane as an ASGI application: routes behind the door, problems as documents, OpenAPI for all."""

from anyio import CapacityLimiter
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from casemate import __version__
from casemate.console import (
    access_routes,
    approval_routes,
    asset_routes,
    audit_routes,
    card_routes,
    command_routes,
    conversion_routes,
    dataset_routes,
    deployment_routes,
    evaluation_routes,
    grant_routes,
    issuer_routes,
    key_routes,
    keyring_routes,
    passkey_routes,
    people_routes,
    personal_routes,
    policy_routes,
    prediction_routes,
    provider_routes,
    retention_routes,
    review_routes,
    screening_routes,
    session_routes,
    signer_routes,
    training_routes,
)
from casemate.console.bounds import DecisionRefusals, RequestLimit
from casemate.console.described import describe
from casemate.console.door import Door
from casemate.console.pages import build_pages
from casemate.console.places import Long, Places
from casemate.console.problems import problem_of
from casemate.console.services import Services
from casemate.console.unkept import UNKEPT, Unkept
from casemate.core import CasemateError, InputError, NotFoundError
from casemate.doors import Rate, Recorder, RefusalLimit

_URGENT = 8  # threads for acts that end what does harm, beside the 40 for all others
_DOORWAY = 8  # threads that find out who calls
_STRANGERS = 8  # threads for sign-ins and enrolments; two hash a password at once, the others wait for that
_DESCRIPTION = (
    "Every route under /api/v1 but health, sign-in and enrolment needs a key or a session (Authorization: Bearer) and "
    "declares its `x-action`."
)
ATTEMPT_RATE = Rate(per_second=1, burst=20)  # sign-ins and enrolments from one address; people need a few a day


def build_door() -> Door:
    """All routes."""
    door = Door()
    for rooms in (
        asset_routes, training_routes, conversion_routes, card_routes, evaluation_routes, dataset_routes, personal_routes, retention_routes, screening_routes, approval_routes, deployment_routes, key_routes, grant_routes, issuer_routes,
        keyring_routes, people_routes,
        session_routes, command_routes, passkey_routes, provider_routes, access_routes, review_routes, audit_routes, policy_routes,
        prediction_routes, signer_routes,
    ):  # fmt: skip
        rooms.declare(door)
    return door


def build_console(services: Services, recorder: Recorder) -> FastAPI:
    """The application over these services. Args: recorder: of refusals that are counted; the caller closes it."""
    app = FastAPI(
        title="Casemate control plane",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name the host that the client did
    )
    app.state.services = services
    app.state.recorder, app.state.refusals = recorder, RefusalLimit()
    app.state.attempts = RefusalLimit(ATTEMPT_RATE)
    app.state.requests, app.state.decision_refusals = RequestLimit(), DecisionRefusals(recorder)
    # Who is on the home's own socket has threads apart from all keys together.
    app.state.doorways = {owner: CapacityLimiter(_DOORWAY) for owner in (True, False)}
    app.state.strangers = {owner: CapacityLimiter(_STRANGERS) for owner in (True, False)}
    app.state.urgent = {owner: CapacityLimiter(_URGENT) for owner in (True, False)}
    app.state.places = {kind: Places(kind) for kind in Long}
    app.include_router(build_door().router)
    app.include_router(build_pages().router)
    describe(app)
    app.add_middleware(Unkept)
    app.add_exception_handler(CasemateError, _told)
    app.add_exception_handler(RequestValidationError, _misfit)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _told)
    return app


async def _told(_: Request, error: Exception) -> JSONResponse:
    problem = problem_of(error)  # of an unexpected one, no middleware sees the answer
    return JSONResponse(problem.document, problem.status, {**UNKEPT, **problem.headers}, "application/problem+json")


async def _misfit(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return await _told(request, InputError(f"{place or 'The request'}: {first['msg']}.", code="bad-request"))


async def _no_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 400:
        return await _told(request, InputError("The body is no JSON that can be read.", code="bad-body"))
    if error.status_code == 405:
        answer = await _told(request, InputError("This path takes other methods.", code="method-not-allowed"))
        answer.headers.update(error.headers or {})
        return answer
    return await _told(request, NotFoundError("There is no such route: see /api/openapi.json.", code="no-route"))
