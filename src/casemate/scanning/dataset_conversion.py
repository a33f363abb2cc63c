"""The confined side of a dataset's conversion: `main` is the only entry."""

from __future__ import annotations

import mmap
import os

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from casemate.core import InputError, TooLargeError
from casemate.core.wire import Frame
from casemate.scanning.columns import describe_columns, find_oddities, plain_table
from casemate.scanning.compressed import compression_of
from casemate.scanning.csv_tables import read_csv
from casemate.scanning.limits import DatasetLimits, ScanLimits
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.pickle_rules import looks_like_pickle
from casemate.scanning.rules import DATASET_CONVERTED
from casemate.scanning.tables import check_shape, read_json_lines, read_parquet

_ROW_GROUP = 1 << 17  # rows


def main(frame: Frame) -> Frame:
    """Read the table of the first descriptor, write Parquet to the second; answer {"schema", "findings"}."""
    source, output = frame.fds
    message = frame.message
    limits = msgspec.convert(message["limits"], DatasetLimits)
    size = os.fstat(source).st_size
    if not size:
        raise InputError(f"{message['filename']} is empty.", code="dataset-empty")
    data = memoryview(mmap.mmap(source, size, access=mmap.ACCESS_READ))
    table, notes = read_table(data, message["filename"], limits)
    table = plain_table(table, message["filename"])
    check_shape(table, message["filename"], limits)
    schema = describe_columns(table, target=message["target"], filename=message["filename"], limits=limits)
    write_parquet(table, output, message["filename"])
    findings = [DATASET_CONVERTED.found(note, location=message["filename"]) for note in notes]
    findings += find_oddities(table)
    return Frame({"schema": schema, "findings": msgspec.to_builtins(findings)})


def read_table(data: memoryview, filename: str, limits: DatasetLimits) -> tuple[pa.Table, list[str]]:
    """(table, what was changed on the way), by content. Raises: InputError, TooLargeError."""
    head = bytes(data[:4096])
    if what := _what_else(data):
        raise InputError(
            f"{filename} is {what}, no table: export the rows as CSV, JSON Lines or Parquet.", code="dataset-format"
        )
    if head.startswith(b"PAR1"):
        return read_parquet(data, filename, limits), []
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"["):
        raise InputError(
            f"{filename} is one JSON array: write one object per line (JSON Lines).", code="dataset-format"
        )
    if start.startswith(b"{"):
        return read_json_lines(data, filename, limits), []
    return read_csv(data, filename, limits)


def _what_else(data: memoryview) -> str:
    """What people take for a dataset and is none; empty for all that may be one."""
    if bytes(data[:2]) == b"PK":
        return "a ZIP archive or an Excel workbook"
    if bytes(data[:6]) == b"\x93NUMPY" or bytes(data[:4]) == b"\x89HDF":
        return "a file of raw arrays"
    if kind := compression_of(data):
        return f"packed ({kind})"
    try:
        return "a pickle, which can run code" if looks_like_pickle(data, Notes(ScanLimits())) else ""
    except RefusedError:
        return "no text"


def write_parquet(table: pa.Table, output: int, filename: str) -> None:
    """The same bytes for the same table. Raises: TooLargeError."""
    try:
        with os.fdopen(output, "wb") as file:
            pq.write_table(
                table, file, compression="zstd", row_group_size=_ROW_GROUP, version="2.6", store_schema=False
            )
    except OSError as error:
        raise TooLargeError(
            f"{filename} becomes too large a Parquet file: split it.", code="dataset-too-large"
        ) from error
