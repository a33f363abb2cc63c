"""System calls by name, as an attacker makes them, and what a probe says when nothing was to be had."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
_NUMBERS = {  # name: (x86_64, aarch64)
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "mount": (165, 40), "unshare": (272, 97), "setns": (308, 268),
    "keyctl": (250, 219), "add_key": (248, 217), "bpf": (321, 280), "io_uring_setup": (425, 425), "umount2": (166, 39),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "setuid": (105, 146), "clone3": (435, 435),
    "shmget": (29, 194), "shmctl": (31, 195), "inotify_add_watch": (254, 27), "pidfd_open": (434, 434),
    "seccomp": (317, 277), "name_to_handle_at": (303, 264), "clone": (56, 220),
}  # fmt: skip
_COLUMN = 0 if platform.machine() == "x86_64" else 1


def call(name: str, *args: object) -> int:
    plain = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result = LIBC.syscall(ctypes.c_long(_NUMBERS[name][_COLUMN]), *plain)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def read(path: str) -> str:
    return f"read {len(Path(path).read_bytes())} bytes of {path}"


def held() -> PermissionError:
    """The walls stand, as seen without running into them."""
    return PermissionError(errno.EPERM, os.strerror(errno.EPERM))
