"""UBJSON as XGBoost writes it, with one meaning only: no duplicate keys, bounded depth, every length within the file.

Source: ubjson.org (draft 12); xgboost src/common/json.cc `UBJReader`, which knows these markers and no other.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from casemate.scanning.notes import Notes

_DEPTH = 64
_NUMBERS = {"d": ">f4", "D": ">f8", "U": ">u1", "i": ">i1", "I": ">i2", "l": ">i4", "L": ">i8"}
_LENGTH = struct.Struct(">q")


def parse_ubjson(data: memoryview, notes: Notes) -> Any:
    """The value; typed arrays as numpy arrays. Raises: ValueError with a sentence, RefusedError when over the bound."""
    reader = _Reader(data, notes)
    try:
        value = reader.value(0)
    except (struct.error, IndexError):
        raise ValueError(f"cut off at byte {reader.at}") from None
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes behind its end")
    return value


class _Reader:
    def __init__(self, data: memoryview, notes: Notes) -> None:
        self.data, self.at, self.notes = data, 0, notes

    def value(self, depth: int) -> Any:
        if depth > _DEPTH:
            raise ValueError("nested too deeply")
        self.notes.work()
        marker = self._marker()
        match marker:
            case "{":
                return self._object(depth)
            case "[":
                return self._array(depth)
            case "S":
                return self._text()
            case "T" | "F":
                return marker == "T"
            case "Z":
                return None
            case _ if marker in _NUMBERS:
                return self._numbers(marker, 1)[0].item()
        raise ValueError(f"no value starts with {marker!r}, at byte {self.at - 1}")

    def _marker(self) -> str:
        self.at += 1
        return chr(self.data[self.at - 1])

    def _length(self, least: int) -> int:
        """A count of items that take `least` bytes each."""
        if self._marker() != "L":
            raise ValueError(f"a length that is no int64, at byte {self.at - 1}")
        (count,) = _LENGTH.unpack_from(self.data, self.at)
        self.at += _LENGTH.size
        if not 0 <= count <= (len(self.data) - self.at) // least:
            raise ValueError(f"a length of {count} at byte {self.at}, behind the end of the file")
        return int(count)

    def _text(self) -> str:
        size = self._length(1)
        self.at += size
        try:
            return str(self.data[self.at - size : self.at], "utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"text that is not UTF-8 at byte {self.at - size}") from None

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while chr(self.data[self.at]) != "}":
            key = self._text()
            if key in found:
                raise ValueError(f"the key {key[:60]!r} stands twice")
            found[key] = self.value(depth + 1)
        self.at += 1
        return found

    def _array(self, depth: int) -> Any:
        marker = chr(self.data[self.at])
        if marker == "$":
            self.at += 1
            kind = self._marker()
            if kind not in _NUMBERS or self._marker() != "#":
                raise ValueError(f"an array of no known type at byte {self.at}")
            return self._numbers(kind, self._length(np.dtype(_NUMBERS[kind]).itemsize))
        if marker == "#":
            self.at += 1
            return [self.value(depth + 1) for _ in range(self._length(1))]
        items = []
        while chr(self.data[self.at]) != "]":
            items.append(self.value(depth + 1))
        self.at += 1
        return items

    def _numbers(self, kind: str, count: int) -> Any:
        dtype = np.dtype(_NUMBERS[kind])
        size = count * dtype.itemsize
        piece = self.data[self.at : self.at + size]
        if len(piece) != size:
            raise ValueError(f"cut off at byte {self.at}")
        self.at += size
        return np.frombuffer(piece, dtype)
