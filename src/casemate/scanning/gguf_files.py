"""GGUF: typed keys, tensors that lie within the file, and a chat template that is no program.

Source: ggml docs/gguf.md, version 3. Readers have been overflown by its counts and lengths (CVE-2024-21802, -21825, -21836,
-23496, -23605; CVE-2025-53630), and its template has run code (CVE-2024-34359).
"""

from __future__ import annotations

import math
import struct
from typing import Any

from casemate.scanning.chat_templates import check_template
from casemate.scanning.format_rules import GGUF_MALFORMED
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.rules import FORMAT_UNSUPPORTED

_VERSIONS = (2, 3)
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # value type -> bytes
_TEXT, _ARRAY, _BOOL = 8, 9, 7
_MOST_KEYS, _MOST_TENSORS, _MOST_NAME = 1 << 16, 1 << 16, 1 << 16
# tensor type -> (values in a block, bytes of a block); ggml.c `type_traits`
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip


def inspect_gguf(data: memoryview, notes: Notes, location: str) -> dict[str, Any]:
    """Facts about the file; notes that it is not served. Raises: RefusedError."""
    reader = _Reader(data, notes)
    try:
        version, tensors, keys = reader.header()
        values = reader.keys(keys)
        shapes, spans = reader.tensors(tensors)
    except struct.error:
        raise _broken(f"cut off at byte {reader.at}") from None
    alignment = values.get("general.alignment", 32)
    if type(alignment) is not int or not 8 <= alignment <= 1 << 16 or alignment & (alignment - 1):
        raise _broken("an alignment that is no power of two")
    start, before = -(-reader.at // alignment) * alignment, 0
    for offset, size, name in sorted(spans):
        if offset % alignment or offset < before or start + offset + size > len(data):
            raise _broken(f"{name}: its data overlap others or lie outside the file")
        before = offset + size
    if len(data) - (start + before) >= alignment:
        raise _broken(f"{len(data) - start - before} bytes behind the tensors")
    for key, value in values.items():
        if "chat_template" in key and type(value) is str:
            check_template(value, notes, f"{location}!{key}")
    notes.add(FORMAT_UNSUPPORTED, "GGUF, which no runtime of Casemate loads yet", location)
    return {
        "version": version,
        "tensors": len(shapes),
        "architecture": str(values.get("general.architecture", ""))[:60],
    }


class _Reader:
    def __init__(self, data: memoryview, notes: Notes) -> None:
        self.data, self.at, self.notes = data, 0, notes

    def header(self) -> tuple[int, int, int]:
        _, version, tensors, keys = self._take("<4sIQQ")
        if version not in _VERSIONS or tensors > _MOST_TENSORS or keys > _MOST_KEYS:
            raise _broken(f"version {version}, {tensors} tensors, {keys} keys")
        return version, tensors, keys

    def keys(self, count: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(count):
            key = self._text(_MOST_NAME)
            if key in found:
                raise _broken(f"the key {key[:60]!r} stands twice")
            (kind,) = self._take("<I")
            found[key] = self._value(kind, 0)
        return found

    def tensors(self, count: int) -> tuple[dict[str, list[int]], list[tuple[int, int, str]]]:
        """(shape by name, (offset, bytes, name) of each)."""
        shapes: dict[str, list[int]] = {}
        spans = []
        for _ in range(count):
            self.notes.work()
            name = self._text(_MOST_NAME)
            (dimensions,) = self._take("<I")
            if name in shapes or not 1 <= dimensions <= 4:
                raise _broken(f"{name[:60]!r} stands twice, or has {dimensions} dimensions")
            shape = list(self._take(f"<{dimensions}Q"))
            kind, offset = self._take("<IQ")
            if kind not in _BLOCKS or any(size >= 1 << 40 for size in shape) or offset >= 1 << 60:
                raise _broken(f"{name[:60]}: an impossible shape, type or offset")
            values, size = _BLOCKS[kind]
            if shape[0] % values:
                raise _broken(f"{name[:60]}: rows that are not whole blocks")
            shapes[name] = shape
            spans.append((offset, math.prod(shape) // values * size, name[:60]))
        return shapes, spans

    def _take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return found

    def _text(self, most: int) -> str:
        (size,) = self._take("<Q")
        if size > most or size > len(self.data) - self.at:
            raise _broken(f"text of {size} bytes at byte {self.at}")
        self.at += size
        try:
            return str(self.data[self.at - size : self.at], "utf-8")
        except UnicodeDecodeError:
            raise _broken(f"text that is not UTF-8 at byte {self.at - size}") from None

    def _value(self, kind: int, depth: int) -> Any:
        self.notes.work()
        if kind == _TEXT:
            return self._text(1 << 24)
        if kind == _ARRAY:
            return self._array(depth)
        if kind not in _SIZES:
            raise _broken(f"a value of type {kind} at byte {self.at}")
        raw = bytes(self.data[self.at : self.at + _SIZES[kind]])
        if len(raw) != _SIZES[kind] or (kind == _BOOL and raw[0] > 1):
            raise _broken(f"a value cut off, or neither true nor false, at byte {self.at}")
        self.at += len(raw)
        return int.from_bytes(raw, "little")

    def _array(self, depth: int) -> None:
        kind, count = self._take("<IQ")
        left = len(self.data) - self.at
        if depth >= 4 or count > left // _SIZES.get(kind, 8):
            raise _broken(f"an array of {count} at byte {self.at}, too deep or behind the end")
        if kind in _SIZES:
            self.at += count * _SIZES[kind]
            return
        for _ in range(count):
            self._value(kind, depth + 1)


def _broken(evidence: str) -> RefusedError:
    return RefusedError(GGUF_MALFORMED, evidence)
