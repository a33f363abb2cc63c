"""How much a confined process may use, as the kernel bounds it."""

from __future__ import annotations

import resource
from pathlib import Path

import msgspec

_OTHER_THREADS = 4096  # of the same user, that may start while the process runs: RLIMIT_NPROC counts them too


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one confined process; None means without that bound.

    Args:
        memory: Bytes of private writable memory (heap, stacks, buffers); libraries mapped from files do not count.
            An idle onnxruntime takes 110 MB of it, scikit-learn with skops and pyarrow 280 MB.
        cpu_seconds: Processor time of all threads together, from the start of the process: that of the interpreter and of
            the imports counts, one to five seconds for scikit-learn with skops and pyarrow.
        processors: How many it may keep busy at a time, e.g. 1.5, where a control group can be had. However many threads
            it has, it yields to others there as half of one ordinary process.
        wall_seconds: From start to kill.
        file_bytes: Bytes in one file that it writes, and in the writable folder as a whole, each file and folder taken
            to need 4096 at least; nor may that folder hold over 100,000 of them. Deleted files that it holds open count,
            and one that it holds mapped only counts as the whole bound.
        open_files: Descriptors.
        threads: Threads at a time, those of BLAS and OpenMP included.
    """

    memory: int = 2 << 30
    cpu_seconds: int | None = None
    processors: float | None = None
    wall_seconds: float | None = None
    file_bytes: int = 64 << 20
    open_files: int = 256
    threads: int = 128


def apply_limits(limits: Limits) -> None:
    """Bound this process for good. Raises: OSError, ValueError.

    RLIMIT_DATA counts every private writable page that the process may touch, heap and thread stacks included, and
    nothing else; RLIMIT_AS would count libraries and reserved address space, of which native code takes gigabytes.
    The filter of system calls leaves no shared memory that could go round it.
    """
    bounds = {
        resource.RLIMIT_DATA: limits.memory,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_NPROC: _threads_of_user() + limits.threads + _OTHER_THREADS,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for which, bound in bounds.items():
        _lower(which, bound, bound)
    if limits.cpu_seconds is not None:
        # SIGXCPU at the first bound ends the process under its own name; who catches that is killed at the second.
        _lower(resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1)


def _lower(which: int, soft: int, hard: int) -> None:
    """Set a bound, or keep the stricter one that stands already."""
    _, ceiling = resource.getrlimit(which)
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(which, (soft, hard))


def _threads_of_user() -> int:
    """Threads of everybody: an upper bound of this user's, read from one file."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
