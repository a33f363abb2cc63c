"""The control plane as an ASGI application: routes behind the door, problems as documents, OpenAPI for all."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from casemate import __version__
from casemate.console import asset_routes, audit_routes, deployment_routes, key_routes
from casemate.console.door import Door
from casemate.console.problems import problem_of
from casemate.console.services import Services
from casemate.core import CasemateError, InputError, NotFoundError

_DESCRIPTION = "Every route under /api/v1 but health needs a key (Authorization: Bearer) and declares its `x-action`."


def build_door() -> Door:
    """All routes."""
    door = Door()
    for rooms in (asset_routes, deployment_routes, key_routes, audit_routes):
        rooms.declare(door)
    return door


def build_console(services: Services) -> FastAPI:
    """The application over these services."""
    app = FastAPI(
        title="Casemate control plane",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.services = services
    app.include_router(build_door().router)
    app.add_exception_handler(CasemateError, _told)
    app.add_exception_handler(RequestValidationError, _misfit)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _told)
    return app


def _told(_: Request, error: Exception) -> JSONResponse:
    problem = problem_of(error)
    return JSONResponse(problem.document, problem.status, problem.headers, "application/problem+json")


def _misfit(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return _told(request, InputError(f"{place or 'The request'}: {first['msg']}.", code="bad-request"))


def _no_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        answer = _told(request, InputError("This path takes other methods.", code="method-not-allowed"))
        answer.headers.update(error.headers or {})
        return answer
    return _told(request, NotFoundError("There is no such route: see /api/openapi.json.", code="no-route"))
