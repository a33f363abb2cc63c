"""Where joblib puts an array: its raw bytes stand in the middle of the pickle, behind the object that describes them.

Source: joblib 1.5, joblib/numpy_pickle.py, `NumpyArrayWrapper.read_array`.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from casemate.scanning.symbols import Import, Made

_WRAPPER = Import("joblib.numpy_pickle", "NumpyArrayWrapper")
_DTYPE = Import("numpy", "dtype")
_CODE = re.compile(r"[<>=|]?([biufcmMSUVO])([0-9]{1,9})")
_HAS_OBJECTS = 1  # NPY_ITEM_REFCOUNT, in the flags of a dtype's state


class InlineArray(msgspec.Struct, frozen=True):
    """`size` raw bytes, or a pickle of its own; before them one byte of padding length and the padding."""

    size: int
    padded: bool
    is_pickle: bool


def inline_array(made: Made) -> InlineArray | None:
    """The array that follows `made` in the file, if it is joblib's. Raises: ValueError when its size is not known."""
    if made.function != _WRAPPER:
        return None
    state = made.state
    if type(state) is not dict:
        raise ValueError("no state")
    shape = state.get("shape")
    if type(shape) is not tuple or not all(type(size) is int and 0 <= size < 1 << 48 for size in shape):
        raise ValueError("no shape")
    width = _item_size(state.get("dtype"))
    is_pickle = width is None
    padded = not is_pickle and state.get("numpy_array_alignment_bytes") is not None
    return InlineArray(math.prod(shape) * (width or 0), padded, is_pickle)


def _item_size(dtype: Any) -> int | None:
    """Bytes per item; None for objects. Raises: ValueError."""
    if type(dtype) is not Made or dtype.function != _DTYPE or type(dtype.args) is not tuple or not dtype.args:
        raise ValueError("no dtype")
    match = _CODE.fullmatch(dtype.args[0]) if type(dtype.args[0]) is str else None
    if match is None:
        raise ValueError("no dtype code")
    kind, width = match[1], int(match[2])
    if kind == "O":
        return None
    if kind == "V" and type(dtype.state) is tuple:
        size, flags = dtype.state[5], dtype.state[7]  # IndexError is caught with the other breaks
        if type(flags) is not int or size != width:
            raise ValueError("an impossible structured dtype")
        return None if flags & _HAS_OBJECTS else width
    return width * 4 if kind == "U" else width
