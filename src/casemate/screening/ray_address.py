"""Which Ray clusters rows may go to: Ray runs the code of whoever reaches it, and tells them all that it holds."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping

import msgspec

from casemate.core import InputError, PolicyError, UpstreamError

_FORM = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9.-]{1,253})):([0-9]{1,5})")
_REACHED = 5.0  # seconds for a connection to the cluster's head
_CERTIFICATES = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")  # files, of which Ray needs each


class RayAddress(msgspec.Struct, frozen=True):
    """Where a cluster's head listens."""

    host: str
    port: int

    @property
    def here(self) -> bool:
        """Whether it is of this machine alone."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_ray_address(text: str) -> RayAddress:
    """Raises: InputError `ray-address`."""
    found = _FORM.fullmatch(text)
    if not found or not 0 < int(found[3]) < 1 << 16:
        raise InputError(
            f"{text[:80]!r} is no address of a Ray cluster: name its head as HOST:PORT, as `ray start` prints it. This machine "
            "must be one of its nodes.",
            code="ray-address",
        )
    return RayAddress(found[1] or found[2], int(found[3]))


def is_loopback(host: str) -> bool:
    """Whether an address, or the name localhost, is of this machine alone. No name is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_guarded(environ: Mapping[str, str], *, here: bool) -> bool:
    """Whether Ray asks for a token, and unless it is of this machine alone for certificates on both sides: loopback is open to each
    user of this machine, and nobody listens to it."""
    tls = environ.get("RAY_USE_TLS", "").lower() in ("1", "true") and all(map(environ.get, _CERTIFICATES))
    return environ.get("RAY_AUTH_MODE", "").lower() == "token" and (here or tls)


def refuse_open(address: RayAddress, environ: Mapping[str, str]) -> None:
    """Return when rows may go there. Raises: PolicyError `ray-open`."""
    if not is_guarded(environ, here=address.here):
        raise open_to_others(str(address), here=address.here)


def open_to_others(where: str, *, here: bool) -> PolicyError:
    """Args: where: the cluster, or the node of it, that others reach. here: those are the other users of this machine."""
    others = "is reached by each user of this machine" if here else "is not of this machine alone"
    more = "" if here else f", RAY_USE_TLS=1 and {', '.join(_CERTIFICATES)}"
    return PolicyError(
        f"{where} {others}, and Ray runs the code of whoever reaches it: start each node, and Casemate, with "
        f"RAY_AUTH_MODE=token{more}.",
        code="ray-open",
    )


def reach(address: RayAddress) -> None:
    """Return when something listens there. Raises: UpstreamError `ray-unreachable`."""
    try:
        socket.create_connection((address.host, address.port), _REACHED).close()
    except OSError as error:
        raise unreachable(address) from error


def unreachable(address: RayAddress) -> UpstreamError:
    return UpstreamError(
        f"No Ray cluster answers at {address}, or this machine is no node of it: start one here with `ray start`, and look at "
        "its certificates and token.",
        code="ray-unreachable",
    )
