"""Events a second into the audit log, each durable when the call returns: JSON, leaf, tree, SQLite (WAL, synchronous=FULL),
a signed checkpoint and its copy beside the keys for each commit. Batches of 1,000 from one thread, then single events from
eight threads; the median of three."""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from casemate.auditlog import Log, verify_log
from casemate.core import Event, SystemClock, new_id, rfc3339
from casemate.keys import Keeper, Purpose, init_keys
from casemate.storage import create_home

BATCHES, SINGLES, THREADS = 50, 100, 8


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


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = create_home(Path(folder) / "home", now=datetime.now(UTC))
        init_keys(Path(folder) / "keys")
        keeper, engine = Keeper(Path(folder) / "keys"), home.open_database()
        public = load_pem_public_key(keeper.public_pem(Purpose.CHECKPOINT))
        log = Log(engine, keeper=keeper, origin="casemate.dev/bench", public=public, clock=SystemClock())
        batches(log)
        many = statistics.median(batches(log) for _ in range(3))
        single = statistics.median(singles(log) for _ in range(3))
        size, start = log.reader.size(), time.perf_counter()
        assert verify_log(log.reader, kept={}).ok
        verified = size / (time.perf_counter() - start)
    rows = [
        {"name": "durable events, batches of 1,000", "value": many, "unit": "events/s", "aim": ">= 50,000"},
        {"name": "durable events, one at a time, 8 threads", "value": single, "unit": "events/s"},
        {"name": "verified", "value": verified, "unit": "events/s"},
    ]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
