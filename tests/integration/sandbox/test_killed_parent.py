"""Whoever started a confined process is killed: nothing confined lives on, not even what is deaf to signals."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from every_wall import WALLS
from test_cells import is_gone

from casemate.sandbox import Walls

HERE = Path(__file__).parent
PARENT = """
import sys, time
from pathlib import Path
from casemate.sandbox import Limits, Need, Walls, spawn
walls = Walls(namespaces=Need(sys.argv[2]), cgroups=Need(sys.argv[3]))
limits = Limits(memory=128 << 20, wall_seconds=600, threads=32)
cells = [spawn(f"guests:{entry}", limits=limits, walls=walls, paths=[Path(sys.argv[1])]) for entry in ("hang", "spin_deaf")]
print(*(cell.pid for cell in cells), flush=True)
time.sleep(600)
"""


def started(walls: Walls) -> tuple[subprocess.Popen[str], list[int]]:
    command = [sys.executable, "-c", PARENT, str(HERE), walls.namespaces.value, walls.cgroups.value]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    return parent, [int(pid) for pid in parent.stdout.readline().split()]


def family(pid: int) -> set[int]:
    """All that descend from a process."""
    found = set()
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, thread.read_text().split()):
            found |= {child, *family(child)}
    return found


def wait_until_gone(pids: set[int]) -> set[int]:
    """Those that still run after ten seconds."""
    deadline = time.monotonic() + 10
    while (left := {pid for pid in pids if not is_gone(pid)}) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


@pytest.mark.parametrize("walls", WALLS)
def test_what_is_confined_ends_with_a_parent_that_is_killed(walls: Walls) -> None:
    parent, cells = started(walls)
    try:
        everybody = {*cells, *family(parent.pid)}
        assert len(cells) == 2
        assert not [pid for pid in everybody if is_gone(pid)]
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        assert wait_until_gone(everybody) == set()
    finally:
        parent.kill()
        parent.communicate()
