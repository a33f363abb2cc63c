"""CPU seconds of a server and of everything that it started, told apart by what each process is for."""

from __future__ import annotations

import os
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(root: int) -> dict[str, dict[int, float]]:
    """User and system seconds so far by role and process: `root` itself and all its descendants.

    A role is the name of a child of `casemate up`; what descends from the gateway is a `worker`, walls included.
    """
    stats = _stats()
    found: dict[str, dict[int, float]] = {}
    open_ends = [(root, "server")]
    while open_ends:
        pid, role = open_ends.pop()
        found.setdefault(role, {})[pid] = stats[pid][1]
        for child, (parent, _) in stats.items():
            if parent == pid:
                open_ends.append((child, _role(child) or ("worker" if role in ("gateway", "worker") else role)))
    return found


def spent(before: dict[str, dict[int, float]], after: dict[str, dict[int, float]]) -> dict[str, float]:
    """Seconds by role between two looks. Raises: SystemExit: a process came or went, so its time is lost."""
    if {role: set(pids) for role, pids in before.items()} != {role: set(pids) for role, pids in after.items()}:
        raise SystemExit("A process came or went while it was measured: not a measurement.")
    return {role: sum(pids.values()) - sum(before[role].values()) for role, pids in after.items()}


def _stats() -> dict[int, tuple[int, float]]:
    """Parent and CPU seconds of each process."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()  # a name may be any bytes
            except OSError:  # it ended meanwhile
                continue
            found[int(entry.name)] = (int(fields[1]), (int(fields[11]) + int(fields[12])) / TICK)
    return found


def _role(pid: int) -> str | None:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    if "casemate.app.processes" in words:
        return words[words.index("casemate.app.processes") + 1]
    return None
