"""The wall of system calls: an allow-list. What is not named here is refused.

Refused calls fail with EPERM rather than kill: honest libraries probe for what they can have (CPU affinity, NUMA,
huge pages) and go on without it, and the attempt can be reported. Calls newer than this list fail with ENOSYS, as on
an older kernel, so that the C library falls back. Calls of a foreign architecture kill: no honest library makes them.
mmap and mprotect may make memory executable, because libraries are loaded late and compile at run time; what such
code can ask of the kernel is this list all the same.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

from casemate.sandbox import bpf
from casemate.sandbox.bpf import ALLOW, NOTIFY, Check, Rule, errno_action
from casemate.sandbox.kernel import syscall
from casemate.sandbox.syscalls import NUMBERS

_ALLOWED = """
    read write readv writev pread64 pwrite64 preadv pwritev lseek close close_range fstat stat lstat newfstatat statx
    access faccessat faccessat2 readlink readlinkat getdents64 getcwd chdir fchdir statfs fstatfs dup dup2 dup3
    poll ppoll select pselect6 epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 pipe pipe2
    timerfd_create timerfd_settime timerfd_gettime
    mprotect munmap mremap madvise brk msync mincore membarrier futex set_robust_list get_robust_list rseq
    set_tid_address exit exit_group rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait
    rt_sigsuspend sigaltstack restart_syscall pause alarm getitimer setitimer
    gettid getpid getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp getpgid getsid
    getpriority getrlimit getrusage umask clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times
    sysinfo uname getcpu getrandom get_mempolicy sched_yield sched_getaffinity sched_getparam sched_getscheduler
    sched_get_priority_max sched_get_priority_min
    sendto recvfrom recvmsg getsockopt getsockname getpeername shutdown
    mkdir mkdirat unlink unlinkat rmdir rename renameat renameat2 ftruncate fallocate fsync fdatasync flock
    copy_file_range sendfile fadvise64
""".split()  # noqa: SIM905 a table to read, not a column of quotes
# Left out on purpose, because Landlock does not see them: chmod, chown, utime, setxattr and truncate by path, inotify,
# socketpair (a datagram socket can be sent anywhere), memfd and shared memory (not counted by any limit of a process).

OPENS = ("open", "openat", "creat")
_NOT_IMPLEMENTED = ("clone3", "openat2")  # the C library falls back to calls whose flags can be read

# What a report says of refused calls: name -> kind. The rest is refused in silence, as libraries probe it.
KINDS = {
    **dict.fromkeys(("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"), "socket"),
    **dict.fromkeys(("execve", "execveat"), "exec"),
    **dict.fromkeys(("fork", "vfork", "clone"), "fork"),
    **dict.fromkeys(("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd"), "ptrace"),
    **dict.fromkeys(("kill", "tgkill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"), "signal"),
    **dict.fromkeys(
        """add_key bpf chroot delete_module finit_module fsopen init_module io_uring_setup kexec_load keyctl mount
        move_mount open_tree perf_event_open pivot_root reboot request_key setns swapon umount2 unshare
        userfaultfd""".split(),  # noqa: SIM905
        "kernel",
    ),
}

_LOW = 0xFFFFFFFF
_O_ACCMODE, _O_TRUNC = 0x3, 0x200
_CLONE_THREAD, _CLONE_NAMESPACES = 0x00010000, 0x7E020080  # all CLONE_NEW*, time included
_MAP_TYPE, _MAP_PRIVATE, _MAP_ANONYMOUS = 0xF, 0x2, 0x20
_IOCTLS = (
    0x5401,
    0x802C542A,
    0x5413,
    0x541B,
    0x5421,
    0x5450,
    0x5451,
)  # TCGETS(2), GWINSZ, FIONREAD, FIONBIO, FIO(N)CLEX
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032, 1034)  # dup, flags, locks, pipe size, reading seals
# Names and reading only. Not PR_SET_PDEATHSIG or PR_SET_DUMPABLE, which would undo what the supervisor relies on.
_PRCTLS = (2, 3, 15, 16, 21, 23, 39, 0x53564D41)

_ARCHITECTURES = {  # machine -> (column in NUMBERS, AUDIT_ARCH, first foreign number, seccomp's own number)
    "x86_64": (0, 0xC000003E, 0x40000000, 317),
    "aarch64": (1, 0xC00000B7, 0xFFFFFFFF, 277),
}
_NEWER_THAN_THIS_LIST = 424  # from here on the numbers are the same everywhere (Linux 5.1)
_SET_MODE_FILTER, _TSYNC, _NEW_LISTENER, _TSYNC_ESRCH = 1, 1, 8, 16


def filter_program(*, machine: str, pid: int, report: bool, devices: bool = False) -> bytes:
    """The filter for a process with this `pid` (as it sees itself). `report`: ask the supervisor about KINDS and opens.

    `devices`: it has some, whose drivers are asked by any ioctl; of which ones is for Landlock to say.
    Raises: OSError ENOSYS: an architecture that we have no numbers for.
    """
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no system call numbers for {machine}")
    column, arch, top, _ = _ARCHITECTURES[machine]
    rules = [
        Rule(number=number, passed=passed, failed=failed, alternatives=alternatives)
        for name, passed, failed, alternatives in _policy(pid, report=report, devices=devices)
        if (number := NUMBERS[name][column]) is not None
    ]
    return bpf.assemble(
        arch=arch,
        rules=rules,
        floor_of_unknown=_NEWER_THAN_THIS_LIST,
        known=errno_action(errno.EPERM),
        unknown=errno_action(errno.ENOSYS),
        top=top,
    )


def raise_seccomp(*, report: bool, devices: bool = False) -> int | None:
    """Filter every thread of this process for good. Returns the listener's descriptor for `report`. Raises: OSError."""
    machine = platform.machine()
    program = filter_program(machine=machine, pid=os.getpid(), report=report, devices=devices)
    return _install(program, _ARCHITECTURES[machine][3], report=report)


