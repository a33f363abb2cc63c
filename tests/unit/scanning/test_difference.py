"""Two tables beside each other: what was added, removed and changed, and how the values moved."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casemate.core import InputError, SandboxError, seal_bytes
from casemate.scanning import compare_tables
from casemate.scanning.distributions import moved
from casemate.scanning.row_digests import row_digests, surplus


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=64)
    return buffer.getvalue()


def compared(before: pa.Table, after: pa.Table, **asked: Any):
    with seal_bytes([parquet(before)]) as first, seal_bytes([parquet(after)]) as second:
        return compare_tables(first, second, before.column_names, **asked)


def people(rows: int = 300) -> pa.Table:
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "age": pa.array([20.0 + row % 50 for row in range(rows)]),
            "name": pa.array([None if row % 7 == 0 else f"person {row}" for row in range(rows)]),
            "ill": pa.array([row % 2 == 0 for row in range(rows)]),
            "born": pa.array(range(rows), pa.date32()),
            "seen": pa.array(range(rows), pa.timestamp("us")),
            "face": pa.array([b"\x89PNG" + bytes(row % 90) + str(row).encode() for row in range(rows)]),
        }
    )


def test_rows_are_told_apart_by_their_key() -> None:
    before = people()
    rows = before.to_pylist()
    rows[7]["age"], rows[200]["name"] = 99.0, "another"
    after = pa.Table.from_pylist([*rows[3:][::-1], {**rows[0], "id": 1000}], schema=before.schema)
    found = compared(before, after, key="id", shown=2)
    counts = found.rows
    assert (counts.before, counts.after) == (300, 298)
    assert (counts.added, counts.removed, counts.changed) == (1, 3, 2)
    assert {column.name: column.changed for column in found.columns if column.changed} == {"age": 1, "name": 1}
    assert [row["id"] for row in found.shown.removed] == [0, 1]
    assert [row["id"] for row in found.shown.added] == [1000]
    assert {row["after"]["id"] for row in found.shown.changed} == {7, 200}
    assert all(row["before"]["id"] == row["after"]["id"] for row in found.shown.changed)
    assert found.shown.removed[0]["born"] == "1970-01-01"


def test_without_a_key_a_changed_row_is_one_removed_and_one_added() -> None:
    before = people()
    rows = before.to_pylist()
    rows[7]["age"] = 99.0
    found = compared(before, pa.Table.from_pylist(rows, schema=before.schema))
    assert (found.rows.added, found.rows.removed, found.rows.changed) == (1, 1, None)
    assert found.shown is None


def test_the_same_rows_in_another_order_differ_in_nothing() -> None:
    before = people()
    found = compared(before, before.take(pa.array(range(299, -1, -1))))
    assert (found.rows.added, found.rows.removed) == (0, 0)
    assert {column.psi for column in found.columns} == {0.0}


def test_a_missing_value_is_no_empty_one_and_zeros_are_alike() -> None:
    before = pa.table({"text": ["", None], "number": [0.0, -0.0]})
    after = pa.table({"text": pa.array([None, None], pa.string()), "number": [-0.0, 0.0]})
    found = compared(before, after)
    assert (found.rows.added, found.rows.removed) == (1, 1)


@pytest.mark.parametrize(("values", "said"), [([1, 1, 2], "another row has"), ([1, None, 2], "without a value")])
def test_a_column_that_names_no_row_is_no_key(values: list[int | None], said: str) -> None:
    table = pa.table({"id": pa.array(values, pa.int64()), "x": [1, 2, 3]})
    with pytest.raises(InputError, match=said):
        compared(pa.table({"id": [1, 2, 3], "x": [1, 2, 3]}), table, key="id")


def test_what_is_no_table_ends_in_the_sandbox() -> None:
    with seal_bytes([b"PAR1" + bytes(100)]) as broken, pytest.raises(SandboxError):
        compare_tables(broken, broken, ["id"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5)), st.lists(st.integers(0, 5)))
def test_the_surplus_is_that_of_the_multisets(first: list[int], second: list[int]) -> None:
    found, against = (np.array([str(one) for one in values], dtype="S16") for values in (first, second))
    places = surplus(found, against)
    assert Counter(first[place] for place in places) == Counter(first) - Counter(second)
    assert list(places) == sorted(places)


def test_digests_do_not_depend_on_row_groups_and_need_the_key() -> None:
    table = people()
    one, many = pq.ParquetFile(io.BytesIO(parquet(table))), io.BytesIO()
    pq.write_table(table, many, row_group_size=300)
    found = row_digests(one, table.column_names, b"k" * 32)
    assert (found == row_digests(pq.ParquetFile(many), table.column_names, b"k" * 32)).all()
    assert not (found == row_digests(one, table.column_names, b"l" * 32)).any()
    assert len(np.unique(found)) == 300


def column(values: Any) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values)])


def test_a_shift_of_values_is_found_by_both_figures() -> None:
    source = np.random.default_rng(1)
    same = moved(column(source.normal(size=4000)), column(source.normal(size=4000)))
    far = moved(column(source.normal(size=4000)), column(source.normal(1.0, size=4000)))
    assert same["shift"] == "none"
    assert same["ks"] < 0.05
    assert far["shift"] == "large"
    assert far["ks"] == pytest.approx(0.383, abs=0.03)  # of two normals one deviation apart: 2 * phi(0.5) - 1


def test_the_index_is_that_of_the_book() -> None:
    before, after = column(["a"] * 50 + ["b"] * 50), column(["a"] * 80 + ["b"] * 20)
    assert moved(before, after)["psi"] == pytest.approx(0.3 * np.log(0.8 / 0.5) - 0.3 * np.log(0.2 / 0.5), abs=1e-4)
    gone = moved(column([1.0, 2.0, None, 4.0]), column([None, None, None, None]).cast(pa.float64()))
    assert (gone["missing_before"], gone["missing_after"], gone["ks"]) == (0.25, 1.0, None)
    assert gone["shift"] == "large"
