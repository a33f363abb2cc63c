"""A small change of a large dataset: a million rows of seven numbers and a text, then a thousand more at the end, and in the
middle. Each push goes as an upload does, through the sandbox into encrypted blobs under signed manifests; only HTTP is left
out. Bytes are those that the push wrote to the disk, blobs and database together; "one file" is the same table as one
Parquet file, which is what each push wrote before. Seed 0.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path[:0] = [str(Path(__file__).parent.parent / "tests" / place) for place in ("assets", "unit/registry")]
from registry_house import ANA, House, a_house  # noqa: E402 its folder is on the path from here on

from casemate.app.intake import push_dataset  # noqa: E402
from casemate.core import parse_ref  # noqa: E402
from casemate.storage import shred  # noqa: E402

ROWS, MORE = 1_000_000, 1_000
CHUNK = 1 << 20  # bytes handed over at a time


def table(count: int, rng: np.random.Generator) -> pa.Table:
    words = np.array([f"word-{number}" for number in range(5000)])
    columns = {f"x{number}": rng.normal(size=count) for number in range(7)}
    return pa.table({**columns, "text": words[rng.integers(0, len(words), count)]})


def parquet(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd")
    return sink.getvalue()


def chunks(data: bytes) -> Iterator[bytes]:
    return (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))


def on_disk(house: House) -> int:
    return sum(path.stat().st_size for path in house.folder.rglob("*") if path.is_file())


def pushed(house: House, data: bytes, intent: str) -> tuple[int, float]:
    """(bytes that came onto the disk, seconds)."""
    before, start = on_disk(house), time.monotonic()
    push_dataset(
        house.datasets,
        house.stores.blobs,
        "rows",
        chunks(data),
        filename="rows.parquet",
        target=None,
        actor=ANA,
        intent=intent,
        insecure=False,
    )
    seconds = time.monotonic() - start
    shred(house.stores.engine)  # empties the write-ahead log into the database
    return on_disk(house) - before, seconds


def main() -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    rows, more = table(ROWS, rng), table(MORE, rng)
    half = ROWS // 2
    cases = {
        "first push of a million rows": rows,
        "a thousand rows appended": pa.concat_tables([rows, more]),
        "a thousand rows in the middle": pa.concat_tables([rows.slice(0, half), more, rows.slice(half)]),
        "a thousand rows removed from the middle": pa.concat_tables([rows.slice(0, half), rows.slice(half + MORE)]),
    }
    found: list[dict[str, object]] = []
    whole = len(parquet(rows))
    with tempfile.TemporaryDirectory() as folder, a_house(Path(folder)) as house:
        for number, (name, case) in enumerate(cases.items()):
            size, seconds = pushed(house, parquet(case), f"evt_{number}")
            aim = {} if number == 0 else {"aim": "<= 0.02"}
            found.append(
                {
                    "name": name,
                    "value": round(size / 1e6, 2),
                    "unit": "MB",
                    "beside": f"one file {whole / 1e6:.1f} MB",
                    "ratio": round(size / whole, 4),
                    **aim,
                }
            )
            found.append({"name": f"{name}, time", "value": round(seconds, 1), "unit": "s"})
        pieces = len(list((house.folder / "blobs").rglob("blob_*")))
        found.append({"name": "blobs of the four versions", "value": pieces, "unit": "blobs"})
        start = time.monotonic()
        with house.datasets.open(parse_ref("rows@1")):
            seconds = time.monotonic() - start
        found.append({"name": "a version opened and verified", "value": round(seconds, 2), "unit": "s"})
    return found


if __name__ == "__main__":
    print(json.dumps(main()))
