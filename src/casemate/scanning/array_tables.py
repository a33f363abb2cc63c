"""NumPy's .npy and .npz -> Arrow batches: arrays of plain items, never objects. Runs in the sandbox.

An array of one dimension is a column, one of more has a column for each item of a row, and one with named fields a column for
each. All arrays of a .npz have as many rows. Items are read as they are needed, so an array may be larger than memory, but
one that lies column by column (Fortran order) may not.
"""

from __future__ import annotations

import io
import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.lib.format as npy
import pyarrow as pa

from casemate.core import InputError, TooLargeError
from casemate.scanning.asked_file import AskedFile
from casemate.scanning.columns import Rows, check_names, check_size
from casemate.scanning.limits import DatasetLimits

_BATCH_BYTES = 16 << 20  # of items that are looked at together
_BUFFER = 1 << 20  # bytes read at a time
_MOST_HEADER = 10_000  # bytes; numpy's own bound for files that it does not trust
_MOST_ARRAYS = 1000
_WHOLE = 256 << 20  # bytes of an array that has to be held whole
# What reading a broken archive or header raises. `zipfile` says NotImplementedError of a method of compression that it does not
# know, and hands on what a decompressor says; numpy reads headers of Python 2 through `tokenize`.
_BREAKS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError, OSError, ValueError, TypeError, RuntimeError,
    SyntaxError, tokenize.TokenError,
)  # fmt: skip
_KINDS = "biufUM"  # of items: truth, whole numbers, floating ones, text, times


def read_npy(file: AskedFile, filename: str, limits: DatasetLimits) -> Rows:
    """Raises: InputError `dataset-malformed`, `dataset-types`, `dataset-columns`; TooLargeError."""
    stem = filename.rpartition("/")[2].removesuffix(".npy") or "array"
    return _rows([_opened(io.BufferedReader(file.from_start(), _BUFFER), stem, filename)], filename, limits)


