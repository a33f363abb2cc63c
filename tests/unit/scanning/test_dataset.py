"""Tables of any honest kind become the same plain Parquet; a bad one gets one sentence that names the line."""

from __future__ import annotations

import io
import pickle  # noqa: TID251 makes what users bring; nothing here is loaded
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer

from casemate.core import CasemateError, InputError, TooLargeError, seal_bytes
from casemate.scanning import DatasetLimits, convert_dataset, stream_dataset
from casemate.scanning.csv_tables import unreadable_csv

PLAIN = b"a,b,label\n1,2.5,x\n2,,y\n"


def converted(data: bytes, **options: Any) -> tuple[pa.Table, dict[str, Any], set[str]]:
    with seal_bytes([data]) as file, convert_dataset(file, "rows", **options) as dataset:
        table = pq.read_table(io.BytesIO(dataset.parquet.read()))
        return table, dataset.schema, {finding.id for finding in dataset.findings}


def parquet(columns: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        PLAIN.replace(b",", b";"),
        PLAIN.replace(b",", b"\t"),
        PLAIN.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.decode().encode("utf-16"),
        b'"a", b,"label"\n1,2.5,"x"\n2,,"y"\n',
        b'{"a":1,"b":2.5,"label":"x"}\n\n{"a":2,"label":"y"}\n',
        parquet({"a": pa.array([1, 2], pa.int8()), "b": [2.5, float("nan")], "label": ["x", "y"]}),
        parquet({"a": [1, 2], "b": [2.5, None], "label": pa.array(["x", "y"]).dictionary_encode()}),
    ],
)
def test_the_same_rows_make_the_same_dataset(data: bytes) -> None:
    table, schema, _ = converted(data, target="label")
    assert table.to_pydict() == {"a": [1, 2], "b": [2.5, None], "label": ["x", "y"]}
    common = {"role": "feature", "nulls": 0}
    assert schema == {
        "schema": 1,
        "rows": 2,
        "columns": [
            {"name": "a", "type": "int64", **common, "min": 1, "max": 2},
            {"name": "b", "type": "float64", **common, "nulls": 1, "min": 2.5, "max": 2.5},
            {"name": "label", "type": "string", "role": "target", "nulls": 0, "min": None, "max": None}
            | {"categories": ["x", "y"]},
        ],
    }


def test_a_real_table_keeps_every_value() -> None:
    rows, labels = load_breast_cancer(return_X_y=True)
    lines = [",".join([*(f"f{n}" for n in range(30)), "label"])]
    lines += [",".join([*map(repr, map(float, row)), str(label)]) for row, label in zip(rows, labels, strict=True)]
    table, schema, findings = converted("\n".join(lines).encode(), target="label")
    assert table.num_rows == schema["rows"] == 569
    assert table.column("f3").to_pylist() == rows[:, 3].tolist()
    assert schema["columns"][-1]["categories"] == [0, 1]
    assert schema["columns"][3]["max"] == rows[:, 3].max()
    assert findings == set()


def test_times_and_truth_values_are_plain_too() -> None:
    at = pa.array([1, 2_000_000_001], pa.timestamp("ns", "UTC"))
    table, schema, _ = converted(parquet({"t": at, "d": pa.array([0, 1], pa.date32()), "b": [True, None]}))
    assert [column["type"] for column in schema["columns"]] == ["timestamp", "date", "bool"]
    assert [column["role"] for column in schema["columns"]] == [None, None, None]
    assert schema["columns"][1]["max"] == "1970-01-02"
    assert table.column("b").to_pylist() == [True, None]


def test_odd_columns_are_told() -> None:
    _, schema, findings = converted(parquet({"a": [1.0, float("inf")], "b": pa.array([None, None], pa.string())}))
    assert findings == {"dataset-not-finite", "dataset-empty-column"}
    assert schema["columns"][0]["max"] == 1.0


BAD = [
    (b"", "dataset-empty", ""),
    (b"a,b\n", "dataset-empty", ""),
    (b"a,b\n1,2\n1,2,3\n", "dataset-malformed", "line 3"),
    (b"a,b\n1,2\n3\n", "dataset-malformed", "line 3"),
    (b'a,b\n1,"x\ny"\n3\n', "dataset-malformed", "line 4"),
    (b'a,b\n1,"2\n1,2\n', "dataset-malformed", "line 3"),
    (b"a,a\n1,2\n", "dataset-columns", "'a'"),
    (b"a,\n1,2\n", "dataset-columns", "name"),
    (b"1,2\n3,4\n", "dataset-columns", "first line"),
    (b"a,b\n1,\xff\xfe\n", "dataset-encoding", "line 2"),
    (b"a,b\n1,\0\n", "dataset-format", "CSV"),
    (b"PAR1", "dataset-malformed", "Parquet"),
    (parquet({"a": [1]})[:-9], "dataset-malformed", "Parquet"),
    (parquet({"a": [[1]]}), "dataset-types", "'a'"),
    (parquet({"a": [b"\xff"]}), "dataset-image", "'a', row 1"),
    (pickle.dumps([1]), "dataset-format", "pickle"),
    (b"cos\nsystem\n(Vtrue\ntR.", "dataset-format", "pickle"),
    (b"PK\3\4" + bytes(40), "dataset-format", "Excel"),
    (b"\x1f\x8b\x08" + bytes(40), "dataset-format", "gzip"),
    (b"[{}]", "dataset-format", "one object per line"),
    (b'{"a":1}\n{"a":\n', "dataset-malformed", "line 2"),
    (b'{"a":1,"a":2}\n', "dataset-malformed", "twice"),
    (b'{"a":NaN}\n', "dataset-malformed", "line 1"),
    (b'{"a":[1]}\n', "dataset-types", "nested"),
    (b'{"a":1}\n{"a":"x"}\n', "dataset-types", "'a'"),
    (b'{"a":1' + b"0" * 30 + b"}\n", "dataset-types", ""),
]


