"""Errors as RFC 9457 problem documents; which status each has stands in `doors.problems`, for both planes."""

import logging
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from casemate.core import CasemateError, LimitError, StepUpError, VerificationError, without_secrets
from casemate.doors import TYPE_PREFIX, status_of
from casemate.iam import FRESH, SECOND_FACTOR

_log = logging.getLogger("casemate.console")

_CHALLENGE = 'Bearer realm="casemate"'
_CHALLENGE_STEP_UP = (  # RFC 9470, section 3
    'Bearer realm="casemate", error="insufficient_user_authentication", '
    'error_description="A fresh second factor is required", '
    f'acr_values="{SECOND_FACTOR}", max_age="{int(FRESH.total_seconds())}"'
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
    # A caller of a model cannot mend what does not verify; here it is who asked that can, and is told what it is.
    status = 409 if isinstance(error, VerificationError) else status_of(error)
    shown = without_secrets(error.message)
    document = {
        "type": TYPE_PREFIX + error.code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": shown,
        "code": error.code,
        "family": type(error).__name__,
        "error": shown,
    }
    headers = {"WWW-Authenticate": _CHALLENGE_STEP_UP if isinstance(error, StepUpError) else _CHALLENGE}
    headers = headers if status == 401 else {}
    if isinstance(error, LimitError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return Problem(status, document, headers)
