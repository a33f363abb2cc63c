""".npy: a header that numpy reads with `ast.literal_eval`, then raw items; never objects.

Source: numpy, NEP 1 "A simple file format for NumPy arrays".
"""

from __future__ import annotations

import ast
import math
import re
from typing import Any

from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.pickle_rules import inspect_pickles
from casemate.scanning.rules import NUMPY_MALFORMED, NUMPY_OBJECTS

MAGIC = b"\x93NUMPY"
_MOST_HEADER = 10_000  # bytes; numpy's own bound for files that it does not trust
_PLAIN = re.compile(r"[<>|=]?([biufcmMSUV])([0-9]{1,9})(\[[0-9A-Za-z]{1,12}\])?")


def inspect_npy(data: memoryview, notes: Notes, location: str) -> None:
    """Raises: RefusedError when it is broken. Objects are noted, and their pickle is followed."""
    header, start = _header(data)
    width = _item_size(header["descr"])
    shape = header["shape"]
    if type(shape) is not tuple or not all(type(size) is int and 0 <= size < 1 << 48 for size in shape):
        raise RefusedError(NUMPY_MALFORMED, "an impossible shape")
    if width is None:
        notes.add(NUMPY_OBJECTS, f"items of type {str(header['descr'])[:60]!r}", location)
        inspect_pickles(data[start:], notes, location)
    elif math.prod(shape) * width != len(data) - start:
        raise RefusedError(NUMPY_MALFORMED, f"{len(data) - start} bytes for shape {shape}")


def _header(data: memoryview) -> tuple[dict[str, Any], int]:
    """(header, where the items start). Raises: RefusedError."""
    version = data[6] if len(data) > 12 else 0
    start = 10 if version == 1 else 12
    size = int.from_bytes(data[8:start], "little")
    raw = bytes(data[start : start + min(size, _MOST_HEADER)])
    if bytes(data[:6]) != MAGIC or version not in (1, 2, 3) or len(raw) != size:
        raise RefusedError(NUMPY_MALFORMED, "its header is cut off or too long")
    try:
        header = ast.literal_eval(raw.decode("utf-8" if version == 3 else "latin-1").strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        raise RefusedError(NUMPY_MALFORMED, "its header is no dictionary") from None
    if type(header) is not dict or header.keys() != {"descr", "fortran_order", "shape"}:
        raise RefusedError(NUMPY_MALFORMED, "its header is no dictionary of descr, fortran_order and shape")
    return header, start + size


def _item_size(descr: Any, depth: int = 0) -> int | None:
    """Bytes per item, None when there are objects among them. Raises: RefusedError."""
    if type(descr) is str:
        match = _PLAIN.fullmatch(descr)
        if match is None:
            return None  # objects, or a type that only a pickle can hold
        return int(match[2]) * (4 if match[1] == "U" else 1)
    if type(descr) is not list or depth > 8:
        raise RefusedError(NUMPY_MALFORMED, "an impossible type")
    total = 0
    for field in descr:
        if type(field) is not tuple or len(field) not in (2, 3):
            raise RefusedError(NUMPY_MALFORMED, "an impossible field")
        width = _item_size(field[1], depth + 1)
        repeat = field[2] if len(field) == 3 else ()
        if width is None:
            return None
        if type(repeat) is not tuple or not all(type(size) is int and 0 <= size < 1 << 32 for size in repeat):
            raise RefusedError(NUMPY_MALFORMED, "an impossible field")
        total += width * math.prod(repeat)
    return total