@pytest.mark.parametrize(("data", "code", "words"), BAD)
def test_a_bad_table_gets_one_sentence(data: bytes, code: str, words: str) -> None:
    with pytest.raises(InputError) as refused:
        converted(data)
    assert refused.value.code == code
    assert words in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("data", "secret"),
    [
        (parquet({"a": pa.array([1, 2, (1 << 64) - 77, (1 << 64) - 1], pa.uint64())}), str((1 << 64) - 77)),
        (b'{"a":1}\n{"a":2}\n\n{"a":18446744073709551539}\n', "18446744073709551539"),
        (b'{"a":"x"}\n{"a":"y"}\n{"a":"secret \\ud800"}\n', "secret"),
    ],
)
def test_a_value_that_fits_no_type_is_named_by_its_place_and_never_quoted(data: bytes, secret: str) -> None:
    with pytest.raises(InputError) as refused:
        converted(data)
    assert refused.value.code == "dataset-types"
    assert "column 'a', row 3" in refused.value.message
    assert secret not in refused.value.message


@pytest.mark.parametrize(
    ("data", "types", "place"),
    [
        (b"a,b\n1,2\n3,secret,5\n", {}, "(row 3, the header being row 1)"),
        (b"a,b\n1,2\n3,secret\n", {"b": pa.int64()}, "(column 'b', row 3, the header being row 1)"),
    ],
)
def test_what_arrow_says_of_a_csv_is_told_without_the_cells(data: bytes, types: dict[str, Any], place: str) -> None:
    with pytest.raises(pa.ArrowInvalid, match="secret") as said:
        pa.csv.read_csv(
            io.BytesIO(data),
            read_options=pa.csv.ReadOptions(use_threads=False),
            convert_options=pa.csv.ConvertOptions(column_types=types),
        )
    told = unreadable_csv(said.value, ["a", "b"], "rows.csv")
    assert place in told.message
    assert "secret" not in told.message


def test_a_target_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="absent") as refused:
        converted(PLAIN, target="absent")
    assert refused.value.code == "dataset-target"


@pytest.mark.parametrize(
    ("limits", "data"),
    [
        ({"file_bytes": 10}, PLAIN),
        ({"rows": 1}, PLAIN),
        ({"rows": 1}, parquet({"a": [1, 2]})),
        ({"columns": 2}, PLAIN),
        ({"cell_bytes": 8}, b"a\n" + b"x" * 9 + b"\n"),
        ({"uncompressed_bytes": 1 << 16}, parquet({"a": [0] * 100_000})),
    ],
)
def test_bounds_are_told(limits: dict[str, int], data: bytes) -> None:
    with pytest.raises(TooLargeError) as refused:
        converted(data, limits=DatasetLimits(**limits))
    assert refused.value.code == "dataset-too-large"


def test_a_refused_table_leaves_no_descriptor_open() -> None:
    import os

    before = os.listdir("/proc/self/fd")
    for data in (b"", b"a\n"):
        with pytest.raises(CasemateError):
            converted(data)
    assert os.listdir("/proc/self/fd") == before


def test_too_many_columns_are_told_without_a_count_of_what_was_not_read() -> None:
    wide = ",".join(f"c{index}" for index in range(20_001)) + "\n" + ",".join(["1"] * 20_001) + "\n"
    with pytest.raises(TooLargeError, match=r"^rows has over \d+ columns; no more are taken\.$"):
        converted(wide.encode())


class _Endless:
    """A CSV of so many MiB, made as it is read."""

    def __init__(self, size: int) -> None:
        self._head = b"a,b,c,d\n"
        self._rows = b"".join(b"%08d,%07d.5,text-%06d,2020-01-01\n" % (n, n, n) for n in range(1 << 15))
        self.size = len(self._head) + (size << 20) // len(self._rows) * len(self._rows)

    def read_at(self, offset: int, size: int) -> bytes:
        found = bytearray()
        while len(found) < size and offset < self.size:
            behind = offset - len(self._head)
            part = self._head[offset:] if behind < 0 else self._rows[behind % len(self._rows) :]
            part = part[: min(size - len(found), self.size - offset)]
            found += part
            offset += len(part)
        return bytes(found)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_dataset_larger_than_memory_comes_in() -> None:
    source, sizes = _Endless(700), list[int]()
    limits = DatasetLimits(memory=512 << 20, seconds=3000.0)
    told = stream_dataset(source, "rows.csv", lambda piece: sizes.append(len(piece)), limits=limits)
    assert told.schema["rows"] == (source.size - 8) // 42
    assert source.size > limits.memory
    assert max(sizes) < 1 << 20
