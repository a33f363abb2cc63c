"""What is written into a control group, with a plain folder in the kernel's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from casemate.sandbox import Limits, cgroups
from casemate.sandbox.cgroups import ControlGroup, make_group

LIMITS = Limits(memory=256 << 20, file_bytes=8 << 20, threads=32, processors=1.5)
MEMORY = 320 << 20  # with what the kernel keeps for it


@pytest.fixture
def version_2(tmp_path, monkeypatch):
    """Our own group `/us`, which hands down what is asked for."""
    monkeypatch.setattr(cgroups, "_MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(cgroups, "_OWN", tmp_path / "own")
    (tmp_path / "mounts").write_text(f"cgroup2 {tmp_path}/fs cgroup2 rw,nosuid 0 0\n")
    (tmp_path / "own").write_text("0::/us\n")
    (tmp_path / "fs" / "us").mkdir(parents=True)
    (tmp_path / "fs" / "cgroup.subtree_control").write_text("")

    def handing_down(controllers: str) -> Path:
        (tmp_path / "fs" / "us" / "cgroup.subtree_control").write_text(controllers)
        return tmp_path / "fs" / "us"

    return handing_down


@pytest.fixture
def version_1(tmp_path, monkeypatch):
    """A hierarchy for each controller that is asked for; `cpu` shares one with `cpuacct`, as distributions do it."""
    monkeypatch.setattr(cgroups, "_MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(cgroups, "_OWN", tmp_path / "own")

    def mounted(*names: str) -> Path:
        mounts = "".join(f"cgroup {tmp_path}/fs/{name} cgroup rw,relatime,{name} 0 0\n" for name in names)
        (tmp_path / "mounts").write_text(mounts)
        (tmp_path / "own").write_text("".join(f"{at}:{name}:/us\n" for at, name in enumerate(names, start=1)))
        for name in names:
            (tmp_path / "fs" / name / "us").mkdir(parents=True)
        return tmp_path / "fs"

    return mounted


def made_in(parent: Path) -> Path:
    (folder,) = parent.glob("casemate_*")
    return folder


def written(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_version_2_bounds_memory_threads_and_processors(version_2):
    parent = version_2("cpu io memory pids")
    group = make_group(LIMITS, writable=False)
    assert group is not None
    assert group.controllers == ("memory", "pids", "cpu")
    assert written(made_in(parent)) == {
        "memory.max": str(MEMORY),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "32",
        "cpu.weight": "50",
        "cpu.max": "150000 100000",
    }


def test_version_2_without_the_processors_handed_down_writes_nothing_of_them(version_2):
    parent = version_2("memory pids")
    group = make_group(LIMITS, writable=False)
    assert group is not None
    assert group.controllers == ("memory", "pids")
    assert not [name for name in written(made_in(parent)) if name.startswith("cpu")]


@pytest.mark.parametrize("handed", ["", "cpu", "memory", "cpu pids"])
def test_version_2_without_memory_and_threads_makes_no_group(version_2, handed):
    parent = version_2(handed)
    assert make_group(LIMITS, writable=False) is None
    assert not list(parent.glob("casemate_*"))


def test_version_1_bounds_memory_threads_and_processors(version_1):
    root = version_1("memory", "pids", "cpu,cpuacct")
    group = make_group(LIMITS, writable=True)
    assert group is not None
    assert group.controllers == ("memory", "pids", "cpu")
    assert written(made_in(root / "memory" / "us")) == {"memory.limit_in_bytes": str(MEMORY + (8 << 20))}
    assert written(made_in(root / "pids" / "us")) == {"pids.max": "32"}
    assert written(made_in(root / "cpu,cpuacct" / "us")) == {
        "cpu.shares": "512",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "150000",
    }


def test_version_1_without_the_processors_still_bounds_the_rest(version_1):
    version_1("memory", "pids")
    group = make_group(LIMITS, writable=False)
    assert group is not None
    assert group.controllers == ("memory", "pids")


def test_without_a_bound_on_processors_there_is_a_weight_alone(version_2):
    parent = version_2("cpu memory pids")
    make_group(Limits(), writable=False)
    assert {name for name in written(made_in(parent)) if name.startswith("cpu")} == {"cpu.weight"}


@pytest.mark.parametrize(("processors", "quota"), [(0.0, 1000), (0.001, 1000), (0.5, 50_000), (64, 6_400_000)])
def test_the_least_that_the_kernel_takes_is_the_least_that_is_asked(version_2, processors, quota):
    parent = version_2("cpu memory pids")
    make_group(Limits(processors=processors), writable=False)
    assert written(made_in(parent))["cpu.max"] == f"{quota} 100000"


def test_a_process_joins_each_group_once(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    ControlGroup({"memory": one, "pids": one, "cpu": other}).add(4711)
    assert written(one) == written(other) == {"cgroup.procs": "4711"}
