"""Arrow, NumPy, folders of images and of texts: honest ones become rows, others get one sentence.

The confined side alone, without a sandbox around it; `test_dataset` and the console's tests go through the walls.
"""

from __future__ import annotations

import io
import tarfile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from held_files import held
from tables_of_kinds import TABLE, arrow_file, arrow_stream, feather, folder, jpeg, npy, npz, parquet, png

from casemate.core import InputError, TooLargeError
from casemate.scanning import DatasetLimits, csv_tables
from casemate.scanning.dataset_conversion import convert

ROWS = pa.table(TABLE)
KIND = ROWS.append_column("c", pa.array(["p", "q", "p"]).dictionary_encode())


def converted(data: bytes, name: str = "rows", **limits: Any) -> tuple[dict[str, list], dict[str, str], list[str]]:
    pieces: list[bytes] = []
    schema, findings = convert(held(data), name, pieces.append, target=None, limits=DatasetLimits(**limits))
    table = pq.read_table(io.BytesIO(b"".join(pieces)))
    types = {column["name"]: column["type"] for column in schema["columns"]}
    return table.to_pydict(), types, [finding.evidence for finding in findings]


@pytest.mark.parametrize(
    "data",
    [
        arrow_stream(ROWS),
        arrow_file(ROWS),
        arrow_file(ROWS, options=pa.ipc.IpcWriteOptions(compression="zstd")),
        feather(ROWS),
        parquet(TABLE),
    ],
)
def test_arrow_in_any_form_is_the_same_rows(data: bytes) -> None:
    assert converted(data)[:2] == (TABLE, {"a": "int64", "b": "string"})


def test_dictionaries_become_their_values() -> None:
    assert converted(arrow_stream(KIND))[0]["c"] == ["p", "q", "p"]


@pytest.mark.parametrize(
    ("array", "columns"),
    [
        (np.arange(3), {"x": [0, 1, 2]}),
        (np.float32([[0.5, 1], [2, 3]]), {"x_0": [0.5, 2.0], "x_1": [1.0, 3.0]}),
        (np.asfortranarray(np.arange(6).reshape(3, 2)), {"x_0": [0, 2, 4], "x_1": [1, 3, 5]}),
        (np.arange(8, dtype=">i2").reshape(2, 2, 2), {f"x_{n}": [n, n + 4] for n in range(4)}),
        (np.array(["a", "bb"]), {"x": ["a", "bb"]}),
        (np.array([True, False]), {"x": [True, False]}),
        (np.array([(1, 2.5)], dtype=[("i", "i4"), ("f", "f8")]), {"i": [1], "f": [2.5]}),
        (np.float16([1.5, float("nan")]), {"x": [1.5, None]}),
    ],
)
def test_an_array_is_columns(array: np.ndarray, columns: dict[str, list]) -> None:
    assert converted(npy(array), "x.npy")[0] == columns


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_of_one_table_stand_beside_each_other(packed: bool) -> None:
    data = npz(packed=packed, X=np.arange(6).reshape(3, 2), y=np.array([0, 1, 0]))
    assert converted(data, "d.npz")[0] == {"X_0": [0, 2, 4], "X_1": [1, 3, 5], "y": [0, 1, 0]}


def test_a_folder_of_images_is_rows_with_their_sizes() -> None:
    files = {"cat/a.png": png(3, 2), "dog/b.jpg": jpeg(7, 5), "c.png": png(1, 1), ".DS_Store": b"x"}
    found, types, notes = converted(folder(files))
    assert found["path"] == ["cat/a.png", "dog/b.jpg", "c.png"]
    assert found["label"] == ["cat", "dog", None]
    assert (found["width"], found["height"]) == ([3, 7, 1], [2, 5, 1])
    assert found["image"] == [files[path] for path in found["path"]]
    assert types["image"] == "image"
    assert len(notes) == 2  # what has no label, and what was left out
    again = converted(parquet({"image": found["image"]}))  # as pulled
    assert again[0]["image"] == found["image"]


def test_a_folder_of_texts_is_rows() -> None:
    found, *_ = converted(folder({"pos/a.txt": "süß\n".encode(), "neg/b.md": b""}))
    assert found == {"path": ["pos/a.txt", "neg/b.md"], "label": ["pos", "neg"], "text": ["süß\n", ""]}


