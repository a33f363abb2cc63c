"""Columns of a dataset: cast to a few plain types, and described in schema.json. Runs in the sandbox."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casemate.core import Finding, InputError, TooLargeError
from casemate.scanning.limits import DatasetLimits
from casemate.scanning.rules import DATASET_EMPTY_COLUMN, DATASET_NOT_FINITE

_NAMES = {  # the types that a dataset may have, by their names in schema.json
    pa.int64(): "int64",
    pa.float64(): "float64",
    pa.bool_(): "bool",
    pa.string(): "string",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp",
}
_CLIP = 80  # characters of a column's name in a message


def plain_table(table: pa.Table, filename: str) -> pa.Table:
    """The same rows in plain types, without metadata; NaN becomes a missing value. Raises: InputError."""
    arrays = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        plain = _plain_type(column.type)
        if plain is None:
            raise InputError(
                f"{filename}: column {name[:_CLIP]!r} is {str(column.type)[:60]}; use numbers, text, booleans or times.",
                code="dataset-types",
            )
        try:
            arrays.append(_cast(column, plain))
        except pa.ArrowException:
            raise InputError(
                f"{filename}: column {name[:_CLIP]!r}, row {_first_misfit(column, plain)}: "
                f"not a value that fits {_NAMES[plain]}; mend or leave out the row.",
                code="dataset-types",
            ) from None  # what Arrow says quotes the value
    return pa.table(arrays, schema=pa.schema([(n, a.type) for n, a in zip(table.column_names, arrays, strict=True)]))


def _cast(column: pa.ChunkedArray, plain: pa.DataType) -> pa.ChunkedArray:
    if pt.is_timestamp(column.type) and column.type.tz:
        column = pc.local_timestamp(column.cast(pa.timestamp(column.type.unit, "UTC")))
    column = column.cast(plain, safe=not pt.is_timestamp(plain))  # nanoseconds are cut to microseconds
    if pt.is_floating(plain):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, plain), column)
    return column


def _first_misfit(column: pa.ChunkedArray, plain: pa.DataType) -> int:
    """Number of the first row, from 1, that cannot be cast."""

    def fails(rows: int) -> bool:
        try:
            _cast(column.slice(0, rows), plain)
        except pa.ArrowException:
            return True
        return False

    return bisect_left(range(1, len(column) + 1), True, key=fails) + 1


def _plain_type(kind: pa.DataType) -> pa.DataType | None:
    while pt.is_dictionary(kind):
        kind = kind.value_type
    tests = (
        (pt.is_integer, pa.int64()),
        (pt.is_floating, pa.float64()),
        (pt.is_decimal, pa.float64()),
        (pt.is_boolean, pa.bool_()),
        (pt.is_string, pa.string()),
        (pt.is_large_string, pa.string()),
        (pt.is_string_view, pa.string()),
        (pt.is_null, pa.string()),
        (pt.is_date, pa.date32()),
        (pt.is_timestamp, pa.timestamp("us")),
    )
    return next((plain for test, plain in tests if test(kind)), None)


def find_oddities(table: pa.Table) -> list[Finding]:
    """Columns that somebody should look at before training."""
    found = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count == table.num_rows:
            found.append(DATASET_EMPTY_COLUMN.found("every value is missing", location=name))
        elif pt.is_floating(column.type) and (odd := pc.sum(pc.is_inf(column)).as_py()):
            found.append(DATASET_NOT_FINITE.found(f"{odd} infinite values", location=name))
    return found


def describe_columns(table: pa.Table, *, target: str | None, filename: str, limits: DatasetLimits) -> dict[str, Any]:
    """The content of schema.json. Raises: InputError when there is no column `target`; TooLargeError for a long value."""
    if target is not None and target not in table.column_names:
        known = ", ".join(table.column_names[:12])
        raise InputError(f"{filename} has no column {target[:_CLIP]!r}; it has {known[:400]}.", code="dataset-target")
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        role = None if target is None else "target" if name == target else "feature"
        if pt.is_string(column.type):
            _check_cells(name, column, filename, limits)
        columns.append({"name": name, "type": _NAMES[column.type], "role": role, **_facts(column, role, limits)})
    return {"schema": 1, "rows": table.num_rows, "columns": columns}


def _facts(column: pa.ChunkedArray, role: str | None, limits: DatasetLimits) -> dict[str, Any]:
    low, high = (None, None) if pt.is_string(column.type) or pt.is_boolean(column.type) else _range(column)
    facts: dict[str, Any] = {"min": low, "max": high, "nulls": column.null_count}
    if pt.is_string(column.type) or (role == "target" and not pt.is_floating(column.type)):
        values = pc.unique(column.drop_null())
        if 0 < len(values) <= limits.categories:
            facts["categories"] = sorted(
                value if isinstance(value, str | int) else str(value) for value in values.to_pylist()
            )
    return facts


def _range(column: pa.ChunkedArray) -> tuple[Any, Any]:
    """(least, greatest) of the finite values; text for dates and times."""
    if pt.is_floating(column.type):
        column = column.filter(pc.is_finite(column))
    ends = pc.min_max(column).as_py()
    low, high = ends["min"], ends["max"]
    if isinstance(low, int | float):
        return (low, high) if math.isfinite(low) else (None, None)
    return (low.isoformat(), high.isoformat()) if low is not None else (None, None)


def _check_cells(name: str, column: pa.ChunkedArray, filename: str, limits: DatasetLimits) -> None:
    longest = pc.max(pc.binary_length(column)).as_py() or 0
    if longest > limits.cell_bytes:
        raise TooLargeError(
            f"{filename}: column {name[:_CLIP]!r} has a value of {longest} bytes; at most {limits.cell_bytes} are taken.",
            code="dataset-too-large",
        )
