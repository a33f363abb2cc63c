"""A growing delay for whoever guesses, that does not keep the owner of an account out.

Attempts are counted by account and place. A device or network from which the account has signed in before is a place of
its own: what strangers do there is not held against it. All strangers together are one more count, so guessing from many
networks is slowed, too. Counts are sealed rows: they survive a restart. Source: OWASP ASVS 5.0, V6.3.1; NIST SP 800-63B-4,
section 3.2.2.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

import msgspec

from casemate.core import LimitError, prefix_of
from casemate.iam.bearer import Kind, hash_of, is_secret
from casemate.iam.sessions import Rows, Visitor

FREE, FREE_STRANGERS = 3, 10  # failures without a delay; then 2, 4, 8 ... seconds
LONGEST = timedelta(minutes=15)
FORGET = timedelta(hours=24)  # without a failure, and the count begins again
LOCKED = 5  # failures in a row at one place that are told as a lock
KNOWN_FOR = timedelta(days=90)  # since the last sign-in from a network or device
MAX_PLACES = 20  # of each kind


class Attempts(msgspec.Struct, frozen=True, kw_only=True):
    """Failures at one place since the last success. Args: until: no attempt is looked at before."""

    failures: int
    until: datetime


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Whence an account has signed in, with the last time. Args: devices: hashes of what was left there."""

    networks: dict[str, datetime]
    devices: dict[str, datetime]


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that may be looked at; it counts as a failure until it is cleared."""

    rows: tuple[str, ...]
    failures: int
    until: datetime


class Lockout:
    """Counts and places of one home, for use from many threads."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def charge(self, account: str, visitor: Visitor, *, person: str, now: datetime) -> Charge:
        """Count an attempt before it is looked at, so that many at once are counted, too.

        Args: account: the name that was typed. person: whose it is; empty where nobody is called so.
        Raises: LimitError `sign-in-delayed`: the same for an account that does not exist.
        """
        places = self._places(person or "nobody", now)  # as much work for a name that is nobody's
        network, device = network_prefix(visitor.address), _device(visitor)
        if places and device in places.devices:
            keys = [(f"device {device}", FREE)]
        elif places and network in places.networks:
            keys = [(f"known {network}", FREE)]
        else:
            keys = [("strangers", FREE_STRANGERS), (f"network {network}", FREE)]
        for key, _ in keys:  # whoever is told to wait is counted nowhere
            _refuse_early(self._rows.find(_row(account, key), Attempts, now=now), now)
        charged = [self._count(_row(account, key), free, now) for key, free in keys]
        failures, until = charged[-1].failures, max(one.until for one in charged)
        return Charge(rows=tuple(_row(account, key) for key, _ in keys), failures=failures, until=until)

    def clear(self, charge: Charge, *, now: datetime) -> None:
        """It was right after all, and the place begins anew."""
        self._rows.remove(charge.rows[-1])
        for row in charge.rows[:-1]:  # what strangers have failed is not forgotten because one of them came in
            self._rows.change(row, Attempts, _one_less, now=now, ends_at=now + FORGET)

    def remember(self, person: str, visitor: Visitor, *, now: datetime) -> None:
        """The network and the device are known from now on, whatever strangers do."""
        network, device = network_prefix(visitor.address), _device(visitor)

        def known(old: Places | None) -> Places:
            old = old or Places(networks={}, devices={})
            devices = _newest({**old.devices, device: now} if device else old.devices, now)
            return Places(networks=_newest({**old.networks, network: now}, now), devices=devices)

        self._rows.change(f"places:{person}", Places, known, now=now, ends_at=now + KNOWN_FOR, principal=person)

    def is_known(self, person: str, visitor: Visitor, *, now: datetime) -> bool:
        """Whether the account has signed in from this network or device."""
        places = self._places(person, now)
        network, device = network_prefix(visitor.address), _device(visitor)
        return places is not None and (network in places.networks or device in places.devices)

    def _places(self, person: str, now: datetime) -> Places | None:
        found = self._rows.find(f"places:{person}", Places, now=now)
        return found and Places(networks=_newest(found.networks, now), devices=_newest(found.devices, now))

    def _count(self, row: str, free: int, now: datetime) -> Attempts:
        def more(old: Attempts | None) -> Attempts:
            _refuse_early(old, now)
            failures = (old.failures if old else 0) + 1
            return Attempts(failures=failures, until=now + delay(failures, free))

        counted = self._rows.change(row, Attempts, more, now=now, ends_at=now + FORGET)
        assert counted is not None, "a count is never None"
        return counted


def _refuse_early(attempts: Attempts | None, now: datetime) -> None:
    if attempts is not None and now < attempts.until:
        raise LimitError(
            "Too many attempts: wait, or sign in from a device or network where you have signed in before.",
            retry_after=(attempts.until - now).total_seconds(),
            code="sign-in-delayed",
        )


def delay(failures: int, free: int) -> timedelta:
    """How long nothing more is looked at after so many failures."""
    over = failures - free
    return timedelta(0) if over <= 0 else min(LONGEST, timedelta(seconds=2 ** min(over, 30)))


def network_prefix(address: str) -> str:
    """The network that an address is of: /24 of IPv4, /48 of IPv6, the text of anything else."""
    return prefix_of(address) or address[:80]


def _one_less(old: Attempts | None) -> Attempts | None:
    if old is None or old.failures <= 1:
        return None
    return Attempts(failures=old.failures - 1, until=old.until)


def _newest(seen: dict[str, datetime], now: datetime) -> dict[str, datetime]:
    kept = sorted(seen.items(), key=lambda item: item[1], reverse=True)[:MAX_PLACES]
    return {what: at for what, at in kept if now - at < KNOWN_FOR}


def _device(visitor: Visitor) -> str:
    return hash_of(visitor.device) if is_secret(visitor.device, Kind.DEVICE) else ""


def _row(account: str, key: str) -> str:
    return "try:" + hashlib.sha256(f"{account}\n{key}".encode(errors="replace")).hexdigest()[:64]
