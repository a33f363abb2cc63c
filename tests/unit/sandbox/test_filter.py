"""The filter of system calls, run by a small BPF machine: what it allows is what is written, on both architectures."""

from __future__ import annotations

import errno
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.sandbox.bpf import ALLOW, KILL, NOTIFY, Check, Rule, assemble, errno_action
from casemate.sandbox.seccomp import KINDS, filter_program
from casemate.sandbox.syscalls import NUMBERS

PID = 4242
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
EPERM, ENOSYS = errno_action(errno.EPERM), errno_action(errno.ENOSYS)
PROGRAMS = {
    (machine, report): filter_program(machine=machine, pid=PID, report=report)
    for machine in MACHINES
    for report in (False, True)
}


def judged(program: bytes, arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What the kernel's machine would return."""
    padded = [a & (1 << 64) - 1 for a in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("=IIQ6Q", number, arch, 0, *padded)
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    at = register = 0
    while True:
        operation, yes, no, value = code[at]
        at += 1
        match operation:
            case 0x20:
                (register,) = struct.unpack_from("=I", data, value)
            case 0x54:
                register &= value
            case 0x15:
                at += yes if register == value else no
            case 0x35:
                at += yes if register >= value else no
            case 0x06:
                return value
            case _:
                raise AssertionError(f"unknown instruction {operation:#x}")


def call(name: str, *arguments: int, machine: str = "x86_64", report: bool = False) -> int:
    column, arch = MACHINES[machine]
    number = NUMBERS[name][column]
    assert number is not None
    return judged(PROGRAMS[machine, report], arch, number, arguments)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["read", "futex", "mprotect", "sendto", "exit_group", "newfstatat", "rt_sigreturn"])
def test_daily_calls_pass(machine, name):
    assert call(name, machine=machine) == ALLOW


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        (machine, name)
        for machine, (column, _) in MACHINES.items()
        for name in sorted(KINDS)
        if name not in ("clone", "kill", "tgkill") and NUMBERS[name][column] is not None
    ],
)
def test_refused_calls_are_refused_and_reported(machine, name):
    assert call(name, machine=machine) == EPERM
    assert call(name, machine=machine, report=True) == NOTIFY


@pytest.mark.parametrize(
    ("name", "arguments", "verdict"),
    [
        ("clone", (0x3D0F00,), ALLOW),  # glibc's pthread_create
        ("clone", (0x11,), EPERM),  # fork
        ("clone", (0x4111,), EPERM),  # vfork, as posix_spawn asks
        ("clone", (0x3D0F00 | 0x10000000,), EPERM),  # a thread in a new user namespace
        ("clone3", (), ENOSYS),
        ("openat2", (), ENOSYS),
        ("openat", (0, 0, os.O_RDONLY), ALLOW),
        ("openat", (0, 0, os.O_RDONLY | os.O_TRUNC), EPERM),
        ("openat", (0, 0, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), ALLOW),
        ("mmap", (0, 4096, 3, 0x22), ALLOW),  # private, anonymous
        ("mmap", (0, 4096, 1, 0x01), ALLOW),  # shared, of a file
        ("mmap", (0, 4096, 3, 0x21), EPERM),  # shared, anonymous
        ("mmap", (0, 4096, 3, 0x23), EPERM),  # the same, validated
        ("kill", (PID, 9), ALLOW),
        ("kill", (1, 9), EPERM),
        ("kill", (-1, 9), EPERM),
        ("tgkill", (PID, 77, 6), ALLOW),
        ("tgkill", (1, 1, 6), EPERM),
        ("ioctl", (0, 0x5401), ALLOW),
        ("ioctl", (0, 0x5412), EPERM),  # TIOCSTI
        ("ioctl", (0, 1 << 32 | 0x5412), EPERM),
        ("fcntl", (3, 3), ALLOW),
        ("fcntl", (3, 8), EPERM),  # F_SETOWN
        ("fcntl", (3, 1033), EPERM),  # F_ADD_SEALS
        ("prctl", (15,), ALLOW),
        ("prctl", (1,), EPERM),  # PR_SET_PDEATHSIG
        ("prctl", (4,), EPERM),  # PR_SET_DUMPABLE
        ("prlimit64", (0, 7, 0, 4096), ALLOW),
        ("prlimit64", (0, 7, 4096, 0), EPERM),
        ("prlimit64", (0, 7, 1 << 32, 0), EPERM),  # a pointer whose low half is zero
        ("prlimit64", (1, 7, 0, 4096), EPERM),
    ],
)
@pytest.mark.parametrize("machine", MACHINES)
def test_arguments_decide(machine, name, arguments, verdict):
    assert call(name, *arguments, machine=machine) == verdict


