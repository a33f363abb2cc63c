"""How much, how often, how many at once. Memory is bounded, time is monotonic, nothing leaves the process.

Each gateway counts for itself: with N gateways a caller has N times the rate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import msgspec

from casemate.core import LimitError
from casemate.doors import BUCKETS, REFUSAL_RATE, Buckets, Rate, RefusalLimit, network_of


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits that hold for all deployments together."""

    # Requests per client address (IPv6: per /64, what one customer is given). Five keys' worth: offices share one.
    address_rate: Rate = Rate(per_second=1000, burst=2000)
    refusal_rate: Rate = REFUSAL_RATE
    # Requests of one valid key for what it may not do, or what no deployment serves. A key's own `--rate` replaces it.
    unserved_rate: Rate = Rate(per_second=5, burst=20)
    buckets: int = BUCKETS
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


class Limits:
    """The `limit` guard: buckets per key and per address, and how many requests are served at once."""

    def __init__(self, config: LimitsConfig, *, monotonic: Callable[[], float]) -> None:
        self._config = config
        self._keys = Buckets(capacity=config.buckets, monotonic=monotonic)
        self._addresses = Buckets(capacity=config.buckets, monotonic=monotonic)
        self._refusals = RefusalLimit(config.refusal_rate, capacity=config.buckets, monotonic=monotonic)
        self._total = Slots(config.max_in_flight, "The server")
        self.body_bytes = 0  # held in memory now

    def count_refusal(self, address: str) -> None:
        """Charge a refused credential to its address. Raises: LimitError `address-limited`: too many already."""
        self._refusals.count(address)

    def take_address(self, address: str) -> None:
        """Take one request from its address's bucket. Raises: LimitError `address-limited`."""
        left = self._addresses.take(network_of(address), self._config.address_rate)
        if left < 0:
            raise LimitError(
                f"Your address sends more than {self._config.address_rate.per_second:g} requests a second: slow down.",
                retry_after=-left,
                code="address-limited",
            )

    def take_unserved(self, key: str, rate: Rate | None) -> Allowance:
        """Charge a key for what no profile gives a rate for. Args: rate: its own. Raises: LimitError `rate-limited`."""
        return self.take_key(f"{key}@", self._config.unserved_rate) if rate is None else self.take_key(key, rate)

    def take_key(self, key: str, rate: Rate) -> Allowance:
        """Take one request from a key's bucket. Raises: LimitError `rate-limited`."""
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
