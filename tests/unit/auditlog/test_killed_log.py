"""SIGKILL while threads append: every acknowledged event is there, and the log verifies and goes on."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from log_house import LogHouse, event, log_house

from casemate.storage import HomeLock

WRITER = Path(__file__).with_name("log_writer.py")
KILLS = 20


def write_and_kill(folder: Path, chance: random.Random) -> dict[int, str]:
    """The events that were acknowledged before the end, by number."""
    found = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # what the tests share, and what each home needs
    with subprocess.Popen([sys.executable, str(WRITER), str(folder)], stdout=subprocess.PIPE, env=found) as writer:
        assert writer.stdout is not None
        seen = b"".join(writer.stdout.readline() for _ in range(chance.randrange(1, 400)))
        time.sleep(chance.random() * 0.02)  # the moment of death is the test's input
        assert writer.poll() is None, "it ended before it was killed"
        writer.kill()
        lines = (seen + writer.stdout.read()).decode().splitlines(keepends=True)
    return {int(number): name for number, name in (line.split() for line in lines if line.endswith("\n"))}


@pytest.mark.once
def test_no_acknowledged_event_is_lost(tmp_path: Path) -> None:
    chance = random.Random()
    acknowledged: dict[int, str] = {}
    for _ in range(KILLS):
        new = write_and_kill(tmp_path, chance)
        assert new
        assert not new.keys() & acknowledged.keys()
        acknowledged |= new
        house = log_house(tmp_path)
        with HomeLock(house.home.path):
            check(house, acknowledged)
        house.engine.dispose()


def check(house: LogHouse, acknowledged: dict[int, str]) -> None:
    house.log.append([event()])
    report = house.verify()
    assert (report.ok, report.problems) == (True, [])
    with house.engine.begin() as connection:
        stored = dict(connection.exec_driver_sql("SELECT seq, id FROM entries ORDER BY seq").fetchall())
    assert acknowledged.items() <= stored.items()
    assert list(stored) == list(range(report.size))
