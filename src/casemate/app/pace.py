"""The pens' pace: nothing is written whose time is further ahead than this machine's own ticking allows.

One entry from a clock that was wrong for a moment would otherwise bind every later start: no clock goes behind the record.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from casemate.core import Clock, StorageError, parse_rfc3339

AHEAD = timedelta(minutes=5)  # what a time server corrects at once


def since_boot() -> float:
    """Seconds that this machine has been up, those in which it slept among them. No one sets this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Pace:
    """From the start, or the newest entry since, time runs as the machine ticks; a step of five minutes is allowed."""

    def __init__(self, clock: Clock, *, ticking: Callable[[], float] = since_boot) -> None:
        self._ticking, self._lock = ticking, threading.Lock()
        self._at, self._ticks = clock.now(), ticking()

    def check(self, times: Iterable[str]) -> None:
        """Times of what is about to be written, RFC 3339; what passes counts as written.

        Raises: StorageError `clock-jumped`.
        """
        newest = max(map(_read, times), default=None)
        if newest is None:
            return
        with self._lock:
            ticks = self._ticking()
            expected = self._at + timedelta(seconds=ticks - self._ticks)
            if newest - expected > AHEAD:
                raise StorageError(
                    f"This machine's clock jumped ahead by {newest - expected}, and nothing is recorded at such a time: "
                    "set it right. If it is right now, restart Casemate.",
                    code="clock-jumped",
                )
            self._at, self._ticks = max(expected, newest), ticks


def _read(text: str) -> datetime:
    return parse_rfc3339(text)