def _policy(pid: int, *, report: bool, devices: bool) -> list[tuple[str, int, int, tuple[tuple[Check, ...], ...]]]:
    """(name, action when it passes, when it fails, what must hold), the frequent ones first."""
    refused = errno_action(errno.EPERM)
    checked = _checked(pid)
    if devices:
        checked["ioctl"] = ()
    policy: list[tuple[str, int, int, tuple[tuple[Check, ...], ...]]] = [
        (name, ALLOW, refused, ()) for name in _ALLOWED
    ]
    for name, alternatives in checked.items():
        failed = NOTIFY if report and name in KINDS else refused
        policy.append((name, NOTIFY if report and name in OPENS else ALLOW, failed, alternatives))
    # Descriptors parked in a socket are counted by no limit of ours, and a filter cannot tell which messages carry some.
    # A report's listener has to leave that way: whoever asks for one closes the socket before foreign code runs.
    policy.append(("sendmsg", ALLOW if report else refused, refused, ()))
    policy += [(name, errno_action(errno.ENOSYS), refused, ()) for name in _NOT_IMPLEMENTED]
    refusals = [name for name in KINDS if name not in checked]
    return policy + [(name, NOTIFY if report else refused, refused, ()) for name in refusals]


def _checked(pid: int) -> dict[str, tuple[tuple[Check, ...], ...]]:
    """Calls whose arguments decide."""
    # Landlock before ABI 3 lets a file that may only be read be cut off by O_RDONLY | O_TRUNC.
    opening = {
        flags: (
            (Check(flags, _O_TRUNC, 0),),
            (Check(flags, _O_ACCMODE, os.O_WRONLY),),
            (Check(flags, _O_ACCMODE, os.O_RDWR),),
        )
        for flags in (1, 2)
    }
    return {
        "open": opening[1],
        "openat": opening[2],
        "creat": (),
        # Threads, never processes or namespaces.
        "clone": ((Check(0, _CLONE_THREAD | _CLONE_NAMESPACES, _CLONE_THREAD),),),
        # Shared anonymous memory escapes RLIMIT_DATA.
        "mmap": ((Check(3, _MAP_ANONYMOUS, 0),), (Check(3, _MAP_TYPE, _MAP_PRIVATE),)),
        "kill": ((Check(0, _LOW, pid),),),
        "tgkill": ((Check(0, _LOW, pid),),),
        "prlimit64": ((Check(0, _LOW, 0), Check(2, _LOW, 0, whole=True)),),  # reading its own
        "ioctl": tuple((Check(1, _LOW, request),) for request in _IOCTLS),
        "fcntl": tuple((Check(1, _LOW, command),) for command in _FCNTLS),
        "prctl": tuple((Check(0, _LOW, option),) for option in _PRCTLS),
    }


def _install(program: bytes, number: int, *, report: bool) -> int | None:
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(buffer))
    flags = _TSYNC | (_NEW_LISTENER | _TSYNC_ESRCH if report else 0)
    result = syscall(number, _SET_MODE_FILTER, flags, fprog)
    if report:
        return result
    if result:
        raise OSError(errno.EBUSY, f"thread {result} could not be filtered")
    return None
