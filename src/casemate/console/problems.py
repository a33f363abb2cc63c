"""Errors as RFC 9457 problem documents. The only place on the control plane that maps families to HTTP statuses."""

import logging
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from casemate.core import (
    AuthError,
    CasemateError,
    ConflictError,
    InputError,
    LimitError,
    NotFoundError,
    PolicyError,
    SandboxError,
    StorageError,
    TooLargeError,
    VerificationError,
)

_log = logging.getLogger("casemate.console")

_STATUS: tuple[tuple[type[CasemateError], int], ...] = (  # the first that fits
    (TooLargeError, 413),
    (NotFoundError, 404),
    (ConflictError, 409),
    (InputError, 400),
    (AuthError, 401),
    (PolicyError, 403),
    (LimitError, 429),
    (VerificationError, 409),
    (SandboxError, 503),
    (StorageError, 503),
)
_OURS = "Casemate could not do this; see the server's log."


@dataclass(frozen=True, slots=True)
class Problem:
    status: int
    document: dict[str, Any]
    headers: dict[str, str]


def problem_of(error: Exception) -> Problem:
    """The document for `error`. What is not ours is logged, and shown without detail."""
    if not isinstance(error, CasemateError):
        _log.error("unexpected", exc_info=error)
        error = CasemateError(_OURS)
    status = next((status for family, status in _STATUS if isinstance(error, family)), 500)
    if error.code == "method-not-allowed":
        status = 405
    document = {
        "type": f"https://casemate.dev/problems/{error.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.message,
        "code": error.code,
        "family": type(error).__name__,
        "error": error.message,
    }
    headers = {"WWW-Authenticate": 'Bearer realm="casemate"'} if status == 401 else {}
    if isinstance(error, LimitError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return Problem(status, document, headers)
