"""Every tensor of an ONNX model: its shape, its bytes, and where they lie.

Source: onnx/onnx.in.proto, message TensorProto; onnx docs/ExternalData.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from casemate.core import InputError, checked_path
from casemate.scanning.notes import Notes
from casemate.scanning.protobuf import Message
from casemate.scanning.rules import ONNX_EXTERNAL, ONNX_TENSOR

_STRING = 8
_BITS = {  # data type -> bits per element
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
    17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2, 27: 6, 28: 6,
}  # fmt: skip
_FIELD = {1: "float_data", 14: "float_data", 7: "int64_data", 11: "double_data", 15: "double_data"}
_FIELD |= {12: "uint64_data", 13: "uint64_data", _STRING: "string_data"}  # the others: int32_data
_PER_ELEMENT = {14: 2, 15: 2}  # numbers of a complex element
_FIXED = {"float_data": 4, "double_data": 8}  # bytes per number
_ALL_FIELDS = ("float_data", "int32_data", "int64_data", "uint64_data", "double_data", "string_data")
_MOST_ELEMENTS = 1 << 40
_EXTERNAL = 1
_CONTINUATION = bytes(range(0x80, 0x100))  # bytes of a varint that are not its last


class TensorCheck:
    """Checks tensors of the model at `model`; `files` maps each path beside it to its size.

    Attributes: spans: (start, stop) of the tensors in each file that holds weights. elements: of all tensors.
    """

    def __init__(self, model: str, files: Mapping[str, int], notes: Notes) -> None:
        self._model, self._files, self._notes = model, files, notes
        self.spans: dict[str, set[tuple[int, int]]] = {}
        self.elements = 0

    def check(self, tensor: Message) -> None:
        name = tensor.get("name", "") or "a tensor without name"
        kind, dims = tensor.get("data_type", 0), tensor.all("dims")
        if kind not in _BITS and kind != _STRING:
            return self._bad(f"{name}: no data type {kind}")
        if len(dims) > 64 or any(size < 0 for size in dims) or _product(dims) > _MOST_ELEMENTS:
            return self._bad(f"{name}: an impossible shape")
        count = _product(dims)
        self.elements += count
        if tensor.get("data_location", 0) == _EXTERNAL or tensor.all("external_data"):
            return self._check_external(tensor, name, math.ceil(count * _BITS.get(kind, 0) / 8))
        return self._check_inside(tensor, name, kind, count)

    def _bad(self, evidence: str) -> None:
        self._notes.add(ONNX_TENSOR, evidence, self._model)

    def _check_inside(self, tensor: Message, name: str, kind: int, count: int) -> None:
        used = [field for field in _ALL_FIELDS if tensor.all(field)]
        raw = tensor.get("raw_data")
        if raw is not None:
            if used or kind == _STRING or len(raw) != math.ceil(count * _BITS[kind] / 8):
                self._bad(f"{name}: {len(raw)} bytes for {count} elements")
            return
        field = _FIELD.get(kind, "int32_data")
        wanted = count * _PER_ELEMENT.get(kind, 1)
        found = _numbers(tensor, field)
        packed = _BITS.get(kind, 8) < 8 and found == math.ceil(count * _BITS[kind] / 8)
        if (used and used != [field]) or (found != wanted and not packed):
            self._bad(f"{name}: {found} values in {field} for {count} elements")

    def _check_external(self, tensor: Message, name: str, wanted: int) -> None:
        entries = [(entry.get("key", ""), entry.get("value", "")) for entry in tensor.all("external_data")]
        keys = dict(entries)
        problem = ""
        if len(keys) != len(entries) or keys.keys() - {"location", "offset", "length", "checksum"}:
            problem = "unknown keys, or one twice"
        elif tensor.get("raw_data") is not None or any(tensor.all(field) for field in _ALL_FIELDS):
            problem = "bytes both inside and outside"
        elif tensor.get("data_location", 0) != _EXTERNAL or tensor.get("data_type") == _STRING:
            problem = "it does not say that its bytes lie outside"
        else:
            problem = self._place(keys, wanted)
        if problem:
            self._notes.add(ONNX_EXTERNAL, f"{name}: {problem}", self._model)

    def _place(self, keys: Mapping[str, str], wanted: int) -> str:
        """What is wrong with where the bytes are said to lie; empty when nothing is."""
        location = keys.get("location", "")
        try:
            folder = self._model.rpartition("/")[0]
            path = checked_path(f"{folder}/{location}" if folder else location)
        except InputError:
            return f"its location {location!r} is no path beside the model"
        if path == self._model or path not in self._files:
            return f"its file {location!r} is not among the model's files"
        numbers = [keys.get("offset", "0"), keys.get("length", str(wanted))]
        if not all(text.isascii() and text.isdigit() and len(text) < 19 for text in numbers):
            return "its offset or length is no number"
        offset, length = map(int, numbers)
        if length != wanted or offset + length > self._files[path]:
            return (
                f"bytes {offset} to {offset + length} of {location!r}, which has {self._files[path]}; {wanted} wanted"
            )
        self.spans.setdefault(path, set()).add((offset, offset + length))
        return ""


def _product(dims: list[int]) -> int:
    return math.prod(dims[:64])


def _numbers(tensor: Message, field: str) -> int:
    """How many numbers a field holds, packed or not."""
    total = 0
    for item in tensor.all(field):
        if field == "string_data" or type(item) is not memoryview:
            total += 1
        elif field in _FIXED:
            total += len(item) // _FIXED[field] if len(item) % _FIXED[field] == 0 else -1 << 62
        else:
            total += len(bytes(item).translate(None, _CONTINUATION))
    return total
