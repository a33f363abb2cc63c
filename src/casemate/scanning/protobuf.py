"""Reads a protobuf message strictly, guided by its descriptor: every field known, of the right type, once where single.

Parsers merge repeated single fields and skip unknown ones, each in its own way; here both are refused. Bytes stay where
they are: a field of bytes is a view of the file.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from casemate.scanning.notes import Notes

_DEPTH = 64  # messages within messages; a graph within a node takes three
_VARINTS = frozenset({3, 4, 5, 8, 13, 14, 17, 18})  # int64, uint64, int32, bool, uint32, enum, sint32, sint64
_WIDTH64, _WIDTH32 = frozenset({1, 6, 16}), frozenset({2, 7, 15})  # double, fixed64, sfixed64; float, fixed32, sfixed32
_TEXT, _MESSAGE, _BYTES = 9, 11, 12
_SIGNED = frozenset({3, 5, 14})

_Reader = Callable[[memoryview, "Schema"], "Message"]


class Message:
    """`kind` is its name in the schema; `fields` maps a name to a value, or to a list for repeated fields.

    Packed numbers stay one view per stretch, but those of `unpacked` fields, which become integers.
    """

    __slots__ = ("fields", "kind")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.fields: dict[str, Any] = {}

    def get(self, name: str, default: Any = None) -> Any:
        return self.fields.get(name, default)

    def all(self, name: str) -> list[Any]:
        found: list[Any] = self.fields.get(name, [])
        return found

    def messages(self) -> Iterator[Message]:
        """This message and all beneath it."""
        waiting = [self]
        while waiting:
            message = waiting.pop()
            yield message
            for value in message.fields.values():
                values = value if type(value) is list else (value,)
                waiting += [child for child in values if type(child) is Message]


class Field(msgspec.Struct, frozen=True):
    """One field: `unpacked` numbers become a list, `schema` is that of a message."""

    name: str
    kind: int
    repeated: bool
    unpacked: bool
    schema: Schema | None


class Schema:
    """The fields of one message type, by number, read once from its descriptor."""

    def __init__(self, descriptor: Any, known: dict[str, Schema], unpacked: frozenset[str]) -> None:
        known[descriptor.full_name] = self
        self.kind = descriptor.name
        self.fields: dict[int, Field] = {}
        for field in descriptor.fields:
            inner = field.message_type
            schema = None
            if inner is not None:
                schema = known.get(inner.full_name) or Schema(inner, known, unpacked)
            self.fields[field.number] = Field(field.name, field.type, field.is_repeated, field.name in unpacked, schema)


def read_message(data: memoryview, schema: Schema, notes: Notes, *, depth: int = 0) -> Message:
    """The message. Raises: ValueError with the place of the break; RefusedError when over the bound of work."""
    if depth > _DEPTH:
        raise ValueError("messages nested too deeply")
    message, at, size = Message(schema.kind), 0, len(data)

    def below(piece: memoryview, inner: Schema) -> Message:
        return read_message(piece, inner, notes, depth=depth + 1)

    counted = 0
    while at < size:
        counted += 1
        if not counted & 0xFF:
            notes.work(0x100)
        tag, at = _varint(data, at)
        field = schema.fields.get(tag >> 3)
        if field is None:
            raise ValueError(f"{schema.kind} has no field {tag >> 3}")
        value, at = _value(data, at, tag & 7, field, below)
        _keep(message, field, value)
    notes.work(counted & 0xFF)
    return message


def _keep(message: Message, field: Field, value: Any) -> None:
    name = field.name
    if not field.repeated:
        if name in message.fields:
            raise ValueError(f"{message.kind}.{name} stands twice")
        message.fields[name] = value
    elif field.unpacked and type(value) is memoryview:
        message.fields.setdefault(name, []).extend(_varints(value))
    else:
        message.fields.setdefault(name, []).append(value)


def _value(data: memoryview, at: int, wire: int, field: Field, read: _Reader) -> tuple[Any, int]:
    kind = field.kind
    if wire == 0 and kind in _VARINTS:
        number, at = _varint(data, at)
        return (number - (1 << 64) if kind in _SIGNED and number >> 63 else number), at
    if wire in (1, 5) and kind in (_WIDTH64 if wire == 1 else _WIDTH32):
        piece, at = _piece(data, at, 8 if wire == 1 else 4)
        form = {1: "<d", 2: "<f"}.get(kind, "<Q" if wire == 1 else "<I")
        return struct.unpack(form, piece)[0], at
    if wire != 2 or not (kind in (_TEXT, _MESSAGE, _BYTES) or field.repeated):
        raise ValueError(f"{field.name} is of the wrong type")
    length, at = _varint(data, at)
    piece, at = _piece(data, at, length)
    if field.schema is not None:
        return read(piece, field.schema), at
    return (_utf8(piece, field.name) if kind == _TEXT else piece), at


def _utf8(data: memoryview, name: str) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8") from None


def _piece(data: memoryview, at: int, length: int) -> tuple[memoryview, int]:
    if length > len(data) - at:
        raise ValueError("a field runs beyond its message")
    return data[at : at + length], at + length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >> 64:
                break
            return number, at
        shift += 7
        if shift > 63:
            break
    raise ValueError("a number is cut off or too large")


def _varints(data: memoryview) -> list[int]:
    """Signed numbers, packed; at most as many as a tensor has dimensions."""
    numbers: list[int] = []
    at = 0
    while at < len(data) and len(numbers) < 1024:
        number, at = _varint(data, at)
        numbers.append(number - (1 << 64) if number >> 63 else number)
    if at < len(data):
        raise ValueError("too many numbers")
    return numbers
