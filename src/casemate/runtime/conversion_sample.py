"""The confined side of reading a sample: the numbers of a normalised Parquet file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from casemate.core import InputError
from casemate.core.wire import Frame


def main(frame: Frame) -> Frame:
    """message: {"most", "columns": names, or None for all}; answer: {"rows", "width"} and float64 bytes in C order."""
    table = _first_rows(f"/proc/self/fd/{frame.fds[0]}", frame.message["columns"], frame.message["most"])
    columns = [_numbers(name, column) for name, column in zip(table.column_names, table.columns, strict=True)]
    if not columns:
        raise InputError("The sample has no column of features.", code="convert-sample")
    rows = np.ascontiguousarray(np.stack(columns, axis=1))
    return Frame({"rows": rows.shape[0], "width": rows.shape[1]}, [bytearray(rows.tobytes())])


def _first_rows(path: str, columns: list[str] | None, most: int) -> Any:
    """As many as are needed, not all of a large file."""
    file, batches, left = pq.ParquetFile(path), [], most
    for batch in file.iter_batches(batch_size=most, columns=columns):
        batches.append(batch.slice(0, left))
        left -= batches[-1].num_rows
        if left <= 0:
            break
    table = pa.Table.from_batches(batches, None if batches else file.schema_arrow)
    return table if columns is None or not batches else table.select(columns)


def _numbers(name: str, column: Any) -> Any:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise InputError(f"The sample's column {name[:60]!r} is no number: leave it out.", code="convert-sample")
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
