"""Screening in the sandbox by size: rows a second, memory and how time grows, from 10,000 rows to a million.

Made-up rows of 20 numbers in three classes, 5 % of the labels flipped; one process, one thread of linear algebra, the whole way from a sealed
Parquet file to the two files of a quarantine. Above 50,000 rows a table is judged in blocks, by models of 20,000 rows. SCREENING_ROWS names other
sizes, as in "100000,1000000"."""

from __future__ import annotations

import io
import json
import os
import sys
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import make_classification

from casemate.core import seal_bytes
from casemate.screening import screen_dataset

SIZES = [int(one) for one in os.environ.get("SCREENING_ROWS", "10000,100000,1000000").split(",")]
ROWS: list[dict] = []


def main() -> None:
    before: tuple[int, float] | None = None
    for count in SIZES:
        table, bad = made(count)
        out = io.BytesIO()
        pq.write_table(table, out)
        del table
        with seal_bytes([out.getvalue()]) as file:
            start = time.monotonic()
            found = screen_dataset(file, label="kind")
            seconds = time.monotonic() - start
        with found:
            add(f"{count:,} rows", count / seconds, unit="rows/s")
            add(f"{count:,} rows: time", seconds, unit="s")
            named = pq.read_table(io.BytesIO(found.suspects.read()))["casemate_row"].to_numpy()
        add(f"{count:,} rows: share of the flipped rows set aside", bad[named].sum() / bad.sum())
        add(f"{count:,} rows: share of the others set aside", (~bad[named]).sum() / (~bad).sum())
        if before:
            add(
                f"time for {count:,} rows, beside {before[0]:,}",
                seconds,
                unit="s",
                beside=round(before[1], 1),
                ratio=round(seconds / before[1], 2),
            )
        before = (count, seconds)
    print(json.dumps(ROWS))


def made(count: int) -> tuple[pa.Table, np.ndarray]:
    features, labels = make_classification(
        count, 20, n_informative=10, n_classes=3, class_sep=2.0, flip_y=0.0, random_state=1
    )
    bad = np.random.default_rng(2).random(count) < 0.05
    kinds = np.array(["a", "b", "c"])[np.where(bad, (labels + 1) % 3, labels)]
    return pa.table({f"f{j}": features[:, j] for j in range(20)} | {"kind": kinds}), bad


def add(name: str, value: float, **rest: object) -> None:
    ROWS.append({"name": name, "value": round(float(value), 3), **rest})
    print(ROWS[-1], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
