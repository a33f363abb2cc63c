"""Errors as callers see them: RFC 9457 problem documents that also carry `error`, which tritonclient reads.

The only place that maps families of errors to HTTP statuses, for both planes. On the data plane, what is not ours or
says that our own side failed is shown without detail; the control plane words its own documents (`console.problems`).
"""

from __future__ import annotations

import math
from http import HTTPStatus

import msgspec
import orjson

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
    UpstreamError,
    without_secrets,
)

TYPE_PREFIX = "https://casemate.dev/problems/"
# What is the caller's own doing: 429. Any other limit is ours: 503.
RATE_CODES = frozenset({"rate-limited", "address-limited", "too-many-requests", "sign-in-delayed", "sign-in-busy"})

_STATUS: tuple[tuple[type[CasemateError], int], ...] = (  # the first that fits
    (TooLargeError, 413),
    (NotFoundError, 404),
    (ConflictError, 409),
    (InputError, 400),
    (AuthError, 401),
    (PolicyError, 403),
    (LimitError, 503),
    (SandboxError, 503),  # a worker that fell is replaced
    (StorageError, 503),
    (UpstreamError, 503),
)
_STATUS_BY_CODE = {
    "method-not-allowed": 405,
    "request-timeout": 408,
    "headers-too-large": 431,
    "model-failed": 400,  # the model raised on this input, and would again
    "wrong-output": 500,  # a defect of the model: coming back does not help
}
RETRY_SECONDS = 5  # what a failure of ours advises when it knows nothing better
_OURS = "Casemate could not serve this request; nothing was changed. Try again later, or ask the operator for the log."

Headers = list[tuple[bytes, bytes]]


class Problem(msgspec.Struct, frozen=True):
    """A refusal, ready to be sent."""

    status: int
    code: str
    body: bytes
    headers: Headers


def status_of(error: BaseException) -> int:
    """The HTTP status by family; 500 for what has none."""
    if not isinstance(error, CasemateError):
        return 500
    if error.code in RATE_CODES:
        return 429
    for family, status in _STATUS:
        if isinstance(error, family):
            return _STATUS_BY_CODE.get(error.code, status)
    return 500


def problem_of(error: BaseException, *, receipt: str = "") -> Problem:
    """The document for `error`. Server-side failures keep their code and lose their text."""
    status = status_of(error)
    code = error.code if isinstance(error, CasemateError) else "internal"
    told = isinstance(error, CasemateError) and (status < 500 or isinstance(error, LimitError))
    shown = without_secrets(error.message) if isinstance(error, CasemateError) and told else _OURS
    headers: Headers = [(b"content-type", b"application/problem+json")]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="casemate", error="invalid_token"'))
    if isinstance(error, LimitError):
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(min(error.retry_after, 86400)))))
    elif status == 503:
        headers.append((b"retry-after", b"%d" % RETRY_SECONDS))
    document = {
        "type": TYPE_PREFIX + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": shown,
        "code": code,
        "error": shown,
    }
    if receipt:
        document["instance"] = f"urn:casemate:receipt:{receipt}"
    return Problem(status, code, orjson.dumps(document), headers)
