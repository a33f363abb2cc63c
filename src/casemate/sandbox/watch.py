"""Which refused attempts a confined process made (seccomp user notification).

This is the report, not the wall: opens always continue into Landlock, everything else is answered EPERM. The process
could change a path between our reading and the kernel's; it would deceive the report and gain nothing.

Source: seccomp_unotify(2); struct seccomp_notif and seccomp_notif_resp in include/uapi/linux/seccomp.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

from casemate.sandbox.seccomp import KINDS, OPENS
from casemate.sandbox.syscalls import NUMBERS

MAX_DENIALS = 1000  # distinct records per process; further ones are refused just the same
_MAX_PATH = 4096  # bytes, PATH_MAX

_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_*
_NOTIF = struct.Struct("=QII iIQ 6Q")  # id, pid, flags, then seccomp_data: number, arch, instruction pointer, arguments
_RESPONSE = struct.Struct("=Qqii")  # id, value, error, flags
_CONTINUE = 1
_AT_FDCWD = -100
_O_ACCMODE, _O_PATH = 3, 0o10000000
_WRITING = os.O_CREAT | os.O_TRUNC

_FAMILIES = {1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6", 16: "AF_NETLINK", 17: "AF_PACKET", 40: "AF_VSOCK"}
_TYPES = {1: "stream", 2: "datagram", 3: "raw", 5: "seqpacket"}


class Denial(msgspec.Struct, frozen=True):
    """One attempt that the walls refused.

    Args:
        kind: `open`, `socket`, `exec`, `fork`, `ptrace`, `signal` or `kernel`.
        target: The path as the program named it, made absolute; or e.g. `AF_INET stream`; or the system call's name.
        mode: `read` or `write` for `open`, else empty.
    """

    kind: str
    target: str
    mode: str = ""


class Watch:
    """Answers the notifications of one filter, and keeps each refused attempt once."""

    def __init__(self, listener: int, *, readable: Sequence[str], writable: Sequence[str]) -> None:
        """Take ownership of the listener's descriptor."""
        self.listener = listener
        self.denials: dict[Denial, None] = {}
        self._readable = [*readable, *writable]
        self._writable = list(writable)
        column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
        self._names = {number: name for name in (*KINDS, *OPENS) if (number := NUMBERS[name][column]) is not None}

    def answer(self) -> bool:
        """Take one notification and answer it. False when the process is gone."""
        notice = bytearray(_NOTIF.size)
        try:
            fcntl.ioctl(self.listener, _RECEIVE, notice)
        except OSError as error:
            return error.errno in (errno.ENOENT, errno.EINTR)  # the caller was killed meanwhile
        ident, pid, _, number, _, _, *arguments = _NOTIF.unpack(notice)
        name = self._names.get(number, str(number))
        response = _RESPONSE.pack(ident, 0, -errno.EPERM, 0)
        if name in OPENS:
            response = _RESPONSE.pack(ident, 0, 0, _CONTINUE)
        try:
            denial = self._judge(pid, name, arguments)
        except (OSError, ValueError, OverflowError):  # an unreadable pointer, or the process is gone: nothing to say
            denial = None
        if denial and len(self.denials) < MAX_DENIALS:
            self.denials[denial] = None
        try:
            fcntl.ioctl(self.listener, _SEND, response)
        except OSError as error:
            return error.errno == errno.ENOENT
        return True

    def close(self) -> None:
        if self.listener >= 0:
            os.close(self.listener)
            self.listener = -1

    def _judge(self, pid: int, name: str, arguments: list[int]) -> Denial | None:
        if name in OPENS:
            return self._judge_open(pid, name, arguments)
        target = name
        if name in ("socket", "socketpair"):
            family, kind = arguments[0] & 0xFFFFFFFF, arguments[1] & 0xF
            target = f"{_FAMILIES.get(family, f'family {family}')} {_TYPES.get(kind, f'type {kind}')}"
        elif name == "execve":
            target = _named_path(pid, _AT_FDCWD, arguments[0])
        elif name == "execveat":
            target = _named_path(pid, _signed(arguments[0]), arguments[1])
        return Denial(KINDS.get(name, "kernel"), target)

    def _judge_open(self, pid: int, name: str, arguments: list[int]) -> Denial | None:
        folder, address, flags = {
            "open": (_AT_FDCWD, arguments[0], arguments[1]),
            "creat": (_AT_FDCWD, arguments[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            "openat": (_signed(arguments[0]), arguments[1], arguments[2]),
        }[name]
        if flags & _O_PATH:  # gives no access to the bytes
            return None
        path = _named_path(pid, folder, address)
        writes = flags & _O_ACCMODE != os.O_RDONLY or bool(flags & _WRITING)
        if self._is_allowed(pid, path, writes=writes):
            return None
        return Denial("open", path, "write" if writes else "read")

    def _is_allowed(self, pid: int, path: str, *, writes: bool) -> bool:
        """True, too, for what is not there: no wall refuses that."""
        if path.startswith(("/proc/self/fd/", "/proc/thread-self/fd/", "/dev/fd/")):
            return True  # its own descriptors: what it may do with them was decided when they were opened
        allowed = self._writable if writes else self._readable
        real = os.path.realpath(path.replace("/proc/self", f"/proc/{pid}", 1))
        if any(_is_beneath(real, root.replace("/proc/self", f"/proc/{pid}", 1)) for root in allowed):
            return True
        return not (os.path.lexists(real) or (writes and Path(real).parent.is_dir()))


def _is_beneath(path: str, root: str) -> bool:
    root = os.path.realpath(root)
    return path == root or path.startswith(root.rstrip("/") + "/")


def _signed(argument: int) -> int:
    """A descriptor argument: the low 32 bits, signed."""
    return (argument & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


def _named_path(pid: int, folder: int, address: int) -> str:
    """The path at `address` in the process, made absolute by its `folder` descriptor, in printable form."""
    raw = _read_text(pid, address)
    if not raw.startswith(b"/"):
        link = "cwd" if folder == _AT_FDCWD else f"fd/{folder}"
        raw = os.fsencode(Path(f"/proc/{pid}/{link}").readlink()).rstrip(b"/") + b"/" + raw
    return os.path.normpath(os.fsdecode(raw)).encode(errors="replace").decode()


def _read_text(pid: int, address: int) -> bytes:
    """Bytes up to the first NUL, page by page, since the next page may not be there."""
    found = b""
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        while len(found) < _MAX_PATH:
            piece = os.pread(memory, 4096 - address % 4096, address)
            found += piece
            address += len(piece)
            if not piece or b"\0" in piece:
                break
    finally:
        os.close(memory)
    return found.partition(b"\0")[0][:_MAX_PATH]
