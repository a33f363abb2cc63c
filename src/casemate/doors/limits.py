"""How often, at either door. Memory is bounded, time is monotonic, nothing leaves the process."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

import msgspec

from casemate.core import LimitError


class Rate(msgspec.Struct, frozen=True):
    """A token bucket's measure. Args: per_second: tokens that come back, > 0. burst: most that it holds, >= 1."""

    per_second: float
    burst: float


# Refused credentials per client address. A misconfigured client makes a handful; guessing makes thousands.
REFUSAL_RATE = Rate(per_second=5, burst=20)
BUCKETS = 65536  # kept of each kind; some 200 bytes each, so 13 MB at most. The one unused for longest goes first


class Buckets:
    """Token buckets by key, at most `capacity` of them.

    A bucket that was forgotten is full when it comes back: who holds more than `capacity` addresses gets past the
    limit per address, and meets the limits per key, in flight and on connections.

    Args: monotonic: seconds that never run backwards.
    """

    def __init__(self, *, capacity: int, monotonic: Callable[[], float]) -> None:
        self._buckets: OrderedDict[str, list[float]] = OrderedDict()  # key -> [tokens, when counted]
        self._capacity = capacity
        self._monotonic = monotonic

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, rate: Rate) -> float:
        """Take one token. Returns: tokens left, >= 0; or, when there was none, minus the seconds until there is."""
        now = self._monotonic()
        bucket = self._bucket(key, rate, now)
        if bucket[0] >= 1.0 - 1e-9:  # who waited as long as was advised is not refused by a rounding error
            bucket[0] = max(0.0, bucket[0] - 1.0)
            return bucket[0]
        return -(1.0 - bucket[0]) / rate.per_second

    def _bucket(self, key: str, rate: Rate, now: float) -> list[float]:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = [rate.burst, now]
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
            return bucket
        self._buckets.move_to_end(key)
        bucket[0] = min(rate.burst, bucket[0] + (now - bucket[1]) * rate.per_second)
        bucket[1] = now
        return bucket


class RefusalLimit:
    """How many credentials of one address may be refused. Safe to call from several threads."""

    def __init__(
        self, rate: Rate = REFUSAL_RATE, *, capacity: int = BUCKETS, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._lock = rate, threading.Lock()
        self._buckets = Buckets(capacity=capacity, monotonic=monotonic)

    def count(self, address: str) -> None:
        """Charge a refused credential to its address. Raises: LimitError `address-limited`: too many already."""
        with self._lock:
            left = self._buckets.take(network_of(address), self._rate)
        if left < 0:
            raise LimitError(
                "Too many refused credentials from your address: wait, and check the key.",
                retry_after=-left,
                code="address-limited",
            )


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """What counts as one address: an IPv4 address, the /64 of an IPv6 one, and the text of anything else."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))
