"""The server of both doors: TLS 1.3 only, bounded connections, slow clients cut off, stops by draining."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any, Self

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from casemate.core import CasemateError, StorageError
from casemate.doors.accepting import Acceptor
from casemate.doors.connection import Connection, Seat, WireLimits

_LOG = logging.getLogger("casemate.doors")


class TlsFiles(msgspec.Struct, frozen=True):
    """PEM files: the certificate with its chain, and its private key."""

    certificate: Path
    key: Path


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Safe as it stands."""

    host: str = "127.0.0.1"
    port: int = 8443  # 0 takes any free one
    limits: WireLimits = WireLimits()
    backlog: int = 512  # connections that wait to be accepted
    sweep_seconds: float = 0.25  # between two looks at the deadlines: how late a cut-off may come
    drain_seconds: float = 20.0  # for requests in flight to finish when the server stops


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """A server context that speaks TLS 1.3 and nothing older. Raises: StorageError: no usable certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _load(context, files)
    return context


def reload_certificates(context: ssl.SSLContext, files: TlsFiles) -> None:
    """New connections get the certificate that now lies in `files`; running ones keep theirs.

    Raises: StorageError: the new pair is not usable; the old one stays in service.
    """
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)
    _load(context, files)


def trust_clients(context: ssl.SSLContext, anchors: frozenset[str]) -> None:
    """Ask clients of new connections for a certificate that one of these vouches for, and require none; {}: ask nobody.

    Args: anchors: PEM of authorities, or of single certificates. One that is taken away still lets a connection come
        about, until the next start: whether its certificate proves anybody is asked of the ledger at each use.
    Raises: StorageError `bad-certificate`.
    """
    if not anchors:
        context.verify_mode = ssl.CERT_NONE
        return
    try:
        context.load_verify_locations(cadata="\n".join(sorted(anchors)))
    except ssl.SSLError as error:
        raise StorageError("A client's certificate on record cannot be read.", code="bad-certificate") from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a single certificate is an anchor, too
    context.verify_mode = ssl.CERT_OPTIONAL


async def keep_certificates(asked: asyncio.Event, context: ssl.SSLContext, files: TlsFiles) -> None:
    """Reload each time that `asked` is set; an unusable pair is logged, and the old one stays in service."""
    while True:
        await asked.wait()
        asked.clear()
        try:
            reload_certificates(context, files)
        except CasemateError as error:
            _LOG.error("not reloaded: %s (%s)", error.message, error.code)


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise StorageError(
            f"The certificate {files.certificate} and its key cannot be used together: make them anew, or fix the"
            " settings.",
            code="bad-certificate",
        ) from error


class FrontServer:
    """Listens on entering its context; leaving it stops accepting, answers what is in flight, then closes.

    Args:
        tls: None serves plain HTTP: on a Unix socket, and in tests behind loopback.
        sock: A listening socket, instead of the config's host and port.
        on_refused: Told of each refusal that was made before the app: the error, and the address.
        on_stop: Called when it stops accepting.
        connection, exchange: The protocol of a connection, and how an answer is written.
    """

    def __init__(
        self,
        app: Any,
        *,
        tls: ssl.SSLContext | None,
        config: ServerConfig | None = None,
        sock: socket.socket | None = None,
        on_refused: Callable[[CasemateError, str], None] = lambda _error, _address: None,
        on_stop: Callable[[], None] = lambda: None,
        connection: type[Connection] = Connection,
        exchange: type[RequestResponseCycle] = RequestResponseCycle,
    ) -> None:
        self._tls = tls
        self.config = config or ServerConfig()
        self._sock = sock
        self._on_refused, self._on_stop = on_refused, on_stop
        self._protocol, self._exchange = connection, exchange
        self._state = ServerState()
        self._wire = Config(
            app, loop="none", http=Connection, ws="none", lifespan="off", interface="asgi3", log_config=None,
            access_log=False, proxy_headers=False, server_header=False,
        )  # fmt: skip
        self._wire.load()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._listener = self._sock or self._listen()
        self._listener.listen(self.config.backlog)
        self._acceptor = Acceptor(
            self._listener,
            tls=self._tls,
            limits=self.config.limits,
            protocol=self._connection,
            on_refused=self._on_refused,
        )
        self._sweeper = asyncio.create_task(self._sweep())
        return self

    def _listen(self) -> socket.socket:
        host, port = self.config.host, self.config.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return socket.create_server((host, port), family=family, backlog=self.config.backlog)
        except OSError as error:
            raise StorageError(
                f"Cannot listen on {host} port {port}: {error.strerror or error}.", code="cannot-listen"
            ) from error

    def _connection(self, seat: Seat) -> Connection:
        return self._protocol(
            config=self._wire,
            server_state=self._state,
            limits=self.config.limits,
            seat=seat,
            on_refused=self._on_refused,
            exchange=self._exchange,
        )

    async def _sweep(self) -> None:
        second = 0
        loop = asyncio.get_running_loop()
        while True:
            if second != int(time.time()):
                second = int(time.time())
                self._state.default_headers = [(b"date", formatdate(second, usegmt=True).encode())]
            now = loop.time()
            for connection in list(self._state.connections):
                try:
                    connection.sweep(now)  # type: ignore[union-attr]
                except Exception:  # noqa: BLE001 one bad connection must not end the watch over the others
                    _LOG.exception("A connection could not be swept; it is dropped.")
                    connection.transport.abort()
            await asyncio.sleep(self.config.sweep_seconds)

    async def __aexit__(self, *_: object) -> None:
        self._on_stop()
        await self._acceptor.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self.config.drain_seconds):
                while self._state.connections or self._state.tasks:  # noqa: ASYNC110 uvicorn keeps plain sets
                    await asyncio.sleep(0.02)
        except TimeoutError:
            _LOG.warning("%d requests did not finish in time and were cut off.", len(self._state.tasks))
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, *self._state.tasks, return_exceptions=True)
