"""Networks by prefix, and what a client calls itself: what is kept of where a request came from."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

PREFIX_V4, PREFIX_V6 = 24, 48  # bits: what one site is usually given (RFC 6177 for IPv6)
_NEAR_V4, _NEAR_V6 = 16, 32  # bits that near networks share: what a provider is usually given in one place
# Which a site numbers as it likes. Source: RFC 1918, RFC 6598 (carriers), RFC 4193, RFC 4291.
_SITES = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"),
    )
)
CLIENT_LENGTH = 80  # characters kept of a client's name for itself


@lru_cache(maxsize=8192)
def prefix_of(address: str) -> str:
    """The /24 or /48 that an address or a network lies in; empty of what is neither, as the home's own socket."""
    try:
        network = ipaddress.ip_network(address.partition("%")[0], strict=False)
    except ValueError:
        return ""
    first = network.network_address
    if isinstance(first, ipaddress.IPv6Address) and first.ipv4_mapped is not None:
        first = first.ipv4_mapped
    bits = PREFIX_V4 if first.version == 4 else PREFIX_V6
    return str(ipaddress.ip_network((first, bits), strict=False))


@lru_cache(maxsize=8192)
def are_near(one: str, other: str) -> bool:
    """Whether two prefixes are certainly neighbours: one /16 or /32, or both private. In doubt they are not."""
    first, second = ipaddress.ip_network(one), ipaddress.ip_network(other)
    return first.version == second.version and not are_far(one, other)


@lru_cache(maxsize=8192)
def are_far(one: str, other: str) -> bool:
    """Whether two prefixes lie apart, as far as their numbers tell. In doubt they do not.

    Far: IPv4 networks that share no /16, IPv6 networks that share no /32. Not far: one of each kind, since a dual-stack
    client uses both at once; two private ones, since a site numbers them as it likes.
    """
    first, second = ipaddress.ip_network(one), ipaddress.ip_network(other)
    if first.version != second.version or (_is_site(first) and _is_site(second)):
        return False
    bits = _NEAR_V4 if first.version == 4 else _NEAR_V6
    return first.supernet(new_prefix=bits) != second.supernet(new_prefix=bits)


def client_of(user_agent: str) -> str:
    """What a client calls itself, cut, as printable ASCII. Anybody may claim anything here."""
    return "".join(one if " " <= one <= "~" else "?" for one in user_agent[:CLIENT_LENGTH])


def _is_site(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    return any(network.version == site.version and network.subnet_of(site) for site in _SITES)  # type: ignore[arg-type]
