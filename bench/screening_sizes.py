"""Screening in the sandbox by size: rows a second, memory and how time grows, from 10,000 rows to ten million, on this machine
alone and on Ray clusters of one node and of two, each node with one processor.

Both nodes are of this very machine, so two nodes show what the way costs and that it scales over processes, and no network. Made-up rows of 20
numbers in three classes, 5 % of the labels flipped; the whole way from a sealed Parquet file to the two files of a quarantine. Above 50,000 rows a
table is judged in blocks, by models of 20,000 rows; a smaller one never goes to a cluster. Memory is what all processes together hold for
themselves, at the most; processor time is of all of them, and unlike rows a second it does not depend on what else the machine does. SCREENING_ROWS and SCREENING_WHERE name others, as in "100000,1000000" and "alone,one node". `make bench-sizes` has Ray."""

from __future__ import annotations

import io
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

os.environ |= {
    "OPENBLAS_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(24),
}

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
    with cluster_of(NODES[where]) as address, use() as used:
        judges = None if address is None else lambda: RayJudges(address)
        start = time.monotonic()
        found = screen_dataset(file, label="kind", judges=judges)
        seconds = time.monotonic() - start
    with found:
        add(f"{count:,} rows, {where}", count / seconds, unit="rows/s")
        add(f"{count:,} rows, {where}: rows by processor time", count / used.seconds, unit="rows/s")
        add(f"{count:,} rows, {where}: most memory", used.memory / 1e9, unit="GB")
        add(f"{count:,} rows, {where}: load of the machine", os.getloadavg()[1])
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


class Use:
    """Of this process and all that it started. Attributes: memory: bytes, at the most. seconds: of processors."""

    def __init__(self) -> None:
        self.memory = 0
        self._ticks: dict[tuple[str, str], int] = {}  # by process and its start, as they were seen last
        self._before = self._seen()

    @property
    def seconds(self) -> float:
        return (sum(self._ticks.values()) - self._before) / os.sysconf("SC_CLK_TCK")

    def look(self) -> None:
        self._seen()

    def _seen(self) -> int:
        parents, memory, ticks = {}, {}, {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                status = (folder / "status").read_text()
            except OSError:  # it has ended
                continue
            parents[folder.name] = stat[1]
            ticks[folder.name] = (stat[19], int(stat[11]) + int(stat[12]))
            memory[folder.name] = int(status.partition("RssAnon:")[2].split()[0]) << 10 if "RssAnon:" in status else 0
        ours = {str(os.getpid())}
        while more := {one for one, parent in parents.items() if parent in ours} - ours:
            ours |= more
        self.memory = max(self.memory, sum(memory[one] for one in ours))
        self._ticks |= {(one, ticks[one][0]): ticks[one][1] for one in ours}
        return sum(self._ticks.values())


@contextmanager
def use() -> Iterator[Use]:
    found, over = Use(), threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            found.look()

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    yield found
    over.set()
    looking.join()


def add(name: str, value: float, **rest: object) -> None:
    rest = {key: round(one, 2) if isinstance(one, float) else one for key, one in rest.items()}
    ROWS.append({"name": name, "value": round(float(value), 3), **rest})
    print(ROWS[-1], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
