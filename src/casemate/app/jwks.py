"""An issuer's public keys, fetched by the control plane: over https alone, from where it was told, and no further.

A redirect is an answer like any other that is no key set. The address is looked up once and connected to as found; one
that is this machine's, or a link's own (where clouds keep their metadata), is refused.
"""

from __future__ import annotations

import http.client
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit

from casemate.core import UpstreamError
from casemate.iam.tokens.jwks import MAX_JWKS

TIMEOUT = 10.0  # s for all of it
_log = logging.getLogger("casemate.control")


def fetch_jwks(
    url: str, *, context: ssl.SSLContext | None = None, is_allowed: Callable[[str], bool] | None = None
) -> bytes:
    """The document at `url`, at most 64 KiB. Args: context: whom to trust; None: whom the system does.

    Raises: UpstreamError (bad-source): not https, not reachable in time, refused, too large, or not answered with 200.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise _failed("its address is not https")
    deadline = time.monotonic() + TIMEOUT
    address = looked_up(parts.hostname, parts.port or 443, is_allowed or is_elsewhere)
    connection = Pinned(parts.hostname, parts.port or 443, address, context or ssl.create_default_context())
    cut = threading.Timer(TIMEOUT, connection.cut_off)  # a server that drips is as late as one that is silent
    cut.daemon = True
    cut.start()
    try:
        connection.request("GET", parts.path or "/", headers={"Accept": "application/json", "Connection": "close"})
        with closing(connection.getresponse()) as answer:
            if answer.status != 200:
                raise _failed(f"it answered {answer.status}; redirects are not followed")
            body = answer.read(MAX_JWKS + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = time.monotonic() >= deadline
        raise _failed("it took too long" if late else type(error).__name__) from error
    finally:
        cut.cancel()
        connection.close()
    if len(body) > MAX_JWKS:
        raise _failed(f"it is over {MAX_JWKS} bytes")
    if time.monotonic() >= deadline:
        raise _failed("it took too long")
    return body


def is_elsewhere(address: str) -> bool:
    """Whether it is another machine's: a company's own network counts, this machine and a link's own do not."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped or found
    return not (
        found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified or found.is_reserved
    )


def looked_up(host: str, port: int, is_allowed: Callable[[str], bool]) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _failed("its host is not known") from error
    addresses = [str(one[4][0]) for one in found]
    if not addresses or not all(is_allowed(one) for one in addresses):
        raise _failed("its host is this machine, or an address that only a link knows")
    return addresses[0]


class Pinned(http.client.HTTPSConnection):
    """Connects to the address that was checked; TLS asks for the host's name."""

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=TIMEOUT, context=context)
        self._address, self._tls = address, context

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), TIMEOUT)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise

    def cut_off(self) -> None:
        sock = self.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                _log.debug("the connection was over already")


def _failed(why: str) -> UpstreamError:
    return UpstreamError(
        f"The issuer's keys could not be read from its address ({why}): those that were read before, if any, count on. Try again, or give them"
        " as a file: --jwks FILE.",
        code="bad-source",
    )
