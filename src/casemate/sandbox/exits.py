"""How a confined process ended."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ExitReason(StrEnum):
    """Why it ended: one value per cause that a caller treats differently."""

    FINISHED = "finished"  # the function returned
    FAILED = "failed"  # the function raised
    KILLED = "killed"  # by us: `Cell.kill`, or leaving the context
    TIMEOUT = "timeout"  # over `Limits.wall_seconds`
    CPU = "cpu"  # over `Limits.cpu_seconds`
    MEMORY = "memory"  # over `Limits.memory`
    THREADS = "threads"  # over `Limits.threads`
    DISK = "disk"  # over `Limits.file_bytes` in the writable folder as a whole
    CRASHED = "crashed"  # by a signal that nobody of ours sent


class Exit(msgspec.Struct, frozen=True):
    """`code` is the exit status, or None when a `signal` ended it."""

    code: int | None
    signal: int | None
    reason: ExitReason
