"""Limits, ties to the parent, and what was inherited."""
# ruff: noqa: PTH115 these are the calls of an attacker, made as the kernel names them

from __future__ import annotations

import mmap
import os
import resource
import socket
import threading
from pathlib import Path

from hostile.calls import LIBC, call, held, read


def memory_file(given):
    fd = os.memfd_create("hoard")
    return f"a memory file that no limit counts: {os.write(fd, bytes(100))}"


def shared_memory(given):
    mmap.mmap(-1, 1 << 20)
    return "shared memory that no limit counts"


def system_v_memory(given):
    segment = call("shmget", 0, 4096, 0o1600)
    call("shmctl", segment, 0, None)
    return f"segment: {segment}"


def posix_shared_memory(given):
    Path("/dev/shm/planted").write_text("x")
    Path("/dev/shm/planted").unlink()
    return "wrote to /dev/shm"


def more_limits(given):
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError:  # Python's word for EPERM here
        raise held() from None
    return "no more limit"


def undo_parent_death(given):
    if LIBC.prctl(1, 0, 0, 0, 0) < 0:
        raise held()
    return "would outlive the parent"


def new_privileges(given):
    """A program that grants its user's rights would grant them to us."""
    if "NoNewPrivs:\t1" in Path("/proc/self/status").read_text():
        raise held()
    return "programs may give new privileges"


def hide_from_supervisor(given):
    if LIBC.prctl(4, 0, 0, 0, 0) < 0:
        raise held()
    return "not dumpable any more"


def capabilities(given):
    status = Path("/proc/self/status").read_text()
    found = [line for line in status.splitlines() if line.startswith("Cap") and int(line.split()[1], 16)]
    found = [line for line in found if os.geteuid() == 0 or not line.startswith("CapBnd")]
    if not found:
        raise held()
    return f"{found}"


def inherited_descriptors(given):
    """Sockets, pipes and files beyond its own: 0 /dev/null, 1 and 2 its output, its socket, and handles of /proc."""
    strange = []
    for fd in range(256):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if fd <= 2 or fd == given["sock"] or target.startswith("/proc/"):
            continue
        strange.append((fd, target))
    if not strange:
        raise held()
    return f"{strange}"


def inherited_environment(given):
    found = [name for name, value in os.environ.items() if name.startswith("CASEMATE") or given["canary"] in value]
    if not found:
        raise held()
    return f"{found}"


def older_thread(given):
    """A pool thread that was started at import must be inside the walls, too."""
    _THREAD.secret = given["secret"]
    _THREAD.wake.set()
    _THREAD.join(5)
    if not _THREAD.found:
        raise held()
    return _THREAD.found


class _Pool(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.wake, self.secret, self.found = threading.Event(), "", ""
        self.start()

    def run(self):
        self.wake.wait()
        for attempt in (lambda: read(self.secret), lambda: socket.socket().close() or "a socket"):
            try:
                self.found += attempt()
            except OSError:
                continue


_THREAD = _Pool()
