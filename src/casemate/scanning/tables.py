"""Parquet, Arrow and JSON Lines -> Arrow batches, within the bounds. Runs in the sandbox."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from casemate.core import InputError, TooLargeError
from casemate.scanning.asked_file import AskedFile
from casemate.scanning.columns import Rows, check_size
from casemate.scanning.limits import DatasetLimits

Scalar = str | int | float | bool | None

BATCH_ROWS = 1 << 16
_BATCH_BYTES = 16 << 20  # of plain values that are looked at together, where the file says how long its rows are
_BUFFER = 1 << 20  # bytes read at a time


def read_parquet(file: AskedFile, filename: str, limits: DatasetLimits) -> Rows:
    """Raises: InputError, TooLargeError: by its own account too large, which is asked before anything is unpacked."""
    try:
        parquet = pq.ParquetFile(pa.PythonFile(file, mode="r"), page_checksum_verification=True, pre_buffer=False)
        meta = parquet.metadata
        check_size(meta.num_rows, meta.num_columns, filename, limits)
        size = sum(meta.row_group(number).total_byte_size for number in range(meta.num_row_groups))
        if size > limits.uncompressed_bytes:
            raise TooLargeError(f"{filename} unpacks to {size} bytes: split it.", code="dataset-too-large")
        schema = parquet.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken("Parquet", error, filename) from error
    long = max(1, size // max(1, meta.num_rows))
    batches = parquet.iter_batches(batch_size=min(BATCH_ROWS, max(1, _BATCH_BYTES // long)), use_threads=False)
    return Rows(schema=schema, batches=_told(batches, "Parquet", filename), notes=[])


def read_arrow(file: AskedFile, filename: str, limits: DatasetLimits) -> Rows:
    """An IPC file, which Feather is, or an IPC stream. Every batch is checked before it is used. Raises: InputError."""
    try:
        if file.head(6) == b"ARROW1":
            found = pa.ipc.open_file(pa.PythonFile(file, mode="r"))
            batches = (found.get_batch(number) for number in range(found.num_record_batches))
        else:
            found = pa.ipc.open_stream(pa.PythonFile(file, mode="r"))
            batches = iter(found)
        check_size(0, len(found.schema), filename, limits)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken("Arrow", error, filename) from error
    return Rows(schema=found.schema, batches=_checked(_told(batches, "Arrow", filename), filename), notes=[])


def read_json_lines(file: AskedFile, filename: str, limits: DatasetLimits) -> Rows:
    """Every line one object of plain values: read once for the columns and their types, and again for the rows.

    Raises: InputError that names the line; TooLargeError.
    """
    kinds: dict[str, pa.DataType | None] = {}
    for rows, (_, row) in enumerate(_objects(file, filename, limits), 1):
        for name, value in row.items():
            kinds[name] = _wider(kinds.get(name), value, name, filename)
        check_size(rows, len(kinds), filename, limits)
    schema = pa.schema([(name, kind or pa.null()) for name, kind in kinds.items()])
    return Rows(schema=schema, batches=_json_batches(file, schema, filename, limits), notes=[])


def _told(batches: Iterator[pa.RecordBatch], kind: str, filename: str) -> Iterator[pa.RecordBatch]:
    """The same; what breaks on the way is one sentence."""
    try:
        yield from batches
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken(kind, error, filename) from error


def _checked(batches: Iterator[pa.RecordBatch], filename: str) -> Iterator[pa.RecordBatch]:
    """Arrow takes buffers as they come; offsets that lead out of them are found here, before anything follows them."""
    for batch in batches:
        try:
            batch.validate(full=True)
        except pa.ArrowException as error:
            raise _broken("Arrow", error, filename) from error
        yield batch


def _broken(kind: str, error: Exception, filename: str) -> InputError:
    """Arrow's first words, without what it quotes: that may be somebody's data. Raises: MemoryError: it was that."""
    if isinstance(error, MemoryError):
        raise error
    said = _first_line(error).partition(":")[0].partition("'")[0]
    return InputError(f"{filename} is broken {kind} ({said[:80].strip()}): export it again.", code="dataset-malformed")


def _json_batches(file: AskedFile, schema: pa.Schema, filename: str, limits: DatasetLimits) -> Iterator[pa.RecordBatch]:
    waiting: list[dict[str, Scalar]] = []
    size = rows = 0
    for length, row in _objects(file, filename, limits):
        waiting.append(row)
        size += length
        if len(waiting) == BATCH_ROWS or size >= _BATCH_BYTES:
            yield _batch(waiting, schema, filename, rows)
            rows += len(waiting)
            waiting, size = [], 0
    if waiting:
        yield _batch(waiting, schema, filename, rows)


def _batch(found: list[dict[str, Scalar]], schema: pa.Schema, filename: str, before: int) -> pa.RecordBatch:
    columns = [_column(field, [row.get(field.name) for row in found], filename, before) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _objects(file: AskedFile, filename: str, limits: DatasetLimits) -> Iterator[tuple[int, dict[str, Scalar]]]:
    """(bytes of the line, object) of each line that is not empty."""
    start = 3 if file.head(3) == b"\xef\xbb\xbf" else 0
    longest = limits.cell_bytes * 64
    reader = io.BufferedReader(file.from_start(start), _BUFFER)
    for number, line in enumerate(iter(lambda: reader.readline(longest + 1), b""), 1):
        if len(line) > longest:
            raise TooLargeError(f"{filename}, line {number}: over {longest} bytes.", code="dataset-too-large")
        if line.strip():
            yield len(line), _object(line, number, filename, limits)


def _wider(known: pa.DataType | None, value: Scalar, name: str, filename: str) -> pa.DataType | None:
    """The type that holds what came before and this value too. Raises: InputError."""
    kind = None if value is None else _KINDS[type(value)]
    if kind is None or known is None or kind == known:
        return kind or known
    if {kind, known} == {pa.int64(), pa.float64()}:
        return pa.float64()
    both = sorted(_JSON_NAMES[one] for one in (kind, known))
    raise InputError(
        f"{filename}: column {name[:80]!r} mixes {' and '.join(both)}: use one type.", code="dataset-types"
    )


_KINDS = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_JSON_NAMES = {pa.string(): "str", pa.int64(): "int", pa.float64(): "float", pa.bool_(): "bool"}


def _object(line: bytes, number: int, filename: str, limits: DatasetLimits) -> dict[str, Scalar]:
    try:
        row = json.loads(line.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{filename}, line {number}: not strict JSON ({_first_line(error)}).", code="dataset-malformed"
        ) from None
    if type(row) is not dict:
        raise InputError(f"{filename}, line {number}: not an object.", code="dataset-malformed")
    for name, value in row.items():
        if type(value) in (dict, list):
            raise InputError(
                f"{filename}, line {number}: {name[:80]!r} is nested; use plain values only.", code="dataset-types"
            )
        if type(value) is str and len(value) > limits.cell_bytes:
            raise TooLargeError(
                f"{filename}, line {number}: {name[:80]!r} has over {limits.cell_bytes} characters.",
                code="dataset-too-large",
            )
    return row


def _column(field: pa.Field, values: list[Scalar], filename: str, before: int) -> pa.Array:
    if field.type == pa.float64():
        values = [None if value is None else float(value) for value in values]
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        row = before + next(number for number, value in enumerate(values, 1) if not _is_storable(value, field.type))
        raise InputError(
            f"{filename}: column {field.name[:80]!r}, row {row}: a number beyond 64 bits, or text that is no Unicode; "
            "mend or leave out the row.",
            code="dataset-types",
        ) from None  # what Arrow says quotes the value


def _is_storable(value: Scalar, kind: pa.DataType) -> bool:
    try:
        pa.array([value], kind)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:120].rstrip(".")
