"""The `record` guard: events on their way to the audit log, off the event loop, none dropped.

A thread of its own hands batches to the sink: after 50 ms or 1,000 events, at once for whoever waits.
**A full queue refuses; a sink that fails refuses**: events stay queued and are handed in again until the sink takes
them, and until then no prediction is served.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Self

from casemate.core import CasemateError, Clock, ConflictError, Event, EventSink, LimitError, StorageError
from casemate.doors.limits import network_of
from casemate.doors.problems import status_of
from casemate.doors.refusals import RecorderConfig, Refusal, RefusalCounter

_LOG = logging.getLogger("casemate.gateway")


class _Waiter:
    """A future of the event loop that is done when its event is committed."""

    __slots__ = ("future", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()

    def settle(self, error: CasemateError | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)


class Recorder:
    """Queue, thread and counters between the pipeline and the audit log. A context manager: closing hands in the rest.

    Args:
        sink: Returns only when events are durable. Called from the recorder's thread alone.
        clock: When a counted refusal is written down.
    """

    def __init__(
        self,
        sink: EventSink,
        config: RecorderConfig | None = None,
        *,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._config = config or RecorderConfig()
        self._monotonic = monotonic
        self._queue: deque[tuple[Event, _Waiter | None]] = deque()
        self._taken = 0  # events that the thread holds but has not committed
        self._wake = threading.Event()  # there is something to do
        self._hurry = threading.Event()  # do not wait for more
        self._closing = False
        self._give_up = 0.0  # monotonic seconds: when closing stops trying
        self._failed = False
        self._refusals = RefusalCounter(self._config, clock, monotonic)
        self._thread = threading.Thread(target=self._run, name="casemate-recorder", daemon=True)
        self._thread.start()

    def require_room(self) -> None:
        """Return while an event could be queued. Raises: LimitError `record-full`; StorageError `record-failed`."""
        if self._failed:
            raise LimitError(
                "The audit log cannot be written, so nothing is served: try again later.",
                retry_after=5.0,
                code="record-failed",
            )
        if self._closing or len(self._queue) + self._taken >= self._config.queue:
            raise LimitError(
                "The audit log cannot keep up, so nothing is served: come back in a second.",
                retry_after=1.0,
                code="record-full",
            )

    def put(self, event: Event) -> None:
        """Queue an event. Raises: as `require_room`."""
        self.require_room()
        self._queue.append((event, None))
        self._notify()

    async def commit(self, event: Event) -> None:
        """Return when `event` is durable. Raises: as `require_room`; StorageError: the sink refused it."""
        self.require_room()
        waiter = _Waiter(asyncio.get_running_loop())
        self._queue.append((event, waiter))
        self._hurry.set()
        self._wake.set()
        try:
            async with asyncio.timeout(self._config.commit):
                await waiter.future
        except TimeoutError:
            raise LimitError(
                "The audit log does not keep up, so the answer is withheld: come back in a second.",
                retry_after=1.0,
                code="record-full",
            ) from None

    def count_refusal(self, refusal: Refusal, client: str = "") -> str:
        """Count one refusal; never fails, so that a refusal is always answered.

        Returns: id of the event in which this refusal is, or will be, counted.
        """
        event_id, first = self._refusals.count(refusal, client)
        if first is not None:
            self._queue.append((first, None))  # bounded by `kinds` per window, so it needs no room
        self._notify()
        return event_id

    def count_early(self, error: CasemateError, address: str) -> None:
        """Count a refusal that a server made before its app."""
        self.count_refusal(Refusal(error.code, status_of(error), address=network_of(address)))

    def _notify(self) -> None:
        if len(self._queue) >= self._config.batch:
            self._hurry.set()
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Hand in what is queued and stop. Raises: StorageError: the sink did not take all of it in time."""
        self._give_up = self._monotonic() + self._config.close
        self._closing = True
        self._hurry.set()
        self._wake.set()
        self._thread.join(self._config.close + self._config.retry)
        left = len(self._queue) + self._taken
        if left:
            raise StorageError(f"{left} events could not be written to the audit log.", code="record-failed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            self._wake.wait(self._refusals.seconds_left())
            if not self._closing and self._wake.is_set():
                self._hurry.wait(self._config.wait)
            self._wake.clear()
            self._hurry.clear()
            closing = self._closing  # one answer for this round, or a close in between would lose what was counted
            self._queue.extend((event, None) for event in self._refusals.due(everything=closing))
            due = len(self._queue)  # what comes in while these are written waits for company again
            while due > 0:
                if self._write_batch():
                    due -= self._config.batch
                    continue
                if self._closing and self._monotonic() >= self._give_up:
                    return
                self._hurry.clear()
                self._hurry.wait(self._config.retry)
            if closing and not self._queue:
                return

    def _write_batch(self) -> bool:
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._config.batch))]
        self._taken = len(batch)
        try:
            self._hand_in([event for event, _ in batch])
        except Exception as error:  # noqa: BLE001 whatever the sink's trouble is, the events are kept
            if not self._failed:  # once per outage
                told = error if not isinstance(error, CasemateError) else None  # ours is a sentence, not a traceback
                _LOG.error(
                    "The audit log did not take %d events (%s); predictions are refused until it does.",
                    len(batch),
                    getattr(error, "code", type(error).__name__),
                    exc_info=told,
                )
            self._failed = True
            self._settle(batch, StorageError("The audit log did not take the event.", code="record-failed"))
            self._queue.extendleft((event, None) for event, _ in reversed(batch))
            self._taken = 0
            return False
        self._failed = False
        self._taken = 0
        self._settle(batch, None)
        return True

    def _hand_in(self, events: list[Event]) -> None:
        """Events that an earlier, seemingly failed attempt has left in the log count as handed in."""
        try:
            self._sink.append(events)
        except ConflictError:
            if len(events) == 1:
                return
            for event in events:
                self._hand_in([event])

    @staticmethod
    def _settle(batch: list[tuple[Event, _Waiter | None]], error: CasemateError | None) -> None:
        waiters = [waiter for _, waiter in batch if waiter is not None]
        if not waiters:
            return

        def settle_all() -> None:
            for waiter in waiters:
                waiter.settle(error)

        try:
            waiters[0].loop.call_soon_threadsafe(settle_all)
        except RuntimeError:  # the event loop is gone, and with it whoever waited
            _LOG.warning("The server stopped before %d events were acknowledged.", len(waiters))
