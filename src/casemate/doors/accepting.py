"""From accept to close: connections are counted before a byte of TLS is read, and never more than descriptors last."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Callable

from casemate.core import CasemateError
from casemate.doors.connection import Connection, Seat, WireLimits, too_many_connections

_LOG = logging.getLogger("casemate.doors")

OWN_DESCRIPTORS = 256  # kept for databases, sealed memory, workers and the processes' own sockets
_IN_WORDS = 16  # beyond the bound: they are told so; who comes after them is closed unheard
_PAUSE = 0.1  # seconds without accepting when the system has no descriptor or memory left


class Seats:
    """Connections at once, in all and from one address. Belongs to one event loop.

    Args: descriptors: that the process may have; a quarter of very few is for connections.
    """

    def __init__(self, limits: WireLimits, descriptors: int | None = None) -> None:
        descriptors = descriptors or resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.most = min(limits.connections, max(descriptors - OWN_DESCRIPTORS, descriptors // 4))
        self._each = limits.connections_per_address
        self._taken: Counter[str] = Counter()
        self._all = 0

    def take(self, address: str) -> Seat | None:
        """A seat, which may be one of the few that are only told to come back; None: not even that.

        Args: address: empty where there is none, as on a Unix socket; then only the bound in all holds.
        """
        over = max(self._all + 1 - self.most, self._taken[address] + 1 - self._each if address else 0)
        if over > _IN_WORDS:
            return None
        self._all += 1
        self._taken[address] += 1
        return Seat(crowded=over > 0, leave=lambda: self._leave(address))

    def _leave(self, address: str) -> None:
        self._all -= 1
        self._taken[address] -= 1
        if not self._taken[address]:
            del self._taken[address]


class Acceptor:
    """Accepts on `listener` until closed; each connection makes its protocol, after its TLS handshake."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        tls: ssl.SSLContext | None,
        limits: WireLimits,
        protocol: Callable[[Seat], Connection],
        on_refused: Callable[[CasemateError, str], None],
    ) -> None:
        self._listener, self._tls, self._limits = listener, tls, limits
        self._protocol, self._on_refused = protocol, on_refused
        self._seats = Seats(limits)
        self._opening: set[asyncio.Task[None]] = set()
        listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept())

    async def close(self) -> None:
        """Accept no more, and drop what is still in its handshake."""
        tasks = [self._accepting, *self._opening]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    async def _accept(self) -> None:
        loop, failing = asyncio.get_running_loop(), False
        while True:
            try:
                sock, peer = await loop.sock_accept(self._listener)
            except OSError as error:
                if not failing:  # once per shortage
                    _LOG.error("No connection can be accepted at the moment: %s.", error.strerror or error)
                failing = True
                await asyncio.sleep(_PAUSE)
                continue
            failing = False
            address = peer[0] if isinstance(peer, tuple) else ""
            seat = self._seats.take(address)
            if seat is None:
                sock.close()
                self._on_refused(too_many_connections(), address)
                continue
            task = asyncio.create_task(self._open(sock, seat))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, sock: socket.socket, seat: Seat) -> None:
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._protocol(seat),
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits.handshake_seconds if self._tls else None,
                ssl_shutdown_timeout=self._limits.linger_seconds if self._tls else None,
            )
        except BaseException as error:
            seat.leave()
            if not isinstance(error, OSError | asyncio.CancelledError):
                _LOG.exception("A connection could not be opened; it is dropped.")
            if not isinstance(error, Exception):
                raise
