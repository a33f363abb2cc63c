"""Runs a pickle without running it: every opcode moves symbols on a stack; imports and calls are written down.

Stricter than any loader: where this machine stops, a loader may go on, and what came before the stop is on record.

Source: CPython, Lib/pickletools.py (opcodes of protocols 0 to 5) and Lib/pickle.py (`_Unpickler`).
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import Any

import msgspec

from casemate.scanning.joblib_arrays import inline_array
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.rules import PICKLE_MALFORMED
from casemate.scanning.symbols import UNKNOWN, Import, Made, extend

_HIGHEST = 5
_NESTED = 8  # pickles inside arrays inside pickles


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


class _StopError(Exception):
    pass


class _BrokenError(Exception):
    pass


def walk_pickle(data: memoryview, notes: Notes, *, start: int = 0, nested: int = 0) -> PickleRecord:
    """Follow one pickle from `start` to its STOP or its break. Raises: RefusedError when over the bound of work."""
    machine = _Machine(data, start, notes, nested)
    try:
        machine.run()
    except _BrokenError as error:
        machine.record.broken = f"{error} at byte {machine.at}"
    except (IndexError, struct.error):
        machine.record.broken = f"cut off or short of operands at byte {machine.at}"
    except (ValueError, OverflowError):
        machine.record.broken = f"an operand that is no value at byte {machine.at}"
    machine.record.end = machine.at
    return machine.record


class _Machine:
    def __init__(self, data: memoryview, start: int, notes: Notes, nested: int) -> None:
        self.data, self.at, self.notes, self.nested = data, start, notes, nested
        self.record = PickleRecord()
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.frame_end = 0

    def run(self) -> None:
        counted = 0
        try:
            while True:
                opcode = self.data[self.at]
                self.at += 1
                action = _ACTIONS.get(opcode)
                if action is None:
                    raise _BrokenError(f"no opcode 0x{opcode:02x}")
                action(self)
                counted += 1
                if self.frame_end and self.at >= self.frame_end:
                    self._leave_frame()
                if not counted & 0xFFF:
                    self.notes.work(0x1000)
        except _StopError:
            self.record.first = self.stack[-1] if self.stack else UNKNOWN
            if len(self.stack) != 1 or self.marks:
                raise _BrokenError("STOP does not find one value on the stack") from None
        finally:
            self.record.opcodes += counted

    def _leave_frame(self) -> None:
        if self.at > self.frame_end:
            raise _BrokenError("an opcode crosses the end of its frame")
        self.frame_end = 0

    # Operands
    def take(self, size: int) -> memoryview:
        piece = self.data[self.at : self.at + size]
        if size < 0 or len(piece) != size:
            raise _BrokenError("an operand is cut off")
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
        raise _BrokenError("a line does not end")

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
            raise _BrokenError("an array inside a frame")
        self.frame_end = 0
        if array.padded:
            self.take(self.take(1)[0])
        if array.is_pickle:
            self._nested_pickle()
        else:
            self.take(array.size)

    def _nested_pickle(self) -> None:
        if self.nested >= _NESTED:
            raise _BrokenError("pickles nested too deeply")
        inner = walk_pickle(self.data, self.notes, start=self.at, nested=self.nested + 1)
        mine = self.record
        for found, at in inner.imports.items():
            mine.imports.setdefault(found, at)
        mine.unresolvable += inner.unresolvable
        mine.odd_calls += inner.odd_calls
        mine.persistent += inner.persistent
        mine.calls += inner.calls
        self.at = inner.end
        if inner.broken:
            raise _BrokenError(f"inside an array: {inner.broken}")


def _text(raw: bytes | memoryview) -> str:
    return bytes(raw).decode("utf-8", "surrogatepass")


def _old_text(raw: bytes | memoryview) -> str:
    return bytes(raw).decode("latin-1")


def _quoted(raw: bytes) -> str:
    if len(raw) < 2 or raw[:1] != raw[-1:] or raw[:1] not in b"'\"":
        raise _BrokenError("a string without quotes")
    return _old_text(codecs.escape_decode(raw[1:-1])[0])  # type: ignore[attr-defined]


def _int_line(raw: bytes) -> int | bool:
    return {b"00": False, b"01": True}.get(raw) if raw in (b"00", b"01") else int(raw[:4000], 0)  # type: ignore[return-value]


def _proto(m: _Machine) -> None:
    if m.take(1)[0] > _HIGHEST:
        raise _BrokenError("a protocol that does not exist")


def _frame(m: _Machine) -> None:
    size = m.number("<Q")
    if m.frame_end or size > len(m.data) - m.at:
        raise _BrokenError("a frame inside a frame, or beyond the end")
    m.frame_end = m.at + size


def _stop(_: _Machine) -> None:
    raise _StopError


def _pop(m: _Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.pop_mark()


def _mark(m: _Machine) -> None:
    m.marks.append(m.stack)
    m.stack = []


def _memo(m: _Machine, key: int) -> None:
    m.memo[key] = m.stack[-1]


def _get(m: _Machine, key: int) -> None:
    if key not in m.memo:
        raise _BrokenError("a memo that was never set")
    m.push(m.memo[key])


def _inst(m: _Machine) -> None:
    module, name = _text(m.line()), _text(m.line())
    args = m.pop_mark()
    m.add_import(module, name)
    m.call(m.stack.pop(), tuple(args))


def _obj(m: _Machine) -> None:
    function, *args = m.pop_mark()
    m.call(function, tuple(args))


def _call(m: _Machine, count: int) -> None:
    function, *args = m.stack[-count:]
    if len(m.stack) < count:
        raise _BrokenError("the stack is empty")
    del m.stack[-count:]
    m.call(function, args[0])


def _stack_global(m: _Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    m.add_import(module, name)


def _global(m: _Machine) -> None:
    m.add_import(_text(m.line()), _text(m.line()))


def _extension(m: _Machine, form: str) -> None:
    m.record.unresolvable.append(Site(f"extension code {m.number(form)}", m.at - 1))
    m.push(UNKNOWN)


def _persistent(m: _Machine, text: str) -> None:
    m.record.persistent.append(Site(text, m.at - 1))
    m.push(UNKNOWN)


def _binary_persistent(m: _Machine) -> None:
    m.stack.pop()
    _persistent(m, "a persistent id from the stack")


def _dict(m: _Machine) -> None:
    items = m.pop_mark()
    m.push({})
    extend(m.stack[-1], items)


def _extend(m: _Machine) -> None:
    items = m.pop_mark()
    extend(m.stack[-1], items)


def _set_item(m: _Machine, count: int) -> None:
    items = m.stack[-count:]
    del m.stack[-count:]
    extend(m.stack[-1], items)


def _tuple(m: _Machine, count: int) -> None:
    if len(m.stack) < count:
        raise _BrokenError("the stack is empty")
    items = tuple(m.stack[-count:])
    del m.stack[-count:]
    m.push(items)


def _frozen(m: _Machine) -> None:
    m.pop_mark()
    m.push(UNKNOWN)


def _sized(form: str, read: Callable[[memoryview], Any]) -> Callable[[_Machine], None]:
    return lambda m: m.push(read(m.take(m.number(form))))


def _opaque(_: memoryview) -> Any:
    return UNKNOWN


def _long(raw: memoryview) -> int:
    return int.from_bytes(raw[:4000], "little", signed=True)


_ACTIONS: dict[int, Callable[[_Machine], None]] = {
    ord("("): _mark,
    ord("."): _stop,
    ord("0"): _pop,
    ord("1"): lambda m: m.pop_mark() and None,
    ord("2"): lambda m: m.push(m.stack[-1]),
    ord("F"): lambda m: m.push(float(m.line())),
    ord("I"): lambda m: m.push(_int_line(m.line())),
    ord("J"): lambda m: m.push(m.number("<i")),
    ord("K"): lambda m: m.push(m.number("<B")),
    ord("L"): lambda m: m.push(int(m.line()[:4000].rstrip(b"L"), 0)),
    ord("M"): lambda m: m.push(m.number("<H")),
    ord("N"): lambda m: m.push(None),
    ord("P"): lambda m: _persistent(m, repr(m.line()[:60])),
    ord("Q"): _binary_persistent,
    ord("R"): lambda m: _call(m, 2),
    ord("S"): lambda m: m.push(_quoted(m.line())),
    ord("T"): _sized("<i", _old_text),
    ord("U"): _sized("<B", _old_text),
    ord("V"): lambda m: m.push(m.line().decode("raw-unicode-escape")),
    ord("X"): _sized("<I", _text),
    ord("a"): lambda m: _set_item(m, 1),
    ord("b"): lambda m: m.build(),
    ord("c"): _global,
    ord("d"): _dict,
    ord("}"): lambda m: m.push({}),
    ord("e"): _extend,
    ord("g"): lambda m: _get(m, int(m.line()[:20])),
    ord("h"): lambda m: _get(m, m.number("<B")),
    ord("i"): _inst,
    ord("j"): lambda m: _get(m, m.number("<I")),
    ord("l"): lambda m: m.push(m.pop_mark()),
    ord("]"): lambda m: m.push([]),
    ord("o"): _obj,
    ord("p"): lambda m: _memo(m, int(m.line()[:20])),
    ord("q"): lambda m: _memo(m, m.number("<B")),
    ord("r"): lambda m: _memo(m, m.number("<I")),
    ord("s"): lambda m: _set_item(m, 2),
    ord("t"): lambda m: m.push(tuple(m.pop_mark())),
    ord(")"): lambda m: m.push(()),
    ord("u"): _extend,
    ord("G"): lambda m: m.push(m.number(">d")),
    ord("B"): _sized("<I", _opaque),
    ord("C"): _sized("<B", _opaque),
    0x80: _proto,
    0x81: lambda m: _call(m, 2),
    0x82: lambda m: _extension(m, "<B"),
    0x83: lambda m: _extension(m, "<H"),
    0x84: lambda m: _extension(m, "<i"),
    0x85: lambda m: _tuple(m, 1),
    0x86: lambda m: _tuple(m, 2),
    0x87: lambda m: _tuple(m, 3),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    0x8A: _sized("<B", _long),
    0x8B: _sized("<i", _long),
    0x8C: _sized("<B", _text),
    0x8D: _sized("<Q", _text),
    0x8E: _sized("<Q", _opaque),
    0x8F: lambda m: m.push(UNKNOWN),
    0x90: _extend,
    0x91: _frozen,
    0x92: lambda m: _call(m, 3),
    0x93: _stack_global,
    0x94: lambda m: _memo(m, len(m.memo)),
    0x95: _frame,
    0x96: _sized("<Q", _opaque),
    0x97: lambda m: _persistent(m, "an out-of-band buffer"),
    0x98: lambda m: None,
}


def require_whole(record: PickleRecord) -> None:
    """Raises: RefusedError when the pickle is broken."""
    if record.broken:
        raise RefusedError(PICKLE_MALFORMED, record.broken)
