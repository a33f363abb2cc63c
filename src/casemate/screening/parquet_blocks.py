"""A Parquet file as blocks of rows, read as they are asked for. Runs in the sandbox."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from casemate.core import Digest
from casemate.screening.asked import BLOCK
from casemate.screening.columns import Bools, Ints
from casemate.screening.verdicts import digest_of_row

_WIDE = 500  # rows of a block of a table with images or other bytes


class ParquetBlocks:
    """The rows of a descriptor, block by block, in their order."""

    def __init__(self, descriptor: int, *, block: int = BLOCK) -> None:
        size = os.fstat(descriptor).st_size
        self._data = pa.py_buffer(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))
        file = self._opened()
        self.schema, self.num_rows = file.schema_arrow, file.metadata.num_rows
        self.block = _WIDE if any(pa.types.is_binary(field.type) for field in self.schema) else block

    def blocks(self, columns: list[str] | None = None) -> Iterator[Any]:
        """Record batches. Args: columns: of these alone; None: all."""
        yield from self._opened().iter_batches(self.block, columns=columns, use_threads=False)

    def table(self) -> Any:
        """All rows at once: for tables that are small."""
        return self._opened().read(use_threads=False)

    def file(self) -> Any:
        """The file itself, for who reads it otherwise."""
        return self._opened()

    def digests(self, places: Any, columns: list[str]) -> list[Digest]:
        """The names of the rows at these places by the values of these columns, as `verdicts.digest_of_row`."""
        found: dict[int, Digest] = {}
        for low, block in self._at(np.unique(np.asarray(places, np.int64)), columns):
            for place, row in zip(low.tolist(), block.to_pylist(), strict=True):
                found[place] = digest_of_row(row)
        return [found[int(place)] for place in places]

    def take(self, places: Any, columns: list[str]) -> Any:
        """Arrow table of the rows at these places, ascending, each once."""
        parts = [block for _, block in self._at(np.asarray(places, np.int64), columns)]
        return pa.Table.from_batches(parts)

    def _at(self, wanted: Ints, columns: list[str]) -> Iterator[tuple[Ints, Any]]:
        start = 0
        for block in self.blocks(columns):
            low, high = np.searchsorted(wanted, [start, start + block.num_rows])
            if high > low:
                yield wanted[low:high], block.take(pa.array(wanted[low:high] - start))
            start += block.num_rows

    def part(self, aside: Bools, clean: int, suspects: int, numbers: str) -> None:
        """Write the rows that are not set aside to one descriptor, and those that are, with their numbers, to the other."""
        numbered = self.schema.append(pa.field(numbers, pa.int64()))
        with (
            os.fdopen(clean, "wb") as first,
            os.fdopen(suspects, "wb") as second,
            _writer(first, self.schema) as kept,
            _writer(second, numbered) as out,
        ):
            start = 0
            for block in self.blocks():
                mine = aside[start : start + block.num_rows]
                kept.write_batch(block.filter(pa.array(~mine)))
                if mine.any():
                    places = pa.array(np.flatnonzero(mine) + start)
                    rows = block.filter(pa.array(mine))
                    out.write_batch(pa.RecordBatch.from_arrays([*rows.columns, places], schema=numbered))
                start += block.num_rows

    def _opened(self) -> Any:
        return pq.ParquetFile(pa.BufferReader(self._data))


def _writer(file: Any, schema: Any) -> Any:
    return pq.ParquetWriter(file, schema, compression="zstd", version="2.6", store_schema=False)


class Said:
    """The values of rows that lie in a file, for their digests alone."""

    def __init__(self, table: ParquetBlocks, columns: list[str]) -> None:
        self._table, self._columns = table, columns

    def digests(self, places: Any) -> list[Digest]:
        return self._table.digests(places, self._columns)
