"""Frames to and from the process at the other side of the walls."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any, cast

from casemate.core.errors import SandboxError, StorageError
from casemate.core.wire import MAX_BUFFERS, Frame, recv_frame, send_frame


class Channel:
    """One socket, both directions; not for several threads at a time.

    The parent's side takes no descriptors from a confined process: a frame that carries one is refused.
    """

    def __init__(self, sock: socket.socket, *, take_fds: bool = False, max_buffers: int = MAX_BUFFERS) -> None:
        self.socket = sock
        self._take_fds = take_fds
        self._max_buffers = max_buffers

    def send(
        self,
        message: Any,
        buffers: Sequence[bytes | bytearray | memoryview] = (),
        fds: Sequence[int] = (),
    ) -> None:
        """Send one frame. Raises: SandboxError `sandbox-gone` when the other side has ended."""
        try:
            send_frame(self.socket, message, buffers, fds)
        except OSError as error:
            raise SandboxError("The confined process has ended.", code="sandbox-gone") from error

    def recv(self, timeout: float | None = None, *, max_buffers: int | None = None) -> Frame:
        """The next frame.

        Args:
            timeout: seconds until the whole frame must have arrived; None waits for ever.
            max_buffers: Bytes of raw buffers that are taken at most, if fewer than this channel takes anyway.
        Raises: SandboxError `sandbox-gone` when the other side has ended, `sandbox-timeout`, `sandbox-protocol` when
            what came is not a frame.
        """
        source = self.socket if timeout is None else cast("socket.socket", _Timed(self.socket, timeout))
        try:
            frame = recv_frame(source, max_buffers=self._max_buffers if max_buffers is None else max_buffers)
        except TimeoutError as error:
            raise SandboxError("The confined process did not answer in time.", code="sandbox-timeout") from error
        except OSError as error:
            raise SandboxError("The confined process has ended.", code="sandbox-gone") from error
        except (StorageError, RecursionError) as error:
            raise SandboxError("The confined process broke the protocol.", code="sandbox-protocol") from error
        finally:
            if timeout is not None:
                self.socket.settimeout(None)
        if frame is None:
            raise SandboxError("The confined process has ended.", code="sandbox-gone")
        if frame.fds and not self._take_fds:
            for fd in frame.fds:
                os.close(fd)
            raise SandboxError("The confined process sent a descriptor.", code="sandbox-protocol")
        return frame

    def close(self) -> None:
        self.socket.close()


class Asking:
    """The confined side of a job that asks its parent for what it needs on the way. From any thread, one at a time."""

    def __init__(self, channel: Channel) -> None:
        self._channel, self._lock = channel, threading.Lock()

    def __call__(self, message: Any, buffers: Sequence[bytes | bytearray | memoryview] = ()) -> Frame:
        """What the parent answers."""
        with self._lock:
            self._channel.send({"ask": message}, buffers)
            return self._channel.recv()


class _Timed:
    """A socket to read from until a deadline, however slowly the bytes drip."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self._sock = sock
        self._deadline = time.monotonic() + seconds

    def recvmsg(self, *args: int) -> Any:
        self._wait_at_most()
        return self._sock.recvmsg(*args)

    def recv_into(self, buffer: memoryview) -> int:
        self._wait_at_most()
        return self._sock.recv_into(buffer)

    def _wait_at_most(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
