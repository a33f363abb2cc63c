"""Frames to and from the process at the other side of the walls."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from casemate.core.wire import Frame


class Channel:
    """One socket, both directions; not for several threads at a time.

    The parent's side takes no descriptors from a confined process: a frame that carries one is refused.
    """

    def __init__(self, sock: socket.socket, *, take_fds: bool = False) -> None:
        self.socket = sock
        self._take_fds = take_fds

    def send(
        self,
        message: Any,
        buffers: Sequence[bytes | bytearray | memoryview] = (),
        fds: Sequence[int] = (),
    ) -> None:
        """Send one frame. Raises: SandboxError `sandbox-gone` when the other side has ended."""
        raise NotImplementedError

    def recv(self, timeout: float | None = None) -> Frame:
        """The next frame.

        Args: timeout: seconds until the whole frame must have arrived; None waits for ever.
        Raises: SandboxError `sandbox-gone` when the other side has ended, `sandbox-timeout`, `sandbox-protocol` when
            what came is not a frame.
        """
        raise NotImplementedError

    def close(self) -> None:
        self.socket.close()
