"""How an answer leaves: in a single write, where every answer is whole."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle


class Exchange(RequestResponseCycle):
    """One request and its answer, which leaves in a single write: one TLS record instead of two.

    Takes what `DataPlane` sends: a start with its Content-Length, then one body. The headers are our own.
    """

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._head: list[bytes] = []

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = [STATUS_LINE[message["status"]]]
            for header in (self.default_headers, message["headers"]):
                for name, value in header:
                    self._head += (name, b": ", value, b"\r\n")
            return
        if self.response_complete or not self._head:
            raise RuntimeError("An answer is a start and one body.")
        self._head.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        if self.scope["method"] != "HEAD":
            self._head.append(message["body"])
        self.transport.write(b"".join(self._head))
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
