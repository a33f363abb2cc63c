"""The confined side of a dataset's conversion: `main` is the only entry. It holds a few batches of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pyarrow as pa

from casemate.core import Finding, InputError, TooLargeError
from casemate.core.wire import Frame
from casemate.sandbox import Asking
from casemate.scanning.array_tables import read_npy, read_npz
from casemate.scanning.asked_file import AskedFile
from casemate.scanning.column_facts import TableFacts
from casemate.scanning.columns import Rows, check_size, plain_batch, plain_schema
from casemate.scanning.compressed import compression_of
from casemate.scanning.csv_tables import read_csv
from casemate.scanning.folder_tables import is_folder, read_folder
from casemate.scanning.image_headers import JPEG, PNG
from casemate.scanning.limits import DatasetLimits, ScanLimits
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.pickle_rules import looks_like_pickle
from casemate.scanning.row_pieces import PieceWriter
from casemate.scanning.rules import DATASET_CONVERTED
from casemate.scanning.tables import BATCH_ROWS, read_arrow, read_json_lines, read_parquet

_HEAD = 1 << 20  # bytes by which the kinds are told apart
_ZIP = b"PK\3\4"


def main(frame: Frame, ask: Asking) -> Frame:
    """message: {"filename", "size", "target", "limits"}. Asks {"read": [offset, size]} and {"piece": bytes of it}.

    Answers {"schema", "findings"} once all pieces were taken.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # gives back what is freed; the default one holds on to it
    message = frame.message
    limits = msgspec.convert(message["limits"], DatasetLimits)
    file = AskedFile(ask, message["size"])

    def take(piece: bytes) -> None:
        ask({"piece": len(piece)}, [piece])

    schema, findings = convert(file, message["filename"], take, target=message["target"], limits=limits)
    return Frame({"schema": schema, "findings": msgspec.to_builtins(findings)})


def convert(
    file: AskedFile, filename: str, take: Callable[[bytes], None], *, target: str | None, limits: DatasetLimits
) -> tuple[dict[str, Any], list[Finding]]:
    """Hand on the table as pieces of one Parquet file; (content of schema.json, findings). Raises: InputError."""
    rows = read_table(file, filename, limits)
    schema = plain_schema(rows.schema, filename, limits)
    facts = TableFacts(schema, target=target, filename=filename, limits=limits)
    writer = PieceWriter(schema, take)
    size = 0
    for batch in _parts(rows):
        plain = plain_batch(batch, schema, filename, limits, before=facts.rows)
        facts.add(plain)
        check_size(facts.rows, 0, filename, limits)
        size += plain.nbytes
        if size > limits.uncompressed_bytes:
            raise TooLargeError(
                f"{filename} unpacks to over {limits.uncompressed_bytes} bytes: split it.", code="dataset-too-large"
            )
        writer.add(plain)
    if not facts.rows:
        raise InputError(f"{filename} has no rows.", code="dataset-empty")
    writer.close()
    findings = [DATASET_CONVERTED.found(note, location=filename) for note in rows.notes]
    return facts.described(), findings + facts.oddities()


def _parts(rows: Rows) -> Iterator[pa.RecordBatch]:
    """The same rows, at most so many together."""
    for batch in rows.batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)


def read_table(file: AskedFile, filename: str, limits: DatasetLimits) -> Rows:
    """The rows of whatever kind of file it is, by its content. Raises: InputError, TooLargeError."""
    head = file.head(_HEAD)
    if not head:
        raise InputError(f"{filename} is empty.", code="dataset-empty")
    if head.startswith(_ZIP) and b".npy" in head[:400]:
        return read_npz(file, filename, limits)
    if is_folder(head):
        return read_folder(file, filename, limits)
    if what := _what_else(memoryview(head)):
        raise InputError(
            f"{filename} is {what}, no table: export the rows as CSV, JSON Lines, Parquet, Arrow or NumPy.",
            code="dataset-format",
        )
    for mark, read in _MARKS:
        if head.startswith(mark):
            return read(file, filename, limits)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"["):
        raise InputError(
            f"{filename} is one JSON array: write one object per line (JSON Lines).", code="dataset-format"
        )
    return read_json_lines(file, filename, limits) if start.startswith(b"{") else read_csv(file, filename, limits)


_MARKS: tuple[tuple[bytes, Callable[[AskedFile, str, DatasetLimits], Rows]], ...] = (
    (b"PAR1", read_parquet),
    (b"ARROW1", read_arrow),
    (b"\xff\xff\xff\xff", read_arrow),  # the first message of an IPC stream
    (b"\x93NUMPY", read_npy),
)


_OTHERS = {
    b"PK": "a ZIP archive or an Excel workbook",
    b"\x89HDF": "a file of raw arrays",
    b"FEA1": "Feather of the first version, which nobody writes any more",
    PNG: "one image, and its folder is what can be pushed",
    JPEG: "one image, and its folder is what can be pushed",
}


def _what_else(head: memoryview) -> str:
    """What people take for a dataset and is none; empty for all that may be one."""
    start = bytes(head[:8])
    if known := next((what for mark, what in _OTHERS.items() if start.startswith(mark)), ""):
        return known
    if kind := compression_of(head):
        return f"packed ({kind})"
    try:
        return "a pickle, which can run code" if looks_like_pickle(head, Notes(ScanLimits())) else ""
    except RefusedError:
        return "no text"
