"""Runs inside the sandbox: reads a table with pyarrow, and writes plain columns as Parquet."""

from __future__ import annotations

import csv
import io
import mmap
from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from casemate.core import SCHEMA, Finding, InputError, Severity, TooLargeError
from casemate.core.wire import Frame
from casemate.scanning.limits import DatasetLimits

_PARQUET = b"PAR1"
_DELIMITERS = ",;\t|"
_HEADER = 64 << 10  # bytes in which the header line must end
_MAX_NAME = 200  # characters of a column's name
_ROW_GROUP = 100_000  # rows


def convert(frame: Frame) -> Frame:
    """The job: file in `fds[0]`, Parquet out to `fds[1]`, schema and findings in the answer."""
    limits = msgspec.convert(frame.message["limits"], DatasetLimits)
    source, output = frame.fds
    table = _normal(_read(source, limits), limits)
    target = frame.message["target"]
    if target is not None and target not in table.column_names:
        raise InputError(
            f"There is no column {target[:80]!r}; there are {', '.join(table.column_names[:20])}.",
            code="dataset-target",
        )
    columns = [_described(table, name, target, limits) for name in table.column_names]
    with open(output, "wb", closefd=False) as file:
        pq.write_table(table, file, compression="zstd", row_group_size=_ROW_GROUP)
        if file.tell() > limits.file_bytes:
            raise TooLargeError(f"The dataset has over {limits.file_bytes} bytes as Parquet.", code="dataset-too-large")
    schema = {"schema": SCHEMA, "rows": table.num_rows, "columns": columns}
    return Frame({"schema": schema, "findings": msgspec.to_builtins(_oddities(table, columns))})


def _read(source: int, limits: DatasetLimits) -> pa.Table:
    if not _size(source):
        raise InputError("The file is empty.", code="dataset-empty")
    data = mmap.mmap(source, 0, prot=mmap.PROT_READ)  # never closed: the table may point into it
    start = data[:8].removeprefix(b"\xef\xbb\xbf").lstrip()
    if data[:4] == _PARQUET:
        return _parquet(data, limits)
    if data[:6] in (b"ARROW1", b"\x93NUMPY") or start[:1] in (b"\x80", b"(") or b"\0" in data[:_HEADER]:
        raise InputError("The file is not CSV, JSON Lines or Parquet; convert it first.", code="dataset-format")
    try:
        return _json_lines(data) if start[:1] == b"{" else _csv(data)
    except UnicodeDecodeError as error:
        raise InputError("The text is not UTF-8; save it as UTF-8.", code="dataset-encoding") from error


def _size(source: int) -> int:
    with open(source, "rb", closefd=False) as file:
        return file.seek(0, io.SEEK_END)


def _parquet(data: mmap.mmap, limits: DatasetLimits) -> pa.Table:
    try:
        file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(data)))
        groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > limits.uncompressed_bytes:
            raise TooLargeError(f"The rows take over {limits.uncompressed_bytes} bytes.", code="dataset-too-large")
        _check_shape(file.metadata.num_rows, file.metadata.num_columns, limits)
        return file.read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise InputError("The Parquet file is damaged.", code="dataset-malformed") from error


def _json_lines(data: mmap.mmap) -> pa.Table:
    try:
        return pa_json.read_json(
            pa.BufferReader(pa.py_buffer(data)),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=16 << 20),
            parse_options=pa_json.ParseOptions(unexpected_field_behavior="infer"),
        )
    except pa.ArrowException as error:
        place = str(error).partition("JSON parse error: ")[2] or str(error)
        raise InputError(f"The JSON Lines file is malformed: {place[:200]}", code="dataset-malformed") from error


def _csv(data: mmap.mmap) -> pa.Table:
    header, _, rest = data[:_HEADER].removeprefix(b"\xef\xbb\xbf").partition(b"\n")
    if not rest.strip():
        raise InputError("The file has no row under its header line.", code="dataset-empty")
    line = header.decode().rstrip("\r")
    delimiter = max(_DELIMITERS, key=line.count)
    names = next(csv.reader([line], delimiter=delimiter), [])
    _check_names([name.strip() for name in names])
    bad: list[Any] = []

    def refuse(row: Any) -> str:
        bad.append(row)
        return "error"

    try:
        return pa_csv.read_csv(
            pa.BufferReader(pa.py_buffer(data)),
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=16 << 20, column_names=None),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=pa_csv.ConvertOptions(strings_can_be_null=True),
        ).rename_columns([name.strip() for name in names])
    except pa.ArrowException as error:
        if "invalid UTF8" in str(error) or "invalid UTF-8" in str(error):
            raise InputError("The text is not UTF-8; save it as UTF-8.", code="dataset-encoding") from error
        if bad:
            where = f"line {bad[0].number}" if bad[0].number else "a line"
            what = f"{where} has {bad[0].actual_columns} fields, and the header {bad[0].expected_columns}"
        else:
            what = str(error).partition("\n")[0][:200]
        raise InputError(f"The CSV file is malformed: {what}.", code="dataset-malformed") from error


