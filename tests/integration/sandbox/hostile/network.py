"""Sockets of any kind."""

from __future__ import annotations

import array
import os
import socket
from pathlib import Path

from hostile.calls import read


def _socket(family, kind):
    def probe(given):
        with socket.socket(family, kind):
            return "a socket"

    return probe


def connect(given):
    with socket.create_connection(("127.0.0.1", given["port"]), timeout=2):
        return "connected"


def socket_pair(given):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        return "a datagram socket that can send to any path"


def abstract_socket(given):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + given["abstract"])
        return "connected to an abstract socket"


def send_to_abstract(given):
    """On the one socket that it has, which is connected: to another one."""
    with socket.socket(fileno=os.dup(given["sock"])) as sock:
        sock.sendto(b"x", "\0" + given["datagrams"])
    return "sent to another socket"


def park_descriptors(given):
    """What lies in a socket unread is held open, and counted by no limit of the process."""
    with socket.socket(fileno=os.dup(given["sock"])) as sock, Path("/dev/null").open("rb") as file:
        sock.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()]))])
    return "parked a descriptor"


def bind_socket(given):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return "bound"


def network_facts(given):
    return read("/proc/self/net/unix")


socket_inet = _socket(socket.AF_INET, socket.SOCK_STREAM)
socket_inet6_udp = _socket(socket.AF_INET6, socket.SOCK_DGRAM)
socket_unix = _socket(socket.AF_UNIX, socket.SOCK_STREAM)
socket_netlink = _socket(socket.AF_NETLINK, socket.SOCK_RAW)
socket_packet = _socket(socket.AF_PACKET, socket.SOCK_RAW)
