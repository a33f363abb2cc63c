"""Families to statuses, in one place; what failed on our side says nothing about itself."""

from __future__ import annotations

import json
import uuid

import pytest

from casemate.core import (
    AuthError,
    CasemateError,
    ConflictError,
    Environment,
    InputError,
    LimitError,
    NotFoundError,
    PolicyError,
    Profile,
    SandboxError,
    StorageError,
    TooLargeError,
    UpstreamError,
    VerificationError,
)
from casemate.doors.problems import problem_of
from casemate.gateway import RULES, rules_of
from casemate.gateway.evidence import next_event_id
from casemate.gateway.receipts import GUARDS, Receipt

CASES = [
    (InputError("told"), 400, True),
    (NotFoundError("told"), 404, True),
    (ConflictError("told"), 409, True),
    (TooLargeError("told"), 413, True),
    (AuthError("told"), 401, True),
    (PolicyError("told"), 403, True),
    (LimitError("told", retry_after=1, code="rate-limited"), 429, True),
    (LimitError("told", retry_after=1, code="too-many-requests"), 429, True),
    (LimitError("told", retry_after=1, code="worker-restarting"), 503, True),
    (StorageError("hidden"), 503, False),
    (SandboxError("hidden"), 503, False),
    (UpstreamError("hidden"), 503, False),
    (SandboxError("hidden", code="wrong-output"), 500, False),
    (VerificationError("hidden"), 500, False),
    (CasemateError("hidden"), 500, False),
    (RuntimeError("hidden"), 500, False),
]


@pytest.mark.parametrize(("error", "status", "told"), CASES, ids=[f"{type(e).__name__}-{s}" for e, s, _ in CASES])
def test_documents(error, status, told):
    problem = problem_of(error, receipt="evt_1")
    document = json.loads(problem.body)
    headers = dict(problem.headers)
    assert problem.status == document["status"] == status
    assert headers[b"content-type"] == b"application/problem+json"
    assert isinstance(document["error"], str)
    assert (document["error"] == "told") is told
    assert b"hidden" not in problem.body
    assert document["instance"] == "urn:casemate:receipt:evt_1"
    assert (b"www-authenticate" in headers) is (status == 401)
    assert (b"retry-after" in headers) is (status in (429, 503))


@pytest.mark.parametrize(("seconds", "shown"), [(0.01, b"1"), (1.2, b"2"), (1e12, b"86400")])
def test_retry_after_is_whole_seconds(seconds, shown):
    assert dict(problem_of(LimitError("x", retry_after=seconds)).headers)[b"retry-after"] == shown


def test_a_receipt_names_every_guard_once_one_had_a_doubt():
    receipt = Receipt()
    assert receipt.summary() == "passed"
    receipt.flag("screen", "area")
    assert receipt.summary() == dict.fromkeys(GUARDS, "passed") | {"screen": "flagged: area"}


def test_strict_is_nowhere_looser_than_standard():
    strict, standard = RULES[Profile.STRICT], RULES[Profile.STANDARD]
    for number in ("max_body", "max_rows", "max_in_flight", "infer_seconds"):
        assert getattr(strict, number) <= getattr(standard, number)
    assert strict.key_rate.per_second <= standard.key_rate.per_second
    assert strict.commit_before_answer
    assert strict.refuse_outside_range


def test_open_is_for_dev_only():
    assert rules_of(Profile.OPEN, Environment.DEV)
    for environment in (Environment.STAGING, Environment.PRODUCTION):
        with pytest.raises(StorageError, match="dev only"):
            rules_of(Profile.OPEN, environment)


def test_event_ids_are_uuid7_and_differ():
    ids = [next_event_id() for _ in range(5000)]
    assert len(set(ids)) == 5000
    for text in ids[:100]:
        parsed = uuid.UUID(text.removeprefix("evt_"))
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert text == f"evt_{parsed.hex}"