NOT_WHOLE = npy(np.arange(9))
BAD = [
    (arrow_file(ROWS)[:200], "dataset-malformed", "Arrow"),
    (arrow_stream(ROWS)[:-100], "dataset-malformed", "Arrow"),
    (arrow_stream(pa.table({"a": [[1]]})), "dataset-types", "'a'"),
    (b"FEA1" + bytes(40), "dataset-format", "first version"),
    (npy(np.array([{}], dtype=object), allow_pickle=True), "dataset-types", "object"),
    (npy(np.array([1 + 2j])), "dataset-types", "complex"),
    (npy(np.array(1)), "dataset-columns", "no rows"),
    (NOT_WHOLE[:-3], "dataset-malformed", "fewer items"),
    (NOT_WHOLE + b"zz", "dataset-malformed", "more items"),
    (NOT_WHOLE[:30], "dataset-malformed", "header"),
    (npz(a=np.arange(3), b=np.arange(4)), "dataset-columns", "a 3, b 4"),
    (npz(a=np.array([None])), "dataset-types", "object"),
    (npz(packed=True, a=np.arange(30000))[:-200], "dataset-malformed", "archive"),
    (png(1, 1), "dataset-format", "folder"),
    (folder({"a.png": png(1, 1), "b.txt": b"hi"}), "dataset-folder", "b.txt"),
    (folder({"a.txt": b"hi", "b.png": png(1, 1)}), "dataset-folder", "b.png"),
    (folder({"a.txt": b"\xff"}), "dataset-folder", "UTF-8"),
    (folder({"a.txt": b"\0"}), "dataset-folder", "zero byte"),
    (folder({".hidden": b"x"}), "dataset-empty", "no file"),
    (folder({"../a.txt": b"x"}), "bad-path", ""),
    (folder({"a.txt": b""}, tarfile.SYMTYPE), "dataset-folder", "link"),
    (folder({"a.txt": b"x" * 2000})[:1500], "dataset-malformed", "whole"),
    (folder({"a.png": png(3, 2)[:-6]}), "dataset-image", "a.png"),
    (folder({"a.png": b"\x89PNG\r\n\x1a\n"}), "dataset-image", "a.png"),
    (folder({"a.jpg": b"\xff\xd8\xff" + b"\xff" * 50}), "dataset-image", "a.jpg"),
    (folder({"a.jpg": jpeg(0, 5)}), "dataset-image", "a.jpg"),
    (parquet({"a": [png(1, 1), b"no"]}), "dataset-image", "row 2"),
]


@pytest.mark.parametrize(("data", "code", "words"), BAD)
def test_what_is_no_table_gets_one_sentence(data: bytes, code: str, words: str) -> None:
    with pytest.raises(InputError) as refused:
        converted(data)
    assert refused.value.code == code
    assert words in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("data", "limits"),
    [
        (folder({"a.png": png(90_000, 20_000, pixels=False)}), {}),
        (folder({"a.png": png(9, 9)}), {"image_bytes": 40}),
        (folder({"a.txt": b"x" * 50}), {"cell_bytes": 40}),
        (folder({f"{n}.txt": b"x" for n in range(4)}), {"rows": 3}),
        (npy(np.zeros((2, 50))), {"columns": 40}),
        (npy(np.zeros(50)), {"rows": 40}),
        (npz(packed=True, a=np.zeros(1 << 20)), {"uncompressed_bytes": 1 << 20}),
        (arrow_stream(ROWS), {"rows": 2}),
    ],
)
def test_bounds_hold_for_every_kind(data: bytes, limits: dict[str, int]) -> None:
    with pytest.raises(TooLargeError) as refused:
        converted(data, **limits)
    assert refused.value.code == "dataset-too-large"


def test_columns_of_a_long_csv_are_what_all_of_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_tables, "_BLOCK", 1 << 14)  # bytes in which pyarrow looks
    lines = [f"{n},{n},,2020-01-01,{n}" for n in range(3000)]
    lines += ["1.5,x,7,2020-01-01 10:00:00,1"]
    data = ("a,b,c,d,e\n" + "\n".join(lines) + "\n").encode()
    _, types, _ = converted(data)
    assert types == {"a": "float64", "b": "string", "c": "int64", "d": "timestamp", "e": "int64"}


@pytest.mark.parametrize(
    "data", [arrow_file(ROWS), arrow_stream(KIND), npz(x=np.arange(5)), folder({"a.png": png(2, 2)})]
)
def test_any_changed_byte_is_read_or_refused(data: bytes) -> None:
    for place in range(0, min(len(data), 1400), 7):
        broken = bytearray(data)
        broken[place] ^= 0x41
        try:
            converted(bytes(broken))
        except InputError as error:
            assert "\n" not in error.message
