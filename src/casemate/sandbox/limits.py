"""How much a confined process may use."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one confined process; None means without that bound.

    Args:
        memory: Bytes of private writable memory (heap, stacks, buffers); libraries mapped from files do not count.
        cpu_seconds: Processor time of all threads together.
        wall_seconds: From start to kill.
        file_bytes: Bytes in one file that it writes, and in the writable folder as a whole.
        open_files: Descriptors.
        threads: Threads at a time, those of BLAS and OpenMP included.
    """

    memory: int = 2 << 30
    cpu_seconds: int | None = None
    wall_seconds: float | None = None
    file_bytes: int = 64 << 20
    open_files: int = 256
    threads: int = 128
