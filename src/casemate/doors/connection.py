"""One client connection: uvicorn's HTTP/1.1 protocol, with the walls that it leaves out.

What is added: bounds on the head of a request, deadlines for head, body and idling, one way to read the length of a
body, problem documents instead of plain text, no answer out of turn, and a close that lets the client read why.
Deadlines are numbers that the server's sweep compares, so a request costs no timer.

Source: RFC 9112, sections 3.2 (targets, Host), 6.3 (body length), 9.6 (tear-down) and 11.2 (smuggling).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from enum import IntEnum
from http import HTTPStatus
from typing import Any

import httptools
import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from casemate.core import CasemateError, InputError, LimitError
from casemate.doors.problems import problem_of


class WireLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may take. Seconds unless said otherwise."""

    head_bytes: int = 16 << 10  # bytes of request line and headers; a token of 8 KiB fits with room
    head_fields: int = 64  # header fields; browsers send about 20
    head_seconds: float = 10.0  # from the first byte, or from connecting, to the end of the headers
    chunk_bytes: int = 64 << 10  # bytes of a chunked body that are no body, beyond as many as the body has
    body_seconds: float = 30.0  # from the end of the headers to the end of the body: 4 MiB at 1.2 Mbit/s
    body_rate: float = 0.0  # least bytes/s of a body while we read it, over a window; 0: only body_seconds bounds it
    body_window: float = 10.0  # of which the rate is the mean: a stall of the network's, or of the sender's disk, fits
    write_seconds: float = 30.0  # that an answer may wait for its reader: the 1 MiB that waits at 280 kbit/s
    idle_seconds: float = 30.0  # between two requests on one connection
    linger_seconds: float = 2.0  # reading and forgetting, so that a client that still sends can read the answer
    pipelined: int = 16  # requests sent ahead on one connection
    connections: int = 1024  # at once; a descriptor and some 100 KB with TLS each
    connections_per_address: int = 256  # so that one client cannot take all places
    handshake_seconds: float = 5.0  # TLS: two round trips


CERTIFICATE = "casemate.certificate"  # in the ASGI scope: the client's, DER, where TLS verified one


class Phase(IntEnum):
    IDLE = 0  # between requests
    HEAD = 1  # a request has begun
    BODY = 2  # its headers are in
    SERVED = 3  # it is all in and being answered
    CLOSING = 4  # nothing more is taken


class Seat:
    """One connection's place, from accept to close. Args: crowded: past the bound, so it is told to come back."""

    def __init__(self, *, crowded: bool, leave: Callable[[], None]) -> None:
        self.crowded = crowded
        self._leave: Callable[[], None] | None = leave

    def leave(self) -> None:
        """Give the place back, once."""
        if self._leave is not None:
            self._leave()
        self._leave = None


