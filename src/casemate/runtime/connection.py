"""The gateway's end of a worker's socket, on the event loop. One frame at a time; what comes is foreign."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from casemate.core import StorageError
from casemate.core.wire import decode_header, encode_frame
from casemate.runtime.tensors import Buffer

MAX_HEADER = 1 << 20  # bytes; names and shapes of 64 tensors take a few thousand


class Connection(asyncio.Protocol):
    """Sends frames and hands each answer on. `on_lost` is called once, at the first violation or at the end.

    Args:
        on_frame: Gets the message and views of the raw buffers.
        on_lost: Gets why: `gone` or `protocol`.
        max_answer: Bytes of raw buffers in one answer.
    """

    def __init__(
        self,
        *,
        on_frame: Callable[[Any, list[memoryview]], None],
        on_lost: Callable[[str], None],
        max_answer: int,
    ) -> None:
        self._on_frame, self._on_lost = on_frame, on_lost
        self._max_answer = max_answer
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._wanted = 0  # bytes of the whole frame, 0 while its header is not complete
        self._start = 0
        self._message: Any = None
        self._sizes: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, message: Any, buffers: Sequence[Buffer]) -> None:
        """Queue one frame for writing; a peer that is gone is told through `on_lost`."""
        if self._transport is not None:
            self._transport.writelines(encode_frame(message, buffers))

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            if not self._wanted and not self._read_header():
                return
        except (StorageError, RecursionError):
            self._lose("protocol")
            return
        if len(self._received) > self._wanted:
            self._lose("protocol")  # one request, one answer: more was never asked for
        elif len(self._received) == self._wanted:
            self._deliver()

    def _read_header(self) -> bool:
        if len(self._received) < 4:
            return False
        length = int.from_bytes(self._received[:4])
        if length > MAX_HEADER:
            raise StorageError("The header is too long.", code="bad-frame")
        if len(self._received) < 4 + length:
            return False
        header = bytes(self._received[4 : 4 + length])
        self._message, self._sizes = decode_header(header, max_buffers=self._max_answer)
        self._start = 4 + length
        self._wanted = self._start + sum(self._sizes)
        return True

    def _deliver(self) -> None:
        view, at = memoryview(self._received), self._start
        buffers = []
        for size in self._sizes:
            buffers.append(view[at : at + size])
            at += size
        message = self._message
        self._received, self._wanted, self._message = bytearray(), 0, None
        self._on_frame(message, buffers)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 the end is the same whatever caused it
        self._lose("gone")

    def _lose(self, why: str) -> None:
        on_lost, self._on_lost = self._on_lost, _nobody
        self.close()
        on_lost(why)

    def close(self) -> None:
        """Let go without a word."""
        self._on_frame, self._on_lost = _nobody, _nobody
        if self._transport is not None:
            self._transport.abort()
            self._transport = None


def _nobody(*_: object) -> None:
    """Whoever listened has been told already."""
