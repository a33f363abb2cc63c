"""Parquet and JSON Lines -> Arrow tables, within the bounds. Runs in the sandbox."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from casemate.core import InputError, TooLargeError
from casemate.scanning.limits import DatasetLimits

Scalar = str | int | float | bool | None


def check_shape(table: pa.Table, filename: str, limits: DatasetLimits) -> None:
    """Raises: InputError, TooLargeError."""
    if table.num_rows == 0 or table.num_columns == 0:
        raise InputError(f"{filename} has no rows.", code="dataset-empty")
    check_size(table.num_rows, table.num_columns, filename, limits)
    if table.nbytes > limits.uncompressed_bytes:
        raise TooLargeError(f"{filename} unpacks to {table.nbytes} bytes: split it.", code="dataset-too-large")
    names = table.column_names
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) != len(names) else None
    if twice is not None:
        raise InputError(f"{filename} has two columns {twice[:80]!r}: rename one.", code="dataset-columns")
    bad = next((name for name in names if not name.strip() or len(name) > 200 or not name.isprintable()), None)
    if bad is not None:
        raise InputError(
            f"{filename} has a column without a usable name ({bad[:80]!r}): name every column in the first line.",
            code="dataset-columns",
        )


def check_size(rows: int, columns: int, filename: str, limits: DatasetLimits) -> None:
    """Raises: TooLargeError."""
    for count, most, what in ((rows, limits.rows, "rows"), (columns, limits.columns, "columns")):
        if count > most:  # of a header that is read in part, not all columns were counted
            raise TooLargeError(f"{filename} has over {most} {what}; no more are taken.", code="dataset-too-large")


def read_parquet(data: memoryview, filename: str, limits: DatasetLimits) -> pa.Table:
    """Raises: InputError, TooLargeError: by its own account too large, which is asked before anything is unpacked."""
    try:
        file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(data)), page_checksum_verification=True)
        meta = file.metadata
        check_size(meta.num_rows, meta.num_columns, filename, limits)
        size = sum(meta.row_group(number).total_byte_size for number in range(meta.num_row_groups))
        if size > limits.uncompressed_bytes:
            raise TooLargeError(f"{filename} unpacks to {size} bytes: split it.", code="dataset-too-large")
        return file.read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{filename} is broken Parquet ({_first_line(error)}): export it again.", code="dataset-malformed"
        ) from error


def read_json_lines(data: memoryview, filename: str, limits: DatasetLimits) -> pa.Table:
    """Every line one object of plain values. Raises: InputError that names the line; TooLargeError."""
    columns: dict[str, list[Scalar]] = {}
    rows = 0
    for number, line in enumerate(bytes(data).removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        row = _object(line, number, filename, limits)
        for name in [name for name in row if name not in columns]:
            columns[name] = [None] * rows
        for name, values in columns.items():
            values.append(row.get(name))
        rows += 1
        check_size(rows, len(columns), filename, limits)
    return pa.table({name: _column(name, values, filename) for name, values in columns.items()})


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


def _column(name: str, values: list[Scalar], filename: str) -> pa.Array:
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int, float}:
        values = [None if value is None else float(value) for value in values]
    elif len(kinds) > 1:
        raise InputError(
            f"{filename}: column {name[:80]!r} mixes {' and '.join(sorted(kind.__name__ for kind in kinds))}: use one type.",
            code="dataset-types",
        )
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        row = next(number for number, value in enumerate(values, 1) if not _is_storable(value))
        raise InputError(
            f"{filename}: column {name[:80]!r}, row {row}: a number beyond 64 bits, or text that is no Unicode; "
            "mend or leave out the row.",
            code="dataset-types",
        ) from None  # what Arrow says quotes the value


def _is_storable(value: Scalar) -> bool:
    try:
        pa.array([value])
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
