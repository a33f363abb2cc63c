"""Screening in the sandbox by size: rows a second, memory and how time grows, from 10,000 rows to ten million, on this machine
alone and on Ray clusters of one node and of two, with one processor each.

Both nodes are of this very machine, so two nodes show what the way costs and that it scales over processes, and no network. Made-up rows of 20
numbers in three classes, 5 % of the labels flipped; the whole way from a sealed Parquet file to the two files of a quarantine. Above 50,000 rows a
table is judged in blocks, by models of 20,000 rows; a smaller one never goes to a cluster. Memory is what all processes together hold for
themselves, at the most. SCREENING_ROWS and SCREENING_WHERE name others, as in "100000,1000000" and "alone,one node". `make bench-sizes` has Ray."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from casemate.core import SealedFile, memory_file
from casemate.screening import RayJudges, screen_dataset
from casemate.screening.confined import LARGE

SIZES = [int(one) for one in os.environ.get("SCREENING_ROWS", "10000,100000,1000000,10000000").split(",")]
WHERE = os.environ.get("SCREENING_WHERE", "alone,one node,two nodes").split(",")
NODES = {"alone": 0, "one node": 1, "two nodes": 2}
CHUNK = 100_000  # rows made at a time
CLASSES, CLUSTERS, TELLING, FEATURES = 3, 2, 10, 20
ROWS: list[dict] = []


def main() -> None:
    before: dict[str, tuple[int, float]] = {}
    alone: dict[int, float] = {}
    for count in SIZES:
        with made(count) as file:
            for where in WHERE:
                if NODES[where] and (count <= LARGE or find_spec("ray") is None):
                    continue
                seconds = measured(file, count, where)
                alone |= {count: seconds} if where == "alone" else {}
                if NODES[where] and count in alone:
                    add(
                        f"{count:,} rows, {where}: time",
                        seconds,
                        unit="s",
                        beside=round(alone[count]),
                        ratio=seconds / alone[count],
                    )
                if where in before:
                    rows, then = before[where]
                    add(
                        f"{count:,} rows, {where}: time, beside {rows:,} rows",
                        seconds,
                        unit="s",
                        beside=round(then, 1),
                        ratio=seconds / then,
                    )
                before[where] = count, seconds
    print(json.dumps(ROWS))


def measured(file: SealedFile, count: int, where: str) -> float:
    """Seconds."""
    with cluster_of(NODES[where]) as address, peak_memory() as peak:
        judges = None if address is None else lambda: RayJudges(address)
        start = time.monotonic()
        found = screen_dataset(file, label="kind", judges=judges)
        seconds = time.monotonic() - start
    with found:
        add(f"{count:,} rows, {where}", count / seconds, unit="rows/s")
        add(f"{count:,} rows, {where}: most memory", peak[0] / 1e9, unit="GB")
        if where == WHERE[0]:
            named = pq.read_table(io.BytesIO(found.suspects.read()), columns=["casemate_row"])[
                "casemate_row"
            ].to_numpy()
            bad = flipped(count)
            add(f"{count:,} rows: share of the flipped rows set aside", bad[named].sum() / bad.sum())
            add(f"{count:,} rows: share of the others set aside", (~bad[named]).sum() / (~bad).sum())
    return seconds


@contextmanager
def cluster_of(nodes: int) -> Iterator[str | None]:
    """Address of a new cluster; None for none."""
    if not nodes:
        yield None
        return
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for _ in range(nodes):
            cluster.add_node(
                num_cpus=1, node_ip_address="127.0.0.1", include_dashboard=False, object_store_memory=1 << 30
            )
        yield cluster.address
    finally:
        cluster.shutdown()


@contextmanager
def made(count: int) -> Iterator[SealedFile]:
    """Each class is some clusters of its own in ten of the features; the others are noise."""
    rng = np.random.default_rng(1)
    centres = rng.normal(0, 2.0, (CLASSES, CLUSTERS, TELLING))
    mixed = rng.normal(0, 0.5, (CLASSES, CLUSTERS, TELLING, TELLING))
    bad, descriptor = flipped(count), memory_file("rows")
    names = np.array(["a", "b", "c"])
    schema = pa.schema([*((f"f{j}", pa.float64()) for j in range(FEATURES)), ("kind", pa.string())])
    with os.fdopen(os.dup(descriptor), "wb") as out, pq.ParquetWriter(out, schema) as writer:
        for start in range(0, count, CHUNK):
            rows = min(CHUNK, count - start)
            label, cluster = rng.integers(0, CLASSES, rows), rng.integers(0, CLUSTERS, rows)
            features = rng.normal(size=(rows, FEATURES))
            features[:, :TELLING] = centres[label, cluster] + np.einsum(
                "ni,nij->nj", features[:, :TELLING], mixed[label, cluster]
            )
            said = names[np.where(bad[start : start + rows], (label + 1) % CLASSES, label)]
            columns = {f"f{j}": features[:, j] for j in range(FEATURES)} | {"kind": said}
            writer.write_table(pa.table(columns, schema))
    with SealedFile(descriptor) as file:
        yield file


def flipped(count: int) -> np.ndarray:
    return np.random.default_rng(2).random(count) < 0.05


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Bytes that this process and all that it started hold for themselves, at the most."""
    peak, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            peak[0] = max(peak[0], held())

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    yield peak
    over.set()
    looking.join()


def held() -> int:
    parents, own = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        except OSError:  # it has ended
            continue
        parents[int(folder.name)] = int(told["PPid"])
        own[int(folder.name)] = int(told.get("RssAnon", "0 kB").split()[0]) << 10
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(own.get(pid, 0) for pid in ours)


def add(name: str, value: float, **rest: object) -> None:
    rest = {key: round(one, 2) if isinstance(one, float) else one for key, one in rest.items()}
    ROWS.append({"name": name, "value": round(float(value), 3), **rest})
    print(ROWS[-1], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
