"""Time as a parameter. Wall time never runs backwards within a process, so no credential comes back to life."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol

from casemate.core.errors import InputError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Clock(Protocol):
    def now(self) -> datetime: ...


class SystemClock:
    """UTC wall time that never decreases. `floor` is the latest time already on record."""

    def __init__(self, floor: datetime | None = None) -> None:
        self._latest = floor.timestamp() if floor else 0.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        with self._lock:  # asked and set as one, or a thread that asked earlier could set it back
            self._latest = latest = max(self._latest, time.time())
        return datetime.fromtimestamp(latest, UTC)


def rfc3339(at: datetime) -> str:
    """`2026-11-24T03:37:33.123456Z`: fixed width, so text order is time order."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def parse_duration(text: str) -> float:
    """Seconds in `90s`, `15m`, `1h` or `30d`. Raises: InputError."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not (number.isascii() and number.isdigit()) or not 0 < len(number) <= 9:
        raise InputError(
            f"{text[:40]!r} is not a duration: write a whole number and s, m, h or d, as in 1h.", code="bad-duration"
        )
    if int(number) == 0:
        raise InputError(f"{text!r} is no time at all: a duration must be more than 0.", code="bad-duration")
    return int(number) * _UNITS[unit]
