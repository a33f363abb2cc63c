"""A small file in MaxMind's format. Source: MaxMind DB File Format Specification 2.0."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any


def networks_file(entries: dict[str, dict[str, Any]]) -> bytes:
    """Args: entries: IPv4 network -> what is known of it."""
    nodes: list[list[int | None]] = [[None, None]]
    data, places = b"", {}
    leaves: list[tuple[int, int, int]] = []
    for network, about in entries.items():
        places[network] = len(data)
        data += _encoded(about)
        parsed = ipaddress.IPv4Network(network)
        node, bits = 0, [int(parsed.network_address) >> (31 - bit) & 1 for bit in range(parsed.prefixlen)]
        for bit in bits[:-1]:
            if nodes[node][bit] is None:
                nodes.append([None, None])
                nodes[node][bit] = len(nodes) - 1
            node = nodes[node][bit] or 0
        leaves.append((node, bits[-1], places[network]))
    count = len(nodes)
    for node, bit, place in leaves:
        nodes[node][bit] = count + 16 + place
    tree = b"".join((side if side is not None else count).to_bytes(3) for node in nodes for side in node)
    about = {
        "node_count": count, "record_size": 24, "ip_version": 4, "database_type": "Casemate-Test", "languages": [],
        "binary_format_major_version": 2, "binary_format_minor_version": 0, "build_epoch": 1_700_000_000,
        "description": {"en": "for tests"},
    }  # fmt: skip
    return tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + _encoded(about)


def _encoded(value: Any) -> bytes:
    if isinstance(value, dict):
        return _head(7, len(value)) + b"".join(_encoded(name) + _encoded(one) for name, one in value.items())
    if isinstance(value, list):
        return _head(11, len(value)) + b"".join(map(_encoded, value))
    if isinstance(value, str):
        return _head(2, len(value.encode())) + value.encode()
    if isinstance(value, float):
        return _head(3, 8) + struct.pack(">d", value)
    raw = value.to_bytes(4).lstrip(b"\0")
    return _head(6, len(raw)) + raw


def _head(kind: int, size: int) -> bytes:
    assert size < 29
    return bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])