def read_npz(file: AskedFile, filename: str, limits: DatasetLimits) -> Rows:
    """Raises: as `read_npy`."""
    arrays = []
    try:
        archive = zipfile.ZipFile(file.from_start())
        members = archive.infolist()
        names = [member.filename.removesuffix(".npy") for member in members]
        if len(set(names)) != len(names) or len(names) > _MOST_ARRAYS or any(one.flag_bits & 1 for one in members):
            raise _malformed(filename, "an array comes twice, is encrypted, or there are too many")
        for member, name in zip(members, names, strict=True):
            arrays.append(_opened(archive.open(member), name, filename))
    except _BREAKS as error:
        raise _malformed(filename, "its archive cannot be read") from error
    if not arrays:
        raise InputError(f"{filename} has no rows.", code="dataset-empty")
    return _rows(arrays, filename, limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Array:
    """One array: its items follow in `stream`, row by row."""

    name: str
    stream: IO[bytes]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    whole: np.ndarray[Any, Any] | None = None  # where it lies column by column

    @property
    def width(self) -> int:
        """Items in a row."""
        return math.prod(self.shape[1:])

    @property
    def columns(self) -> list[str]:
        if self.dtype.names:
            return [str(name) for name in self.dtype.names]
        return [self.name] if len(self.shape) == 1 else [f"{self.name}_{item}" for item in range(self.width)]


def _opened(stream: IO[bytes], name: str, filename: str) -> _Array:
    """Raises: InputError."""
    try:
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise _malformed(filename, "a version of the format that is not known")
        shape, by_column, dtype = read(stream, max_header_size=_MOST_HEADER)
    except _BREAKS as error:
        raise _malformed(filename, "a header that cannot be read") from error
    _check_items(name, dtype, shape, filename)
    whole = None
    if by_column and len(shape) > 1:
        size = math.prod(shape) * dtype.itemsize
        if size > _WHOLE:
            raise TooLargeError(
                f"{filename}: {name[:80]!r} lies column by column and has over {_WHOLE} bytes; save it row by row, as"
                " numpy.ascontiguousarray gives it.",
                code="dataset-too-large",
            )
        whole = np.frombuffer(_exactly(stream, size, filename), dtype).reshape(shape, order="F")
    return _Array(name=name, stream=stream, dtype=dtype, shape=shape, whole=whole)


def _check_items(name: str, dtype: np.dtype[Any], shape: tuple[int, ...], filename: str) -> None:
    kinds = [dtype[one] for one in dtype.names] if dtype.names else [dtype]
    if any(kind.hasobject or kind.kind not in _KINDS or kind.shape or kind.itemsize > 1 << 20 for kind in kinds):
        raise InputError(
            f"{filename}: {name[:80]!r} holds {str(dtype)[:60]}; use plain numbers, text, truth values or times.",
            code="dataset-types",
        )
    if not shape or (dtype.names and len(shape) != 1) or not dtype.itemsize:
        raise InputError(f"{filename}: {name[:80]!r} of shape {shape} has no rows.", code="dataset-columns")


def _rows(arrays: list[_Array], filename: str, limits: DatasetLimits) -> Rows:
    counts = {array.shape[0] for array in arrays}
    if len(counts) > 1:
        told = ", ".join(f"{array.name[:40]} {array.shape[0]}" for array in arrays[:6])
        raise InputError(
            f"{filename}: its arrays have different numbers of rows ({told}): save those of one table together.",
            code="dataset-columns",
        )
    check_size(counts.pop(), sum(max(1, array.width) for array in arrays), filename, limits)
    names = [column for array in arrays for column in array.columns]
    check_names(names, filename, limits)
    kinds = [pa.from_numpy_dtype(kind) for array in arrays for kind in _plain(array)]
    notes = [
        f"{array.name[:80]}: {array.width} items of a row became columns" for array in arrays if len(array.shape) > 2
    ]
    schema = pa.schema(list(zip(names, kinds, strict=True)))
    return Rows(schema=schema, batches=_batches(arrays, schema, filename), notes=notes)


def _plain(array: _Array) -> list[np.dtype[Any]]:
    """The type of each column, as Arrow takes it: native byte order, single and double precision, times in days or finer."""
    kinds = (
        [array.dtype[one] for one in array.dtype.names] if array.dtype.names else [array.dtype] * max(1, array.width)
    )
    return [_arrow_kind(kind) for kind in kinds]


def _arrow_kind(kind: np.dtype[Any]) -> np.dtype[Any]:
    if kind.kind == "f" and kind.itemsize not in (2, 4, 8):
        return np.dtype(np.float64)
    if kind.kind == "M":
        unit = np.datetime_data(kind)[0]
        known = unit if unit in ("s", "ms", "us", "ns") else "D" if unit in ("Y", "M", "W", "D") else "s"
        return np.dtype(f"datetime64[{known}]")
    return kind.newbyteorder("=")


def _batches(arrays: list[_Array], schema: pa.Schema, filename: str) -> Iterator[pa.RecordBatch]:
    count = arrays[0].shape[0]
    size = sum(array.dtype.itemsize * max(1, array.width) for array in arrays)
    step = max(1, _BATCH_BYTES // max(1, size))
    for start in range(0, count, step):
        stop = min(count, start + step)
        columns = [column for array in arrays for column in _columns(array, start, stop, filename)]
        arrow = [
            pa.array(
                column.astype(_arrow_kind(column.dtype)) if column.dtype.kind != "U" else column.tolist(), field.type
            )
            for column, field in zip(columns, schema, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrow, schema=schema)
    for array in arrays:
        if array.whole is None and array.stream.read(1):
            raise _malformed(filename, "more items than its header says")


def _columns(array: _Array, start: int, stop: int, filename: str) -> list[np.ndarray[Any, Any]]:
    """Each column of these rows."""
    if array.whole is not None:
        rows = array.whole[start:stop]
    else:
        size = (stop - start) * array.dtype.itemsize * array.width
        rows = np.frombuffer(_exactly(array.stream, size, filename), array.dtype).reshape(
            stop - start, *array.shape[1:]
        )
    if array.dtype.names:
        return [rows[name] for name in array.dtype.names]
    return [rows] if rows.ndim == 1 else list(rows.reshape(len(rows), array.width).T)


def _exactly(stream: IO[bytes], size: int, filename: str) -> bytes:
    try:
        data = stream.read(size)
    except _BREAKS as error:
        raise _malformed(filename, "its archive cannot be read") from error
    if len(data) != size:
        raise _malformed(filename, "fewer items than its header says")
    return data


def _malformed(filename: str, why: str) -> InputError:
    return InputError(f"{filename} is no whole NumPy file ({why}): save it again.", code="dataset-malformed")
