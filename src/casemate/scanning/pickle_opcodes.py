"""What each opcode does to the symbols of a `Machine`.

Source: CPython, Lib/pickletools.py: opcodes of protocols 0 to 5.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any

from casemate.scanning.pickle_machine import BrokenError, Machine, Site
from casemate.scanning.symbols import UNKNOWN, extend

_HIGHEST = 5  # protocol


class StopError(Exception):
    """STOP was reached."""


def _text(raw: bytes | memoryview) -> str:
    return bytes(raw).decode("utf-8", "surrogatepass")


def _old_text(raw: bytes | memoryview) -> str:
    return bytes(raw).decode("latin-1")


def _quoted(raw: bytes) -> str:
    if len(raw) < 2 or raw[:1] != raw[-1:] or raw[:1] not in b"'\"":
        raise BrokenError("a string without quotes")
    return _old_text(codecs.escape_decode(raw[1:-1])[0])


def _int_line(raw: bytes) -> int | bool:
    return raw == b"01" if raw in (b"00", b"01") else int(raw[:4000], 0)


def _proto(m: Machine) -> None:
    if m.take(1)[0] > _HIGHEST:
        raise BrokenError("a protocol that does not exist")


def _frame(m: Machine) -> None:
    size = m.number("<Q")
    if m.frame_end or size > len(m.data) - m.at:
        raise BrokenError("a frame inside a frame, or beyond the end")
    m.frame_end = m.at + size


def _stop(_: Machine) -> None:
    raise StopError


def _pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.pop_mark()


def _pop_mark(m: Machine) -> None:
    m.pop_mark()


def _mark(m: Machine) -> None:
    m.marks.append(m.stack)
    m.stack = []


def _memo(m: Machine, key: int) -> None:
    m.memo[key] = m.stack[-1]


def _get(m: Machine, key: int) -> None:
    if key not in m.memo:
        raise BrokenError("a memo that was never set")
    m.push(m.memo[key])


def _inst(m: Machine) -> None:
    module, name = _text(m.line()), _text(m.line())
    args = m.pop_mark()
    m.add_import(module, name)
    m.call(m.stack.pop(), tuple(args))


def _obj(m: Machine) -> None:
    function, *args = m.pop_mark()
    m.call(function, tuple(args))


def _call(m: Machine, count: int) -> None:
    function, *args = m.stack[-count:]
    if len(m.stack) < count:
        raise BrokenError("the stack is empty")
    del m.stack[-count:]
    m.call(function, args[0])


def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    m.add_import(module, name)


def _global(m: Machine) -> None:
    m.add_import(_text(m.line()), _text(m.line()))


def _extension(m: Machine, form: str) -> None:
    m.record.unresolvable.append(Site(f"extension code {m.number(form)}", m.at - 1))
    m.push(UNKNOWN)


def _persistent(m: Machine, text: str) -> None:
    m.record.persistent.append(Site(text, m.at - 1))
    m.push(UNKNOWN)


def _binary_persistent(m: Machine) -> None:
    m.stack.pop()
    _persistent(m, "a persistent id from the stack")


def _dict(m: Machine) -> None:
    items = m.pop_mark()
    m.push({})
    extend(m.stack[-1], items)


def _extend(m: Machine) -> None:
    items = m.pop_mark()
    extend(m.stack[-1], items)


def _set_item(m: Machine, count: int) -> None:
    items = m.stack[-count:]
    del m.stack[-count:]
    extend(m.stack[-1], items)


def _tuple(m: Machine, count: int) -> None:
    if len(m.stack) < count:
        raise BrokenError("the stack is empty")
    items = tuple(m.stack[-count:])
    del m.stack[-count:]
    m.push(items)


def _frozen(m: Machine) -> None:
    m.pop_mark()
    m.push(UNKNOWN)


def _sized(form: str, read: Callable[[memoryview], Any]) -> Callable[[Machine], None]:
    return lambda m: m.push(read(m.take(m.number(form))))


def _opaque(_: memoryview) -> Any:
    return UNKNOWN


def _long(raw: memoryview) -> int:
    return int.from_bytes(raw[:4000], "little", signed=True)


ACTIONS: dict[int, Callable[[Machine], None]] = {
    ord("("): _mark,
    ord("."): _stop,
    ord("0"): _pop,
    ord("1"): _pop_mark,
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
    0x98: lambda _: None,
}