def _normal(table: pa.Table, limits: DatasetLimits) -> pa.Table:
    """The same rows in plain types, in one chunk a column."""
    if not table.num_rows or not table.num_columns:
        raise InputError("The dataset holds no row.", code="dataset-empty")
    _check_shape(table.num_rows, table.num_columns, limits)
    _check_names(table.column_names)
    if table.nbytes > limits.uncompressed_bytes:
        raise TooLargeError(f"The rows take over {limits.uncompressed_bytes} bytes.", code="dataset-too-large")
    columns = [_plain(name, table.column(name), limits) for name in table.column_names]
    return pa.table(dict(zip(table.column_names, columns, strict=True)))


def _check_shape(rows: int, columns: int, limits: DatasetLimits) -> None:
    if rows > limits.rows or columns > limits.columns:
        raise TooLargeError(
            f"{rows} rows and {columns} columns are over {limits.rows} and {limits.columns}.", code="dataset-too-large"
        )


def _check_names(names: list[str]) -> None:
    for index, name in enumerate(names, 1):
        if not name or len(name) > _MAX_NAME or not name.isprintable():
            raise InputError(f"Column {index} has no usable name.", code="dataset-columns")
    if len(set(names)) != len(names):
        raise InputError("Two columns have the same name.", code="dataset-columns")


_TARGETS: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (pa.types.is_boolean, pa.bool_()),
    (pa.types.is_integer, pa.int64()),
    (pa.types.is_floating, pa.float64()),
    (pa.types.is_decimal, pa.float64()),
    (pa.types.is_string, pa.string()),
    (pa.types.is_large_string, pa.string()),
    (pa.types.is_null, pa.string()),
    (pa.types.is_date, pa.date32()),
    (pa.types.is_timestamp, pa.timestamp("us", "UTC")),
)


def _plain(name: str, column: pa.ChunkedArray, limits: DatasetLimits) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    target = next((target for fits, target in _TARGETS if fits(column.type)), None)
    if target is None:
        raise InputError(
            f"Column {name[:80]!r} is of type {str(column.type)[:80]}: use numbers, text, dates or truth values.",
            code="dataset-types",
        )
    try:
        plain = column.cast(target)
    except pa.ArrowException as error:
        raise InputError(f"Column {name[:80]!r} does not fit {target}.", code="dataset-types") from error
    if target == pa.string():
        longest = pc.max(pc.binary_length(plain)).as_py()
        if longest is not None and longest > limits.cell_bytes:
            raise TooLargeError(
                f"A cell of {name[:80]!r} has over {limits.cell_bytes} bytes.", code="dataset-too-large"
            )
    return plain


_NAMES = {
    pa.bool_(): "bool",
    pa.int64(): "int64",
    pa.float64(): "float64",
    pa.string(): "string",
    pa.date32(): "date",
    pa.timestamp("us", "UTC"): "timestamp",
}


def _described(table: pa.Table, name: str, target: str | None, limits: DatasetLimits) -> dict[str, Any]:
    column = table.column(name)
    kind = _NAMES[column.type]
    about: dict[str, Any] = {
        "name": name,
        "type": kind,
        "role": "target" if name == target else "feature",
        "min": None,
        "max": None,
        "nulls": column.null_count,
    }
    if kind in ("int64", "float64"):
        finite = column.filter(pc.is_finite(column)) if kind == "float64" else column
        bounds = pc.min_max(finite).as_py()
        about |= {"min": bounds["min"], "max": bounds["max"]}
    if kind == "string" or (name == target and kind in ("int64", "bool")):
        values = pc.unique(column.drop_null())
        if len(values) <= limits.categories:
            about["categories"] = sorted(values.to_pylist())
    return about


def _oddities(table: pa.Table, columns: list[dict[str, Any]]) -> list[Finding]:
    found = []
    for column in columns:
        if column["type"] == "float64":
            data = table.column(column["name"]).drop_null()
            odd = data.length() - (pc.sum(pc.is_finite(data)).as_py() or 0)
            if odd:
                found.append(_odd("dataset-not-finite", column["name"], f"{odd} values are NaN or infinite"))
        if column["nulls"] == table.num_rows:
            found.append(_odd("dataset-empty-column", column["name"], "every value is missing"))
    return found


def _odd(rule: str, column: str, what: str) -> Finding:
    return Finding(
        id=rule,
        title="A column looks odd",
        severity=Severity.LOW,
        evidence=what,
        location=column[:80],
        remediation="Check where the column comes from, and clean or drop it before training.",
    )
