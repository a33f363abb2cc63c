"""Inside the sandbox: Python's sockets, connected from outside. Only what asks `socket` at run time gets there: `http.client`,
`urllib`, `requests`, `httpx`; no library in C that opens sockets of its own, no asyncio, no datagrams, nothing that listens.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

_PLAIN = socket.socket
_FAMILIES = (-1, socket.AF_INET, socket.AF_INET6)


class _Asking:
    """Asks for connected sockets, one at a time.

    Args: asked: a pipe's writing end. answered: a socket to receive from. blank: one that is good for nothing.
    """

    def __init__(self, asked: int, answered: int, blank: int) -> None:
        self._asked, self.blank = asked, blank
        self._answered = _PLAIN(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=answered)
        self._lock = threading.Lock()

    def connected(self, host: str, port: int) -> int:
        """The descriptor of a connected socket. Raises: OSError."""
        with self._lock:
            os.write(self._asked, json.dumps([host, port]).encode() + b"\n")
            said, fds, *_ = socket.recv_fds(self._answered, 200, 1)
        if not fds:
            why = said[1:].decode(errors="replace") or "nobody answers"
            refused = errno.EACCES if why == "not allowed" else errno.ECONNREFUSED
            raise OSError(refused, f"{host}:{port}: {why}; see casemate train --allow-host")
        return fds[0]


_asking: _Asking | None = None


class _Socket(_PLAIN):
    """A TCP socket that becomes one when it is connected."""

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:  # noqa: A002
        if fileno is None and family in _FAMILIES and type in (-1, socket.SOCK_STREAM):
            assert _asking is not None, "a socket is made after `install`"
            fileno = os.dup(_asking.blank)
            family, type, proto = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP  # noqa: A001
        super().__init__(family, type, proto, fileno=fileno)

    def connect(self, address: Any, /) -> None:
        assert _asking is not None, "a socket is made after `install`"
        host, port = address[:2]
        if isinstance(host, bytes | bytearray):
            host = host.decode("ascii")
        fd, timeout = _asking.connected(str(host), int(port)), self.gettimeout()
        os.dup2(fd, self.fileno(), inheritable=False)
        os.close(fd)
        self.settimeout(timeout)

    def connect_ex(self, address: Any, /) -> int:
        try:
            self.connect(address)
        except OSError as error:
            return error.errno or errno.ECONNREFUSED
        return 0

    def setsockopt(self, *_: Any) -> None:
        """Left as it is: the walls refuse it, and nothing depends on it."""


def _getaddrinfo(host: Any, port: Any, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
    """Names are looked up outside: the name stands for its address."""
    name = host.decode("ascii") if isinstance(host, bytes | bytearray) else str(host or "localhost")
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (name, int(port or 0)))]


def install(asked: int, answered: int, blank: int) -> None:
    """From here on, sockets are connected by whoever has the other ends of these descriptors."""
    global _asking  # noqa: PLW0603 one process, one way out
    _asking = _Asking(asked, answered, blank)
    socket.socket = socket.SocketType = _Socket  # type: ignore[misc,assignment]
    socket.getaddrinfo = _getaddrinfo
    socket.gethostbyname = str
    roots = importlib.util.find_spec("certifi")  # where the system keeps its own is out of the script's sight
    if roots is not None and roots.origin:
        os.environ.setdefault("SSL_CERT_FILE", str(Path(roots.origin).with_name("cacert.pem")))
    ssl.create_default_context()  # loads what it needs of OpenSSL's own
