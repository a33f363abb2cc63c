"""Control groups of the kernel itself, where this machine lets us make them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from casemate.sandbox import Limits, Need, Walls, spawn
from casemate.sandbox.cgroups import make_group

HERE = Path(__file__).parent
GROUPS = Walls(namespaces=Need.NEVER, cgroups=Need.REQUIRED)


@pytest.fixture(autouse=True)
def _offered():
    group = make_group(Limits(), writable=False)
    if group is None or "cpu" not in group.controllers:
        # Groups are a wall on top of the floor, and few containers may write them: what reads and writes their files is
        # tested on a made-up root in unit/sandbox/test_cgroups.py, and `casemate doctor` names the wall as missing.
        pytest.skip("no writable control group for processors")
    group.close()


def folder_of(pid: int) -> Path:
    """Where the kernel says that the processors of this process are shared out."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for _, where, kind, options, *_ in mounts:
            mine = kind == "cgroup" and "cpu" in options.split(",") and "cpu" in controllers.split(",")
            if "casemate_" in path and (mine or (kind == "cgroup2" and not controllers)):
                return Path(where) / path.lstrip("/")
    raise AssertionError("not in a group of ours")


def test_processors_are_bounded_by_the_kernel():
    with spawn("guests:spin", limits=Limits(processors=0.2), walls=GROUPS, paths=[HERE]) as cell:
        folder = folder_of(cell.pid)
        if (folder / "cpu.max").exists():
            assert (folder / "cpu.max").read_text().split() == ["20000", "100000"]
            assert (folder / "cpu.weight").read_text().strip() == "50"
        else:
            assert (folder / "cpu.cfs_quota_us").read_text().strip() == "20000"
            assert (folder / "cpu.shares").read_text().strip() == "512"
        until = time.monotonic() + 20
        while throttled(folder) < 3:
            assert time.monotonic() < until
            threading.Event().wait(0.05)
    assert not folder.exists()


def throttled(folder: Path) -> int:
    """Periods in which it wanted more than it may have."""
    facts = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
    return int(facts["nr_throttled"])
