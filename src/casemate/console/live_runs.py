"""Training runs while they go on: what their scripts say and measure, for whoever started them to follow."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import msgspec

from casemate.core import ConflictError

_MOST = 8 << 20  # bytes of one run that are told live; the version keeps what it keeps all the same
_LOOK = 0.2  # seconds between two looks for news
_SILENCE = 10.0  # seconds after which an empty line shows whether the follower is still there


class LiveRun:
    """What one run has said so far, as lines of JSON: `{"log": TEXT}` or `{"metrics": {NAME: NUMBER}}`. From any thread."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size, self._over = 0, False
        self._lock = threading.Lock()

    def log(self, line: str) -> None:
        self._add({"log": line})

    def metrics(self, point: dict[str, float | int]) -> None:
        self._add({"metrics": point})

    def end(self) -> None:
        self._over = True

    def after(self, seen: int) -> tuple[list[bytes], bool]:
        """The lines after the first `seen`, and whether there will be no more."""
        over = self._over
        with self._lock:
            return self._lines[seen:], over

    def _add(self, news: dict[str, object]) -> None:
        line = msgspec.json.encode(news) + b"\n"
        with self._lock:
            if self._size + len(line) <= _MOST:
                self._size += len(line)
                self._lines.append(line)


class LiveRuns:
    """Those that go on in this process, each under the id that its starter gave it; nobody else finds it."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], LiveRun] = {}
        self._lock = threading.Lock()

    @contextmanager
    def begin(self, who: str, run: str) -> Iterator[LiveRun]:
        """A run that goes on until the context ends. Raises: ConflictError `run-known`."""
        live = LiveRun()
        with self._lock:
            if run and (who, run) in self._runs:
                raise ConflictError(
                    f"Your run {run} goes on already: give this one an id of its own.", code="run-known"
                )
            if run:
                self._runs[who, run] = live
        try:
            yield live
        finally:
            live.end()
            with self._lock:
                self._runs.pop((who, run), None)

    def find(self, who: str, run: str) -> LiveRun | None:
        with self._lock:
            return self._runs.get((who, run))

    async def follow(self, who: str, run: str, *, wait: float) -> AsyncIterator[bytes]:
        """The lines of a run as they come, until it ends. Args: wait: seconds for it to begin; then there are none."""
        until = time.monotonic() + wait
        while (live := self.find(who, run)) is None:
            if time.monotonic() >= until:
                return
            await asyncio.sleep(_LOOK)
        seen, told = 0, time.monotonic()
        while True:
            lines, over = live.after(seen)
            if lines:
                seen, told = seen + len(lines), time.monotonic()
                yield b"".join(lines)
            elif over:
                return
            elif time.monotonic() - told > _SILENCE:
                told = time.monotonic()
                yield b"\n"
            else:
                await asyncio.sleep(_LOOK)
