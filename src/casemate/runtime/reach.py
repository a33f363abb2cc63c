"""The hosts that a training script is let out to, and the one who connects it: outside the walls, by exact names.

Inside, no socket can be made and none connected. The script asks over a pipe, by host and port; what is on the list is
connected here, to addresses that were looked up before it ran, and only the connected socket goes in. It comes over a socket
of ours whose other direction is shut down, so that nothing can be parked in it.
"""

from __future__ import annotations

import array
import ipaddress
import json
import os
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

import msgspec

from casemate.core import InputError, PolicyError

MAX_HOSTS = 20  # that one run is let out to
MAX_CONNECTIONS = 1000  # of one run
_MAX_REFUSED = 50  # that a report names
_MAX_LINE = 512  # bytes of what a script asks for
_CONNECT_SECONDS = 10.0
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")
# Clouds tell whoever asks these addresses the machine's own credentials. Their link-local ones are refused as such.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LookUp = Callable[[str, int], list[str]]


class Host(msgspec.Struct, frozen=True, order=True):
    """One that a script is let out to. Args: address: where it is, as its starter said; empty: as it is looked up."""

    name: str
    port: int
    address: str = ""

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{name}{f'={self.address}' if self.address else ''}:{self.port}"


def parse_host(text: str) -> Host:
    """`HOST:PORT`, or `HOST=ADDRESS:PORT` where it has no public address. Raises: InputError `bad-host`."""
    where, _, port = text.lower().rpartition(":")
    name, equals, address = where.partition("=")
    name, address = name.removeprefix("[").removesuffix("]"), address.removeprefix("[").removesuffix("]")
    literal = _address(name)
    good = (literal is not None or (len(name) <= 253 and _NAME.match(name))) and _PORT.match(port)
    if not good or not 0 < int(port) < 1 << 16 or (equals and (literal is not None or _address(address) is None)):
        raise InputError(
            f"{text[:80]!r} is no host to let a script out to: write HOST:PORT, as in pypi.example.org:443, or "
            "HOST=ADDRESS:PORT.",
            code="bad-host",
        )
    return Host(str(literal) if literal else name, int(port), str(_address(address)) if equals else "")


def looked_up(host: Host, look_up: LookUp | None = None) -> list[str]:
    """The addresses that a run connects to, and keeps to. Public ones, or what the starter named as an address.

    Raises: InputError `host-unknown`; PolicyError `host-not-public`, `host-never`.
    """
    named = host.address or (host.name if _address(host.name) else "")
    try:
        found = [named] if named else (look_up or _system)(host.name, host.port)
    except (OSError, UnicodeError) as error:
        raise InputError(f"{host.name} is not known here: name a host that is.", code="host-unknown") from error
    for one in found:
        address = _plain(ipaddress.ip_address(one.partition("%")[0]))
        if _is_never(address):
            raise PolicyError(
                f"{host} is {address}, which no script is let out to: it is a link's own address, or where a cloud keeps "
                "its machines' credentials.",
                code="host-never",
            )
        if not named and not address.is_global:
            raise PolicyError(
                f"{host.name} stands for {address}, which is no public address. If it is meant, name it: "
                f"--allow-host {host.name}={address}:{host.port}",
                code="host-not-public",
            )
    if not found:
        raise InputError(f"{host.name} has no address: name a host that has.", code="host-unknown")
    return found


class Reach:
    """Connects one run to its hosts. A context manager, to be entered at once; it answers from `begin` on until the run is gone.

    Attributes:
        made: Connections, by `HOST:PORT`. refused: What else was asked for, once each, in order.
    """

    def __init__(self, hosts: Sequence[Host], look_up: LookUp | None = None) -> None:
        """Look every host up. Raises: as `looked_up`; InputError `too-many-hosts`."""
        if len(hosts) > MAX_HOSTS:
            raise InputError(f"A run is let out to at most {MAX_HOSTS} hosts.", code="too-many-hosts")
        self._pinned = {(host.name, host.port): looked_up(host, look_up) for host in hosts}
        self.made: Counter[str] = Counter()
        self.refused: dict[str, None] = {}
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.shutdown(socket.SHUT_RD)  # from the other end, nothing can be sent any more
        self._blank, nobody = socket.socketpair()
        self._blank.shutdown(
            socket.SHUT_RDWR
        )  # as a place for a socket that is not connected yet, and good for nothing
        nobody.close()
        self._thread = threading.Thread(target=self._serve, name="casemate-reach", daemon=True)

    @property
    def fds(self) -> list[int]:
        """What the script gets: where it asks, where it is answered, and a socket that is good for nothing."""
        return [self.writer, self._theirs.fileno(), self._blank.fileno()]

    def begin(self) -> None:
        """Let go of the script's ends, which it has by now, and answer."""
        self._let_go()
        self._thread.start()

    def finish(self) -> None:
        """The run is gone, and with it the pipe's last writer: wait for the last answer."""
        self._thread.join(timeout=_CONNECT_SECONDS + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()
        if not self._thread.ident:  # it never began
            os.close(self._reader)
            self._ours.close()

    def _let_go(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self._theirs.close()
            self._blank.close()
            self.writer = -1

    def _serve(self) -> None:
        with open(self._reader, "rb") as asked, self._ours, suppress(OSError):  # noqa: PTH123 a descriptor
            while line := asked.readline(_MAX_LINE):
                self._answer(line)

    def _answer(self, line: bytes) -> None:
        """Raises: OSError: nobody takes the answer."""
        name, port = _read(line)
        label = str(Host(name, port)) if port else name
        addresses = self._pinned.get((name, port))
        if addresses is None:
            if len(self.refused) < _MAX_REFUSED:
                self.refused[label] = None
            self._ours.send(b"-not allowed")
            return
        if self.made.total() >= MAX_CONNECTIONS:
            self._ours.send(b"-too many connections")
            return
        self.made[label] += 1
        try:
            sock = _connected(addresses, port)
        except OSError as error:
            self._ours.send(b"-" + str(error.strerror or "it does not answer").encode()[:100])
            return
        with sock:
            self._ours.sendmsg(
                [b"+"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()]).tobytes())]
            )


def _connected(addresses: Sequence[str], port: int) -> socket.socket:
    """Raises: OSError: none of them answers."""
    last = OSError("it has no address")
    for address in addresses:
        try:
            sock = socket.create_connection((address, port), timeout=_CONNECT_SECONDS)
        except OSError as error:
            last = error
            continue
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # which the script cannot
        return sock
    raise last


def _read(line: bytes) -> tuple[str, int]:
    """Host and port, as printable text; port 0 where the line is no question."""
    try:
        name, port = json.loads(line)
        known = isinstance(name, str) and type(port) is int and 0 < port < 1 << 16 and line.endswith(b"\n")
    except (ValueError, TypeError, RecursionError):
        known = False
    if not known:
        return "what is no host", 0
    literal = _address(name)
    plain = str(literal) if literal else name.lower().removesuffix(".")
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in plain[:253]), port


def _address(text: str) -> Address | None:
    try:
        return _plain(ipaddress.ip_address(text))
    except ValueError:
        return None


def _plain(address: Address) -> Address:
    """An IPv4 address that is written as an IPv6 one is that IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if isinstance(address, ipaddress.IPv6Address) and mapped is None:
        mapped = address.sixtofour or (address.teredo[1] if address.teredo else None) or _translated(address)
    return mapped or address


_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _is_never(address: Address) -> bool:
    return (
        address in _METADATA
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.is_reserved and not address.is_loopback)
    )


def _system(name: str, port: int) -> list[str]:
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))
