"""How much, how often, how many at once. Memory is bounded, time is monotonic, nothing leaves the process.

Each gateway counts for itself: with N gateways a caller has N times the rate.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Self

import msgspec

from casemate.core import LimitError
from casemate.gateway.interface import Rate


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits that hold for all deployments together."""

    # Requests per client address (IPv6: per /64, what one customer is given). Five keys' worth: offices share one.
    address_rate: Rate = Rate(per_second=1000, burst=2000)
    # Refused credentials per client address. A misconfigured client makes a handful; guessing makes thousands.
    refusal_rate: Rate = Rate(per_second=5, burst=20)
    # Buckets kept of each kind; some 200 bytes each, so 13 MB at most. The one unused for longest goes first.
    buckets: int = 65536
    # Requests being served at once in this gateway, over all deployments.
    max_in_flight: int = 512
    # Bytes of all bodies in memory, those still arriving included: 64 of the largest that `standard` takes.
    max_body_bytes: int = 256 << 20


class Allowance(msgspec.Struct, frozen=True):
    """What is left of a bucket. `reset`: seconds until it is full again."""

    quota: int
    window: int
    remaining: int
    reset: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Source: draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4."""
        return [
            (b"ratelimit-policy", b'"key";q=%d;w=%d' % (self.quota, self.window)),
            (b"ratelimit", b'"key";r=%d;t=%d' % (self.remaining, self.reset)),
        ]


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


class Limits:
    """The `limit` guard: buckets per key and per address, and how many requests are served at once."""

    def __init__(self, config: LimitsConfig, *, monotonic: Callable[[], float]) -> None:
        self._config = config
        self._keys = Buckets(capacity=config.buckets, monotonic=monotonic)
        self._addresses = Buckets(capacity=config.buckets, monotonic=monotonic)
        self._refusals = Buckets(capacity=config.buckets, monotonic=monotonic)
        self._total = Slots(config.max_in_flight, "The server")
        self.body_bytes = 0  # held in memory now

    def count_refusal(self, address: str) -> None:
        """Charge a refused credential to its address. Raises: LimitError `address-limited`: too many already."""
        left = self._refusals.take(network_of(address), self._config.refusal_rate)
        if left < 0:
            raise LimitError(
                "Too many refused credentials from your address: wait, and check the key.",
                retry_after=-left,
                code="address-limited",
            )

    def take(self, *, key: str, address: str, rate: Rate) -> Allowance:
        """Take one request from both buckets. Raises: LimitError `rate-limited` or `address-limited`."""
        left = self._addresses.take(network_of(address), self._config.address_rate)
        if left < 0:
            raise LimitError(
                f"Your address sends more than {self._config.address_rate.per_second:g} requests a second: slow down.",
                retry_after=-left,
                code="address-limited",
            )
        left = self._keys.take(key, rate)
        if left < 0:
            raise LimitError(
                f"This key may send {rate.per_second:g} requests a second: slow down, or ask for a higher rate.",
                retry_after=-left,
                code="rate-limited",
            )
        return Allowance(
            int(rate.burst),
            max(1, round(rate.burst / rate.per_second)),
            int(left),
            int((rate.burst - left) / rate.per_second) + 1,
        )

    def enter(self, deployment: Slots) -> Entered:
        """Hold a place in the server and in the deployment until the context ends. Raises: LimitError `too-busy`."""
        return Entered(self._total, deployment)

    def hold(self) -> HeldBytes:
        """Count the bytes of one body until the context ends."""
        return HeldBytes(self, self._config.max_body_bytes)


class HeldBytes:
    """The bytes of one body, counted towards all that are in memory."""

    __slots__ = ("_held", "_limits", "_most")

    def __init__(self, limits: Limits, most: int) -> None:
        self._limits = limits
        self._most = most
        self._held = 0

    def add(self, count: int) -> None:
        """Raises: LimitError `too-busy`: all bodies together are too large."""
        if self._limits.body_bytes + count > self._most:
            raise LimitError(
                "The server holds too many large requests: come back in a second.", retry_after=1.0, code="too-busy"
            )
        self._limits.body_bytes += count
        self._held += count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._limits.body_bytes -= self._held
        self._held = 0


class Slots:
    """How many requests are being served at once."""

    __slots__ = ("_most", "_what", "used")

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self.used = 0

    def enter(self) -> None:
        if self.used >= self._most:
            raise LimitError(
                f"{self._what} already serves {self._most} requests at once: come back in a second.",
                retry_after=1.0,
                code="too-busy",
            )
        self.used += 1

    def leave(self) -> None:
        self.used -= 1


class Entered:
    """Two slots, held for the length of a `with`."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: Slots, second: Slots) -> None:
        self._first = first
        self._second = second

    def __enter__(self) -> Self:
        self._first.enter()
        try:
            self._second.enter()
        except BaseException:
            self._first.leave()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._second.leave()
        self._first.leave()


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
