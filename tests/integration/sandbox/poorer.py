"""`python poorer.py CALL PROGRAM ARGUMENT...`: run a Python program as on a machine whose kernel lacks a system call.

A filter of system calls is inherited by all that the program starts, so nothing in Casemate is replaced.
"""

from __future__ import annotations

import errno
import os
import platform
import sys

from casemate.sandbox.bpf import ALLOW, Rule, assemble, errno_action
from casemate.sandbox.kernel import prctl
from casemate.sandbox.seccomp import _ARCHITECTURES, _install

NO_NEW_PRIVS = 38
CALLS = {
    "landlock_create_ruleset": (444, 444),
    "seccomp": (317, 277),
    "capset": (126, 91),
    "prlimit64": (302, 261),
}


def take_away(call: str) -> None:
    column, arch, top, seccomp = _ARCHITECTURES[platform.machine()]
    missing = Rule(number=CALLS[call][column], passed=errno_action(errno.ENOSYS))
    program = assemble(arch=arch, rules=[missing], floor_of_unknown=top - 1, known=ALLOW, unknown=ALLOW, top=top)
    prctl(NO_NEW_PRIVS, 1)
    _install(program, seccomp, report=False)


if __name__ == "__main__":
    take_away(sys.argv[1])
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
