"""One table of statuses serves both planes; what the control plane says otherwise is stated here."""

from __future__ import annotations

import pytest

from casemate.console.problems import problem_of
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

CASES = [
    (InputError("told"), 400),
    (InputError("told", code="method-not-allowed"), 405),
    (NotFoundError("told"), 404),
    (ConflictError("told"), 409),
    (TooLargeError("told"), 413),
    (AuthError("told"), 401),
    (PolicyError("told"), 403),
    (LimitError("told", retry_after=1, code="address-limited"), 429),
    (LimitError("told", retry_after=1, code="too-many-requests"), 429),
    (LimitError("told", retry_after=1, code="too-busy"), 503),
    (VerificationError("told"), 409),
    (SandboxError("told"), 503),
    (StorageError("told"), 503),
    (CasemateError("told"), 500),
]


@pytest.mark.parametrize(("error", "status"), CASES, ids=[f"{type(e).__name__}-{s}" for e, s in CASES])
def test_who_acts_on_the_control_plane_is_told_all(error: CasemateError, status: int) -> None:
    problem = problem_of(error)
    assert problem.status == problem.document["status"] == status
    assert problem.document["detail"] == problem.document["error"] == "told"
    assert problem.document["family"] == type(error).__name__
    assert ("Retry-After" in problem.headers) is isinstance(error, LimitError)
    assert ("WWW-Authenticate" in problem.headers) is (status == 401)


def test_what_is_not_ours_says_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    problem = problem_of(RuntimeError("hidden"))
    assert (problem.status, problem.document["code"]) == (500, "internal")
    assert "hidden" not in str(problem.document)
    assert "hidden" in caplog.text
