"""What a training script says while it runs: its output and its metrics, read as they come, bounded in size and in pace."""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from casemate.runtime.startup import printable

MAX_LOG = 1 << 20  # bytes that are kept of the output: its first and its last half
LOG_TAIL = 64 << 10  # bytes
LINE = 2000  # characters of a line handed to the callback
LINES = 10_000  # handed to the callback; the tail keeps the last ones all the same

MAX_POINTS = 10_000  # lines of metrics that are kept
MAX_METRIC_LINE = 4096  # bytes
MAX_NAMES = 100  # distinct metrics of one run
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]{0,63}\Z")
STEP = "step"
_MOST_STEP = 1 << 53
_DIGITS = 6  # significant ones of a metric's last value

_PIECE = 64 << 10  # bytes a read
_PACE, _PACE_SECONDS = 1 << 20, 0.2  # so many bytes in so long; whoever writes faster waits
_LAST_WORDS = 5.0  # seconds for what is left in a pipe once its writer is gone

Point = dict[str, float | int]


class _Pipe(ABC):
    """A pipe that is read by a thread of its own until its last writer is gone."""

    def __init__(self, name: str) -> None:
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._read, name=name, daemon=True)

    def begin(self) -> None:
        """Let go of our own writing end, which another process has by now, and read."""
        os.close(self.writer)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the last words; started insecurely, a grandchild may hold the pipe, and is not waited for."""
        self._thread.join(timeout=_LAST_WORDS)

    def _read(self) -> None:
        taken, since = 0, time.monotonic()
        with open(self._reader, "rb", buffering=0) as pipe:  # noqa: PTH123 a descriptor
            while piece := pipe.read(_PIECE):
                self._take(piece)
                taken += len(piece)
                if taken >= _PACE:
                    time.sleep(max(0.0, since + _PACE_SECONDS - time.monotonic()))
                    taken, since = 0, time.monotonic()
        self._end()

    @abstractmethod
    def _take(self, piece: bytes) -> None:
        """The next bytes of what the script writes."""

    @abstractmethod
    def _end(self) -> None:
        """It writes no more."""


class Log(_Pipe):
    """The script's stdout and stderr. Args: tell: called from another thread with each line, printable."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        super().__init__("casemate-log")
        self._tell = tell
        self._first, self._last, self._left_out = bytearray(), bytearray(), 0
        self._line, self._lines = b"", 0

    def tail(self) -> str:
        """The last 64 KiB."""
        return _shown(bytes(self._first + self._last)[-LOG_TAIL:])

    def whole(self) -> str:
        """All of it, or where it is long its beginning and its end, with a line between them that says so."""
        between = f"\n[{self._left_out} bytes left out]\n" if self._left_out else ""
        return _shown(bytes(self._first)) + between + _shown(bytes(self._last))

    def _take(self, piece: bytes) -> None:
        half = MAX_LOG // 2
        room = half - len(self._first)
        self._first += piece[:room]
        self._last += piece[room:]
        over = max(0, len(self._last) - half)
        del self._last[:over]
        self._left_out += over
        self._hand_on(piece)

    def _end(self) -> None:
        if self._line:
            self._hand_on(b"\n")

    def _hand_on(self, piece: bytes) -> None:
        if self._tell is None or self._lines >= LINES:
            return
        *whole, self._line = (self._line + piece).split(b"\n")
        self._line = self._line[:LINE]
        for line in whole[: LINES - self._lines]:
            self._tell(printable(line.decode(errors="replace"), LINE))
        self._lines += len(whole)


class Metrics(_Pipe):
    """What the script writes to `CASEMATE_METRICS`: JSON objects of finite numbers by name, a line each.

    A member `step` numbers the line. What is no such line, and what is over a bound, is counted and left out.
    Args: tell: called from another thread with each line that is kept.
    """

    def __init__(self, tell: Callable[[Point], None] | None) -> None:
        super().__init__("casemate-metrics")
        self._tell = tell
        self._line = b""
        self._names: dict[str, float] = {}
        self.points: list[Point] = []
        self.left_out = 0

    @property
    def last(self) -> dict[str, float]:
        """The last value of each, to six significant digits, by name."""
        return {name: float(f"{value:.{_DIGITS}g}") for name, value in sorted(self._names.items())}

    def _take(self, piece: bytes) -> None:
        *whole, rest = (self._line + piece).split(b"\n")
        for line in whole:
            self._add(line)
        self._line = rest[: MAX_METRIC_LINE + 1]

    def _end(self) -> None:
        self._add(self._line)

    def _add(self, line: bytes) -> None:
        if not line.strip():
            return
        point = read_point(line)
        known = point is not None and len({*self._names, *point} - {STEP}) <= MAX_NAMES
        if point is None or not known or len(self.points) >= MAX_POINTS:
            self.left_out += 1
            return
        self.points.append(point)
        self._names |= {name: float(value) for name, value in point.items() if name != STEP}
        if self._tell is not None:
            self._tell(point)


def read_point(line: bytes) -> Point | None:
    """A line of metrics; None where it is none: no JSON object, too long, no number, a name twice or of other characters."""
    if len(line) > MAX_METRIC_LINE:
        return None
    try:
        pairs = json.loads(line, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return None
    if not isinstance(pairs, _Pairs):
        return None
    point = dict(pairs)
    good = len(point) == len(pairs) and any(name != STEP for name in point) and all(map(_is_metric, point.items()))
    return point if good else None


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, doubled ones too."""


def _is_metric(pair: tuple[str, Any]) -> bool:
    name, value = pair
    if type(value) not in (int, float) or not _NAME.match(name):
        return False
    if name == STEP:
        return type(value) is int and 0 <= value <= _MOST_STEP
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _shown(data: bytes) -> str:
    text = data.decode(errors="replace").replace("\t", "    ")
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
