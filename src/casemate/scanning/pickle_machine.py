"""The stack, memo and operands of a pickle that is followed without being run, and what it would do.

Source: CPython, Lib/pickle.py (`_Unpickler`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgspec

from casemate.scanning.joblib_arrays import inline_array
from casemate.scanning.symbols import UNKNOWN, Import, Made


class Site(msgspec.Struct, frozen=True):
    """Something worth telling at a byte."""

    text: str
    at: int


class PickleRecord:
    """What one pickle would do."""

    def __init__(self) -> None:
        self.imports: dict[Import, int] = {}  # -> first byte
        self.unresolvable: list[Site] = []
        self.odd_calls: list[Site] = []
        self.persistent: list[Site] = []
        self.calls = 0
        self.opcodes = 0
        self.first: Any = UNKNOWN  # the object that it gives back
        self.broken = ""
        self.end = 0  # byte after STOP, or where it broke


class BrokenError(Exception):
    """The pickle is malformed at the machine's place."""


class Machine:
    """`walk_nested` follows another pickle from a byte on, for the arrays of objects that joblib writes."""

    def __init__(self, data: memoryview, start: int, walk_nested: Callable[[int], PickleRecord]) -> None:
        self.data, self.at, self._walk_nested = data, start, walk_nested
        self.record = PickleRecord()
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.frame_end = 0

    def leave_frame(self) -> None:
        """After each opcode. Raises: BrokenError when it went beyond the frame's end."""
        if self.frame_end and self.at >= self.frame_end:
            if self.at > self.frame_end:
                raise BrokenError("an opcode crosses the end of its frame")
            self.frame_end = 0

    # Operands
    def take(self, size: int) -> memoryview:
        piece = self.data[self.at : self.at + size]
        if size < 0 or len(piece) != size:
            raise BrokenError("an operand is cut off")
        self.at += size
        return piece

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        for length in (256, 1 << 16, 1 << 24):
            piece = bytes(self.data[self.at : self.at + length])
            if (end := piece.find(b"\n")) >= 0:
                self.at += end + 1
                return piece[:end]
        raise BrokenError("a line does not end")

    # Stack
    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    # What matters
    def add_import(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            self.record.unresolvable.append(Site("a name that is computed while loading", self.at - 1))
            self.push(UNKNOWN)
            return
        found = Import(module, name)
        self.record.imports.setdefault(found, self.at - 1)
        self.push(found)

    def call(self, function: Any, args: Any) -> None:
        self.record.calls += 1
        if type(function) is not Import:
            self.record.odd_calls.append(Site("the result of another call is called", self.at - 1))
        self.push(Made(function, args))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        self.record.calls += 1
        if type(target) is not Made:
            self.record.odd_calls.append(Site("state is set on what no allowed call made", self.at - 1))
            return
        target.state = state
        array = inline_array(target)
        if array is None:
            return
        if self.frame_end and self.at < self.frame_end:
            raise BrokenError("an array inside a frame")
        self.frame_end = 0
        if array.padded:
            self.take(self.take(1)[0])
        if array.is_pickle:
            self._nested_pickle()
        else:
            self.take(array.size)

    def _nested_pickle(self) -> None:
        inner = self._walk_nested(self.at)
        mine = self.record
        for found, at in inner.imports.items():
            mine.imports.setdefault(found, at)
        mine.unresolvable += inner.unresolvable
        mine.odd_calls += inner.odd_calls
        mine.persistent += inner.persistent
        mine.calls += inner.calls
        self.at = inner.end
        if inner.broken:
            raise BrokenError(f"inside an array: {inner.broken}")