class Connection(HttpToolsProtocol):
    """Args: limits: as above. seat: its place. on_refused: told of each refusal made here.
    exchange: how an answer is written; `Exchange` where every answer is whole."""

    def __init__(
        self,
        *,
        config: Config,
        server_state: ServerState,
        limits: WireLimits,
        seat: Seat,
        on_refused: Callable[[CasemateError, str], None],
        exchange: type[RequestResponseCycle] = RequestResponseCycle,
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state={})
        self._limits = limits
        self._seat = seat
        self._on_refused = on_refused
        self._exchange = exchange
        self._address = ""
        self._certificate = b""
        self._head_bytes = 0
        self._body_bytes, self._wire_bytes = 0, 0  # of the newest request: as handed on, and as they came
        self._window_ends, self._window_bytes = math.inf, 0  # of the body's rate; the wire's count at its start
        self._refusal: CasemateError | None = None
        self._write_deadline = math.inf  # set while more is to be written than the client reads
        self.phase = Phase.HEAD
        self.deadline = math.inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        secured = transport.get_extra_info("ssl_object")
        self._certificate = (secured.getpeercert(binary_form=True) or b"") if secured is not None else b""
        self.deadline = self.loop.time() + self._limits.head_seconds
        if self._seat.crowded:
            self._refuse(too_many_connections())

    def connection_lost(self, exc: Exception | None) -> None:
        self._seat.leave()
        self.phase, self.deadline = Phase.CLOSING, math.inf
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.CLOSING:
            return
        if self.phase <= Phase.HEAD:
            self._head_bytes += len(data)
        elif self.phase is Phase.BODY:
            self._wire_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(InputError("This connection cannot change its protocol.", code="upgrade-refused"))
        except httptools.HttpParserError:
            self._refuse(self._refusal or InputError("This is not valid HTTP/1.1.", code="bad-http"))
        else:
            if self.phase <= Phase.HEAD and self._head_bytes > self._limits.head_bytes:
                self._refuse(_head_too_large(self._limits))
            elif self.phase is Phase.BODY and self._wire_bytes > 2 * self._body_bytes + self._limits.chunk_bytes:
                self._refuse(InputError("The body is nearly all framing: send larger chunks.", code="bad-framing"))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_deadline = self.loop.time() + self._limits.write_seconds

    def resume_writing(self) -> None:
        super().resume_writing()
        self._write_deadline = math.inf

    # What the parser reports, in the order in which it does.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if len(self.pipeline) >= self._limits.pipelined:
            raise self._refused("Too many requests were sent ahead: wait for answers.", "too-many-pipelined")
        self.phase, self.deadline = Phase.HEAD, self.loop.time() + self._limits.head_seconds
        self._unset_keepalive_if_required()

    def on_headers_complete(self) -> None:
        self._check_head()
        self._head_bytes = self._body_bytes = self._wire_bytes = 0
        self.phase, self.deadline = Phase.BODY, self.loop.time() + self._limits.body_seconds
        self._open_window(self.loop.time())
        version = self.parser.get_http_version()
        target = httptools.parse_url(self.url)
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self.scope["raw_path"] = target.path
        self.scope["path"] = target.path.decode("ascii")  # never unquoted: no route has a percent sign
        self.scope["query_string"] = target.query or b""
        if self._certificate:
            self.scope[CERTIFICATE] = self._certificate  # type: ignore[literal-required]
        newest = self.cycle
        self.cycle = self._exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if newest is None or newest.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _check_head(self) -> None:
        """One reading of the request only. Raises: InputError, which the parser hands to `data_received`."""
        if len(self.headers) > self._limits.head_fields or self._head_size() > self._limits.head_bytes:
            self._refusal = _head_too_large(self._limits)
            raise self._refusal
        names = [name for name, _ in self.headers]
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise self._refused("Speak HTTP/1.1.", "bad-http")
        if b"transfer-encoding" in names:
            self._check_coding(version)
        if names.count(b"content-length") + names.count(b"transfer-encoding") > 1:
            raise self._refused("The body's length is given twice: send one Content-Length.", "bad-framing")
        if names.count(b"host") != 1 and version == "1.1":
            raise self._refused("A request needs exactly one Host header.", "bad-host")
        if self.parser.should_upgrade():
            raise self._refused("This connection cannot change its protocol.", "upgrade-refused")

    def _head_size(self) -> int:
        """Bytes of the head as it was read: what came in with it may belong to others, before or after."""
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _check_coding(self, version: str) -> None:
        plain = all(value.lower() == b"chunked" for name, value in self.headers if name == b"transfer-encoding")
        if not plain or version == "1.0":
            raise self._refused("The only transfer coding is 'chunked', in HTTP/1.1.", "bad-framing")

    def _refused(self, message: str, code: str) -> CasemateError:
        self._refusal = InputError(message, code=code)
        return self._refusal

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.phase, self.deadline = Phase.SERVED, math.inf

    def on_response_complete(self) -> None:
        last = not self.pipeline
        super().on_response_complete()
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            self._wait_for_close()
        elif not last:
            return
        elif self.phase is Phase.CLOSING:
            self.transport.close()
            self._wait_for_close()
        elif self.phase is Phase.SERVED:
            self.phase, self.deadline = Phase.IDLE, self.loop.time() + self._limits.idle_seconds
        elif self.phase is Phase.BODY:  # answered early, and the client still sends
            self.deadline = self.loop.time() + self._limits.linger_seconds

    # Ends.

    def sweep(self, now: float) -> None:
        """Cut off what has passed its deadline. Called by the server, a few times a second."""
        if now >= self._write_deadline:
            self.transport.abort()
            return
        if self.phase is Phase.BODY and self._is_too_slow(now):
            self.deadline = now
        if now < self.deadline:
            return
        if self.phase is Phase.CLOSING:
            self.transport.abort()
        elif self.pipeline:
            self.deadline = now + self._limits.body_seconds  # reading is paused by us, not by the client
        elif self.phase is Phase.IDLE or (self.phase is Phase.BODY and self.cycle.response_complete):
            self.transport.close()
            self._wait_for_close()
        else:
            self._refuse(InputError("The request did not come in time: send it at once.", code="request-timeout"))

    def _is_too_slow(self, now: float) -> bool:
        """Whether a whole window brought less than the least rate, and we read all the while."""
        waits_for_us = self.flow.read_paused or self.pipeline or self.cycle.waiting_for_100_continue
        if waits_for_us or self.cycle.response_complete:
            self._open_window(now)
        elif now >= self._window_ends:
            if self._wire_bytes - self._window_bytes < self._limits.body_rate * self._limits.body_window:
                return True
            self._open_window(now)
        return False

    def _open_window(self, now: float) -> None:
        self._window_ends, self._window_bytes = now + self._limits.body_window, self._wire_bytes

    def send_400_response(self, msg: str) -> None:
        self._refuse(InputError(msg, code="bad-http"))

    def _refuse(self, error: CasemateError) -> None:
        """Answer with a problem document and close; after the answers that are owed to earlier requests, just close."""
        self._on_refused(error, self._address)
        reading_body = self.phase is Phase.BODY
        answered = self.cycle is None or self.cycle.response_complete
        if self.pipeline or not (answered or reading_body):
            if reading_body:
                self.pipeline.popleft()  # the newest, whose body is what was wrong
            self.phase, self.deadline = Phase.CLOSING, math.inf
            return
        if not (self.transport.is_closing() or (reading_body and answered)):
            self.transport.write(_response(error))
        self.transport.close()
        self._wait_for_close()

    def _wait_for_close(self) -> None:
        self.phase = Phase.CLOSING
        self.deadline = self.loop.time() + self._limits.linger_seconds


def too_many_connections() -> LimitError:
    return LimitError("Too many connections: come back in a second.", retry_after=1.0, code="too-many-connections")


def _head_too_large(limits: WireLimits) -> InputError:
    return InputError(
        f"The head of the request is larger than {limits.head_bytes} bytes or {limits.head_fields} fields.",
        code="headers-too-large",
    )


def _response(error: CasemateError) -> bytes:
    problem = problem_of(error)
    headers: list[tuple[bytes, bytes]] = [
        *problem.headers,
        (b"content-length", b"%d" % len(problem.body)),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    phrase: Any = HTTPStatus(problem.status).phrase
    head = b"HTTP/1.1 %d %s\r\n" % (problem.status, phrase.encode())
    return head + b"".join(b"%s: %s\r\n" % header for header in headers) + b"\r\n" + problem.body
