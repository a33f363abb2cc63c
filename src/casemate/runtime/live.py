"""One model version that serves: its worker, the requests that wait for it, and its return after a crash.

Everything here runs on the event loop; only starting and killing the process happen in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from casemate.core import (
    CasemateError,
    Clock,
    Event,
    LimitError,
    Resource,
    SandboxError,
    Signature,
    new_id,
    rfc3339,
)
from casemate.runtime.batching import Request, join, kind_of, split, take_batch
from casemate.runtime.config import PoolConfig
from casemate.runtime.connection import Connection
from casemate.runtime.spares import Spares
from casemate.runtime.startup import Started, check_told, checked_served, printable
from casemate.runtime.tensors import Array, decode_tensors, encode_tensors
from casemate.sandbox import ExitReason
from casemate.signing import VerifiedModel

Sink = Callable[[Event], None]  # takes an event at once, without blocking

_BUSY_SECONDS = 0.1  # until a full queue is likely to have room; a batch takes milliseconds


class LiveModel:
    """A verified model behind its walls. `Pool` makes and ends it; callers use `infer`.

    Attributes:
        about: Which version this is.
        signature: The signed one where the version has it, else the loaded model's own.
    """

    def __init__(
        self,
        deployment: str,
        verified: VerifiedModel,
        *,
        config: PoolConfig,
        spares: Spares,
        sink: Sink,
        clock: Clock,
    ) -> None:
        """Takes ownership of `verified`; nothing runs before `start`."""
        self.deployment, self.about = deployment, verified.about
        self.signature = verified.signature or Signature(inputs=(), outputs=(), runtime="")
        self._verified, self._config, self._sink, self._clock = verified, config, sink, clock
        self._spares = spares
        self._started: Started | None = None
        self._connection: Connection | None = None
        self._waiting: deque[Request] = deque()
        self._waiting_bytes = 0
        self._running: list[Request] = []
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._pause, self._since = config.first_pause, 0.0
        self._due = 0.0  # loop time of the next start
        self._revival: asyncio.Task[None] | None = None
        self._idle, self._hurry = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._closed = False

    @property
    def ready(self) -> bool:
        """Whether a worker stands right now."""
        return self._connection is not None

    async def start(self) -> None:
        """Bring the worker up, warm. Raises: as `start_worker`, and VerificationError `signature-mismatch`."""
        served = checked_served(self.about, self._verified.served)
        loop = asyncio.get_running_loop()
        config = self._config
        starting = loop.run_in_executor(None, self._spares.start_worker, self._verified.files, served)
        try:
            started = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_discard)
            raise
        try:
            self._adopt_signature(started.signature)
            connection = Connection(
                on_frame=self._answered,
                on_lost=self._lost,
                max_answer=min(config.max_answer_bytes, config.limits.memory),
            )
            sock = started.cell.channel.socket
            sock.setblocking(False)
            await loop.create_unix_connection(lambda: connection, sock=sock)
        except BaseException:
            started.cell.kill()
            started.cell.channel.close()
            raise
        self._started, self._connection, self._since = started, connection, loop.time()
        self._tell("worker.started", walls=list(started.cell.walls), pid=started.cell.pid)
        self._pump()

    def _adopt_signature(self, loaded: Signature) -> None:
        check_told(self.about, self._verified.signature, loaded)
        if self._verified.signature is None:
            self.signature = loaded

    async def infer(self, inputs: dict[str, Array], batchable: bool) -> dict[str, Array]:  # noqa: FBT001 gateway's port
        """Run one request in the worker.

        Args:
            inputs: Validated against `signature`.
            batchable: Its rows may be joined with those of other requests.
        Raises:
            LimitError: `queue-full`, `worker-restarting`, `worker-crashed`, `worker-hung`, `worker-stopped`: not now;
                come back after `retry_after`.
            SandboxError: `model-failed`: the model raised on this input.
        """
        self._admit()
        kind, rows = kind_of(inputs) if batchable and self._started and self._started.batchable else (None, 0)
        answer = asyncio.get_running_loop().create_future()
        request = Request(inputs=inputs, answer=answer, kind=kind, rows=rows)
        self._waiting.append(request)
        self._waiting_bytes += request.size
        self._idle.clear()
        if not self._running and len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._pump)  # so that what has arrived with it goes in with it
        try:
            result: dict[str, Array] = await answer
        finally:
            self._waiting_bytes -= request.size
        return result

    def _admit(self) -> None:
        config = self._config
        if self._closed:
            raise LimitError("This deployment is being stopped or replaced.", retry_after=1.0, code="worker-stopped")
        if self._connection is None:
            wait = max(self._due - asyncio.get_running_loop().time(), 0.0) + config.first_pause
            raise LimitError("The model's worker is being restarted.", retry_after=wait, code="worker-restarting")
        if len(self._waiting) >= config.max_waiting or self._waiting_bytes > config.max_waiting_bytes:
            raise LimitError("Too many requests wait for this model.", retry_after=_BUSY_SECONDS, code="queue-full")

    def _pump(self) -> None:
        """Send the next batch when the worker is free."""
        if self._running or self._connection is None:
            return
        batch = take_batch(self._waiting, max_rows=self._config.max_rows)
        if not batch:
            self._idle.set()
            return
        try:
            headers, buffers = encode_tensors(join(batch))
        except SandboxError as error:
            _refuse(batch, error)
            self._pump()
            return
        self._running = batch
        self._number += 1
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._config.request_seconds, self._lost, "hung")
        self._connection.send({"id": self._number, "inputs": headers}, buffers)

    def _answered(self, message: Any, buffers: list[memoryview]) -> None:
        batch, self._running = self._running, []
        if self._timer:
            self._timer.cancel()
        try:
            if message["id"] != self._number or not batch:
                raise SandboxError("An answer to no question.", code="sandbox-protocol")
            failure = message.get("error")
            answers = None if failure else split(batch, self._outputs(message["outputs"], buffers))
        except Exception:  # noqa: BLE001 whatever a foreign answer makes reading it raise, who waits must be told
            self._running = batch
            self._lost("protocol")
            return
        if answers is None:
            self._failed(batch, failure)
        else:
            for request, outputs in zip(batch, answers, strict=True):
                if not request.answer.done():
                    request.answer.set_result(outputs)
        self._pump()

    def _outputs(self, headers: Any, buffers: list[memoryview]) -> dict[str, Array]:
        return decode_tensors(headers, buffers, max_texts=self._config.max_answer_texts)

    def _failed(self, batch: list[Request], failure: Any) -> None:
        """The model raised. In company nobody knows on whose rows: each runs again, alone."""
        if len(batch) > 1:
            for request in reversed(batch):
                request.kind = None
                self._waiting.appendleft(request)
            return
        said = failure.get("message", "") if isinstance(failure, dict) else ""
        details: dict[str, object] = {"said": printable(said), "version": str(self.about)}
        _refuse(batch, SandboxError("The model failed on this input.", code="model-failed", details=details))

    def _lost(self, why: str) -> None:
        """The worker is gone, hung or talks nonsense: nobody waits for it any longer, and it comes back later."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.close()
        if self._timer:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        if loop.time() - self._since > self._config.steady_seconds:
            self._pause = self._config.first_pause
        code = "worker-hung" if why == "hung" else "worker-crashed"
        waiting = [*self._running, *self._waiting]
        self._running, self._waiting = [], deque()
        _refuse(waiting, LimitError("The model's worker failed and is replaced.", retry_after=self._pause, code=code))
        self._idle.set()
        if not self._closed:
            self._due = loop.time() + self._pause
            self._revival = loop.create_task(self._revive(why))

    async def _revive(self, why: str) -> None:
        """Bury the worker, tell why, and start another after a pause that doubles with each failure."""
        cause = await self._bury(why)
        while True:
            pause, self._pause = self._pause, min(self._pause * 2, self._config.longest_pause)
            self._due = asyncio.get_running_loop().time() + pause
            self._tell("worker.hung" if why == "hung" else "worker.crashed", cause=cause, pause=pause)
            await asyncio.sleep(pause)
            try:
                await self.start()
            except (CasemateError, OSError) as error:
                why, cause = "start", getattr(error, "code", type(error).__name__)
            else:
                return

    async def _bury(self, why: str) -> str:
        """End the process; return the cause's code."""
        started, self._started = self._started, None
        if started is None:
            return why

        def bury() -> str:
            with started.cell as cell:
                if why == "gone":
                    return cell.gone(alive=ExitReason.CRASHED).code
                return "sandbox-timeout" if why == "hung" else "sandbox-protocol"

        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, bury))

    async def retire(self, *, linger: float = 0.0) -> None:
        """Take requests for `linger` seconds more, finish what was begun, stop. Idempotent; never raises."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), linger)
        self._closed = True
        if self._revival is not None:
            self._revival.cancel()
            await asyncio.gather(self._revival, return_exceptions=True)
        try:
            await asyncio.wait_for(self._idle.wait(), self._config.drain_seconds)
        except TimeoutError:
            self._lost("hung")
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._started is not None:
            await self._bury("stopped")
            self._tell("worker.stopped")
        self._verified.close()

    def hurry(self) -> None:
        """End the lingering now."""
        self._hurry.set()

    def _tell(self, what: str, **facts: Any) -> None:
        self._sink(
            Event(
                id=new_id("evt"),
                at=rfc3339(self._clock.now()),
                kind=what,
                project=self.about.project,
                resource=str(Resource("deployment", self.deployment, self.about.project)),
                facts={"version": str(self.about), **facts},
            )
        )


def _refuse(requests: list[Request], error: CasemateError) -> None:
    for request in requests:
        if not request.answer.done():
            request.answer.set_exception(error)


def _discard(starting: asyncio.Future[Started]) -> None:
    """Nobody waits for this worker any longer."""
    if not starting.cancelled() and starting.exception() is None:
        started = starting.result()
        started.cell.kill()
        started.cell.channel.close()
