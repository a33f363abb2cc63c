"""The file-system wall: nothing but the listed paths can be opened, made, renamed or removed; no TCP; no signals out.

The calling thread is restricted for good, and so is every thread it starts afterwards. `raise_landlock` therefore
wants to be called while there is only one, before libraries start pools of their own.

Source: Documentation/userspace-api/landlock.rst. Rights by ABI: 1 files, 2 refer, 3 truncate, 4 TCP, 5 ioctl on
devices, 6 scopes of signals and abstract Unix sockets; 7 adds no right.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

from casemate.sandbox.kernel import syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_RULE_PATH_BENEATH = 1
_VERSION = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ALL_OF_ABI_1 = (1 << 13) - 1

_BIND_TCP, _CONNECT_TCP = 1, 2
_SCOPE_ABSTRACT_UNIX, _SCOPE_SIGNAL = 1, 2

_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV  # rights that a rule on a file may give
_READ = _READ_FILE | _READ_DIR
# No links and no special files: what the parent finds in the folder afterwards is plain files and folders.
_WRITE = _READ | _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER


def landlock_abi() -> int:
    """The kernel's Landlock ABI. Raises: OSError when it has none or has it switched off."""
    return syscall(_CREATE_RULESET, None, 0, _VERSION)


def handled_rights(abi: int) -> tuple[int, int, int]:
    """Every right that `abi` can take away: (files, network, scopes)."""
    files = _ALL_OF_ABI_1
    files |= _REFER if abi >= 2 else 0
    files |= _TRUNCATE if abi >= 3 else 0
    files |= _IOCTL_DEV if abi >= 5 else 0
    network = _BIND_TCP | _CONNECT_TCP if abi >= 4 else 0
    scopes = _SCOPE_ABSTRACT_UNIX | _SCOPE_SIGNAL if abi >= 6 else 0
    return files, network, scopes


def raise_landlock(readable: Sequence[str], writable: Sequence[str], devices: Sequence[str] = ()) -> None:
    """Restrict this thread to these paths and what lies beneath; paths that do not exist give nothing.

    Args: devices: nodes that may be read, written and asked by ioctl.
    Raises: OSError. RuntimeError when other threads exist, which would stay outside.
    """
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise RuntimeError("there are threads already")
    files, network, scopes = handled_rights(abi := landlock_abi())
    attributes = struct.pack("=QQQ", files, network, scopes)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in readable:
            _allow(ruleset, path, _READ & files)
        for path in writable:
            _allow(ruleset, path, _WRITE & files)
        for path in devices:
            _allow(ruleset, path, (_READ_FILE | _WRITE_FILE | _IOCTL_DEV) & files)
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        is_folder = os.path.isdir(f"/proc/self/fd/{fd}")  # noqa: PTH112 a descriptor's name, no path of ours
        rule = struct.pack("=Qi", rights if is_folder else rights & _OF_FILES, fd)
        syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        # A rule on a file of /proc is tied to the kernel's in-memory node; while we hold it, that node stays the same.
        if not path.startswith("/proc/"):
            os.close(fd)
