"""Control groups, where the folder of our own group may be written: memory, threads and processors by the kernel.

Version 2 where its controllers are handed down to us, else version 1, each controller in its own hierarchy.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

from casemate.sandbox.limits import Limits

_MOUNTS = Path("/proc/self/mounts")
_OWN = Path("/proc/self/cgroup")
_PREFIX = "casemate_"  # then the supervisor's process id
_SLACK = 64 << 20  # bytes for page tables and sockets, which a group counts and RLIMIT_DATA does not
_WEIGHT = 50  # of 100, which every other group has: foreign code yields to ours when processors are short
_SHARES = 512  # the same in version 1, of 1024
_PERIOD = 100_000  # microseconds over which the bound on processors holds; the kernel's own choice
_SHORTEST = 1_000  # microseconds of each period, the least that the kernel takes
_REMOVE_SECONDS = 2.0  # a group empties a moment after its last process was reaped


class ControlGroup:
    """The groups of one confined process; removed at exit. `controllers` are those that could be had."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)

    @property
    def controllers(self) -> tuple[str, ...]:
        return tuple(self._folders)

    def add(self, pid: int) -> None:
        """Move a process in, with its threads. Raises: OSError."""
        for folder in set(self._folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed something here for want of memory."""
        folder = self._folders.get("memory")
        if folder is None:
            return False
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError, ValueError):
                facts = dict(line.split() for line in (folder / name).read_text().splitlines())
                return int(facts.get("oom_kill", 0)) > 0
        return False

    def peak(self) -> int:
        """Most bytes that were in use at a time; 0 where the kernel does not say."""
        folder = self._folders.get("memory")
        for name in ("memory.peak", "memory.max_usage_in_bytes") if folder else ():
            with contextlib.suppress(OSError, ValueError):
                return int((folder / name).read_text()) if folder else 0
        return 0

    def close(self) -> None:
        until = time.monotonic() + _REMOVE_SECONDS
        for folder in set(self._folders.values()):
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > until:
                        break
                    time.sleep(0.01)


def make_group(limits: Limits, *, writable: bool) -> ControlGroup | None:
    """New groups below our own, bounded; None when not even memory can be bounded here.

    Groups that a killed supervisor left behind are removed on the way.
    """
    name = f"{_PREFIX}{os.getpid()}_{os.urandom(8).hex()}"
    memory = limits.memory + _SLACK + (limits.file_bytes if writable else 0)
    group = _make_v2(name, memory, limits) or _make_v1(name, memory, limits)
    if group is not None and "memory" not in group.controllers:
        group.close()
        return None
    return group


def _make_v2(name: str, memory: int, limits: Limits) -> ControlGroup | None:
    own = _own_groups().get("")
    mount = _mounts().get("cgroup2")
    if own is None or mount is None:
        return None
    inside = mount / own.lstrip("/")
    for parent in (inside, inside.parent):  # a group that holds processes hands nothing down: then beside it
        if not parent.is_relative_to(mount) or not {"memory", "pids"} <= (handed := _hands_down(parent)):
            continue
        folder = parent / name
        settings: dict[str, int | str] = {"memory.max": memory, "memory.swap.max": 0, "memory.oom.group": 1}
        settings["pids.max"] = limits.threads
        if "cpu" in handed:
            settings["cpu.weight"] = _WEIGHT
            if limits.processors is not None:
                settings["cpu.max"] = f"{_quota(limits.processors)} {_PERIOD}"
        if _make(folder, settings, needed="memory.max"):
            return ControlGroup({name: folder for name in ("memory", "pids", "cpu") if name in handed})
    return None


def _hands_down(parent: Path) -> set[str]:
    """The controllers that groups in `parent` have, if we may make one."""
    try:
        handed = (parent / "cgroup.subtree_control").read_text().split()
    except OSError:
        return set()
    return set(handed) if os.access(parent, os.W_OK) else set()


def _quota(processors: float) -> int:
    """Microseconds of each period."""
    return max(_SHORTEST, round(processors * _PERIOD))


def _make_v1(name: str, memory: int, limits: Limits) -> ControlGroup | None:
    folders: dict[str, Path] = {}
    mounts, own = _mounts(), _own_groups()
    cpu = {"cpu.shares": _SHARES}
    if limits.processors is not None:
        cpu |= {"cpu.cfs_period_us": _PERIOD, "cpu.cfs_quota_us": _quota(limits.processors)}
    wanted = {"memory": {"memory.limit_in_bytes": memory}, "pids": {"pids.max": limits.threads}, "cpu": cpu}
    for controller, settings in wanted.items():
        mount, path = mounts.get(controller), own.get(controller)
        if mount is None or path is None:
            continue
        folder = mount / path.lstrip("/") / name
        if _make(folder, settings, needed=next(iter(settings))):
            folders[controller] = folder
    return ControlGroup(folders) if folders else None


def _make(folder: Path, settings: Mapping[str, int | str], *, needed: str) -> bool:
    _sweep(folder.parent)
    try:
        folder.mkdir()
    except OSError:
        return False
    for setting, value in settings.items():
        try:
            (folder / setting).write_text(str(value))
        except OSError:
            if setting == needed:
                folder.rmdir()
                return False
    return True


def _sweep(parent: Path) -> None:
    """Remove the groups of supervisors that are gone; the kernel keeps one that still holds a process."""
    for left in parent.glob(f"{_PREFIX}*_*"):
        owner = left.name.removeprefix(_PREFIX).partition("_")[0]
        if not Path("/proc", owner).exists():
            with contextlib.suppress(OSError):
                left.rmdir()


def _own_groups() -> dict[str, str]:
    """Controller -> our group in its hierarchy; "" is version 2."""
    found: dict[str, str] = {}
    for line in _OWN.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _mounts() -> dict[str, Path]:
    """Controller, or `cgroup2`, -> where it is mounted."""
    found: dict[str, Path] = {}
    for line in _MOUNTS.read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found[kind] = Path(where)
        elif kind == "cgroup":
            found.update(dict.fromkeys(options.split(","), Path(where)))
    return found