@pytest.mark.parametrize("machine", MACHINES)
def test_descriptors_leave_with_a_report_only(machine):
    assert call("sendmsg", machine=machine) == EPERM
    assert call("sendmsg", machine=machine, report=True) == ALLOW


@pytest.mark.parametrize("report", [False, True])
def test_foreign_architectures_are_killed(report):
    for machine, (_, arch) in MACHINES.items():
        program = PROGRAMS[machine, report]
        assert judged(program, 0x40000003, 1) == KILL  # i386
        assert judged(program, arch ^ 1, 1) == KILL
    assert judged(PROGRAMS["x86_64", report], 0xC000003E, 0x40000000 | 1) == KILL  # x32


def test_unknown_architecture_is_refused():
    with pytest.raises(OSError, match="riscv64"):
        filter_program(machine="riscv64", pid=1, report=False)


@given(st.integers(0, 1023), st.tuples(*[st.integers(0, 2**64 - 1)] * 6), st.sampled_from(sorted(PROGRAMS)))
def test_what_is_not_named_is_refused(number, arguments, which):
    """Whatever the arguments, and reporting allows nothing more but its own listener to be handed over."""
    machine, report = which
    column, arch = MACHINES[machine]
    verdict = judged(PROGRAMS[which], arch, number, arguments)
    named = {numbers[column] for numbers in NUMBERS.values()}
    if number not in named:
        assert verdict == (ENOSYS if number >= 424 else EPERM)
    if report and number != NUMBERS["sendmsg"][column]:
        silent = judged(PROGRAMS[machine, False], arch, number, arguments)
        assert (verdict == ALLOW) <= (silent == ALLOW)
        assert verdict in (NOTIFY, silent)


@given(
    st.lists(
        st.builds(
            Check,
            argument=st.integers(0, 5),
            mask=st.integers(0, 2**32 - 1),
            value=st.integers(0, 15),
            whole=st.booleans(),
        ),
        min_size=1,
        max_size=4,
    ),
    st.tuples(*[st.integers(0, 2**64 - 1) | st.integers(0, 15)] * 6),
)
def test_checks_mean_what_they_say(checks, arguments):
    rule = Rule(number=5, passed=ALLOW, failed=EPERM, alternatives=(tuple(checks),))
    program = assemble(arch=1, rules=[rule], floor_of_unknown=424, known=KILL, unknown=KILL, top=0x40000000)
    expected = all(
        arguments[c.argument] & 0xFFFFFFFF & c.mask == c.value and not (c.whole and arguments[c.argument] >> 32)
        for c in checks
    )
    assert judged(program, 1, 5, arguments) == (ALLOW if expected else EPERM)
    assert judged(program, 1, 6, arguments) == KILL


def test_rule_that_a_jump_cannot_cross_is_refused():
    checks = tuple((Check(0, 1, 1),) for _ in range(100))
    rule = Rule(number=1, passed=ALLOW, alternatives=checks)
    with pytest.raises(ValueError, match="instructions"):
        assemble(arch=1, rules=[rule], floor_of_unknown=424, known=KILL, unknown=KILL, top=0x40000000)
