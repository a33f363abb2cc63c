"""safetensors: a JSON header, then raw tensors without a gap, an overlap or a byte too many.

Source: github.com/huggingface/safetensors, README "Format".
"""

from __future__ import annotations

import math
from typing import Any

from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.rules import SAFETENSORS_MALFORMED
from casemate.scanning.strict_json import parse_json

_MOST_HEADER = 16 << 20  # bytes; the reference implementation allows 100 MB, real files stay below 1 MB
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


def looks_like_safetensors(data: memoryview) -> bool:
    """Does it start with a length and an opening brace?"""
    return len(data) >= 9 and data[8] == ord("{") and (data[7] == 0 or int.from_bytes(data[:8], "little") <= len(data))


def inspect_safetensors(data: memoryview, notes: Notes) -> dict[str, Any]:
    """Facts about the file. Raises: RefusedError."""
    size = int.from_bytes(data[:8], "little")
    if size > _MOST_HEADER or size > len(data) - 8:
        raise _broken(f"a header of {size} bytes; at most {_MOST_HEADER}, and within the file")
    try:
        header = parse_json(data[8 : 8 + size])
    except ValueError as error:
        raise _broken(f"its header: {error}") from None
    if bytes(data[8 : 8 + size]).rstrip(b" ")[-1:] != b"}" or type(header) is not dict:
        raise _broken("its header is no JSON object padded with spaces")
    metadata = header.pop("__metadata__", {})
    if type(metadata) is not dict or not all(type(value) is str for value in metadata.values()):
        raise _broken("its metadata is not text by text")
    notes.work(len(header))
    spans = sorted(_span(name, entry) for name, entry in header.items())
    at = parameters = 0
    for start, stop, name, count in spans:
        if start != at:
            raise _broken(f"{name}: a gap or an overlap at byte {min(start, at)} of the data")
        at, parameters = stop, parameters + count
    if 8 + size + at != len(data):
        raise _broken(f"the tensors take {at} bytes, the file has {len(data) - 8 - size}")
    return {"tensors": len(spans), "parameters": parameters, "datatypes": sorted({e["dtype"] for e in header.values()})}


def _broken(evidence: str) -> RefusedError:
    return RefusedError(SAFETENSORS_MALFORMED, evidence)


def _span(name: str, entry: Any) -> tuple[int, int, str, int]:
    """(start, stop, name, elements). Raises: RefusedError."""
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _broken(f"{name}: not dtype, shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    sizes = [*shape, *offsets] if type(shape) is list and type(offsets) is list else [None]
    if not all(type(size) is int and 0 <= size < 1 << 48 for size in sizes) or len(offsets) != 2 or len(shape) > 64:
        raise _broken(f"{name}: an impossible shape or offset")
    if type(entry["dtype"]) is not str or entry["dtype"] not in _BITS:
        raise _broken(f"{name}: no data type {str(entry['dtype'])[:40]!r}")
    count = math.prod(shape)
    if count * _BITS[entry["dtype"]] != (offsets[1] - offsets[0]) * 8:
        raise _broken(f"{name}: {offsets[1] - offsets[0]} bytes for {count} elements of {entry['dtype']}")
    return offsets[0], offsets[1], name, count
