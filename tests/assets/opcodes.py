"""Pickles assembled by hand, opcode by opcode; nothing here can load one.

What they would do if somebody loaded them: create an empty file, `MARKER`, and nothing else.
"""

from __future__ import annotations

import struct

MARKER = "/tmp/casemate-evil-ran"
TOUCH = f"touch {MARKER}"
PYTHON = f"open({MARKER!r}, 'w').close()"


def text(value: str) -> bytes:
    """SHORT_BINUNICODE."""
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def proto(number: int = 4) -> bytes:
    return b"\x80" + bytes([number])


def memoize() -> bytes:
    return b"\x94"


def get(number: int) -> bytes:
    return b"h" + bytes([number])


def import_4(module: str, name: str) -> bytes:
    """STACK_GLOBAL of two strings."""
    return text(module) + text(name) + b"\x93"


def import_0(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def call_4(module: str, name: str, *arguments: str) -> bytes:
    """A whole pickle of protocol 4 that calls `module.name` with texts."""
    return proto() + call(import_4(module, name), *map(text, arguments)) + b"."


def call_0(module: str, name: str, argument: str = TOUCH) -> bytes:
    """The same in protocol 0, all of it printable."""
    return f"c{module}\n{name}\n(V{argument}\ntR.".encode()


def framed(body: bytes, length: int | None = None) -> bytes:
    return proto() + b"\x95" + struct.pack("<Q", len(body) if length is None else length) + body
