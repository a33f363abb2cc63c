"""Columns of a dataset: what is taken, and how it becomes one of a few plain types. Runs in the sandbox."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casemate.core import InputError, TooLargeError
from casemate.scanning.image_headers import image_size
from casemate.scanning.limits import DatasetLimits

TYPE_NAMES = {  # the types that a dataset may have, by their names in schema.json
    pa.int64(): "int64",
    pa.float64(): "float64",
    pa.bool_(): "bool",
    pa.string(): "string",
    pa.binary(): "image",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp",
}
CLIP = 80  # characters of a column's name in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A table on its way: its types are known, its rows come a batch at a time, once. Args: notes: what was changed."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    notes: list[str]


def plain_schema(schema: pa.Schema, filename: str, limits: DatasetLimits) -> pa.Schema:
    """The same columns in plain types, without metadata. Raises: InputError; TooLargeError."""
    check_names(schema.names, filename, limits)
    fields = []
    for field in schema:
        plain = _plain_type(field.type)
        if plain is None:
            raise InputError(
                f"{filename}: column {field.name[:CLIP]!r} is {str(field.type)[:60]}; use numbers, text, booleans or"
                " times.",
                code="dataset-types",
            )
        fields.append(pa.field(field.name, plain))
    return pa.schema(fields)


def plain_batch(
    batch: pa.RecordBatch, schema: pa.Schema, filename: str, limits: DatasetLimits, *, before: int
) -> pa.RecordBatch:
    """The same rows in the types of `schema`; NaN becomes a missing value. Args: before: rows that came earlier.

    Raises: InputError, naming the column and the row.
    """
    arrays = []
    for field, column in zip(schema, batch.columns, strict=True):
        try:
            plain = _cast(column, field.type)
        except pa.ArrowException:
            raise InputError(
                f"{filename}: column {field.name[:CLIP]!r}, row {before + _first_misfit(column, field.type)}: "
                f"not a value that fits {TYPE_NAMES[field.type]}; mend or leave out the row.",
                code="dataset-types",
            ) from None  # what Arrow says quotes the value
        if pt.is_binary(plain.type):
            _check_images(field.name, plain, filename, limits, before)
        arrays.append(plain)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def check_names(names: list[str], filename: str, limits: DatasetLimits) -> None:
    """Raises: InputError `dataset-columns`, `dataset-empty`; TooLargeError."""
    if not names:
        raise InputError(f"{filename} has no rows.", code="dataset-empty")
    check_size(0, len(names), filename, limits)
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) != len(names) else None
    if twice is not None:
        raise InputError(f"{filename} has two columns {twice[:CLIP]!r}: rename one.", code="dataset-columns")
    bad = next((name for name in names if not name.strip() or len(name) > 200 or not name.isprintable()), None)
    if bad is not None:
        raise InputError(
            f"{filename} has a column without a usable name ({bad[:CLIP]!r}): name every column in the first line.",
            code="dataset-columns",
        )


def check_size(rows: int, columns: int, filename: str, limits: DatasetLimits) -> None:
    """Raises: TooLargeError."""
    for count, most, what in ((rows, limits.rows, "rows"), (columns, limits.columns, "columns")):
        if count > most:  # of a header that is read in part, not all columns were counted
            raise TooLargeError(f"{filename} has over {most} {what}; no more are taken.", code="dataset-too-large")


def _cast(column: pa.Array, plain: pa.DataType) -> pa.Array:
    if pt.is_timestamp(column.type) and column.type.tz:
        column = pc.local_timestamp(column.cast(pa.timestamp(column.type.unit, "UTC")))
    column = column.cast(plain, safe=not pt.is_timestamp(plain))  # nanoseconds are cut to microseconds
    if pt.is_floating(plain):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, plain), column)
    return column


def _first_misfit(column: pa.Array, plain: pa.DataType) -> int:
    """Number of the first row, from 1, that cannot be cast."""

    def fails(rows: int) -> bool:
        try:
            _cast(column.slice(0, rows), plain)
        except pa.ArrowException:
            return True
        return False

    return bisect_left(range(1, len(column) + 1), True, key=fails) + 1


def _check_images(name: str, column: pa.Array, filename: str, limits: DatasetLimits, before: int) -> None:
    """Bytes are taken as images only. Raises: InputError, TooLargeError, naming the row."""
    for row, value in enumerate(column, before + 1):
        if value.is_valid:
            image_size(value.as_buffer(), f"{filename}: column {name[:CLIP]!r}, row {row}", limits)


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
        (pt.is_binary, pa.binary()),
        (pt.is_large_binary, pa.binary()),
    )
    return next((plain for test, plain in tests if test(kind)), None)
