"""Follows a pickle without running it: every opcode moves symbols on a stack; imports and calls are written down.

Stricter than any loader: where this walk stops, a loader may go on, and what came before the stop is on record.
"""

from __future__ import annotations

import struct

from casemate.scanning.notes import Notes
from casemate.scanning.pickle_machine import BrokenError, Machine, PickleRecord
from casemate.scanning.pickle_opcodes import ACTIONS, StopError
from casemate.scanning.symbols import UNKNOWN

_NESTED = 8  # pickles inside arrays inside pickles


def walk_pickle(data: memoryview, notes: Notes, *, start: int = 0, nested: int = 0) -> PickleRecord:
    """Follow one pickle from `start` to its STOP or its break. Raises: RefusedError when over the bound of work."""

    def walk_nested(at: int) -> PickleRecord:
        if nested >= _NESTED:
            raise BrokenError("pickles nested too deeply")
        return walk_pickle(data, notes, start=at, nested=nested + 1)

    machine = Machine(data, start, walk_nested)
    record = machine.record
    try:
        _run(machine, notes)
    except BrokenError as error:
        record.broken = f"{error} at byte {machine.at}"
    except (IndexError, struct.error):
        record.broken = f"cut off or short of operands at byte {machine.at}"
    except (ValueError, OverflowError):
        record.broken = f"an operand that is no value at byte {machine.at}"
    record.end = machine.at
    return record


def _run(machine: Machine, notes: Notes) -> None:
    counted = 0
    try:
        while True:
            opcode = machine.data[machine.at]
            machine.at += 1
            action = ACTIONS.get(opcode)
            if action is None:
                raise BrokenError(f"no opcode 0x{opcode:02x}")
            action(machine)
            counted += 1
            machine.leave_frame()
            if not counted & 0xFFF:
                notes.work(0x1000)
    except StopError:
        machine.leave_frame()
        record, stack = machine.record, machine.stack
        record.first = stack[-1] if stack else UNKNOWN
        if len(stack) != 1 or machine.marks or machine.frame_end:
            raise BrokenError("STOP inside a frame, or without one value on the stack") from None
    finally:
        machine.record.opcodes += counted
        notes.work(counted & 0xFFF)
