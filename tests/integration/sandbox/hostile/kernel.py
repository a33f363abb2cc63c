"""Calls that reach into the kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct

from hostile.calls import LIBC, call


def set_user(given):
    return f"setuid: {call('setuid', os.getuid())}"


def mount(given):
    """Over a folder of its own, and off again at once: should it get out, nobody else's files are covered."""
    place = given["writable"].encode()
    made = f"mounted: {call('mount', b'none', place, b'tmpfs', 0, None)}"
    call("umount2", place, 2)
    return made


def unshare(given):
    return f"mounts of its own: {call('unshare', 0x00020000)}"


def join_namespace(given):
    fd = os.open("/proc/self/ns/uts", os.O_RDONLY)
    return f"joined: {call('setns', fd, 0)}"


def clone_namespace(given):
    if call("clone", signal.SIGCHLD | 0x10000000, 0, 0, 0, 0) == 0:
        os._exit(0)
    return "a process with users of its own"


def clone3_namespace(given):
    """The flags lie in memory, where no filter can read them."""
    if call("clone3", struct.pack("=8Q", 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64) == 0:
        os._exit(0)
    return "a process with users of its own"


def keyring(given):
    return f"keyring: {call('keyctl', 0, -3, 1)}"


def add_key(given):
    """To its own process's keyring, which dies with it."""
    return f"key: {call('add_key', b'user', b'x', b'secret', 6, -2)}"


def bpf(given):
    return f"bpf: {call('bpf', 0, struct.pack('=IIII', 2, 4, 4, 1) + bytes(112), 128)}"


def io_uring(given):
    return f"io_uring: {call('io_uring_setup', 1, ctypes.create_string_buffer(120))}"


def perf(given):
    """Of its own time outside the kernel, as anybody may."""
    attributes = struct.pack("=IIQ", 1, 128, 0) + bytes(24) + struct.pack("=Q", 1 << 5) + bytes(80)
    return f"perf: {call('perf_event_open', attributes, 0, -1, -1, 0)}"


def userfault(given):
    return f"userfaultfd: {call('userfaultfd', 1)}"  # of its own faults only, as anybody may


def second_filter(given):
    """A filter with a listener would answer for the one that stands. Only asked about, not made."""
    return f"seccomp: {call('seccomp', 2, 0, struct.pack('=I', 0x7FFF0000))}"


def push_terminal_input(given):
    return _terminal_input(given, 0x5412)


def terminal_input_with_high_bits(given):
    """The kernel reads 32 bits of the request; a filter that compares 64 would be passed by."""
    return _terminal_input(given, 0x100005412)


def _terminal_input(given, request):
    """A socket takes none, which only its driver can say: whoever hears that got past the filter."""
    if LIBC.ioctl(given["sock"], ctypes.c_ulong(request), b"x") < 0 and ctypes.get_errno() != errno.ENOTTY:
        raise OSError(ctypes.get_errno(), "ioctl")
    return "the filter let it pass"
