"""Unfamiliar use of credentials: refused again and again, or used from two far networks within minutes.

Looks at events that are on record already and says what is odd, as events of kind `alert`; decides nothing. Each is raised
once for its subject: refused attempts within an hour, far networks within a day.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Protocol

import msgspec

from casemate.core import Event, are_far, are_near, parse_rfc3339, prefix_of

ALERT = "alert"
REFUSED_ATTEMPTS, FAR_NETWORKS = "refused-attempts", "far-networks"
_TECHNIQUE = "AML.T0012"  # MITRE ATLAS: valid accounts
_SIGN_IN = "sign-in"
_USES = frozenset({"prediction", "decision", "intent", _SIGN_IN})
_NO_ATTEMPT = frozenset({"no-credential", "locked"})  # nobody was tried; what the attempts before it came to


class UnfamiliarConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Safe as it stands; `bench/unfamiliar.py` measures the false alarms of these numbers."""

    refused: int = (
        5  # attempts on one credential or account (NIST SP 800-63B bounds guessing; five is a person's worst day)
    )
    refused_within: float = 600.0  # s
    far_within: float = 600.0  # s between uses in two far networks
    familiar: float = 30 * 86400.0  # s that a network of a credential is remembered
    quiet: float = 3600.0  # s in which refused attempts on the same subject are not told again
    quiet_far: float = 86400.0  # s, of far networks: whoever looks at the first sees the others in `key show`
    networks: int = 64  # remembered of one credential; the one unused for longest goes first
    subjects: int = 65536  # remembered of each kind; some 500 bytes each


class Geography(Protocol):
    """What an operator's file knows of places."""

    def far(self, one: str, other: str) -> bool | None:
        """Whether two prefixes lie apart; None: it does not know both."""
        ...


History = Callable[[str, str], Iterable[tuple[str, str]]]  # actor, credential -> (prefix, RFC 3339), from the record


class _Use:
    """Where one credential was used: prefix -> when last, the newest last."""

    __slots__ = ("networks", "newest")

    def __init__(self) -> None:
        self.networks: OrderedDict[str, str] = OrderedDict()
        self.newest = ""

    def note(self, prefix: str, at: str, most: int) -> None:
        self.networks[prefix] = at
        self.networks.move_to_end(prefix)
        self.newest = prefix
        if len(self.networks) > most:
            self.networks.popitem(last=False)


