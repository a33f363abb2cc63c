"""What the OpenAPI document says of every route: its problems, what it answers with, and bodies that are streams."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from fastapi import FastAPI
from pydantic import BaseModel

from casemate.console.uploads import BodyReader

PROBLEM = "application/problem+json"
STREAM = "application/octet-stream"
# As `doors.problems` maps families of errors; 401 and 429 can meet a stranger, too, where a secret stands for a key.
STATUSES = (400, 401, 403, 404, 409, 413, 429, 500, 503)


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable; `detail` is one sentence for a human, and `error` is the same again."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    family: str
    error: str


def described(handler: Callable[..., Any], *, media: str, extra: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's arguments for a route. Args: media: what it answers with, where that is no JSON. extra: of ours."""
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "content": {PROBLEM: {}}, "description": "A problem."} for status in STATUSES
    }
    if media:
        responses[200] = {"content": {media: {"schema": {"type": "string", "format": "binary"}}}}
    if BodyReader in get_type_hints(handler).values():
        extra = extra | {"requestBody": {"content": {STREAM: {"schema": {"type": "string", "format": "binary"}}}}}
    return {"responses": responses, "openapi_extra": extra}


def describe(app: FastAPI) -> None:
    """Let the document tell what is sent: a misfit is a problem with 400, and FastAPI's own 422 never is."""
    whole = app.openapi

    def document() -> dict[str, Any]:
        made = whole()
        for methods in made["paths"].values():
            for operation in methods.values():
                _mend(operation["responses"])
        schemas = made["components"]["schemas"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        return made

    app.openapi = document  # type: ignore[method-assign]


def _mend(responses: dict[str, Any]) -> None:
    responses.pop("422", None)
    for status, answer in responses.items():
        content = answer.get("content", {})
        if status != "200" and "application/json" in content:
            content[PROBLEM] = content.pop("application/json")
        elif status == "200" and len(content) > 1:
            content.pop("application/json", None)


def first_line(handler: Callable[..., Any]) -> str:
    """Of its docstring."""
    return (inspect.getdoc(handler) or "").partition("\n")[0]
