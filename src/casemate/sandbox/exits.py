"""How a confined process ended."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from casemate.core.errors import SandboxError

CODE_FAILED = 70  # exit status of a child whose function raised
CODE_MEMORY = 71  # ... raised MemoryError


class ExitReason(StrEnum):
    """Why it ended: one value per cause that a caller treats differently."""

    FINISHED = "finished"  # the function returned
    FAILED = "failed"  # the function raised, or left with a status of its own
    KILLED = "killed"  # by us: `Cell.kill`, or leaving the context
    TIMEOUT = "timeout"  # over `Limits.wall_seconds`
    CPU = "cpu"  # over `Limits.cpu_seconds`
    MEMORY = "memory"  # over `Limits.memory`
    THREADS = "threads"  # over `Limits.threads`
    DISK = "disk"  # over `Limits.file_bytes` in the writable folder as a whole, or too much in it to count
    CRASHED = "crashed"  # by a signal that nobody of ours sent


# Codes that say that what was given takes more than the process may have: less of it may pass.
TOO_MUCH = frozenset(f"sandbox-{reason}" for reason in (ExitReason.MEMORY, ExitReason.TIMEOUT, ExitReason.CPU))


class Exit(msgspec.Struct, frozen=True):
    """`code` is the exit status, or None when a `signal` ended it; `detail` is a sentence of ours where there is more."""

    code: int | None
    signal: int | None
    reason: ExitReason
    detail: str = ""


_MESSAGES = {
    ExitReason.FINISHED: "The confined process ended without an answer.",
    ExitReason.FAILED: "The confined process failed; see its output in the log.",
    ExitReason.KILLED: "The confined process was stopped.",
    ExitReason.TIMEOUT: "The confined process took too long and was stopped; allow it more time or give it less to do.",
    ExitReason.CPU: "The confined process used up its processor time; allow it more or give it less to do.",
    ExitReason.MEMORY: "The confined process used up its memory; allow it more or give it less to do.",
    ExitReason.THREADS: "The confined process started too many threads and was stopped; allow it more threads.",
    ExitReason.DISK: "The confined process wrote too many bytes and was stopped; allow it more or let it write less.",
    ExitReason.CRASHED: "The confined process crashed; what it was given may be malformed or hostile.",
}


def error_of(exit_: Exit, *, output: bytes = b"") -> SandboxError:
    """The error to raise for a process that ended too early: code `sandbox-<reason>`; its output is in the details."""
    return SandboxError(
        f"The confined process was stopped. {exit_.detail}" if exit_.detail else _MESSAGES[exit_.reason],
        code=f"sandbox-{exit_.reason.value}",
        details={"code": exit_.code, "signal": exit_.signal, "output": output[-4096:].decode(errors="replace")},
    )