class UnfamiliarUse:
    """Args: history: what was recorded before this process; asked once for each credential. For one thread at a time."""

    def __init__(
        self,
        config: UnfamiliarConfig | None = None,
        *,
        history: History = lambda *_: (),
        geography: Geography | None = None,
    ) -> None:
        self._config = config or UnfamiliarConfig()
        self._history, self._geography = history, geography
        self._used: OrderedDict[str, _Use] = OrderedDict()
        self._refused: OrderedDict[str, deque[tuple[datetime, int]]] = OrderedDict()
        self._told: OrderedDict[tuple[str, str], datetime] = OrderedDict()

    def look(self, events: Iterable[Event]) -> list[Event]:
        """The alerts that these events, in the order of the record, give rise to."""
        alerts: list[Event] = []
        for event in events:
            if event.kind not in _USES:
                continue
            found = self._refusal(event) if _is_refused(event) else self._use(event)
            if found is not None:
                alerts.append(found)
        return alerts

    def _use(self, event: Event) -> Event | None:
        prefix = prefix_of(str(event.facts.get("address", "")))
        if not event.credential or not prefix:
            return None
        use = self._used.get(event.credential)
        if use is not None and use.newest == prefix:  # nearly always
            use.networks[prefix] = event.at
            return None
        if use is None:
            use = self._remembered(event)
        self._used.move_to_end(event.credential)
        now = parse_rfc3339(event.at)
        others = self._far_from(prefix, use, now) if not self._is_familiar(prefix, use, now) else []
        use.note(prefix, event.at, self._config.networks)
        if not others:
            return None
        facts = {
            "networks": [*others[:4], prefix],
            "within_seconds": self._config.far_within,
            "address": event.facts.get("address", ""),
            "client": event.facts.get("client", ""),
        }
        return self._alert(FAR_NETWORKS, event.credential, event, now, facts)

    def _remembered(self, event: Event) -> _Use:
        use = self._used[event.credential] = _Use()
        if len(self._used) > self._config.subjects:
            self._used.popitem(last=False)
        for prefix, at in self._history(event.actor, event.credential):
            if prefix and at < event.at:  # the record holds this event already
                use.note(prefix, at, self._config.networks)
        return use

    def _is_familiar(self, prefix: str, use: _Use, now: datetime) -> bool:
        """Whether the credential was used from it, or from a neighbour, within the time that it is remembered."""
        if prefix in use.networks and self._age(use.networks[prefix], now) <= self._config.familiar:
            return True
        return any(
            self._age(at, now) <= self._config.familiar and self._near(other, prefix)
            for other, at in use.networks.items()
        )

    @staticmethod
    def _age(at: str, now: datetime) -> float:
        return (now - parse_rfc3339(at)).total_seconds()

    def _far_from(self, prefix: str, use: _Use, now: datetime) -> list[str]:
        """The networks in which it was used just now, and which lie apart from this one."""
        return [
            other
            for other, at in reversed(use.networks.items())
            if abs(self._age(at, now)) <= self._config.far_within and self._far(other, prefix)
        ]

    def _near(self, one: str, other: str) -> bool:
        known = self._geography.far(one, other) if self._geography is not None else None
        return are_near(one, other) if known is None else not known

    def _far(self, one: str, other: str) -> bool:
        known = self._geography.far(one, other) if self._geography is not None else None
        return are_far(one, other) if known is None else known

    def _refusal(self, event: Event) -> Event | None:
        """Count on the credential or account; where nobody can tell whose it was, on the network.

        A refused sign-in is on record twice: once with its account, if there is one, and once as the door's refusal.
        """
        network = prefix_of(str(event.facts.get("address", "")))
        subject = (
            event.credential or event.actor or (f"network:{network}" if network and event.kind != _SIGN_IN else "")
        )
        if not subject or event.reason in _NO_ATTEMPT:
            return None
        now, count = parse_rfc3339(event.at), event.facts.get("count", 1)
        attempts = self._refused.setdefault(subject, deque(maxlen=self._config.refused))
        self._refused.move_to_end(subject)
        if len(self._refused) > self._config.subjects:
            self._refused.popitem(last=False)
        attempts.append((now, count if isinstance(count, int) else 1))
        while attempts and (now - attempts[0][0]).total_seconds() > self._config.refused_within:
            attempts.popleft()
        total = sum(one for _, one in attempts)
        if total < self._config.refused:
            return None
        attempts.clear()
        facts = {
            "count": total,
            "within_seconds": self._config.refused_within,
            "networks": [network] if network else [],
            "because": event.reason,
            "client": event.facts.get("client", ""),
        }
        return self._alert(REFUSED_ATTEMPTS, subject, event, now, facts)

    def _alert(self, rule: str, subject: str, event: Event, now: datetime, facts: dict[str, Any]) -> Event | None:
        quiet = self._config.quiet_far if rule == FAR_NETWORKS else self._config.quiet
        last = self._told.get((rule, subject))
        if last is not None and (now - last).total_seconds() < quiet:
            return None
        self._told[rule, subject] = now
        self._told.move_to_end((rule, subject))
        if len(self._told) > self._config.subjects:
            self._told.popitem(last=False)
        # The same id within that time, so that a process that was started again does not say it twice.
        seed = f"{rule}\n{subject}\n{int(now.timestamp() // quiet)}".encode()
        return Event(
            id="evt_" + hashlib.sha256(seed).hexdigest()[:32],
            at=event.at,
            kind=ALERT,
            project=event.project,
            actor=event.actor,
            credential=event.credential,
            resource=event.resource,
            reason=rule,
            facts={"rule": rule, "subject": subject, "technique": _TECHNIQUE, "event": event.id, **facts},
        )


def _is_refused(event: Event) -> bool:
    """Whether a credential was refused, not what its holder asked for."""
    return event.outcome == "refused" and (event.kind == _SIGN_IN or event.facts.get("guard") == "authenticate")
