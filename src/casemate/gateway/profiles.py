"""The protection profiles: every number that guards a deployment, with its unit and its reason."""

from __future__ import annotations

import msgspec

from casemate.core import Environment, Profile, StorageError
from casemate.doors import Rate
from casemate.guardrails import Precision


class ProfileRules(msgspec.Struct, frozen=True, kw_only=True):
    """What one profile demands. The defaults are `standard`'s."""

    # Bytes. 4,096 rows of 30 numbers written out in full take 2.5 MB; more belongs into several requests.
    max_body: int = 4 << 20
    # Rows in one request. Bounds what one call can keep a worker busy with; a batch of this size takes milliseconds.
    max_rows: int = 4096
    # Requests per key. Far above an honest client of one row at a time, far below what copies a model in an hour.
    # A key's own `--rate` replaces it.
    key_rate: Rate = Rate(per_second=200, burst=400)
    # Requests being served at once per deployment. Beyond it, waiting only adds latency: 503 at once.
    max_in_flight: int = 256
    # Seconds for the worker's answer, waiting in its queue included. Tabular models answer in milliseconds.
    infer_seconds: float = 10.0
    # Confidences keep 4 places: enough for any threshold, coarse enough to blunt equation-solving extraction.
    # Other numbers keep 6 digits: float32 has 7.
    precision: Precision = Precision(decimals=4, digits=6)
    # A value outside the training range is only flagged: honest rows leave it.
    refuse_outside_range: bool = False
    # The answer does not wait for the disk; a crash may lose the last 50 ms of events.
    commit_before_answer: bool = False


RULES: dict[Profile, ProfileRules] = {
    Profile.STANDARD: ProfileRules(),
    Profile.STRICT: ProfileRules(
        max_body=1 << 20,  # bytes; 1,024 rows fit
        max_rows=1024,  # rows; a model worth copying is asked in small portions
        key_rate=Rate(per_second=50, burst=100),  # requests; a person or a form, not a batch job
        max_in_flight=64,  # requests; one misbehaving caller must not fill the worker's queue
        infer_seconds=5.0,  # seconds
        precision=Precision(decimals=2, digits=3),  # two places still carry the decision
        refuse_outside_range=True,  # no answer beyond what the model was trained on
        commit_before_answer=True,  # nothing is answered that is not on record
    ),
    Profile.OPEN: ProfileRules(  # for a developer's own machine: walls stay, limits are out of the way
        max_body=64 << 20,  # bytes; a developer's whole test set
        max_rows=1 << 20,  # rows; the same
        key_rate=Rate(per_second=100_000, burst=200_000),  # requests; out of the way of a benchmark
        max_in_flight=1024,  # requests
        infer_seconds=60.0,  # seconds; a debugger may stand in between
        precision=Precision(decimals=None, digits=None),  # to compare with the model outside
    ),
}


def rules_of(profile: Profile, environment: Environment) -> ProfileRules:
    """The rules that hold. Raises: StorageError: `open` outside dev; the deployment's record should not exist."""
    if profile is Profile.OPEN and environment is not Environment.DEV:
        raise StorageError(
            "The profile 'open' is for dev only: deploy with --profile standard or strict.", code="profile-not-allowed"
        )
    return RULES[profile]
