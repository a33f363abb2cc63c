"""Rows as the pieces of one Parquet file, cut where the rows themselves say. Runs in the sandbox.

A row group ends after a row whose own content, with that of the seven rows before it, falls under a bound; so rows that
are added or changed move only the cuts beside them, and all other pieces stay, byte for byte. The bytes of a row group do
not depend on where it stands. What names them all, the footer, comes last, in small pieces of a fixed size: appended rows
leave most of those as they were, too.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from casemate.scanning.row_digests import numbers

_TARGET = 128 << 10  # bytes of plain rows in a piece: smaller ones name more in the footer, larger ones share less
_COLUMN_TARGET = 2 << 10  # bytes of one column in a piece: below, its own head would weigh as much as its values
_LEAST, _MOST = 4, 4  # a piece has at least a quarter of the target, and is cut at four times as much
_FOOTER = 16 << 10  # bytes of a piece of the footer
_LARGEST = 8 << 20  # bytes of any piece: a longer row group, of long rows, is several
_WINDOW = 8  # rows whose content decides on a cut
_EDGE = 8  # bytes at either end of a text that count
_ODD = np.uint64(0x9E3779B97F4A7C15)

Hashes = npt.NDArray[np.uint64]


class PieceWriter:
    """Writes record batches of one schema; hands on each piece of the file as it is done. The same rows, the same pieces."""

    def __init__(self, schema: pa.Schema, take: Callable[[bytes], None]) -> None:
        self._schema, self._take = schema, take
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(
            self._sink, schema, compression="zstd", version="2.6", store_schema=False, write_statistics=False
        )
        self._target = max(_TARGET, _COLUMN_TARGET * len(schema))
        self._waiting: list[pa.RecordBatch] = []
        self._weight = 0  # bytes of the rows that wait
        self._tail = np.zeros(_WINDOW - 1, dtype=np.uint64)  # of the rows before

    def add(self, batch: pa.RecordBatch) -> None:
        hashes, weights = row_hashes(batch), row_weights(batch)
        ends = np.cumsum(weights)
        start = 0
        for place in np.flatnonzero(self._may_cut(hashes, weights)):
            start = self._cut_long(batch, ends, start, int(place))
            before = int(ends[start - 1]) if start else 0
            if self._weight + int(ends[place]) - before >= self._target // _LEAST:
                self._wait(batch, ends, start, int(place) + 1)
                self._write()
                start = int(place) + 1
        start = self._cut_long(batch, ends, start, batch.num_rows - 1)
        self._wait(batch, ends, start, batch.num_rows)

    def close(self) -> None:
        """The rows that wait, then the footer."""
        self._write()
        self._writer.close()
        footer = self._sink.taken()
        for start in range(0, len(footer), _FOOTER):
            self._take(footer[start : start + _FOOTER])

    def _may_cut(self, hashes: Hashes, weights: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """bool (n,): whether a piece may end after this row; as likely as the row is long, and so by bytes."""
        seen = np.concatenate((self._tail, hashes))
        self._tail = seen[len(seen) - _WINDOW + 1 :]
        sums = np.concatenate((np.zeros(1, dtype=np.uint64), np.cumsum(seen, dtype=np.uint64)))
        window = _mixed(sums[_WINDOW:] - sums[:-_WINDOW])
        drawn = (window >> np.uint64(11)).astype(np.float64) / (1 << 53)
        likely: npt.NDArray[np.bool_] = drawn < weights / self._target
        return likely

    def _cut_long(self, batch: pa.RecordBatch, ends: npt.NDArray[np.int64], start: int, place: int) -> int:
        """Cut before `place` wherever a piece would grow over the bound; where the rest starts."""
        while True:
            before = int(ends[start - 1]) if start else 0
            end = int(np.searchsorted(ends, before + self._target * _MOST - self._weight, side="right"))
            if end > place:
                return start
            end = max(end, start + (not self._weight))  # one row at least, however long
            self._wait(batch, ends, start, end)
            self._write()
            start = end
            if start > place:
                return start

    def _wait(self, batch: pa.RecordBatch, ends: npt.NDArray[np.int64], start: int, end: int) -> None:
        if end > start:
            self._waiting.append(batch.slice(start, end - start))
            self._weight += int(ends[end - 1]) - (int(ends[start - 1]) if start else 0)

    def _write(self) -> None:
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting, self._schema).combine_chunks()
        self._waiting, self._weight = [], 0
        self._writer.write_table(table, row_group_size=table.num_rows)
        group = self._sink.taken()
        for start in range(0, len(group), _LARGEST):
            self._take(group[start : start + _LARGEST])


class _Sink(io.RawIOBase):
    """What was written since somebody took it."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self._written += view
        return view.nbytes

    def taken(self) -> bytes:
        taken, self._written = bytes(self._written), bytearray()
        return taken


def row_hashes(batch: pa.RecordBatch) -> Hashes:
    """uint64 (n,): a number that the content of each row gives, the same wherever it stands.

    It decides where pieces end, and on nothing else: of a text it sees the length and both ends.
    """
    found = np.zeros(batch.num_rows, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for place, column in enumerate(batch.columns):
            seed = np.uint64(place + 1) * _ODD
            found ^= _mixed(_values(column) + seed)
            found = _mixed(found)
    return found


def row_weights(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """int64 (n,): bytes of each row, about as many as it takes in plain form."""
    fixed = sum(1 if pt.is_boolean(column.type) else 8 for column in batch.columns if not _is_long(column.type))
    weights = np.full(batch.num_rows, max(1, fixed), dtype=np.int64)
    for column in batch.columns:
        if _is_long(column.type):
            weights += _lengths(column) + 4
    return weights


def _is_long(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_binary(kind))


def _lengths(column: pa.Array) -> npt.NDArray[np.int64]:
    lengths = pc.fill_null(pc.binary_length(column), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), dtype=np.int64)


def _values(column: pa.Array) -> Hashes:
    """uint64 (n,), a copy: the bits of each value; of a missing one, one of its own."""
    bits = _ends(column) if _is_long(column.type) else numbers(column).view(np.uint64).copy()
    if column.null_count:
        bits[pc.is_null(column).to_numpy(zero_copy_only=False)] = np.uint64(0x6E756C6C)
    return bits


def _ends(column: pa.Array) -> Hashes:
    """uint64 (n,): length, and both ends, of each text or run of bytes."""
    lengths = _lengths(column)
    bits = _mixed(lengths.astype(np.uint64))
    offsets, data = column.buffers()[1:]
    if data is None or not len(column):
        return bits
    starts = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column)].astype(np.int64)
    raw = np.frombuffer(data, dtype=np.uint8)
    last = max(0, len(raw) - 1)
    for step in range(_EDGE):
        inside = lengths > step
        for place in (starts + step, starts + lengths - 1 - step):
            byte = np.where(inside, raw[np.clip(place, 0, last)], 0).astype(np.uint64) if len(raw) else bits * 0
            bits = _mixed(bits + byte)
    return bits


def _mixed(values: Hashes) -> Hashes:
    """Each number spread over all 64 bits. Source: splitmix64, Steele and others 2014."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
