"""What a training script may use, as its starter asks for it, and the sentence for what it hit."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from casemate.core import InputError, parse_duration
from casemate.sandbox import Exit, ExitReason, Limits

# Descriptors: the script, its pipes, the dataset, and every file of a model that it goes on from.
TRAINING_LIMITS = Limits(
    memory=4 << 30, cpu_seconds=1800, wall_seconds=1800, file_bytes=1 << 30, threads=128, open_files=512
)
LONGEST = 24 * 3600  # seconds, of time and of processor time
LEAST_MEMORY = 512 << 20  # bytes: the libraries alone take some 300 MB

_SIZE = re.compile(r"([0-9]{1,7})([MG])\Z")
_UNITS = {"M": 1 << 20, "G": 1 << 30}


def asked_limits(*, cpu: str = "", memory: str = "", time: str = "") -> Limits:
    """The bounds of one run; what is left empty is as of `TRAINING_LIMITS`.

    Args: cpu: processor time of all its threads together, as in `2h`. memory: as in `8G`. time: from start to end, as in `1h`.
    Raises: InputError `bad-duration`, `bad-limit`.
    """
    limits = TRAINING_LIMITS
    wall = _seconds(time, "--time") if time else int(limits.wall_seconds or 0)
    # Whoever allows more time does not mean a shorter run than before: one processor may be busy all the while.
    used = _seconds(cpu, "--cpu") if cpu else max(int(limits.cpu_seconds or 0), wall)
    taken = _bytes(memory) if memory else limits.memory
    return msgspec.structs.replace(limits, wall_seconds=wall, cpu_seconds=used, memory=taken)


def told_limits(limits: Limits) -> dict[str, int]:
    """As the record of a run has them: seconds and bytes."""
    return {
        "time": int(limits.wall_seconds or 0),
        "cpu": limits.cpu_seconds or 0,
        "memory": limits.memory,
        "files": limits.file_bytes,
    }


def limits_of(training: Mapping[str, Any]) -> Limits:
    """The bounds that a run had, as its record tells them; of an older record, as is usual."""
    told = training.get("run", {}).get("limits")
    if not isinstance(told, dict):
        return TRAINING_LIMITS
    return msgspec.structs.replace(
        TRAINING_LIMITS, wall_seconds=told["time"], cpu_seconds=told["cpu"], memory=told["memory"]
    )


def hit(exit_: Exit, limits: Limits) -> str:
    """Which bound ended a run, in words; empty where none did."""
    said = {
        ExitReason.TIMEOUT: f"it ran for its {_time(int(limits.wall_seconds or 0))} (--time)",
        ExitReason.CPU: f"it used its {_time(limits.cpu_seconds or 0)} of processor time (--cpu)",
        ExitReason.MEMORY: f"it used its {limits.memory >> 20} MiB of memory (--memory)",
        ExitReason.DISK: f"it wrote more than {limits.file_bytes >> 20} MiB of files, or too many",
        ExitReason.THREADS: f"it started more than {limits.threads} threads",
    }
    return said.get(exit_.reason, "")


def _seconds(text: str, option: str) -> int:
    seconds = int(parse_duration(text))
    if seconds > LONGEST:
        raise InputError(f"{option} is at most {LONGEST // 3600}h.", code="bad-limit")
    return seconds


def _bytes(text: str) -> int:
    found = _SIZE.match(text)
    size = int(found[1]) * _UNITS[found[2]] if found else 0
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if not LEAST_MEMORY <= size <= most:
        raise InputError(
            f"--memory is {LEAST_MEMORY >> 20}M to {most >> 20}M on this machine, as in 2G.", code="bad-limit"
        )
    return size


def _time(seconds: int) -> str:
    return f"{seconds // 60} minutes" if seconds % 60 == 0 and seconds > 60 else f"{seconds} seconds"
