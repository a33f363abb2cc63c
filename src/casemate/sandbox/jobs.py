"""One-shot jobs: one message in, one out, behind the walls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from casemate.core.sealed import SealedFile
from casemate.core.wire import Frame
from casemate.sandbox.limits import Limits


def run_confined(
    entry: str,
    message: Any,
    *,
    buffers: Sequence[bytes | bytearray | memoryview] = (),
    files: Sequence[SealedFile] = (),
    outputs: Sequence[int] = (),
    paths: Sequence[Path] = (),
    limits: Limits | None = None,
    timeout: float = 60.0,
    insecure: bool = False,
) -> Frame:
    """Run `def job(frame: Frame) -> Frame` in a new confined process and return its answer.

    `frame.message` and `frame.buffers` are what was given; `frame.fds` are the descriptors of `files`, then of
    `outputs`, in order. Open them as `/proc/self/fd/N`. The answer carries `message` and `buffers`, no descriptors.

    Args:
        files: Sealed bytes that it may read.
        outputs: Unsealed memory files (`core.memory_file`) of the caller, for answers too large for a frame: the job
            writes, the caller seals.
        timeout: Seconds for the whole job, start included.
    Raises:
        InputError, TooLargeError: as the job raised it (its text is clipped).
        SandboxError: `sandbox-crashed`, `sandbox-timeout`, `sandbox-memory`, `sandbox-cpu`, `sandbox-failed` (the job
            raised something else), `walls-missing`.
    """
    raise NotImplementedError
