"""The same rows are the same pieces, and rows that are added move only the cuts beside them."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from casemate.scanning.row_pieces import PieceWriter


def pieces(table: pa.Table, batch: int = 65_536) -> list[bytes]:
    found: list[bytes] = []
    writer = PieceWriter(table.schema, found.append)
    for part in table.combine_chunks().to_batches(batch):
        writer.add(part)
    writer.close()
    return found


def tables() -> dict[str, pa.Table]:
    rng = np.random.default_rng(3)
    count = 60_000
    words = [None if n % 7 == 0 else f"word-{n % 501}" for n in range(count)]
    return {
        "numbers": pa.table({"a": rng.normal(size=count), "b": rng.integers(0, 1 << 60, count)}),
        "texts": pa.table({"t": pa.array(words), "x": rng.normal(size=count)}),
        "times": pa.table(
            {"d": pa.array(np.arange(count, dtype=np.int32) // 9).cast(pa.date32()), "x": rng.normal(size=count)}
        ),
        "truths": pa.table({"t": rng.integers(0, 2, count) == 1, "u": rng.integers(0, 3, count)}),
        "bytes": pa.table({"i": pa.array([bytes(rng.integers(0, 256, 3000, dtype=np.uint8)) for _ in range(900)])}),
    }


@pytest.mark.parametrize("name", tables())
def test_pieces_are_one_parquet_file_of_the_same_rows(name: str) -> None:
    table = tables()[name]
    found = pieces(table)
    assert pq.read_table(io.BytesIO(b"".join(found))).equals(table)
    for batch in (1 << 20, 1013):
        assert pieces(table, batch) == found, "how the rows arrive changes nothing"


@pytest.mark.parametrize("name", ["numbers", "texts", "times", "bytes"])
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_rows_that_are_added_leave_most_pieces_as_they_were(name: str, where: float) -> None:
    table = tables()[name]
    place, more = int(table.num_rows * where), table.slice(17, 20)
    before = {hashlib.sha256(piece).digest() for piece in pieces(table)}
    after = pieces(pa.concat_tables([table.slice(0, place), more, table.slice(place)]))
    new = [piece for piece in after if hashlib.sha256(piece).digest() not in before]
    assert sum(map(len, new)) < 0.6 * sum(map(len, after))  # of a table of a handful of pieces


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"a": [1.0] * 100_000}),
        pa.table({"a": pa.array([None] * 50_000, pa.string())}),
        pa.table({"a": pa.array(["x" * 900_000] * 40)}),
        pa.table({f"c{number}": [number] for number in range(3000)}),
    ],
)
def test_odd_tables_are_cut_too(table: pa.Table) -> None:
    found = pieces(table)
    assert pq.read_table(io.BytesIO(b"".join(found))).equals(table)
    assert max(map(len, found)) <= 8 << 20
