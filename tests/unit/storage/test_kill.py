"""SIGKILL at random points: afterwards the home opens, verifies, and holds all that was acknowledged."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy
from storage_house import House

from casemate.storage import BlobRecord, HomeLock, reading
from casemate.storage.database import blobs

WRITER = Path(__file__).with_name("storage_writer.py")
KILLS = 20


def run_and_kill(path: Path, chance: random.Random) -> list[list[str]]:
    """What the writer acknowledged before it was killed: in its start, or after some writes."""
    writer = subprocess.Popen([sys.executable, str(WRITER), str(path)], stdout=subprocess.PIPE)
    with writer:
        at_start = chance.random() < 0.25
        seen = b"" if at_start else b"".join(writer.stdout.readline() for _ in range(chance.randrange(2, 9)))
        time.sleep(chance.random() * (0.8 if at_start else 0.03))
        assert writer.poll() is None, "it ended before it was killed"
        writer.kill()
        lines = (seen + writer.stdout.read()).decode().splitlines(keepends=True)
    return [line.split() for line in lines if line.endswith("\n") and line != "ready\n"]


@pytest.mark.slow
@pytest.mark.once
def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    chance = random.Random()
    acknowledged: list[list[str]] = []
    for _ in range(KILLS):
        acknowledged += run_and_kill(tmp_path, chance)
        check(tmp_path, acknowledged)
    assert acknowledged, "the writer was always killed before it had written anything"


def check(path: Path, acknowledged: list[list[str]]) -> None:
    house = House(path)
    with HomeLock(house.home.path):
        with reading(house.engine) as connection:
            if house.home.database is not None:
                assert connection.execute(sqlalchemy.text("PRAGMA integrity_check")).scalar() == "ok"
            rows = connection.execute(sqlalchemy.select(blobs)).mappings().all()
        records = {row["id"]: BlobRecord(**{key: row[key] for key in BlobRecord.__struct_fields__}) for row in rows}
        house.blobs.clean(set(records))
        assert house.files() == set(records)
        house.pen()
        entries = house.ledger(head=house.keeper.head).entries()
        assert len(entries) % 2 == 0, "half of what was appended as a whole"
        assert house.keeper.head().number == len(entries)
        for blob_id, digest, number in acknowledged:
            assert entries[int(number) - 1].intent == blob_id
            assert records[blob_id].digest == digest
        for record in records.values():
            house.blobs.seal(record).close()
    house.engine.dispose()
