"""How workers are run: every number with its unit and reason."""

from __future__ import annotations

import msgspec

from casemate.runtime.startup import WORKER_LIMITS
from casemate.sandbox import Limits


class PoolConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How workers are run.

    Args:
        limits: Of each worker.
        threads: Of one model's computation; small models are fastest with one.
        start_seconds: To load and warm up.
        request_seconds: For one batch; after that the worker counts as hung.
        drain_seconds: Most that a retiring worker is given for what it began.
        linger_seconds: How long a replaced worker still takes requests that had chosen it before the switch.
        max_rows: In one batch of joined requests; 1,024 rows of 30 floats are 120 KB, which one socket buffer holds.
        max_waiting: Requests in the queue of one deployment. max_waiting_bytes: of their tensors.
        max_answer_bytes: Of one batch's outputs. max_answer_texts: strings in them, which are read one by one while other
            deployments wait: a quarter of a million take a tenth of a second.
        first_pause: Seconds before a failed worker is started again; doubles with each failure in a row.
        longest_pause: Seconds. steady_seconds: life after which the pause starts from `first_pause` again.
        insecure_no_sandbox: Raise no walls. For `--insecure-no-sandbox` only.
    """

    limits: Limits = WORKER_LIMITS
    threads: int = 1
    start_seconds: float = 60.0
    request_seconds: float = 10.0
    drain_seconds: float = 30.0
    linger_seconds: float = 5.0
    max_rows: int = 1024
    max_waiting: int = 1024
    max_waiting_bytes: int = 256 << 20
    max_answer_bytes: int = 256 << 20
    max_answer_texts: int = 1 << 18
    first_pause: float = 0.5
    longest_pause: float = 30.0
    steady_seconds: float = 60.0
    insecure_no_sandbox: bool = False
