"""Pushes blobs and appends to the ledger until it is killed; says what it may claim was kept, once it was."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
from sqlalchemy import insert
from storage_house import AT, House

from casemate.storage import HomeLock
from casemate.storage.database import blobs


def main(path: Path) -> None:
    house = House(path)
    with HomeLock(house.home.path):
        pen = house.pen()
        print("ready", flush=True)
        while True:
            with house.blobs.push("default", "dataset/rows") as push:
                record = push.add("a", [os.urandom(int.from_bytes(os.urandom(3)) // 4)])
                push.keep()
            with house.engine.begin() as connection:
                connection.execute(insert(blobs).values(**msgspec.structs.asdict(record), created_at=AT))
            number = pen.append([("grant", {"blob": record.id}), ("grant", {})], record.id, AT)
            print(record.id, record.digest, number, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
