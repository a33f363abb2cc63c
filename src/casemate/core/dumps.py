"""What is in memory stays there: no core dump, and no other process of this user reads it."""

from __future__ import annotations

import ctypes
import os
import resource

from casemate.core.errors import StorageError

_PR_SET_DUMPABLE = 4


def forbid_core_dumps() -> None:
    """This process and those that it starts leave no core, on a disk or with a program that collects them.

    Source: core(5), and `do_coredump` of Linux: a limit of 1 byte is below the least file and is the one value that
    also keeps a core from a collecting program; 0 does the first only.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    least = 0 if hard == 0 else 1  # who may not raise it stays at 0
    resource.setrlimit(resource.RLIMIT_CORE, (least, least))


def forbid_reading_memory() -> None:
    """Nobody without privileges over this process traces it or reads its memory, its environment or its descriptors.

    It still opens its own `/proc/self/fd`. Raises: StorageError: the kernel refused.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise StorageError(
            f"The keeper's memory cannot be closed to others: {os.strerror(ctypes.get_errno())}.", code="not-closed"
        )
