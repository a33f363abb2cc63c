"""Tensors as raw bytes between gateway and worker. Either side may be hostile to the other: sizes are checked.

Numbers travel as their little-endian C-order bytes; text as the Open Inference Protocol's binary form of BYTES: each
string a 4-byte little-endian length and its UTF-8.

Source: Open Inference Protocol v2, binary data extension, "Tensor Data Size".
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from casemate.core import DATATYPES, MAX_DIMENSIONS, SandboxError

Array = np.ndarray[Any, Any]
Buffer = bytes | bytearray | memoryview
Header = tuple[str, str, list[int]]  # name, datatype, shape

_LENGTH = struct.Struct("<I")
_DTYPES = {datatype: np.dtype(name) for datatype, name in DATATYPES.items()}
_DATATYPES = {dtype: datatype for datatype, dtype in _DTYPES.items()}


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name of a numpy type; any text is BYTES. Raises: SandboxError: `tensor-type`."""
    if dtype.kind in "US":
        return "BYTES"
    try:
        return _DATATYPES[dtype]
    except KeyError:
        raise SandboxError(f"A tensor of type {dtype} cannot be served.", code="tensor-type") from None


def encode_tensors(arrays: Mapping[str, Array]) -> tuple[list[Header], list[Buffer]]:
    """Headers and raw buffers, in the same order. Raises: SandboxError: `tensor-type`."""
    headers: list[Header] = []
    buffers: list[Buffer] = []
    for name, array in arrays.items():
        datatype = datatype_of(array.dtype)
        headers.append((name, datatype, list(array.shape)))
        buffers.append(_encode_text(array) if datatype == "BYTES" else array.tobytes())
    return headers, buffers


def decode_tensors(headers: Any, buffers: Sequence[Buffer], *, max_texts: int = sys.maxsize) -> dict[str, Array]:
    """The arrays again, read-only where the bytes are.

    Args: max_texts: strings in all tensors together; numbers are not copied, but each string takes its time.
    Raises: SandboxError: `tensor-malformed`, whatever came.
    """
    arrays: dict[str, Array] = {}
    try:
        if len(headers) != len(buffers):
            raise ValueError("as many headers as buffers")
        for (name, datatype, shape), buffer in zip(headers, buffers, strict=True):
            array = arrays[_checked_name(name)] = _decode(datatype, shape, buffer, max_texts)
            max_texts -= array.size if datatype == "BYTES" else 0
        if len(arrays) != len(headers):
            raise ValueError("two tensors of one name")
    except (ValueError, TypeError, KeyError, struct.error) as error:
        raise SandboxError("A malformed tensor came through the walls.", code="tensor-malformed") from error
    return arrays


def _checked_name(name: Any) -> str:
    if type(name) is not str:
        raise TypeError("a tensor's name is text")
    return name


def _decode(datatype: Any, shape: Any, buffer: Buffer, max_texts: int) -> Array:
    dtype = _DTYPES[datatype]
    if len(shape) > MAX_DIMENSIONS or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError("shape")
    count = math.prod(shape)
    if datatype == "BYTES":
        if count > max_texts:
            raise ValueError("too many strings")
        return _decode_text(count, buffer).reshape(shape)
    if count * dtype.itemsize != len(buffer):
        raise ValueError("size")
    array = np.frombuffer(buffer, dtype).reshape(shape)
    if datatype == "BOOL" and array.view(np.uint8).max(initial=0) > 1:
        raise ValueError("neither true nor false")
    return array


def _encode_text(array: Array) -> bytes:
    parts: list[bytes] = []
    for value in array.ravel().tolist():
        raw = value if isinstance(value, bytes) else str(value).encode()
        parts += (_LENGTH.pack(len(raw)), raw)
    return b"".join(parts)


def _decode_text(count: int, buffer: Buffer) -> Array:
    if count > len(buffer) // _LENGTH.size:
        raise ValueError("more strings than bytes")
    array, offset = np.empty(count, dtype=object), 0
    for index in range(count):
        (size,) = _LENGTH.unpack_from(buffer, offset)
        offset += _LENGTH.size
        if offset + size > len(buffer):
            raise ValueError("a string ends past the buffer")
        array[index] = bytes(buffer[offset : offset + size]).decode()
        offset += size
    if offset != len(buffer):
        raise ValueError("bytes left over")
    return array
