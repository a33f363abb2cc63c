"""Events a second into the audit log, each durable when the call returns: JSON, leaf, tree, SQLite (WAL, synchronous=FULL),
a signed checkpoint and its copy beside the keys for each commit. Batches of 1,000 from one thread, then single events from
eight threads; the median of three. Then the same in PostgreSQL (fsync and synchronous_commit on) on the same disk, over a
Unix socket, where it is installed; its rows stand beside SQLite's."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key

sys.path.append(str(Path(__file__).parents[1] / "tests" / "assets"))

from real_postgres import Postgres, find_program

from casemate.auditlog import Log, verify_log
from casemate.core import Event, SystemClock, new_id, rfc3339
from casemate.keys import Keeper, Purpose, init_keys
from casemate.storage import create_home

BATCHES, SINGLES, THREADS = 50, 100, 8
MANY, SINGLE = "durable events, batches of 1,000", "durable events, one at a time, 8 threads"
AIMS = {MANY: {"aim": ">= 50,000"}}


def event() -> Event:
    return Event(
        id=new_id("evt"),
        at=rfc3339(datetime.now(UTC)),
        kind="prediction",
        action="deployment:predict",
        actor="svc_01a20c01b302797bbf2eee6844b1708b",
        resource="default/deployment:diagnosis",
        facts={"rows": 1, "input": "sha256:" + "0" * 64, "output": "sha256:" + "1" * 64, "guards": "passed"},
    )


def batches(log: Log) -> float:
    made = [[event() for _ in range(1000)] for _ in range(BATCHES)]
    start = time.perf_counter()
    for batch in made:
        log.append(batch)
    return BATCHES * 1000 / (time.perf_counter() - start)


def singles(log: Log) -> float:
    def append(events: list[Event]) -> None:
        for one in events:
            log.append([one])

    threads = [threading.Thread(target=append, args=([event() for _ in range(SINGLES)],)) for _ in range(THREADS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return THREADS * SINGLES / (time.perf_counter() - start)


def measured(folder: Path, database: str = "") -> dict[str, float]:
    """The three figures of a new home. Args: database: a PostgreSQL URL; empty: SQLite."""
    home = create_home(folder / "home", now=datetime.now(UTC), database=database)
    init_keys(folder / "keys")
    keeper, engine = Keeper(folder / "keys"), home.open_database(keeper=True)
    public = load_pem_public_key(keeper.public_pem(Purpose.CHECKPOINT))
    log = Log(engine, keeper=keeper, origin="casemate.dev/bench", public=public, clock=SystemClock())
    batches(log)
    many = statistics.median(batches(log) for _ in range(3))
    single = statistics.median(singles(log) for _ in range(3))
    size, start = log.reader.size(), time.perf_counter()
    assert verify_log(log.reader, kept={}).ok
    figures = {MANY: many, SINGLE: single, "verified": size / (time.perf_counter() - start)}
    engine.dispose()
    return figures


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        sqlite = measured(Path(folder) / "sqlite")
        rows = [
            {"name": name, "value": value, "unit": "events/s", **AIMS.get(name, {})} for name, value in sqlite.items()
        ]
        if find_program() is None:
            print("PostgreSQL is not measured: it is not installed here (apt-get install postgresql).", file=sys.stderr)
        else:
            Path(folder).chmod(0o755)  # the server's user is another one
            server = Postgres(place=Path(folder))  # on the same disk as SQLite's file
            try:
                for name, value in measured(Path(folder) / "postgresql", server.fresh()).items():
                    beside = {"beside": sqlite[name], "ratio": value / sqlite[name]}
                    rows.append(
                        {"name": f"PostgreSQL: {name}, beside SQLite", "value": value, "unit": "events/s", **beside}
                    )
            finally:
                server.close()
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
