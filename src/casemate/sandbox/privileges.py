"""Lay down every power of the process that root, set-user-id programs or capabilities could give it.

The user id stays. A worker of root keeps id 0 but not one capability, not even in the bounding set, so it is an
ordinary user that happens to own root's files, and Landlock decides which of those it sees. Another id would take
from it the interpreter and the libraries wherever those lie under a folder such as /root, and would make /proc/self
(and with it the sealed files) unreadable to itself.
"""

from __future__ import annotations

import os
import platform
import signal
import struct

from casemate.sandbox.kernel import prctl, syscall

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_CAPSET = {"x86_64": 126, "aarch64": 91}
_EINVAL = 22


def die_with_parent() -> None:
    """From here on the kernel kills this process when the thread that started it ends."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def drop_privileges() -> None:
    """No new privileges, no capabilities, no supplementary groups; of the calling thread. Raises: OSError."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if os.geteuid() == 0 and os.getgroups():
        _drop_groups()
    _drop_bounding_set()
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    syscall(_CAPSET[platform.machine()], header, bytes(24))


def _drop_groups() -> None:
    try:
        os.setgroups([])
    except PermissionError:  # inside a user namespace, where groups of the outside have no power over its files
        return


def _drop_bounding_set() -> None:
    for capability in range(64):
        try:
            if prctl(_PR_CAPBSET_READ, capability):
                prctl(_PR_CAPBSET_DROP, capability)
        except PermissionError:  # an ordinary user may not; without capabilities and exec the set gives nothing
            return
        except OSError as error:
            if error.errno == _EINVAL:  # past the last capability of this kernel
                return
            raise
