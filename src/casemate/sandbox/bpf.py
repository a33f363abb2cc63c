"""An assembler for the classic BPF programs that seccomp takes: only what a filter of system calls needs.

Source: Documentation/userspace-api/seccomp_filter.rst; struct seccomp_data and struct sock_filter in the uapi headers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data, bytes
_INSTRUCTION = struct.Struct("=HBBI")
_MAX_JUMP = 255  # instructions; a jump has 8 bits

KILL = 0x80000000
ALLOW = 0x7FFF0000
NOTIFY = 0x7FC00000


def errno_action(number: int) -> int:
    """Refuse the call with this errno."""
    return 0x00050000 | number


class Check(msgspec.Struct, frozen=True):
    """`argument & mask == value` on the low 32 bits; `whole` asks that the high ones be zero too."""

    argument: int
    mask: int
    value: int
    whole: bool = False


class Rule(msgspec.Struct, frozen=True):
    """What happens to one system call: `passed` if all checks of any alternative hold, else `failed`.

    No alternatives at all: always `passed`.
    """

    number: int
    passed: int
    failed: int = KILL
    alternatives: tuple[tuple[Check, ...], ...] = ()


class Instruction(msgspec.Struct, frozen=True):
    code: int
    value: int
    yes: int = 0
    no: int = 0


def assemble(*, arch: int, rules: Sequence[Rule], floor_of_unknown: int, known: int, unknown: int, top: int) -> bytes:
    """The program. Calls of another architecture, or numbered `top` or above, are killed.

    Args:
        floor_of_unknown: Calls without a rule below this number meet `known`, those from it on `unknown`.
        top: First number that is not of this architecture (x32 calls start at 0x40000000).
    Raises: ValueError: a rule is too long for the machine's jumps.
    """
    program = [
        Instruction(_LOAD, _ARCH),
        Instruction(_EQUAL, arch, yes=1),
        Instruction(_RETURN, KILL),
        Instruction(_LOAD, _NUMBER),
        Instruction(_AT_LEAST, top, no=1),
        Instruction(_RETURN, KILL),
    ]
    for rule in rules:
        block = _block(rule)
        if len(block) > _MAX_JUMP:
            raise ValueError(f"the rule for system call {rule.number} has {len(block)} instructions")
        program += [Instruction(_EQUAL, rule.number, no=len(block)), *block]
    program += [
        Instruction(_AT_LEAST, floor_of_unknown, no=1),
        Instruction(_RETURN, unknown),
        Instruction(_RETURN, known),
    ]
    return b"".join(_INSTRUCTION.pack(i.code, i.yes, i.no, i.value) for i in program)


def _block(rule: Rule) -> list[Instruction]:
    if not rule.alternatives:
        return [Instruction(_RETURN, rule.passed)]
    block: list[Instruction] = []
    for checks in rule.alternatives:
        block += _alternative(checks, rule.passed)
    return [*block, Instruction(_RETURN, rule.failed)]


def _alternative(checks: Sequence[Check], action: int) -> list[Instruction]:
    """Jumps past its own end when a check does not hold."""
    code: list[Instruction] = []
    for check in checks:
        offset = _ARGS + 8 * check.argument
        code += [Instruction(_LOAD, offset), Instruction(_AND, check.mask), Instruction(_EQUAL, check.value)]
        if check.whole:
            code += [Instruction(_LOAD, offset + 4), Instruction(_EQUAL, 0)]
    code.append(Instruction(_RETURN, action))
    return [Instruction(i.code, i.value, no=len(code) - at - 1) if i.code == _EQUAL else i for at, i in enumerate(code)]
